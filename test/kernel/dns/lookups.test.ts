// Lookups of real clients at a real server: what the server wrote down is what both sides counted.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import packet from 'dns-packet';
import { describe, expect, onTestFinished } from 'vitest';
import { DatagramPeer } from '../../support/datagram-peer.js';
import { Dnsmasq, side, test as stage, VIRTUAL } from '../../support/dns.js';
import { ADDRESSES } from '../../support/netns.js';

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
  // `ip netns exec` puts it in the place of /etc/resolv.conf.
  const directory = `/etc/netns/${cable.client}`;
  mkdirSync(directory, { recursive: true });
  writeFileSync(`${directory}/resolv.conf`, 'nameserver 127.0.0.1\n');
  onTestFinished(() => rmSync(directory, { recursive: true }));
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
