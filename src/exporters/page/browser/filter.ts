/** Which edges are shown. */
import type { WireEdge } from '../wire.js';
import { byId, element } from './dom.js';
import { name } from './format.js';

/** What an edge is called, and found by. */
export const keyOf = ({ source, destination }: Pick<WireEdge, 'source' | 'destination'>): string =>
  `${name(source)} → ${name(destination)}`;

/** The fields above the map. */
export class Filter {
  readonly #search = byId<HTMLInputElement>('search');
  readonly #namespace = byId<HTMLSelectElement>('namespace');
  readonly #protocol = byId<HTMLSelectElement>('protocol');
  readonly #state = byId<HTMLSelectElement>('state');

  constructor(changed: () => void) {
    byId('filters').addEventListener('input', changed);
    byId('filters').addEventListener('submit', (event) => event.preventDefault());
  }

  /** Shows who calls this service and whom it calls. */
  set search(text: string) {
    this.#search.value = text;
  }

  /** Of those that are there, what can be chosen. */
  offer(edges: readonly WireEdge[]): void {
    const namespaces = edges.flatMap(({ source, destination }) => [source.namespace, destination.namespace]);
    choices(this.#namespace, namespaces);
    choices(
      this.#protocol,
      edges.flatMap(({ protocols, tls }) => [...protocols, ...(tls > 0 ? ['TLS'] : [])]),
    );
  }

  /** Every word has to be in a name of either end. */
  fits(edge: WireEdge): boolean {
    const ends = [edge.source, edge.destination];
    const text = keyOf(edge).toLowerCase();
    const words = this.#search.value.toLowerCase().split(/\s+/);
    const namespace = this.#namespace.value;
    const protocol = this.#protocol.value;
    const state = this.#state.value;
    return (
      words.every((word) => text.includes(word)) &&
      (namespace === '' || ends.some((end) => end.namespace === namespace)) &&
      (protocol === '' || edge.protocols.includes(protocol) || (protocol === 'TLS' && edge.tls > 0)) &&
      (state === '' || (state === 'active' ? edge.state !== 'idle' : edge.state === 'failing'))
    );
  }
}

/** Adds what is new, and leaves alone what somebody is choosing from. */
function choices(select: HTMLSelectElement, values: readonly string[]): void {
  const known = new Set(Array.from(select.options, ({ value }) => value));
  for (const value of [...new Set(values)].sort())
    if (!known.has(value)) select.append(element('option', { value }, value));
}
