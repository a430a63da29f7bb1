/**
 * A mesh made up: so many services in namespaces, so many pairs that talk, with counts that grow each time they are
 * asked for.
 *
 * @module
 */
import { FlowHub } from '../../src/flows/hub.js';
import { resolve, type Snapshot } from '../../src/metrics/model.js';
import type { HttpCounts, Pair, TcpCounts } from '../../src/receivers/counts.js';
import { counts, histogram, http, identifyNamed, named, pair, tcp } from './counts.js';

export interface MeshOptions {
  services: number;
  edges: number;
  namespaces: number;
}

/** What an agent is to a page. */
export class Mesh {
  readonly flows = new FlowHub();
  readonly #pairs: readonly Pair[];
  #asked = 0;

  /** Each service is called by the ones before it; every tenth edge fails. */
  constructor({ services, edges, namespaces }: MeshOptions) {
    const all = Array.from({ length: services }, (_, i) =>
      named(`service-${i}`, `team-${i % namespaces}`, `service-${i}`),
    );
    const pairs = new Map<string, Pair>();
    for (let i = 0; pairs.size < edges; i++) {
      const to = 1 + ((i * 7919) % (services - 1));
      const from = (i * 104_729 + Math.floor(i / services)) % to;
      const key = `${from} ${to}`;
      if (!pairs.has(key)) pairs.set(key, pair('server', all[to]!, all[from]!, 8080));
    }
    this.#pairs = [...pairs.values()];
  }

  async snapshot(): Promise<Snapshot> {
    const turn = ++this.#asked;
    const requests = this.#pairs.flatMap((pair, i): HttpCounts[] => {
      const ok = turn * (1 + (i % 50));
      const served = http(pair, { duration: repeated([0.001 * (1 + (i % 9)), 0.2], ok) });
      return i % 10 > 0 ? [served] : [served, http(pair, { status: 503, duration: repeated([0.05], turn) })];
    });
    const connections = this.#pairs.map(
      (pair): TcpCounts => tcp(pair, { opened: turn, bytesSent: 1000 * turn }),
    );
    return resolve(counts({ http: requests, tcp: connections }), identifyNamed());
  }
}

/** The same observations so many times. */
function repeated(observations: readonly number[], times: number) {
  const { buckets, sum, count } = histogram(observations);
  return { buckets: buckets.map((n) => n * times), sum: sum * times, count: count * times };
}
