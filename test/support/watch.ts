/**
 * One who watches an agent's flows, and keeps them.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import type { Agent } from '../../src/agent.js';
import type { Flow } from '../../src/flows/flow.js';

/** More than any test makes: nothing is lost on this side. */
const QUEUE = 1_000_000;

export class Watcher {
  readonly flows: Flow[] = [];
  lost = 0;
  readonly #stop = new AbortController();
  readonly #reading: Promise<void>;

  constructor(agent: Agent) {
    this.#reading = this.#read(agent);
    onTestFinished(() => this.stop());
  }

  async #read(agent: Agent): Promise<void> {
    const events = agent.flows.watch({ follow: true, last: 0, queue: QUEUE, signal: this.#stop.signal });
    for await (const event of events) {
      if ('flow' in event) this.flows.push(event.flow);
      if ('lost' in event) this.lost += event.lost.count;
    }
  }

  /** Requests that one side told. */
  requests(direction: 'EGRESS' | 'INGRESS'): Flow[] {
    return this.flows.filter((flow) => flow.l7?.http && flow.direction === direction);
  }

  /** Resolves when it is so. */
  async until(condition: () => boolean, milliseconds = 20_000): Promise<void> {
    const end = performance.now() + milliseconds;
    while (!condition()) {
      if (performance.now() > end) throw new Error(`${this.flows.length} flows and ${this.lost} lost came`);
      await sleep(20);
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#reading;
  }
}

/** How often each text is there. */
export function tally(texts: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const text of texts) counts[text] = (counts[text] ?? 0) + 1;
  return counts;
}
