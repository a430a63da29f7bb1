// How long it took: the kernel's own clock against ours, which starts earlier and stops later.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { DEFAULT_BOUNDARIES } from '../../../src/config/boundaries.js';
import { curl } from '../../support/load.js';
import { answer, GET, OK, request } from '../../support/messages.js';
import type { Seen } from '../../support/meter.js';
import type { Line } from '../../support/raw-peer.js';
import { test } from '../../support/traffic.js';

/** Seconds between which a duration must lie. */
interface Range {
  readonly atLeast: number;
  readonly atMost: number;
}

/** A stopwatch for one exchange. */
class Watch {
  readonly #started = performance.now();
  #asked = 0;
  #answering = 0;

  /** The request, or its first part, has arrived. */
  asked(): void {
    this.#asked ||= performance.now();
  }

  /** What is measured can not end before now. */
  answering(): void {
    this.#answering = performance.now();
  }

  /** What is measured has ended by now. */
  range(): Range {
    return {
      atLeast: (this.#answering - this.#asked) / 1000,
      atMost: (performance.now() - this.#started) / 1000,
    };
  }
}

/** An exchange whose answer takes that long. */
async function exchange(line: Line, milliseconds = 0): Promise<Range> {
  const watch = new Watch();
  await line.client.say(GET);
  watch.asked();
  await sleep(milliseconds);
  watch.answering();
  await line.server.say(OK);
  return watch.range();
}

const bucketOf = (seconds: number): number => {
  const index = DEFAULT_BOUNDARIES.findIndex((bound) => seconds <= bound);
  return index < 0 ? DEFAULT_BOUNDARIES.length : index;
};

/** One exchange, seen from both sides: its time lies in the range, and in the bucket where its time belongs. */
function expectOne(
  seen: Seen,
  kind: 'durations' | 'firstBytes',
  { atLeast, atMost }: Range,
  name = 'GET 200',
): void {
  for (const role of ['client', 'server'] as const) {
    const { seconds, ...buckets } = seen.latency(role, kind, name);
    expect(seconds).toBeGreaterThanOrEqual(atLeast);
    expect(seconds).toBeLessThanOrEqual(atMost);
    expect(buckets).toEqual({ [bucketOf(seconds!)]: 1 });
  }
}

test.for([2, 17, 70, 350])('an answer that takes %i ms', async (milliseconds, { meter, connect }) => {
  let range: Range;
  const seen = await meter.during(async () => {
    const line = await connect();
    range = await exchange(line, milliseconds);
    await line.hangUp();
  });
  expectOne(seen, 'durations', range!);
  expectOne(seen, 'firstBytes', range!);
});

test('the time a kept connection is idle is nobody’s latency', async ({ meter, connect }) => {
  const ranges: Range[] = [];
  const seen = await meter.during(async () => {
    const line = await connect();
    await sleep(500); // opened early, used late
    for (let i = 0; i < 3; i++) {
      ranges.push(await exchange(line));
      await sleep(i < 2 ? 1000 : 0);
    }
    await line.hangUp();
  });
  const atMost = ranges.reduce((sum, range) => sum + range.atMost, 0);
  for (const role of ['client', 'server'] as const) {
    for (const kind of ['durations', 'firstBytes'] as const)
      expect(seen.latency(role, kind, 'GET 200').seconds).toBeLessThanOrEqual(atMost);
  }
});

test('a streamed answer ends when it ends, and began when it began', async ({ meter, connect }) => {
  let first: Range, whole: Range;
  const seen = await meter.during(async () => {
    const { client, server } = await connect();
    const watch = new Watch();
    await client.say(GET);
    watch.asked();
    await sleep(30);
    watch.answering();
    await server.say(answer(200, 'Transfer-Encoding: chunked'));
    first = watch.range();
    for (let i = 0; i < 3; i++) {
      await sleep(100);
      await server.say('2\r\nok\r\n');
    }
    await sleep(100);
    watch.answering();
    await server.say('0\r\n\r\n');
    whole = watch.range();
    await client.end();
    await server.destroy();
  });
  expectOne(seen, 'firstBytes', first!);
  expectOne(seen, 'durations', whole!);
});

test('an answer of no stated length ends with its connection', async ({ meter, connect }) => {
  let first: Range, whole: Range;
  const seen = await meter.during(async () => {
    const line = await connect();
    const watch = new Watch();
    await line.client.say(GET);
    watch.asked();
    watch.answering();
    await line.server.say(answer(200), 'ok');
    first = watch.range();
    await sleep(200);
    watch.answering();
    await line.hangUp('server');
    whole = watch.range();
  });
  expectOne(seen, 'firstBytes', first!);
  expectOne(seen, 'durations', whole!);
});

test('a slow request counts from its first byte', async ({ meter, connect }) => {
  let range: Range;
  const seen = await meter.during(async () => {
    const line = await connect();
    const watch = new Watch();
    for (const piece of ['P', 'OST / HTTP/1.1\r\nContent-', 'Length: 4\r\n\r\nso', 'me']) {
      await line.client.say(piece);
      watch.asked();
      await sleep(60);
    }
    watch.answering();
    await line.server.say(OK);
    range = watch.range();
    await line.hangUp();
  });
  expectOne(seen, 'durations', range!, 'POST 200');
  expectOne(seen, 'firstBytes', range!, 'POST 200');
});

test('each pipelined request counts from its own first byte', async ({ meter, connect }) => {
  const ranges: Record<string, Range> = {};
  const seen = await meter.during(async () => {
    const line = await connect();
    const early = new Watch();
    await line.client.say(GET);
    early.asked();
    await sleep(100);
    const later = new Watch();
    await line.client.say(request('PUT'));
    later.asked();
    await sleep(100);
    early.answering();
    await line.server.say(OK);
    ranges['GET 200'] = early.range();
    await sleep(100);
    later.answering();
    await line.server.say(OK);
    ranges['PUT 200'] = later.range();
    await line.hangUp();
  });
  for (const [name, range] of Object.entries(ranges)) expectOne(seen, 'durations', range, name);
});

test('an exchange that fails took until it failed', async ({ meter, connect }) => {
  let range: Range;
  const seen = await meter.during(async () => {
    const line = await connect();
    const watch = new Watch();
    await line.client.say(GET);
    watch.asked();
    await sleep(150);
    watch.answering();
    await line.hangUp('server');
    range = watch.range();
  });
  expectOne(seen, 'durations', range!, 'GET closed');
  for (const role of ['client', 'server'] as const)
    expect(seen.latency(role, 'firstBytes', 'GET closed')).toEqual({}); // there was none
});

test('a throttled download of 20 MB takes as long as curl says', async ({ scope, meter, nginx }) => {
  let measured = { total: 0, firstByte: 0, connected: 0 };
  const seen = await meter.during(async () => {
    measured = await curl(scope, nginx.url('/slow/large'));
  });
  const { total, firstByte, connected } = measured;
  for (const role of ['client', 'server'] as const) {
    const { seconds } = seen.latency(role, 'durations', 'GET 200');
    expect(seconds).toBeLessThanOrEqual(total);
    // curl's clock runs on from the first byte of the answer to the last.
    expect(Math.abs(bucketOf(seconds!) - bucketOf(total - connected))).toBeLessThanOrEqual(1);
    const first = seen.latency(role, 'firstBytes', 'GET 200').seconds!;
    expect(first).toBeLessThanOrEqual(firstByte);
    expect(seconds! - first).toBeGreaterThan((total - firstByte) / 2);
  }
});
