/**
 * Screenshots of the service map, light and dark, from an agent that runs, such as `meshtap demo`:
 *
 *     node scripts/screenshots/page.js http://127.0.0.1:9465/
 *
 * Needs `apt-get install chromium pngquant`. Writes docs/images/map-light.png and map-dark.png, the dark one with an
 * edge open.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const IMAGES = join(import.meta.dirname, '../../docs/images');
const [address = 'http://127.0.0.1:9465/', edge = 'reviews → ratings'] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
for (const [colorScheme, height] of [
  ['light', 760],
  ['dark', 860],
]) {
  const page = await browser.newPage({ viewport: { width: 1280, height }, colorScheme });
  await page.goto(address);
  await page.getByText('rates over the last 2').waitFor();
  if (colorScheme === 'dark') {
    await page.getByRole('button', { name: `Details of ${edge}` }).click();
    await page.getByRole('columnheader', { name: 'Since the start' }).first().waitFor();
    await page.waitForTimeout(3_000);
  }
  const path = join(IMAGES, `map-${colorScheme}.png`);
  await page.screenshot({ path });
  execFileSync('pngquant', ['--force', '--ext', '.png', '--quality', '60-95', path]);
  process.stdout.write(`${path}\n`);
}
await browser.close();
