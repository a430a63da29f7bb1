// Streams: how long they take, how many there are, and how else they end than with an answer.
import { describe, expect } from 'vitest';
import { grpcCalls, grpcServer } from '../../support/grpc.js';
import {
  data,
  frame,
  goaway,
  headers,
  literal,
  PREFACE,
  reset,
  SETTINGS,
  STATIC,
} from '../../support/http2-frames.js';
import type { Line } from '../../support/raw-peer.js';
import { test } from '../../support/traffic.js';

const ROLES = ['client', 'server'] as const;

describe.for(['grpc-js', 'python'] as const)('a server by %s', (implementation) => {
  test('a stream of three seconds reads three seconds, and unary calls beside it do not', async ({
    scope,
    meter,
  }) => {
    const address = await grpcServer(scope, implementation);
    let elapsed = 0;
    const seen = await meter.during(async () => {
      const before = performance.now();
      await grpcCalls(scope, 'grpc-js', {
        address,
        plan: [
          { method: 'Watch', calls: 1, after: 3000, messages: 6 },
          { method: 'Say', calls: 20 },
        ],
      });
      elapsed = (performance.now() - before) / 1000;
    });
    for (const role of ROLES) {
      const stream = 'POST 200 HTTP/2 meshtap.test.Echo/Watch OK';
      const { seconds } = seen.latency(role, 'durations', stream);
      expect(seconds).toBeGreaterThan(2.99);
      expect(seconds).toBeLessThan(elapsed);
      expect(seen.latency(role, 'firstBytes', stream).seconds).toBeLessThan(seconds!);
    }
  });

  test('250 at a time on one connection, of which the last to come are the first to end', async ({
    scope,
    meter,
  }) => {
    const address = await grpcServer(scope, implementation);
    const waves = Array.from({ length: 5 }, (_, i) => ({
      method: 'Say' as const,
      calls: 50,
      code: i,
      after: 900 - 200 * i,
    }));
    const seen = await meter.during(() => grpcCalls(scope, 'grpc-js', { address, plan: waves }));
    seen.expectExchanges(
      Object.fromEntries(
        ['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED'].map((code) => [
          `POST 200 HTTP/2 meshtap.test.Echo/Say ${code}`,
          50,
        ]),
      ),
    );
    for (const role of ROLES) expect(seen.ledger(role)).toMatchObject({ 'connections http2': 1 });
  });

  test('a call that the client cancels', async ({ scope, meter }) => {
    const address = await grpcServer(scope, implementation);
    const seen = await meter.during(async () => {
      const tally = await grpcCalls(scope, 'grpc-js', {
        address,
        plan: [{ method: 'Say', calls: 3, after: 1000, cancel: 300 }],
      });
      expect(tally).toEqual({ 'Say CANCELLED': 3 });
    });
    seen.expectExchanges({ 'POST stream_cancel HTTP/2 meshtap.test.Echo/Say -': 3 });
  });
});

const GRPC = literal('content-type', 'application/grpc');
const call = (stream: number, path = '/a.B/Say') =>
  headers(stream, [STATIC.POST, literal(':path', path), GRPC], true);
const get = (stream: number) => headers(stream, [STATIC.GET, STATIC.ROOT], true);

/** Streams 1 (answered in part), 3 and 5 (not at all), and then this. */
const ENDINGS: Record<string, { next: (line: Line) => Promise<void>; expected: Record<string, number> }> = {
  'the client resets the connection': {
    next: ({ client }) => client.reset(),
    expected: { 'GET 200 reset HTTP/2': 1, 'POST reset HTTP/2 a.B/Say -': 1, 'GET reset HTTP/2': 1 },
  },
  'the server resets the connection': {
    next: ({ server }) => server.reset(),
    expected: { 'GET 200 reset HTTP/2': 1, 'POST reset HTTP/2 a.B/Say -': 1, 'GET reset HTTP/2': 1 },
  },
  'the connection is closed': {
    next: (line) => line.hangUp('server'),
    expected: { 'GET 200 closed HTTP/2': 1, 'POST closed HTTP/2 a.B/Say -': 1, 'GET closed HTTP/2': 1 },
  },
  'the server goes away, and answers what it had taken': {
    next: async (line) => {
      await line.server.say(goaway(3));
      await line.server.say(
        data(1, 'x', true),
        headers(3, [STATIC.OK, GRPC, literal('grpc-status', '0')], true),
      );
      await line.hangUp('server');
    },
    expected: { 'GET 200 HTTP/2': 1, 'POST 200 HTTP/2 a.B/Say OK': 1, 'GET goaway HTTP/2': 1 },
  },
  'both reset streams': {
    next: async (line) => {
      await line.client.say(reset(1, 8));
      await line.server.say(reset(3, 7), reset(5, 0x4242));
      // what was under way when the stream was reset
      await line.server.say(data(1, 'x', true));
      await line.hangUp();
    },
    expected: {
      'GET 200 stream_cancel HTTP/2': 1,
      'POST stream_refused_stream HTTP/2 a.B/Say -': 1,
      'GET stream_other HTTP/2': 1,
    },
  },
  'answers say nothing of gRPC': {
    next: async (line) => {
      await line.server.say(headers(3, [STATIC.OK, GRPC]), data(3, 'x'), data(3, '', true));
      await line.server.say(
        headers(5, [STATIC.OK, literal('content-type', 'text/html')], true),
        data(1, '', true),
      );
      await line.hangUp();
    },
    expected: { 'GET 200 HTTP/2': 2, 'POST 200 HTTP/2 a.B/Say -': 1 },
  },
};

test.for(Object.keys(ENDINGS))('%s', async (name, { meter, connect }) => {
  const { next, expected } = ENDINGS[name]!;
  const seen = await meter.during(async () => {
    const line = await connect();
    await line.client.say(Buffer.concat([PREFACE, SETTINGS, get(1), call(3), get(5)]));
    await line.server.say(Buffer.concat([SETTINGS, frame(4, 1, 0), headers(1, [STATIC.OK])]));
    await next(line);
  });
  seen.expectExchanges(expected);
});

test('an answer to a stream that was reset before is none', async ({ meter, connect }) => {
  const seen = await meter.during(async () => {
    const line = await connect();
    await line.client.say(Buffer.concat([PREFACE, SETTINGS, get(1), reset(1, 8)]));
    await line.server.say(Buffer.concat([SETTINGS, headers(1, [STATIC.OK], true)]));
    await line.hangUp();
  });
  seen.expectExchanges({ 'GET stream_cancel HTTP/2': 1 });
  seen.expectLedger({ 'connections http2': 1, 'responses abandoned': 1 });
});

test('bytes that make no sense: what was open is given up, and the next segment that begins with a frame is taken', async ({
  meter,
  connect,
}) => {
  const seen = await meter.during(async () => {
    const line = await connect();
    await line.client.say(Buffer.concat([PREFACE, SETTINGS, get(1), get(3)]));
    await line.server.say(Buffer.concat([SETTINGS, headers(1, [STATIC.OK], true)]));
    await line.client.say(headers(0, [STATIC.GET]), 'more of it, '.repeat(100));
    await line.server.say(headers(3, [STATIC.OK], true));
    await line.exchange(get(5), headers(5, [STATIC[404]], true));
    await line.hangUp();
  });
  seen.expectExchanges({ 'GET 200 HTTP/2': 1, 'GET 404 HTTP/2': 1 });
  const lost = { 'sync lost': 1, 'requests desynchronised': 1, 'responses joined_midway': 1 };
  seen.expectLedger({ 'connections http2': 1, ...lost });
});

test('more streams than there is room for', async ({ meter, connect }) => {
  const ids = Array.from({ length: 300 }, (_, i) => 2 * i + 1);
  const seen = await meter.during(async () => {
    const line = await connect();
    await line.client.say(Buffer.concat([PREFACE, SETTINGS, ...ids.map(get)]));
    await line.server.say(
      Buffer.concat([SETTINGS, ...ids.reverse().map((id) => headers(id, [STATIC.OK], true))]),
    );
    await line.hangUp();
  });
  seen.expectExchanges({ 'GET 200 HTTP/2': 256 });
  seen.expectLedger({ 'connections http2': 1, 'requests pipeline_full': 44, 'responses pipeline_full': 44 });
});

test('floods of frames that say nothing, around a request', async ({ meter, connect }) => {
  const flood = Buffer.concat([
    ...Array.from({ length: 1500 }, () => frame(6, 0, 0, Buffer.alloc(8))),
    ...Array.from({ length: 1500 }, () => frame(8, 0, 0, Buffer.from([0, 0, 0, 1]))),
  ]);
  const seen = await meter.during(async () => {
    const line = await connect();
    await line.client.say(Buffer.concat([PREFACE, SETTINGS, flood, get(1), flood]));
    await line.server.say(Buffer.concat([SETTINGS, flood, headers(1, [STATIC[404]], true), flood]));
    await line.hangUp();
  });
  seen.expectExchanges({ 'GET 404 HTTP/2': 1 });
});

describe('an upgrade from HTTP/1.1', () => {
  const ASK =
    'POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n' +
    'Content-Length: 4\r\n\r\nbody';
  const GRANT = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n';
  const answer = Buffer.concat([SETTINGS, headers(1, [STATIC[500]]), data(1, 'what became of it', true)]);

  test.for([
    ['in one segment each', (bytes: Buffer) => [bytes]],
    ['byte by byte', (bytes: Buffer) => Array.from(bytes, (_, i) => bytes.subarray(i, i + 1))],
  ] as const)('the request is stream 1; %s', async ([, cut], { meter, connect }) => {
    const seen = await meter.during(async () => {
      const line = await connect();
      await line.exchange('GET / HTTP/1.1\r\n\r\n', 'HTTP/1.1 204 No Content\r\n\r\n');
      await line.client.say(...cut(Buffer.from(ASK)));
      await line.server.say(...cut(Buffer.concat([Buffer.from(GRANT), answer])));
      await line.client.say(...cut(Buffer.concat([PREFACE, SETTINGS, get(3)])));
      await line.server.say(...cut(headers(3, [STATIC[404]], true)));
      await line.hangUp();
    });
    seen.expectExchanges({ 'GET 204': 1, 'POST 500 HTTP/2': 1, 'GET 404 HTTP/2': 1 });
    seen.expectLedger({ 'connections http1': 1, 'connections http2': 1, 'responses interim': 1 });
  });

  test('that is not granted, or to something else, is none', async ({ meter, connect }) => {
    const seen = await meter.during(async () => {
      const line = await connect();
      await line.exchange(ASK, 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      await line.exchange(
        'GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n',
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n',
      );
      await line.client.say(Buffer.concat([PREFACE, SETTINGS, get(3)]));
      await line.hangUp();
    });
    seen.expectExchanges({ 'POST 200': 1, 'GET 101': 1 });
    seen.expectLedger({ 'connections http1': 1 });
  });
});
