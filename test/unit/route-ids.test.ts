import { describe, expect, test } from 'vitest';
import { enums } from '../../src/bpf/generated/counts.js';
import { RouteIds } from '../../src/receivers/ebpf-route-ids.js';
import type { Memory } from '../../src/receivers/receiver.js';
import { METHODS } from '../../src/routes/route.js';

const SECOND = 1_000_000_000n;
const DAY = 86_400n * SECOND;
const { FIRST_ROUTE, ROUTE_NONE, ROUTE_OTHER } = enums.route;
const NOTHING: ReadonlySet<string> = new Set();

class Kept implements Memory {
  readonly #bytes = new Map<string, Uint8Array>();
  keep(name: string, bytes: Uint8Array): void {
    this.#bytes.set(name, bytes);
  }
  kept(name: string): Uint8Array | undefined {
    return this.#bytes.get(name);
  }
}

function idsWith({ room = 3, memory }: { room?: number; memory?: Memory } = {}) {
  let now = SECOND;
  const ids = new RouteIds(memory, { clock: () => now, last: FIRST_ROUTE + room - 1 });
  const assign = (texts: string[], inSeries: ReadonlySet<string> = NOTHING) =>
    ids.assign(new Set(texts), [], inSeries);
  return {
    ids,
    assign,
    pass: (time: bigint) => {
      now += time;
    },
  };
}

test('methods that can have routes are those that the kernel tells apart', () => {
  const told = Object.keys(enums.method).map((name) => name.replace('METHOD_', ''));
  expect([...METHODS].sort()).toEqual(told.filter((name) => !['OTHER', 'UNKNOWN'].includes(name)).sort());
});

describe('ids of routes', () => {
  test('stay through changes and restarts', () => {
    const memory = new Kept();
    const first = idsWith({ memory });
    first.assign(['/a', '/b']);
    const [a, b] = [first.ids.idOf('/a'), first.ids.idOf('/b')];
    first.assign(['/b', '/c']);
    const second = idsWith({ memory });
    expect(second.ids.textOf(a)).toBe('/a');
    second.assign(['/a', '/b']);
    expect([second.ids.idOf('/a'), second.ids.idOf('/b')]).toEqual([a, b]);
  });

  test('say what they stand for', () => {
    const { ids } = idsWith();
    expect(ids.textOf(ROUTE_NONE)).toBeUndefined();
    expect(ids.textOf(ROUTE_OTHER)).toBe('*');
    expect(ids.textOf(60_000)).toBe('unknown');
  });

  test("are another route's only after a day, and if no series has them", () => {
    const { ids, assign, pass } = idsWith();
    assign(['/a', '/b', '/c']);
    const a = ids.idOf('/a');
    assign(['/c']);
    pass(DAY);
    expect(() => assign(['/c', '/d'])).toThrow(/more than 3 routes/);
    pass(3n * SECOND);
    expect(() => assign(['/c', '/d'], new Set(['/a', '/b']))).toThrow(/more than 3 routes/);
    assign(['/c', '/d'], new Set(['/b']));
    expect(ids.idOf('/d')).toBe(a);
    expect(ids.textOf(a)).toBe('/d');
  });

  test('what came back in time is not given away', () => {
    const { ids, assign, pass } = idsWith({ room: 2 });
    assign(['/a', '/b']);
    assign(['/b']);
    pass(DAY);
    assign(['/a']);
    pass(DAY + 3n * SECOND);
    assign(['/a', '/c']);
    expect(ids.textOf(ids.idOf('/a'))).toBe('/a');
    expect(ids.idOf('/c')).not.toBe(ids.idOf('/a'));
  });

  test('scopes keep their numbers, from 1 on', () => {
    const memory = new Kept();
    const { ids } = idsWith({ memory });
    ids.assign(NOTHING, ['', 'x'], NOTHING);
    ids.assign(NOTHING, ['', 'y'], NOTHING);
    const again = idsWith({ memory }).ids;
    expect(again.scopes).toEqual([undefined, '', 'x', 'y']);
    expect(again.scopeNumberOf('y')).toBe(3);
  });
});
