/**
 * Where counts come from: `meshtap/receivers`.
 *
 * @module
 */
export type {
  Counts,
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
export type { Prefix, Receiver, ReceiverContext, ReceiverStatus, RunningReceiver } from './receiver.js';
