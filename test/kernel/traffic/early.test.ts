// Much of a connection behind one segment that is missing.
import { expect, onTestFinished } from 'vitest';
import { answer, chunked, GET, OK, request } from '../../support/messages.js';
import { ADDRESSES } from '../../support/netns.js';
import { End, Line, Peer } from '../../support/raw-peer.js';
import { test } from '../../support/traffic.js';

const BEHIND = 600_000;

/** Drops what has no more than a few bytes of data, and lets it through when that many others have come behind it. */
const gap = (bytes: number) => `meta length > 52 quota until ${bytes} bytes meta length < 80 drop`;

test('600,000 bytes come before the segment in front of them, and all are parsed in their order', async ({
  scope,
  meter,
  cable,
}) => {
  cable.setBuffers(8_000_000);
  const client = new Peer(scope, 'client', { netns: cable.client });
  const server = new Peer(scope, 'server', { netns: cable.server });
  const address = await server.listen(ADDRESSES.v4.server);
  onTestFinished(() => cable.setInputRules('server'));

  const upload = request('POST', 'Transfer-Encoding: chunked');
  const body = chunked(...Array.from({ length: BEHIND / 1000 }, () => 'x'.repeat(1000)));
  const rest = body.slice(3) + GET.repeat(20);
  const seen = await meter.during(async () => {
    const line = await Line.connect(client, server, address);
    // the receiver's window opens by two segments for each packet, of up to 64 kB, that comes in order
    await line.client.say(request('PUT', 'Content-Length: 60000000'));
    await line.client.pour(60_000_000);
    await line.server.say(OK);
    await line.client.say(upload);
    cable.setInputRules('server', gap(BEHIND));
    await line.client.write(body.slice(0, 3));
    await Promise.all([line.client.write(rest), line.server.read(3 + rest.length)]);
    await line.server.say(answer(201, 'Content-Length: 0') + OK.repeat(20));
    await line.hangUp();
  });
  seen.expectExchanges({ 'PUT 200': 1, 'POST 201': 1, 'GET 200': 20 });
  seen.expectLedger({ 'connections http1': 1 });
});

test.for([
  {
    what: 'a chunk that began in the segment before',
    head: 'Transfer-Encoding: chunked',
    body: chunked('x'.repeat(3000), 'y'.repeat(3000), 'z'),
  },
  { what: 'a body that began in the segment before', head: 'Content-Length: 5000', body: 'x'.repeat(5000) },
])(
  'what comes before the handshake is complete, and before its turn, ends $what',
  async ({ head, body }, { meter, network, scope }) => {
    const { cable } = network;
    const client = new Peer(scope, 'client', { netns: cable.client });
    const server = new Peer(scope, 'server', { netns: cable.server });
    const address = await server.listen(ADDRESSES.v4.server);
    const sent = request('POST', head) + body + GET;
    const seen = await meter.during(async () => {
      // the client's last word in the handshake, and the first segment; both once
      cable.setInputRules('server', 'tcp flags & syn == 0 numgen inc mod 1000 < 2 drop');
      const here = await client.open(address);
      const from = await here.connected();
      for (const piece of [sent.slice(0, 1000), sent.slice(1000)]) await here.write(piece);
      const there = new End(server, (await server.order('accept', { from })) as number);
      here.other = there;
      there.other = here;
      await there.read(sent.length);
      await there.say(answer(201, 'Content-Length: 0') + OK);
      await here.destroy();
      await there.over();
      await there.destroy();
    });
    expect(cable.retransmits('client')).toBeGreaterThan(0);
    seen.expectExchanges({ 'POST 201': 1, 'GET 200': 1 });
  },
);
