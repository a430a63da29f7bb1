/**
 * What meshtap asks of a kernel, and what is lost without it. `since` is the mainline release; distributions carry
 * some of it back, so nothing is ever concluded from a version: each row is tried.
 *
 * @module
 */
import { MAP_TYPE } from './map.js';
import type { Probed } from './probe.js';
import * as probe from './probe.js';

export interface Feature {
  readonly name: string;
  /** First mainline release. */
  readonly since: string;
  /** The upstream commit that brought it. */
  readonly commit?: string;
  /** Without it meshtap does not start. */
  readonly required: boolean;
  /** What is lost without it. */
  readonly without: string;
  /** Tries it. Needs the privileges of the agent, and libbpf. */
  readonly probe: () => Probed;
}

/** A row of the table with this kernel's answer. */
export interface FeatureReport extends Omit<Feature, 'probe'>, Probed {}

/** Numbers of helpers: `enum bpf_func_id` of linux/bpf.h. */
const HELPER = {
  get_current_cgroup_id: 80,
  sk_lookup_tcp: 84,
  spin_lock: 93,
  tcp_sock: 96,
  sk_storage_get: 107,
  get_netns_cookie: 122,
  sk_cgroup_id: 128,
  loop: 181,
} as const;
const RINGBUF = 27;
/** BPF_F_NO_PREALLOC, which a trie must have. */
const NO_PREALLOC = 1;

const required = (
  name: string,
  since: string,
  commit: string,
  without: string,
  probe: () => Probed,
): Feature => ({ name, since, commit, required: true, without, probe });

const optional = (
  name: string,
  since: string,
  commit: string | undefined,
  without: string,
  probe: () => Probed,
): Feature => ({ name, since, ...(commit && { commit }), required: false, without, probe });

/** Hooks, helpers, maps and calls: first what meshtap can not do without, then what only adds to it. */
export const FEATURES: readonly Feature[] = [
  required('cgroup_skb programs', '4.10', '0e33661de493', 'no packet is seen', () =>
    probe.canLoad(probe.SKB),
  ),
  required('sock_ops programs', '4.13', '40304b2a1567', 'no connection is seen to open or fail', () =>
    probe.canLoad(probe.SOCK_OPS),
  ),
  required('sock_release programs', '5.9', 'f5836749c9c0', 'the end of a connection is not seen', () =>
    probe.canLoad(probe.RELEASE),
  ),
  required('bpf_link to a cgroup', '5.7', 'af6eea57437a', 'programs can not outlive the agent', () =>
    probe.canLink(probe.SKB),
  ),
  required('bpf_link update', '5.7', '0c991ebc8c69', 'an upgrade would miss packets', probe.canUpdateLink),
  required('socket storage in cgroup_skb', '5.2', '6ac99e8f23d4', 'no state per connection', () =>
    probe.canCall(probe.SKB, HELPER.sk_storage_get),
  ),
  required('bpf_sk_cgroup_id in cgroup_skb', '5.8', 'f307fa2cb4c9', 'the local service is not known', () =>
    probe.canCall(probe.SKB, HELPER.sk_cgroup_id),
  ),
  required('bpf_tcp_sock in cgroup_skb', '5.1', '655a51e536c0', 'no round-trip times, no retransmits', () =>
    probe.canCall(probe.SKB, HELPER.tcp_sock),
  ),
  required(
    'bpf_sk_lookup_tcp in cgroup_skb',
    '4.20',
    '6acc9b432e67',
    'both ends on one machine are not matched',
    () => probe.canCall(probe.SKB, HELPER.sk_lookup_tcp),
  ),
  required('bpf_spin_lock', '5.1', 'd83525ca62cf', 'two CPUs on one connection would mix their counts', () =>
    probe.canCall(probe.SKB, HELPER.spin_lock),
  ),
  required('queue map', '4.20', 'f1a2e44a3aec', 'series can not be handed out and taken back', () =>
    probe.hasMap(MAP_TYPE.QUEUE, { key: 0 }),
  ),
  required('LPM trie map', '4.11', 'b95a5c4db09b', 'prefixes can not be folded to one name', () =>
    probe.hasMap(MAP_TYPE.LPM_TRIE, { key: 8, flags: NO_PREALLOC }),
  ),
  required('LRU hash map', '4.10', '29ba732acbee', 'segments out of order can not be kept', () =>
    probe.hasMap(MAP_TYPE.LRU_HASH),
  ),
  required(
    'batch reads of maps',
    '5.6',
    'cb4d03ab499d',
    'a sweep over all series takes ten times as long',
    () => probe.canReadInBatches(MAP_TYPE.HASH),
  ),
  required('bounded loops', '5.3', '2589726d12a1', 'heads of messages can not be read', probe.canLoop),
  required('global functions', '5.6', '51c39bb1d5d1', 'the programs exceed what the verifier follows', () =>
    probe.hasGlobalFunctions(),
  ),
  optional('ring buffer', '5.8', '457f44363a88', 'no live view of single requests', () =>
    probe.hasMap(RINGBUF, { key: 0, value: 0, entries: 65536 }),
  ),
  optional('uprobes', '4.3', '04a22fae4cbc', 'nothing inside TLS is seen', () => probe.hasProbes('uprobe')),
  optional('kprobes', '4.1', '2541517c32be', 'no reasons for drops on kernels without their tracepoint', () =>
    probe.hasProbes('kprobe'),
  ),
  optional(
    'kernel BTF',
    '5.4',
    '341dfcf8d78e',
    'nothing inside TLS is seen; no tracing programs',
    probe.hasKernelBtf,
  ),
  optional('tp_btf programs', '5.5', '9e15db66136a', 'no drops, no process names', () =>
    probe.canTrace(probe.ATTACH.TRACE_RAW_TP, 'inet_sock_set_state'),
  ),
  optional('fentry programs', '5.5', 'fec56f5890d9', 'nothing yet; kprobes do the same, slower', () =>
    probe.canTrace(probe.ATTACH.TRACE_FENTRY, 'tcp_close'),
  ),
  optional('atomics that return a value', '5.12', '5ca419f2864a', 'nothing; the programs do without', () =>
    probe.canFetch(),
  ),
  optional('bpf_loop', '5.17', 'e6f2dd0f8067', 'nothing; bounded loops are used', () =>
    probe.canCall(probe.SKB, HELPER.loop),
  ),
  optional(
    'bpf_get_current_cgroup_id in cgroup_skb',
    '6.4',
    undefined,
    'nothing; the socket’s own cgroup is used',
    () => probe.canCall(probe.SKB, HELPER.get_current_cgroup_id),
  ),
  optional(
    'bpf_get_netns_cookie in cgroup_skb',
    '6.16',
    undefined,
    'overlapping addresses in network namespaces of one machine are told apart by cgroup only',
    () => probe.canCall(probe.SKB, HELPER.get_netns_cookie),
  ),
];

/** Tries every row on this kernel; takes some 100 ms. */
export function probeFeatures(features: readonly Feature[] = FEATURES): FeatureReport[] {
  return features.map(({ probe, ...feature }) => ({ ...feature, ...probe() }));
}

/** What the article's list of kernels comes to: its own words, what that release brought, what meshtap makes of it. */
export const MILESTONES: readonly { kernel: string; article: string; brings: string }[] = [
  {
    kernel: '4.19',
    article: 'basic eBPF socket hooks',
    brings: 'cgroup_skb, sock_ops and connect hooks; no socket storage, no links: meshtap does not run',
  },
  {
    kernel: '5.2',
    article: 'policy for connected sockets',
    brings: 'socket storage, spin locks, global data; no links to cgroups: meshtap does not run',
  },
  {
    kernel: '5.7',
    article: 'BTF for portable programs',
    brings:
      'bpf_link to cgroups, batch reads, global functions; no cgroup id of a socket: meshtap does not run',
  },
  {
    kernel: '5.10',
    article: 'stable socket local storage, recommended minimum',
    brings: 'everything that meshtap requires, and the ring buffer',
  },
];
