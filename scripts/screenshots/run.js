/**
 * Screenshots of the dashboards, as they look on a Prometheus that has scraped for some minutes, with the rules loaded:
 *
 *     npm run screenshots -- http://127.0.0.1:9090 [DIALECT [MINUTES]]
 *
 * Installs Grafana's components beside this file at the first run, and needs `apt-get install chromium pngquant`. Writes
 * docs/images; says which panels had nothing to show.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const HERE = import.meta.dirname;
const ROOT = join(HERE, '../..');
const IMAGES = join(ROOT, 'docs/images');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const [prometheus = 'http://127.0.0.1:9090', dialect = 'otel', minutes = '15'] = process.argv.slice(2);

/** What is chosen where a dashboard is about one thing. */
const CHOSEN = { service: 'productpage', source: 'reviews', destination: 'ratings' };
/** So much of each dashboard is worth a picture: height in pixels. */
const TALLEST = 1500;

if (!existsSync(join(HERE, 'node_modules')))
  execFileSync('npm', ['ci', '--ignore-scripts'], { cwd: HERE, stdio: 'inherit' });
const { chromium } = await import('playwright-core');
const { build, preview } = await import('vite');

// Their ES modules import React's helpers as Node does, which a bundler for browsers takes for something else.
const alias = ['ui', 'data', 'schema', 'i18n', 'e2e-selectors'].map((name) => ({
  find: new RegExp(`^@grafana/${name}$`),
  replacement: join(HERE, `node_modules/@grafana/${name}/dist/cjs/index.cjs`),
}));
const page = { outDir: 'node_modules/.page', chunkSizeWarningLimit: 1e5 };
await build({ root: HERE, logLevel: 'error', resolve: { alias }, build: page });
const server = await preview({
  root: HERE,
  logLevel: 'warn',
  build: page,
  preview: { port: 0, host: '127.0.0.1' },
});
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
try {
  mkdirSync(IMAGES, { recursive: true });
  const folder = join(ROOT, 'dashboards', dialect, 'dashboards');
  for (const file of readdirSync(folder)) {
    const tab = await browser.newPage({ viewport: { width: 1600, height: TALLEST } });
    tab.on('pageerror', (error) => {
      throw error;
    });
    await tab.goto(server.resolvedUrls.local[0]);
    const now = Math.floor(Date.now() / 1000);
    const settings = {
      prometheus,
      from: now - 60 * Number(minutes),
      to: now,
      step: Number(minutes),
      window: 60,
      values: CHOSEN,
    };
    const empty = await tab.evaluate(
      ([dashboard, settings]) => window.draw(dashboard, settings),
      [JSON.parse(readFileSync(join(folder, file), 'utf8')), settings],
    );
    const height = await tab.evaluate(() => document.documentElement.scrollHeight);
    const path = join(IMAGES, file.replace('.json', '.png'));
    await tab.screenshot({ path, clip: { x: 0, y: 0, width: 1600, height: Math.min(height, TALLEST) } });
    // 256 colours are plenty for lines and letters.
    execFileSync('pngquant', ['--force', '--ext', '.png', '--quality', '60-95', path]);
    process.stdout.write(`${path}${empty.length ? `; nothing to show: ${empty.join(', ')}` : ''}\n`);
    await tab.close();
  }
} finally {
  await browser.close();
  await server.close();
}
