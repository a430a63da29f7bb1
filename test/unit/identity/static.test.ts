import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { describe, expect, test } from 'vitest';
import { MeshtapError } from '../../../src/errors.js';
import { PRIVATE, type StaticEntry, staticTable } from '../../../src/identity/static.js';
import { testResolver } from '../../contract/resolver.js';

const entries: StaticEntry[] = [
  { cidr: '10.0.0.0/8', service: 'office' },
  { cidr: '10.1.0.0/16', service: 'lab', namespace: 'research' },
  { cidr: '10.1.0.0/16', port: 5432, service: 'db', workload: 'postgres', watched: true },
  { address: '10.1.2.3', port: 80, service: 'web' },
  { cidr: '192.0.2.0/24', port: 443, service: 'partner' },
  { cidr: 'fd00:1::/32', service: 'six' },
];

testResolver('static', {
  create: () => staticTable({ entries }),
  known: () => ({ endpoint: { kind: 'address', address: '10.0.0.1' }, role: 'server', port: 1 }),
});

const table = staticTable({ entries });
const service = (address: string, port?: number) =>
  table.resolve({ endpoint: { kind: 'address', address }, role: port ? 'server' : 'client', port })?.service;

describe('the longest prefix wins, and within it the port', () => {
  test.each([
    ['10.9.9.9', 80, 'office'],
    ['10.1.9.9', 80, 'lab'],
    ['10.1.9.9', 5432, 'db'],
    ['10.1.9.9', undefined, 'lab'],
    ['10.1.2.3', 80, 'web'],
    ['10.1.2.3', 5432, 'db'],
    ['10.1.2.3', undefined, 'lab'],
    ['192.0.2.9', 443, 'partner'],
    ['192.0.2.9', 80, undefined],
    ['198.51.100.1', 443, undefined],
    ['fd00:1::9', 1, 'six'],
    ['fd00:2::9', 1, undefined],
    ['::ffff:10.9.9.9', 1, 'office'],
  ])('%s port %s is %s', (address, port, name) => expect(service(address, port)).toBe(name));
});

test('the whole identity', () => {
  expect(
    table.resolve({ endpoint: { kind: 'address', address: '10.1.0.1' }, role: 'server', port: 5432 }),
  ).toEqual({ service: 'db', namespace: '', workload: 'postgres', labels: {}, watched: true });
});

describe('what the kernel folds', () => {
  const prefixes = new Map(table.prefixes!().map(({ cidr, id }) => [cidr, id]));

  test('private addresses stay, all others are the world', () => {
    expect(prefixes.get('172.16.0.0/12')).toBe('address');
    expect(prefixes.get('0.0.0.0/0')).toBe('world');
    expect(prefixes.get('::/0')).toBe('world');
  });

  test('a prefix with a name for every port has one id', () => {
    expect(prefixes.get('10.0.0.0/8')).toBeGreaterThanOrEqual(16);
    expect(prefixes.get('10.1.0.0/16')).toBeGreaterThanOrEqual(16);
  });

  test('so has one that a wider prefix names', () => {
    expect(prefixes.get('10.1.2.3/32')).toBeGreaterThanOrEqual(16);
  });

  test('one with names for some ports only keeps its addresses', () => {
    expect(prefixes.get('192.0.2.0/24')).toBe('address');
  });

  test('other addresses can be chosen to stay', () => {
    const chosen = staticTable({ addresses: ['203.0.113.77/24'] }).prefixes!();
    expect(chosen).toEqual([
      { cidr: '0.0.0.0/0', id: 'world' },
      { cidr: '::/0', id: 'world' },
      { cidr: '203.0.113.0/24', id: 'address' },
    ]);
  });

  test('asked by the id, the answer is the one for the address', () => {
    // The kernel's own rule, told again: the id of the longest prefix that holds the address.
    const folded = (text: string) =>
      [...prefixes]
        .map(([cidr, id]) => ({ id, network: ipaddr.parseCIDR(cidr) }))
        .filter(({ network: [base, bits] }) => {
          const address = ipaddr.parse(text);
          return base.kind() === address.kind() && address.match([base, bits] as never);
        })
        .sort((a, b) => b.network[1] - a.network[1])[0]?.id;
    const address = fc
      .tuple(
        fc.constantFrom('10.1.2', '10.1.0', '10.7.7', '192.0.2', '8.8.8'),
        fc.integer({ min: 0, max: 255 }),
      )
      .map(([start, end]) => `${start}.${end}`);
    fc.assert(
      fc.property(address, fc.constantFrom(80, 443, 5432, 9), (text, port) => {
        const id = folded(text);
        if (typeof id !== 'number') return;
        const byId = table.resolve({ endpoint: { kind: 'prefix', id }, role: 'server', port });
        expect(byId?.service).toBe(service(text, port));
      }),
    );
  });
});

test('what is neither an address nor a prefix is refused', () => {
  expect(() => staticTable({ entries: [{ address: '10.0.0.256', service: 'a' }] })).toThrow(MeshtapError);
});

test('the private ranges are those of the standards', () => {
  const inside = (text: string) =>
    PRIVATE.some((prefix) => {
      const [base, bits] = ipaddr.parseCIDR(prefix);
      const address = ipaddr.parse(text);
      return base.kind() === address.kind() && address.match([base, bits] as never);
    });
  // ipaddr.js has its own tables of the registries.
  const kept = ['private', 'uniqueLocal', 'loopback', 'linkLocal', 'carrierGradeNat'];
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      const address = ipaddr.parse(text);
      expect(inside(text)).toBe(kept.includes(address.range()));
    }),
    { numRuns: 3000 },
  );
});
