/**
 * Where counts come from: `meshtap/receivers`.
 *
 * @module
 */
export type {
  Counted,
  Counts,
  Ending,
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
export { type EbpfOptions, ebpf } from './ebpf.js';
export { type HubbleOptions, type HubbleTls, hubble } from './hubble.js';
export type {
  Memory,
  Prefix,
  Receiver,
  ReceiverContext,
  ReceiverStatus,
  RunningReceiver,
} from './receiver.js';
export { type ReplayOptions, replay } from './replay.js';
