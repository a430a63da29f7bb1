// Exchanges without an answer, or without a whole one, and connects that come to nothing: each with its reason,
// none with a status that nobody sent.
import { expect } from 'vitest';
import { answer, GET, OK, request } from '../../support/messages.js';
import { ADDRESSES } from '../../support/netns.js';
import { Line, Peer } from '../../support/raw-peer.js';
import { test } from '../../support/traffic.js';

const HALF = `${answer(200, 'Content-Length: 4')}ok`;
const HALF_CHUNKED = `${answer(200, 'Transfer-Encoding: chunked')}4\r\nokok\r\n`;
const HALF_HEAD = 'HTTP/1.1 200 OK\r\nContent-Le';

interface Case {
  readonly name: string;
  readonly script: (line: Line) => Promise<void>;
  readonly exchanges: Record<string, number>;
  readonly ends: 'closed' | 'reset';
}

const cases: Case[] = [
  {
    name: 'the server resets instead of answering',
    async script({ client, server }) {
      await client.say(GET);
      await server.reset();
      await client.over();
    },
    exchanges: { 'GET reset': 1 },
    ends: 'reset',
  },
  {
    name: 'the server closes instead of answering',
    async script(line) {
      await line.client.say(GET);
      await line.hangUp('server');
    },
    exchanges: { 'GET closed': 1 },
    ends: 'closed',
  },
  {
    name: 'the server closes before it has read the request',
    async script({ client, server }) {
      await server.deafen();
      await client.write(GET);
      await server.destroy();
      await client.over();
    },
    exchanges: { 'GET reset': 1 },
    ends: 'reset',
  },
  {
    name: 'the server closes after the first of three pipelined requests',
    async script(line) {
      await line.exchange(GET + request('PUT') + request('POST'), OK);
      await line.hangUp('server');
    },
    exchanges: { 'GET 200': 1, 'PUT closed': 1, 'POST closed': 1 },
    ends: 'closed',
  },
  {
    name: 'the client closes while it waits',
    async script(line) {
      await line.client.say(GET);
      await line.hangUp('client');
    },
    exchanges: { 'GET closed': 1 },
    ends: 'closed',
  },
  {
    name: 'the client resets while it waits',
    async script({ client, server }) {
      await client.say(GET);
      await client.reset();
      await server.over();
    },
    exchanges: { 'GET reset': 1 },
    ends: 'reset',
  },
  {
    name: 'an answer that is closed in the middle of its body',
    async script(line) {
      await line.exchange(GET, HALF);
      await line.hangUp('server');
    },
    exchanges: { 'GET 200 closed': 1 },
    ends: 'closed',
  },
  {
    name: 'a chunked answer that is closed before its last chunk',
    async script(line) {
      await line.exchange(GET, HALF_CHUNKED);
      await line.hangUp('server');
    },
    exchanges: { 'GET 200 closed': 1 },
    ends: 'closed',
  },
  {
    name: 'an answer that is reset in the middle of its body',
    async script({ client, server }) {
      await client.say(GET);
      await server.say(HALF);
      await server.reset();
      await client.over();
    },
    exchanges: { 'GET 200 reset': 1 },
    ends: 'reset',
  },
  {
    name: 'an answer of no stated length that is reset',
    async script({ client, server }) {
      await client.say(GET);
      await server.say(answer(200), 'some');
      await server.reset();
      await client.over();
    },
    exchanges: { 'GET 200 reset': 1 },
    ends: 'reset',
  },
  {
    name: 'an answer that is closed in the middle of its head, where its status is known',
    async script(line) {
      await line.exchange(GET, HALF_HEAD);
      await line.hangUp('server');
    },
    exchanges: { 'GET 200 closed': 1 },
    ends: 'closed',
  },
  {
    name: 'an answer that is closed before its status is known',
    async script(line) {
      await line.exchange(GET, 'HTTP/1.1 20');
      await line.hangUp('server');
    },
    exchanges: { 'GET closed': 1 },
    ends: 'closed',
  },
  {
    name: 'only an interim answer comes',
    async script(line) {
      await line.exchange(request('POST', 'Expect: 100-continue', 'Content-Length: 1'), answer(100));
      await line.hangUp('server');
    },
    exchanges: { 'POST closed': 1 },
    ends: 'closed',
  },
  {
    name: 'an upload that is closed in the middle',
    async script(line) {
      await line.client.say(request('POST', 'Content-Length: 10'), 'some');
      await line.hangUp('client');
    },
    exchanges: { 'POST closed': 1 },
    ends: 'closed',
  },
  {
    name: 'an upload that is answered and then reset',
    async script({ client, server }) {
      await client.say(request('POST', 'Content-Length: 10'), 'some');
      await server.say(answer(413, 'Content-Length: 0'));
      await server.reset();
      await client.over();
    },
    exchanges: { 'POST 413': 1 },
    ends: 'reset',
  },
  {
    name: 'the client gives up a download',
    async script({ client, server }) {
      await client.say(GET);
      await server.say(HALF);
      await client.reset();
      await server.over();
    },
    exchanges: { 'GET 200 reset': 1 },
    ends: 'reset',
  },
  ...(['client', 'server'] as const).map(
    (side): Case => ({
      name: `no error: the ${side} closes a connection that is idle`,
      async script(line) {
        await line.exchange(GET, OK);
        await line.hangUp(side);
      },
      exchanges: { 'GET 200': 1 },
      ends: 'closed',
    }),
  ),
  {
    name: 'no error: a connection that is idle is reset',
    async script(line) {
      await line.exchange(GET, OK);
      await line.server.reset();
      await line.client.over();
    },
    exchanges: { 'GET 200': 1 },
    ends: 'reset',
  },
  {
    name: 'no error: a connection that is never used',
    script: (line) => line.hangUp(),
    exchanges: {},
    ends: 'closed',
  },
  {
    name: 'no request yet: half a head, then the end',
    async script(line) {
      await line.client.say('GET /');
      await line.hangUp();
    },
    exchanges: {},
    ends: 'closed',
  },
];

test.describe('between two processes', () => {
  test.for(cases)('$name', async ({ script, exchanges, ends }, { meter, connect }) => {
    const seen = await meter.during(async () => script(await connect()));
    seen.expectExchanges(exchanges);
    for (const role of ['client', 'server'] as const) {
      const { opened, closed, reset, timedOut } = seen.tcp(role);
      expect({ role, opened, closed, reset, timedOut }).toEqual({ role, opened: 1, [ends]: 1 });
    }
  });

  test('the server is killed while it works', async ({ scope, meter }) => {
    const seen = await meter.during(async () => {
      const [client, server] = [new Peer(scope, 'client'), new Peer(scope, 'server')];
      const line = await Line.connect(client, server, await server.listen());
      await line.client.say(GET);
      await server.kill();
      await line.client.over();
      await line.client.destroy();
    });
    seen.expectExchanges({ 'GET closed': 1 });
  });

  test('what is exported says error.type, and no status that nobody sent', async ({ meter, connect }) => {
    await meter.during(async () => {
      const unanswered = await connect();
      await unanswered.client.say(request('TRACE'));
      await unanswered.hangUp('server');
      const broken = await connect();
      await broken.exchange(request('TRACE'), HALF);
      await broken.hangUp('server');
    });
    const families = await meter.agent.collect();
    for (const role of ['client', 'server']) {
      const durations = families.find(({ name }) => name === `http.${role}.request.duration`)!;
      const outcomes = durations.points
        .filter(({ attributes }) => attributes['http.request.method'] === 'TRACE')
        .map((point) => `${point.attributes['http.response.status_code']} ${point.attributes['error.type']}`);
      expect(outcomes.sort()).toEqual(['200 connection_closed', 'undefined connection_closed']);
    }
  });
});

const host = ADDRESSES.v4.server;
/** How the far end is called where nobody in the cgroup listens. */
const NOWHERE = 'client > unknown';

test.describe('connects across a cable', () => {
  test('refused', async ({ meter, network }) => {
    const seen = await meter.during(async () => {
      for (let i = 0; i < 3; i++) {
        const end = await network.client.open({ host, port: 1 });
        await expect(end.connected()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
      }
    });
    seen.expectExchanges({});
    expect(seen.tcp('client', NOWHERE)).toEqual({ refused: 3 });
  });

  test('given up by the client', async ({ meter, network }) => {
    network.cable.setInputRules('server', 'tcp dport 1 drop');
    const seen = await meter.during(async () => {
      for (let i = 0; i < 3; i++) await (await network.client.open({ host, port: 1 })).destroy();
    });
    expect(seen.tcp('client', NOWHERE)).toEqual({ cancelled: 3 });
  });

  test('given up by the kernel', async ({ meter, network }) => {
    network.cable.setInputRules('server', 'tcp dport 1 drop');
    const seen = await meter.during(async () => {
      const end = await network.client.open({ host, port: 1 });
      await end.setUserTimeout(100);
      await expect(end.connected()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    });
    expect(seen.tcp('client', NOWHERE)).toMatchObject({ unreachable: 1 });
  });

  test('refused by the network', async ({ meter, network }) => {
    // Not the first SYN: an answer that comes while connect(2) still holds the socket does not end it.
    const second = 'tcp dport 1 numgen inc mod 2 1 reject with icmp type host-unreachable';
    network.cable.setInputRules('server', second, 'tcp dport 1 drop');
    const seen = await meter.during(async () => {
      const end = await network.client.open({ host, port: 1 });
      await expect(end.connected()).rejects.toMatchObject({ code: 'EHOSTUNREACH' });
    });
    expect(seen.tcp('client', NOWHERE)).toEqual({ unreachable: 1 });
  });
});

test.describe('a cable that is cut', () => {
  test('while the client asks', async ({ meter, network }) => {
    const seen = await meter.during(async () => {
      const line = await network.connect();
      const { client, server } = line;
      await line.exchange(request('PUT'), OK); // so that the client's side has learned who the server is
      await client.setUserTimeout(300);
      network.cable.setInputRules('server', 'tcp dport != 0 drop');
      await client.write(GET);
      expect(await client.over()).toBe('ETIMEDOUT');
      network.cable.setInputRules('server');
      await server.write('x'); // what the client's kernel knows no more, it resets
      expect(await server.over()).toBe('ECONNRESET');
    });
    const before = { 'client > server|PUT 200': 1 };
    expect(seen.requests('client')).toEqual({ ...before, 'client > server|GET timeout': 1 });
    expect(seen.requests('server')).toEqual(before);
    seen.expectReconciled();
    expect(seen.tcp('client')).toMatchObject({ opened: 1, timedOut: 1 });
    expect(seen.tcp('server')).toMatchObject({ opened: 1, reset: 1 });
  });

  test('while the server answers', async ({ meter, network }) => {
    const seen = await meter.during(async () => {
      const { client, server } = await network.connect();
      await server.setUserTimeout(300);
      await client.say(GET);
      network.cable.setInputRules('client', 'tcp dport != 0 drop');
      await server.write(OK);
      expect(await server.over()).toBe('ETIMEDOUT');
      network.cable.setInputRules('client');
      await client.write('x');
      expect(await client.over()).toBe('ECONNRESET');
    });
    expect(seen.requests('client')).toEqual({ 'client > server|GET reset': 1 });
    // It has sent the whole answer, and can not know more.
    expect(seen.requests('server')).toEqual({ 'client > server|GET 200': 1 });
    seen.expectReconciled();
    expect(seen.tcp('client')).toMatchObject({ opened: 1, reset: 1 });
    expect(seen.tcp('server')).toMatchObject({ opened: 1, timedOut: 1 });
  });
});
