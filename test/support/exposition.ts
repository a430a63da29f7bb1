/**
 * Reads what an agent serves, as Prometheus would (text format 0.0.4).
 *
 * @module
 */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Labels that a sample must have; a function decides on the value, undefined must be absent. */
export type Wanted = Readonly<Record<string, string | undefined | ((value: string | undefined) => boolean)>>;

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/s;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?/gsy;
const ESCAPES: Record<string, string> = { '\\n': '\n', '\\\\': '\\', '\\"': '"' };

/** One scrape. */
export class Page {
  readonly text: string;
  readonly samples: readonly Sample[];

  /** Throws on a line that is no sample. */
  constructor(text: string) {
    this.text = text;
    this.samples = text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map(parse);
  }

  of(name: string, wanted: Wanted = {}): Sample[] {
    return this.samples.filter((sample) => sample.name === name && fits(sample, wanted));
  }

  /** The samples added up; 0 if there is none. */
  sum(name: string, wanted: Wanted = {}): number {
    return this.of(name, wanted).reduce((sum, { value }) => sum + value, 0);
  }

  /** Exchanges that one side counted, those that exceeded the budget too. */
  requests(role: 'client' | 'server', wanted: Wanted = {}): number {
    return this.sum(`http_${role}_request_duration_seconds_count`, wanted);
  }

  /** A line of the ledger. */
  ledger(role: 'client' | 'server', subject: string, outcome: string): number {
    return this.sum('meshtap_ledger_entries_total', { role, subject, outcome });
  }

  /** What was seen and is not accounted for. */
  underWay(role: 'client' | 'server', subject: 'requests' | 'responses'): number {
    const lines = this.of('meshtap_ledger_entries_total', { role, subject });
    return lines.reduce((left, { labels, value }) => left + (labels.outcome === 'seen' ? value : -value), 0);
  }

  budget(name: string): number {
    return this.sum('meshtap_budget_used', { budget: name });
  }
}

function parse(line: string): Sample {
  const [, name, labelText = '', value] = SAMPLE.exec(line) ?? [];
  if (name === undefined) throw new Error(`no sample: ${JSON.stringify(line)}`);
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  for (let end = 0; end < labelText.length; end = LABEL.lastIndex) {
    const [, label, escaped] = LABEL.exec(labelText) ?? [];
    if (label === undefined || label in labels) throw new Error(`no labels: ${JSON.stringify(line)}`);
    labels[label] = escaped!.replace(/\\./gs, (pair) => ESCAPES[pair] ?? pair);
  }
  return { name, labels, value: Number(value!.replace('Inf', 'Infinity')) };
}

function fits({ labels }: Sample, wanted: Wanted): boolean {
  return Object.entries(wanted).every(([name, want]) =>
    typeof want === 'function' ? want(labels[name]) : labels[name] === want,
  );
}

/** What begins anew with the process, by nature. */
const OF_THE_PROCESS = /^(process_|meshtap_collection_|meshtap_export)/;
const CUMULATIVE = /(_total|_count|_bucket)$/;

/** Watches that no counter is ever less than it was, from one scrape to the next and whenever it comes back. */
export class Ratchet {
  #highest = new Map<string, number>();
  readonly #mayLeave: boolean;

  /** Where points may leave for good (names that are folded), what comes back is another one. */
  constructor({ mayLeave = false } = {}) {
    this.#mayLeave = mayLeave;
  }

  /** The first few that went backwards, with both values. */
  check(page: Page): string[] {
    const broken: string[] = [];
    const known = this.#highest;
    if (this.#mayLeave) this.#highest = new Map();
    for (const { name, labels, value } of page.samples) {
      if (!CUMULATIVE.test(name) || OF_THE_PROCESS.test(name)) continue;
      const key = `${name}${JSON.stringify(labels)}`;
      const before = known.get(key) ?? 0;
      if (value < before) broken.push(`${key}: ${before} -> ${value}`);
      this.#highest.set(key, value);
    }
    return broken.slice(0, 4);
  }
}
