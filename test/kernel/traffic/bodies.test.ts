// How long a body is, and that nothing in it is taken for a message.
import { expect } from 'vitest';
import { curl } from '../../support/load.js';
import { answer, bytesOf, chunked, GET, OK, request } from '../../support/messages.js';
import { LARGE } from '../../support/nginx.js';
import { randomBytes } from '../../support/random.js';
import type { Line } from '../../support/raw-peer.js';
import { test } from '../../support/traffic.js';

interface Case {
  readonly name: string;
  readonly script: (line: Line) => Promise<void>;
  readonly exchanges: Record<string, number>;
  readonly ledger?: Record<string, number>;
  /** @default 'client' */
  readonly hangsUp?: 'client' | 'server';
}

const withLength = (head: (...headers: string[]) => string, body: string, ...headers: string[]) =>
  head(`Content-Length: ${body.length}`, ...headers) + body;
const upload = (body: string) => withLength((...headers) => request('POST', ...headers), body);
const download = (body: string) => withLength((...headers) => answer(200, ...headers), body);

/** What would be several exchanges, were it not a body. */
const DECEPTION = `${GET}${OK}${request('HEAD')}${answer(503, 'Content-Length: 0')}\r\n\r\nHTTP/1.1 500 \r\n\r\n`;

const none: Case[] = [
  {
    name: 'Content-Length: 0',
    async script(line) {
      await line.exchange(request('POST', 'Content-Length: 0'), answer(200, 'Content-Length: 0'));
      await line.exchange(GET, OK);
    },
    exchanges: { 'POST 200': 1, 'GET 200': 1 },
  },
  {
    name: 'answers to HEAD say how long the body would be',
    async script(line) {
      await line.exchange(request('HEAD'), answer(200, 'Content-Length: 1000'));
      await line.exchange(request('HEAD'), answer(200, 'Transfer-Encoding: chunked'));
      await line.exchange(request('HEAD'), answer(200));
      await line.exchange(GET, OK);
    },
    exchanges: { 'HEAD 200': 3, 'GET 200': 1 },
  },
  {
    name: '204 and 304, whatever length they state',
    async script(line) {
      for (const status of [204, 304])
        for (const header of ['Content-Length: 1000', 'Transfer-Encoding: chunked', 'A: b'])
          await line.exchange(GET, answer(status, header));
      await line.exchange(GET, OK);
    },
    exchanges: { 'GET 204': 3, 'GET 304': 3, 'GET 200': 1 },
  },
  {
    name: '100 Continue',
    async script({ client, server }) {
      await client.say(request('PUT', 'Content-Length: 5', 'Expect: 100-continue'));
      await server.say(answer(100));
      await client.say('hello');
      await server.say(OK);
    },
    exchanges: { 'PUT 200': 1 },
    ledger: { 'responses interim': 1 },
  },
  {
    name: '417 instead of 100 Continue',
    async script({ client, server }) {
      await client.say(request('PUT', 'Content-Length: 5', 'Expect: 100-continue'));
      await server.say(answer(417, 'Content-Length: 0'));
      await client.say('hello'); // it has promised so many bytes
      await client.say(GET);
      await server.say(OK);
    },
    exchanges: { 'PUT 417': 1, 'GET 200': 1 },
  },
  {
    name: '102 and 103 before the answer, in one segment with it and alone',
    async script(line) {
      await line.exchange(GET, answer(103, 'Link: </style.css>') + OK);
      await line.exchange(GET, [answer(102), answer(103, 'Link: </a>'), answer(103), OK]);
      await line.exchange(request('HEAD'), [answer(103), answer(200, 'Content-Length: 1')]);
    },
    exchanges: { 'GET 200': 2, 'HEAD 200': 1 },
    ledger: { 'responses interim': 5 },
  },
];

const tunnels: Case[] = [
  {
    name: '101, then another protocol that looks like HTTP',
    async script(line) {
      await line.exchange(GET, OK);
      await line.exchange(
        request('GET', 'Connection: upgrade', 'Upgrade: websocket'),
        answer(101, 'Upgrade: websocket'),
      );
      for (let i = 0; i < 3; i++) await line.exchange(GET, OK);
      await line.server.say(DECEPTION);
    },
    exchanges: { 'GET 200': 1, 'GET 101': 1 },
  },
  {
    name: '101 in one segment with what follows',
    async script(line) {
      await line.exchange(
        request('GET', 'Connection: upgrade', 'Upgrade: x'),
        answer(101, 'Upgrade: x') + OK,
      );
      await line.exchange(GET, OK);
    },
    exchanges: { 'GET 101': 1 },
  },
  {
    name: 'CONNECT, then a tunnel with HTTP in it',
    async script(line) {
      await line.exchange('CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n', answer(200));
      for (let i = 0; i < 3; i++) await line.exchange(GET, OK);
    },
    exchanges: { 'CONNECT 200': 1 },
  },
  {
    name: 'CONNECT refused, then HTTP as before',
    async script(line) {
      const connect = 'CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n';
      await line.exchange(connect, `${answer(407, 'Content-Length: 2')}no`);
      await line.exchange(GET, OK);
    },
    exchanges: { 'CONNECT 407': 1, 'GET 200': 1 },
  },
];

const deceptive: Case[] = [
  {
    name: 'of a known length',
    async script(line) {
      await line.exchange(upload(DECEPTION), download(DECEPTION));
      await line.exchange(GET, OK);
    },
    exchanges: { 'POST 200': 1, 'GET 200': 1 },
  },
  {
    name: 'of a known length, where each would-be message begins a segment',
    async script(line) {
      const body = [GET, OK, GET, OK];
      const length = `Content-Length: ${body.join('').length}`;
      await line.exchange([request('POST', length), ...body], [answer(200, length), ...body]);
      await line.exchange(GET, OK);
    },
    exchanges: { 'POST 200': 1, 'GET 200': 1 },
  },
  {
    name: 'in chunks',
    async script(line) {
      const body = chunked(GET, OK, DECEPTION, '0\r\n\r\n', `\r\n0\r\n\r\n${GET}`);
      await line.exchange(
        request('POST', 'Transfer-Encoding: chunked') + body,
        answer(200, 'Transfer-Encoding: chunked') + body,
      );
      await line.exchange(GET, OK);
    },
    exchanges: { 'POST 200': 1, 'GET 200': 1 },
  },
  {
    name: 'in chunks, a byte to a segment',
    async script(line) {
      const body = bytesOf(chunked(GET, OK));
      await line.exchange(
        [request('POST', 'Transfer-Encoding: chunked'), ...body],
        [answer(200, 'Transfer-Encoding: chunked'), ...body],
      );
    },
    exchanges: { 'POST 200': 1 },
  },
  {
    name: 'until the connection closes',
    script: (line) => line.exchange(GET, [answer(200), DECEPTION, OK, GET]),
    exchanges: { 'GET 200': 1 },
    hangsUp: 'server',
  },
];

const chunks: Case[] = [
  {
    name: 'sizes with leading zeros, in either case, extensions with quotes, trailers',
    async script(line) {
      const head = answer(200, 'Transfer-Encoding: chunked');
      await line.exchange(GET, `${head}0000a\r\n0123456789\r\n00\r\n\r\n`);
      await line.exchange(GET, `${head}A;x="a;b"\r\n0123456789\r\n0;last\r\nTrailer: GET / HTTP/1.1\r\n\r\n`);
      await line.exchange(GET, `${head}a ; x=y\r\n0123456789\r\n0\r\nA: b\r\nC: d\r\n\r\n`);
      await line.exchange(GET, OK);
    },
    exchanges: { 'GET 200': 4 },
  },
  {
    name: 'many small ones in one segment',
    async script(line) {
      const small = chunked(...Array.from({ length: 500 }, () => 'x'));
      await line.exchange(GET, answer(200, 'Transfer-Encoding: chunked') + small);
      await line.exchange(GET, OK);
    },
    exchanges: { 'GET 200': 2 },
  },
  {
    name: 'chunks of 20 bytes in segments of 64 kB, as of a server that writes lines',
    async script(line) {
      const small = chunked(...Array.from({ length: 20_000 }, () => 'x'.repeat(20)));
      await line.exchange(GET, answer(200, 'Transfer-Encoding: chunked') + small);
      await line.exchange(GET, OK);
    },
    exchanges: { 'GET 200': 2 },
  },
  {
    name: 'a chunk of 1 MB',
    async script(line) {
      await line.exchange(GET, `${answer(200, 'Transfer-Encoding: chunked')}100000\r\n`);
      await line.server.pour(0x100000);
      await line.server.say('\r\n0\r\n\r\n');
      await line.exchange(GET, OK);
    },
    exchanges: { 'GET 200': 2 },
  },
  {
    name: 'Transfer-Encoding wins over Content-Length',
    async script(line) {
      const headers = ['Content-Length: 3', 'Transfer-Encoding: chunked'];
      await line.exchange(
        request('POST', ...headers) + chunked('hello'),
        answer(200, ...headers.reverse()) + chunked('hello'),
      );
      await line.exchange(GET, OK);
    },
    exchanges: { 'POST 200': 1, 'GET 200': 1 },
  },
];

const closing: Case[] = [
  {
    name: 'an answer of no stated length',
    async script(line) {
      await line.exchange(GET, OK);
      await line.exchange(GET, [answer(200), 'some', 'more']);
      await line.server.pour(300_000);
    },
    exchanges: { 'GET 200': 2 },
    hangsUp: 'server',
  },
  {
    name: 'an empty answer of no stated length',
    script: (line) => line.exchange(GET, answer(404)),
    exchanges: { 'GET 404': 1 },
    hangsUp: 'server',
  },
  {
    name: 'HTTP/1.0',
    script: (line) => line.exchange('GET / HTTP/1.0\r\n\r\n', 'HTTP/1.0 200 OK\r\n\r\nsomething'),
    exchanges: { 'GET 200 HTTP/1.0': 1 },
    hangsUp: 'server',
  },
  {
    name: 'HTTP/1.0 kept alive',
    async script(line) {
      for (let i = 0; i < 3; i++)
        await line.exchange(
          'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
          'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok',
        );
    },
    exchanges: { 'GET 200 HTTP/1.0': 3 },
  },
  {
    name: 'the client ends its direction behind its request',
    async script({ client, server }) {
      await client.say(GET);
      await client.end();
      await server.over();
      await server.say(answer(200), 'some');
    },
    exchanges: { 'GET 200': 1 },
    hangsUp: 'server',
  },
];

for (const [title, cases] of Object.entries({
  'no body': none,
  'what is HTTP no more': tunnels,
  'bodies that look like messages': deceptive,
  chunks,
  'until the connection closes': closing,
})) {
  test.describe(title, () => {
    test.for(cases)('$name', async ({ script, exchanges, ledger = {}, hangsUp }, { meter, connect }) => {
      const seen = await meter.during(async () => {
        const line = await connect();
        await script(line);
        await line.hangUp(hangsUp);
      });
      seen.expectExchanges(exchanges);
      seen.expectLedger({ 'connections http1': 1, ...ledger });
    });
  });
}

test.describe('large bodies', () => {
  test('20 MB by sendfile, three times over one connection', async ({ scope, meter, nginx }) => {
    const seen = await meter.during(async () => {
      const url = nginx.url('/files/large');
      const { status } = await curl(scope, url, '-o', '/dev/null', url, '-o', '/dev/null', url);
      expect(status).toBe(200);
    });
    expect(nginx.takeLog()).toEqual({ 'GET 200': 3 });
    seen.expectExchanges({ 'GET 200': 3 });
    expect(seen.tcp('client').opened).toBe(1);
    expect(seen.tcp('client').bytesReceived).toBeGreaterThan(3 * LARGE);
  });

  test('an upload of 10 MB that is refused after its head', async ({ scope, meter, nginx }) => {
    const seen = await meter.during(async () => {
      const { status } = await curl(scope, '-T', nginx.file('files/large'), nginx.url('/upload'));
      expect(status).toBe(413);
    });
    expect(nginx.takeLog()).toEqual({ 'PUT 413': 1 });
    seen.expectExchanges({ 'PUT 413': 1 });
  });

  test('an upload of 10 MB that is answered while it goes on, and one more request', async ({
    meter,
    connect,
  }) => {
    const seen = await meter.during(async () => {
      const line = await connect();
      await line.client.say(request('POST', 'Content-Length: 10000000'));
      await line.client.pour(1_000_000);
      await line.server.say(answer(413, 'Content-Length: 0'));
      await line.client.pour(9_000_000);
      await line.exchange(GET, OK);
      await line.hangUp();
    });
    seen.expectExchanges({ 'POST 413': 1, 'GET 200': 1 });
  });

  test('1 MB of random bytes each way', async ({ meter, connect }) => {
    const body = randomBytes(1_000_000);
    const seen = await meter.during(async () => {
      const line = await connect();
      await line.exchange(upload(body), download(body));
      await line.exchange(GET, OK);
      await line.hangUp();
    });
    seen.expectExchanges({ 'POST 200': 1, 'GET 200': 1 });
  });
});
