#!/usr/bin/env node
import { Command, Option } from 'commander';
import { VERSION } from '../metrics/version.js';
import { checkConfiguration } from './config.js';
import { report } from './failure.js';
import { withObserve } from './observe/observe.js';
import { configurationOf, withConfiguration } from './options.js';

// What needs libbpf is loaded by the command that needs it: --help and `config check` work anywhere.
const program = new Command('meshtap')
  .description('Traffic between services, counted in the Linux kernel.')
  .version(VERSION)
  .option('--verbose', 'show all of an error, such as the log of the verifier')
  .exitOverride()
  .configureHelp({ showGlobalOptions: true });

withConfiguration(program.command('run'))
  .description('count and export until a signal comes; the kernel then goes on counting')
  .option('--fresh', 'begin with counts of zero')
  .option('--ephemeral', 'pin nothing: all ends with this process')
  .action(async (options, command) => {
    const { run } = await import('./run.js');
    await run(configurationOf(command), options);
  });

program
  .command('detach')
  .description('end pinned instances: programs, maps and counts')
  .option('--instance <name>', 'the instance of that name')
  .option('--cgroup <directory>', 'the instances that watch this cgroup')
  .action(async (options) => {
    const { detach } = await import('./detach.js');
    detach(options);
  });

withConfiguration(program.command('demo'))
  .description('four small services, a load, and an agent that watches only them')
  .option('--seconds <number>', 'end after so long')
  .action(async (options, command) => {
    const { demo, demoDefaults } = await import('./demo.js');
    await demo(configurationOf(command, { defaults: demoDefaults }), options);
  });

program
  .command('status')
  .description('what this kernel can do, what is pinned, and how every agent is')
  .option('--json', 'all of it as JSON')
  .action(async (options) => {
    const { status } = await import('./status.js');
    await status(options);
  });

program
  .command('map')
  .description('who calls whom: rates, errors and latency between services, as every agent sees it')
  .option('--seconds <number>', 'how long to look', '3')
  .option('--json', 'all of it as JSON')
  .action(async (options) => {
    const { map } = await import('./map.js');
    await map(options);
  });

withObserve(program.command('observe'));

program
  .command('dashboards')
  .description('write Grafana dashboards and Prometheus rules')
  .addOption(
    new Option('--dialect <name>', 'the names that your agents export')
      .choices(['otel', 'hubble', 'istio'])
      .default('otel'),
  )
  .option('--out <directory>', 'where to write them', 'meshtap-dashboards')
  .action(async (options) => {
    const { dashboards } = await import('./dashboards.js');
    dashboards(options);
  });

program
  .command('config')
  .description('the configuration')
  .command('check')
  .description('check a file; errors name the line, the key and what is accepted')
  .argument('<file>', 'YAML file')
  .action(checkConfiguration);

program
  .command('policy')
  .description('policies in the grammar of CiliumNetworkPolicy')
  .command('check')
  .description('explain what they would do; errors name the line and the column. Nothing is enforced yet')
  .argument('<file...>', 'YAML files')
  .option('--json', 'all of it as JSON')
  .action(async (files, options) => {
    const { checkPolicies } = await import('./policy.js');
    checkPolicies(files, options);
  });

// Nobody reads any more (`meshtap demo | head`): that is a request to end.
process.stdout.on('error', () => process.emit('SIGTERM'));

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error, { verbose: program.opts().verbose === true });
}
