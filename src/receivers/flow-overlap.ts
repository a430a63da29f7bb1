import type { FlowEvent } from '../flows/flow.js';
import { writeLine } from '../flows/jsonpb.js';

/** How far back a stream is taken up again, nanoseconds: flows of different nodes do not come in the order of their times. */
const BACK = 5_000_000_000n;
/** Flows that are remembered at most. */
const MOST = 65_536;

/** Knows the latest flows of a stream, so that it can be taken up again a little before its end without counting twice. */
export class Overlap {
  readonly #known = new Map<string, bigint>();
  #youngest: bigint | undefined;
  #resumed = false;

  /** Where to begin again, nanoseconds since the epoch; undefined before the first flow. */
  resume(): bigint | undefined {
    this.#resumed = this.#youngest !== undefined;
    return this.#youngest === undefined ? undefined : this.#youngest - BACK;
  }

  /** Whether this flow has come before; if not, it has now. */
  isKnown(event: FlowEvent): boolean {
    if (!('flow' in event)) return false;
    const { flow, time } = event;
    const key = flow.uuid || writeLine(event);
    if (this.#resumed && this.#known.has(key)) return true;
    this.#known.set(key, time);
    if (this.#youngest === undefined || time > this.#youngest) this.#youngest = time;
    // A Map keeps the order in which flows came.
    for (const [oldest, when] of this.#known) {
      if (this.#known.size <= MOST && when >= this.#youngest - 2n * BACK) break;
      this.#known.delete(oldest);
    }
    return false;
  }
}
