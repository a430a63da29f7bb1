/**
 * What a receiver counts: one sweep over everything it knows, cumulative since `startedAt`. Ends are still raw
 * (a cgroup id, an address); `src/identity` gives them names.
 *
 * @module
 */

/** Which side of the connection was watched. */
export type Role = 'client' | 'server';

/** One end of a connection as the receiver saw it. */
export type Endpoint =
  | { readonly kind: 'cgroup'; readonly cgroup: bigint }
  | { readonly kind: 'address'; readonly address: string }
  /** The id that a prefix of the identity table was given. */
  | { readonly kind: 'prefix'; readonly id: number }
  /** A public address that has no name of its own. */
  | { readonly kind: 'world' }
  /**
   * A public address, by the DNS names for which the other end was told it, in lower case: the one it asked for last,
   * and, if another one was still alive when it connected, that one too.
   */
  | {
      readonly kind: 'name';
      readonly names: readonly string[];
      /** Whether there were more than these, and if so, all below the same domain as the first, or others too. */
      readonly more: 'none' | 'siblings' | 'others';
    }
  /** A receiver that is told names, not addresses (hubble, replay). */
  | {
      readonly kind: 'named';
      readonly service: string;
      readonly namespace?: string;
      readonly workload?: string;
      /** Whether this end reports as well what passes here. @default false */
      readonly watched?: boolean;
    };

/** A local service, a remote end and a server port, seen from one side. The object is the same one in every sweep. */
export interface Pair {
  readonly role: Role;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** Port of the server, whichever end that is. */
  readonly port: number;
  /** True for the one pair per role that takes what exceeds the budget; its ends say nothing. */
  readonly overflow: boolean;
}

/** Counts per bucket, not cumulative; one more than there are boundaries. */
export interface HistogramCounts {
  /** Sum of all observations, seconds. */
  readonly sum: number;
  readonly count: number;
  readonly buckets: Float64Array;
}

/**
 * What every row has. A row is one life of a series in the receiver: its counts begin at 0 and only grow. It is in
 * every sweep until it is released; what comes back then is another life.
 */
export interface Counted {
  readonly pair: Pair;
  /** The same object in every sweep, and of no other life. Absent where it lasts as long as the pair does. */
  readonly life?: object;
  /** Present once the life is about to end. */
  readonly ending?: Ending | undefined;
}

export interface Ending {
  /** No other life has or had this name, not even of another process. */
  readonly token: string;
  /** Nothing will be added. The row waits for its release. */
  readonly final: boolean;
}

export interface TcpCounts extends Counted {
  /** Connections established. */
  readonly opened: number;
  /** Connections that ended in order. */
  readonly closed: number;
  readonly reset: number;
  readonly timedOut: number;
  /** Connects answered by a reset. */
  readonly refused: number;
  /** Connects that timed out or that the network refused. */
  readonly unreachable: number;
  /** Connects the application gave up. */
  readonly cancelled: number;
  /** Payload bytes, without retransmissions. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Segments sent again. */
  readonly retransmits: number;
  /** Connections found to carry TLS, whether or not what is inside is read. */
  readonly tls: number;
  /** ... of which the inside is read. */
  readonly tlsDecoded: number;
  /** From SYN to established; client side only. */
  readonly connect: HistogramCounts;
  /** Smoothed round-trip time, sampled at most once a second per connection, and at its end. */
  readonly rtt: HistogramCounts;
}

/**
 * Why there is no answer, or no complete one. `goaway`: an HTTP/2 server said that it will not answer on this
 * connection. `stream_cancel` and the like: RST_STREAM, from either side, with this error code (RFC 9113 7).
 */
export type Failure = 'reset' | 'closed' | 'timeout' | 'goaway' | `stream_${string}`;

/** What a gRPC call was, and what it came to. */
export interface Rpc {
  /** `package.Service`; `_OTHER` beyond the budget, `unknown` where nobody saw it. */
  readonly service: string;
  /** Name of the method, or as above. */
  readonly method: string;
  /**
   * Name of the status code, such as `OK`, or `_OTHER`; `unknown` where nobody saw it, and then perhaps this is no
   * gRPC at all. Absent where the answer has none, or there is no answer.
   */
  readonly status: string | undefined;
}

export interface HttpCounts extends Counted {
  /** A method of the semantic conventions' list, `_OTHER`, or `unknown`. */
  readonly method: string;
  /** Absent where no answer came. `unknown`: the connection was joined midway, and nobody saw what the status was. */
  readonly status: number | 'unknown' | undefined;
  /** Why there is no answer, or no complete one. */
  readonly failure: Failure | undefined;
  /** `1.0`, `1.1`, `2`. */
  readonly version: string;
  /** Absent where it is no gRPC call. */
  readonly rpc: Rpc | undefined;
  readonly scheme: 'http' | 'https';
  readonly route: string | undefined;
  /** True for the one series per role that takes what exceeds the budget; its labels say nothing. */
  readonly overflow: boolean;
  /** First byte of the request to last byte of the answer. */
  readonly duration: HistogramCounts;
  /** Exchanges that nobody measured, besides those in `duration`. Absent for a receiver that measures all. */
  readonly untimed?: number;
  /** First byte of the request to first byte of the answer. */
  readonly firstByte: HistogramCounts;
}

/** How long a DNS query is waited for, seconds. */
export const DNS_PATIENCE = 10;

/** DNS: one kind of query between two ends, or one kind of answer to them. */
export interface DnsCounts extends Counted {
  /** `A`, `AAAA` and the like; `_OTHER` where it is none of those that are told apart. */
  readonly type: string;
  /** RCODE of the answer, 0 to 15; absent for the row that counts what was asked. */
  readonly code: number | undefined;
  /** Addresses in the answer; 16 for that many or more. */
  readonly addresses: number;
  /** Queries begun; one that is sent again is the same. 0 where there is a code. */
  readonly queries: number;
  /** Those of them that got no answer within `DNS_PATIENCE`. */
  readonly unanswered: number;
  /** Records in the answers by their type, the others as `_OTHER`; only those that there were. */
  readonly records: Readonly<Record<string, number>>;
  /** From the first time it was asked to the answer. */
  readonly duration: HistogramCounts;
  /** True for the one row per role that takes what exceeds the budget; its labels say nothing, and it has queries and answers. */
  readonly overflow: boolean;
}

/** One line of the ledger: how many of what, seen from which side. */
export interface LedgerLine {
  readonly role: Role | 'unknown';
  /** `requests`, `responses`, `connections`, `segments`, `queries`, `answers`, `series`, `pairs`, ... */
  readonly subject: string;
  /** `seen`, `answered`, `failed`, `desynchronised`, ... */
  readonly outcome: string;
  readonly count: number;
}

export interface Counts {
  /** When counting began, milliseconds since the epoch. Survives a restart of the agent. */
  readonly startedAt: number;
  /** When this sweep was read, milliseconds since the epoch. */
  readonly at: number;
  /** Upper bounds of the buckets, seconds, ascending, inclusive; without +Inf. */
  readonly boundaries: readonly number[];
  readonly tcp: readonly TcpCounts[];
  readonly http: readonly HttpCounts[];
  readonly dns: readonly DnsCounts[];
  readonly ledger: readonly LedgerLine[];
  /** Entries used of each budget. */
  readonly budgets: readonly { readonly name: string; readonly used: number; readonly limit: number }[];
}
