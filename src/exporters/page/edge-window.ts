import { type EdgeRates, type Edges, edgesBetween, edgesOf } from '../../metrics/edges.js';
import type { Snapshot } from '../../metrics/model.js';

/** All edges now, and what came of them in the last seconds. */
export interface EdgeView {
  readonly now: Edges;
  /** Of every edge; nothing came of any, as long as there was no look before. */
  readonly rates: readonly EdgeRates[];
  /** How far back `rates` go; undefined if there was no look before. */
  readonly seconds: number | undefined;
}

/** Milliseconds that rates look back; between two looks that are kept; for which a view is new enough. */
const WINDOW = 30_000;
const SPACING = 5_000;
const FRESH = 900;

/**
 * Rates of the last seconds, from the counts of some looks. Looks only when somebody asks: without a page that is open
 * nothing is read.
 */
export class EdgeWindow {
  readonly #snapshot: () => Promise<Snapshot>;
  #looks: Edges[] = [];
  #view: { readonly time: number; readonly view: Promise<EdgeView> } | undefined;

  constructor(snapshot: () => Promise<Snapshot>) {
    this.#snapshot = snapshot;
  }

  /** Whoever asks at about the same time gets the same. Rejects if the counts can not be read. */
  view(): Promise<EdgeView> {
    const time = performance.now();
    if (this.#view && time - this.#view.time < FRESH) return this.#view.view;
    const view = this.#look();
    this.#view = { time, view };
    return view;
  }

  async #look(): Promise<EdgeView> {
    const now = edgesOf(await this.#snapshot());
    // A clock that was set back begins anew.
    this.#looks = this.#looks.filter(({ at }) => at < now.at && now.at - at <= WINDOW);
    const [first] = this.#looks;
    const last = this.#looks.at(-1);
    if (!last || now.at - last.at >= SPACING) this.#looks.push(now);
    return {
      now,
      rates: edgesBetween(first ?? now, now),
      seconds: first && (now.at - first.at) / 1000,
    };
  }
}
