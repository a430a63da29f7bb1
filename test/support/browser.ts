/**
 * Chromium without a window, and what a page does in it.
 *
 * @module
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { onTestFinished } from 'vitest';

export interface Visit {
  readonly page: Page;
  /** Addresses of everything it asked for. */
  readonly requested: readonly string[];
  /** What went wrong in it: errors, and what its policy forbade. */
  readonly complaints: readonly string[];
}

/** Opens a page in a browser of its own, which ends with the test. */
export async function visit(address: string, options: BrowserContextOptions = {}): Promise<Visit> {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    // Its sandbox does not let root in. What it shows is ours.
    args: ['--no-sandbox'],
  });
  onTestFinished(() => browser.close());
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
  page.setDefaultTimeout(60_000);
  const requested: string[] = [];
  const complaints: string[] = [];
  page.on('request', (request) => requested.push(request.url()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  await page.goto(address);
  return { page, requested, complaints };
}

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface Violation {
  readonly id: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[];
}

/** What axe finds fault with (https://github.com/dequelabs/axe-core). */
export async function barriers(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate<{ violations: Violation[] }>('axe.run()');
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
  );
}

/** How many points of the graph have the colour that the page calls so, such as `failing`. */
export const painted = (page: Page, colour: string): Promise<number> =>
  page.evaluate<number>(`(() => {
    const probe = document.createElement('i');
    probe.style.color = 'var(--${colour})';
    document.body.append(probe);
    const wanted = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
    probe.remove();
    let points = 0;
    for (const canvas of document.querySelectorAll('#graph canvas')) {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] === 255 && wanted.every((value, k) => data[i + k] === value)) points++;
    }
    return points;
  })()`);
