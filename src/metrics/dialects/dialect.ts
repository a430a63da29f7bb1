import type { MetricFamily } from '../family.js';
import type { Snapshot } from '../model.js';

/**
 * A set of metric names and labels. One file per dialect in this folder; each passes `test/contract/dialect.ts`.
 *
 * `families` is pure. Every family counts each observation once, or tells the two sides apart by name or label;
 * families without points are left out.
 */
export interface Dialect {
  /** One word; also the file's name. */
  readonly name: string;
  families(snapshot: Snapshot): MetricFamily[];
}
