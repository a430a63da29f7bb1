import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SlotTable } from '../../src/receivers/ebpf-retire.js';

const FIRST = 2;
const IDLE_AFTER = 10_000;
const SETTLE = 1000;

interface Socket {
  epoch: number;
  index: number;
}

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
  readonly table: SlotTable<{ id: string }>;

  constructor(budget: number, { remember = 1000 } = {}) {
    this.values = Array.from({ length: budget }, () => 0);
    this.free = Array.from({ length: budget - FIRST }, (_, i) => i + FIRST);
    this.table = new SlotTable({
      store: {
        remove: (key) => this.hash.delete(textOf(key)),
        restore: (key, index) => {
          if (this.hash.has(textOf(key))) return false;
          this.hash.set(textOf(key), index);
          return true;
        },
        announce: () => {
          this.epoch++;
        },
        release: (index) => {
          if ([...this.hash.values(), ...this.free].includes(index)) throw new Error(`${index} is in use`);
          this.values[index] = 0;
          this.free.push(index);
        },
      },
      identify: (key) => ({ id: textOf(key) }),
      words: 1,
      activity: (words, at) => words[at]!,
      idleAfter: IDLE_AFTER,
      settle: SETTLE,
      remember,
      clock: () => this.now,
    });
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

  sweep(): Map<string, number> {
    for (const [key, index] of this.hash) this.table.see(Buffer.from(key), index);
    const rows = this.table.read(this.now, (index, into, at) => {
      into[at] = this.values[index]!;
    });
    this.table.retire();
    return new Map(rows.map(({ label, words, at }) => [label.id, words[at]!]));
  }

  /** Counts through a fresh look-up. */
  request(key: string, connection = key): void {
    this.count(key, this.lookUp(key, connection));
  }
}

const textOf = (key: Uint8Array) => Buffer.from(key).toString();

describe('an entry', () => {
  test('leaves when it was idle, and makes room', () => {
    const kernel = new Kernel(FIRST + 1);
    kernel.request('a');
    expect(kernel.sweep()).toEqual(new Map([['a', 1]]));
    kernel.request('b'); // no room
    expect(kernel.values[0]).toBe(1);
    kernel.now += IDLE_AFTER;
    expect(kernel.sweep()).toEqual(new Map([['a', 1]]));
    expect(kernel.hash.size).toBe(0);
    kernel.now += SETTLE;
    expect(kernel.sweep()).toEqual(new Map([['a', 1]]));
    expect(kernel.sweep()).toEqual(new Map());
    expect(kernel.table.used).toBe(0);
    kernel.request('b');
    expect(kernel.sweep()).toEqual(new Map([['b', 1]]));
  });

  test('goes on where it was when it comes back', () => {
    const kernel = new Kernel(FIRST + 2);
    for (let i = 0; i < 5; i++) kernel.request('a');
    kernel.sweep();
    kernel.now += IDLE_AFTER;
    kernel.sweep();
    kernel.now += SETTLE;
    kernel.sweep();
    expect(kernel.sweep().has('a')).toBe(false);
    kernel.request('a');
    expect(kernel.sweep().get('a')).toBe(6);
    kernel.now += IDLE_AFTER;
    kernel.sweep();
    kernel.now += SETTLE;
    kernel.sweep();
    kernel.request('a');
    expect(kernel.sweep().get('a')).toBe(7);
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
    expect(kernel.sweep().get('a')).toBe(2);
  });

  test('that something refers to is not given up', () => {
    const kernel = new Kernel(FIRST + 2);
    kernel.request('a');
    kernel.sweep();
    kernel.now += IDLE_AFTER;
    const { table } = kernel;
    table.read(kernel.now, (index, into, at) => {
      into[at] = kernel.values[index]!;
    });
    table.retire((index) => index === FIRST);
    expect(kernel.hash.has('a')).toBe(true);
    table.retire();
    expect(kernel.hash.has('a')).toBe(false);
    // Too late: meanwhile something came to refer to it.
    kernel.now += SETTLE;
    table.read(kernel.now, (index, into, at) => {
      into[at] = kernel.values[index]!;
    });
    table.retire((index) => index === FIRST);
    expect(kernel.hash.get('a')).toBe(FIRST);
  });

  test('is forgotten when more have left than are remembered', () => {
    const kernel = new Kernel(FIRST + 4, { remember: 2 });
    for (const key of ['a', 'b', 'c']) kernel.request(key);
    kernel.sweep();
    kernel.now += IDLE_AFTER;
    kernel.sweep();
    kernel.now += SETTLE;
    kernel.sweep();
    for (const key of ['a', 'b', 'c']) kernel.request(key);
    expect(kernel.sweep()).toEqual(
      new Map([
        ['a', 1],
        ['b', 2],
        ['c', 2],
      ]),
    );
  });
});

test('an index that a former process left behind is handed out again, empty', () => {
  const kernel = new Kernel(FIRST + 1);
  kernel.free.length = 0;
  kernel.values[FIRST] = 7;
  kernel.table.adopt(FIRST);
  kernel.sweep();
  expect(kernel.table.used).toBe(1);
  expect(kernel.free).toEqual([]);
  kernel.now += SETTLE;
  kernel.sweep();
  expect(kernel.free).toEqual([FIRST]);
  expect(kernel.values[FIRST]).toBe(0);
});

test('whatever happens, each name shows exactly what was counted under it, and nothing is lost', () => {
  const key = fc.constantFrom('a', 'b', 'c');
  const connection = fc.integer({ min: 0, max: 1 });
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ do: fc.constant('request' as const), key, connection }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('begin' as const), key, connection }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('finish' as const) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('sweep' as const) }) },
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
        const shown = new Map<string, number>();
        for (const it of steps) {
          if (it.do === 'request') kernel.request(it.key, `${it.key}${it.connection}`);
          else if (it.do === 'begin') {
            const index = kernel.lookUp(it.key, `${it.key}${it.connection}`);
            running.push({ key: it.key, index, since: kernel.now });
          } else if (it.do === 'finish') finish();
          else if (it.do === 'wait') {
            if (running.some(({ since }) => kernel.now + it.ms - since >= SETTLE)) finish();
            kernel.now += it.ms;
          } else {
            for (const [name, value] of kernel.sweep()) {
              expect(value, name).toBe(kernel.truth.get(name) ?? 0);
              shown.set(name, value);
            }
          }
        }
        // What was counted is shown in the end, if only once.
        finish();
        for (const [name, value] of kernel.sweep()) shown.set(name, value);
        for (const [name, value] of kernel.truth) {
          if (name !== 'overflow') expect(shown.get(name), name).toBe(value);
        }
        expect(kernel.values[0]).toBe(kernel.truth.get('overflow') ?? 0);
        expect(kernel.free.length + kernel.table.used).toBe(budget - FIRST);
      },
    ),
    { numRuns: 500 },
  );
});
