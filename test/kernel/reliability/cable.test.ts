// A cable that loses, doubles and delays packets and lets them overtake one another, and on which two CPUs bring those
// of one connection at once: more of that than netem makes (test/vm/netem.test.ts), on this machine's kernel.
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DEFAULT_BOUNDARIES } from '../../../src/config/boundaries.js';
import { ebpf } from '../../../src/receivers/ebpf.js';
import type { RunningReceiver } from '../../../src/receivers/receiver.js';
import { type Brought, Network, type Trouble } from '../../support/network.js';
import { excess, expectExact, reconcile, sendWatched, sum } from '../../support/network-trial.js';
import { many, TIME_SCALE } from '../../support/scale.js';

let network: Network;
let receiver: RunningReceiver;
beforeAll(async () => {
  network = await Network.create('tun');
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

const worst = ({ lost, doubled, overtook }: Brought) => Math.min(lost, doubled, overtook);
const storm: Trouble = { loss: 10, duplicates: 200, overtaking: 200, delay: 1000 };

const troubles: { name: string; trouble: Trouble; seen: (brought: Brought) => number }[] = [
  { name: 'two CPUs at once', trouble: {}, seen: ({ brought }) => brought },
  { name: 'duplicates', trouble: { duplicates: 50 }, seen: ({ doubled }) => doubled },
  { name: 'reordering', trouble: { overtaking: 50, delay: 2000 }, seen: ({ overtook }) => overtook },
  { name: 'loss', trouble: { loss: 10, delay: 200 }, seen: ({ lost }) => lost },
  {
    name: 'loss, reordering and duplicates at once',
    trouble: { loss: 10, duplicates: 50, overtaking: 50, delay: 5000 },
    seen: worst,
  },
  { name: 'much of that at once', trouble: storm, seen: worst },
];

/** The load over the cable, in that state, and what became of the packets. */
async function send(trouble: Trouble) {
  await network.disturb(trouble);
  const load = { requests: many(4000), connections: 16 };
  let brought: Brought | undefined;
  const run = await sendWatched(network, receiver, load, undefined, async () => {
    brought = await network.disturb();
  });
  return { run, brought: brought! };
}

const timeout = 120_000 * TIME_SCALE;

for (const { name, trouble, seen } of troubles) {
  test(`both sides count exactly with ${name}`, { timeout }, async (context) => {
    network.setWindow(400_000); // fewer bytes behind a hole than are kept
    const { run, brought } = await send(trouble);
    expect(seen(brought), 'there was no such trouble').toBeGreaterThan(many(50));
    expectExact(context, run);
  });
}

test('where more comes behind a hole than is kept, no request is lost without a reason', {
  timeout,
}, async () => {
  network.setWindow(6 * 2 ** 20); // Linux' own
  const { run, brought } = await send(storm);
  expect(worst(brought), 'there was no such trouble').toBeGreaterThan(many(50));
  const { client, server, seen, ledger } = run;
  reconcile(ledger);
  expect(seen.server).toEqual({ answered: server, failed: {}, unanswered: {} });
  const unread = ledger['client requests desynchronised'] ?? 0;
  expect(sum(seen.client.answered) + unread).toBe(sum(client.complete));
  expect(excess(seen.client.answered, client.complete), 'wrong').toBe(0);
  expect(unread).toBeLessThanOrEqual(ledger['client sync lost'] ?? 0);
});
