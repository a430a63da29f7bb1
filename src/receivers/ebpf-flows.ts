/**
 * Events of the kernel's ring (`struct flow_event`) into flows.
 *
 * @module
 */
import { randomUUID } from 'node:crypto';
import { enums, structs } from '../bpf/generated/counts.js';
import { type Flow, type FlowEnd, type L7, NOBODY } from '../flows/flow.js';
import { EVENTS, httpSummary, RESERVED_IDENTITIES } from '../flows/words.js';
import type { Failure, Pair } from './counts.js';
import {
  addressText,
  decodePair,
  decodeSeries,
  failureName,
  type IdsOf,
  type NamesOf,
  type SeriesLabel,
} from './ebpf-decode.js';
import type { RpcMethod } from './ebpf-methods.js';
import { decodeHuffman } from './hpack.js';
import type { EndName } from './receiver.js';

const { flow_event: EVENT } = structs;
const { flow_kind: KIND, flow_failed: FAILED, flow_text: TEXT } = enums;
const { fields: AT } = EVENT;

/** What happened, before anybody has a name. */
export interface KernelFlow {
  /** Nanoseconds, CLOCK_MONOTONIC. */
  readonly at: bigint;
  readonly pair: Pair;
  readonly local: Place;
  readonly remote: Place;
  readonly what:
    | {
        readonly kind: 'request';
        readonly series: SeriesLabel;
        readonly url: string;
        readonly latency: number;
      }
    | { readonly kind: 'opened' }
    | { readonly kind: 'closed'; readonly failure: Failure | undefined }
    | { readonly kind: 'failed'; readonly why: string };
  /** 32 hexadecimal digits, or nothing. */
  readonly traceId: string;
}

interface Place {
  readonly address: string;
  readonly port: number;
}

/** What is needed to understand an event. */
export interface Dictionaries {
  namesOf: NamesOf;
  readonly idsOf: IdsOf;
}

const part = (bytes: Uint8Array, { offset, size }: { offset: number; size: number }) =>
  bytes.subarray(offset, offset + size);

/** `struct flow_event`; the bytes may be changed afterwards. */
export function decodeEvent(bytes: Uint8Array, { namesOf, idsOf }: Dictionaries): KernelFlow {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pair = decodePair(part(bytes, AT.pair), namesOf);
  return {
    at: view.getBigUint64(AT.at.offset, true),
    pair: pair.pair,
    local: placeOf(bytes, view, AT.local_address, AT.local_port),
    remote: placeOf(bytes, view, AT.remote_address, AT.remote_port),
    what: whatOf(bytes, view, { ...idsOf, method: (id) => idsOf.method?.(id) ?? NO_METHOD }),
    traceId: traceIdOf(part(bytes, AT.trace)),
  };
}

/** A path that the kernel is just about to write. */
const NO_METHOD: RpcMethod = { service: 'unknown', method: 'unknown' };

const placeOf = (
  bytes: Uint8Array,
  view: DataView,
  address: { offset: number; size: number },
  port: { offset: number },
): Place => ({ address: addressText(part(bytes, address)), port: view.getUint16(port.offset, true) });

function whatOf(bytes: Uint8Array, view: DataView, idsOf: IdsOf): KernelFlow['what'] {
  const how = bytes[AT.how.offset]!;
  switch (bytes[AT.kind.offset]) {
    case KIND.FLOW_OPENED:
      return { kind: 'opened' };
    case KIND.FLOW_CLOSED:
      return { kind: 'closed', failure: failureName(how) };
    case KIND.FLOW_FAILED:
      return { kind: 'failed', why: CONNECT_FAILURES[how] ?? 'failed' };
  }
  const series = decodeSeries(part(bytes, AT.series), decodePair(part(bytes, AT.pair)), idsOf)!;
  const { method, url } = requestOf(bytes);
  return {
    kind: 'request',
    // The text knows methods that are not told apart.
    series: series.method === '_OTHER' && method !== '' ? { ...series, method } : series,
    url: url === '' ? urlOfCall(series) : url,
    latency: Number(view.getBigUint64(AT.duration.offset, true)),
  };
}

const CONNECT_FAILURES: readonly string[] = Object.entries(FAILED).reduce<string[]>(
  (names, [name, value]) => {
    names[value] = name.replace('FAILED_', '').toLowerCase();
    return names;
  },
  [],
);

/** Says in place of the rest that there was more. */
const CUT = '\u2026';
/** RFC 7541 appendix A. */
const STATIC_PATHS: Readonly<Record<number, string>> = { 4: '/', 5: '/index.html' };

/** What the text of an event says of its request. */
function requestOf(bytes: Uint8Array): { method: string; url: string } {
  const length = bytes[AT.text_bytes.offset]!;
  const coded = bytes.subarray(AT.text.offset, AT.text.offset + length);
  switch (bytes[AT.text_form.offset]) {
    case TEXT.TEXT_LINE: {
      const [line = ''] = latin1(coded).split(/[\r\n]/);
      const [method = '', target = '', version] = line.split(' ');
      return { method, url: version === undefined ? target + CUT : target };
    }
    case TEXT.TEXT_PATH:
      return { method: '', url: latin1(coded) };
    case TEXT.TEXT_HUFFMAN:
      return { method: '', url: decodeHuffman(coded) };
    case TEXT.TEXT_INDEX:
      return { method: '', url: STATIC_PATHS[length] ?? '' };
    default:
      return { method: '', url: '' };
  }
}

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');

/** The path of a gRPC call whose text is in the HPACK table alone. */
function urlOfCall({ rpc }: SeriesLabel): string {
  const known = rpc && rpc.service !== 'unknown' && rpc.service !== '_OTHER';
  return known ? `/${rpc.service}/${rpc.method}` : '';
}

function traceIdOf(bytes: Uint8Array): string {
  const text = latin1(bytes);
  // Of zeros alone: W3C Trace Context says that there is none.
  return /^[0-9a-f]{32}$/.test(text) && !/^0*$/.test(text) ? text : '';
}

/** What belongs to every flow of an agent. */
export interface FlowContext {
  readonly node: string;
  /** Nanoseconds from CLOCK_MONOTONIC to the epoch. */
  readonly offset: bigint;
}

/** The names of both ends; undefined where there is none, yet. */
export interface EndNames {
  readonly source: EndName | undefined;
  readonly destination: EndName | undefined;
}

/** A flow in Hubble's terms: of an exchange the answer, which says all of it. */
export function toFlow(event: KernelFlow, names: EndNames, { node, offset }: FlowContext): Flow {
  const { pair, local, remote, what, at } = event;
  const isClient = pair.role === 'client';
  const client = endOf(isClient ? local : remote, names.source, isClient ? pair.local : pair.remote);
  const server = endOf(isClient ? remote : local, names.destination, isClient ? pair.remote : pair.local);
  const base = {
    ...{ time: at + offset, uuid: randomUUID(), dropReason: '', node, nodeLabels: [], rest: {} },
    ...{ source: client, destination: server, reply: false },
    direction: isClient ? ('EGRESS' as const) : ('INGRESS' as const),
    ipVersion: local.address.includes(':') ? (6 as const) : (4 as const),
    ...{ encrypted: false, sourceXlated: '', transport: 'TCP' as const, policyMatch: 0, xlatePoint: '' },
    ...{ traceId: event.traceId, ipTraceId: '', interface: undefined },
  };
  if (what.kind === 'request') {
    const l7 = l7Of(what);
    return {
      ...base,
      ...{ type: 'L7', source: server, destination: client, reply: true, tcpFlags: [], l7 },
      verdict: what.series.failure === undefined ? 'FORWARDED' : 'ERROR',
      event: { type: EVENTS.l7, subType: 0 },
      summary: httpSummary(l7),
    };
  }
  const { flags, error } = segmentOf(what);
  return {
    ...base,
    ...{ type: 'L3_L4', tcpFlags: flags, l7: undefined },
    verdict: error === '' ? 'FORWARDED' : 'ERROR',
    event: { type: EVENTS.trace, subType: isClient ? FROM_ENDPOINT : TO_ENDPOINT },
    summary: error === '' ? `TCP Flags: ${flags.join(', ')}` : error,
  };
}

/** Places in TRACE_POINTS. */
const TO_ENDPOINT = 0;
const FROM_ENDPOINT = 5;

/** A connection's beginning and end, as the segments that tell of them. */
function segmentOf(what: Exclude<KernelFlow['what'], { kind: 'request' }>): {
  flags: readonly ('SYN' | 'FIN' | 'RST')[];
  error: string;
} {
  switch (what.kind) {
    case 'opened':
      return { flags: ['SYN'], error: '' };
    case 'failed':
      return { flags: ['SYN'], error: `TCP connect ${what.why}` };
    case 'closed':
      if (what.failure === 'reset') return { flags: ['RST'], error: '' };
      return { flags: ['FIN'], error: what.failure === 'timeout' ? 'TCP timed out' : '' };
  }
}

function l7Of({ series, url, latency }: Extract<KernelFlow['what'], { kind: 'request' }>): L7 {
  const { method, status, failure, version, rpc } = series;
  const trailer = rpc && [{ key: 'grpc-status', value: rpc.status ?? 'missing' }];
  return {
    ...{ type: 'RESPONSE', latency, dns: undefined, kafka: undefined },
    http: {
      ...{ method, url, protocol: `HTTP/${version}` },
      code: typeof status === 'number' ? status : 0,
      headers: [...(trailer ?? []), ...(failure === undefined ? [] : [{ key: ':failure', value: failure }])],
    },
  };
}

/** Hubble's numbers of those who are no workload, by what meshtap calls them. */
const RESERVED: Readonly<Record<string, number>> = { unknown: 0, host: 1, world: 2, node: 6 };

function endOf({ address, port }: Place, name: EndName | undefined, endpoint: Pair['local']): FlowEnd {
  const place = { ...NOBODY, address, port };
  if (!name) return place;
  const { service, namespace, workload, labels } = name;
  const reserved =
    namespace === '' && (workload === '' || workload === service) ? RESERVED[service] : undefined;
  const names = 'names' in endpoint ? endpoint.names : [];
  if (reserved !== undefined) {
    const label = reserved === 0 ? [] : [`reserved:${RESERVED_IDENTITIES[reserved]}`];
    return { ...place, identity: reserved, labels: label, names };
  }
  const { kind: workloadKind = '', ...others } = labels;
  const pod = labels.pod || workload;
  return {
    ...place,
    ...{ namespace, names, identity: numberOf(`${namespace}/${service}/${workload}`) },
    pod: namespace === '' ? '' : pod,
    service: { name: service, namespace },
    workloads: workload === '' ? [] : [{ name: workload, kind: workloadKind }],
    labels: [
      `meshtap:name=${service}`,
      ...Object.entries(others).map(([key, value]) => `k8s:${key}=${value}`),
    ],
  };
}

/** FNV-1a, into the numbers that Hubble gives to workloads. */
function numberOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return 256 + (hash % (65_536 - 256));
}
