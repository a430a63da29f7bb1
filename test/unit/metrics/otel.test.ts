import { expect, it } from 'vitest';
import { otel } from '../../../src/metrics/dialects/otel.js';
import { resolve } from '../../../src/metrics/model.js';
import type { HttpCounts, Role } from '../../../src/receivers/counts.js';
import { testDialect } from '../../contract/dialect.js';
import {
  counts,
  histogram,
  http,
  identifyNamed,
  named,
  overflowPair,
  pair,
  tcp,
} from '../../support/counts.js';

testDialect(otel());

const once = histogram([0.01]);

function duration(role: Role, more: Partial<HttpCounts>) {
  const ends = pair(role, named('a'), named('b'), 8080);
  const sweep = counts({ http: [http(ends, { duration: once, firstByte: once, ...more })] });
  const families = otel().families(resolve(sweep, identifyNamed()));
  return families.find(({ name }) => name === `http.${role}.request.duration`)?.points[0]?.attributes;
}

it.each([
  ['server', { status: 200 }, undefined],
  ['server', { status: 404 }, undefined],
  ['client', { status: 404 }, '404'],
  ['server', { status: 503 }, '503'],
  ['client', { status: 503 }, '503'],
  ['server', { status: undefined, failure: 'reset' }, 'connection_reset'],
  ['client', { status: undefined, failure: 'closed' }, 'connection_closed'],
  ['client', { status: undefined, failure: 'timeout' }, 'timeout'],
  ['server', { status: 200, failure: 'closed' }, 'connection_closed'],
  ['client', { status: 502, failure: 'reset' }, '502'],
] satisfies [Role, Partial<HttpCounts>, string | undefined][])(
  'a %s that sees %j has the error type %s',
  (role, more, error) => {
    expect(duration(role, more)?.['error.type']).toBe(error);
  },
);

it('writes the attributes of the semantic conventions', () => {
  expect(duration('server', { route: '/details/{id}' })).toEqual({
    'source.service': 'b',
    'source.namespace': '',
    'source.workload': '',
    'destination.service': 'a',
    'destination.namespace': '',
    'destination.workload': '',
    'http.request.method': 'GET',
    'http.response.status_code': 200,
    'http.route': '/details/{id}',
    'network.protocol.version': '1.1',
    'url.scheme': 'http',
    'server.port': 8080,
  });
});

it('gives what got no answer no status, and no time to first byte', () => {
  const ends = pair('client', named('a'), named('b'));
  const sweep = counts({ http: [http(ends, { status: undefined, failure: 'reset', duration: once })] });
  const families = otel().families(resolve(sweep, identifyNamed()));
  expect(families.map(({ name }) => name)).toEqual(['http.client.request.duration']);
  expect(families[0]?.points[0]?.attributes).not.toHaveProperty('http.response.status_code');
});

it('tells the ends of connections apart by error.type and adds up to all that ended', () => {
  const ends = pair('server', named('a'), named('b'));
  const sweep = counts({ tcp: [tcp(ends, { opened: 9, closed: 5, reset: 2, timedOut: 1, bytesSent: 7 })] });
  const families = otel().families(resolve(sweep, identifyNamed()));
  const points = (name: string) =>
    families
      .find((family) => family.name === name)
      ?.points.map((point) => [
        point.attributes['error.type'] ?? point.attributes['network.io.direction'],
        'value' in point && point.value,
      ]);
  expect(points('meshtap.tcp.server.connections.closed')).toEqual([
    [undefined, 5],
    ['connection_reset', 2],
    ['timeout', 1],
  ]);
  expect(points('meshtap.tcp.server.io')).toEqual([
    ['transmit', 7],
    ['receive', 0],
  ]);
  expect(points('meshtap.tcp.server.connect.duration')).toBeUndefined();
});

it('gives overflow the one attribute of the specification', () => {
  const ends = overflowPair('server');
  const sweep = counts({
    http: [http(ends, { overflow: true, duration: once })],
    tcp: [tcp(ends, { opened: 1 })],
  });
  for (const { points } of otel().families(resolve(sweep, identifyNamed())))
    expect(points.map(({ attributes }) => attributes)).toEqual([{ 'otel.metric.overflow': true }]);
});
