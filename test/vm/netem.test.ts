import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest';
import { DEFAULT_BOUNDARIES } from '../../src/config/boundaries.js';
import { ebpf } from '../../src/receivers/ebpf.js';
import type { RunningReceiver } from '../../src/receivers/receiver.js';
import { report } from '../support/figures.js';
import type { Tally } from '../support/network.js';
import { type ClientReport, Network } from '../support/network.js';
import {
  add,
  compare,
  excess,
  expectExact,
  type Run,
  reconcile,
  type Seen,
  sendWatched,
  subtract,
  sum,
} from '../support/network-trial.js';

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

/** Sends the load over a cable with `netem` on it. */
function send(
  netem: string,
  options: { timeout?: number; abandon?: boolean } = {},
  onSent?: (count: number) => void,
): Promise<Run> {
  network.trouble(netem);
  return sendWatched(network, receiver, { ...load, ...options }, onSent, () => network.trouble());
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
    const run = await send(netem, {}, onSent);
    console.log(run.ledger);
    expectExact(context, run);
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
