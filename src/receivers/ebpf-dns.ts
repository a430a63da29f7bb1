/**
 * DNS in the kernel's maps: its series, the queries that wait, the names of addresses.
 *
 * @module
 */
import { pushFreshName } from '../bpf/counting.js';
import { enums, structs } from '../bpf/generated/counts.js';
import type { BpfMap } from '../bpf/map.js';
import type { DnsCounts, Endpoint } from './counts.js';
import { histogramAt, type PairLabel } from './ebpf-decode.js';
import type { Row } from './ebpf-retire.js';

/** What a series of DNS says, besides its counts. */
export interface DnsLabel extends Pick<DnsCounts, 'pair' | 'type' | 'code' | 'addresses'> {
  /** Index of the pair. */
  readonly pairIndex: number;
}

const { dns_key, dns_value, dns_pending, dns_pending_key, dns_name, named, histogram } = structs;
const { DNS_ASKED } = enums.dns_outcome;
const { DNS_PATIENCE, NAME_GRACE } = enums.dns_bound;
/** In place of the second name: there are more (bpf-src/wire/counts.h). */
const MORE: ReadonlyMap<bigint, Named['more']> = new Map([
  [0xffff_ffff_ffff_ffffn, 'others'],
  [0xffff_ffff_ffff_fffen, 'siblings'],
]);
const SECOND = 1_000_000_000n;

/** What the kernel tells apart (`known_type` in bpf-src/protocols/dns-words.h), by number. */
const TYPES: Readonly<Record<number, string>> = {
  ...{ 1: 'A', 2: 'NS', 5: 'CNAME', 6: 'SOA', 12: 'PTR', 15: 'MX', 16: 'TXT', 28: 'AAAA', 33: 'SRV' },
  ...{ 35: 'NAPTR', 43: 'DS', 48: 'DNSKEY', 64: 'SVCB', 65: 'HTTPS', 255: 'ANY', 257: 'CAA' },
};

const RECORDS = Object.entries(enums.dns_record)
  .filter(([name]) => name !== 'DNS_RECORDS')
  .map(([name, place]) => [name === 'RECORD_OTHER' ? '_OTHER' : name.replace('RECORD_', ''), place] as const);

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const word = ({ offset }: { readonly offset: number }) => offset / 8;

/** Index of the pair in a `struct dns_key`. */
export const dnsPairIndexOf = (key: Uint8Array): number =>
  viewOf(key).getUint32(dns_key.fields.pair.offset, true);

/** `struct dns_key` of a pair that is known. */
export function decodeDns(key: Uint8Array, { pair }: PairLabel): DnsLabel {
  const { fields } = dns_key;
  const outcome = key[fields.outcome.offset]!;
  return {
    pairIndex: dnsPairIndexOf(key),
    pair,
    type: TYPES[viewOf(key).getUint16(fields.type.offset, true)] ?? '_OTHER',
    code: outcome === DNS_ASKED ? undefined : outcome,
    addresses: key[fields.addresses.offset]!,
  };
}

/** The series per role that takes what exceeds the budget. */
export const overflowDns = ({ pair }: PairLabel): DnsLabel => ({
  ...{ pairIndex: -1, pair, type: '_OTHER', code: undefined, addresses: 0 },
});

/** `struct dns_value` */
export function dnsCounts({ label, life, ending, words, at }: Row<DnsLabel>, boundaries: number): DnsCounts {
  const { pair, type, code, addresses, pairIndex } = label;
  const { queries, unanswered, record, duration } = dns_value.fields;
  const records = RECORDS.map(([name, place]) => [name, words[at + word(record) + place]!] as const);
  return {
    ...{ pair, life, ending, type, code, addresses },
    queries: words[at + word(queries)]!,
    unanswered: words[at + word(unanswered)]!,
    records: Object.fromEntries(records.filter(([, count]) => count > 0)),
    duration: histogramAt(words, at + word(duration), boundaries),
    overflow: pairIndex < 0,
  };
}

/** A number that changes with any query or answer of a series. */
export function dnsActivity(words: Float64Array, at: number): number {
  const { queries, unanswered, duration } = dns_value.fields;
  let total = words[at + word(queries)]! + words[at + word(unanswered)]!;
  const first = at + word(duration) + word(histogram.fields.bucket);
  for (let i = first; i < first + histogram.fields.bucket.size / 8; i++) total += words[i]!;
  return total;
}

/** Where queries that got no answer are counted. */
export interface DnsMaps {
  readonly pending: BpfMap;
  readonly pairs: BpfMap;
  readonly series: BpfMap;
  readonly values: BpfMap;
}

/**
 * Takes the queries out that nobody answered in time, and counts them in the stripe that is user space's. Of one that
 * is answered this very moment either the kernel takes it out or this does.
 */
export function giveUpQueries({ pending, pairs, series, values }: DnsMaps, stripes: number): void {
  const { count, keys, values: waiting } = pending.read();
  const now = process.hrtime.bigint(); // CLOCK_MONOTONIC, as the kernel's
  for (let i = 0; i < count; i++) {
    const key = keys.slice(i * pending.keySize, (i + 1) * pending.keySize);
    const value = waiting.slice(i * pending.valueSize, (i + 1) * pending.valueSize);
    const sentAt = viewOf(value).getBigUint64(dns_pending.fields.at.offset, true);
    if (now - sentAt < BigInt(DNS_PATIENCE) * SECOND || !pending.delete(key)) continue;
    const { offset, size } = dns_pending.fields.pair;
    const type = viewOf(key).getUint16(dns_pending_key.fields.type.offset, true);
    const index = indexOf(value.slice(offset, offset + size), type, pairs, series);
    const slot = new Uint32Array([index * (stripes + 1) + stripes]);
    const counts = new BigUint64Array(dns_value.size / 8);
    values.lookup(slot, counts);
    counts[word(dns_value.fields.unanswered)]!++;
    values.update(slot, counts);
  }
}

/** Index of what counts queries of a type; that of the overflow, if there was no room for it or is none any more. */
function indexOf(pair: Uint8Array, type: number, pairs: BpfMap, series: BpfMap): number {
  const index = new Uint32Array(1);
  const role = pair[structs.pair_key.fields.role.offset];
  const none = role === enums.role.ROLE_CLIENT ? enums.slot.OVERFLOW_CLIENT : enums.slot.OVERFLOW_SERVER;
  if (!pairs.lookup(pair, index)) return none;
  const key = new Uint8Array(dns_key.size);
  viewOf(key).setUint32(dns_key.fields.pair.offset, index[0]!, true);
  viewOf(key).setUint16(dns_key.fields.type.offset, type, true);
  key[dns_key.fields.outcome.offset] = DNS_ASKED;
  return series.lookup(key, index) ? index[0]! : none;
}

type Named = Extract<Endpoint, { kind: 'name' }>;

/** The names that stand for addresses. */
export class DnsNames {
  readonly #names: BpfMap;
  readonly #free: BpfMap;
  readonly #named: BpfMap;
  /** By id; empty where it is no name of a host. */
  #texts = new Map<bigint, string>();
  #keys = new Map<bigint, Uint8Array>();

  constructor(names: BpfMap, free: BpfMap, addresses: BpfMap) {
    this.#names = names;
    this.#free = free;
    this.#named = addresses;
  }

  /** Names that take room. */
  get used(): number {
    return this.#texts.size;
  }

  /** Reads the names anew. To be called after the pairs were read: a name is made before its pair. */
  read(): void {
    const { count, keys, values } = this.#names.read();
    const ids = new BigUint64Array(values.slice().buffer, 0, count);
    this.#keys = new Map(
      Array.from(ids, (id, i) => [id, keys.slice(i * dns_name.size, (i + 1) * dns_name.size)]),
    );
    this.#texts = new Map(
      [...this.#keys].map(([id, key]) => [id, this.#texts.get(id) ?? hostname(key) ?? '']),
    );
  }

  /** An end by the ids that a pair has of it. */
  of(name: bigint, other: bigint): Named | undefined {
    const more = MORE.get(other) ?? 'none';
    const ids = more !== 'none' || other === 0n ? [name] : [name, other];
    const names = ids.map((id) => this.#texts.get(id) || undefined);
    return names.every((text) => text !== undefined) ? { kind: 'name', names, more } : undefined;
  }

  /** Where room is getting scarce: forgets names that no address and none of these ends has any more. */
  retire(ends: readonly Endpoint[]): void {
    if (this.#keys.size * 2 < this.#names.maxEntries) return;
    const needed = new Set(ends.flatMap((end) => (end.kind === 'name' ? end.names : [])));
    const alive = this.#ofAddresses();
    for (const [id, key] of this.#keys) {
      if (alive.has(id) || needed.has(this.#texts.get(id)!)) continue;
      if (this.#names.delete(key)) pushFreshName(this.#free);
    }
  }

  /** Ids of names that still hold for some address. */
  #ofAddresses(): ReadonlySet<bigint> {
    const { count, values } = this.#named.read();
    const now = process.hrtime.bigint();
    const alive = new Set<bigint>();
    for (let i = 0; i < count; i++) {
      const value = viewOf(values.subarray(i * named.size, (i + 1) * named.size));
      const at = (field: { readonly offset: number }) => value.getBigUint64(field.offset, true);
      const { name, other, until, other_until } = named.fields;
      if (now < at(until) + BigInt(NAME_GRACE) * SECOND) alive.add(at(name));
      if (now < at(other_until)) alive.add(at(other));
    }
    return alive;
  }
}

/** Labels of a name on the wire as text; undefined if it is no name of a host (RFC 1123 2.1, and `_` as many have it). */
export function hostname(wire: Uint8Array): string | undefined {
  const labels: string[] = [];
  for (let at = 0; wire[at]; at += 1 + wire[at]!) {
    labels.push(Buffer.from(wire.subarray(at + 1, at + 1 + wire[at]!)).toString('latin1'));
  }
  const fits = labels.every((label) => /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?$/.test(label));
  return labels.length > 0 && fits ? labels.join('.') : undefined;
}
