import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest';
import { DEFAULT_BOUNDARIES } from '../../src/config/boundaries.js';
import type { Counts, Role } from '../../src/receivers/counts.js';
import { ebpf } from '../../src/receivers/ebpf.js';
import type { RunningReceiver } from '../../src/receivers/receiver.js';
import { report } from '../support/figures.js';
import { type ClientReport, Network, type Tally } from './network.js';

let network: Network;
let receiver: RunningReceiver;
beforeAll(async () => {
  network = await Network.create();
  receiver = await ebpf({ cgroup: network.cgroup }).start({
    log: pino({ level: 'silent' }),
    boundaries: DEFAULT_BOUNDARIES,
    signal: new AbortController().signal,
  });
});
afterAll(async () => {
  await receiver[Symbol.asyncDispose]();
  await network[Symbol.asyncDispose]();
});

const load = { requests: 2000, connections: 16 };

/** What meshtap counted, by `METHOD STATUS` or, without an answer, by `METHOD`. */
interface Seen {
  answered: Tally;
  /** Of these, answers that were not complete. */
  failed: Tally;
  unanswered: Tally;
}

interface Run {
  client: ClientReport;
  /** nginx' own log. */
  server: Tally;
  seen: Record<Role, Seen>;
  ledger: Tally;
}

/** Sends the load over a cable with `netem` on it, with meshtap watching both ends. */
async function send(
  netem: string,
  options: { timeout?: number; abandon?: boolean } = {},
  onSent?: (count: number) => void,
): Promise<Run> {
  const before = await receiver.collect();
  network.trouble(netem);
  const client = await network.send({ ...load, ...options }, onSent);
  network.trouble();
  const server = await network.takeServerLog();
  const after = await receiver.collect();
  const seen = { client: seenSince(before, after, 'client'), server: seenSince(before, after, 'server') };
  return { client, server, seen, ledger: subtract(ledgerOf(after), ledgerOf(before)) };
}

const sum = (tally: Tally) => Object.values(tally).reduce((total, count) => total + count, 0);

function add(...tallies: Tally[]): Tally {
  const total: Tally = {};
  for (const [name, count] of tallies.flatMap((tally) => Object.entries(tally))) {
    total[name] = (total[name] ?? 0) + count;
  }
  return total;
}

/** By how much `a` exceeds `b`, name by name. */
function excess(a: Tally, b: Tally): number {
  return sum(
    Object.fromEntries(Object.keys(a).map((name) => [name, Math.max(0, a[name]! - (b[name] ?? 0))])),
  );
}

/** What is in `a` beyond `b`; what is in both equally often is not there. */
function subtract(a: Tally, b: Tally): Tally {
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
function compare(context: TestContext, at: Role, seen: Seen, answered: Tally, unanswered: Tally = {}): void {
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

/** A cable that is bad, but brings everything in the end. */
const bad: {
  name: string;
  netem: string;
  mtu?: number;
  bundles?: boolean;
  onSent?: (count: number) => void;
}[] = [
  { name: 'a good cable', netem: '' },
  { name: '1 % loss', netem: 'loss 1%' },
  { name: '1 % loss, segments sent one by one', netem: 'loss 1%', bundles: false },
  { name: '5 % reordering', netem: 'delay 5ms reorder 5%' },
  { name: '5 % reordering, segments sent one by one', netem: 'delay 5ms reorder 5%', bundles: false },
  { name: '5 % duplicates', netem: 'duplicate 5%' },
  { name: '200 ms delay', netem: 'delay 200ms' },
  { name: 'an MTU of 600', netem: '', mtu: 600 },
  { name: 'an MTU of 9000', netem: '', mtu: 9000 },
  { name: 'an MTU that changes', netem: 'delay 5ms', onSent: changeMtu },
  {
    name: 'loss, reordering and duplicates at once',
    netem: 'delay 5ms reorder 5% loss 1% duplicate 5%',
    bundles: false,
  },
];

function changeMtu(sent: number): void {
  const bytes = { 400: 600, 800: 9000, 1200: 1280, 1600: 1500 }[sent];
  if (bytes !== undefined) network.setMtu(bytes);
}

for (const { name, netem, mtu = 1500, bundles = true, onSent } of bad) {
  test(`both sides count exactly with ${name}`, async (context) => {
    network.setMtu(mtu);
    network.setBundles(bundles);
    const { client, server, seen, ledger } = await send(netem, {}, onSent);
    console.log(ledger);
    reconcile(ledger);
    expect(client).toMatchObject({ broken: {}, unanswered: {}, wrong: 0 });
    expect(server).toEqual(client.complete);
    compare(context, 'client', seen.client, client.complete);
    compare(context, 'server', seen.server, server);
    expect(seen.client.failed).toEqual({});
    expect(seen.server.failed).toEqual({});
  });
}

/** Exchanges that break: each side is held against what it knows itself, as the two do differ. */
const broken: {
  name: string;
  netem: string;
  options?: { timeout?: number; abandon?: boolean };
  onSent?: (count: number) => void;
}[] = [
  { name: 'answers that the client gives up', netem: 'delay 20ms', options: { abandon: true } },
  { name: 'connections that the server resets', netem: 'delay 20ms', onSent: resetSometimes },
  {
    name: 'a cable that is cut for some seconds',
    netem: 'delay 5ms',
    options: { timeout: 2_000 },
    onSent: cut,
  },
];

function resetSometimes(sent: number): void {
  if (sent % 300 === 0) network.resetConnections();
}

async function cut(sent: number): Promise<void> {
  if (sent !== 500) return;
  network.trouble('loss 100%');
  await sleep(6_000);
  network.trouble('delay 5ms');
}

/**
 * The client knows what it was answered. What else it tried may not have left the machine (the socket was reset
 * meanwhile), or may have been answered when it no longer listened: what was counted lies between the two, and is at
 * least what reached the server.
 */
function compareClient(context: TestContext, seen: Seen, client: ClientReport, reached: number): void {
  const answered = add(client.complete, client.broken);
  const counted = sum(seen.answered) + sum(seen.unanswered);
  const byMethod = (tally: Tally) =>
    add(...Object.entries(tally).map(([name, count]) => ({ [name.split(' ')[0]!]: count })));
  const tried = byMethod(add(answered, client.unanswered));
  const lost = excess(answered, seen.answered) + Math.max(0, reached - counted);
  const wrong = excess(byMethod(add(seen.answered, seen.unanswered)), tried);
  const figures = { counted: sum(seen.answered), explained: sum(seen.unanswered), lost, wrong };
  report(context, { at: 'client', sent: sum(tried), ...figures });
  expect({ lost, wrong }).toEqual({ lost: 0, wrong: 0 });
}

/** Every request that was seen is in exactly one of the other lines. */
function reconcile(ledger: Tally): void {
  for (const role of ['client', 'server']) {
    const lines = Object.entries(ledger).filter(([line]) => line.startsWith(`${role} requests `));
    const { [`${role} requests seen`]: seen, ...rest } = Object.fromEntries(lines);
    expect(sum(rest), role).toBe(seen);
  }
}

for (const { name, netem, options, onSent } of broken) {
  test(`each side counts what it saw with ${name}`, async (context) => {
    network.setMtu(1500);
    network.setBundles(true);
    const { client, server, seen, ledger } = await send(netem, options, onSent);
    console.log({ client, server, ledger });
    expect(sum(client.broken) + sum(client.unanswered), 'nothing broke').toBeGreaterThan(0);
    reconcile(ledger);
    compareClient(context, seen.client, client, sum(server));
    const withoutStatus = Object.fromEntries(Object.entries(server).filter(([name]) => !name.includes(' ')));
    compare(context, 'server', seen.server, subtract(server, withoutStatus), withoutStatus);
    if (options?.abandon) expect(seen.client.failed).toEqual(client.broken);
  });
}
