/**
 * What is an error, the same for all dialects.
 *
 * @module
 */
import type { Failure, HttpCounts, Role } from '../receivers/counts.js';

const FAILURES = {
  reset: 'connection_reset',
  closed: 'connection_closed',
  timeout: 'timeout',
  goaway: 'GOAWAY',
} as const;

/** `connection_reset` and the like; of a stream that was reset, the error code, such as `CANCEL`. */
function failureName(failure: Failure): string {
  return failure in FAILURES
    ? FAILURES[failure as keyof typeof FAILURES]
    : failure.replace('stream_', '').toUpperCase();
}

/** Number of each status code (https://grpc.io/docs/guides/status-codes/). */
const CODES = [
  ...['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS'],
  ...['PERMISSION_DENIED', 'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE'],
  ...['UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS', 'UNAUTHENTICATED'],
];

/** The number of a gRPC status code by its name; undefined if it has none. */
export function grpcCode(name: string): number | undefined {
  const code = CODES.indexOf(name);
  return code < 0 ? undefined : code;
}

/**
 * Codes that are the server's own failures
 * (https://opentelemetry.io/docs/specs/semconv/rpc/grpc/, server). A client counts all but OK.
 */
const SERVER_ERRORS = new Set([
  ...['UNKNOWN', 'DEADLINE_EXCEEDED', 'UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS', '_OTHER'],
]);

/**
 * `error.type`: the status where it is an error in the eyes of the one who looks (a 404, or NOT_FOUND, is none to a
 * server), or else the failure. A gRPC answer without a status is one. Undefined if there is no error, or nobody knows.
 */
export function errorType(role: Role, { status, failure, rpc }: HttpCounts): string | undefined {
  if (failure !== undefined && status === undefined) return failureName(failure);
  if (typeof status === 'number' && status >= (role === 'server' ? 500 : 400)) return String(status);
  if (rpc?.status !== undefined && rpc.status !== 'unknown') {
    if (role === 'server' ? SERVER_ERRORS.has(rpc.status) : rpc.status !== 'OK') return rpc.status;
  }
  if (failure !== undefined) return failureName(failure);
  if (rpc && rpc.status === undefined) return status === 200 ? 'missing_grpc_status' : String(status);
  return undefined;
}

/** The HTTP status that says the same as a gRPC status code (google/rpc/code.proto). */
const HTTP_STATUS: Readonly<Record<string, number>> = {
  OK: 200,
  CANCELLED: 499,
  UNKNOWN: 500,
  INVALID_ARGUMENT: 400,
  DEADLINE_EXCEEDED: 504,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  PERMISSION_DENIED: 403,
  RESOURCE_EXHAUSTED: 429,
  FAILED_PRECONDITION: 400,
  ABORTED: 409,
  OUT_OF_RANGE: 400,
  UNIMPLEMENTED: 501,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  DATA_LOSS: 500,
  UNAUTHENTICATED: 401,
};

/**
 * One status for an exchange, in HTTP's terms, for those who know no other: a gRPC call that failed has the status that
 * says so, though its answer came with 200. Undefined where no answer came.
 */
export function overallStatus({ status, rpc, failure }: HttpCounts): number | 'unknown' | undefined {
  if (!rpc || status === undefined || (typeof status === 'number' && status !== 200)) return status;
  if (rpc.status === 'unknown') return 'unknown';
  if (rpc.status === undefined) return failure === undefined ? 500 : status;
  return HTTP_STATUS[rpc.status] ?? 500;
}
