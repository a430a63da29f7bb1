import type { TestContext } from 'vitest';

declare module 'vitest' {
  interface TaskMeta {
    /** What became of its requests; the reports of test/vm keep it for docs/reliability.md. */
    figures?: Figures[];
  }
}

/** What became of the requests of one test, seen from one place. */
export interface Figures {
  /** `client`, `server`, ... */
  at: string;
  /** Requests that were there, by a truth that is not meshtap's. */
  sent: number;
  /** ... that meshtap counted with the status they had. */
  counted: number;
  /** ... that it counted as unanswered, or in the ledger under a reason. */
  explained: number;
  /** ... that it did not count at all. */
  lost: number;
  /** Counted by meshtap, but not there, or with another status. */
  wrong: number;
}

/** Keeps the figures of a test with its result. */
export function report({ task }: TestContext, ...figures: Figures[]): void {
  task.meta.figures = [...(task.meta.figures ?? []), ...figures];
}
