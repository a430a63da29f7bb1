// What a gRPC call looks like in each dialect, and when it is an error.
import { describe, expect, test } from 'vitest';
import { hubble } from '../../../src/metrics/dialects/hubble.js';
import { istio } from '../../../src/metrics/dialects/istio.js';
import { otel } from '../../../src/metrics/dialects/otel.js';
import { resolve } from '../../../src/metrics/model.js';
import { errorType } from '../../../src/metrics/outcome.js';
import type { HttpCounts, Role } from '../../../src/receivers/counts.js';
import { counts, histogram, http, identifyNamed, named, pair } from '../../support/counts.js';

const ends = (role: Role) =>
  pair(role, named(role === 'client' ? 'a' : 'b'), named(role === 'client' ? 'b' : 'a'));
const call = (role: Role, status: string | undefined, more: Partial<HttpCounts> = {}): HttpCounts =>
  http(ends(role), {
    method: 'POST',
    version: '2',
    rpc: { service: 'shop.Cart', method: 'Add', status },
    duration: histogram([0.1]),
    ...more,
  });

describe('an error', () => {
  // https://opentelemetry.io/docs/specs/semconv/rpc/grpc/: all but OK to a client, these to a server
  test.each(['UNKNOWN', 'DEADLINE_EXCEEDED', 'UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS'])(
    '%s is one to both sides, whatever the HTTP status says',
    (status) => {
      expect(errorType('client', call('client', status))).toBe(status);
      expect(errorType('server', call('server', status))).toBe(status);
    },
  );
  test.each(['CANCELLED', 'INVALID_ARGUMENT', 'NOT_FOUND', 'PERMISSION_DENIED', 'UNAUTHENTICATED'])(
    '%s is one to the client only',
    (status) => {
      expect(errorType('client', call('client', status))).toBe(status);
      expect(errorType('server', call('server', status))).toBeUndefined();
    },
  );
  test.each([
    ['OK', {}, undefined],
    ['unknown', {}, undefined],
    [undefined, {}, 'missing_grpc_status'],
    [undefined, { status: 503 }, '503'],
    [undefined, { status: undefined, failure: 'stream_cancel' }, 'CANCEL'],
    [undefined, { status: undefined, failure: 'goaway' }, 'GOAWAY'],
    [undefined, { failure: 'reset' }, 'connection_reset'],
    ['OK', { status: 'unknown' }, undefined],
  ] as const)('%s %o is %s', (status, more, expected) => {
    expect(errorType('server', call('server', status, more))).toBe(expected);
  });
});

describe('a call in the dialect', () => {
  const families = (dialect: ReturnType<typeof otel>, row: HttpCounts) =>
    new Map(
      dialect
        .families(resolve(counts({ http: [row] }), identifyNamed(['a', 'b'])))
        .map(({ name, points }) => [name, points.map(({ attributes }) => attributes)]),
    );

  test('otel: in rpc.* and in http.*, an error in both', () => {
    const found = families(otel(), call('server', 'UNAVAILABLE'));
    expect(found.get('rpc.server.call.duration')).toEqual([
      expect.objectContaining({
        'rpc.system.name': 'grpc',
        'rpc.service': 'shop.Cart',
        'rpc.method': 'Add',
        'rpc.response.status_code': 'UNAVAILABLE',
        'error.type': 'UNAVAILABLE',
      }),
    ]);
    expect(found.get('http.server.request.duration')).toEqual([
      expect.objectContaining({
        'http.response.status_code': 200,
        'network.protocol.version': '2',
        'error.type': 'UNAVAILABLE',
      }),
    ]);
  });

  test('hubble: with the HTTP status that says the same', () => {
    const status = (row: HttpCounts) =>
      families(hubble(), row)
        .get('hubble_http_responses_total')
        ?.map(({ status_code }) => status_code);
    expect(status(call('server', 'OK'))).toEqual(['200']);
    expect(status(call('server', 'UNAVAILABLE'))).toEqual(['503']);
    expect(status(call('server', 'NOT_FOUND'))).toEqual(['404']);
    expect(status(call('server', undefined))).toEqual(['500']);
    expect(status(call('server', 'unknown'))).toEqual(['unknown']);
    expect(status(call('server', undefined, { status: 502 }))).toEqual(['502']);
    expect(status(call('server', undefined, { status: undefined, failure: 'reset' }))).toBeUndefined();
  });

  test('istio: with the number of the gRPC status beside the HTTP status', () => {
    const labels = (row: HttpCounts) => families(istio(), row).get('istio_requests_total');
    const grpc = { request_protocol: 'grpc', response_code: '200' };
    expect(labels(call('server', 'OK'))).toEqual([
      expect.objectContaining({ ...grpc, grpc_response_status: '0' }),
    ]);
    expect(labels(call('server', 'UNAVAILABLE'))).toEqual([
      expect.objectContaining({ ...grpc, grpc_response_status: '14' }),
    ]);
    expect(labels(call('server', 'unknown'))).toEqual([
      expect.objectContaining({ ...grpc, response_code: 'unknown', grpc_response_status: 'unknown' }),
    ]);
  });

  test('otel: what nobody saw is unknown, and no success', () => {
    const found = families(otel(), call('server', 'unknown'));
    expect(found.get('http.server.request.duration')).toEqual([
      expect.objectContaining({ 'http.response.status_code': 'unknown' }),
    ]);
  });
});
