/** The same as the graph, as a table: for keyboards, for readers of the screen, and for whoever wants to sort. */
import type { WireEdge } from '../wire.js';
import { byId, element, setText } from './dom.js';
import { keyOf } from './filter.js';
import { name, rate, share, time } from './format.js';

interface Column {
  readonly title: string;
  readonly number?: boolean;
  /** What it is sorted by. */
  value(edge: WireEdge): string | number;
  text(edge: WireEdge): string;
}

const STATES = { failing: 'failing', errors: 'some errors', ok: 'ok', idle: 'idle' } as const;
const NONE = '–';
const words = (title: string, text: (edge: WireEdge) => string): Column => ({ title, text, value: text });
const number = (
  title: string,
  value: (edge: WireEdge) => number,
  text: (edge: WireEdge) => string,
): Column => ({
  ...{ title, number: true, value, text },
});
const ofRate = (edge: WireEdge, key: 'requests' | 'connections' | 'failedConnects' | 'lookups') =>
  edge.rate?.[key] ?? 0;
const rateText = (edge: WireEdge, key: Parameters<typeof ofRate>[1]) =>
  edge.rate ? rate(edge.rate[key]) : NONE;

const COLUMNS: readonly Column[] = [
  words('From', ({ source }) => name(source)),
  words('To', ({ destination }) => name(destination)),
  {
    title: 'State',
    value: ({ state }) => Object.keys(STATES).indexOf(state),
    text: ({ state }) => STATES[state],
  },
  number(
    'Requests/s',
    (edge) => ofRate(edge, 'requests'),
    (edge) => rateText(edge, 'requests'),
  ),
  number(
    'Errors',
    ({ rate }) => (rate && rate.requests > 0 ? rate.errors / rate.requests : 0),
    ({ rate }) => (rate ? share(rate.errors, rate.requests) : NONE),
  ),
  number(
    'p50',
    ({ p50 }) => p50 ?? -1,
    ({ p50 }) => time(p50),
  ),
  number(
    'p99',
    ({ p99 }) => p99 ?? -1,
    ({ p99 }) => time(p99),
  ),
  number(
    'Connections/s',
    (edge) => ofRate(edge, 'connections'),
    (edge) => rateText(edge, 'connections'),
  ),
  number(
    'Failed connects/s',
    (edge) => ofRate(edge, 'failedConnects'),
    (edge) => rateText(edge, 'failedConnects'),
  ),
  number(
    'Lookups/s',
    (edge) => ofRate(edge, 'lookups'),
    (edge) => rateText(edge, 'lookups'),
  ),
  words('Protocol', ({ protocols }) => protocols.join(', ')),
  words('TLS', tlsWords),
];

/** Rows that are made before somebody asks for all of them. */
const FIRST = 100;

export class EdgeTable {
  readonly #body = element('tbody');
  readonly #rows = new Map<string, HTMLTableRowElement>();
  readonly #headers: readonly HTMLTableCellElement[];
  readonly #more = byId<HTMLButtonElement>('more');
  readonly #choose: (key: string, from: HTMLElement) => void;
  #sorted = { column: 3, ascending: false };
  #limit = FIRST;
  #edges: readonly WireEdge[] = [];
  #chosen: string | undefined;

  constructor(choose: (key: string, from: HTMLElement) => void) {
    this.#choose = choose;
    this.#headers = COLUMNS.map(({ title, number = false }, i) => {
      const button = element('button', { type: 'button' }, title);
      button.addEventListener('click', () => this.#sortBy(i));
      return element('th', { scope: 'col', className: number ? 'number' : '' }, button);
    });
    byId('edges').append(element('thead', {}, element('tr', {}, ...this.#headers)), this.#body);
    this.#more.addEventListener('click', () => {
      this.#limit = Number.POSITIVE_INFINITY;
      this.show(this.#edges, this.#chosen);
    });
  }

  show(edges: readonly WireEdge[], chosen: string | undefined): void {
    this.#edges = edges;
    this.#chosen = chosen;
    const { column, ascending } = this.#sorted;
    const { value } = COLUMNS[column]!;
    const order = (a: WireEdge, b: WireEdge) => compare(value(a), value(b)) * (ascending ? 1 : -1);
    const shown = edges.toSorted((a, b) => order(a, b) || compare(keyOf(a), keyOf(b))).slice(0, this.#limit);
    const keys = new Set(shown.map(keyOf));
    for (const [key, row] of this.#rows)
      if (!keys.has(key)) {
        row.remove();
        this.#rows.delete(key);
      }
    for (const [i, edge] of shown.entries()) {
      const row = this.#row(edge);
      if (this.#body.children[i] !== row) this.#place(row, i);
    }
    for (const [i, header] of this.#headers.entries())
      header.ariaSort = i === column ? (ascending ? 'ascending' : 'descending') : null;
    this.#more.hidden = shown.length === edges.length;
    setText(this.#more, `Show all ${edges.length}`);
  }

  /** Who moves through the table by keyboard goes on from the same row, wherever it is now. */
  #place(row: HTMLTableRowElement, i: number): void {
    const focused = row.contains(document.activeElement)
      ? (document.activeElement as HTMLElement)
      : undefined;
    this.#body.insertBefore(row, this.#body.children[i] ?? null);
    focused?.focus({ preventScroll: true });
  }

  #row(edge: WireEdge): HTMLTableRowElement {
    const key = keyOf(edge);
    let row = this.#rows.get(key);
    if (!row) {
      row = this.#made(key);
      this.#rows.set(key, row);
    }
    const classes = key === this.#chosen ? `${edge.state} chosen` : edge.state;
    if (row.className !== classes) row.className = classes;
    for (const [i, { text }] of COLUMNS.entries()) {
      const cell = row.children[i] as HTMLElement;
      setText(i === 0 ? (cell.firstElementChild as HTMLElement) : cell, text(edge));
    }
    return row;
  }

  #made(key: string): HTMLTableRowElement {
    const button = element('button', { type: 'button', ariaLabel: `Details of ${key}` });
    button.addEventListener('click', () => this.#choose(key, button));
    const cells = COLUMNS.map(({ title, number = false }, i) => {
      const className = number ? 'number' : title === 'State' ? 'state' : '';
      return element('td', { className }, ...(i === 0 ? [button] : []));
    });
    return element('tr', {}, ...cells);
  }

  #sortBy(column: number): void {
    const same = this.#sorted.column === column;
    this.#sorted = { column, ascending: same ? !this.#sorted.ascending : !COLUMNS[column]!.number };
    this.show(this.#edges, this.#chosen);
  }
}

const compare = (a: string | number, b: string | number) => (a < b ? -1 : a > b ? 1 : 0);

function tlsWords({ tls, tlsDecoded, total }: WireEdge): string {
  if (tls === 0) return 'no';
  const some = tls < total.connections ? `${share(tls, total.connections)} of connections` : 'yes';
  return tlsDecoded > 0 ? `${some}, read inside` : some;
}
