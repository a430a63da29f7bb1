import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../../support/bpf.js';
import { meshtap } from '../../support/cli.js';

const configuration = (yaml: string) => {
  const file = join(temporaryDirectory(), 'meshtap.yaml');
  writeFileSync(file, yaml);
  return file;
};

describe('exit code 0', () => {
  test.each([['--help'], ['--version'], ['help', 'run'], ['demo', '--help']])('%s %s', async (...args) => {
    const { code, stdout, stderr } = await meshtap(args.filter(Boolean));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).not.toBe('');
  });

  test('config check of a right file', async () => {
    const file = configuration('instance: blue\n');
    expect(await meshtap(['config', 'check', file])).toEqual({
      code: 0,
      stdout: `${file}: no errors\n`,
      stderr: '',
    });
  });
});

describe('exit code 2: the command line or the configuration is wrong', () => {
  test.each<[string[], RegExp]>([
    [['rnu'], /^error: unknown command 'rnu'\n\(Did you mean run\?\)\n$/],
    [['run', '--otpl', 'x'], /^error: unknown option '--otpl'\n\(Did you mean --otlp\?\)\n$/],
    [['run', '--cgroup'], /argument missing\n$/],
    [['run', 'more'], /too many arguments/],
    [['detach'], /^meshtap: detach takes either --instance or --cgroup\n$/],
    [['detach', '--instance', 'a', '--cgroup', 'b'], /takes either/],
    [['demo', '--seconds', 'soon'], /^meshtap: --seconds: found "soon", expected a number of seconds\n$/],
    [
      ['run', '--prometheus', '9464'],
      /^meshtap: --prometheus: exporters\.prometheus\.listen: found "9464", expected/,
    ],
    [
      ['run', '--dialect', 'otel', 'zipkin'],
      /^meshtap: --dialect: dialects\[1\]: found "zipkin", expected one of otel, hubble, istio\n$/,
    ],
    [
      ['run', '--config', '/nowhere.yaml'],
      /^meshtap: \/nowhere\.yaml: cannot read the configuration: there is no such file\n$/,
    ],
    [[], /^Usage: meshtap/],
  ])('%j', async (args, message) => {
    const { code, stdout, stderr } = await meshtap(args);
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });

  test.each(['run', 'demo'])('%s with a file that has faults tells every one of them', async (command) => {
    const file = configuration('cgruop: /x\nlog: { level: 3 }\n');
    const { code, stderr } = await meshtap([command, '--config', file]);
    expect(code).toBe(2);
    expect(stderr.trim().split('\n')).toEqual([
      expect.stringMatching(
        /^meshtap: .*meshtap\.yaml:1: cgruop: found a key that does not exist, .* Did you mean cgroup\?$/,
      ),
      expect.stringMatching(/^.*meshtap\.yaml:2: log\.level: found 3, expected one of /),
    ]);
  });

  test('the file may be named in the environment, and so may keys', async () => {
    const env = { MESHTAP_CONFIG: configuration('instance: blue'), MESHTAP_LOG__LEVEL: 'loud' };
    const { code, stderr } = await meshtap(['run'], { env });
    expect(code).toBe(2);
    expect(stderr).toMatch(/^meshtap: MESHTAP_LOG__LEVEL: log\.level: found "loud"/);
  });
});

describe('exit code 1: it can not be done here', () => {
  test('no libbpf: what to install', async () => {
    const env = { MESHTAP_LIBBPF: 'libbpf.so.99' };
    const { code, stdout, stderr } = await meshtap(['run', '--ephemeral'], { env });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/libbpf\.so\.99.*\n$/s);
    expect(stderr.trim().split('\n').length).toBeLessThanOrEqual(2);
  });
});
