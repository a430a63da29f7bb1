import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { type AgentOptions, createAgent } from '../../src/agent.js';
import { MeshtapError } from '../../src/errors.js';
import type { Exporter } from '../../src/exporters/exporter.js';
import { prometheus } from '../../src/exporters/prometheus.js';
import type { Resolver } from '../../src/identity/identity.js';
import type { Counts } from '../../src/receivers/counts.js';
import type { Prefix, Receiver, ReceiverStatus } from '../../src/receivers/receiver.js';
import { counts, http, named, pair } from '../support/counts.js';

const request1 = http(pair('server', named('details'), named('productpage')), { status: 200 });

/** A receiver that counts what it is told to and writes down what happens to it. */
function recorder(
  log: string[],
  { name = 'recorder', sweep = async () => counts({ http: [request1] }) } = {},
) {
  const state: { status: ReceiverStatus; prefixes: readonly Prefix[] } = {
    status: { state: 'running', detail: {} },
    prefixes: [],
  };
  const receiver: Receiver = {
    name,
    async start() {
      log.push(`${name} start`);
      return {
        collect: sweep,
        status: () => state.status,
        setPrefixes: (prefixes) => Object.assign(state, { prefixes }),
        [Symbol.asyncDispose]: async () => void log.push(`${name} closed`),
      };
    },
  };
  return { receiver, state };
}

function silent(log: string[], name: string): Exporter & Resolver {
  return {
    name,
    start: async () => {
      log.push(`${name} start`);
      return { address: name, [Symbol.asyncDispose]: async () => void log.push(`${name} closed`) } as never;
    },
    resolve: () => undefined,
    status: () => 'fine',
    [Symbol.asyncDispose]: async () => void log.push(`${name} closed`),
  };
}

const failing = (name: string): Exporter & Receiver & Resolver => ({
  ...silent([], name),
  start: async () => {
    throw new MeshtapError('PORT_IN_USE', `${name} can not start`);
  },
});

const base = (log: string[] = []): AgentOptions => ({ receivers: [recorder(log).receiver], resolvers: [] });

describe('start', () => {
  test('resolvers, exporters, receivers; closing begins with the exporters, once', async () => {
    const log: string[] = [];
    const agent = await createAgent({
      receivers: [recorder(log).receiver],
      resolvers: [silent(log, 'names')],
      exporters: [silent(log, 'out')],
    });
    await agent[Symbol.asyncDispose]();
    await agent[Symbol.asyncDispose]();
    expect(log).toEqual([
      'names start',
      'out start',
      'recorder start',
      'out closed',
      'recorder closed',
      'names closed',
    ]);
  });

  test.each(['resolvers', 'receivers', 'exporters'] as const)(
    'one of the %s fails: its error, and nothing left',
    async (kind) => {
      const log: string[] = [];
      const options: AgentOptions = {
        receivers: [recorder(log).receiver],
        resolvers: [silent(log, 'names')],
        exporters: [silent(log, 'out')],
      };
      const broken = { ...options, [kind]: [...options[kind]!, failing('broken')] };
      await expect(createAgent(broken)).rejects.toThrow('broken can not start');
      const opened = log
        .filter((line) => line.endsWith('start'))
        .map((line) => line.replace(' start', ' closed'));
      expect(log.filter((line) => line.endsWith('closed')).sort()).toEqual(opened.sort());
    },
  );

  test('a port in use, told before any receiver starts', async () => {
    const log: string[] = [];
    await using first = await createAgent({ ...base(), exporters: [prometheus({ port: 0 })] });
    const port = Number(new URL((await first.status()).exporters.prometheus!).port);
    const second = createAgent({ ...base(log), exporters: [prometheus({ port })] });
    await expect(second).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: `127.0.0.1:${port} is in use`,
    });
    expect(log).toEqual([]);
  });

  test.each<[string, Partial<AgentOptions>, string]>([
    ['no receiver', { receivers: [] }, 'an agent needs at least one receiver'],
    [
      'boundaries that descend',
      { boundaries: [1, 0.5] },
      'boundaries: expected boundaries in ascending order',
    ],
    ['too many boundaries', { boundaries: Array.from({ length: 24 }, (_, i) => i + 1) }, 'at most 23'],
  ])('%s is refused before anything starts', async (_, options, message) => {
    const log: string[] = [];
    const agent = createAgent({ ...base(log), ...options });
    await expect(agent).rejects.toThrow(message);
    await expect(agent).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(log).toEqual([]);
  });
});

describe('signal', () => {
  test('closes what runs', async () => {
    const log: string[] = [];
    const stop = new AbortController();
    await createAgent({ ...base(log), signal: stop.signal });
    stop.abort();
    await sleep(0);
    expect(log).toEqual(['recorder start', 'recorder closed']);
  });

  test('stops a start', async () => {
    const log: string[] = [];
    const stop = new AbortController();
    const aborting = { ...silent(log, 'names'), start: async () => stop.abort(new Error('enough')) };
    await expect(createAgent({ ...base(log), resolvers: [aborting], signal: stop.signal })).rejects.toThrow(
      'enough',
    );
    expect(log).toEqual(['names closed']);
  });
});

describe('while it runs', () => {
  test('a receiver that fails at a collection rejects that collection only', async () => {
    let broken = true;
    const sweep = async (): Promise<Counts> => {
      if (broken) throw new MeshtapError('BPF_FAILED', 'the map is gone');
      return counts({ http: [request1] });
    };
    await using agent = await createAgent({ receivers: [recorder([], { sweep }).receiver], resolvers: [] });
    await expect(agent.collect()).rejects.toThrow('the map is gone');
    expect((await agent.status()).counts).toEqual({ failed: 'the map is gone' });
    expect((await agent.producer.collect()).errors).toHaveLength(1);
    broken = false;
    expect((await agent.collect()).length).toBeGreaterThan(0);
  });

  test('a receiver that is not well is a status, and not ready', async () => {
    const { receiver, state } = recorder([]);
    await using agent = await createAgent({
      receivers: [receiver],
      resolvers: [],
      exporters: [prometheus({ port: 0 })],
    });
    const ready = async () => {
      const url = new URL('/readyz', (await agent.status()).exporters.prometheus);
      return new Promise((resolve) =>
        request(url, (response) => resolve(response.resume().statusCode)).end(),
      );
    };
    expect(await ready()).toBe(200);
    state.status = { state: 'degraded', reason: 'one of two', detail: {} };
    expect(await ready()).toBe(503);
    expect((await agent.status()).receivers.recorder).toEqual(state.status);
  });

  test('dialects are chosen by name', async () => {
    await using agent = await createAgent({ ...base(), dialects: ['hubble', 'istio'] });
    const names = (await agent.collect()).map(({ name }) => name);
    expect(names).toContain('hubble_flows_processed_total');
    expect(names).toContain('istio_requests_total');
    expect(names).not.toContain('http.server.request.duration');
  });

  test('prefixes of the resolvers reach the receiver', async () => {
    const { receiver, state } = recorder([]);
    const folding = {
      ...silent([], 'folding'),
      prefixes: () => [{ cidr: '10.0.0.0/8', id: 'world' as const }],
    };
    await using _agent = await createAgent({ receivers: [receiver], resolvers: [folding] });
    expect(state.prefixes).toEqual([{ cidr: '10.0.0.0/8', id: 'world' }]);
  });

  test('two receivers of one kind are two in the status and one in the sums', async () => {
    const budgets = [{ name: 'pairs', used: 1, limit: 10 }];
    const sweep = async () => ({ ...counts({ http: [request1] }), budgets });
    const one = () => recorder([], { sweep }).receiver;
    await using agent = await createAgent({ receivers: [one(), one()], resolvers: [] });
    const status = await agent.status();
    expect(Object.keys(status.receivers)).toEqual(['recorder', 'recorder-2']);
    expect('budgets' in status.counts && status.counts.budgets).toContainEqual({
      name: 'pairs',
      used: 2,
      limit: 20,
    });
    expect((await agent.snapshot()).requests).toHaveLength(2);
  });

  test('it logs only to whom it was given', async () => {
    const lines: string[] = [];
    const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) });
    const noisy: Exporter = {
      name: 'noisy',
      start: async ({ log }) => {
        log.info('here');
        return { address: '', [Symbol.asyncDispose]: async () => {} };
      },
    };
    await using _agent = await createAgent({ ...base(), exporters: [noisy], log });
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ exporter: 'noisy', msg: 'here' }]);
  });
});
