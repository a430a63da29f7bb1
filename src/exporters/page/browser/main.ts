/** The page: asks the agent again and again, and hands what it says to the graph, the table and the panel. */
import type { WireDetails, WireEdge, WireMap } from '../wire.js';
import { Details } from './details.js';
import { byId, setText } from './dom.js';
import { EdgeTable } from './edge-table.js';
import { Filter, keyOf } from './filter.js';
import { clock, whole } from './format.js';
import { Graph } from './graph.js';

/** Milliseconds between two questions. */
const REFRESH = 2_000;

const pause = byId<HTMLButtonElement>('pause');
const filter = new Filter(show);
const table = new EdgeTable(choose);
const graph = new Graph({
  edge: (key) => choose(key),
  service(name) {
    filter.search = name;
    show();
  },
});
const details = new Details(() => {
  chosen = undefined;
  show();
  details.close();
});

let latest: WireMap | undefined;
let chosen: string | undefined;
let paused = false;
let failure = '';

/** What was told last, through the filter. */
function show(): void {
  if (!latest) return;
  const fitting = latest.edges.filter((edge) => filter.fits(edge));
  graph.show(fitting, chosen);
  table.show(fitting, chosen);
  const services = new Set(
    fitting.flatMap(({ source, destination }) => [JSON.stringify(source), JSON.stringify(destination)]),
  );
  const failing = fitting.filter(({ state }) => state === 'failing').length;
  const counts = `${services.size} services, ${fitting.length} of ${latest.edges.length} edges, ${failing} failing`;
  // Only what changes rarely: this is read aloud.
  setText(
    byId('status'),
    `${paused ? 'Paused. ' : ''}${counts}.${failure && ` Not up to date: ${failure}.`}`,
  );
  setText(byId('facts'), factsOf(latest));
}

function factsOf({ host, version, at, seconds, startedAt, nameless }: WireMap): string {
  const rates =
    seconds === null ? 'rates follow in a moment' : `rates over the last ${Math.round(seconds)} s`;
  const beyond =
    nameless > 0 ? ` ${whole(nameless)} requests are beyond the limits or without names, and not shown.` : '';
  return `${host}, ${clock(at)}, ${rates}; counting since ${new Date(startedAt).toLocaleString('en')}. meshtap ${version}.${beyond}`;
}

async function ask<T>(path: string): Promise<T> {
  const response = await fetch(path);
  if (!response.ok) throw new Error((await response.text()).trim() || String(response.status));
  return (await response.json()) as T;
}

async function update(): Promise<void> {
  try {
    latest = await ask<WireMap>('map.json');
    failure = '';
    filter.offer(latest.edges);
  } catch (error) {
    failure = error instanceof Error ? error.message : String(error);
    setText(byId('status'), `Not up to date: ${failure}.`);
  }
  show();
  const edge = latest?.edges.find((one) => keyOf(one) === chosen);
  if (edge) await describe(edge);
}

async function describe(edge: WireEdge): Promise<void> {
  const { source, destination } = edge;
  const query = new URLSearchParams({
    source: source.service,
    sourceNamespace: source.namespace,
    destination: destination.service,
    destinationNamespace: destination.namespace,
  });
  try {
    const told = await ask<WireDetails>(`edge.json?${query}`);
    // Somebody may have chosen another one meanwhile.
    if (chosen === keyOf(edge)) details.show(told);
  } catch (error) {
    if (chosen === keyOf(edge)) details.fail(String(error));
  }
}

function choose(key: string, from?: HTMLElement): void {
  const edge = latest?.edges.find((one) => keyOf(one) === key);
  if (!edge) return;
  chosen = key;
  show();
  details.open(key, from);
  void describe(edge);
}

pause.addEventListener('click', () => {
  paused = !paused;
  pause.ariaPressed = String(paused);
  show();
});

for (;;) {
  // Nobody looks at a page that is hidden, so nothing is read for it.
  if (!paused && !document.hidden) await update();
  await new Promise((resolve) => setTimeout(resolve, REFRESH));
}
