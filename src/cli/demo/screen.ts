import { clearScreenDown, moveCursor } from 'node:readline';
import { table } from '../table.js';
import type { PairRate } from './rates.js';

/** Shows the rates: over what it showed before on a terminal, as lines elsewhere. */
export class Screen {
  readonly #out: NodeJS.WriteStream;
  #height = 0;

  constructor(out: NodeJS.WriteStream = process.stdout) {
    this.#out = out;
  }

  show(rates: readonly PairRate[]): void {
    if (!this.#out.isTTY) {
      for (const rate of rates) this.#out.write(`${words(rate)}\n`);
      return;
    }
    const text = rates.length ? grid(rates) : 'waiting for the first requests';
    if (this.#height > 0) moveCursor(this.#out, 0, -this.#height);
    clearScreenDown(this.#out);
    this.#out.write(`${text}\n`);
    this.#height = text.split('\n').length;
  }
}

function grid(rates: readonly PairRate[]): string {
  const right = (name: string) => ({ name, align: 'right' as const });
  return table(
    [{ name: 'FROM' }, { name: 'TO' }, right('REQ/S'), right('5XX'), right('P50'), right('P99')],
    rates.map((row) => [
      row.source,
      row.destination,
      perSecond(row),
      percent(row),
      time(row.p50),
      time(row.p99),
    ]),
  );
}

const words = (row: PairRate) =>
  `${row.source} -> ${row.destination}: ${perSecond(row)} req/s, ${percent(row)} 5xx, p50 ${time(row.p50)}, p99 ${time(row.p99)}`;

const perSecond = ({ rate }: PairRate) => rate.toFixed(1);
const percent = ({ failed }: PairRate) => `${(100 * failed).toFixed(1)} %`;
const time = (seconds: number) => (Number.isNaN(seconds) ? '-' : `${(seconds * 1000).toPrecision(3)} ms`);
