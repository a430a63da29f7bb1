// Random conversations, cut at random: whatever the model says was exchanged is counted, on both sides.
import fc from 'fast-check';
import { test } from '../../support/traffic.js';

/** How a body is sent, in pieces of these sizes. */
type Body =
  | { readonly kind: 'none' }
  | { readonly kind: 'length' | 'chunked'; readonly sizes: readonly number[] };

interface Exchange {
  readonly method: string;
  readonly upload: Body;
  readonly interim: number;
  readonly status: number;
  readonly download: Body;
  readonly padding: number;
}

const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 5000 })), {
  minLength: 1,
  maxLength: 6,
});
const body = fc.oneof(
  fc.constant<Body>({ kind: 'none' }),
  fc.record({ kind: fc.constantFrom('length' as const, 'chunked' as const), sizes }),
);
const exchange: fc.Arbitrary<Exchange> = fc.record({
  method: fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PURGE'),
  upload: body,
  interim: fc.nat({ max: 2 }),
  status: fc.constantFrom(200, 201, 204, 302, 304, 404, 500, 503),
  download: body,
  padding: fc.oneof(fc.nat({ max: 200 }), fc.nat({ max: 5000 })),
});
/** Exchanges that are pipelined, and where, in shares of their bytes, each direction is cut. */
const share = fc.double({ min: 0, max: 1, noNaN: true });
const batch = fc.record({
  exchanges: fc.array(exchange, { minLength: 1, maxLength: 6 }),
  cuts: fc.tuple(fc.array(share, { maxLength: 12 }), fc.array(share, { maxLength: 12 })),
});

/** Words that would be messages if they were not in a body. */
const TEXT = 'GET / HTTP/1.1\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n0\r\n\r\n'.repeat(80);

function write(head: string, body: Body, padding: number, withBody = true): string {
  const pad = `X-Padding: ${'p'.repeat(padding)}\r\n`;
  if (body.kind === 'none') return `${head}${pad}${withBody ? 'Content-Length: 0\r\n' : ''}\r\n`;
  const pieces = body.sizes.map((size) => TEXT.slice(size % 7, (size % 7) + size));
  const text = pieces.join('');
  const [header, bytes] =
    body.kind === 'length'
      ? [`Content-Length: ${text.length}`, text]
      : [
          'Transfer-Encoding: chunked',
          [...pieces, ''].map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`).join(''),
        ];
  return `${head}${pad}${header}\r\n\r\n${withBody ? bytes : ''}`;
}

const requestOf = ({ method, upload, padding }: Exchange) =>
  write(`${method} /a HTTP/1.1\r\nHost: a\r\n`, upload, padding);

function answerOf({ method, interim, status, download, padding }: Exchange): string {
  const withBody = method !== 'HEAD' && status !== 204 && status !== 304;
  const before = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'.repeat(interim);
  return before + write(`HTTP/1.1 ${status} Reason\r\n`, download, padding, withBody);
}

function cut(text: string, shares: readonly number[]): string[] {
  const places = [0, ...shares.map((share) => Math.floor(share * text.length)), text.length].sort(
    (a, b) => a - b,
  );
  return places.slice(1).map((place, i) => text.slice(places[i], place));
}

test('random conversations', async ({ meter, connect }) => {
  await fc.assert(
    fc.asyncProperty(fc.array(batch, { minLength: 1, maxLength: 5 }), async (batches) => {
      const expected: Record<string, number> = {};
      let interim = 0;
      for (const exchange of batches.flatMap(({ exchanges }) => exchanges)) {
        const method = exchange.method === 'PURGE' ? '_OTHER' : exchange.method;
        const name = `${method} ${exchange.status}`;
        expected[name] = (expected[name] ?? 0) + 1;
        interim += exchange.interim;
      }
      const seen = await meter.during(async () => {
        const line = await connect();
        for (const { exchanges, cuts } of batches) {
          await line.client.say(...cut(exchanges.map(requestOf).join(''), cuts[0]));
          await line.server.say(...cut(exchanges.map(answerOf).join(''), cuts[1]));
        }
        await line.hangUp();
      });
      seen.expectExchanges(expected);
      seen.expectLedger({ 'connections http1': 1, ...(interim && { 'responses interim': interim }) });
    }),
    { numRuns: 40 },
  );
});
