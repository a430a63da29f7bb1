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
export type {
  Memory,
  Prefix,
  Receiver,
  ReceiverContext,
  ReceiverStatus,
  RunningReceiver,
} from './receiver.js';
