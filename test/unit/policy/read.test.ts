import { describe, expect, test } from 'vitest';
import { readPolicies } from '../../../src/policy/read.js';

/** A policy with something more in it, beginning in the first column of line 8. */
const withRest = (rest: string) => `# A comment
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: p
spec:
  endpointSelector: {matchLabels: {app: details}}
${rest}
`;

const faults = (text: string) =>
  readPolicies(text, 'p.yaml').problems.map(({ line, column, message }) => `${line}:${column} ${message}`);

const ports = (rest: string) =>
  withRest(`  ingress:\n  - toPorts:\n    - ports: [{port: "80", protocol: TCP}]\n${rest}`);

describe('what is not supported is refused by name and place', () => {
  test.each([
    ['  ingressDeny: [{}]\n  ingress: [{}]', '8:3 spec.ingressDeny: ingressDeny is not supported'],
    ['  nodeSelector: {}\n  ingress: [{}]', '8:3 spec.nodeSelector: nodeSelector is not supported'],
    [
      '  enableDefaultDeny: {ingress: false}\n  ingress: [{}]',
      '8:3 spec.enableDefaultDeny: enableDefaultDeny is not',
    ],
    ['  egress:\n  - toFQDNs: [{matchName: a}]', '9:5 spec.egress[0].toFQDNs: toFQDNs is not supported'],
    ['  egress:\n  - toServices: []', '9:5 spec.egress[0].toServices: toServices is not supported'],
    ['  ingress:\n  - icmps: []', '9:5 spec.ingress[0].icmps: icmps is not supported'],
    [
      '  ingress:\n  - fromEntities: [health]',
      '9:20 spec.ingress[0].fromEntities[0]: found "health", expected',
    ],
    [
      '  ingress:\n  - fromEndpoint: []',
      '9:5 spec.ingress[0].fromEndpoint: found a key that does not exist. Did you mean',
    ],
    [
      '  ingress:\n  - fromEndpoints:\n    - matchLabels:\n        reserved:host: ""',
      '11:9 reserved:host: labels of reserved are not supported',
    ],
    [
      '  ingress:\n  - fromEndpoints:\n    - matchLabels:\n        io.cilium.k8s.policy.serviceaccount: a',
      '11:9 io.cilium.k8s.policy.serviceaccount: this label is not supported',
    ],
    [
      '  ingress:\n  - toPorts:\n    - ports: [{port: http}]',
      '10:16 spec.ingress[0].toPorts[0].ports[0].port: found "http", expected a number from 1 to 65535; named ports',
    ],
    [
      '  ingress:\n  - toPorts:\n    - ports: [{port: "80", protocol: UDP}]',
      '10:28 spec.ingress[0].toPorts[0].ports[0].protocol: found "UDP"',
    ],
    [
      '  ingress:\n  - toPorts:\n    - ports: [{port: "80"}]\n      rules: {http: [{}]}',
      '10:15 spec.ingress[0].toPorts[0].ports[0].protocol: found nothing, expected protocol: TCP',
    ],
    [
      '  ingress:\n  - fromCIDR: [1.2.3.4/8]\n    fromEntities: [all]',
      '9:5 spec.ingress[0]: found keys and values, expected only one of',
    ],
    ['  ingress: []', '8:3 spec.ingress: found an empty list, expected at least one'],
    ['', '6:1 spec: found keys and values, expected ingress, egress or both'],
  ])('%s', (rest, fault) => {
    const found = faults(withRest(rest));
    expect(found).toHaveLength(1);
    expect(found[0]!.startsWith(fault), found[0]).toBe(true);
  });

  test.each([
    [
      '      rules:\n        http:\n        - {method: GET, headers: [X-A]}',
      '13:25',
      'headers is not supported',
    ],
    ['      rules:\n        http:\n        - {headerMatches: []}', '13:12', 'headerMatches is not supported'],
    ['      rules:\n        kafka: []\n        http: [{}]', '12:9', 'kafka is not supported'],
    ['      rules:\n        dns: []\n        http: [{}]', '12:9', 'dns is not supported'],
    ['      rules:\n        http: []', '12:9', 'at least one'],
    ['      terminatingTLS: {}', '11:7', 'terminatingTLS is not supported'],
    ['      rules:\n        http:\n        - path: /a(?=b)', '13:11', 'is no regular expression of RE2'],
    ['      rules:\n        http:\n        - path: a', '13:11', 'matches no path'],
    ['      rules:\n        http:\n        - path: /a\\?b=c', '13:11', 'matches no path'],
    ['      rules:\n        http:\n        - method: "GET POST"', '13:11', 'matches nothing'],
    ['      rules:\n        http:\n        - path: /(a|b)*a(a|b){30}', '13:11', 'too large'],
  ])('%s', (rest, place, fault) => {
    const found = faults(ports(rest));
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(fault);
    expect(found[0]!.startsWith(`${place} `), found[0]).toBe(true);
  });

  test.each([
    ['kind: NetworkPolicy\napiVersion: networking.k8s.io/v1', '1:1 kind: found "NetworkPolicy"'],
    [
      'apiVersion: cilium.io/v1\nkind: CiliumNetworkPolicy\nmetadata: {name: a}\nspec: {endpointSelector: {}, egress: [{}]}',
      '1:1 apiVersion: found',
    ],
    ['a: [', '1:5 this is not YAML'],
    ['a: 1\na: 2', '2:1 this is not YAML'],
    ['just text', '1:1 '],
    ['[]', '1:1 '],
  ])('%s', (text, fault) => {
    const found = faults(text);
    expect(found).toHaveLength(1);
    expect(found[0]!.startsWith(fault), found[0]).toBe(true);
  });
});

test('every document of a file is read, and the faults of each are told', () => {
  const good = withRest('  egress: [{}]');
  const bad = withRest('  egres: [{}]');
  const { policies, problems } = readPolicies(`${good}---\n${bad}---\n---\n${good}`, 'p.yaml');
  expect(policies.map(({ position }) => position.line)).toEqual([2, 21]);
  expect(problems.map(({ line }) => line)).toContain(17);
});

test('specs are several rules of one policy', () => {
  const text = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: shop, uid: 1, managedFields: []}
specs:
- {endpointSelector: {matchLabels: {app: a}}, ingress: [{}]}
- {endpointSelector: {matchLabels: {app: b}}, egress: [{}], description: what for}
status: {conditions: []}
`;
  const { policies, problems } = readPolicies(text, 'p.yaml');
  expect(problems).toEqual([]);
  expect(policies.map(({ subject }) => subject[0]!.values)).toEqual([['a'], ['b']]);
  expect(policies.map(({ namespace }) => namespace)).toEqual(['shop', 'shop']);
});
