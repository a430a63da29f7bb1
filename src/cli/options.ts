import { type Command, Option } from 'commander';
import { type LoadOptions, loadConfig } from '../config/load.js';
import type { Override } from '../config/overrides.js';
import type { Config } from '../config/schema.js';

/** Flags that stand for one key of the configuration each. */
const FLAGS = [
  {
    flags: '--cgroup <directory>',
    path: ['cgroup'],
    description: 'cgroup v2 directory to watch, with all below it',
  },
  {
    flags: '--replay <file>',
    path: ['receivers', 'replay', 'file'],
    description: 'count the flows in a file, a pipe or standard input (-), not those of this machine',
  },
  {
    flags: '--hubble <server>',
    path: ['receivers', 'hubble', 'server'],
    description: 'count the flows of a Hubble relay, not those of this machine',
  },
  { flags: '--instance <name>', path: ['instance'], description: 'name of the pinned maps and links' },
  {
    flags: '--prometheus <host:port>',
    path: ['exporters', 'prometheus', 'listen'],
    description: 'serve metrics there',
  },
  {
    flags: '--page <host:port>',
    path: ['page', 'listen'],
    description: 'serve the service map there, or off',
  },
  { flags: '--otlp <url>', path: ['exporters', 'otlp', 'endpoint'], description: 'send metrics there' },
  {
    flags: '--dialect <name...>',
    path: ['dialects'],
    description: 'names of metrics: otel, hubble, istio; any of them',
  },
  {
    flags: '--log-level <level>',
    path: ['log', 'level'],
    description: 'trace, debug, info, warn, error or silent',
  },
] as const;

/** Adds `--config` and the flags above to a command. */
export function withConfiguration(command: Command): Command {
  command.addOption(new Option('-c, --config <file>', 'YAML file').env('MESHTAP_CONFIG'));
  for (const { flags, description } of FLAGS) command.addOption(new Option(flags, description));
  return command;
}

/** The configuration from the file, the environment and the flags that a command got. Throws CONFIG_INVALID. */
export function configurationOf(command: Command, more: Pick<LoadOptions, 'defaults'> = {}): Config {
  const given = command.opts<Record<string, unknown>>();
  const flags = FLAGS.flatMap(({ flags, path }): Override[] => {
    const option = new Option(flags);
    const value = given[option.attributeName()];
    return value === undefined ? [] : [{ path, value, where: option.long ?? flags }];
  });
  return loadConfig({ ...more, file: given.config as string | undefined, environment: process.env, flags });
}
