// Connections that were open before the agent came.
import { expect } from 'vitest';
import { answer, GET, OK, request } from '../../support/messages.js';
import { Meter } from '../../support/meter.js';
import { Line, Peer } from '../../support/raw-peer.js';
import { test as base } from '../../support/traffic.js';

const test = base
  .extend('lines', { scope: 'file' }, async ({ scope }) => {
    const client = new Peer(scope, 'client');
    const server = new Peer(scope, 'server');
    const addresses = { v4: await server.listen('127.0.0.1'), v6: await server.listen('::1') };
    const after = async (script: (line: Line) => Promise<void>, family: 'v4' | 'v6' = 'v4') => {
      const line = await Line.connect(client, server, addresses[family]);
      await script(line);
      return line;
    };
    return {
      idle: await after((line) => line.exchange(GET, OK)),
      'idle over IPv6': await after((line) => line.exchange(GET, OK), 'v6'),
      unused: await after(async () => {}),
      'to be closed': await after((line) => line.exchange(GET, OK)),
      'to be reset': await after((line) => line.exchange(GET, OK)),
      asking: await after(({ client }) => client.say(GET.slice(0, 10))),
      uploading: await after(({ client }) => client.say(request('POST', 'Content-Length: 4000'), 'some')),
      waiting: await after(({ client }) => client.say(GET)),
      answering: await after((line) => line.exchange(GET, OK.slice(0, 10))),
      downloading: await after((line) => line.exchange(GET, `${answer(200, 'Content-Length: 4000')}some`)),
    };
  })
  .extend('late', { scope: 'file' }, async ({ scope, lines: _ }, { onCleanup }) => {
    const meter = await Meter.attach(scope);
    onCleanup(() => meter.agent[Symbol.asyncDispose]());
    return meter;
  });

test.for(['idle', 'unused', 'idle over IPv6'] as const)(
  '%s, then used: all is counted',
  async (name, { lines, late }) => {
    const line = lines[name];
    const seen = await late.during(async () => {
      for (let i = 0; i < 3; i++) await line.exchange(request('PUT'), OK);
      await line.hangUp();
    });
    seen.expectExchanges({ 'PUT 200': 3 });
    seen.expectLedger({ 'connections http1': 1 });
    const [there, back] = [3 * request('PUT').length, 3 * OK.length];
    expect(seen.tcp('client')).toMatchObject({ closed: 1, bytesSent: there, bytesReceived: back });
    expect(seen.tcp('server')).toMatchObject({ closed: 1, bytesSent: back, bytesReceived: there });
    for (const role of ['client', 'server'] as const) expect(seen.tcp(role).opened).toBeUndefined();
  },
);

const HTTP_TEXT = answer(500, 'Content-Length: 0');

/** What is left of an exchange that the agent came into, and the answers in it that it can see. */
const RESTS = {
  asking: { rest: (line: Line) => line.exchange(GET.slice(10), OK), answers: 1 },
  uploading: { rest: (line: Line) => line.exchange('x'.repeat(3996), OK), answers: 1 },
  waiting: { rest: ({ server }: Line) => server.say(OK), answers: 1 },
  answering: { rest: ({ server }: Line) => server.say(OK.slice(10)), answers: 0 },
  // Before it has found the thread it takes what looks like one for an answer, but counts no exchange.
  downloading: {
    rest: ({ server }: Line) => server.say(HTTP_TEXT, 'x'.repeat(3996 - HTTP_TEXT.length)),
    answers: 1,
  },
};

test.for(Object.keys(RESTS) as (keyof typeof RESTS)[])(
  '%s: only what comes after it is counted',
  async (name, { lines, late }) => {
    const line = lines[name];
    const { rest, answers } = RESTS[name];
    const joined = answers && { 'responses joined_midway': answers };
    const cut = await late.during(() => rest(line));
    cut.expectExchanges({});
    cut.expectLedger({ ...joined });
    const seen = await late.during(async () => {
      for (let i = 0; i < 3; i++) await line.exchange(request('PUT'), OK);
      await line.hangUp();
    });
    seen.expectExchanges({ 'PUT 200': 3 });
    seen.expectLedger({ 'connections http1': 1 });
  },
);

test('to be closed: no error', async ({ lines, late }) => {
  const seen = await late.during(() => lines['to be closed'].hangUp());
  seen.expectExchanges({});
  seen.expectLedger({});
  for (const role of ['client', 'server'] as const) expect(seen.tcp(role)).toMatchObject({ closed: 1 });
});

test('to be reset when idle again: no request failed', async ({ lines, late }) => {
  const line = lines['to be reset'];
  const seen = await late.during(async () => {
    await line.exchange(GET, OK);
    await line.client.reset();
    await line.server.over();
  });
  seen.expectExchanges({ 'GET 200': 1 });
  for (const role of ['client', 'server'] as const) expect(seen.tcp(role)).toMatchObject({ reset: 1 });
});
