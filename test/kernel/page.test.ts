import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { expect, onTestFinished, test, vi } from 'vitest';
import { servePage } from '../../src/exporters/page/service-page.js';
import type { WireDetails, WireMap } from '../../src/exporters/page/wire.js';
import { FlowHub } from '../../src/flows/hub.js';
import { resolve } from '../../src/metrics/model.js';
import { barriers, painted, visit } from '../support/browser.js';
import { makeCgroup } from '../support/cgroup.js';
import { meshtap, startMeshtap } from '../support/cli.js';
import { counts, histogram, http, identifyNamed, named, pair } from '../support/counts.js';
import { request, response, workload } from '../support/flows.js';
import { Mesh } from '../support/mesh.js';

// A browser on an emulated machine takes minutes to start, and a guest of test/vm need not have one.
const there = test.skipIf(process.env.MESHTAP_VM !== undefined);
const timeout = 180_000;

/** A demo that is watched as users do: its metrics, its page, and the process that makes its load. */
async function demo() {
  const parent = makeCgroup('page-test');
  const running = startMeshtap([
    ...['demo', '--cgroup', parent.path, '--prometheus', '127.0.0.1:0', '--page', '127.0.0.1:0'],
  ]);
  const [, metrics] = await running.says(/prometheus: (http:\S+)/);
  const [, address] = await running.says(/service map: (http:\S+)/);
  const procs = join(parent.path, `meshtap-demo-${running.pid}`, 'load', 'cgroup.procs');
  const load = Number(readFileSync(procs, 'utf8'));
  onTestFinished(async () => {
    process.kill(load, 'SIGCONT');
    await running.stop();
  });
  return { metrics: metrics!, address: address!, load, pid: running.pid };
}

/** Sums of a metric by client and server, over the lines that fit. */
async function scraped(address: string, metric: string, where: RegExp): Promise<Record<string, number>> {
  const sums: Record<string, number> = {};
  for (const line of (await (await fetch(address)).text()).split('\n')) {
    const [, labels = '', value] = /^[a-z_]+\{(.*)\} (\S+)$/.exec(line) ?? [];
    if (!line.startsWith(`${metric}{`) || !where.test(labels)) continue;
    const label = (name: string) => new RegExp(`(?:^|,)${name}="([^"]*)"`).exec(labels)?.[1] ?? '';
    const key = `${label('source_service')} → ${label('destination_service')}`;
    sums[key] = (sums[key] ?? 0) + Number(value);
  }
  return sums;
}

const mapAt = async (address: string) => (await (await fetch(`${address}map.json`)).json()) as WireMap;

/** What the rows of the table say, by their columns. */
async function rows(page: Page): Promise<Record<string, string>[]> {
  const cells = await page
    .locator('#edges tr')
    .evaluateAll((all) => all.map((row) => [...row.children].map((cell) => cell.textContent ?? '')));
  const [head = [], ...body] = cells;
  return body.map((row) => Object.fromEntries(row.map((text, i) => [head[i], text])));
}

const details = (page: Page, edge: string) => page.getByRole('button', { name: `Details of ${edge}` });
const PAIRS = ['load → productpage', 'productpage → details', 'productpage → reviews', 'reviews → ratings'];

there(
  'the demo: every pair, with the numbers of /metrics, by mouse and by keyboard',
  { timeout },
  async () => {
    const { metrics, address, load, pid } = await demo();
    const { page, requested, complaints } = await visit(address);

    // It is live: all four pairs come, and the two that fail are said to.
    const row = (edge: string) => page.getByRole('row').filter({ has: details(page, edge) });
    for (const edge of PAIRS) await row(edge).waitFor();
    await row('reviews → ratings').getByText('failing').waitFor();
    await row('productpage → reviews').getByText('failing').waitFor();
    await row('productpage → details').getByText('ok', { exact: true }).waitFor();
    expect(await row('load → productpage').textContent()).toContain('HTTP/1.1');

    // The graph draws failing edges in red, and only them.
    const search = page.getByRole('searchbox', { name: 'Search' });
    await search.fill('ratings');
    await vi.waitUntil(async () => (await painted(page, 'failing')) > 20, { timeout: 30_000 });
    await search.fill('load');
    await vi.waitUntil(async () => (await painted(page, 'failing')) === 0, { timeout: 30_000 });
    expect(await painted(page, 'ok')).toBeGreaterThan(20);
    expect(await rows(page)).toMatchObject([{ From: 'load', To: 'productpage' }]);
    await search.fill('');

    // By keyboard alone: to the table, into the panel, and back.
    await details(page, 'reviews → ratings').focus();
    await page.keyboard.press('Enter');
    const panel = page.getByRole('region', { name: 'reviews → ratings' });
    await panel.getByRole('row', { name: /^503 \(error\)/ }).waitFor();
    await panel.getByText('gave no single requests so far').waitFor();
    expect(await page.evaluate('document.activeElement.id')).toBe('details-title');
    await page.keyboard.press('Escape');
    await panel.waitFor({ state: 'hidden' });
    expect(await details(page, 'reviews → ratings').evaluate((node) => node.matches(':focus'))).toBe(true);

    // While the load is held, nothing moves, so the numbers of the map and of /metrics have to be the same ones.
    process.kill(load, 'SIGSTOP');
    const requests = () => scraped(metrics, 'hubble_http_requests_total', /./);
    let before: Record<string, number> = {};
    await vi.waitUntil(
      async () => {
        const now = await requests();
        const still = JSON.stringify(now) === JSON.stringify(before);
        before = now;
        return still;
      },
      { timeout: 30_000, interval: 2_000 },
    );
    const failed = await scraped(metrics, 'hubble_http_requests_total', /status="5..",/);
    const { edges } = await mapAt(address);
    const totals = Object.fromEntries(
      edges.map(({ source, destination, total }) => [`${source.service} → ${destination.service}`, total]),
    );
    expect(Object.keys(totals).sort()).toEqual(PAIRS);
    for (const edge of PAIRS)
      expect([edge, totals[edge]]).toMatchObject([
        edge,
        { requests: before[edge], errors: failed[edge] ?? 0 },
      ]);
    const query = 'source=reviews&sourceNamespace=&destination=ratings&destinationNamespace=';
    const one = (await (await fetch(`${address}edge.json?${query}`)).json()) as WireDetails;
    let below = 0;
    for (const { bound, total } of one.buckets) {
      below += total;
      const le = new RegExp(`le="${bound ?? '\\+Inf'}"`);
      const cumulative = await scraped(metrics, 'hubble_http_request_duration_seconds_bucket', le);
      expect([bound, below]).toEqual([bound, cumulative['reviews → ratings']]);
    }

    // The same in a terminal.
    const { stdout } = await meshtap(['map', '--seconds', '1', '--json']);
    const [, told] = Object.entries(JSON.parse(stdout) as Record<string, WireMap>).find(([name]) =>
      name.includes(String(pid)),
    )!;
    expect(told.edges.map(({ total }) => total)).toEqual(edges.map(({ total }) => total));
    expect((await meshtap(['map', '--seconds', '1'])).stdout).toMatch(
      /^reviews +ratings +\w+ +[0-9.]+ +[0-9.%-]+ .*HTTP\/1\.1 +no$/m,
    );

    // What is shown is what was told: the panel of an edge at rest, and the counts of the rest.
    await details(page, 'reviews → ratings').click();
    const total = before['reviews → ratings']!.toLocaleString('en');
    await panel
      .getByText(`Since counting began: ${total} requests, ${failed['reviews → ratings']} errors`)
      .waitFor();

    expect(complaints).toEqual([]);
    expect(requested.filter((url) => !url.startsWith(address))).toEqual([]);
  },
);

/** An agent that knows one pair, which begins to fail when it is told to. */
function onePair() {
  const shop = pair('server', named('cart', 'shop'), named('front', 'web'), 8080);
  const agent = { flows: new FlowHub(), fails: false, snapshot };
  let [ok, failed] = [0, 0];
  async function snapshot() {
    ok += 20;
    if (agent.fails) failed += 20;
    return resolve(
      counts({
        http: [
          http(shop, { duration: histogram(Array(ok).fill(0.002)) }),
          http(shop, { status: 503, duration: histogram(Array(failed).fill(0.2)) }),
        ],
      }),
      identifyNamed(),
    );
  }
  return agent;
}

there(
  'an edge turns red when it begins to fail; its flows are shown; nothing is asked while paused',
  { timeout },
  async () => {
    const agent = onePair();
    await using served = await servePage({ port: 0, agent, onError: (error) => expect.fail(String(error)) });
    const { page, requested, complaints } = await visit(served.address, { colorScheme: 'dark' });
    const edge = 'web/front → shop/cart';
    const row = page.getByRole('row').filter({ has: details(page, edge) });
    await row.getByText('ok', { exact: true }).waitFor();
    await vi.waitUntil(async () => (await painted(page, 'ok')) > 20, { timeout: 30_000 });
    expect(await painted(page, 'failing')).toBe(0);

    agent.fails = true;
    await row.getByText('failing').waitFor();
    await vi.waitUntil(async () => (await painted(page, 'failing')) > 20, { timeout: 30_000 });
    await page.getByText('2 services, 1 of 1 edges, 1 failing.').waitFor();

    await details(page, edge).click();
    const paid = {
      ...{ client: { ...workload('front'), namespace: 'web' }, server: workload('cart') },
      ...{ url: 'http://cart/pay/4711?card=4242', code: 503, latency: 200 },
    };
    const other = { client: paid.server, server: paid.client, url: 'http://front/other' };
    for (const flow of [request(paid), response(paid), response(other)]) agent.flows.publish(flow);
    const panel = page.getByRole('region', { name: edge });
    await panel.getByRole('cell', { name: /503 .*cart\/pay\/\{id\}/ }).waitFor();
    expect(await panel.textContent()).not.toMatch(/4242|4711|other/);

    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByText('Paused.').waitFor();
    const asked = () => requested.filter((url) => url.includes('.json')).length;
    // One question may have been under way.
    await page.waitForTimeout(3_000);
    const then = asked();
    await page.waitForTimeout(5_000);
    expect(asked()).toBe(then);
    await page.getByRole('button', { name: 'Pause' }).click();
    await vi.waitUntil(() => asked() > then, { timeout: 30_000 });
    expect(complaints).toEqual([]);
  },
);

there.each(['light', 'dark'] as const)('axe finds no fault, in %s', { timeout }, async (colorScheme) => {
  const agent = onePair();
  agent.fails = true;
  await using served = await servePage({ port: 0, agent, onError: () => {} });
  const { page } = await visit(served.address, { colorScheme });
  await page.getByRole('cell', { name: 'failing' }).waitFor();
  expect(await barriers(page)).toEqual([]);
  await details(page, 'web/front → shop/cart').click();
  await page.getByRole('row', { name: /^503/ }).waitFor();
  expect(await barriers(page)).toEqual([]);
});

there('300 services and 2,000 edges: found, filtered, sorted and opened', { timeout }, async () => {
  const agent = new Mesh({ services: 300, edges: 2000, namespaces: 12 });
  await using served = await servePage({ port: 0, agent, onError: (error) => expect.fail(String(error)) });
  const { page, complaints } = await visit(served.address);
  await page.getByText('300 services, 2000 of 2000 edges, 200 failing.').waitFor();
  expect(await rows(page)).toHaveLength(100);
  await page.getByRole('button', { name: 'Show all 2000' }).click();
  await vi.waitUntil(async () => (await page.locator('#edges tbody tr').count()) === 2000, {
    timeout: 60_000,
  });

  await page.getByRole('combobox', { name: 'Show' }).selectOption('failing');
  await vi.waitUntil(async () => (await page.locator('#edges tbody tr').count()) === 200, {
    timeout: 60_000,
  });
  expect((await rows(page)).every(({ State }) => State === 'failing')).toBe(true);
  await page.getByRole('combobox', { name: 'Show' }).selectOption('');
  await page.getByRole('combobox', { name: 'Namespace' }).selectOption('team-3');
  await page.getByRole('searchbox').fill('service-27 team-3/service-3');
  const found = await rows(page);
  expect(found.length).toBeGreaterThan(0);
  for (const { From, To } of found) expect(`${From} ${To}`).toContain('team-3/service-3');

  await page.getByRole('searchbox').fill('');
  await page.getByRole('button', { name: 'Errors' }).click();
  const shares = (await rows(page)).map(({ Errors }) => Number.parseFloat(Errors!));
  expect(shares.length).toBeGreaterThan(50);
  expect(shares).toEqual(shares.toSorted((a, b) => b - a));
  expect(complaints).toEqual([]);
});
