// Where a message begins and ends, however it is cut into segments.
import { answer, bytesOf, chunked, cuts, GET, OK, request } from '../../support/messages.js';
import type { Line } from '../../support/raw-peer.js';
import { test } from '../../support/traffic.js';

interface Case {
  readonly name: string;
  readonly script: (line: Line) => Promise<void>;
  /** What both sides count. */
  readonly exchanges: Record<string, number>;
  /** What the ledger says besides. */
  readonly ledger?: Record<string, number>;
}

const times = (count: number, text: string): string[] => Array.from({ length: count }, () => text);

const pipelined: Case[] = [
  ...[2, 3, 20, 32].map((count) => ({
    name: `${count} requests in one segment, ${count} answers in one segment`,
    script: (line: Line) => line.exchange(GET.repeat(count), OK.repeat(count)),
    exchanges: { 'GET 200': count },
  })),
  {
    name: '21 requests in turn with different outcomes, all before the first answer',
    async script(line) {
      const requests = [GET, request('HEAD'), request('PUT')];
      const answers = [OK, answer(404, 'Content-Length: 9'), answer(204)];
      await line.exchange(times(7, requests.join('')), times(7, answers.join('')));
    },
    exchanges: { 'GET 200': 7, 'HEAD 404': 7, 'PUT 204': 7 },
  },
  {
    name: 'answers that run behind by one',
    async script({ client, server }) {
      await client.say(GET);
      for (let i = 0; i < 40; i++) {
        await client.say(request('POST', 'Content-Length: 3'), 'abc');
        await server.say(i === 0 ? OK : answer(201, 'Content-Length: 0'));
      }
      await server.say(answer(201, 'Content-Length: 0'));
    },
    exchanges: { 'GET 200': 1, 'POST 201': 40 },
  },
  {
    name: '40 requests, more than are kept, and then more on the same connection',
    async script(line) {
      await line.exchange(GET.repeat(40), OK.repeat(40));
      for (let i = 0; i < 3; i++) await line.exchange(request('PUT'), OK);
    },
    exchanges: { 'GET 200': 32, 'PUT 200': 3 },
    ledger: { 'requests pipeline_full': 8, 'responses pipeline_full': 8 },
  },
  {
    name: '40 requests, answered while more come: until the last that found no room is answered, none is kept',
    async script({ client, server }) {
      await client.say(...times(40, GET));
      await server.say(...times(10, OK));
      await client.say(...times(4, request('PUT')));
      await server.say(...times(34, OK));
      await client.say(request('POST'));
      await server.say(OK);
    },
    exchanges: { 'GET 200': 32, 'POST 200': 1 },
    ledger: { 'requests pipeline_full': 12, 'responses pipeline_full': 12 },
  },
];

const LENGTH = `${request('DELETE', 'content-length: 4', 'x: y')}body`;
const CHUNKED = `${answer(200, 'Transfer-Encoding: chunked')}5;a=b\r\nhello\r\n${chunked('0123456789abcdef')}`;
const TRAILER = `${answer(200, 'a: b', 'transfer-encoding: chunked')}A\r\n0123456789\r\n0\r\nx: y\r\n\r\n`;
const UPLOAD = `${request('PUT', 'Transfer-Encoding: chunked')}${chunked('abc', 'x'.repeat(20))}`;

const split: Case[] = [
  {
    name: 'a request',
    async script(line) {
      for (const cut of cuts(GET)) await line.exchange(cut, OK);
    },
    exchanges: { 'GET 200': GET.length - 1 },
  },
  {
    name: 'a request of another method',
    async script(line) {
      for (const cut of cuts(request('VERSION-CONTROL'))) await line.exchange(cut, OK);
    },
    exchanges: { '_OTHER 200': request('VERSION-CONTROL').length - 1 },
  },
  {
    name: 'a request with a body',
    async script(line) {
      for (const cut of cuts(LENGTH)) await line.exchange(cut, OK);
    },
    exchanges: { 'DELETE 200': LENGTH.length - 1 },
  },
  {
    name: 'a request with a chunked body',
    async script(line) {
      for (const cut of cuts(UPLOAD)) await line.exchange(cut, OK);
    },
    exchanges: { 'PUT 200': UPLOAD.length - 1 },
  },
  {
    name: 'an answer',
    async script(line) {
      for (const cut of cuts(OK)) await line.exchange(GET, cut);
    },
    exchanges: { 'GET 200': OK.length - 1 },
  },
  {
    name: 'a chunked answer with extensions',
    async script(line) {
      for (const cut of cuts(CHUNKED)) await line.exchange(GET, cut);
    },
    exchanges: { 'GET 200': CHUNKED.length - 1 },
  },
  {
    name: 'a chunked answer with trailers',
    async script(line) {
      for (const cut of cuts(TRAILER)) await line.exchange(GET, cut);
    },
    exchanges: { 'GET 200': TRAILER.length - 1 },
  },
  {
    name: 'two pipelined requests',
    async script(line) {
      for (const cut of cuts(GET + request('PUT'))) await line.exchange(cut, OK + OK);
    },
    exchanges: {
      'GET 200': (GET + request('PUT')).length - 1,
      'PUT 200': (GET + request('PUT')).length - 1,
    },
  },
  {
    name: 'an interim and a final answer',
    async script(line) {
      for (const cut of cuts(answer(103, 'Link: </a>') + OK)) await line.exchange(GET, cut);
    },
    exchanges: { 'GET 200': (answer(103, 'Link: </a>') + OK).length - 1 },
    ledger: { 'responses interim': (answer(103, 'Link: </a>') + OK).length - 1 },
  },
];

const bytewise: Case[] = [
  {
    name: 'bodies of a known length',
    script: (line) => line.exchange(bytesOf(LENGTH), bytesOf(OK)),
    exchanges: { 'DELETE 200': 1 },
  },
  {
    name: 'chunked bodies',
    async script(line) {
      await line.exchange(bytesOf(UPLOAD), bytesOf(CHUNKED));
      await line.exchange(bytesOf(GET), bytesOf(TRAILER));
    },
    exchanges: { 'PUT 200': 1, 'GET 200': 1 },
  },
  {
    name: 'pipelined',
    script: (line) => line.exchange(bytesOf(GET + LENGTH + GET), bytesOf(OK + CHUNKED + OK)),
    exchanges: { 'GET 200': 2, 'DELETE 200': 1 },
  },
];

/** The semantic conventions' list but HEAD and CONNECT, whose answers are of another kind. */
const KNOWN = ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH'];
const OTHER = ['PROPFIND', 'BREW', 'get', 'GETS', 'G', 'M-SEARCH', 'VERSION-CONTROL', 'UPDATEREDIRECTREF'];

const LONG = 'x'.repeat(100_000);

const heads: Case[] = [
  {
    name: 'a connection kept alive',
    async script(line) {
      for (let i = 0; i < 10; i++) await line.exchange(GET, OK);
    },
    exchanges: { 'GET 200': 10 },
  },
  {
    name: 'header lines of 100 kB',
    async script(line) {
      await line.exchange(`${request('PUT', `a: ${LONG}`, 'Content-Length: 1')}x`, OK);
      await line.exchange(GET, `${answer(200, `a: ${LONG}`, 'Content-Length: 3')}abc`);
      await line.exchange(GET, OK);
    },
    exchanges: { 'PUT 200': 1, 'GET 200': 2 },
  },
  {
    name: 'a request line of 100 kB',
    async script(line) {
      await line.exchange(`GET /${LONG} HTTP/1.1\r\nHost: a\r\n\r\n`, answer(414, 'Content-Length: 0'));
      await line.exchange(GET, OK);
    },
    exchanges: { 'GET 414': 1, 'GET 200': 1 },
  },
  {
    name: 'a head of 2000 lines',
    async script(line) {
      const lines = Array.from({ length: 2000 }, (_, i) => `x-${i}: ${i}`);
      await line.exchange(`${request('PUT', ...lines, 'Content-Length: 1')}x`, OK);
      await line.exchange(GET, `${answer(200, ...lines, 'Content-Length: 1')}x`);
      await line.exchange(GET, OK);
    },
    exchanges: { 'PUT 200': 1, 'GET 200': 2 },
  },
  {
    name: 'names of headers in any case, values with any white space',
    async script(line) {
      for (const header of ['CONTENT-LENGTH:3', 'content-length: \t 3', 'cOnTeNt-LeNgTh: 3 \t '])
        await line.exchange(`${request('PUT', header)}abc`, `${answer(200, header)}abc`);
      for (const header of [
        'TRANSFER-ENCODING:chunked',
        'transfer-encoding: \t Chunked',
        'Transfer-encoding: CHUNKED',
      ])
        await line.exchange(request('PUT', header) + chunked('abc'), answer(200, header) + chunked('abc'));
    },
    exchanges: { 'PUT 200': 6 },
  },
  {
    name: 'headers whose names only begin or end like those that matter',
    async script(line) {
      const headers = [
        'X-Content-Length: 5',
        'Content-Length-Hint: 6',
        'Content-Lengt: 7',
        'Transfer-Encodings: chunked',
      ];
      await line.exchange(request('GET', ...headers), `${answer(200, ...headers, 'Content-Length: 2')}ok`);
      await line.exchange(GET, OK);
    },
    exchanges: { 'GET 200': 2 },
  },
  {
    name: 'several codings of which the last is chunked',
    async script(line) {
      await line.exchange(GET, answer(200, 'Transfer-Encoding: gzip, chunked') + chunked('abc'));
      await line.exchange(GET, OK);
    },
    exchanges: { 'GET 200': 2 },
  },
  {
    name: 'lines that end in LF alone',
    async script(line) {
      const bare = (text: string) => text.replaceAll('\r\n', '\n');
      await line.exchange(bare(LENGTH), bare(OK));
      await line.exchange(bare(GET), bare(answer(200, 'Transfer-Encoding: chunked')) + chunked('abc'));
      for (const cut of cuts(bare(GET))) await line.exchange(cut, bare(OK));
    },
    exchanges: { 'DELETE 200': 1, 'GET 200': GET.replaceAll('\r', '').length },
  },
  {
    name: 'empty lines before a request',
    async script(line) {
      for (const before of ['\r\n', '\n', '\r\n\r\n\r\n']) await line.exchange(before + GET, OK);
      await line.exchange([...bytesOf('\r\n'), GET], OK);
      // As old clients do it: behind the body of a POST, counted in no length.
      await line.exchange(`${request('POST', 'Content-Length: 1')}x\r\n`, OK);
      await line.exchange(GET, OK);
    },
    exchanges: { 'GET 200': 5, 'POST 200': 1 },
  },
  {
    name: 'a status without a reason',
    async script(line) {
      await line.exchange(GET, 'HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok');
      await line.exchange(GET, 'HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok');
    },
    exchanges: { 'GET 200': 2 },
  },
  {
    name: 'every known method, and others',
    async script(line) {
      for (const method of [...KNOWN, ...OTHER]) await line.exchange(request(method), OK);
      await line.exchange(request('HEAD'), answer(200, 'Content-Length: 2'));
      await line.exchange(GET, OK);
    },
    exchanges: {
      ...Object.fromEntries([...KNOWN, 'HEAD'].map((method) => [`${method} 200`, 1])),
      '_OTHER 200': 8,
      'GET 200': 2,
    },
  },
];

for (const [title, cases] of Object.entries({
  'heads of every form': heads,
  'cut in two at every byte': split,
  'one byte to a segment': bytewise,
  'pipelined requests': pipelined,
})) {
  test.describe(title, () => {
    test.for(cases)('$name', async ({ script, exchanges, ledger = {} }, { meter, connect }) => {
      const seen = await meter.during(async () => {
        const line = await connect();
        await script(line);
        await line.hangUp();
      });
      seen.expectExchanges(exchanges);
      seen.expectLedger({ 'connections http1': 1, ...ledger });
    });
  });
}
