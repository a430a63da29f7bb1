/** The panel about one edge. */
import type { WireBucket, WireDetails } from '../wire.js';
import { byId, element, setText, table } from './dom.js';
import { keyOf } from './filter.js';
import { clock, rate, share, time, whole } from './format.js';

export class Details {
  readonly #panel = byId('details');
  readonly #title = byId('details-title');
  readonly #body = byId('details-body');
  #openedFrom: HTMLElement | undefined;

  constructor(closed: () => void) {
    byId('close').addEventListener('click', closed);
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && !this.#panel.hidden) closed();
    });
  }

  /** Opens the panel and goes there. */
  open(key: string, from: HTMLElement | undefined): void {
    this.#openedFrom = from;
    setText(this.#title, key);
    this.#body.replaceChildren(element('p', {}, 'reading …'));
    this.#panel.hidden = false;
    document.querySelector('main')?.classList.add('with-details');
    this.#title.focus();
  }

  /** Goes back to where it was opened. */
  close(): void {
    this.#panel.hidden = true;
    document.querySelector('main')?.classList.remove('with-details');
    this.#openedFrom?.focus();
  }

  show(details: WireDetails): void {
    setText(this.#title, keyOf(details.edge));
    const { scrollTop } = this.#panel;
    this.#body.replaceChildren(...facts(details), outcomes(details), histogram(details), ...flows(details));
    this.#panel.scrollTop = scrollTop;
  }

  fail(reason: string): void {
    this.#body.replaceChildren(element('p', { className: 'failing' }, reason));
  }
}

const RECENT = 'Recent';
const TOTAL = 'Since the start';

function facts({ edge, seconds }: WireDetails): Node[] {
  const { rate: now, total } = edge;
  const over = seconds === null ? 'Rates follow in a moment.' : `Over the last ${Math.round(seconds)} s: `;
  const requests = now
    ? `${rate(now.requests)} requests/s, ${share(now.errors, now.requests)} errors, p50 ${time(edge.p50)}, p99 ${time(edge.p99)}; ${rate(now.connections)} connections/s, ${rate(now.bytes / 1000)} kB/s.`
    : '';
  return [
    element('p', {}, `${over}${requests}`),
    element(
      'p',
      { className: 'note' },
      `Port ${edge.ports.join(', ')}, ${edge.protocols.join(', ')}. Since counting began: ${whole(total.requests)} requests, ` +
        `${whole(total.errors)} errors, ${whole(total.connections)} connections, ${whole(edge.tls)} of them TLS, ` +
        `${whole(total.failedConnects)} failed connects, ${whole(total.lookups)} DNS lookups.`,
    ),
  ];
}

function outcomes({ outcomes }: WireDetails): Node {
  if (outcomes.length === 0) return element('p', {}, 'No requests: only connections are known here.');
  const columns = [{ title: 'Status' }, { title: RECENT, number: true }, { title: TOTAL, number: true }];
  const rows = outcomes.map(({ name, error, recent, total }) => [
    error ? `${name} (error)` : name,
    whole(recent),
    whole(total),
  ]);
  const made = table('Statuses, and why there was no answer', columns, rows);
  for (const [i, { error }] of outcomes.entries())
    if (error) made.tBodies[0]?.rows[i]?.cells[0]?.classList.add('failing');
  return made;
}

function histogram({ buckets }: WireDetails): Node {
  const used = buckets.map(({ total }) => total > 0);
  const [first, last] = [used.indexOf(true), used.lastIndexOf(true)];
  if (first < 0) return element('p', {}, 'No durations were measured.');
  const shown = buckets.slice(Math.max(0, first - 1), last + 2);
  const most = Math.max(1, ...shown.map(({ recent }) => recent));
  const bar = ({ recent }: WireBucket) => {
    const made = element('div');
    made.style.width = `${(100 * recent) / most}%`;
    return made;
  };
  const columns = [
    { title: 'Up to' },
    { title: 'Recent, as a bar' },
    { title: RECENT, number: true },
    { title: TOTAL, number: true },
  ];
  const rows = shown.map((bucket) => [
    bucket.bound === null ? 'longer' : time(bucket.bound),
    bar(bucket),
    whole(bucket.recent),
    whole(bucket.total),
  ]);
  const made = table('Latency: first byte of the request to last byte of the answer', columns, rows);
  made.className = 'bars';
  for (const row of made.tBodies[0]?.rows ?? []) row.cells[1]?.classList.add('bar');
  return made;
}

function flows({ flows }: WireDetails): Node[] {
  const title = element('h3', {}, 'Latest requests, one by one');
  if (flows === null)
    return [
      title,
      element('p', {}, 'There are none: what this agent counts from gave no single requests so far.'),
    ];
  if (flows.length === 0) return [title, element('p', {}, 'None is kept of these two.')];
  const columns = [
    { title: 'Time' },
    { title: 'What', wide: true },
    { title: 'Verdict' },
    { title: 'Took', number: true },
  ];
  const rows = flows.map(({ time: at, type, summary, verdict, latency }) => [
    clock(at),
    summary === '' ? type : summary,
    verdict,
    time(latency === null ? null : latency / 1000),
  ]);
  const made = table('The newest first', columns, rows);
  for (const [i, { error }] of flows.entries())
    if (error) made.tBodies[0]?.rows[i]?.cells[1]?.classList.add('failing');
  return [title, made];
}
