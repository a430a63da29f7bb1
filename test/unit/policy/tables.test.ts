/** What the kernel is given must say what policies mean: the tables against the plain evaluation, on random policies. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Verdict } from '../../../src/policy/judge.js';
import { judge } from '../../../src/policy/judge.js';
import type { Party } from '../../../src/policy/policy.js';
import { readPolicies } from '../../../src/policy/read.js';
import { MOST_RULES, PolicyTables, portVerdicts } from '../../../src/policy/tables.js';
import { targetText } from '../../support/patterns.js';

const APPS = ['details', 'reviews', 'productpage'];
const PORTS = [80, 443, 9080];

const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const some = <T>(arbitrary: fc.Arbitrary<T>) => fc.array(arbitrary, { minLength: 1, maxLength: 2 });

const selector = fc.record(
  {
    matchLabels: fc.oneof(
      fc.record({ app: fc.constantFrom(...APPS) }),
      fc.record({ 'k8s:tier': fc.constantFrom('front', 'back') }),
      fc.record({ 'k8s:io.kubernetes.pod.namespace': fc.constantFrom('default', 'other') }),
    ),
    matchExpressions: some(
      fc.oneof(
        fc.record({
          key: fc.constantFrom('app', 'tier', 'any:app'),
          operator: fc.constantFrom('In', 'NotIn'),
          values: some(fc.constantFrom(...APPS, 'front')),
        }),
        fc.record({
          key: fc.constantFrom('app', 'tier', 'io.kubernetes.pod.namespace'),
          operator: fc.constantFrom('Exists', 'DoesNotExist'),
        }),
      ),
    ),
  },
  { requiredKeys: [] },
);
const subject = fc.record(
  { matchLabels: fc.record({ app: fc.constantFrom(...APPS) }) },
  { requiredKeys: [] },
);

const http = fc.record(
  {
    method: fc.constantFrom('GET', 'POST', 'GET|HEAD', '(?i)get', '[A-Z]+', 'P.*'),
    path: fc.constantFrom('/.*', '/a', '/a/.*', '/[^/]+', '/(a|b)+1?', '/.*%2F.*', '/A.*', '/.*/b'),
    host: fc.constantFrom('details', 'Details(:9080)?', '.*'),
  },
  { requiredKeys: [] },
);
const portNumber = fc.constantFrom(...PORTS).map(String);
const portRule = fc.oneof(
  fc.record({ ports: some(fc.record({ port: portNumber })) }),
  fc.record({
    ports: fc.tuple(fc.record({ port: fc.constant('80'), endPort: fc.constantFrom(80, 442, 443, 65_535) })),
  }),
  fc.record({
    ports: some(fc.record({ port: portNumber, protocol: fc.constant('TCP') })),
    rules: fc.record({ http: fc.array(http, { minLength: 1, maxLength: 3 }) }),
  }),
);

const peers = (side: 'from' | 'to') =>
  fc.oneof(
    fc.constant({}),
    some(selector).map((list) => ({ [`${side}Endpoints`]: list })),
    some(fc.constantFrom('all', 'world', 'cluster', 'host', 'remote-node')).map((list) => ({
      [`${side}Entities`]: list,
    })),
    some(fc.constantFrom('10.0.0.0/8', '192.0.2.7/32', '2001:db8::/32', '::/0')).map((list) => ({
      [`${side}CIDR`]: list,
    })),
    fc.constant({ [`${side}CIDRSet`]: [{ cidr: '0.0.0.0/0', except: ['10.1.0.0/16'] }] }),
  );
const rule = (side: 'from' | 'to') =>
  fc
    .tuple(peers(side), optional(fc.array(portRule, { minLength: 1, maxLength: 2 })))
    .map(([who, toPorts]) => (toPorts ? { ...who, toPorts } : who));

const policy = fc
  .record({
    endpointSelector: subject,
    namespace: fc.constantFrom('default', 'other'),
    ingress: optional(some(rule('from'))),
    egress: optional(some(rule('to'))),
  })
  .filter(({ ingress, egress }) => ingress !== undefined || egress !== undefined)
  .map(({ namespace, ...spec }) => ({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'random', namespace },
    spec,
  }));

const endpoint: fc.Arbitrary<Party> = fc
  .record({
    namespace: fc.constantFrom('default', 'default', 'other'),
    labels: fc.record(
      { app: fc.constantFrom(...APPS), tier: fc.constantFrom('front', 'back') },
      { requiredKeys: [] },
    ),
  })
  .map((one) => ({ kind: 'endpoint', ...one }));
const party: fc.Arbitrary<Party> = fc.oneof(
  { weight: 4, arbitrary: endpoint },
  fc.constant<Party>({ kind: 'host' }),
  fc.constant<Party>({ kind: 'remote-node' }),
  fc
    .constantFrom('10.0.0.1', '10.1.0.1', '192.0.2.7', '::ffff:10.0.0.1', '2001:db8::1', '8.8.8.8')
    .map((address): Party => ({ kind: 'world', address })),
);

const access = fc.record(
  {
    direction: fc.constantFrom('ingress' as const, 'egress' as const),
    subject: endpoint,
    peer: party,
    port: fc.constantFrom(...PORTS, 81, 442, 1, 65_535),
    request: fc.record({
      method: fc.constantFrom('GET', 'get', 'POST', 'HEAD', ''),
      target: targetText,
      host: fc.constantFrom('details', 'DETAILS:9080', 'admin'),
    }),
  },
  { requiredKeys: ['direction', 'subject', 'peer', 'port'] },
);

test('tables and meaning agree', () => {
  const seen: Record<Verdict, number> = { unrestricted: 0, allowed: 0, denied: 0 };
  fc.assert(
    fc.property(
      fc.array(policy, { minLength: 1, maxLength: 4 }),
      fc.array(access, { minLength: 30, maxLength: 60 }),
      (documents, accesses) => {
        const text = documents.map((one) => JSON.stringify(one)).join('\n---\n');
        const { policies, problems } = readPolicies(text, 'random.yaml');
        expect(problems).toEqual([]);
        const tables = new PolicyTables(
          policies,
          accesses.map(({ subject }) => subject),
        );
        for (const one of accesses) {
          const verdict = judge(policies, one);
          expect(tables.judge(one), JSON.stringify(one)).toBe(verdict);
          seen[verdict] += one.request ? 1 : 0;
        }
      },
    ),
    { numRuns: 100 },
  );
  // The test has seen all there is.
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(30);
});

test('the ports of a plan are told in order, without a gap', () => {
  fc.assert(
    fc.property(
      fc.array(policy, { minLength: 1, maxLength: 3 }),
      endpoint,
      party,
      (documents, one, other) => {
        const { policies } = readPolicies(
          documents.map((d) => JSON.stringify(d)).join('\n---\n'),
          'random.yaml',
        );
        const tables = new PolicyTables(policies, [one]);
        const plan = tables.planFor(one, 'ingress');
        fc.pre(plan !== undefined);
        const verdicts = portVerdicts(plan, tables.peersOf(other));
        expect(verdicts[0]!.first).toBe(0);
        expect(verdicts.at(-1)!.last).toBe(65_535);
        verdicts.slice(1).forEach(({ first, rules }, i) => {
          expect(first).toBe(verdicts[i]!.last + 1);
          expect(rules).not.toEqual(verdicts[i]!.rules);
        });
      },
    ),
  );
});

const withPaths = (paths: readonly string[]) =>
  JSON.stringify({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'many' },
    spec: {
      endpointSelector: {},
      ingress: [
        {
          toPorts: [
            { ports: [{ port: '80', protocol: 'TCP' }], rules: { http: paths.map((path) => ({ path })) } },
          ],
        },
      ],
    },
  });
const anybody: Party = { kind: 'endpoint', namespace: 'default', labels: {} };

test('more rules than the kernel has bits for are refused', () => {
  const paths = Array.from({ length: MOST_RULES + 1 }, (_, i) => `/${i}`);
  expect(
    () => new PolicyTables(readPolicies(withPaths(paths.slice(1)), 'a').policies, [anybody]),
  ).not.toThrow();
  expect(() => new PolicyTables(readPolicies(withPaths(paths), 'a').policies, [anybody])).toThrow(
    /^a:1:\d+: with this rule, more than 256 HTTP rules/,
  );
});

test('the place of the rule is told with which the automaton is too large', () => {
  const text = withPaths(['/a', '/(a|b)*a(a|b){6}', '/c']);
  const { policies, problems } = readPolicies(text, 'a');
  expect(problems).toEqual([]);
  const column = text.indexOf('{"path":"/(a') + 1;
  expect(() => new PolicyTables(policies, [anybody], { states: 60 })).toThrow(
    expect.objectContaining({ position: { file: 'a', line: 1, column } }) as Error,
  );
});
