/** Policies as people write them, and what Cilium's documentation says that they do. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type HttpRequest, judge, type Verdict } from '../../../src/policy/judge.js';
import type { Direction, Party } from '../../../src/policy/policy.js';
import { readPolicies } from '../../../src/policy/read.js';
import { PolicyTables } from '../../../src/policy/tables.js';

const FIXTURES = join(import.meta.dirname, '../../fixtures/policy');

const pod = (app: string, namespace = 'default'): Party => ({ kind: 'endpoint', namespace, labels: { app } });

interface Question {
  direction?: Direction;
  subject?: Party;
  peer: Party;
  port?: number;
  /** `GET /details/1` */
  request?: string;
  host?: string;
}

/** What policies say, judged in both ways, which must agree. */
function ask(
  text: string,
  { direction = 'ingress', subject = pod('details'), peer, port = 9080, request, host = 'details' }: Question,
): Verdict {
  const { policies, problems } = readPolicies(text, 'policy.yaml');
  expect(problems).toEqual([]);
  const [method = '', target = ''] = request?.split(' ', 2) ?? [];
  const http: HttpRequest = { method, target, host };
  const access = { direction, subject, peer, port, ...(request !== undefined && { request: http }) };
  const verdict = judge(policies, access);
  expect(new PolicyTables(policies, [subject]).judge(access)).toBe(verdict);
  return verdict;
}

/** A policy for details, in YAML's flow style. */
const policy = (rest: string, namespace = 'default') =>
  `{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p, namespace: ${namespace}}, ` +
  `spec: {endpointSelector: {matchLabels: {app: details}}, ${rest}}}`;

describe('the policy that lets productpage read details', () => {
  const text = readFileSync(join(FIXTURES, 'details-l7-policy.yaml'), 'utf8');
  const peer = pod('productpage');

  test.each<[string, Verdict]>([
    ['GET /details/1', 'allowed'],
    ['GET /details/1?verbose=1', 'allowed'],
    ['GET /details/', 'allowed'],
    ['GET //details//1', 'allowed'],
    ['GET /%64etails/1', 'allowed'],
    ['GET http://details:9080/details/1', 'allowed'],
    ['POST /details/1', 'denied'],
    ['get /details/1', 'denied'],
    ['GETX /details/1', 'denied'],
    ['GET /admin', 'denied'],
    ['GET /details', 'denied'],
    ['GET /x/details/1', 'denied'],
    ['GET /admin?/details/1', 'denied'],
    ['GET http://details:9080/admin', 'denied'],
    ['GET http://h@details/details/1', 'denied'],
    ['GET http:///details/1', 'denied'],
    ['GET /details/../admin', 'denied'],
    ['GET /details/%2e%2e/admin', 'denied'],
    ['GET /details/..%2Fadmin', 'denied'],
    ['GET /details/..;/admin', 'denied'],
    ['GET /details\\..\\admin', 'denied'],
    ['GET /details/%00', 'denied'],
    ['GET *', 'denied'],
    ['CONNECT details:9080', 'denied'],
    [' ', 'denied'],
  ])('%s: %s', (request, verdict) => {
    expect(ask(text, { peer, request })).toBe(verdict);
  });

  test('lets nobody else in, and nobody in at other ports', () => {
    expect(ask(text, { peer, port: 9080 })).toBe('allowed');
    expect(ask(text, { peer, port: 9081 })).toBe('denied');
    expect(ask(text, { peer: pod('reviews'), request: 'GET /details/1' })).toBe('denied');
    expect(ask(text, { peer: pod('productpage', 'other'), request: 'GET /details/1' })).toBe('denied');
    expect(ask(text, { peer: { kind: 'world', address: '8.8.8.8' } })).toBe('denied');
    expect(ask(text, { peer: { kind: 'host' } })).toBe('denied');
  });

  test('says nothing of what details does, nor of others', () => {
    expect(ask(text, { peer, direction: 'egress' })).toBe('unrestricted');
    expect(ask(text, { peer, subject: pod('reviews') })).toBe('unrestricted');
    expect(ask(text, { peer, subject: pod('details', 'other') })).toBe('unrestricted');
  });
});

describe('rules', () => {
  const peer = pod('productpage');

  test('an empty rule allows nothing, and makes denial the default', () => {
    expect(ask(policy('ingress: [{}]'), { peer })).toBe('denied');
    expect(ask(policy('ingress: [{}]'), { peer, direction: 'egress' })).toBe('unrestricted');
    expect(ask(policy('egress: [{}]'), { peer, direction: 'egress' })).toBe('denied');
  });

  test('ports alone are open to everybody, peers alone at all ports', () => {
    const ports = policy('ingress: [{toPorts: [{ports: [{port: "80"}]}]}]');
    expect(ask(ports, { peer: { kind: 'world', address: '8.8.8.8' }, port: 80 })).toBe('allowed');
    expect(ask(ports, { peer, port: 81 })).toBe('denied');
    const peers = policy('ingress: [{fromEndpoints: [{}]}]');
    expect(ask(peers, { peer, port: 1 })).toBe('allowed');
    expect(ask(peers, { peer: pod('productpage', 'other') })).toBe('denied');
  });

  test('are ORed, what is in them is ANDed', () => {
    const text = policy(
      `ingress: [{fromEndpoints: [{matchLabels: {app: reviews}}], toPorts: [{ports: [{port: "80"}, {port: "81"}]}]},
        {fromEndpoints: [{matchLabels: {app: ratings}}]}]`,
    );
    expect(ask(text, { peer: pod('reviews'), port: 81 })).toBe('allowed');
    expect(ask(text, { peer: pod('reviews'), port: 82 })).toBe('denied');
    expect(ask(text, { peer: pod('ratings'), port: 82 })).toBe('allowed');
  });

  test('of several policies add up', () => {
    const text = [
      policy('ingress: [{toPorts: [{ports: [{port: "80"}]}]}]'),
      policy('ingress: [{toPorts: [{ports: [{port: "81"}]}]}]').replace('name: p', 'name: q'),
    ].join('\n---\n');
    expect(ask(text, { peer, port: 80 })).toBe('allowed');
    expect(ask(text, { peer, port: 81 })).toBe('allowed');
    expect(ask(text, { peer, port: 82 })).toBe('denied');
  });

  const http =
    'toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{path: /a, method: GET, host: a}]}}]';

  test('for HTTP hold for all that is in them at once', () => {
    const text = policy(`ingress: [{${http}}]`);
    expect(ask(text, { peer, port: 80, request: 'GET /a', host: 'A' })).toBe('allowed');
    expect(ask(text, { peer, port: 80, request: 'GET /a', host: 'b' })).toBe('denied');
    expect(ask(text, { peer, port: 80, request: 'PUT /a', host: 'a' })).toBe('denied');
    expect(ask(text, { peer, port: 80, request: 'GET /b', host: 'a' })).toBe('denied');
  });

  test('for HTTP do not count where another rule allows the port', () => {
    const text = policy(`ingress: [{${http}}, {fromEndpoints: [{}], toPorts: [{ports: [{port: "80"}]}]}]`);
    expect(ask(text, { peer, port: 80, request: 'PUT /b' })).toBe('allowed');
    expect(ask(text, { peer: { kind: 'host' }, port: 80, request: 'PUT /b' })).toBe('denied');
  });

  test('an empty one for HTTP allows all requests', () => {
    const text = policy(
      'ingress: [{toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{}]}}]}]',
    );
    expect(ask(text, { peer, port: 80, request: 'PUT /../b' })).toBe('allowed');
  });
});

describe('peers', () => {
  const from = (rule: string) => policy(`ingress: [{${rule}}]`);
  const world = (address: string): Party => ({ kind: 'world', address });

  test.each<[string, Party, Verdict]>([
    ['fromEndpoints: [{matchLabels: {"k8s:app": reviews}}]', pod('reviews'), 'allowed'],
    ['fromEndpoints: [{matchLabels: {"any:app": reviews}}]', pod('ratings'), 'denied'],
    [
      'fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": a}}]',
      pod('reviews', 'a'),
      'allowed',
    ],
    ['fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": a}}]', pod('reviews'), 'denied'],
    [
      'fromEndpoints: [{matchExpressions: [{key: io.kubernetes.pod.namespace, operator: Exists}]}]',
      pod('reviews', 'a'),
      'allowed',
    ],
    ['fromEndpoints: [{matchExpressions: [{key: app, operator: In, values: [a, b]}]}]', pod('b'), 'allowed'],
    [
      'fromEndpoints: [{matchExpressions: [{key: app, operator: NotIn, values: [a, b]}]}]',
      pod('b'),
      'denied',
    ],
    ['fromEndpoints: [{matchExpressions: [{key: tier, operator: NotIn, values: [a]}]}]', pod('b'), 'allowed'],
    ['fromEndpoints: [{matchExpressions: [{key: tier, operator: Exists}]}]', pod('b'), 'denied'],
    ['fromEndpoints: [{matchExpressions: [{key: tier, operator: DoesNotExist}]}]', pod('b'), 'allowed'],
    ['fromEntities: [all]', world('8.8.8.8'), 'allowed'],
    ['fromEntities: [world]', world('8.8.8.8'), 'allowed'],
    ['fromEntities: [world]', pod('b'), 'denied'],
    ['fromEntities: [cluster]', pod('b', 'other'), 'allowed'],
    ['fromEntities: [cluster]', { kind: 'host' }, 'allowed'],
    ['fromEntities: [cluster]', world('8.8.8.8'), 'denied'],
    ['fromEntities: [host, remote-node]', { kind: 'remote-node' }, 'allowed'],
    ['fromEntities: [host]', { kind: 'remote-node' }, 'denied'],
    ['fromCIDR: [192.0.2.0/24]', world('192.0.2.7'), 'allowed'],
    ['fromCIDR: [192.0.2.0/24]', world('::ffff:192.0.2.7'), 'allowed'],
    ['fromCIDR: [192.0.2.0/24]', world('192.0.3.7'), 'denied'],
    ['fromCIDR: [0.0.0.0/0]', world('2001:db8::1'), 'denied'],
    ['fromCIDR: [0.0.0.0/0]', pod('b'), 'denied'],
    ['fromCIDRSet: [{cidr: "2001:db8::/32", except: ["2001:db8:1::/48"]}]', world('2001:db8::1'), 'allowed'],
    ['fromCIDRSet: [{cidr: "2001:db8::/32", except: ["2001:db8:1::/48"]}]', world('2001:db8:1::1'), 'denied'],
  ])('%s and %o: %s', (rule, peer, verdict) => {
    expect(ask(from(rule), { peer })).toBe(verdict);
  });
});
