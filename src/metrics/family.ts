/**
 * Metrics as they leave meshtap: what dialects produce and exporters write.
 *
 * @module
 */

export type Attributes = Readonly<Record<string, string | number | boolean>>;

export interface HistogramPoint {
  readonly attributes: Attributes;
  /** Per bucket, not cumulative; `boundaries.length + 1` of them. */
  readonly buckets: ArrayLike<number>;
  readonly count: number;
  readonly sum: number;
}

export interface NumberPoint {
  readonly attributes: Attributes;
  readonly value: number;
}

interface FamilyBase {
  /** OpenTelemetry name; the Prometheus name follows from it and `unit` by OpenTelemetry's rules, if not given. */
  readonly name: string;
  /** Set where a dialect prescribes the Prometheus name; then neither unit nor `_total` is appended. */
  readonly prometheusName?: string;
  readonly description: string;
  /** UCUM, as in OpenTelemetry: `s`, `By`, `{connection}`, `1`. */
  readonly unit: string;
  /** When these counts began, milliseconds since the epoch; absent for gauges. */
  readonly startedAt?: number;
}

export interface HistogramFamily extends FamilyBase {
  readonly type: 'histogram';
  /** Upper bounds, in `unit`, ascending, without +Inf. */
  readonly boundaries: readonly number[];
  readonly points: readonly HistogramPoint[];
}

export interface NumberFamily extends FamilyBase {
  readonly type: 'counter' | 'gauge';
  readonly points: readonly NumberPoint[];
}

export type MetricFamily = HistogramFamily | NumberFamily;
