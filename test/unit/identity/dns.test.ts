import { describe, expect, test } from 'vitest';
import { dns } from '../../../src/identity/dns.js';
import { hostname } from '../../../src/receivers/ebpf-dns.js';
import { testResolver } from '../../contract/resolver.js';

type More = 'none' | 'siblings' | 'others';

const question = (names: readonly string[], more: More = 'none') => ({
  endpoint: { kind: 'name' as const, names, more },
  role: 'server' as const,
  port: 443,
});

testResolver('dns', { create: () => dns(), known: () => question(['api.example.com']) });

const called = (resolver: ReturnType<typeof dns>, names: readonly string[], more?: More) =>
  resolver.resolve(question(names, more))?.service;

describe('an address that one service asked for by several names', () => {
  test.each([
    { names: ['a.example.com'], more: 'none', service: 'a.example.com' },
    { names: ['a.example.com', 'b.example.com'], more: 'none', service: '*.example.com' },
    { names: ['a.example.com', 'b.example.org'], more: 'none', service: 'ambiguous' },
    { names: ['a.example.com', 'example.com'], more: 'none', service: 'ambiguous' },
    { names: ['a.example.com'], more: 'siblings', service: '*.example.com' },
    { names: ['a.example.com'], more: 'others', service: 'ambiguous' },
    { names: ['a.com', 'b.com'], more: 'none', service: 'ambiguous' },
    { names: ['a.com'], more: 'siblings', service: 'ambiguous' },
    { names: ['x.s3.test', 'deep.y.s3.test'], more: 'none', service: '*.s3.test' },
    { names: ['x.s3.test'], more: 'siblings', service: '*.s3.test' },
    { names: ['x.s3.test'], more: 'others', service: 'ambiguous' },
  ] as const)('$names, $more more: $service', ({ names, more, service }) => {
    expect(called(dns({ fold: ['*.s3.test'] }), names, more)).toBe(service);
  });
});

describe('many names', () => {
  test('below a pattern are one, the longest that fits', () => {
    const resolver = dns({ fold: ['*.test', '*.s3.test'] });
    expect(called(resolver, ['bucket.s3.test'])).toBe('*.s3.test');
    expect(called(resolver, ['other.test'])).toBe('*.test');
    expect(called(resolver, ['notest'])).toBe('notest');
  });

  test('below one domain are told apart up to a bound, and then are one, all of them and for good', () => {
    const resolver = dns({ siblings: 3 });
    const names = ['a', 'b', 'c'].map((label) => `${label}.example.com`);
    for (const name of names) expect(called(resolver, [name])).toBe(name);
    expect(resolver.revision!()).toBe(0);
    for (const name of ['d.example.com', ...names]) expect(called(resolver, [name])).toBe('*.example.com');
    // Answers that are kept are asked for anew.
    expect(resolver.revision!()).toBe(1);
    expect(called(resolver, ['a.example.org'])).toBe('a.example.org');
  });

  test('below a top-level domain have nothing in common', () => {
    const resolver = dns({ siblings: 1 });
    for (const name of ['a.com', 'b.com', 'c.com']) expect(called(resolver, [name])).toBe(name);
  });
});

describe('names on the wire', () => {
  const wire = (...labels: string[]) =>
    Buffer.concat([
      ...labels.map((label) => Buffer.from([label.length, ...Buffer.from(label, 'latin1')])),
      Buffer.alloc(8),
    ]);

  test.each([
    [['api', 'example', 'com'], 'api.example.com'],
    [['_dmarc', 'x-1', 'test'], '_dmarc.x-1.test'],
    [['localhost'], 'localhost'],
  ])('%j', (labels, name) => {
    expect(hostname(wire(...labels))).toBe(name);
  });

  test.each([[[]], [['a b', 'test']], [['a.b', 'test']], [['-a', 'test']], [['é', 'test']], [['a"b']]])(
    '%j is no name of a host',
    (labels) => {
      expect(hostname(wire(...(labels as string[])))).toBeUndefined();
    },
  );
});
