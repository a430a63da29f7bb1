/**
 * What a load over a bad cable was to its client, to its server and to meshtap.
 *
 * @module
 */
import { expect, type TestContext } from 'vitest';
import type { Counts, Role } from '../../src/receivers/counts.js';
import type { RunningReceiver } from '../../src/receivers/receiver.js';
import { report } from './figures.js';
import type { ClientReport, Network, Tally } from './network.js';

/** What meshtap counted, by `METHOD STATUS` or, without an answer, by `METHOD`. */
export interface Seen {
  answered: Tally;
  /** Of these, answers that were not complete. */
  failed: Tally;
  unanswered: Tally;
}

export interface Run {
  client: ClientReport;
  /** nginx' own log. */
  server: Tally;
  seen: Record<Role, Seen>;
  ledger: Tally;
}

/** Sends the load with meshtap watching both ends. `onEnd` is called between it and the reading of what it was. */
export async function sendWatched(
  network: Network,
  receiver: RunningReceiver,
  load: Parameters<Network['send']>[0],
  onSent?: (count: number) => void,
  onEnd?: () => unknown,
): Promise<Run> {
  const before = await receiver.collect();
  const client = await network.send(load, onSent);
  await onEnd?.();
  const server = await network.takeServerLog();
  const after = await receiver.collect();
  const seen = { client: seenSince(before, after, 'client'), server: seenSince(before, after, 'server') };
  return { client, server, seen, ledger: subtract(ledgerOf(after), ledgerOf(before)) };
}

export const sum = (tally: Tally) => Object.values(tally).reduce((total, count) => total + count, 0);

export function add(...tallies: Tally[]): Tally {
  const total: Tally = {};
  for (const [name, count] of tallies.flatMap((tally) => Object.entries(tally))) {
    total[name] = (total[name] ?? 0) + count;
  }
  return total;
}

/** By how much `a` exceeds `b`, name by name. */
export function excess(a: Tally, b: Tally): number {
  return sum(
    Object.fromEntries(Object.keys(a).map((name) => [name, Math.max(0, a[name]! - (b[name] ?? 0))])),
  );
}

/** What is in `a` beyond `b`; what is in both equally often is not there. */
export function subtract(a: Tally, b: Tally): Tally {
  const differences = Object.entries(a).map(([name, count]) => [name, count - (b[name] ?? 0)] as const);
  return Object.fromEntries(differences.filter(([, count]) => count !== 0));
}

function seenSince(before: Counts, after: Counts, role: Role): Seen {
  const tally = ({ http }: Counts, kind: keyof Seen) => {
    const rows = http.filter(({ pair, status, failure }) => {
      if (pair.role !== role) return false;
      if (kind === 'unanswered') return status === undefined;
      return status !== undefined && (kind === 'answered' || failure !== undefined);
    });
    return add(
      ...rows.map(({ method, status, duration }) => ({
        [[method, status].join(' ').trim()]: duration.count,
      })),
    );
  };
  const since = (kind: keyof Seen) => subtract(tally(after, kind), tally(before, kind));
  return { answered: since('answered'), failed: since('failed'), unanswered: since('unanswered') };
}

const ledgerOf = ({ ledger }: Counts): Tally =>
  Object.fromEntries(
    ledger.map(({ role, subject, outcome, count }) => [`${role} ${subject} ${outcome}`, count]),
  );

/** Holds one side's counts against what that side itself knows, and reports the difference. */
export function compare(
  context: TestContext,
  at: Role,
  seen: Seen,
  answered: Tally,
  unanswered: Tally = {},
): void {
  const truth = add(answered, unanswered);
  const counted = add(seen.answered, seen.unanswered);
  report(context, {
    at,
    sent: sum(truth),
    counted: sum(seen.answered),
    explained: sum(seen.unanswered),
    lost: Math.max(0, sum(truth) - sum(counted)),
    wrong: excess(counted, truth),
  });
  expect({ answered: seen.answered, unanswered: seen.unanswered }, at).toEqual({ answered, unanswered });
}

/** Every request that was seen is in exactly one of the other lines. */
export function reconcile(ledger: Tally): void {
  for (const role of ['client', 'server']) {
    const lines = Object.entries(ledger).filter(([line]) => line.startsWith(`${role} requests `));
    const { [`${role} requests seen`]: seen, ...rest } = Object.fromEntries(lines);
    expect(sum(rest), role).toBe(seen);
  }
}

/** Everything came in the end: each side has counted what it knows itself, with no failure. */
export function expectExact(context: TestContext, { client, server, seen, ledger }: Run): void {
  context.onTestFailed(() => console.log(ledger));
  reconcile(ledger);
  expect(client).toMatchObject({ broken: {}, unanswered: {}, wrong: 0 });
  expect(server).toEqual(client.complete);
  compare(context, 'client', seen.client, client.complete);
  compare(context, 'server', seen.server, server);
  expect(seen.client.failed).toEqual({});
  expect(seen.server.failed).toEqual({});
}
