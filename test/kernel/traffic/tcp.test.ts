// Connections, and the bytes in them, whatever they mean.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { answer, GET, OK, request } from '../../support/messages.js';
import { Line, Peer } from '../../support/raw-peer.js';
import { test } from '../../support/traffic.js';

test.for([
  { what: 'HTTP', sent: request('PUT', 'Content-Length: 3000000'), received: OK },
  { what: 'anything else', sent: '\x00\x01\x02 binary', received: '\xff\xfe' },
])('bytes each way are those that the peers wrote: $what', async (messages, { meter, connect }) => {
  const { sent, received } = messages;
  const seen = await meter.during(async () => {
    for (let i = 0; i < 5; i++) {
      const line = await connect();
      await line.client.say(...sent); // a byte at a time
      await line.client.pour(3_000_000);
      await line.server.say(received);
      await line.server.pour(70_000);
      await line.hangUp(i % 2 ? 'client' : 'server');
    }
  });
  const there = 5 * (sent.length + 3_000_000);
  const back = 5 * (received.length + 70_000);
  expect(seen.tcp('client')).toMatchObject({ bytesSent: there, bytesReceived: back });
  expect(seen.tcp('server')).toMatchObject({ bytesSent: back, bytesReceived: there });
});

test('bytes that the other end never read are sent, and received by its kernel', async ({
  meter,
  connect,
}) => {
  const seen = await meter.during(async () => {
    const { client, server } = await connect();
    await server.deafen();
    await client.write('x'.repeat(1000));
    await client.end();
    await server.destroy();
    await client.over();
  });
  expect(seen.tcp('client')).toMatchObject({ bytesSent: 1000, reset: 1 });
  expect(seen.tcp('server')).toMatchObject({ bytesReceived: 1000, reset: 1 });
});

test.for(['127.0.0.1', '::1'])(
  'connections to %s are opened, timed and closed',
  async (host, { scope, meter }) => {
    const [client, server] = [new Peer(scope, 'client'), new Peer(scope, 'server')];
    const address = await server.listen(host);
    const seen = await meter.during(async () => {
      for (let i = 0; i < 50; i++) {
        const line = await Line.connect(client, server, address);
        if (i % 2) await line.exchange(GET, OK);
        await line.hangUp(i % 3 ? 'client' : 'server');
      }
    });
    seen.expectExchanges({ 'GET 200': 25 });
    expect(seen.tcp('client')).toMatchObject({ opened: 50, closed: 50, connect: 50 });
    expect(seen.tcp('server')).toMatchObject({ opened: 50, closed: 50 });
    expect(seen.tcp('server').connect).toBeUndefined(); // only who connects knows how long it took
    for (const role of ['client', 'server'] as const) {
      const { rtt, rttSeconds, reset, timedOut, retransmits } = seen.tcp(role);
      expect(rtt).toBeGreaterThanOrEqual(50); // once a second, and at the end
      expect(rttSeconds).toBeGreaterThan(0);
      expect({ reset, timedOut, retransmits }).toEqual({});
    }
  },
);

test('connections that are open are opened, not closed', async ({ meter, connect }) => {
  let line: Line;
  const opened = await meter.during(async () => {
    line = await connect();
    await line.exchange(GET, OK);
  });
  expect(opened.tcp('client')).toMatchObject({ opened: 1 });
  expect(opened.tcp('client').closed).toBeUndefined();
  const closed = await meter.during(() => line.hangUp());
  expect(closed.tcp('client')).toMatchObject({ closed: 1 });
  expect(closed.tcp('client').opened).toBeUndefined();
});

test('a connect whose first SYN is lost took as long as the application waited', async ({
  meter,
  network,
}) => {
  let waited = 0;
  const seen = await meter.during(async () => {
    network.cable.setInputRules('server', 'tcp flags syn / syn,ack numgen inc mod 1000 0 drop');
    const started = performance.now();
    const line = await network.connect();
    waited = (performance.now() - started) / 1000;
    await line.exchange(GET, OK);
    await line.hangUp();
  });
  seen.expectExchanges({ 'GET 200': 1 });
  const { connect, connectSeconds, retransmits } = seen.tcp('client');
  expect({ connect, retransmits }).toEqual({ connect: 1, retransmits: 1 });
  expect(connectSeconds).toBeGreaterThanOrEqual(0.9); // RFC 6298: after a second it is sent again
  expect(connectSeconds).toBeLessThanOrEqual(waited);
});

test.for([
  { lost: 'data of the client', end: 'server', rule: 'meta length > 1000 numgen inc mod 5 0 drop' },
  { lost: 'data of the server', end: 'client', rule: 'meta length > 1000 numgen inc mod 5 0 drop' },
  {
    lost: 'acknowledgements of the server',
    end: 'client',
    rule: 'meta length < 60 drop', // the answer to what came twice is longer (RFC 2883)
    until: 'client',
  },
] as const)(
  '$lost: segments sent again count as such, and nothing counts twice',
  async (loss, { meter, network }) => {
    const { end, rule } = loss;
    const sentAgainBy = 'until' in loss ? loss.until : undefined;
    const { cable } = network;
    const before = { client: cable.retransmits('client'), server: cable.retransmits('server') };
    const again = (role: 'client' | 'server') => cable.retransmits(role) - before[role];
    const upload = request('POST', 'Content-Length: 200000');
    const download = answer(200, 'Content-Length: 200000');
    const seen = await meter.during(async () => {
      const line = await network.connect();
      await line.exchange(GET, OK);
      cable.setInputRules(end, rule);
      for (let i = 0; i < 3; i++) {
        const uploaded = line.client.say(upload).then(() => line.client.pour(200_000));
        if (sentAgainBy) {
          while (again(sentAgainBy) === 0) await sleep(10);
          cable.setInputRules(end);
        }
        await uploaded;
        await line.server.say(download);
        await line.server.pour(200_000);
        await sleep(10);
      }
      await line.hangUp();
    });
    seen.expectExchanges({ 'GET 200': 1, 'POST 200': 3 });
    const there = GET.length + 3 * (upload.length + 200_000);
    const back = OK.length + 3 * (download.length + 200_000);
    expect(seen.tcp('client')).toMatchObject({ opened: 1, closed: 1, bytesSent: there, bytesReceived: back });
    expect(seen.tcp('server')).toMatchObject({ opened: 1, closed: 1, bytesSent: back, bytesReceived: there });
    expect(again('client') + again('server')).toBeGreaterThan(0);
    for (const role of ['client', 'server'] as const)
      expect(seen.tcp(role).retransmits ?? 0).toBe(again(role));
  },
);
