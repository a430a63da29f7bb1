import { describe, expect, test } from 'vitest';
import type { FlowEvent } from '../../../src/flows/flow.js';
import { FlowHub } from '../../../src/flows/hub.js';
import { Ring } from '../../../src/flows/ring.js';
import { flow, response } from '../../support/flows.js';

const numbered = (n: number) =>
  flow({ uuid: String(n), time: BigInt(n), source: { ...response().flow.source, port: n % 2 } });
const ids = (events: readonly FlowEvent[]) =>
  events.map((event) =>
    'flow' in event ? Number(event.flow.uuid) : 'lost' in event ? `lost ${event.lost.count}` : '?',
  );

async function all(events: AsyncIterable<FlowEvent>): Promise<FlowEvent[]> {
  const found: FlowEvent[] = [];
  for await (const event of events) found.push(event);
  return found;
}

function filled(count: number, history = 8): FlowHub {
  const hub = new FlowHub({ history });
  for (let i = 1; i <= count; i++) hub.publish(numbered(i));
  return hub;
}

test.each([1, 2, 3, 7])('a ring of %i has the latest, in order', (limit) => {
  const ring = new Ring<number>(limit);
  for (let n = 1; n <= 20; n++) {
    ring.push(n);
    const kept = Array.from({ length: Math.min(n, limit) }, (_, i) => n - Math.min(n, limit) + 1 + i);
    const odd = kept.filter((one) => one % 2 === 1);
    expect(ring.first(Infinity, () => true)).toEqual(kept);
    expect(ring.last(2, () => true)).toEqual(kept.slice(-2));
    expect(ring.first(2, (one) => one % 2 === 1)).toEqual(odd.slice(0, 2));
    expect(ring.last(2, (one) => one % 2 === 1)).toEqual(odd.slice(-2));
    expect(ring.last(0, () => true)).toEqual([]);
  }
});

describe('what was', () => {
  test('as many as are kept', async () => {
    expect(ids(await all(filled(20).watch()))).toEqual([13, 14, 15, 16, 17, 18, 19, 20]);
    expect(filled(20).status()).toMatchObject({ flows: 8, limit: 8, seen: 20 });
  });

  test('the last and the first of those that fit', async () => {
    const filter = ({ source }: { source: { port: number } }) => source.port === 1;
    expect(ids(await all(filled(20).watch({ last: 2, filter })))).toEqual([17, 19]);
    expect(ids(await all(filled(20).watch({ first: 2, filter })))).toEqual([13, 15]);
  });

  test('since and until, both included', async () => {
    expect(ids(await all(filled(20).watch({ since: 15n, until: 18n })))).toEqual([15, 16, 17, 18]);
    expect(ids(await all(filled(20).watch({ since: 15n, until: 18n, last: 2 })))).toEqual([17, 18]);
  });
});

describe('what comes', () => {
  const follow = (hub: FlowHub, options = {}) => {
    const stop = new AbortController();
    const seen: FlowEvent[] = [];
    const done = (async () => {
      for await (const event of hub.watch({ follow: true, signal: stop.signal, ...options }))
        seen.push(event);
    })();
    return {
      seen,
      stop() {
        stop.abort();
        return done;
      },
    };
  };
  const turn = () => new Promise((resolve) => setImmediate(resolve));

  test('follows what was, without a gap and nothing twice', async () => {
    const hub = filled(4);
    const watcher = follow(hub, { last: 2 });
    hub.publish(numbered(5));
    await turn();
    hub.publish(numbered(6));
    await turn();
    await watcher.stop();
    expect(ids(watcher.seen)).toEqual([3, 4, 5, 6]);
    expect(hub.status().watchers).toBe(0);
  });

  test('ten watchers of which one is slow: nine have all, one is told what it missed', async () => {
    const hub = new FlowHub({ history: 8 });
    const fast = Array.from({ length: 9 }, () => follow(hub, { queue: 16 }));
    const slow = hub.watch({ follow: true, queue: 16 });
    const first = slow.next();
    for (let i = 1; i <= 1000; i++) {
      hub.publish(numbered(i));
      if (i % 16 === 0) await turn();
    }
    await turn();
    for (const watcher of fast) {
      await watcher.stop();
      expect(ids(watcher.seen)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1));
    }
    const seen = [(await first).value as FlowEvent];
    const lost = () => seen.reduce((sum, event) => sum + ('lost' in event ? event.lost.count : 0), 0);
    const flows = () => seen.filter((event) => 'flow' in event).length;
    while (flows() + lost() < 1000) seen.push((await slow.next()).value as FlowEvent);
    expect(flows() + lost()).toBe(1000);
    const gaps = seen.flatMap((event) => ('lost' in event ? [event.lost] : []));
    expect(gaps.length).toBe(1);
    expect(gaps[0]).toMatchObject({ source: 'HUBBLE_RING_BUFFER', last: 1000n });
    // What it missed begins where it stopped.
    const last = Number((seen.findLast((event) => 'flow' in event) as ReturnType<typeof flow>).flow.uuid);
    expect(gaps[0]!.first).toBe(BigInt(last + 1));
    await slow.return();
    expect(hub.status().watchers).toBe(0);
  });

  test('what a filter leaves out is not missed', async () => {
    const hub = new FlowHub();
    const slow = hub.watch({ follow: true, queue: 4, filter: ({ uuid }) => uuid === '999' });
    const next = slow.next();
    for (let i = 1; i <= 1000; i++) hub.publish(numbered(i));
    expect(ids([(await next).value as FlowEvent])).toEqual([999]);
    await slow.return();
  });

  test('what a source lost is passed on, and counted', async () => {
    const hub = new FlowHub();
    const watcher = follow(hub);
    const lost = {
      source: 'PERF_EVENT_RING_BUFFER',
      count: 7,
      cpu: 1,
      first: undefined,
      last: undefined,
    } as const;
    hub.publish({ time: 1n, node: '', lost });
    await turn();
    await watcher.stop();
    expect(ids(watcher.seen)).toEqual(['lost 7']);
    expect(hub.status()).toMatchObject({ lost: 7, seen: 0 });
  });

  test('ends at once if told before', async () => {
    const hub = new FlowHub();
    expect(await all(hub.watch({ follow: true, signal: AbortSignal.abort() }))).toEqual([]);
  });
});

test('nobody sees what is to be left out, neither now nor later', async () => {
  const hub = new FlowHub();
  const watcher = hub.watch({ follow: true });
  const next = watcher.next();
  hub.publish(response({ url: 'http://reviews/user/42?token=secret' }));
  const seen = [(await next).value as FlowEvent, ...(await all(hub.watch()))];
  expect(JSON.stringify(seen, (_, value) => (typeof value === 'bigint' ? String(value) : value))).not.toMatch(
    /secret|user.42/,
  );
  await watcher.return();
});

describe('whether anybody wants flows', () => {
  test('is told at once, with the first who follows and with the last who goes', async () => {
    const hub = filled(3);
    const told: boolean[] = [];
    const stop = hub.onWatched((watched) => told.push(watched));
    await all(hub.watch());
    expect(told).toEqual([false]);
    const [first, second] = [new AbortController(), new AbortController()];
    const streams = [first, second].map(({ signal }) => all(hub.watch({ follow: true, signal })));
    expect(told).toEqual([false, true]);
    first.abort();
    await streams[0];
    expect(told).toEqual([false, true]);
    second.abort();
    await streams[1];
    expect(told).toEqual([false, true, false]);
    stop();
    const last = new AbortController();
    const stream = all(hub.watch({ follow: true, signal: last.signal }));
    last.abort();
    await stream;
    expect(told).toHaveLength(3);
  });

  test('somebody always does, if it is said so', () => {
    const told: boolean[] = [];
    new FlowHub({ always: true }).onWatched((watched) => told.push(watched));
    expect(told).toEqual([true]);
  });
});
