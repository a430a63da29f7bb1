// What is not HTTP, or not to the end: no series that would be wrong, and a line in the ledger for each.
import { expect } from 'vitest';
import { answer, GET, OK, request } from '../../support/messages.js';
import { randomBytes } from '../../support/random.js';
import type { Line } from '../../support/raw-peer.js';
import { test } from '../../support/traffic.js';

interface Case {
  readonly name: string;
  readonly script: (line: Line) => Promise<void>;
  readonly exchanges?: Record<string, number>;
  readonly ledger: Record<string, number>;
}

const OTHER = { 'connections other': 1 };

/** The client's first words, and the server's. */
const PROTOCOLS: Record<string, [string, string]> = {
  'Redis, inline': ['PING\r\n', '+PONG\r\n'],
  Redis: ['*2\r\n$3\r\nGET\r\n$1\r\na\r\n', '$2\r\nok\r\n'],
  'memcached, text': ['get a\r\n', 'VALUE a 0 2\r\nok\r\nEND\r\n'],
  'memcached, binary': ['\x80\x00\x00\x01\x00\x00\x00\x00', '\x81\x00\x00\x01\x00\x00\x00\x01'],
  PostgreSQL: ['\x00\x00\x00\x08\x04\xd2\x16\x2f', 'N'],
  MQTT: ['\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c', '\x20\x02\x00\x00'],
  AMQP: ['AMQP\x00\x00\x09\x01', '\x01\x00\x00\x00'],
  SSH: ['SSH-2.0-OpenSSH_9.2\r\n', 'SSH-2.0-OpenSSH_9.2\r\n'],
  RTSP: ['OPTIONS rtsp://a RTSP/1.0\r\nCSeq: 1\r\n\r\n', 'RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n'],
  SIP: ['REGISTER sip:a SIP/2.0\r\n\r\n', 'SIP/2.0 200 OK\r\n\r\n'],
  'HTTP/0.9': ['GET /\r\n', '<html>'],
  'HTTP of a version to come': ['GET / HTTP/3.0\r\n\r\n', 'HTTP/3.0 200 OK\r\n\r\n'],
  'an answer that nobody asked for': ['HTTP/1.1 200 OK\r\n\r\n', 'GET / HTTP/1.1\r\n\r\n'],
  'white space': ['    \t  ', '   '],
  zeros: ['\0'.repeat(5000), '\0'.repeat(5000)],
  'a word without end': ['A'.repeat(70_000), 'B'.repeat(70_000)],
};

const protocols: Case[] = [
  ...Object.entries(PROTOCOLS).map(([name, [asks, answers]]) => ({
    name,
    async script(line: Line) {
      for (let i = 0; i < 3; i++) await line.exchange(asks, answers);
      await line.exchange(GET, OK); // later words change nothing
    },
    ledger: OTHER,
  })),
  {
    name: 'a server that speaks first, as of MySQL or SMTP',
    async script({ client, server }) {
      await server.say('220 mail.example ESMTP\r\n');
      await client.say('EHLO a\r\n');
      await server.say('250 OK\r\n');
    },
    ledger: OTHER,
  },
  {
    name: 'the preface of HTTP/2',
    script: (line) =>
      line.exchange('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', '\0\0\0\x04\0\0\0\0\0'),
    ledger: { 'connections http2': 1 },
  },
  {
    name: 'the first record of TLS',
    script: (line) =>
      line.exchange('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', '\x16\x03\x03\x00\x7a\x02'),
    ledger: { 'connections tls': 1 },
  },
];

const HUGE = 'x'.repeat(1_000_000);

const incomplete: Case[] = [
  ...['G', 'GET', 'GET /a', 'GET /a HTTP/1.1', '\r\n', `GET /${HUGE}`].map((text) => ({
    name: `a request line that stops behind ${JSON.stringify(text.slice(0, 20))}, ${text.length} bytes`,
    script: ({ client }: Line) => client.say(text),
    ledger: OTHER,
  })),
  {
    name: 'a head that stops in its first header: a request, and no answer',
    script: ({ client }) => client.say('GET /a HTTP/1.1\r\nHos'),
    exchanges: { 'GET closed': 1 },
    ledger: { 'connections http1': 1 },
  },
  {
    name: 'a header line of 1 MB without an end',
    script: ({ client }) => client.say(`GET /a HTTP/1.1\r\nA: ${HUGE}`),
    exchanges: { 'GET closed': 1 },
    ledger: { 'connections http1': 1 },
  },
  {
    name: 'a header line of 1 MB, answered',
    async script(line) {
      await line.exchange(request('GET', `A: ${HUGE}`), answer(431, 'Content-Length: 0'));
      await line.exchange(GET, `${answer(200, `A: ${HUGE}`, 'Content-Length: 2')}ok`);
    },
    exchanges: { 'GET 431': 1, 'GET 200': 1 },
    ledger: { 'connections http1': 1 },
  },
];

/** A request whose answer, or whose own end, can not be told; then the next that can. */
const LOST = { 'connections http1': 1, 'requests desynchronised': 1, 'sync lost': 1 };
const framings = [
  'Content-Length: 5x',
  'Content-Length: -5',
  'Content-Length: five',
  'Content-Length:',
  'Content-Length: 99999999999999999999999999',
  'Content-Length: 5\r\nContent-Length: 6',
];

const nonsense: Case[] = [
  {
    name: 'an answer that is none',
    async script(line) {
      await line.exchange(GET, 'some words\r\n');
      await line.exchange(request('PUT'), OK);
    },
    exchanges: { 'PUT 200': 1 },
    ledger: LOST,
  },
  {
    name: 'a status that is none',
    async script(line) {
      await line.exchange(GET, 'HTTP/1.1 2x0 OK\r\n\r\n');
      await line.exchange(request('PUT'), OK);
    },
    exchanges: { 'PUT 200': 1 },
    ledger: LOST,
  },
  ...framings.map((header) => ({
    name: `an answer with ${JSON.stringify(header)}`,
    async script(line: Line) {
      await line.exchange(GET, [answer(200, header), '12345']);
      await line.exchange(request('PUT'), OK);
    },
    exchanges: { 'PUT 200': 1 },
    ledger: { ...LOST, 'responses desynchronised': 1 },
  })),
  {
    name: 'a size of a chunk that is none',
    async script(line) {
      await line.exchange(GET, `${answer(200, 'Transfer-Encoding: chunked')}5g\r\nhello\r\n0\r\n\r\n`);
      await line.exchange(request('PUT'), OK);
    },
    exchanges: { 'PUT 200': 1 },
    ledger: { ...LOST, 'responses desynchronised': 1 },
  },
  {
    name: 'random bytes between exchanges',
    async script(line) {
      await line.exchange(GET, OK);
      await line.client.say(randomBytes(3000));
      await line.exchange(request('PUT'), OK);
    },
    exchanges: { 'GET 200': 1, 'PUT 200': 1 },
    ledger: { 'connections http1': 1, 'sync lost': 1 },
  },
];

for (const [title, cases] of Object.entries({
  'other protocols on the port': protocols,
  'half of a message': incomplete,
  'HTTP that makes no sense': nonsense,
})) {
  test.describe(title, () => {
    test.for(cases)('$name', async ({ script, exchanges = {}, ledger }, { meter, connect }) => {
      const seen = await meter.during(async () => {
        const line = await connect();
        await script(line);
        await line.hangUp();
      });
      seen.expectExchanges(exchanges);
      seen.expectLedger(ledger);
    });
  });
}

test.for([
  { name: 'TLS', scheme: 'https', option: '--insecure', ledger: { 'connections tls': 1 }, counted: {} },
  {
    name: 'HTTP/2',
    scheme: 'http',
    option: '--http2-prior-knowledge',
    ledger: { 'connections http2': 1 },
    counted: { 'GET closed HTTP/2': 1 },
  },
])('curl speaks $name to a server that speaks HTTP/1', async (client, { scope, meter, nginx }) => {
  const { scheme, option, ledger, counted } = client;
  const seen = await meter.during(async () => {
    const url = `${scheme}://127.0.0.1:${nginx.port}/ok`;
    const { status } = await scope.run('client', ['curl', '-s', '--noproxy', '*', option, url]);
    expect(status).not.toBe(0);
  });
  seen.expectExchanges(counted);
  seen.expectLedger(ledger);
});

test('300 connections of random bytes leave nothing behind', async ({ meter, connect }) => {
  const connections = 300;
  await (await connect()).hangUp(); // the pair of services may be new
  const before = await meter.budgets();
  const seen = await meter.during(async () => {
    for (let i = 0; i < connections; i++) {
      const line = await connect();
      // The first byte tells that it is no HTTP and no TLS; the others may say what they want.
      await line.exchange(`\xff${randomBytes(i * 37, `a ${i}`)}`, `\xfe${randomBytes(i * 41, `b ${i}`)}`);
      await line.hangUp();
    }
  });
  seen.expectExchanges({});
  seen.expectLedger({ 'connections other': connections });
  expect(await meter.budgets()).toEqual(before);
  for (const role of ['client', 'server'] as const)
    expect(seen.tcp(role)).toMatchObject({ opened: connections, closed: connections });
});
