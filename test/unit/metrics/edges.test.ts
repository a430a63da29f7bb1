import { describe, expect, test } from 'vitest';
import { hubble } from '../../../src/metrics/dialects/hubble.js';
import { edgeKey, edgeState, edgesBetween, edgesOf } from '../../../src/metrics/edges.js';
import type { NumberFamily } from '../../../src/metrics/family.js';
import { type Identify, resolve, type Snapshot } from '../../../src/metrics/model.js';
import type { Counts } from '../../../src/receivers/counts.js';
import {
  counts,
  dns,
  histogram,
  http,
  identifyNamed,
  named,
  overflowPair,
  pair,
  tcp,
} from '../../support/counts.js';

const A = { service: 'a', namespace: 'x' };
const B = { service: 'b', namespace: '' };
const KEY = edgeKey(A, B);
const [a, b] = [named('a', 'x'), named('b')];
const server = pair('server', b, a, 8080);
const client = pair('client', a, b, 8080);
const watched: Identify = identifyNamed(['b']);

const snapshot = (of: Partial<Counts>, identify: Identify = watched): Snapshot =>
  resolve(counts(of), identify);
const times = (n: number, seconds = 0.002) => histogram(Array(n).fill(seconds));
const only = (of: Partial<Counts>, identify?: Identify) => edgesOf(snapshot(of, identify)).byKey.get(KEY);

describe('an edge', () => {
  const rpc = (status: string) => ({ rpc: { service: 's', method: 'm', status } });
  const both = {
    http: [
      http(server, { duration: times(5) }),
      http(server, { status: 404, duration: times(3) }),
      http(server, { status: 503, duration: times(2, 0.3) }),
      http(server, { status: undefined, failure: 'reset', duration: times(1) }),
      http(server, { version: '2', ...rpc('UNAVAILABLE'), duration: times(4) }),
      http(server, { version: '2', ...rpc('NOT_FOUND'), duration: times(6) }),
      http(client, { duration: times(99) }),
      http(overflowPair('server'), { overflow: true, duration: times(7) }),
    ],
    tcp: [
      tcp(server, { opened: 9, tls: 4, tlsDecoded: 1, bytesSent: 10, bytesReceived: 20 }),
      tcp(client, { opened: 11, refused: 2, cancelled: 1 }),
    ],
  };

  test('has each request once; 5xx, failures of gRPC and missing answers are errors, a 404 is none', () => {
    expect(only(both)).toMatchObject({
      ...{ source: A, destination: B, ports: [8080], protocols: ['HTTP/1.1', 'gRPC'] },
      ...{ requests: 21, errors: 7, connections: 9, bytes: 30, tls: 4, tlsDecoded: 1 },
      outcomes: new Map([
        ['200', { error: false, count: 5 }],
        ['404', { error: false, count: 3 }],
        ['503', { error: true, count: 2 }],
        ['connection_reset', { error: true, count: 1 }],
        ['UNAVAILABLE', { error: true, count: 4 }],
        ['NOT_FOUND', { error: false, count: 6 }],
      ]),
    });
    expect(edgesOf(snapshot(both)).nameless).toBe(7);
  });

  test('knows from the client of connections that never came about', () => {
    expect(only(both)).toMatchObject({ failedConnects: 3 });
    expect(only({ tcp: [tcp(client, { refused: 5 })] })).toMatchObject({
      failedConnects: 5,
      protocols: ['TCP'],
    });
  });

  test('is seen from the client where nobody watches the server', () => {
    expect(only(both, identifyNamed())).toMatchObject({ requests: 120, connections: 20 });
    expect(only({ http: [http(client, { duration: times(99) })] }, identifyNamed())).toMatchObject({
      requests: 99,
    });
  });

  test('has lookups, and which of them got no answer', () => {
    const lookups = [
      dns(client, { queries: 5, unanswered: 2 }),
      dns(client, { code: 0, duration: times(3) }),
    ];
    expect(only({ dns: lookups }, identifyNamed())).toMatchObject({
      ...{ protocols: ['DNS'], lookups: 5, unanswered: 2, requests: 0 },
    });
  });

  test('is one for all replicas and ports, and has what the hubble dialect has', () => {
    const other = pair('server', named('b', '', 'b-2'), a, 80);
    const all = snapshot({ http: [...both.http, http(other, { duration: times(8) })] });
    const edge = edgesOf(all).byKey.get(KEY);
    expect(edge?.ports).toEqual([80, 8080]);
    const family = hubble()
      .families(all)
      .find(({ name }) => name === 'hubble_http_requests_total') as NumberFamily;
    const points = family.points.filter(({ attributes }) => attributes.source_service === 'a');
    const sum = points.reduce((total, { value }) => total + value, 0);
    expect(edge?.requests).toBe(sum);
  });
});

test('rates are of what came between two looks; a name that begins again does not go backwards', () => {
  const look = (ok: number, failed: number) =>
    edgesOf(
      snapshot({
        http: [
          http(server, { duration: times(ok) }),
          http(server, { status: 500, duration: times(failed, 0.2) }),
        ],
      }),
    );
  const [rates] = edgesBetween(look(10, 1), look(40, 11));
  expect(rates).toMatchObject({ requests: 40, errors: 10 });
  expect(rates?.outcomes.get('500')).toEqual({ error: true, count: 10 });
  expect(rates!.p50).toBeGreaterThan(0.001);
  expect(rates!.p50).toBeLessThan(0.0025);
  expect(rates!.p99).toBeGreaterThan(0.1);
  expect(edgesBetween(look(40, 11), look(5, 0))[0]).toMatchObject({ requests: 0, errors: 0 });
});

describe('the state of an edge', () => {
  const nothing = {
    ...{ requests: 0, errors: 0, connections: 0, failedConnects: 0, bytes: 0, lookups: 0, unanswered: 0 },
  };
  test.each([
    ['idle', {}],
    ['ok', { requests: 1 }],
    ['ok', { bytes: 1 }],
    ['errors', { requests: 1000, errors: 9 }],
    ['failing', { requests: 1000, errors: 10 }],
    ['failing', { failedConnects: 1 }],
    ['errors', { connections: 1000, failedConnects: 1 }],
    ['failing', { lookups: 2, unanswered: 1 }],
  ] as const)('%s: %j', (state, more) => {
    expect(edgeState({ ...nothing, ...more })).toBe(state);
  });
});
