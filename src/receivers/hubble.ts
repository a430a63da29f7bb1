import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { explain, MeshtapError } from '../errors.js';
import type { FlowEvent } from '../flows/flow.js';
import { protobufTime } from '../flows/json.js';
import type { ClientTls, GetFlows } from '../flows/observer-client.js';
import { EVENTS } from '../flows/words.js';
import type { FlowLimits } from './flow-counts.js';
import { Overlap } from './flow-overlap.js';
import { FlowReceiver } from './flow-receiver.js';
import type { Receiver } from './receiver.js';

export interface HubbleOptions {
  /** A hubble-relay, or the Hubble of one node: `HOST:PORT`, `unix:PATH`. */
  server: string;
  /** Files in PEM. @default no TLS */
  tls?: HubbleTls | undefined;
  /** @default 2048 pairs, 8192 series */
  limits?: Partial<FlowLimits>;
  /** Longest pause between attempts to connect, milliseconds. @default 30000 */
  retry?: number;
}

export interface HubbleTls {
  /** Whom to trust. @default the system's authorities */
  caFile?: string | undefined;
  /** Our certificate, and its key. @default none */
  certFile?: string | undefined;
  keyFile?: string | undefined;
  /** The name in the server's certificate. @default the host of the address */
  serverName?: string | undefined;
}

/**
 * Follows the flows of a cluster that has Cilium, and counts them. A server that goes away is asked again, from where it
 * stopped; what it has forgotten by then nobody knows, and `lost` has only what servers say they lost.
 *
 * Starting rejects with FLOWS_FAILED if a file can not be read. A server that does not answer is no error: it is asked
 * until it does.
 */
export function hubble({ server, tls, limits, retry = 30_000 }: HubbleOptions): Receiver {
  return {
    name: 'hubble',
    async start(context) {
      context.signal.throwIfAborted();
      const keys = tls && read(tls);
      // gRPC is large: it is loaded only where it is asked for.
      const { getFlows } = await import('../flows/observer-client.js');
      let trouble: string | undefined = 'not connected yet';
      let reconnects = 0;
      return new FlowReceiver({
        context,
        limits,
        trouble: () => trouble,
        detail: () => ({ server, reconnects }),
        async read(to, signal) {
          const overlap = new Overlap();
          const since = BigInt(Date.now()) * 1_000_000n;
          let pause = FIRST_PAUSE;
          while (!signal.aborted) {
            const connected = () => {
              if (trouble !== undefined) context.log.info({ server }, 'following flows');
              trouble = undefined;
            };
            const add = (event: FlowEvent) => {
              pause = FIRST_PAUSE;
              if (!overlap.isKnown(event)) to.add(event);
            };
            const from = overlap.resume() ?? since;
            trouble = await follow(getFlows, { server, tls: keys, from, add, signal, connected });
            if (signal.aborted) break;
            context.log.warn({ server, reason: trouble }, 'no flows; trying again');
            await setTimeout(pause * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
            pause = Math.min(retry, pause * 2);
            reconnects++;
          }
        },
      });
    },
  };
}

const FIRST_PAUSE = 250;

/** What can be counted, and what was dropped. Segments that were forwarded are the most by far, and tell neither. */
const WANTED = [{ event_type: [{ type: EVENTS.l7 }, { type: EVENTS.drop }] }];

interface Following {
  server: string;
  tls: ClientTls | undefined;
  /** Nothing older is asked for, nanoseconds since the epoch. */
  from: bigint;
  add(event: FlowEvent): void;
  signal: AbortSignal;
  connected(): void;
}

/** One connection, to its end; why it ended. */
async function follow(
  getFlows: GetFlows,
  { server, tls, from, add, signal, connected }: Following,
): Promise<string> {
  try {
    const events = getFlows({
      address: server,
      tls,
      signal,
      onConnected: connected,
      request: { follow: true, since: protobufTime(from), number: '0', whitelist: WANTED },
    });
    for await (const event of events) add(event);
    return `${server} ended the stream`;
  } catch (error) {
    return explain(error);
  }
}

function read({ caFile, certFile, keyFile, serverName }: HubbleTls): ClientTls {
  const bytes = (file: string | undefined) => {
    if (file === undefined) return undefined;
    try {
      return readFileSync(file);
    } catch (cause) {
      throw new MeshtapError('FLOWS_FAILED', `${file}: can not be read`, { cause });
    }
  };
  return { ca: bytes(caFile), cert: bytes(certFile), key: bytes(keyFile), serverName };
}
