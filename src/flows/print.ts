/**
 * Flows for people and programs, in the formats of `hubble observe`.
 *
 * @module
 */
import type { FlowEnd, FlowEvent, Lost, NodeStatus } from './flow.js';
import { writeLine } from './jsonpb.js';
import { formatTime, type TimeFormat } from './time-format.js';
import { escaped, eventWords, hostWords, identityWords, summaryWords, verdictWords } from './words.js';

export const FORMATS = ['compact', 'dict', 'table', 'json', 'jsonpb'] as const;
export type Format = (typeof FORMATS)[number];

export interface PrinterOptions {
  /** @default 'compact' */
  format?: Format;
  /** With the colours of a terminal: compact and dict only. @default false */
  color?: boolean;
  /** Say at which node it was seen. @default false */
  nodes?: boolean;
  /** Addresses instead of names. @default false */
  numeric?: boolean;
  /** @default 'StampMilli' */
  time?: TimeFormat;
}

/** What is to be written. What concerns the stream itself, not a flow, is for standard error. */
export interface Printed {
  readonly out?: string;
  readonly error?: string;
}

export interface Printer {
  print(event: FlowEvent): Printed;
  /** What can be written only when all is there. */
  end(): string;
}

type Row = Readonly<Record<(typeof COLUMNS)[number], string>>;
const COLUMNS = ['TIMESTAMP', 'NODE', 'SOURCE', 'DESTINATION', 'TYPE', 'VERDICT', 'SUMMARY'] as const;
const DICT_RULE = '------------\n';

/** Makes lines of flows. */
export function createPrinter({
  format = 'compact',
  color = false,
  nodes = false,
  numeric = false,
  time = 'StampMilli',
}: PrinterOptions = {}): Printer {
  const paint = color && (format === 'compact' || format === 'dict') ? ANSI : PLAIN;
  const at = (moment: bigint) => formatTime(moment, time);
  const columns = COLUMNS.filter((name) => nodes || name !== 'NODE');
  const rows: Row[] = [];
  let first = true;

  const host = (end: FlowEnd) => {
    const name = escaped(hostWords(end, numeric));
    const port = end.port === 0 ? '' : `:${paint.port(String(end.port))}`;
    const bracketed = port !== '' && name.includes(':') ? `[${name}]` : name;
    return name === '' && port === '' ? '' : paint.host(`${bracketed}${port}`);
  };
  const rowOf = (event: FlowEvent): Row | undefined => {
    const base = { TIMESTAMP: at(event.time), NODE: escaped(event.node) };
    if ('lost' in event) {
      const { source, cpu = 0, count } = event.lost;
      return {
        ...{ ...base, SOURCE: source, DESTINATION: '', TYPE: 'EVENTS LOST', VERDICT: '-' },
        SUMMARY: `CPU(${cpu}) - ${count}${span(event.lost, at)}`,
      };
    }
    if (!('flow' in event)) return undefined;
    const { flow } = event;
    return {
      ...base,
      SOURCE: host(flow.source),
      DESTINATION: host(flow.destination),
      TYPE: escaped(eventWords(flow)),
      VERDICT: paint.verdict(verdictWords(flow)),
      SUMMARY: escaped(summaryWords(flow)),
    };
  };
  const compact = (event: FlowEvent): string | undefined => {
    if ('lost' in event) {
      const { source, cpu = 0, count } = event.lost;
      return `${at(event.time)} EVENTS LOST: ${source} CPU(${cpu}) ${count}${span(event.lost, at)}`;
    }
    const row = rowOf(event);
    if (!row || !('flow' in event)) return undefined;
    const { source, destination, reply } = event.flow;
    const from = `${row.SOURCE} ${paint.identity(identityWords(source))}`;
    const to = `${row.DESTINATION} ${paint.identity(identityWords(destination))}`;
    const ends = reply ? `${to} <- ${from}` : `${from} ${reply === undefined ? '<>' : '->'} ${to}`;
    const node = nodes ? ` [${row.NODE}]` : '';
    return `${row.TIMESTAMP}${node}: ${ends} ${row.TYPE} ${row.VERDICT} (${row.SUMMARY})`;
  };
  const dict = (row: Row, lost: boolean) => {
    const rule = first ? '' : DICT_RULE;
    first = false;
    const shown = columns.filter((name) => !lost || name !== 'DESTINATION');
    return rule + shown.map((name) => `${name.padStart(11)}: ${row[name]}\n`).join('');
  };

  return {
    print(event) {
      if (format === 'json' || format === 'jsonpb') {
        const line = `${writeLine(event)}\n`;
        return 'nodes' in event ? { error: line } : { out: line };
      }
      if ('nodes' in event) {
        const line = nodesLine(event.nodes);
        return line ? { error: `${at(event.time)} [${escaped(event.node)}]: ${escaped(line)}\n` } : {};
      }
      if (format === 'compact') return { out: `${compact(event)}\n` };
      const row = rowOf(event)!;
      if (format === 'dict') return { out: dict(row, 'lost' in event) };
      rows.push('lost' in event ? { ...row, DESTINATION: '-' } : row);
      return {};
    },
    end: () => (format === 'table' && rows.length > 0 ? table(columns, rows) : ''),
  };
}

function span({ first, last }: Lost, at: (time: bigint) => string): string {
  return first === undefined && last === undefined
    ? ''
    : ` (first: ${at(first ?? 0n)}, last: ${at(last ?? 0n)})`;
}

/** Longest list of nodes that is printed, characters. */
const NODES_LENGTH = 50;

function nodesLine({ state, nodes, message }: NodeStatus): string | undefined {
  let shown = 1;
  while (shown < nodes.length && nodes.slice(0, shown + 1).join(', ').length <= NODES_LENGTH) shown++;
  const more = nodes.length > shown ? ` (and ${nodes.length - shown} more)` : '';
  const names = `${nodes.slice(0, shown).join(', ')}${more}`;
  if (state === 'NODE_UNAVAILABLE') return `${nodes.length} nodes are unavailable: ${names}`;
  if (state === 'NODE_ERROR') return `Error ${JSON.stringify(message)} on ${nodes.length} nodes: ${names}`;
  return undefined;
}

/** Columns with three spaces between them; the last one as long as it is. */
function table(columns: readonly (keyof Row)[], rows: readonly Row[]): string {
  const lines = [columns.map(String), ...rows.map((row) => columns.map((name) => row[name]))];
  const widths = columns.map((_, i) => Math.max(...lines.map((cells) => [...cells[i]!].length)) + 3);
  return lines
    .map((cells) => cells.map((cell, i) => (i === cells.length - 1 ? cell : pad(cell, widths[i]!))).join(''))
    .map((line) => `${line}\n`)
    .join('');
}

const pad = (cell: string, width: number) => cell + ' '.repeat(width - [...cell].length);

type Paint = (text: string) => string;
const plain: Paint = (text) => text;
const PLAIN = { host: plain, port: plain, identity: plain, verdict: plain };
const sgr =
  (code: number): Paint =>
  (text) =>
    `\x1b[${code}m${text}\x1b[0m`;
const [red, green, yellow, magenta, cyan] = [31, 32, 33, 35, 36].map(sgr) as [
  Paint,
  Paint,
  Paint,
  Paint,
  Paint,
];
const VERDICT_COLORS: Readonly<Record<string, Paint>> = {
  ...{
    FORWARDED: green,
    ALLOWED: green,
    DROPPED: red,
    DENIED: red,
    ERROR: red,
    AUDIT: yellow,
    AUDITED: yellow,
  },
  ...{ REDIRECTED: yellow, TRACED: yellow, TRANSLATED: yellow },
};
const ANSI = {
  host: cyan,
  port: yellow,
  identity: magenta,
  verdict: (text: string) => (VERDICT_COLORS[text] ?? plain)(text),
};
