/**
 * Bytes of the kernel's maps into counts. All offsets come from the generated layouts.
 *
 * @module
 */
import ipaddr from 'ipaddr.js';
import { enums, structs } from '../bpf/generated/counts.js';
import type {
  Endpoint,
  Failure,
  HistogramCounts,
  HttpCounts,
  LedgerLine,
  Pair,
  Role,
  Rpc,
  TcpCounts,
} from './counts.js';
import type { RpcMethod } from './ebpf-methods.js';
import type { Row } from './ebpf-retire.js';

/** What a pair says, besides its counts. */
export interface PairLabel {
  readonly pair: Pair;
}

/** What a request series says, besides its counts. */
export interface SeriesLabel
  extends Pick<
    HttpCounts,
    'pair' | 'method' | 'status' | 'failure' | 'version' | 'scheme' | 'rpc' | 'route'
  > {
  /** Index of the pair. */
  readonly pairIndex: number;
}

const { pair_key, http_key, prefix_key, pair_value, http_value, histogram, ledger } = structs;
const { role: ROLE, peer_kind: PEER, ledger_entry: LEDGER, grpc_status: GRPC } = enums;

/** Of `struct http_key`, where nobody saw the status. */
const STATUS_UNKNOWN = 1;

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Says which names two ids of `struct named` stand for; undefined where that is not known any more. */
export type NamesOf = (name: bigint, other: bigint) => Extract<Endpoint, { kind: 'name' }> | undefined;

/** `struct pair_key` */
export function decodePair(key: Uint8Array, namesOf: NamesOf = () => undefined): PairLabel {
  const view = viewOf(key);
  const { fields } = pair_key;
  return {
    pair: {
      role: key[fields.role.offset] === ROLE.ROLE_CLIENT ? 'client' : 'server',
      local: { kind: 'cgroup', cgroup: view.getBigUint64(fields.cgroup.offset, true) },
      remote: decodePeer(view, key[fields.peer_kind.offset]!, namesOf),
      port: view.getUint16(fields.port.offset, true),
      overflow: false,
    },
  };
}

function decodePeer(view: DataView, kind: number, namesOf: NamesOf): Endpoint {
  const { offset, size } = pair_key.fields.peer;
  switch (kind) {
    case PEER.PEER_CGROUP:
      return { kind: 'cgroup', cgroup: view.getBigUint64(offset, true) };
    case PEER.PEER_PREFIX:
      return { kind: 'prefix', id: view.getUint32(offset, true) };
    case PEER.PEER_WORLD:
      return { kind: 'world' };
    case PEER.PEER_NAME:
      return (
        namesOf(view.getBigUint64(offset, true), view.getBigUint64(offset + 8, true)) ?? { kind: 'world' }
      );
    default:
      return {
        kind: 'address',
        address: addressText(new Uint8Array(view.buffer, view.byteOffset + offset, size)),
      };
  }
}

/** Sixteen bytes as text: RFC 5952, or dotted where they are an IPv4-mapped address. */
export function addressText(bytes: Uint8Array): string {
  const address = new ipaddr.IPv6([...bytes]);
  return address.isIPv4MappedAddress() ? address.toIPv4Address().toString() : address.toRFC5952String();
}

/** The pair per role that takes what exceeds the budget, at the index where the kernel counts it. */
export const OVERFLOW_PAIRS: readonly PairLabel[] = (['client', 'server'] as const).map((role) => ({
  pair: { role, local: { kind: 'world' }, remote: { kind: 'world' }, port: 0, overflow: true },
}));

const METHODS = Object.entries(enums.method).reduce<string[]>((names, [name, value]) => {
  names[value] =
    name === 'METHOD_OTHER' ? '_OTHER' : name === 'METHOD_UNKNOWN' ? 'unknown' : name.replace('METHOD_', '');
  return names;
}, []);

const FAILURES: readonly (Failure | undefined)[] = Object.entries(enums.failure).reduce<
  (Failure | undefined)[]
>((names, [name, value]) => {
  names[value] = value === 0 ? undefined : (name.replace('FAILURE_', '').toLowerCase() as Failure);
  return names;
}, []);

/** `enum failure` in words; undefined if there was none. */
export const failureName = (number: number): Failure | undefined => FAILURES[number];

const VERSIONS = Object.entries(enums.http_version).reduce<string[]>((names, [name, value]) => {
  names[value] = name.replace('HTTP_', '').replace('_', '.');
  return names;
}, []);

const RPC_STATUSES = Object.entries(enums.grpc_status).reduce<string[]>((names, [name, value]) => {
  names[value] = name.replace('GRPC_', '');
  return names;
}, []);

/** What the kernel says of a gRPC call; `methodOf` knows the path behind an id. Undefined if it does not, yet. */
function decodeRpc(
  status: number,
  id: number,
  methodOf: (id: number) => RpcMethod | undefined,
): Rpc | undefined {
  const method = methodOf(id);
  if (!method) return undefined;
  switch (status) {
    case GRPC.GRPC_LOST:
      return { ...method, status: 'unknown' };
    case GRPC.GRPC_MISSING:
      return { ...method, status: undefined };
    case GRPC.GRPC_OTHER:
      return { ...method, status: '_OTHER' };
    default:
      return { ...method, status: RPC_STATUSES[status] ?? '_OTHER' };
  }
}

/** Index of the pair in a `struct http_key`. */
export const pairIndexOf = (key: Uint8Array): number =>
  viewOf(key).getUint32(http_key.fields.pair.offset, true);

/** What ids in a `struct http_key` stand for. */
export interface IdsOf {
  /** @default nothing is known */
  readonly method?: (id: number) => RpcMethod | undefined;
  /** @default no route */
  readonly route?: (id: number) => string | undefined;
}

/** `struct http_key` of a pair that is known; undefined if its gRPC method is not, yet. */
export function decodeSeries(
  key: Uint8Array,
  { pair }: PairLabel,
  { method: methodOf = () => undefined, route: routeOf = () => undefined }: IdsOf = {},
): SeriesLabel | undefined {
  const view = viewOf(key);
  const { fields } = http_key;
  const status = view.getUint16(fields.status.offset, true);
  const grpc = key[fields.grpc_status.offset]!;
  const rpc =
    grpc === GRPC.GRPC_NONE
      ? undefined
      : decodeRpc(grpc, view.getUint16(fields.rpc_method.offset, true), methodOf);
  if (grpc !== GRPC.GRPC_NONE && !rpc) return undefined;
  return {
    pairIndex: pairIndexOf(key),
    pair,
    method: METHODS[key[fields.method.offset]!] ?? '_OTHER',
    status: status === 0 ? undefined : status === STATUS_UNKNOWN ? 'unknown' : status,
    failure: FAILURES[key[fields.failure.offset]!],
    version: VERSIONS[key[fields.version.offset]!] ?? '1.1',
    scheme: key[fields.tls.offset] === 0 ? 'http' : 'https',
    rpc,
    route: routeOf(view.getUint16(fields.route.offset, true)),
  };
}

/** The series per role that takes what exceeds the budget. */
export const overflowSeries = ({ pair }: PairLabel): SeriesLabel => ({
  pairIndex: -1,
  pair,
  method: '_OTHER',
  status: undefined,
  failure: undefined,
  version: '1.1',
  scheme: 'http',
  rpc: undefined,
  route: undefined,
});

const TWO_TO_32 = 2 ** 32;

/**
 * Adds the stripes of one value to the counters that begin at `at`: every value is an array of `size` 64-bit
 * counters. Numbers are exact up to 2^53. `values` are the raw entries of the array, those of an index side by side.
 */
export function addStripes(
  values: Uint32Array,
  { index, stripes, size }: { index: number; stripes: number; size: number },
  into: Float64Array,
  at = 0,
): void {
  let from = index * stripes * size * 2;
  for (let stripe = 0; stripe < stripes; stripe++) {
    for (let i = at; i < at + size; i++, from += 2) into[i]! += values[from]! + values[from + 1]! * TWO_TO_32;
  }
}

/** Offsets in 64-bit words. */
const word = ({ offset }: { readonly offset: number }) => offset / 8;
const PAIR_WORDS = pair_value.size / 8;
const SUM = word(histogram.fields.sum);
const BUCKETS = word(histogram.fields.bucket);
const NANOSECONDS = 1e9;

/** A histogram within a value, as far as there are boundaries. */
export function histogramAt(words: Float64Array, at: number, boundaries: number): HistogramCounts {
  const buckets = words.subarray(at + BUCKETS, at + BUCKETS + boundaries + 1);
  let count = 0;
  for (let i = 0; i < buckets.length; i++) count += buckets[i]!;
  return { sum: words[at + SUM]! / NANOSECONDS, count, buckets };
}

/** `struct pair_value` */
export function tcpCounts({ label, life, ending, words, at }: Row<PairLabel>, boundaries: number): TcpCounts {
  const { fields } = pair_value;
  const counter = (field: { readonly offset: number }) => words[at + word(field)]!;
  return {
    pair: label.pair,
    life,
    ending,
    opened: counter(fields.opened),
    closed: counter(fields.closed),
    reset: counter(fields.reset),
    timedOut: counter(fields.timed_out),
    refused: counter(fields.refused),
    unreachable: counter(fields.unreachable),
    cancelled: counter(fields.cancelled),
    bytesSent: counter(fields.bytes_sent),
    bytesReceived: counter(fields.bytes_received),
    retransmits: counter(fields.retransmits),
    tls: counter(fields.tls),
    tlsDecoded: counter(fields.tls_decoded),
    connect: histogramAt(words, at + word(fields.connect), boundaries),
    rtt: histogramAt(words, at + word(fields.rtt), boundaries),
  };
}

/** `struct http_value` */
export function httpCounts(
  { label, life, ending, words, at }: Row<SeriesLabel>,
  boundaries: number,
): HttpCounts {
  const { pair, method, status, failure, version, scheme, rpc, route } = label;
  return {
    pair,
    life,
    ending,
    method,
    status,
    failure,
    version,
    scheme,
    rpc,
    route,
    overflow: label.pairIndex < 0,
    duration: histogramAt(words, at + word(http_value.fields.duration), boundaries),
    firstByte: histogramAt(words, at + word(http_value.fields.first_byte), boundaries),
  };
}

/** Sums of nanoseconds, which say no more than their buckets whether something happened, and are less exact. */
const SUMS = new Set([word(pair_value.fields.connect) + SUM, word(pair_value.fields.rtt) + SUM]);

/** A number that changes with any count of a pair. */
export function pairActivity(words: Float64Array, at: number): number {
  let total = 0;
  for (let i = 0; i < PAIR_WORDS; i++) if (!SUMS.has(i)) total += words[at + i]!;
  return total;
}

/** A number that changes with any exchange of a series. */
export function seriesActivity(words: Float64Array, at: number): number {
  let total = 0;
  const first = at + word(http_value.fields.duration) + BUCKETS;
  for (let i = first; i < first + histogram.fields.bucket.size / 8; i++) total += words[i]!;
  return total;
}

const ROLES = Object.entries(ROLE).reduce<(Role | 'unknown')[]>((names, [name, value]) => {
  if (name !== 'ROLES') names[value] = name.replace('ROLE_', '').toLowerCase() as Role | 'unknown';
  return names;
}, []);

/** `LOST_SYNC` is of the subject `sync`; all others begin with theirs. */
function ledgerNames(entry: string): Pick<LedgerLine, 'subject' | 'outcome'> {
  if (entry === 'LOST_SYNC') return { subject: 'sync', outcome: 'lost' };
  const [subject, ...outcome] = entry.toLowerCase().split('_');
  return { subject: subject!, outcome: outcome.join('_') };
}

const LEDGER_NAMES = Object.entries(LEDGER)
  .filter(([name]) => !name.startsWith('LEDGER_'))
  .map(([name, value]) => ({ ...ledgerNames(name), place: value }));

export const LEDGER_WORDS: number = ledger.size / 8;

/** `struct ledger`: all lines of both sides, and of neither what was counted there. */
export function ledgerLines(words: Float64Array): LedgerLine[] {
  return ROLES.flatMap((role, row) =>
    LEDGER_NAMES.map(({ subject, outcome, place }) => ({
      role,
      subject,
      outcome,
      count: words[row * LEDGER.LEDGER_ROOM + place]!,
    })),
  ).filter(({ role, count }) => role !== 'unknown' || count > 0);
}

/**
 * `struct prefix_key`: an IPv4 prefix lies in ::ffff:0:0/96. Bits beyond the prefix are zero.
 *
 * @throws Error if the text is no prefix and no address.
 */
export function prefixKey(cidr: string): Uint8Array {
  const [address, length] = cidr.includes('/') ? ipaddr.parseCIDR(cidr) : [ipaddr.parse(cidr), undefined];
  const isIPv4 = address instanceof ipaddr.IPv4;
  const bits = (isIPv4 ? 96 : 0) + (length ?? (isIPv4 ? 32 : 128));
  const key = new Uint8Array(prefix_key.size);
  viewOf(key).setUint32(prefix_key.fields.bits.offset, bits, true);
  const bytes = (isIPv4 ? address.toIPv4MappedAddress() : address).toByteArray();
  for (const [i, byte] of bytes.entries()) {
    const kept = Math.min(8, Math.max(0, bits - i * 8));
    key[prefix_key.fields.address.offset + i] = byte & (0xff << (8 - kept));
  }
  return key;
}
