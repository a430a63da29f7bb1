import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Ending } from '../../src/receivers/counts.js';
import { decodeLeaving, encodeLeaving } from '../../src/receivers/ebpf-leaving.js';
import { type Leaving, SlotTable } from '../../src/receivers/ebpf-retire.js';

const FIRST = 2;
const IDLE_AFTER = 10_000;
const SETTLE = 1000;

interface Socket {
  epoch: number;
  index: number;
}

/** A process ended, as by kill -9. */
class Killed extends Error {}

/** The kernel's side as the programs do it: sockets cache an index until the epoch changes. */
class Kernel {
  now = 0;
  epoch = 0;
  readonly hash = new Map<string, number>();
  readonly values: number[];
  readonly free: number[];
  readonly sockets = new Map<string, Socket>();
  /** What was really counted, by key; what found no room under `overflow`. */
  readonly truth = new Map<string, number>();
  /** What was written down last. */
  noted: readonly Leaving[] = [];
  /** Changes of the maps that this process may still make. */
  lifetime = Number.POSITIVE_INFINITY;
  table: SlotTable<{ id: string }>;

  constructor(budget: number) {
    this.values = Array.from({ length: budget }, () => 0);
    this.free = Array.from({ length: budget - FIRST }, (_, i) => i + FIRST);
    this.table = this.#process();
  }

  #process(): SlotTable<{ id: string }> {
    const alive = () => {
      if (this.lifetime-- <= 0) throw new Killed();
    };
    return new SlotTable({
      store: {
        note: (leaving) => {
          alive();
          this.noted = leaving;
        },
        remove: (key) => {
          alive();
          this.hash.delete(textOf(key));
        },
        restore: (key, index) => {
          alive();
          if (this.hash.has(textOf(key))) return false;
          this.hash.set(textOf(key), index);
          return true;
        },
        announce: () => {
          alive();
          this.epoch++;
        },
        release: (index) => {
          alive();
          if ([...this.hash.values(), ...this.free].includes(index)) throw new Error(`${index} is in use`);
          this.values[index] = 0;
          alive();
          this.free.push(index);
        },
      },
      identify: (key) => ({ id: textOf(key) }),
      words: 1,
      activity: (words, at) => words[at]!,
      idleAfter: IDLE_AFTER,
      settle: SETTLE,
      clock: () => this.now,
    });
  }

  readonly valueAt = (index: number, into: Float64Array, at: number): void => {
    into[at] = this.values[index]!;
  };

  /** Another process takes over, as `Entries` does. */
  restart(): void {
    this.lifetime = Number.POSITIVE_INFINITY;
    this.table = this.#process();
    this.epoch++;
    const known = new Set([...this.hash.values(), ...this.free]);
    for (const entry of this.noted)
      if (!known.has(entry.index) && this.values[entry.index]! > 0) this.table.adopt(entry);
    // Zeroed, but not yet pushed.
    for (let index = FIRST; index < this.values.length; index++)
      if (!known.has(index) && !this.table.has(index)) {
        expect(this.values[index]).toBe(0);
        this.free.push(index);
      }
  }

  /** The index that a socket of a connection counts at. */
  lookUp(key: string, connection: string): number {
    const socket = this.sockets.get(connection);
    if (socket?.epoch === this.epoch) return socket.index;
    let index = this.hash.get(key);
    if (index === undefined) {
      index = this.free.shift() ?? 0;
      if (index >= FIRST) this.hash.set(key, index);
    }
    this.sockets.set(connection, { epoch: this.epoch, index });
    return index;
  }

  count(key: string, index: number): void {
    this.values[index]!++;
    const name = index < FIRST ? 'overflow' : key;
    this.truth.set(name, (this.truth.get(name) ?? 0) + 1);
  }

  rows(): { id: string; count: number; ending: Ending | undefined }[] {
    for (const [key, index] of this.hash) this.table.see(Buffer.from(key), index);
    const rows = this.table.read(this.now, this.valueAt);
    this.table.retire();
    return rows.map(({ label, words, at, ending }) => ({ id: label.id, count: words[at]!, ending }));
  }

  /** Counts by key. */
  sweep(): Map<string, number> {
    const sums = new Map<string, number>();
    for (const { id, count } of this.rows()) sums.set(id, (sums.get(id) ?? 0) + count);
    return sums;
  }

  /** Tokens of what is final. */
  final(): Set<string> {
    return new Set(this.rows().flatMap(({ ending }) => (ending?.final ? [ending.token] : [])));
  }

  /** Counts through a fresh look-up. */
  request(key: string, connection = key): void {
    this.count(key, this.lookUp(key, connection));
  }
}

const textOf = (key: Uint8Array) => Buffer.from(key).toString();

describe('an entry', () => {
  test('leaves when it was idle, stays until it is kept elsewhere, and makes room', () => {
    const kernel = new Kernel(FIRST + 1);
    kernel.request('a');
    expect(kernel.sweep()).toEqual(new Map([['a', 1]]));
    kernel.request('b'); // no room
    expect(kernel.values[0]).toBe(1);
    kernel.now += IDLE_AFTER;
    expect(kernel.sweep()).toEqual(new Map([['a', 1]]));
    expect(kernel.hash.size).toBe(0);
    expect(kernel.noted.map(({ key, index }) => [textOf(key), index])).toEqual([['a', FIRST]]);
    expect(kernel.final()).toEqual(new Set());
    kernel.now += SETTLE;
    expect(kernel.sweep()).toEqual(new Map([['a', 1]]));
    expect(kernel.sweep()).toEqual(new Map([['a', 1]]));
    kernel.table.release(new Set(['another']));
    expect(kernel.table.used).toBe(1);
    kernel.table.release(kernel.final());
    expect(kernel.sweep()).toEqual(new Map());
    expect(kernel.table.used).toBe(0);
    kernel.request('b');
    expect(kernel.sweep()).toEqual(new Map([['b', 1]]));
  });

  test('begins another life at 0 when it comes back', () => {
    const kernel = new Kernel(FIRST + 2);
    const read = () => kernel.table.read(kernel.now, kernel.valueAt);
    for (let i = 0; i < 5; i++) kernel.request('a');
    kernel.sweep();
    const [first] = read();
    kernel.now += IDLE_AFTER;
    kernel.sweep();
    kernel.now += SETTLE;
    kernel.sweep();
    // Back while the last life has yet to be kept.
    kernel.request('a');
    expect(kernel.rows()).toMatchObject([{ count: 5, ending: { final: true } }, { count: 1 }]);
    const [same, other] = read();
    expect(same!.life).toBe(first!.life);
    expect(other!.life).not.toBe(first!.life);
    kernel.table.release(kernel.final());
    expect(kernel.rows()).toEqual([{ id: 'a', count: 1, ending: undefined }]);
  });

  test('stays if a program that had looked it up before still counts there', () => {
    const kernel = new Kernel(FIRST + 2);
    kernel.request('a');
    kernel.sweep();
    kernel.now += IDLE_AFTER;
    const index = kernel.lookUp('a', 'a');
    kernel.sweep();
    kernel.count('a', index);
    expect(kernel.sweep().get('a')).toBe(2);
    kernel.now += SETTLE;
    expect(kernel.sweep().get('a')).toBe(2);
    expect(kernel.hash.get('a')).toBe(index);
    kernel.now += SETTLE;
    expect(kernel.rows()).toEqual([{ id: 'a', count: 2, ending: undefined }]);
  });

  test('that something refers to is not given up', () => {
    const kernel = new Kernel(FIRST + 2);
    kernel.request('a');
    kernel.sweep();
    kernel.now += IDLE_AFTER;
    const { table } = kernel;
    const read = () => table.read(kernel.now, kernel.valueAt);
    read();
    table.retire((index) => index === FIRST);
    expect(kernel.hash.has('a')).toBe(true);
    table.retire();
    expect(kernel.hash.has('a')).toBe(false);
    // Too late: meanwhile something came to refer to it.
    kernel.now += SETTLE;
    read();
    table.retire((index) => index === FIRST);
    expect(kernel.hash.get('a')).toBe(FIRST);
  });

  test('that a former process was about to give up goes on leaving, under the same token', () => {
    const kernel = new Kernel(FIRST + 1);
    kernel.request('a');
    kernel.sweep();
    kernel.now += IDLE_AFTER;
    kernel.sweep();
    const [{ token }] = kernel.noted as [Leaving];
    kernel.restart();
    expect(kernel.rows()).toEqual([{ id: 'a', count: 1, ending: { token, final: false } }]);
    kernel.now += SETTLE;
    kernel.sweep();
    expect(kernel.final()).toEqual(new Set([token]));
    kernel.table.release(new Set([token]));
    // What was written down is out of date now, and does no harm.
    kernel.request('b');
    kernel.restart();
    expect(kernel.sweep()).toEqual(new Map([['b', 1]]));
  });
});

test('the list of what leaves survives being written down', () => {
  const leaving = [
    { key: Uint8Array.of(0, 1, 255), index: 7, token: 'one' },
    { key: Uint8Array.of(10), index: 4_000_000, token: 'two' },
  ];
  expect(decodeLeaving(encodeLeaving(leaving))).toEqual(leaving);
  expect(decodeLeaving(encodeLeaving([]))).toEqual([]);
});

test('whatever happens, each name has exactly what was counted under it, and nothing is lost', () => {
  const key = fc.constantFrom('a', 'b', 'c');
  const connection = fc.integer({ min: 0, max: 1 });
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ do: fc.constant('request' as const), key, connection }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('begin' as const), key, connection }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('finish' as const) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('sweep' as const) }) },
    // A process that is killed after so many changes of the maps, before or after it had kept what ended.
    { weight: 1, arbitrary: fc.record({ do: fc.constant('kill' as const), after: fc.nat(6) }) },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('wait' as const),
        ms: fc.constantFrom(998, 1000, 10_000),
      }),
    },
  );
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 20, maxLength: 200, size: 'max' }),
      fc.integer({ min: 3, max: 6 }),
      (steps, budget) => {
        const kernel = new Kernel(budget);
        /** Programs that have looked up their index and not counted yet. They take far less than `SETTLE`. */
        let running: { key: string; index: number; since: number }[] = [];
        const finish = () => {
          for (const { key, index } of running) kernel.count(key, index);
          running = [];
        };
        /** What was kept of lives that ended, by token: as durable as the kernel's maps. */
        const kept = new Map<string, { id: string; count: number }>();
        const sweep = () => {
          const sums = new Map<string, number>();
          const add = (id: string, count: number) => sums.set(id, (sums.get(id) ?? 0) + count);
          const final = new Set<string>();
          for (const { id, count, ending } of kernel.rows()) {
            if (ending?.final) {
              // Final means final, whoever looks.
              expect(kept.get(ending.token)?.count ?? count).toBe(count);
              kept.set(ending.token, { id, count });
              final.add(ending.token);
            } else if (!ending || !kept.has(ending.token)) add(id, count);
          }
          for (const { id, count } of kept.values()) add(id, count);
          for (const [name, count] of sums) expect(count, name).toBe(kernel.truth.get(name) ?? 0);
          for (const [name, count] of kernel.truth)
            if (name !== 'overflow') expect(sums.get(name), name).toBe(count);
          kernel.table.release(final);
        };
        for (const it of steps) {
          if (it.do === 'request') kernel.request(it.key, `${it.key}${it.connection}`);
          else if (it.do === 'begin') {
            const index = kernel.lookUp(it.key, `${it.key}${it.connection}`);
            running.push({ key: it.key, index, since: kernel.now });
          } else if (it.do === 'finish') finish();
          else if (it.do === 'wait') {
            if (running.some(({ since }) => kernel.now + it.ms - since >= SETTLE)) finish();
            kernel.now += it.ms;
          } else if (it.do === 'sweep') sweep();
          else {
            kernel.lifetime = it.after;
            try {
              sweep();
            } catch (error) {
              if (!(error instanceof Killed)) throw error;
            }
            finish();
            kernel.restart();
          }
        }
        finish();
        sweep();
        expect(kernel.values[0]).toBe(kernel.truth.get('overflow') ?? 0);
        expect(kernel.free.length + kernel.table.used).toBe(budget - FIRST);
      },
    ),
    { numRuns: 500 },
  );
});
