/**
 * Follows a server of Hubble's API: a relay, a Cilium agent, a meshtap.
 *
 * @module
 */
import { Client, type ClientReadableStream, credentials, type ServiceError, status } from '@grpc/grpc-js';
import type { MethodDefinition } from '@grpc/proto-loader';
import { MeshtapError } from '../errors.js';
import type { FlowEvent } from './flow.js';
import { UnreadableFlow } from './json.js';
import { fromMessage, type GetFlowsRequest, OBSERVER } from './protocol.js';

/** PEM. */
export interface ClientTls {
  /** Whom to trust. @default the system's authorities */
  readonly ca?: Buffer | undefined;
  /** Who we are, where the server asks. */
  readonly cert?: Buffer | undefined;
  readonly key?: Buffer | undefined;
  /** The name in the server's certificate. @default the host of the address */
  readonly serverName?: string | undefined;
}

export interface GetFlowsOptions {
  /** `HOST:PORT`, `unix:PATH`; `tls://HOST:PORT` is the same with `tls`. */
  address: string;
  /** @default plain, without `tls://` */
  tls?: ClientTls | undefined;
  request: GetFlowsRequest;
  /** Ends the stream, without an error. */
  signal: AbortSignal;
  /** Called once there is a connection. */
  onConnected?: () => void;
}

const getFlowsMethod = OBSERVER.GetFlows as unknown as MethodDefinition<GetFlowsRequest, object>;

/** The flows that a server sends until it, or the signal, ends the stream. Throws FLOWS_FAILED or FILTER_INVALID. */
export async function* getFlows({
  address,
  tls,
  request,
  signal,
  onConnected,
}: GetFlowsOptions): AsyncGenerator<FlowEvent, void, undefined> {
  const client = new Client(address.replace(/^tls:\/\//, ''), credentialsOf(address, tls), {
    ...(tls?.serverName && { 'grpc.ssl_target_name_override': tls.serverName }),
    // A dead relay is noticed though it says nothing. Servers in Go take it amiss if they are asked every five minutes.
    'grpc.keepalive_time_ms': 310_000,
    'grpc.keepalive_timeout_ms': 20_000,
  });
  let call: ClientReadableStream<object> | undefined;
  const stop = () => call?.cancel();
  try {
    call = client.makeServerStreamRequest(
      getFlowsMethod.path,
      getFlowsMethod.requestSerialize,
      getFlowsMethod.responseDeserialize,
      request,
    );
    // Servers say nothing before the first flow.
    if (onConnected) client.waitForReady(Number.POSITIVE_INFINITY, (error) => error ?? onConnected());
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop();
    for await (const message of call) {
      const event = readable(message);
      if (event) yield event;
    }
  } catch (error) {
    if (signal.aborted) return;
    throw failure(error as ServiceError, address);
  } finally {
    signal.removeEventListener('abort', stop);
    call?.cancel();
    client.close();
  }
}

/** Undefined where a server sends what can not be. */
function readable(message: object): FlowEvent | undefined {
  try {
    return fromMessage(message);
  } catch (error) {
    if (error instanceof UnreadableFlow) return undefined;
    throw error;
  }
}

function credentialsOf(address: string, tls: ClientTls | undefined) {
  if (!tls && !address.startsWith('tls://')) return credentials.createInsecure();
  return credentials.createSsl(tls?.ca ?? null, tls?.key ?? null, tls?.cert ?? null);
}

function failure(error: ServiceError, address: string): MeshtapError {
  if (error.code === status.INVALID_ARGUMENT) return new MeshtapError('FILTER_INVALID', error.details);
  return new MeshtapError('FLOWS_FAILED', `${address} gives no flows: ${error.details || error.message}`);
}

/** For those who load this file late. */
export type GetFlows = typeof getFlows;
