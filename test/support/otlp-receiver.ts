/**
 * Receivers of OTLP that decode with protobuf.js from the protos in test/fixtures/proto: nothing in them comes from
 * the encoder that is tested.
 *
 * @module
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import {
  type handleUnaryCall,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  status,
} from '@grpc/grpc-js';
import { loadSync, type MethodDefinition } from '@grpc/proto-loader';

const protos = fileURLToPath(new URL('../fixtures/proto', import.meta.url));
const definitions = loadSync('metrics_service.proto', {
  includeDirs: [protos],
  longs: Number,
  enums: String,
  defaults: true,
  keepCase: true,
});
const service = definitions['opentelemetry.proto.collector.metrics.v1.MetricsService'] as ServiceDefinition;
const method = service.Export as unknown as MethodDefinition<Request, object>;

interface KeyValue {
  key: string;
  value: { string_value?: string; bool_value?: boolean; int_value?: number; double_value?: number };
}

export interface Point {
  attributes: KeyValue[];
  start_time_unix_nano: number;
  time_unix_nano: number;
  as_double?: number;
  as_int?: number;
  count?: number;
  sum?: number;
  bucket_counts?: number[];
  explicit_bounds?: number[];
}

interface Data {
  data_points: Point[];
  aggregation_temporality?: string;
  is_monotonic?: boolean;
}

interface Metric {
  name: string;
  unit: string;
  gauge?: Data | null;
  sum?: Data | null;
  histogram?: Data | null;
}

export interface Request {
  resource_metrics: {
    resource: { attributes: KeyValue[] };
    scope_metrics: { scope: { name: string; version: string }; metrics: Metric[] }[];
  }[];
}

/** One point as it arrived, whatever the metric's type. */
export interface Arrived {
  readonly metric: string;
  readonly temporality: string | undefined;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  readonly value: number | undefined;
  readonly point: Point;
}

export interface OtlpReceiver extends AsyncDisposable {
  readonly endpoint: string;
  /** Each request that was decoded, and the bytes of it. */
  readonly requests: { readonly request: Request; readonly bytes: number }[];
  /** Requests that came, decoded or not. */
  readonly seen: () => number;
  /** How to answer from now on. */
  behave(behaviour: Behaviour): void;
}

/** `drip` sends one byte of an answer at a time and never ends. */
export type Behaviour = 'ok' | 'unavailable' | 'refuse' | 'hang' | 'nonsense' | 'drip';

export function arrived(requests: OtlpReceiver['requests']): Arrived[] {
  return requests.flatMap(({ request }) =>
    request.resource_metrics.flatMap(({ scope_metrics }) =>
      scope_metrics.flatMap(({ metrics }) =>
        metrics.flatMap(({ name, gauge, sum, histogram }) => {
          const data = gauge ?? sum ?? histogram;
          return (data?.data_points ?? []).map((point) => ({
            metric: name,
            temporality: data?.aggregation_temporality,
            attributes: plain(point.attributes),
            value: point.as_double ?? point.as_int,
            point,
          }));
        }),
      ),
    ),
  );
}

export function plain(attributes: readonly KeyValue[]): Record<string, string | number | boolean> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [
      key,
      value.string_value ?? value.bool_value ?? value.int_value ?? value.double_value ?? '',
    ]),
  );
}

/** A gRPC server as a collector has one, with gRPC's own limit of 4 MiB unless told otherwise. */
export async function grpcReceiver(port = 0): Promise<OtlpReceiver> {
  const requests: OtlpReceiver['requests'] = [];
  let behaviour: Behaviour = 'ok';
  let seen = 0;
  const server = new Server();
  const decoding = {
    ...service,
    Export: {
      ...method,
      requestDeserialize: (bytes: Buffer) => ({
        request: method.requestDeserialize(bytes),
        bytes: bytes.length,
      }),
      responseSerialize: (answer: object) =>
        behaviour === 'nonsense' ? Buffer.alloc(1000, 0xff) : method.responseSerialize(answer),
    },
  } as unknown as ServiceDefinition;
  const handle: handleUnaryCall<OtlpReceiver['requests'][number], object> = (call, answer) => {
    seen++;
    if (behaviour === 'hang' || behaviour === 'drip') return;
    if (behaviour === 'unavailable') return answer({ code: status.UNAVAILABLE, details: 'busy' });
    if (behaviour === 'refuse') return answer({ code: status.INVALID_ARGUMENT, details: 'no' });
    requests.push(call.request);
    answer(null, {});
  };
  server.addService(decoding, { Export: handle });
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });
  return {
    endpoint: `http://127.0.0.1:${bound}`,
    requests,
    seen: () => seen,
    behave: (next) => {
      behaviour = next;
    },
    [Symbol.asyncDispose]: async () => server.forceShutdown(),
  };
}

/** The same over HTTP with protobuf. */
export async function httpReceiver(port = 0): Promise<OtlpReceiver> {
  const requests: OtlpReceiver['requests'] = [];
  let behaviour: Behaviour = 'ok';
  let seen = 0;
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    seen++;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    switch (behaviour) {
      case 'hang':
        return;
      case 'unavailable':
        return void response.writeHead(503, { 'retry-after': '1' }).end();
      case 'refuse':
        return void response.writeHead(400).end('no');
      case 'drip': {
        response.writeHead(200);
        const drip = setInterval(() => response.write('x'), 50);
        response.on('close', () => clearInterval(drip));
        return;
      }
      default: {
        const bytes = request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body;
        requests.push({ request: method.requestDeserialize(bytes), bytes: bytes.length });
        response
          .writeHead(200, { 'content-type': 'application/x-protobuf' })
          .end(behaviour === 'nonsense' ? Buffer.alloc(1000, 0xff) : method.responseSerialize({}));
      }
    }
  };
  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/metrics`,
    requests,
    seen: () => seen,
    behave: (next) => {
      behaviour = next;
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}
