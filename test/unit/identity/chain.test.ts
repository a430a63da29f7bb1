import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startChain } from '../../../src/identity/chain.js';
import {
  type Identity,
  type Question,
  type Resolver,
  UNKNOWN,
  WORLD,
} from '../../../src/identity/identity.js';
import { staticTable } from '../../../src/identity/static.js';
import { temporaryDirectory } from '../../support/bpf.js';

const signal = new AbortController().signal;
const named = (service: string): Identity => ({ ...UNKNOWN, service });
const address = (text: string): Question => ({
  endpoint: { kind: 'address', address: text },
  role: 'server',
  port: 80,
});
const cgroup = (id: bigint): Question => ({
  endpoint: { kind: 'cgroup', cgroup: id },
  role: 'client',
  port: undefined,
});

/** A resolver whose knowledge the test changes. */
function notebook(name: string, known: Record<string, string> = {}) {
  const log: string[] = [];
  const resolver: Resolver = {
    name,
    start: async () => void log.push(`${name} start`),
    resolve: ({ endpoint }) => {
      const key =
        endpoint.kind === 'address'
          ? endpoint.address
          : endpoint.kind === 'cgroup'
            ? `${endpoint.cgroup}`
            : '';
      log.push(`${name} ${key}`);
      return known[key] === undefined ? undefined : named(known[key]);
    },
    status: () => `${Object.keys(known).length} entries`,
    [Symbol.asyncDispose]: async () => void log.push(`${name} closed`),
  };
  return { resolver, known, log };
}

async function chainOf(...books: ReturnType<typeof notebook>[]) {
  const clock = { time: 0 };
  const resolvers = books.map(({ resolver }) => resolver);
  return { clock, chain: await startChain({ resolvers, limit: 100, now: () => clock.time }, signal) };
}

test('the first answer wins', async () => {
  const { chain } = await chainOf(
    notebook('a', { x: '' }),
    notebook('b', { '10.0.0.1': 'b' }),
    notebook('c', { '10.0.0.1': 'c' }),
  );
  expect(chain.identify(address('10.0.0.1'))?.service).toBe('b');
});

test('nobody knows: unknown', async () => {
  const { chain } = await chainOf(notebook('a'));
  expect(chain.identify(address('10.0.0.1'))).toEqual(UNKNOWN);
});

test('a cgroup that nobody can name is watched all the same: the kernel gives no other', async () => {
  const { chain } = await chainOf(notebook('a'));
  expect(chain.identify(cgroup(7n))).toEqual({ ...UNKNOWN, watched: true });
});

test('the world and named ends ask nobody', async () => {
  const book = notebook('a');
  const { chain } = await chainOf(book);
  expect(chain.identify({ endpoint: { kind: 'world' }, role: 'server', port: 443 })).toEqual(WORLD);
  const endpoint = { kind: 'named', service: 's', namespace: 'n' } as const;
  expect(chain.identify({ endpoint, role: 'client', port: undefined })).toMatchObject({
    service: 's',
    namespace: 'n',
  });
  expect(book.log).toEqual(['a start']);
});

describe('answers are kept', () => {
  test('a known one for seconds, then it is asked for again', async () => {
    const book = notebook('a', { '10.0.0.1': 'old' });
    const { chain, clock } = await chainOf(book);
    chain.identify(address('10.0.0.1'));
    book.known['10.0.0.1'] = 'new';
    clock.time = 4_000;
    expect(chain.identify(address('10.0.0.1'))?.service).toBe('old');
    clock.time = 6_000;
    expect(chain.identify(address('10.0.0.1'))?.service).toBe('new');
    expect(book.log.filter((line) => line === 'a 10.0.0.1')).toHaveLength(2);
  });

  test('unknown for one second', async () => {
    const book = notebook('a');
    const { chain, clock } = await chainOf(book);
    chain.identify(address('10.0.0.1'));
    book.known['10.0.0.1'] = 'born';
    clock.time = 900;
    expect(chain.identify(address('10.0.0.1'))?.service).toBe('unknown');
    clock.time = 1_100;
    expect(chain.identify(address('10.0.0.1'))?.service).toBe('born');
  });

  test('the name of an address outlives its owner by minutes', async () => {
    const book = notebook('a', { '10.0.0.1': 'dead' });
    const { chain, clock } = await chainOf(book);
    chain.identify(address('10.0.0.1'));
    delete book.known['10.0.0.1'];
    for (clock.time = 10_000; clock.time < 290_000; clock.time += 10_000)
      expect(chain.identify(address('10.0.0.1'))?.service).toBe('dead');
    clock.time = 302_000;
    expect(chain.identify(address('10.0.0.1'))?.service).toBe('unknown');
  });

  test('the name of a cgroup for as long as there is room: its id is never another one', async () => {
    const book = notebook('a', { 7: 'job' });
    const { chain, clock } = await chainOf(book);
    chain.identify(cgroup(7n));
    delete book.known['7'];
    clock.time = 86_400_000;
    expect(chain.identify(cgroup(7n))?.service).toBe('job');
  });

  test('and they are bounded', async () => {
    const { chain } = await chainOf(notebook('a'));
    for (let id = 0n; id < 1_000n; id++) chain.identify(cgroup(id));
    expect(chain.status().chain).toBe('100 of 100 names kept');
  });
});

describe('prefixes of several resolvers', () => {
  const first = () => staticTable({ entries: [{ cidr: '10.0.0.0/8', service: 'a' }], addresses: [] });
  const second = () =>
    staticTable({
      entries: [
        { cidr: '10.0.0.0/8', service: 'b' },
        { cidr: '192.168.0.0/16', service: 'c' },
      ],
      addresses: [],
    });
  const idOf = async (cidr: string, resolvers: Resolver[]) => {
    const chain = await startChain({ resolvers }, signal);
    const id = chain.prefixes().find((prefix) => prefix.cidr === cidr)?.id as number;
    return {
      id,
      service: chain.identify({ endpoint: { kind: 'prefix', id }, role: 'server', port: 1 })?.service,
    };
  };

  test('share no number, and the first resolver decides', async () => {
    const ten = await idOf('10.0.0.0/8', [first(), second()]);
    const private16 = await idOf('192.168.0.0/16', [first(), second()]);
    expect([ten.service, private16.service]).toEqual(['a', 'c']);
    expect(ten.id).not.toBe(private16.id);
  });

  test('a number belongs to its prefix whatever else there is, so that pinned counts keep their meaning', async () => {
    const before = await idOf('192.168.0.0/16', [second()]);
    const after = await idOf('192.168.0.0/16', [first(), second()]);
    expect(after.id).toBe(before.id);
  });
});

describe('start and stop', () => {
  test('a resolver that can not start closes those before it', async () => {
    const book = notebook('a');
    const broken: Resolver = {
      ...notebook('b').resolver,
      start: async () => Promise.reject(new Error('no')),
    };
    await expect(startChain({ resolvers: [book.resolver, broken] }, signal)).rejects.toThrow('no');
    expect(book.log).toEqual(['a start', 'a closed']);
  });

  test('closing closes all, the last first', async () => {
    const log: string[] = [];
    const closing = (name: string): Resolver => ({
      ...notebook(name).resolver,
      [Symbol.asyncDispose]: async () => void log.push(name),
    });
    const chain = await startChain({ resolvers: [closing('a'), closing('b')] }, signal);
    await chain[Symbol.asyncDispose]();
    expect(log).toEqual(['b', 'a']);
  });
});

describe('an end that somebody may tell of any moment', () => {
  /** A resolver that knows some pods and waits for all others. */
  const patient = (known: Record<string, string> = {}) => {
    const book = notebook('patient', known);
    const state = { revision: 0, waits: true };
    const resolver: Resolver = {
      ...book.resolver,
      pending: () => state.waits,
      revision: () => state.revision,
    };
    return { ...book, resolver, state };
  };
  const waiting = async (
    book: ReturnType<typeof patient>,
    more: Partial<Parameters<typeof startChain>[0]> = {},
  ) => {
    const clock = { time: 0 };
    const fallback = notebook('fallback', { 7: 'container', 8: 'container', '10.0.0.2': 'static' });
    const resolvers = [notebook('first', { '10.0.0.3': 'sure' }).resolver, book.resolver, fallback.resolver];
    return {
      clock,
      chain: await startChain({ resolvers, wait: 1000, now: () => clock.time, ...more }, signal),
    };
  };

  test('is held back until it is told of', async () => {
    const book = patient();
    const { chain } = await waiting(book);
    expect(chain.identify(cgroup(7n))).toBeUndefined();
    expect(chain.identify(address('10.0.0.1'))).toBeUndefined();
    expect(chain.health().held).toBe(2);
    book.known['7'] = 'pod';
    expect(chain.identify(cgroup(7n))?.service).toBe('pod');
    expect(chain.health().held).toBe(1);
  });

  test('is not, where somebody before it knows for sure', async () => {
    const { chain } = await waiting(patient());
    expect(chain.identify(address('10.0.0.3'))?.service).toBe('sure');
  });

  test('gets the next best name after a time, and the right one whenever it comes', async () => {
    const book = patient();
    const { chain, clock } = await waiting(book);
    for (clock.time = 0; clock.time < 1000; clock.time += 100)
      expect(chain.identify(cgroup(7n))).toBeUndefined();
    expect(chain.identify(cgroup(7n))?.service).toBe('container');
    clock.time = 100_000;
    expect(chain.identify(cgroup(7n))?.service).toBe('container');
    book.known['7'] = 'pod';
    clock.time = 200_000;
    expect(chain.identify(cgroup(7n))?.service).toBe('pod');
    expect(chain.health().held).toBe(0);
  });

  test('an address that was taken from one waits for the next; a cgroup keeps its name', async () => {
    const book = patient({ 7: 'pod', '10.0.0.1': 'old' });
    const { chain } = await waiting(book);
    chain.identify(cgroup(7n));
    chain.identify(address('10.0.0.1'));
    delete book.known['7'];
    delete book.known['10.0.0.1'];
    book.state.revision++;
    expect(chain.identify(cgroup(7n))?.service).toBe('pod');
    expect(chain.identify(address('10.0.0.1'))).toBeUndefined();
  });

  test('a new revision counts at once, an old answer no more', async () => {
    const book = patient({ '10.0.0.1': 'old' });
    const { chain } = await waiting(book);
    expect(chain.identify(address('10.0.0.1'))?.service).toBe('old');
    book.known['10.0.0.1'] = 'new';
    expect(chain.identify(address('10.0.0.1'))?.service).toBe('old');
    book.state.revision++;
    expect(chain.identify(address('10.0.0.1'))?.service).toBe('new');
  });

  test('no more than 4096 are, and those that nobody asks for again make room', async () => {
    const { chain, clock } = await waiting(patient());
    for (let id = 100n; id < 4196n; id++) expect(chain.identify(cgroup(id))).toBeUndefined();
    expect(chain.identify(cgroup(7n))?.service).toBe('container');
    clock.time = 10_000;
    expect(chain.identify(cgroup(8n))).toBeUndefined();
    expect(chain.health().held).toBe(1);
  });

  test('what a cgroup was called is known to the next process', async () => {
    const memory = join(temporaryDirectory(), 'names');
    const first = await waiting(patient({ 7: 'pod' }), { memory });
    expect(first.chain.identify(cgroup(7n))?.service).toBe('pod');
    first.chain.identify(address('10.0.0.3'));
    const next = await waiting(patient(), { memory });
    expect(next.chain.identify(cgroup(7n))?.service).toBe('pod');
    expect(next.chain.identify(cgroup(8n))).toBeUndefined();
  });
});
