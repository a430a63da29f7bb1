/**
 * Frames a second of the service map in a browser, while somebody drags it, zooms it, and does nothing, with a new map
 * every two seconds: `npx tsx bench/page.ts [SERVICES [EDGES [SECONDS]]]`. Needs `npm run build:page` and Chromium
 * (`apt-get install chromium`, or CHROMIUM=path); without a graphics card everything is drawn by the processor.
 */
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { servePage } from '../src/exporters/page/service-page.js';
import { Mesh } from '../test/support/mesh.js';

const [services = 300, edges = 2000, seconds = 10] = process.argv.slice(2).map(Number);
await using page = await servePage({
  port: 0,
  agent: new Mesh({ services, edges, namespaces: Math.ceil(services / 25) }),
  onError: (error) => process.stderr.write(`${String(error)}\n`),
});
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
const tab = await browser.newPage({ viewport: { width: 1280, height: 900 } });
await tab.goto(page.address);
await tab.getByText(`${services} services, ${edges} of ${edges} edges`).waitFor();
await sleep(3000);

/** Counts frames while something is done again and again. */
async function frames(what: string, act: (turn: number) => Promise<void>): Promise<void> {
  const counted = tab.evaluate<number[]>(`(async () => {
    const times = [];
    const begin = performance.now();
    while (performance.now() - begin < ${seconds * 1000}) times.push(await new Promise(requestAnimationFrame));
    return times;
  })()`);
  let ended = false;
  void counted.then(() => {
    ended = true;
  });
  for (let turn = 0; !ended; turn++) {
    await act(turn);
    await sleep(8);
  }
  const times = await counted;
  const gaps = times
    .slice(1)
    .map((time, i) => time - times[i]!)
    .sort((a, b) => a - b);
  const perSecond = (1000 * gaps.length) / (times.at(-1)! - times[0]!);
  const at = (q: number) => `${gaps[Math.floor(q * (gaps.length - 1))]!.toFixed(0)} ms`;
  process.stdout.write(
    `${what}: ${perSecond.toFixed(1)} frames/s, between two frames ${at(0.5)} (median), ${at(0.95)} (p95), ${at(1)} (longest)\n`,
  );
}

process.stdout.write(`${services} services, ${edges} edges, load average ${loadavg()[0]!.toFixed(1)}\n`);
await frames('at rest', async () => {});
const graph = (await tab.locator('#graph').boundingBox())!;
const [x, y] = [graph.x + 20, graph.y + graph.height - 20];
await tab.mouse.move(x, y);
await tab.mouse.down();
await frames('dragging', (turn) =>
  tab.mouse.move(x + 150 - 150 * Math.cos(turn / 15), y - 150 + 150 * Math.cos(turn / 25)),
);
await tab.mouse.up();
await tab.mouse.move(graph.x + graph.width / 2, graph.y + graph.height / 2);
await frames('zooming', (turn) => tab.mouse.wheel(0, turn % 40 < 20 ? 30 : -30));
await browser.close();
