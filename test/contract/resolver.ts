import { describe, expect, test } from 'vitest';
import type { Question, Resolver } from '../../src/identity/identity.js';
import type { Endpoint } from '../../src/receivers/counts.js';

export interface ResolverCase {
  /** A fresh resolver that has not been started. */
  create(): Resolver | Promise<Resolver>;
  /** Something that this resolver knows once it has started, if it can be had without more ado. */
  known?: () => Question | Promise<Question>;
}

const ENDPOINTS: Endpoint[] = [
  { kind: 'cgroup', cgroup: 0n },
  { kind: 'cgroup', cgroup: 0xffff_ffff_ffff_ffffn },
  { kind: 'address', address: '203.0.113.7' },
  { kind: 'address', address: '2001:db8::7' },
  { kind: 'address', address: '127.0.0.1' },
  { kind: 'address', address: '::ffff:10.0.0.1' },
  { kind: 'address', address: 'not an address' },
  { kind: 'prefix', id: 0 },
  { kind: 'prefix', id: 4_294_967_295 },
  { kind: 'world' },
  { kind: 'name', names: ['api.example.com'], more: 'none' },
  { kind: 'name', names: ['a.example.com', 'b.example.org'], more: 'others' },
  { kind: 'named', service: 'a' },
];

/** Run by the tests of every resolver. */
export function testResolver(name: string, { create, known }: ResolverCase): void {
  describe(`${name} keeps the contract of a resolver`, () => {
    const started = async () => {
      const resolver = await create();
      await resolver.start(new AbortController().signal);
      return resolver;
    };

    test('is named by one word, its file', async () => {
      expect((await create()).name).toBe(name);
    });

    test('answers any question at once, with an identity or undefined', async () => {
      await using resolver = await started();
      for (const endpoint of ENDPOINTS) {
        for (const role of ['client', 'server'] as const) {
          for (const port of [undefined, 1, 65535]) {
            const answer = resolver.resolve({ endpoint, role, port });
            if (answer === undefined) continue;
            expect(Object.keys(answer).sort()).toEqual([
              'labels',
              'namespace',
              'service',
              'watched',
              'workload',
            ]);
            expect(answer.service).not.toBe('');
          }
        }
      }
    });

    if (known)
      test('knows what it should, the same each time', async () => {
        await using resolver = await started();
        const question = await known();
        expect(resolver.resolve(question)).toBeDefined();
        expect(resolver.resolve(question)).toEqual(resolver.resolve(question));
      });

    test('prefixes have ids that are names, and it answers for each', async () => {
      await using resolver = await started();
      for (const { id } of resolver.prefixes?.() ?? []) {
        if (typeof id !== 'number') continue;
        expect(id).toBeGreaterThanOrEqual(16);
        expect(resolver.resolve({ endpoint: { kind: 'prefix', id }, role: 'server', port: 1 })).toBeDefined();
      }
    });

    test('says how it is, before it starts, while it runs and after', async () => {
      const resolver = await create();
      expect(resolver.status()).not.toBe('');
      await resolver.start(new AbortController().signal);
      expect(resolver.status()).not.toBe('');
      await resolver[Symbol.asyncDispose]();
      expect(resolver.status()).not.toBe('');
    });

    test('closes twice, and without having been started', async () => {
      const idle = await create();
      await idle[Symbol.asyncDispose]();
      const resolver = await started();
      await resolver[Symbol.asyncDispose]();
      await resolver[Symbol.asyncDispose]();
    });

    test('asked after it was closed, it throws nothing', async () => {
      const resolver = await started();
      await resolver[Symbol.asyncDispose]();
      for (const endpoint of ENDPOINTS) resolver.resolve({ endpoint, role: 'server', port: 80 });
    });
  });
}
