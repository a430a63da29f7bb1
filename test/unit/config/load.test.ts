import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { DEFAULT_LIMITS } from '../../../src/bpf/counting.js';
import { DEFAULT_BOUNDARIES } from '../../../src/config/boundaries.js';
import { jsonSchema } from '../../../src/config/json-schema.js';
import { type LoadOptions, loadConfig } from '../../../src/config/load.js';
import { MeshtapError } from '../../../src/errors.js';

const folder = mkdtempSync(join(tmpdir(), 'meshtap-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

const file = (yaml: string) => {
  const path = join(folder, 'meshtap.yaml');
  writeFileSync(path, yaml);
  return path;
};

/** The lines of the refusal, without the folder. */
function refusal(options: LoadOptions): string[] {
  try {
    loadConfig(options);
  } catch (error) {
    expect(error).toBeInstanceOf(MeshtapError);
    const { code, message, hint } = error as MeshtapError;
    expect(code).toBe('CONFIG_INVALID');
    return [...message.replaceAll(`${folder}/`, '').split('\n'), ...(hint ? [hint] : [])];
  }
  throw new Error('was accepted');
}

describe('without a file', () => {
  test('everything has a default', () => {
    const config = loadConfig();
    expect(config.instance).toBe('default');
    expect(config.dialects).toEqual(['otel']);
    expect(config.boundaries).toEqual(DEFAULT_BOUNDARIES);
    expect(config.exporters).toEqual({ prometheus: { listen: { host: '127.0.0.1', port: 9464 } } });
    expect(config.cgroup).toBeUndefined();
  });

  test('the default boundaries reach from 100 us to 60 s', () => {
    expect(DEFAULT_BOUNDARIES).toHaveLength(18);
    expect([DEFAULT_BOUNDARIES[0], DEFAULT_BOUNDARIES.at(-1)]).toEqual([0.0001, 60]);
  });
});

describe('a full file', () => {
  const config = loadConfig({
    file: file(`
cgroup: /sys/fs/cgroup/kubepods.slice
instance: blue
dialects: [hubble, istio]
boundaries: [0.001, 0.01, 1]
limits: { pairs: 16, series: 20, early: 30, identities: 40 }
idleAfter: 2h
identity:
  static:
    - { address: 10.0.0.7, port: 5432, service: db, namespace: shop, watched: true }
    - { cidr: "fd00::/8", service: lab }
  addresses: [10.0.0.0/8]
  cgroup: { remember: 50 }
  local: false
exporters:
  prometheus: { listen: "[::]:9100", webConfigFile: /etc/meshtap/web.yml }
  otelPrometheus: { listen: 0.0.0.0:9101 }
  otlp: { protocol: http/protobuf, endpoint: "https://c:4318/v1/metrics", headers: { a: b }, interval: 500ms,
          temporality: delta, timeout: 3s, caFile: ca.pem, insecure: true }
resource: { deployment.environment.name: lab }
log: { level: debug, format: json }
`),
  });

  test('durations become milliseconds, addresses become host and port', () => {
    expect(config.idleAfter).toBe(7_200_000);
    expect(config.exporters.otlp).toMatchObject({ interval: 500, timeout: 3000 });
    expect(config.exporters.prometheus?.listen).toEqual({ host: '::', port: 9100 });
    expect(config.exporters.otelPrometheus?.listen).toEqual({ host: '0.0.0.0', port: 9101 });
  });

  test('static entries are filled in', () => {
    expect(config.identity.static).toEqual([
      { address: '10.0.0.7', port: 5432, service: 'db', namespace: 'shop', workload: '', watched: true },
      { cidr: 'fd00::/8', service: 'lab', namespace: '', workload: '', watched: false },
    ]);
  });
});

describe('an OTLP endpoint says by itself what is spoken there', () => {
  test.each([
    [{ endpoint: 'http://c:4317' }, 'grpc', 'http://c:4317/'],
    [{ endpoint: 'https://c' }, 'grpc', 'https://c/'],
    [{ endpoint: 'http://c:4318' }, 'http/protobuf', 'http://c:4318/v1/metrics'],
    [{ endpoint: 'https://c/otlp/v1/metrics' }, 'http/protobuf', 'https://c/otlp/v1/metrics'],
    [{ endpoint: 'http://c:4318', protocol: 'grpc' }, 'grpc', 'http://c:4318/'],
    [{ endpoint: 'http://c', protocol: 'http/protobuf' }, 'http/protobuf', 'http://c/v1/metrics'],
    [{}, 'grpc', undefined],
  ])('%j is %s', (otlp, protocol, endpoint) => {
    const flags = [{ path: ['exporters', 'otlp'], value: otlp, where: 'test' }];
    const found = loadConfig({ flags }).exporters.otlp;
    expect([found?.protocol, found && 'endpoint' in found ? found.endpoint : undefined]).toEqual([
      protocol,
      endpoint,
    ]);
  });
});

describe('bad input names file, line, key, what was found and what is accepted', () => {
  const list = (values: string) => `instance: a\nboundaries: ${values}`;
  test.each<[string, string, string]>([
    [
      'an unknown key',
      'cgroup: /x\nexporters:\n  prometheus:\n    lisen: localhost:1',
      'meshtap.yaml:4: exporters.prometheus.lisen: found a key that does not exist, expected one of listen, webConfigFile. Did you mean listen?',
    ],
    [
      'an unknown key that resembles none',
      'log: { zzzzzzzzz: 1 }',
      'meshtap.yaml:1: log.zzzzzzzzz: found a key that does not exist, expected one of level, format.',
    ],
    [
      'a wrong type',
      'log:\n  level: 3',
      'meshtap.yaml:2: log.level: found 3, expected one of trace, debug, info, warn, error, fatal, silent',
    ],
    [
      'a value out of range',
      'limits:\n  pairs: -3',
      'meshtap.yaml:2: limits.pairs: found -3, expected a number of pairs, 16 to 4194304',
    ],
    [
      'a fraction',
      'limits: { series: 1.5 }',
      'meshtap.yaml:1: limits.series: found 1.5, expected a number of series, 16 to 4194304',
    ],
    [
      'a number for a duration',
      'idleAfter: 10',
      'meshtap.yaml:1: idleAfter: found 10, expected a duration such as 500ms, 10s, 5m or 1h',
    ],
    [
      'a port that is none',
      'exporters:\n  prometheus:\n    listen: localhost:70000',
      'meshtap.yaml:3: exporters.prometheus.listen: found "localhost:70000", expected a port up to 65535',
    ],
    [
      'a section without content',
      'exporters:\n  otlp:',
      'meshtap.yaml:2: exporters.otlp: found nothing, expected keys and values ({} for the defaults)',
    ],
    [
      'no exporter',
      'exporters: {}',
      'meshtap.yaml:1: exporters: found keys and values, expected at least one exporter',
    ],
    [
      'a bad prefix',
      'identity:\n  static:\n    - service: a\n      cidr: 10.0.0.0/33',
      'meshtap.yaml:4: identity.static[0].cidr: found "10.0.0.0/33", expected a prefix such as 10.0.0.0/8 or fd00::/8',
    ],
    [
      'an entry with neither address nor prefix',
      'identity:\n  static:\n    - service: a',
      'meshtap.yaml:3: identity.static[0]: found keys and values, expected either `address` or `cidr`',
    ],
    [
      'boundaries that descend',
      list('[0.1, 0.05]'),
      'meshtap.yaml:2: boundaries[1]: found 0.05, expected boundaries in ascending order, so more than 0.1',
    ],
    [
      'a boundary twice',
      list('[0.1, 0.1]'),
      'meshtap.yaml:2: boundaries[1]: found 0.1, expected boundaries in ascending order, so more than 0.1',
    ],
    [
      'a boundary of zero',
      list('[0, 1]'),
      'meshtap.yaml:2: boundaries[0]: found 0, expected a positive number of seconds',
    ],
    [
      'an infinite boundary',
      list('[1, .inf]'),
      'meshtap.yaml:2: boundaries[1]: found Infinity, expected a positive number of seconds',
    ],
    [
      'a boundary that is no number',
      list('[1, x]'),
      'meshtap.yaml:2: boundaries[1]: found "x", expected a positive number of seconds',
    ],
    [
      'no boundary',
      list('[]'),
      'meshtap.yaml:2: boundaries: found an empty list, expected at least one boundary',
    ],
    [
      'too many boundaries',
      list(`[${Array.from({ length: 24 }, (_, i) => i + 1)}]`),
      'meshtap.yaml:2: boundaries: found a list, expected at most 23 boundaries, found 24',
    ],
    ['something else than keys', '- a\n- b', 'meshtap.yaml:1: expected keys and values'],
  ])('%s', (_, yaml, line) => {
    expect(refusal({ file: file(yaml) })).toEqual([line]);
  });

  test('text that is not YAML', () => {
    const [line, ...more] = refusal({ file: file('a: 1\nb: [1, 2\nc: 3') });
    expect(line).toMatch(/^meshtap\.yaml:\d: this is not YAML: /);
    expect(more).toEqual([]);
  });

  test('a key twice', () => {
    expect(refusal({ file: file('instance: a\ninstance: b') })).toEqual([
      'meshtap.yaml:2: this is not YAML: Map keys must be unique',
    ]);
  });

  test('a file that is not there', () => {
    expect(refusal({ file: join(folder, 'none.yaml') })).toEqual([
      'none.yaml: cannot read the configuration: there is no such file',
    ]);
  });

  test('several faults are told at once, in the order of the file', () => {
    const lines = refusal({ file: file('idleAfter: 1\ncgruop: x\nlog: { level: 1, format: 2 }') });
    expect(lines.map((line) => line.split(':').slice(0, 3).join(':'))).toEqual([
      'meshtap.yaml:1: idleAfter',
      'meshtap.yaml:2: cgruop',
      'meshtap.yaml:3: log.format',
      'meshtap.yaml:3: log.level',
    ]);
  });
});

describe('environment', () => {
  test('sets single keys over the file', () => {
    const config = loadConfig({
      file: file('instance: a\nlog: { level: warn, format: json }'),
      environment: {
        MESHTAP_LOG__LEVEL: 'debug',
        MESHTAP_IDLE_AFTER: '30s',
        MESHTAP_DIALECTS: 'otel,istio',
        MESHTAP_BOUNDARIES: '[0.1, 1]',
        MESHTAP_LIMITS__PAIRS: '120',
        MESHTAP_IDENTITY__LOCAL: 'false',
        MESHTAP_EXPORTERS__PROMETHEUS__LISTEN: '127.0.0.1:1',
        MESHTAP_RESOURCE: '{ a.b: c }',
        MESHTAP_CGROUP: '',
        PATH: '/bin',
      },
    });
    expect(config).toMatchObject({
      instance: 'a',
      log: { level: 'debug', format: 'json' },
      idleAfter: 30_000,
      dialects: ['otel', 'istio'],
      boundaries: [0.1, 1],
      limits: { pairs: 120 },
      identity: { local: false },
      exporters: { prometheus: { listen: { port: 1 } } },
      resource: { 'a.b': 'c' },
    });
    expect(config.cgroup).toBeUndefined();
  });

  test('text stays text where text is wanted', () => {
    expect(loadConfig({ environment: { MESHTAP_INSTANCE: '123' } }).instance).toBe('123');
  });

  test('is named in errors', () => {
    expect(refusal({ environment: { MESHTAP_LOG__LEVEL: 'loud' } })).toEqual([
      'MESHTAP_LOG__LEVEL: log.level: found "loud", expected one of trace, debug, info, warn, error, fatal, silent',
    ]);
  });

  test.each([
    ['MESHTAP_LOG__LEVLE', 'Did you mean MESHTAP_LOG__LEVEL?'],
    ['MESHTAP_INSTNACE', 'Did you mean MESHTAP_INSTANCE?'],
    [
      'MESHTAP_PROMETHEUS__LISTEN',
      'Variables are named after the keys, all of them: MESHTAP_LOG__LEVEL is log.level.',
    ],
  ])('%s names no key and is refused', (variable, hint) => {
    expect(refusal({ environment: { [variable]: 'info' } })).toEqual([
      `${variable}: there is no such setting`,
      hint,
    ]);
  });

  test('the variables Kubernetes makes for a service named meshtap are not ours', () => {
    const environment = {
      MESHTAP_SERVICE_HOST: '10.96.0.9',
      MESHTAP_SERVICE_PORT_METRICS: '9464',
      MESHTAP_PORT: 'tcp://10.96.0.9:9464',
      MESHTAP_AGENT_PORT_9464_TCP_ADDR: '10.96.0.9',
    };
    expect(loadConfig({ environment }).instance).toBe('default');
  });
});

describe('flags', () => {
  test('win over environment and file', () => {
    const config = loadConfig({
      file: file('instance: a'),
      environment: { MESHTAP_INSTANCE: 'b' },
      flags: [{ path: ['instance'], value: 'c', where: '--instance' }],
    });
    expect(config.instance).toBe('c');
  });

  test('are named in errors', () => {
    const flags = [{ path: ['exporters', 'prometheus', 'listen'], value: '9464', where: '--prometheus' }];
    expect(refusal({ flags })).toEqual([
      '--prometheus: exporters.prometheus.listen: found "9464", expected an address to listen on, HOST:PORT, such as 127.0.0.1:9464 or [::]:9464',
    ]);
  });
});

test('the defaults are those of the parts that are configured', () => {
  const { limits } = loadConfig();
  expect(limits).toEqual({ ...DEFAULT_LIMITS, identities: 65_536, flows: 5000 });
});

test('meshtap.schema.json is the schema of today (vitest -u writes it)', async () => {
  await expect(`${JSON.stringify(jsonSchema, null, 2)}\n`).toMatchFileSnapshot(
    '../../../meshtap.schema.json',
  );
});
