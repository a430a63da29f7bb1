import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { createCollector, shared } from '../../../src/metrics/collector.js';
import { otel } from '../../../src/metrics/dialects/otel.js';
import { counts, histogram, http, identifyNamed, named, pair } from '../../support/counts.js';

it('never answers with something older than the question, and runs twice for a crowd', async () => {
  let clock = 0;
  let runs = 0;
  const run = shared(async () => {
    runs++;
    const read = clock;
    await sleep(20);
    return read;
  });
  const first = run();
  await sleep(5);
  clock = 1;
  const crowd = await Promise.all(Array.from({ length: 10 }, run));
  expect(await first).toBe(0);
  expect(crowd).toEqual(Array(10).fill(1));
  expect(runs).toBe(2);
});

it('goes on after a failure', async () => {
  let fails = true;
  const run = shared(async () => {
    if (fails) throw new Error('no');
    return 'yes';
  });
  await expect(run()).rejects.toThrow('no');
  fails = false;
  expect(await run()).toBe('yes');
});

it('tells the ledger, the budgets and its own work beside the traffic', async () => {
  const sweep = counts({
    http: [http(pair('server', named('b'), named('a')), { duration: histogram([0.1]) })],
    ledger: [
      { role: 'server', subject: 'requests', outcome: 'seen', count: 5 },
      { role: 'server', subject: 'requests', outcome: 'answered', count: 4 },
      { role: 'server', subject: 'requests', outcome: 'answered', count: 1 },
    ],
    budgets: [{ name: 'series', used: 3, limit: 100 }],
  });
  const { collect } = createCollector({
    sources: () => [{ collect: async () => sweep }],
    identify: identifyNamed(),
    dialects: [otel()],
    self: () => [
      { type: 'gauge', name: 'own', description: '', unit: '', points: [{ attributes: { n: 1 }, value: 1 }] },
      { type: 'gauge', name: 'own', description: '', unit: '', points: [{ attributes: { n: 2 }, value: 2 }] },
    ],
  });
  const families = await collect();
  const points = (name: string) =>
    families
      .filter((family) => family.name === name)
      .flatMap((family) => family.points.map((point) => point));
  expect(points('http.server.request.duration')).toHaveLength(1);
  expect(points('meshtap.ledger.entries')).toEqual([
    { attributes: { role: 'server', subject: 'requests', outcome: 'seen' }, value: 5 },
    { attributes: { role: 'server', subject: 'requests', outcome: 'answered' }, value: 5 },
  ]);
  expect(points('meshtap.budget.used')).toEqual([
    { attributes: { budget: 'series' }, value: 3 },
    { attributes: { budget: 'ended_series' }, value: 0 },
    { attributes: { budget: 'ended_pairs' }, value: 0 },
    { attributes: { budget: 'ended_lookups' }, value: 0 },
  ]);
  // As many may be kept that ended as there may be others.
  expect(
    points('meshtap.budget.limit')
      .slice(0, 2)
      .map((point) => 'value' in point && point.value),
  ).toEqual([100, 100]);
  expect(points('meshtap.collection.duration')).toMatchObject([
    { attributes: { outcome: 'success' }, count: 1 },
    { attributes: { outcome: 'failure' }, count: 0 },
  ]);
  expect(families.filter(({ name }) => name === 'own')).toHaveLength(1);
  expect(points('own')).toHaveLength(2);
});
