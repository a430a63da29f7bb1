// Counts by route, exact: against the log of a real server, while the patterns change, and for services that differ.
import { describe, expect, onTestFinished } from 'vitest';
import { METHODS, readRoute } from '../../../src/routes/route.js';
import type { ServiceRoutes } from '../../../src/routes/services.js';
import { frame, headers, literal, PREFACE, SETTINGS, STATIC } from '../../support/http2-frames.js';
import { h2load } from '../../support/load.js';
import { answer, bytesOf, cuts } from '../../support/messages.js';
import { Nginx } from '../../support/nginx.js';
import { type RouteCounts, routeCounts, since } from '../../support/routes.js';
import { many } from '../../support/scale.js';
import { test } from '../../support/traffic.js';

const routes = (...texts: string[]): ServiceRoutes => ({
  routes: texts.map((text) => readRoute(text, 'template')),
});
const OK = answer(200, 'Content-Length: 0');
const ask = (target: string, method = 'GET') => `${method} ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;

/** How often there was which route, whatever the method and the status. */
function byRoute(counts: RouteCounts): Record<'client' | 'server', Record<string, number>> {
  const sum = (side: Record<string, number>) => {
    const sums: Record<string, number> = {};
    for (const [name, count] of Object.entries(side)) {
      const route = name.replace(/^\S+ \S+ /, '');
      sums[route] = (sums[route] ?? 0) + count;
    }
    return sums;
  };
  return { client: sum(counts.client), server: sum(counts.server) };
}

const both = (expected: Record<string, number>) => ({ client: expected, server: expected });

describe('the log of nginx', () => {
  const paths = [
    '/ok',
    '/ok?a=/busy',
    '/ok/1',
    '/ok/2/',
    '/ok/%31',
    '/missing/x',
    '/busy',
    '/files/small',
    '//ok',
  ];
  const routeOfPath = (path: string) => {
    if (path.startsWith('/ok/')) return path.endsWith('/') ? '*' : '/ok/{id}';
    if (path.startsWith('/missing/')) return '/missing/*';
    if (path.startsWith('/files/')) return '/files/{name}';
    return path.startsWith('/busy') ? '*' : '/ok';
  };

  test.for([{ streams: undefined }, { streams: 20 }])(
    'says the same, streams: $streams',
    async ({ streams }, { scope, meter }) => {
      const nginx = await Nginx.start(scope, {
        http2: streams !== undefined,
        log: '$request_method $status $request_uri',
      });
      onTestFinished(() => nginx.removeFiles());
      await meter.agent.setRoutes([routes('/ok', '/ok/{id}', '/missing/*', '/files/{name}', 'POST /busy')]);
      const before = await routeCounts(meter.agent);
      const requests = many(3000);
      await meter.during(() =>
        h2load(scope, {
          urls: paths.map((path) => nginx.url(path)),
          requests,
          connections: 4,
          ...(streams !== undefined && { streams }),
        }),
      );
      const expected: Record<string, number> = {};
      for (const [line, count] of Object.entries(nginx.takeLog())) {
        const [method, status, target] = line.split(' ');
        const name = `${method} ${status} ${routeOfPath(target!)}`;
        expected[name] = (expected[name] ?? 0) + count;
      }
      expect(Object.values(expected).reduce((a, b) => a + b)).toBe(requests);
      expect(Object.keys(expected).length).toBeGreaterThan(4);
      expect(since(before, await routeCounts(meter.agent))).toEqual(both(expected));
    },
  );
});

describe('one connection', () => {
  test('a request that is cut anywhere, or everywhere', async ({ meter, connect }) => {
    await meter.agent.setRoutes([routes('/a/{id}', '/b')]);
    const target = 'http://h:80/%61//x%2fy?b';
    const before = await routeCounts(meter.agent);
    const ways = [...cuts(ask(target)), bytesOf(ask(target))];
    await meter.during(async () => {
      const line = await connect();
      for (const pieces of ways) await line.exchange([...pieces], OK);
      await line.hangUp();
    });
    expect(since(before, await routeCounts(meter.agent))).toEqual(both({ 'GET 200 /a/{id}': ways.length }));
  });

  test('targets longer than any window', async ({ meter, connect }) => {
    await meter.agent.setRoutes([routes('/long/{id}', '/long/{id}/end')]);
    const before = await routeCounts(meter.agent);
    const lengths = [1, 40, 41, 60, 63, 64, 65, 79, 80, 81, 440, 448, 512, 900, 5000];
    await meter.during(async () => {
      const line = await connect();
      for (const length of lengths)
        await line.exchange(
          [ask(`/long/${'x'.repeat(length)}`), ask(`/long/${'y'.repeat(length)}/end`)],
          OK + OK,
        );
      await line.hangUp();
    });
    const { length } = lengths;
    const expected = both({ 'GET 200 /long/{id}': length, 'GET 200 /long/{id}/end': length });
    expect(since(before, await routeCounts(meter.agent))).toEqual(expected);
  });

  test('each method has its own routes', async ({ meter, connect }) => {
    await meter.agent.setRoutes([routes(...METHODS.map((name) => `${name} /of/{${name}}`), '/of/{any}')]);
    const before = await routeCounts(meter.agent);
    const asked = METHODS.filter((name) => name !== 'CONNECT');
    await meter.during(async () => {
      const line = await connect();
      for (const name of asked) await line.exchange(ask('/of/1', name), OK);
      await line.exchange(ask('/of/1', 'PURGE'), OK);
      await line.hangUp();
    });
    const expected = Object.fromEntries(asked.map((name) => [`${name} 200 /of/{${name}}`, 1]));
    const found = since(before, await routeCounts(meter.agent));
    expect(found).toEqual(both({ ...expected, '_OTHER 200 /of/{any}': 1 }));
  });

  test('a request without an answer has its route, too', async ({ meter, connect }) => {
    await meter.agent.setRoutes([routes('/never')]);
    const before = await routeCounts(meter.agent);
    await meter.during(async () => {
      const line = await connect();
      await line.client.say(ask('/never'));
      await line.server.reset();
    });
    expect(since(before, await routeCounts(meter.agent))).toEqual(both({ 'GET undefined /never': 1 }));
  });

  test('HTTP/2: paths of the static table, and of the dynamic one before and after a change', async ({
    meter,
    connect,
  }) => {
    await meter.agent.setRoutes([routes('/', '/x/{id}')]);
    const before = await routeCounts(meter.agent);
    await meter.during(async () => {
      const line = await connect();
      await line.client.say(PREFACE, SETTINGS);
      await line.server.say(SETTINGS);
      let stream = -1;
      const exchange = async (path: Buffer) => {
        stream += 2;
        await line.client.say(headers(stream, [STATIC.GET, path], true));
        await line.server.say(headers(stream, [STATIC.OK], true));
      };
      await exchange(STATIC.ROOT);
      await exchange(Buffer.from([0x85])); // /index.html
      await exchange(literal(':path', '/x/1', { insert: true }));
      await exchange(Buffer.from([0x80 | 62]));
      // What was inserted under other patterns has a route no more: its text is gone.
      await meter.agent.setRoutes([routes('/', '/x/{id}', '/x/1')]);
      await exchange(Buffer.from([0x80 | 62]));
      await exchange(literal(':path', '/x/1', { insert: true }));
      await exchange(Buffer.from([0x80 | 62]));
      await exchange(literal(':path', ''));
      await line.client.say(frame(0, 0, 0));
      await line.hangUp();
    });
    const expected = {
      ...{ 'GET 200 /': 1, 'GET 200 *': 1, 'GET 200 /x/{id}': 2 },
      ...{ 'GET 200 -': 2, 'GET 200 /x/1': 2 },
    };
    expect(since(before, await routeCounts(meter.agent))).toEqual(both(expected));
  });
});

describe('changes', () => {
  test('under load lose nothing, and no request has a route that was never in force', async ({
    scope,
    meter,
    nginx,
  }) => {
    const sets = ['/ok', '/{a}', '/{b}', '/ok/*'].map((path) => [routes(path)]);
    const names = ['/ok', '/{a}', '/{b}'];
    await meter.agent.setRoutes(sets[0]!);
    nginx.takeLog();
    const before = await routeCounts(meter.agent);
    let changes = 0;
    const seen = await meter.during(async () => {
      let done = false;
      const load = h2load(scope, {
        urls: [nginx.url('/ok')],
        ...{ requests: many(4000), connections: 8, rate: 100 },
      }).finally(() => {
        done = true;
      });
      while (!done) await meter.agent.setRoutes(sets[++changes % 3]!);
      await load;
    });
    const total = nginx.takeLog()['GET 200']!;
    expect(total).toBe(many(4000));
    seen.expectExchanges({ 'GET 200': total });
    expect(changes).toBeGreaterThan(3);
    const found = byRoute(since(before, await routeCounts(meter.agent)));
    for (const side of [found.client, found.server]) {
      const named = names.reduce((sum, name) => sum + (side[name] ?? 0), 0);
      // A request whose line was cut by a change has none.
      expect(named + (side['-'] ?? 0)).toBe(total);
      expect(side['-'] ?? 0).toBeLessThan(changes * 8);
      for (const name of names) expect(side[name]).toBeGreaterThan(0);
    }
  });

  test('none at all, and the same again', async ({ meter, connect }) => {
    const before = await routeCounts(meter.agent);
    await meter.during(async () => {
      const line = await connect();
      await meter.agent.setRoutes([]);
      await line.exchange(ask('/a'), OK);
      await meter.agent.setRoutes([routes('/a')]);
      await line.exchange(ask('/a'), OK);
      await meter.agent.setRoutes([routes('/a')]);
      await line.exchange(ask('/a'), OK);
      await line.hangUp();
    });
    expect(since(before, await routeCounts(meter.agent))).toEqual(both({ 'GET 200 -': 1, 'GET 200 /a': 2 }));
  });

  test('what can not be had leaves those before', async ({ meter, connect }) => {
    await meter.agent.setRoutes([routes('/before')]);
    const tooMuch = { routes: [readRoute('/(a|b)*a(a|b){18}', 'regex')] };
    await expect(meter.agent.setRoutes([tooMuch])).rejects.toMatchObject({ code: 'PATTERN_REFUSED' });
    const before = await routeCounts(meter.agent);
    await meter.during(async () => {
      const line = await connect();
      await line.exchange(ask('/before'), OK);
      await line.hangUp();
    });
    expect(since(before, await routeCounts(meter.agent))).toEqual(both({ 'GET 200 /before': 1 }));
  });
});

test('services differ: one has routes of its own as soon as it is known', async ({ meter, connect }) => {
  const own: ServiceRoutes = { service: 'server', ...routes('/own/{id}') };
  const others: ServiceRoutes = { service: 'another', ...routes('/own/another') };
  await meter.agent.setRoutes([own, others, routes('/own/*', '/all')]);
  const line = await connect();
  await line.exchange(ask('/all'), OK);
  // Told by now, or in a moment.
  await expect
    .poll(
      async () => {
        await line.exchange(ask('/all'), OK);
        return Object.keys((await routeCounts(meter.agent)).server).includes('GET 200 /all');
      },
      { timeout: 20_000 },
    )
    .toBe(true);
  const before = await routeCounts(meter.agent);
  await meter.during(async () => {
    for (const target of ['/own/another', '/own/1/2', '/all', '/none']) await line.exchange(ask(target), OK);
    // A new connection knows at once.
    const second = await connect();
    await second.exchange(ask('/own/another'), OK);
    await second.hangUp();
    await line.hangUp();
  });
  const expected = { 'GET 200 /own/{id}': 2, 'GET 200 /own/*': 1, 'GET 200 /all': 1, 'GET 200 *': 1 };
  expect(since(before, await routeCounts(meter.agent))).toEqual(both(expected));
});
