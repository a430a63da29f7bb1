/**
 * Hubble's API as `proto/` describes it, for both of its ends, and the way between its messages and its JSON.
 *
 * @module
 */
import { fileURLToPath } from 'node:url';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { loadSync, type MethodDefinition } from '@grpc/proto-loader';
import type { FlowFilter } from './filter.js';
import type { FlowEvent } from './flow.js';
import { fromHubble } from './hubble-read.js';
import { toHubble } from './hubble-write.js';
import {
  field,
  type Json,
  nanosecondsOf,
  objectAt,
  type ProtobufTime,
  parseTimestamp,
  protobufTime,
  timestamp,
} from './json.js';

const definitions = loadSync(['observer.proto', 'health.proto'], {
  includeDirs: [fileURLToPath(new URL('../../proto', import.meta.url))],
  keepCase: true,
  longs: String,
  enums: String,
});

export const OBSERVER = definitions['observer.Observer'] as unknown as ServiceDefinition;
export const HEALTH = definitions['grpc.health.v1.Health'] as unknown as ServiceDefinition;

/** `GetFlowsRequest` */
export interface GetFlowsRequest {
  readonly number?: string;
  readonly follow?: boolean;
  readonly first?: boolean;
  readonly since?: ProtobufTime;
  readonly until?: ProtobufTime;
  readonly whitelist?: readonly FlowFilter[];
  readonly blacklist?: readonly FlowFilter[];
}

const getFlows = OBSERVER.GetFlows as unknown as MethodDefinition<GetFlowsRequest, object>;

/** A `GetFlowsResponse` as a message that can be sent. */
export function toMessage(event: FlowEvent): Json {
  const message = asMessage(toHubble(event));
  if (!('flow' in event) || Object.keys(event.flow.rest).length === 0) return message;
  try {
    getFlows.responseSerialize(message);
    return message;
  } catch {
    // What a source said beside what is understood does not fit its own description.
    return asMessage(toHubble({ ...event, flow: { ...event.flow, rest: {} } }));
  }
}

/** What a `GetFlowsResponse` says. Throws `UnreadableFlow`. */
export const fromMessage = (message: unknown): FlowEvent | undefined => fromHubble(asJson(objectAt(message)));

/** JSON has times as text, and the values of wrappers bare. */
function asMessage(json: Json): Json {
  return mapped(json, {
    time: (text) => protobufTime(parseTimestamp(text as string)!),
    bool: (value) => ({ value }),
    number: (value) => ({ value }),
  });
}

function asJson(message: Json): Json {
  return mapped(message, {
    time: (time) => timestamp(nanosecondsOf(time as ProtobufTime)),
    bool: (wrapper) => field(objectAt(wrapper), 'value') ?? false,
    number: (wrapper) => field(objectAt(wrapper), 'value') ?? 0,
  });
}

type Mapping = Record<'time' | 'bool' | 'number', (value: unknown) => unknown>;

function mapped(response: Json, { time, bool, number }: Mapping): Json {
  const at = (json: Json, name: string, change: (value: unknown) => unknown): Json =>
    json[name] === undefined || json[name] === null ? json : { ...json, [name]: change(json[name]) };
  let all = at(response, 'time', time);
  all = at(all, 'flow', (flow) => at(at(flow as Json, 'time', time), 'is_reply', bool));
  return at(all, 'lost_events', (lost) =>
    at(at(at(lost as Json, 'first', time), 'last', time), 'cpu', number),
  );
}
