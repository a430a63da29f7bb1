// Lookups of real clients at a real server: what the server wrote down is what both sides counted.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import packet from 'dns-packet';
import { describe, expect, onTestFinished } from 'vitest';
import { DatagramPeer } from '../../support/datagram-peer.js';
import { configureResolver, Dnsmasq, side, test as stage, VIRTUAL } from '../../support/dns.js';
import { ADDRESSES } from '../../support/netns.js';
import type { Scope } from '../../support/scope.js';

const RECORDS = [
  'host-record=one.test,198.51.100.1,2001:db8::1',
  'address=/three.test/198.51.100.1',
  'address=/three.test/198.51.100.2',
  'address=/three.test/198.51.100.3',
  'cname=alias.test,deeper.test',
  'cname=deeper.test,one.test',
  'txt-record=words.test,hello',
  'srv-host=_http._tcp.test,one.test,80',
  'mx-host=mail.test,one.test,10',
  ...Array.from({ length: 60 }, (_, i) => `address=/many.test/198.51.100.${100 + i}`),
  'local=/test/', // whatever else is asked: NXDOMAIN
];

const test = stage
  .extend('far', { scope: 'file' }, async ({ scope, cable, meter: _ }, { onCleanup }) => {
    const server = new Dnsmasq(scope, cable.server, RECORDS);
    onCleanup(() => server[Symbol.dispose]());
    return server.ready();
  })
  .extend('near', { scope: 'file' }, async ({ scope, cable, meter: _ }, { onCleanup }) => {
    const server = new Dnsmasq(scope, cable.client, RECORDS);
    onCleanup(() => server[Symbol.dispose]());
    return server.ready();
  });

/** A script for node that makes these lookups with c-ares, one after another, and says how each ended. */
const lookups = (server: string, plan: readonly (readonly [name: string, type: string, times: number])[]) => `
  const { Resolver } = require('node:dns').promises;
  const resolver = new Resolver({ timeout: 20000, tries: 1 });
  resolver.setServers([${JSON.stringify(server)}]);
  (async () => {
    for (const [name, type, times] of ${JSON.stringify(plan)})
      for (let i = 0; i < times; i++) await resolver.resolve(name, type).catch(() => {});
  })();`;

/** How often the server says it was asked, by type. */
const asked = (lines: readonly string[]) => {
  const types = lines.flatMap((line) => /query\[(\w+)\]/.exec(line)?.[1] ?? []);
  return Object.fromEntries(
    [...new Set(types)].map((type) => [type, types.filter((it) => it === type).length]),
  );
};

const PLAN = [
  ['one.test', 'A', 40],
  ['one.test', 'AAAA', 30],
  ['three.test', 'A', 20],
  ['alias.test', 'A', 10],
  ['nothing.test', 'A', 25],
  ['nothing.test', 'AAAA', 5],
  ['words.test', 'TXT', 6],
  ['_http._tcp.test', 'SRV', 4],
  ['mail.test', 'MX', 3],
] as const;
const EXPECTED = {
  'A asked': 95,
  'A NOERROR 1': 50,
  'A NOERROR 3': 20,
  'A NXDOMAIN 0': 25,
  'A A records': 40 + 60 + 10,
  'A CNAME records': 20,
  'AAAA asked': 35,
  'AAAA NOERROR 1': 30,
  'AAAA NXDOMAIN 0': 5,
  'AAAA AAAA records': 30,
  'TXT asked': 6,
  'TXT NOERROR 0': 6,
  'TXT TXT records': 6,
  'SRV asked': 4,
  'SRV NOERROR 0': 4,
  'SRV SRV records': 4,
  'MX asked': 3,
  'MX NOERROR 0': 3,
  'MX MX records': 3,
};
const named = (pair: string) =>
  Object.fromEntries(Object.entries(EXPECTED).map(([name, count]) => [`${pair}|${name}`, count]));
const LEDGER = { 'queries seen': 143, 'queries answered': 143, 'answers seen': 143 };

describe.for([
  { family: 'IPv4', server: ADDRESSES.v4.server, client: 'unknown > server', to: 'client > far' },
  { family: 'IPv6', server: `[${ADDRESSES.v6.server}]`, client: 'unknown > server', to: 'client > unknown' },
])('over the network, $family', ({ server, to, client }) => {
  test('each lookup is counted once on each side, by type and code', async ({ scope, cable, meter, far }) => {
    const log = far.watch();
    const seen = await meter.during(() =>
      scope.run('client', [process.execPath, '-e', lookups(server, PLAN)], { netns: cable.client }),
    );
    expect(asked(log())).toEqual({ A: 95, AAAA: 35, TXT: 6, SRV: 4, MX: 3 });
    expect(side('client', seen)).toEqual({ ...named(to), ...LEDGER });
    expect(side('server', seen)).toEqual({ ...named(client), ...LEDGER });
  });
});

/** The plan, lookup by lookup. dnsmasq ends a connection after a hundred of them, so it is in parts. */
const PARTS = [0, 72].map((from) =>
  PLAN.flatMap(([name, type, times]) => Array.from({ length: times }, () => [name, type] as const)).slice(
    from,
    from + 72,
  ),
);

/** Makes the lookups of the plan with dig over TCP. */
async function dig(scope: Scope, netns: string, server: string, ...options: string[]): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'meshtap-dig-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'batch');
  for (const part of PARTS) {
    writeFileSync(file, part.map((words) => `${words.join(' ')}\n`).join(''));
    const command = ['dig', '+tcp', '+tries=1', '+time=60', ...options, `@${server}`, '-f', file];
    await scope.run('client', command, { netns });
  }
}

describe.for([
  { family: 'IPv4', server: ADDRESSES.v4.server },
  { family: 'IPv6', server: ADDRESSES.v6.server },
])('over TCP, $family', ({ server }) => {
  test.for([
    { what: 'a connection for each lookup', options: [], connections: 143 },
    { what: 'many on one connection', options: ['+keepopen'], connections: 2 },
  ])('$what', async ({ options, connections }, { scope, cable, meter, far }) => {
    const log = far.watch();
    const seen = await meter.during(() => dig(scope, cable.client, server, ...options));
    expect(asked(log())).toEqual({ A: 95, AAAA: 35, TXT: 6, SRV: 4, MX: 3 });
    const counted = { ...named('client > server'), ...LEDGER, 'connections dns': connections };
    for (const role of ['client', 'server']) expect(side(role, seen)).toEqual(counted);
  });
});

/** Makes them with c-ares over TCP, as many at once as there are in a part. */
async function pipeline(scope: Scope, netns: string, server: string): Promise<void> {
  configureResolver(netns, `nameserver ${server}`, 'options use-vc timeout:60 attempts:1');
  const script = `
    const { Resolver } = require('node:dns').promises;
    for (const part of ${JSON.stringify(PARTS)}) {
      const resolver = new Resolver();
      for (const [name, type] of part) resolver.resolve(name, type).catch(() => {});
    }`;
  await scope.run('client', [process.execPath, '-e', script], { netns });
}

test('c-ares asks over TCP, many at once', async ({ scope, cable, meter, far }) => {
  const log = far.watch();
  const seen = await meter.during(() => pipeline(scope, cable.client, ADDRESSES.v4.server));
  expect(asked(log())).toEqual({ A: 95, AAAA: 35, TXT: 6, SRV: 4, MX: 3 });
  const counted = { ...named('client > server'), ...LEDGER, 'connections dns': 2 };
  for (const role of ['client', 'server']) expect(side(role, seen)).toEqual(counted);
});

test('over TCP, one segment in twenty lost each way', async ({ scope, cable, meter, far }) => {
  const ends = ['client', 'server'] as const;
  for (const end of ends) cable.setInputRules(end, 'meta l4proto tcp numgen random mod 20 < 1 drop');
  onTestFinished(() => {
    for (const end of ends) cable.setInputRules(end);
  });
  const sentAgain = () => cable.retransmits('client') + cable.retransmits('server');
  const before = sentAgain();
  const log = far.watch();
  const seen = await meter.during(async () => {
    for (let i = 0; i < 3; i++) await pipeline(scope, cable.client, ADDRESSES.v4.server);
    await dig(scope, cable.client, ADDRESSES.v4.server, '+keepopen');
  });
  expect(asked(log())).toEqual({ A: 380, AAAA: 140, TXT: 24, SRV: 16, MX: 12 });
  expect(sentAgain()).toBeGreaterThan(before);
  const once = { ...named('client > server'), ...LEDGER, 'connections dns': 2 };
  const counted = Object.fromEntries(Object.entries(once).map(([name, count]) => [name, 4 * count]));
  for (const role of ['client', 'server']) expect(side(role, seen)).toEqual(counted);
});

test('on one machine both ends are known', async ({ scope, cable, meter, near }) => {
  const log = near.watch();
  const seen = await meter.during(() =>
    scope.run('client', [process.execPath, '-e', lookups('127.0.0.1', PLAN)], { netns: cable.client }),
  );
  expect(asked(log())).toEqual({ A: 95, AAAA: 35, TXT: 6, SRV: 4, MX: 3 });
  for (const role of ['client', 'server'])
    expect(side(role, seen)).toEqual({ ...named('client > server'), ...LEDGER });
});

test('dig and glibc ask as well', async ({ scope, cable, meter, near }) => {
  configureResolver(cable.client, 'nameserver 127.0.0.1');
  const log = near.watch();
  const options = { netns: cable.client };
  const seen = await meter.during(async () => {
    await scope.run('dig', ['dig', '+tries=1', '@127.0.0.1', 'one.test'], options);
    // For both families at once, from one socket.
    await scope.run('glibc', ['getent', 'ahosts', 'alias.test'], options);
  });
  expect(asked(log())).toEqual({ A: 2, AAAA: 1 });
  expect(side('client', seen)).toMatchObject({
    'dig > server|A NOERROR 1': 1,
    'glibc > server|A NOERROR 1': 1,
    'glibc > server|AAAA NOERROR 1': 1,
  });
});

test('what does not fit into a datagram is asked for again over TCP', async ({
  scope,
  cable,
  meter,
  far,
}) => {
  const log = far.watch();
  const seen = await meter.during(() =>
    scope.run('client', ['dig', '+noedns', '+tries=1', `@${ADDRESSES.v4.server}`, 'many.test'], {
      netns: cable.client,
    }),
  );
  expect(asked(log())).toEqual({ A: 2 });
  const counted = side('client', seen);
  expect(counted).toMatchObject({
    'client > far|A asked': 1,
    'client > server|A asked': 1,
    'client > server|A NOERROR 16': 1, // or more
    'connections dns': 1,
    'queries answered': 2,
  });
  expect(counted['client > server|A A records']).toBe(60);
});

test('behind address translation', async ({ scope, cable, meter, far }) => {
  const inside = (...command: string[]) =>
    execFileSync('ip', ['netns', 'exec', cable.client, ...command], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  inside('ip', 'route', 'add', VIRTUAL, 'via', ADDRESSES.v4.server);
  inside('nft', 'add table ip translation');
  inside('nft', 'add chain ip translation output { type nat hook output priority -100; }');
  const rule = `ip daddr ${VIRTUAL} udp dport 53 dnat to ${ADDRESSES.v4.server}`;
  inside('nft', `add rule ip translation output ${rule}`);
  onTestFinished(() => void inside('nft', 'delete table ip translation'));
  const log = far.watch();

  // A socket that is connected knows whom it dialled.
  const plan = [['one.test', 'A', 5]] as const;
  const connected = await meter.during(() =>
    scope.run('client', [process.execPath, '-e', lookups(VIRTUAL, plan)], { netns: cable.client }),
  );
  expect(side('client', connected)).toMatchObject({
    'client > virtual|A asked': 5,
    'client > virtual|A NOERROR 1': 5,
  });

  // Of another one the query is seen when it has its new address already, the answer when it has the old one again.
  const peer = await new DatagramPeer(scope, 'client', cable.client).open({ host: '0.0.0.0' });
  const loose = await meter.during(async () => {
    await peer.send(packet.encode({ id: 1, questions: [{ type: 'A', name: 'one.test' }] }), {
      host: VIRTUAL,
      port: 53,
    });
    await peer.receive();
  });
  expect(side('client', loose)).toMatchObject({
    'client > far|A asked': 1,
    'client > virtual|A NOERROR 1': 1,
    'queries answered': 1,
  });
  expect(asked(log())).toEqual({ A: 6 });
});
