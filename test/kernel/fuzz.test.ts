// Whatever bytes two peers exchange: each request is accounted for, alike on both sides; no label leaves its set, nothing
// stays behind, and the exchanges of others are counted as they were.
//
// Over real sockets, not with BPF_PROG_TEST_RUN: for a cgroup_skb program that makes up a socket for each call
// (net/bpf/test_run.c), of no protocol, so that bpf_tcp_sock() has none, and gone with its storage after the call, so
// that no stream would have a second segment. The programs' own steps are fuzzed in user space: test/fuzz.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect } from 'vitest';
import { attachedTo, entriesOf } from '../support/bpftool.js';
import { answer, chunked, GET, OK, request } from '../support/messages.js';
import type { Meter, Seen } from '../support/meter.js';
import { Line, Peer } from '../support/raw-peer.js';
import { TIME_SCALE } from '../support/scale.js';
import { test as base } from '../support/traffic.js';

/** As many rounds, the same every time; with FUZZ_SECONDS as many as fit, others every time. */
const ROUNDS = 30;
const seconds = Number(process.env.FUZZ_SECONDS ?? 0);

/** What a change may put in, besides random bytes. */
const WORDS = [
  ...['\r\n', '\n', '\r', '\r\n\r\n', ' ', '\t', ':', ';', '\0', '\xff', '0', '9', 'ffffffffffffffff'],
  ...['HTTP/1.1 ', 'HTTP/1.0 ', 'HTTP/2.0', ' 100 ', ' 101 ', ' 199 ', ' 204 ', ' 304 ', ' 999 '],
  ...['Content-Length: 0\r\n', 'Content-Length: 18446744073709551616\r\n', 'Transfer-Encoding: chunked\r\n'],
  ...[
    'Connection: close\r\n',
    'Upgrade: x\r\n',
    'HEAD ',
    'CONNECT a:1 ',
    '0\r\n\r\n',
    '\x16\x03\x01\x02\x00',
  ],
];
/** A SETTINGS frame without settings, and HEADERS of stream 1: `:method: GET`, `:scheme: http`, `:path: /`. */
const SETTINGS = '\0\0\0\x04\0\0\0\0\0';
const HEADERS = '\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84';
const ANSWER = '\0\0\x01\x01\x05\0\0\0\x01\x88';
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

const UPGRADE = request('GET', 'Connection: upgrade', 'Upgrade: websocket');

/** What is asked, and what is answered. */
const EXCHANGES: [string, string][] = [
  [GET, OK],
  [GET, `${answer(103)}${answer(200, 'Transfer-Encoding: chunked')}${chunked('abc', 'd')}`],
  [GET, answer(304, 'Content-Length: 9')],
  [GET, answer(200, 'Content-Length: 1000')],
  [GET, answer(200)],
  [GET.repeat(40), OK.repeat(40)],
  ['GET / HTTP/1.0\r\n\r\n', 'HTTP/1.0 503 Busy\r\nContent-Length: 0\r\n\r\n'],
  [request('HEAD'), answer(404, 'Content-Length: 9')],
  [`${request('PUT', 'Content-Length: 3')}abc`, answer(204)],
  [
    `${request('POST', 'Transfer-Encoding: chunked')}${chunked('abc', 'd')}`,
    answer(201, 'Content-Length: 0'),
  ],
  [request('POST', 'Content-Length: 0', 'Expect: 100-continue'), answer(100) + OK],
  [request('PURGE'), OK],
  [request('CONNECT'), answer(407, 'Content-Length: 0')],
  [UPGRADE, answer(101, 'Upgrade: websocket')],
  [`${PREFACE}${SETTINGS}${HEADERS}`, `${SETTINGS}${ANSWER}`],
  [HEADERS, ANSWER],
  ['\x16\x03\x01\x00\x05hello', '\x16\x03\x03\x00\x02hi'],
  ['PING\r\n', '+PONG\r\n'],
];

const share = fc.double({ min: 0, max: 1, noNaN: true });
const change = fc.record({
  /** Where, in shares of the text. */
  at: share,
  /** How many bytes go. */
  gone: fc.nat({ max: 8 }),
  put: fc.oneof(
    fc.constant(''),
    fc.constantFrom(...WORDS),
    fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  ),
});

/** In most cases none, so that there is something left to be understood. */
const changes = fc.oneof(
  { weight: 3, arbitrary: fc.constant([]) },
  { weight: 1, arbitrary: fc.array(change, { minLength: 1, maxLength: 3 }) },
);
interface Segments {
  readonly changes: readonly { readonly at: number; readonly gone: number; readonly put: string }[];
  /** Where it is cut, in shares of the text. */
  readonly cuts: readonly number[];
}
const segments: fc.Arbitrary<Segments> = fc.record({ changes, cuts: fc.array(share, { maxLength: 5 }) });

function cut(text: string, { changes, cuts }: Segments): string[] {
  const changed = changes.reduce((all, { at, gone, put }) => {
    const place = Math.floor(at * all.length);
    return all.slice(0, place) + put + all.slice(place + gone);
  }, text);
  const places = cuts.map((cut) => Math.floor(cut * changed.length)).sort((a, b) => a - b);
  return [0, ...places].map((place, i) => changed.slice(place, places[i] ?? changed.length));
}

/** Some exchanges at once: what either peer says, changed, in segments. */
const turn = fc
  .tuple(fc.array(fc.constantFrom(...EXCHANGES), { minLength: 1, maxLength: 3 }), segments, segments)
  .map(
    ([exchanges, there, back]) =>
      [
        cut(exchanges.map(([asked]) => asked).join(''), there),
        cut(exchanges.map(([, answered]) => answered).join(''), back),
      ] as const,
  );

const ENDS = ['client hangs up', 'server hangs up', 'client resets', 'server resets'] as const;
const conversation = fc.record({
  turns: fc.array(turn, { minLength: 1, maxLength: 6 }),
  end: fc.constantFrom(...ENDS),
});

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', '_OTHER'];

/** Every label is one of a set that does not grow with what is said. */
async function expectLabels(meter: Meter): Promise<void> {
  const { requests } = await meter.agent.snapshot();
  for (const { counts } of requests) {
    const { method, status = 100, failure = 'reset', version, scheme, route, overflow } = counts;
    expect(METHODS).toContain(method);
    const number = Number(status);
    expect(Number.isInteger(number) && number >= 100 && number <= 999, `status ${status}`).toBe(true);
    expect(['reset', 'closed', 'timeout']).toContain(failure);
    expect(['1.0', '1.1', '2']).toContain(version);
    expect({ scheme, route, overflow }).toEqual({ scheme: 'http', route: undefined, overflow: false });
  }
}

function expectSteady(seen: Seen, exchanges: number): void {
  for (const role of ['client', 'server'] as const) {
    const own = Object.entries(seen.requests(role)).filter(([name]) => name.startsWith('steady > sure|'));
    expect(Object.fromEntries(own), role).toEqual({ 'steady > sure|GET 200': exchanges });
  }
}

/** SYN and SYN-ACK segments that the kernel had to send again, in this network namespace (RFC 9293; snmp_counter.rst of Linux). */
function synAcksSentAgain(): number {
  const [names, numbers] = readFileSync('/proc/net/netstat', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('TcpExt:'));
  return Number(numbers!.split(' ')[names!.split(' ').indexOf('TCPSynRetrans')]);
}

const test = base.extend('steady', { scope: 'file' }, async ({ scope, meter: _ }) => {
  const peers = [new Peer(scope, 'steady'), new Peer(scope, 'sure')] as const;
  return Line.connect(...peers, await peers[1].listen());
});

const patience = (240_000 + 2000 * seconds) * TIME_SCALE;

test('whatever two peers say', { timeout: patience }, async ({ scope, meter, connect, steady }) => {
  /** Entries by map, of those that do not keep counts. */
  const held = () =>
    Object.entries(entriesOf(attachedTo(scope.path).maps)).filter(
      ([name]) => !/series|pairs|handshakes/.test(name),
    );
  const handshakes = () => entriesOf(attachedTo(scope.path).maps).handshakes!;
  await steady.exchange(GET, OK);
  const before = held();
  const [handshakesBefore, sentAgainBefore] = [handshakes(), synAcksSentAgain()];
  const bound =
    seconds > 0
      ? { numRuns: 1_000_000, interruptAfterTimeLimit: seconds * 1000, markInterruptAsFailure: false }
      : { numRuns: ROUNDS, seed: 1 };
  const rounds = fc.asyncProperty(
    fc.array(conversation, { minLength: 1, maxLength: 6 }),
    async (conversations) => {
      const seen = await meter.during(() =>
        Promise.all([
          ...conversations.map(async ({ turns, end }) => {
            const line = await connect();
            for (const [asked, answered] of turns) await line.exchange(asked, answered);
            const [who, how] = end.split(' ') as ['client' | 'server', string];
            if (how === 'hangs') await line.hangUp(who);
            else await Promise.all([line[who].reset(), line[who].other!.over()]);
          }),
          (async () => {
            for (const _ of conversations) await steady.exchange(GET, OK);
          })(),
        ]),
      );
      seen.expectReconciled();
      expect(seen.requests('client'), 'both saw the same').toEqual(seen.requests('server'));
      expectSteady(seen, conversations.length);
    },
  );
  await fc.assert(rounds, bound);
  await expectLabels(meter);
  expect(held()).toEqual(before);
  // A SYN-ACK that is sent again, after both ends have met, leaves an entry until others need its place.
  expect(handshakes() - handshakesBefore).toBeLessThanOrEqual(synAcksSentAgain() - sentAgainBefore);
});
