// Connections that were open before the agent came: what the static table tells is used, what only the lost part of the
// dynamic table could tell is unknown, and what is inserted from then on is known again.
import { data, headers, indexed, literal, PREFACE, SETTINGS, STATIC } from '../../support/http2-frames.js';
import { Meter } from '../../support/meter.js';
import { Line, Peer } from '../../support/raw-peer.js';
import { test as base } from '../../support/traffic.js';

const insert = { insert: true };
const INSERT_GRPC = literal('content-type', 'application/grpc', insert);
const NEWEST = indexed(62);
const SECOND = indexed(63);

/** Both tables are filled before anybody looks, and stream 3 is still open. */
const test = base
  .extend('line', async ({ scope }) => {
    const [client, server] = [new Peer(scope, 'client'), new Peer(scope, 'server')];
    const line = await Line.connect(client, server, await server.listen());
    const first = headers(1, [STATIC.POST, literal(':path', '/a.B/Say', insert), INSERT_GRPC], true);
    const second = headers(3, [STATIC.POST, SECOND, NEWEST], true);
    await line.client.say(Buffer.concat([PREFACE, SETTINGS, first, second]));
    const trailers = headers(1, [literal('grpc-status', '0', insert)], true);
    await line.server.say(
      Buffer.concat([SETTINGS, headers(1, [STATIC.OK, INSERT_GRPC]), data(1, 'x'), trailers]),
    );
    return line;
  })
  .extend('late', async ({ scope, line: _ }, { onCleanup }) => {
    const meter = await Meter.attach(scope);
    onCleanup(() => meter.agent[Symbol.asyncDispose]());
    return meter;
  });

/** As both ends have it by now: grpc-status 0 is the server's newest entry, application/grpc the one before. */
const answerAsBefore = (stream: number) =>
  Buffer.concat([headers(stream, [STATIC.OK, SECOND]), data(stream, 'x'), headers(stream, [NEWEST], true)]);

test('a gRPC connection', async ({ line, late }) => {
  const seen = await late.during(async () => {
    await line.server.say(answerAsBefore(3)); // nobody saw the request
    await line.exchange(headers(5, [STATIC.POST, SECOND, NEWEST], true), answerAsBefore(5));
    await line.exchange(
      headers(7, [STATIC.POST, literal(':path', '/a.B/Watch', insert), INSERT_GRPC], true),
      Buffer.concat([
        headers(7, [STATIC.OK, SECOND]),
        headers(7, [literal('grpc-status', '14', insert)], true),
      ]),
    );
    await line.exchange(
      headers(9, [STATIC.POST, SECOND, NEWEST], true),
      Buffer.concat([headers(9, [STATIC.OK, indexed(64)]), headers(9, [NEWEST], true)]),
    );
    // what gRPC never is can be told without the table
    await line.exchange(
      headers(11, [STATIC.GET, indexed(65)], true),
      headers(11, [STATIC[404], indexed(64)], true),
    );
    await line.exchange(
      headers(13, [STATIC.POST, indexed(65)], true),
      headers(13, [STATIC[500], indexed(64)], true),
    );
    await line.hangUp();
  });
  seen.expectExchanges({
    'POST 200 HTTP/2 unknown/unknown unknown': 1,
    'POST 200 HTTP/2 a.B/Watch UNAVAILABLE': 2,
    'GET 404 HTTP/2': 1,
    'POST 500 HTTP/2': 1,
  });
  seen.expectLedger({ 'connections http2': 1, 'exchanges unknown': 1, 'responses joined_midway': 1 });
});

test('a status that only the table knows', async ({ line, late }) => {
  const seen = await late.during(async () => {
    await line.exchange(headers(5, [STATIC.GET, STATIC.ROOT], true), headers(5, [SECOND], true));
    await line.exchange(headers(7, [indexed(64), STATIC.ROOT], true), headers(7, [STATIC[404]], true));
    await line.hangUp();
  });
  seen.expectExchanges({ 'GET unknown HTTP/2': 1, 'unknown 404 HTTP/2': 1 });
});

test('the middle of a body is not taken for a frame', async ({ line, late }) => {
  const seen = await late.during(async () => {
    await line.server.say(headers(3, [STATIC.OK, SECOND]), data(3, 'x'.repeat(3000)).subarray(0, 1000));
    await line.server.say('x'.repeat(2009), headers(3, [NEWEST], true));
    await line.exchange(headers(5, [STATIC.GET, STATIC.ROOT], true), headers(5, [STATIC.OK], true));
    await line.hangUp();
  });
  seen.expectExchanges({ 'GET 200 HTTP/2': 1 });
});
