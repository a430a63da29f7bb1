import type { Attributes, HistogramFamily } from './family.js';
import { HistogramPoints, labels } from './points.js';

/** Seconds; from a scrape of nothing to one that runs into every time limit. */
const BOUNDARIES = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** A histogram of how long meshtap's own work takes and how it ends. */
export class Durations {
  readonly #points = new HistogramPoints();
  readonly #startedAt = Date.now();
  readonly #name: string;
  readonly #description: string;

  /** All points begin at zero, so that they exist before the first failure. */
  constructor(name: string, description: string, points: readonly Attributes[]) {
    this.#name = name;
    this.#description = description;
    for (const attributes of points)
      this.#points.add(labels(attributes), {
        buckets: new Float64Array(BOUNDARIES.length + 1),
        count: 0,
        sum: 0,
      });
  }

  observe(seconds: number, attributes: Attributes): void {
    const buckets = new Float64Array(BOUNDARIES.length + 1);
    const index = BOUNDARIES.findIndex((bound) => seconds <= bound);
    buckets[index < 0 ? BOUNDARIES.length : index] = 1;
    this.#points.add(labels(attributes), { buckets, count: 1, sum: seconds });
  }

  family(): HistogramFamily {
    return {
      type: 'histogram',
      name: this.#name,
      description: this.#description,
      unit: 's',
      startedAt: this.#startedAt,
      boundaries: BOUNDARIES,
      points: this.#points.list(),
    };
  }
}

/** What every exporter says of its work, under one name. */
export function exporterDurations(exporter: string): Durations {
  return new Durations(
    'meshtap.exporter.duration',
    'Collecting and sending, by exporter.',
    ['success', 'failure'].map((outcome) => ({ exporter, outcome })),
  );
}
