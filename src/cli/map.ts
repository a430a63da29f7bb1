import { setTimeout as sleep } from 'node:timers/promises';
import { MeshtapError } from '../errors.js';
import type { WireEdge, WireMap } from '../exporters/page/wire.js';
import type { EdgeEnd } from '../metrics/edges.js';
import { runningMaps } from './status-socket.js';
import { table } from './table.js';

export interface MapOptions {
  json?: boolean;
  /** How long to look. */
  seconds: string;
}

/** `meshtap map`: who calls whom, as every agent on this machine sees it, over some seconds. */
export async function map({ json = false, seconds }: MapOptions): Promise<void> {
  const wait = Number(seconds);
  if (!(wait >= 1 && wait <= 30))
    throw new MeshtapError('USAGE', `--seconds: found ${JSON.stringify(seconds)}, expected 1 to 30`);
  // Rates are of what comes between two questions.
  await runningMaps();
  await sleep(wait * 1000);
  const maps = await runningMaps();
  if (json) {
    process.stdout.write(`${JSON.stringify(Object.fromEntries(maps), null, 2)}\n`);
    return;
  }
  const parts = [...maps].map(([name, told]) => `${titleOf(name, told)}\n\n${edgeTable(told.edges)}`);
  process.stdout.write(`${parts.length > 0 ? parts.join('\n\n') : 'No agent runs.'}\n`);
}

function titleOf(name: string, { edges, seconds }: WireMap): string {
  const failing = edges.filter(({ state }) => state === 'failing').length;
  const over = seconds === null ? '' : ` over ${Math.round(seconds)} s`;
  return `AGENT ${name}: ${edges.length} pairs of services, ${failing} failing${over}`;
}

function edgeTable(edges: readonly WireEdge[]): string {
  const right = (name: string) => ({ name, align: 'right' as const });
  const busiest = edges.toSorted(
    (a, b) =>
      (b.rate?.requests ?? 0) - (a.rate?.requests ?? 0) || nameOf(a.source).localeCompare(nameOf(b.source)),
  );
  return table(
    [
      ...[{ name: 'FROM' }, { name: 'TO' }, { name: 'STATE' }, right('REQ/S'), right('ERRORS'), right('P50')],
      ...[right('P99'), right('CONN/S'), { name: 'PROTOCOL' }, { name: 'TLS' }],
    ],
    busiest.map(({ source, destination, state, rate, p50, p99, protocols, tls }) => [
      ...[nameOf(source), nameOf(destination), state, (rate?.requests ?? 0).toFixed(1), errors(rate)],
      ...[
        time(p50),
        time(p99),
        (rate?.connections ?? 0).toFixed(1),
        protocols.join(' '),
        tls > 0 ? 'yes' : 'no',
      ],
    ]),
  );
}

const nameOf = ({ namespace, service }: EdgeEnd) => (namespace === '' ? service : `${namespace}/${service}`);
const errors = (rate: WireEdge['rate']) =>
  rate && rate.requests > 0 ? `${((100 * rate.errors) / rate.requests).toFixed(1)} %` : '-';
const time = (seconds: number | null) => (seconds === null ? '-' : `${(seconds * 1000).toPrecision(3)} ms`);
