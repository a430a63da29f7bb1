// Random patterns and random paths: the route that the kernel gave each request, against src/routes/walk.ts and against RE2.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect } from 'vitest';
import { PatternError } from '../../../src/routes/program.js';
import { readRoute } from '../../../src/routes/route.js';
import { CompiledRoutes, type ServiceRoutes } from '../../../src/routes/services.js';
import { frame, literal, PREFACE, SETTINGS } from '../../support/http2-frames.js';
import { latin1, regexText, targetText } from '../../support/patterns.js';
import { firstMatch, routeCounts, since } from '../../support/routes.js';
import { test } from '../../support/traffic.js';

const SEED = Number(process.env.MESHTAP_SEED ?? Math.floor(Math.random() * 1e6));
const SCRIPT = join(import.meta.dirname, '../../fixtures/http2/paths.py');
const FIRST_STATUS = 400;
const MOST = 600;
const SERVER = { service: 'server', namespace: '' };

/** Expressions that match something, of random ones. */
function randomRoutes(seed: number): { expressions: string[]; services: ServiceRoutes[] } {
  const texts = fc.sample(regexText, { seed, numRuns: 14 });
  let left = [...new Set([...texts.map((text) => `/${text}`), ...texts])];
  for (;;) {
    const services = [{ routes: left.map((text) => readRoute(text, 'regex')) }];
    try {
      new CompiledRoutes(services);
      return { expressions: left, services };
    } catch (error) {
      if (!(error instanceof PatternError)) throw error;
      left = left.filter((text) => text !== error.pattern);
    }
  }
}

/** Different ones, each of which gets a status of its own, so that its route can be told from all others. */
const randomTargets = (seed: number, fits: (target: string) => boolean): string[] =>
  [...new Set(fc.sample(targetText, { seed, numRuns: 4 * MOST }))].filter(fits).slice(0, MOST);

/** Cut somewhere, or not. */
function* cutUp(text: Uint8Array, seed: number): Generator<Uint8Array> {
  let state = seed;
  for (let at = 0; at < text.length; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const length = state >>> 30 === 0 ? 1 : 1 + ((state >>> 8) % 600);
    yield text.subarray(at, at + length);
    at += length;
  }
}

function expectRoutes(
  found: Awaited<ReturnType<typeof routeCounts>>,
  targets: readonly string[],
  { expressions, services }: ReturnType<typeof randomRoutes>,
) {
  const compiled = new CompiledRoutes(services);
  const expected: Record<string, number> = {};
  let matched = 0;
  for (const [i, target] of targets.entries()) {
    const walked = compiled.routeOf(SERVER, 'GET', latin1(target));
    expect(walked, target).toBe(firstMatch(expressions, target));
    expected[`GET ${FIRST_STATUS + i} ${walked}`] = 1;
    if (walked !== '*') matched++;
  }
  expect(found.server, `seed ${SEED}`).toEqual(expected);
  expect(found.client, `seed ${SEED}`).toEqual(expected);
  expect(matched).toBeGreaterThan(20);
}

test.for([1, 2, 3, 4])(
  `HTTP/1, cut at random (MESHTAP_SEED=${SEED}, round %i)`,
  async (round, { meter, connect }) => {
    const seed = SEED + round;
    const routes = randomRoutes(seed);
    const targets = randomTargets(seed, (target) => target !== '' && !/[ \r\n]/.test(target));
    await meter.agent.setRoutes(routes.services);
    const before = await routeCounts(meter.agent);
    const lines = await Promise.all([1, 2, 3, 4].map(() => connect()));
    await meter.during(() =>
      Promise.all(
        lines.map(async (line, n) => {
          // Some are pipelined.
          const mine = [...targets.keys()].filter((i) => i % lines.length === n);
          for (let i = 0; i < mine.length; i += n + 1) {
            const some = mine.slice(i, i + n + 1);
            const request = some.map((t) => `GET ${targets[t]} HTTP/1.1\r\nHost: a\r\n\r\n`).join('');
            const answer = some
              .map((t) => `HTTP/1.1 ${FIRST_STATUS + t} Told\r\nContent-Length: 0\r\n\r\n`)
              .join('');
            await line.client.say(...cutUp(latin1(request), seed + i));
            await line.server.say(answer);
          }
          await line.hangUp();
        }),
      ),
    );
    expectRoutes(since(before, await routeCounts(meter.agent)), targets, routes);
  },
);

test.for([
  { round: 5, indexed: 0, coded: 10 },
  { round: 6, indexed: 0, coded: 0 },
  { round: 7, indexed: 10, coded: 5 },
])(
  `HTTP/2, cut at random (MESHTAP_SEED=${SEED}, round $round, $indexed of 10 indexed, $coded of 10 coded)`,
  async ({ round, indexed, coded }, { meter, connect }) => {
    const seed = SEED + round;
    const routes = randomRoutes(seed);
    const targets = randomTargets(seed, (target) => target !== '').slice(0, MOST / 2);
    // Those that are in the table are asked for again while they are in it; the second answer has another status.
    const asked = targets.flatMap((target, i) => [target, targets[Math.max(0, i - (i % 20))]!]);
    const output = execFileSync('/usr/bin/python3', [SCRIPT, String(indexed), String(coded), String(seed)], {
      input: JSON.stringify(asked),
      maxBuffer: 1 << 28,
    });
    const blocks = (JSON.parse(output.toString()) as string[]).map((text) => Buffer.from(text, 'base64'));
    await meter.agent.setRoutes(routes.services);
    const before = await routeCounts(meter.agent);
    await meter.during(async () => {
      const line = await connect();
      await line.client.say(PREFACE, SETTINGS);
      await line.server.say(SETTINGS);
      for (const [i, block] of blocks.entries()) {
        const stream = 2 * i + 1;
        await line.client.say(...cutUp(frame(1, 5, stream, block), seed + i));
        await line.server.say(frame(1, 5, stream, literal(':status', String(FIRST_STATUS + i))));
      }
      await line.hangUp();
    });
    expectRoutes(since(before, await routeCounts(meter.agent)), asked, routes);
  },
);
