/**
 * What every exporter owes its users. An exporter's test calls {@link testExporter} and adds what is its own.
 *
 * @module
 */

import { describe, expect, it, vi } from 'vitest';
import { MeshtapError } from '../../src/errors.js';
import type { Exporter } from '../../src/exporters/exporter.js';
import type { MetricFamily } from '../../src/metrics/family.js';
import { exporterContext } from '../support/exporter-context.js';

/** An exporter, and the other end of it. */
export interface ExporterHarness extends AsyncDisposable {
  readonly exporter: Exporter;
  /** The newest values of the counter `contract` at the other end, by the attribute `which`; waits for some. */
  values(): Promise<ReadonlyMap<string, number>>;
}

export interface ExporterTraits {
  harness(): Promise<ExporterHarness>;
  /** An exporter that can not start, and the code of the reason. */
  broken(): Promise<AsyncDisposable & { readonly exporter: Exporter; readonly code: string }>;
}

const HOSTILE = [
  'plain',
  '',
  'a"b',
  'a\\b',
  'a\nb',
  '\\n',
  'ü 日本 🐈',
  '\t\r\0\x7f',
  '} 1\nfake 2',
  'x'.repeat(10_000),
];

export function contractFamily(values: ReadonlyMap<string, number>): MetricFamily {
  return {
    type: 'counter',
    name: 'contract',
    description: 'For the "contract"\nof exporters.',
    unit: '{thing}',
    startedAt: Date.now() - 1000,
    points: [...values].map(([which, value]) => ({ attributes: { which }, value })),
  };
}

export function testExporter(name: string, { harness, broken }: ExporterTraits): void {
  describe(`contract of the exporter ${name}`, () => {
    it('is named as its file', async () => {
      await using end = await harness();
      expect(end.exporter.name).toBe(name);
    });

    it('brings numbers to the other end, whatever the labels', async () => {
      await using end = await harness();
      const values = new Map(HOSTILE.map((which, i) => [which, i === 0 ? 2 ** 53 - 1 : i]));
      await using running = await end.exporter.start(exporterContext(() => [contractFamily(values)]));
      expect(running.address).toContain('127.0.0.1');
      expect(await end.values()).toEqual(values);
    });

    it('shows what is there now, not what was there', async () => {
      await using end = await harness();
      let value = 1;
      const context = exporterContext(() => [contractFamily(new Map([['it', value]]))]);
      await using _ = await end.exporter.start(context);
      expect(await end.values()).toEqual(new Map([['it', 1]]));
      value = 5;
      await vi.waitUntil(async () => (await end.values()).get('it') === 5, { timeout: 10_000 });
    });

    it('survives collections that fail, and goes on after them', async () => {
      await using end = await harness();
      let fails = true;
      let calls = 0;
      const context = exporterContext(() => {
        calls++;
        if (fails) throw new MeshtapError('BPF_FAILED', 'no counts today');
        return [contractFamily(new Map([['it', 7]]))];
      });
      await using _ = await end.exporter.start(context);
      const values = end.values();
      await vi.waitUntil(() => calls > 1, { timeout: 10_000 });
      fails = false;
      expect(await values).toEqual(new Map([['it', 7]]));
    });

    it('does not start half', async () => {
      await using wrong = await broken();
      await expect(wrong.exporter.start(exporterContext(() => []))).rejects.toMatchObject({
        code: wrong.code,
      });
    });

    it('stops, asks for nothing more, and may be stopped twice', async () => {
      await using end = await harness();
      let calls = 0;
      const context = exporterContext(() => {
        calls++;
        return [contractFamily(new Map([['it', 1]]))];
      });
      const running = await end.exporter.start(context);
      await end.values();
      await running[Symbol.asyncDispose]();
      const before = calls;
      await running[Symbol.asyncDispose]();
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect(calls).toBe(before);
    });
  });
}
