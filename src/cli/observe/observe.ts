import { createReadStream, existsSync, readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import type { Command } from 'commander';
import { Option } from 'commander';
import { MeshtapError } from '../../errors.js';
import { compileFilters, type FlowFilters } from '../../flows/filter.js';
import type { FlowEvent } from '../../flows/flow.js';
import { protobufTime } from '../../flows/json.js';
import { readLines } from '../../flows/jsonpb.js';
import type { ClientTls } from '../../flows/observer-client.js';
import { createPrinter, FORMATS, type Printer } from '../../flows/print.js';
import { redactor } from '../../flows/redact.js';
import { Ring } from '../../flows/ring.js';
import { TIME_FORMATS } from '../../flows/time-format.js';
import { flowsOf } from '../runtime-files.js';
import { untilSignal } from '../signals.js';
import { filterFlags } from './filters.js';
import { LAST, type ObserveOptions, type Selection, selectionOf } from './selection.js';

/** Adds `observe` and its flags. */
export function withObserve(command: Command): Command {
  command
    .description('requests, one by one, as an agent or a file has them')
    .option('--last <number>', `the last so many; from an agent ${LAST}, if nothing is said`)
    .option('--first <number>', 'the first so many')
    .option('--all', 'all that are there')
    .option('--since <when>', 'not older: 5m, 1h30m, 2006-01-02T15:04:05Z')
    .option('--until <when>', 'not younger')
    .option('-f, --follow', 'go on with what comes')
    .option('--slower-than <duration>', 'answers that took longer: 200ms');
  const filters = filterFlags(command);
  command
    .addOption(new Option('-o, --output <format>', 'how to print').choices(FORMATS).default('compact'))
    .option('--print-node-name', 'say which node saw it')
    .addOption(
      new Option('--time-format <format>', 'how to print times')
        .choices(Object.keys(TIME_FORMATS))
        .default('StampMilli'),
    )
    .addOption(new Option('--color <when>', 'colours').choices(['auto', 'always', 'never']).default('auto'))
    .option('--numeric', 'addresses instead of names')
    .option('--redact', 'of a file: leave out queries, ids and headers, as agents do')
    .option('--input-file <file>', 'read jsonpb from a file, or from standard input (-), instead of an agent')
    .option('--print-raw-filters', 'print the filters as JSON and end')
    .option('--instance <name>', 'the agent of that name', 'default')
    .option('--server <address>', 'an agent or relay elsewhere: HOST:PORT, tls://HOST:PORT or unix:PATH')
    .option('--tls', 'speak TLS to the server')
    .option('--tls-ca-cert-files <files...>', 'PEM files of the authorities to trust')
    .option('--tls-client-cert-file <file>', 'PEM file of our certificate')
    .option('--tls-client-key-file <file>', 'PEM file of its key')
    .option('--tls-server-name <name>', "the name in the server's certificate")
    .action(async (options: ObserveOptions) => {
      const chosen = filters();
      if (options.printRawFilters) process.stdout.write(rawFilters(chosen));
      else await observe(options, chosen);
    });
  return command;
}

/** `meshtap observe`: prints until the flows end, or a signal comes. */
async function observe(options: ObserveOptions, filters: FlowFilters): Promise<void> {
  const selection = selectionOf(options);
  const signal = untilSignal();
  const { output, printNodeName = false, numeric = false, timeFormat, color } = options;
  const terminal = process.stdout.isTTY === true && !process.env.NO_COLOR;
  const printer = createPrinter({
    format: output,
    nodes: printNodeName,
    numeric,
    time: timeFormat,
    color: color === 'always' || (color === 'auto' && terminal),
  });
  const events =
    options.inputFile === undefined
      ? await fromServer(options, selection, filters, signal)
      : fromFile(options.inputFile, options, selection, filters, signal);
  const printed = await printAll(events, printer, signal);
  const all = !filters.whitelist?.length && !filters.blacklist?.length;
  if (printed === 0 && all && !options.follow && options.inputFile === undefined)
    process.stderr.write(NOTHING_KEPT);
}

const NOTHING_KEPT =
  'meshtap: no flows are kept. From the kernel an agent takes them while somebody watches (--follow), or with flows.always\n';

/** Everything is filtered here. */
async function* fromFile(
  file: string,
  { redact = false }: ObserveOptions,
  { last, first, since, until, slowerThan }: Selection,
  filters: FlowFilters,
  signal: AbortSignal,
): AsyncGenerator<FlowEvent, void, undefined> {
  if (file !== '-' && !existsSync(file))
    throw new MeshtapError('FLOWS_FAILED', `${file}: there is no such file`);
  const fits = compileFilters(filters);
  const masked = redact ? redactor() : undefined;
  const onBadLine = (reason: string, line: number) =>
    void process.stderr.write(`meshtap: ${file}:${line}: left out: ${reason}\n`);
  const kept = last === undefined ? undefined : new Ring<FlowEvent>(Math.max(1, last));
  let count = 0;
  const input = file === '-' ? process.stdin : createReadStream(file);
  for await (const event of readLines(untilAborted(input, signal), { onBadLine })) {
    if (!('flow' in event)) {
      yield event;
      continue;
    }
    const { flow } = event;
    const young = since === undefined || flow.time >= since;
    const old = until === undefined || flow.time <= until;
    if (!young || !old || !fits(flow) || !isSlow(event, slowerThan)) continue;
    const shown = masked ? { ...event, flow: masked(flow) } : event;
    if (last !== undefined) kept!.push(shown);
    else yield shown;
    if (first !== undefined && ++count >= first) return;
  }
  if (kept && last! > 0) yield* kept.last(last!, () => true);
}

/** What comes until the signal, which is an end like any other. */
async function* untilAborted(
  input: Readable,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  signal.addEventListener('abort', () => input.destroy(), { once: true });
  try {
    yield* input;
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** The server filters, but for what Hubble's API has no word for. */
async function fromServer(
  options: ObserveOptions,
  { last, first, since, until, follow, slowerThan }: Selection,
  { whitelist = [], blacklist = [] }: FlowFilters,
  signal: AbortSignal,
): Promise<AsyncIterable<FlowEvent>> {
  const { getFlows } = await import('../../flows/observer-client.js');
  const address = options.server ?? `unix:${localSocket(options.instance)}`;
  const count = slowerThan === undefined ? (last ?? first) : undefined;
  const events = getFlows({
    address,
    tls: tlsOf(options),
    signal,
    request: {
      whitelist,
      blacklist,
      follow,
      first: first !== undefined,
      // 0 is all; the largest number is all and goes on from there.
      number: String(count ?? (follow && since === undefined ? MOST : 0)),
      ...(since !== undefined && { since: protobufTime(since) }),
      ...(until !== undefined && { until: protobufTime(until) }),
    },
  });
  return slowerThan === undefined ? events : slow(events, slowerThan, { last, first, follow });
}

const MOST = 2n ** 64n - 1n;

/** Those that took long. The last so many are known when all are there, so a stream that goes on has none of those. */
async function* slow(
  events: AsyncIterable<FlowEvent>,
  slowerThan: number,
  { last, first, follow }: Pick<Selection, 'last' | 'first' | 'follow'>,
): AsyncGenerator<FlowEvent, void, undefined> {
  const kept = last === undefined || follow ? undefined : new Ring<FlowEvent>(Math.max(1, last));
  let count = 0;
  for await (const event of events) {
    if (!isSlow(event, slowerThan)) continue;
    if (kept) kept.push(event);
    else yield event;
    if (first !== undefined && 'flow' in event && ++count >= first) return;
  }
  if (kept) yield* kept.last(last!, () => true);
}

const isSlow = (event: FlowEvent, slowerThan: number | undefined) =>
  slowerThan === undefined || !('flow' in event) || (event.flow.l7?.latency ?? 0) > slowerThan;

function localSocket(instance: string): string {
  const socket = flowsOf(instance);
  if (existsSync(socket)) return socket;
  throw new MeshtapError('FLOWS_FAILED', `no agent named ${instance} has flows on this machine`, {
    hint: 'meshtap status lists those that run; --server asks elsewhere, --input-file reads a file',
  });
}

function tlsOf(options: ObserveOptions): ClientTls | undefined {
  const { tls, tlsCaCertFiles, tlsClientCertFile, tlsClientKeyFile, tlsServerName } = options;
  if (!tls && !tlsCaCertFiles && !tlsClientCertFile) return undefined;
  const read = (file: string) => {
    try {
      return readFileSync(file);
    } catch (cause) {
      throw new MeshtapError('USAGE', `${file}: can not be read`, { cause });
    }
  };
  return {
    ca: tlsCaCertFiles && Buffer.concat(tlsCaCertFiles.map(read)),
    cert: tlsClientCertFile === undefined ? undefined : read(tlsClientCertFile),
    key: tlsClientKeyFile === undefined ? undefined : read(tlsClientKeyFile),
    serverName: tlsServerName,
  };
}

/** Writes as fast as they are read at the other end, and no faster; returns how many there were. */
async function printAll(
  events: AsyncIterable<FlowEvent>,
  printer: Printer,
  signal: AbortSignal,
): Promise<number> {
  let count = 0;
  for await (const event of events) {
    if (signal.aborted) break;
    count++;
    const { out, error } = printer.print(event);
    if (error !== undefined) process.stderr.write(error);
    if (out !== undefined && !process.stdout.write(out)) await drained(signal);
  }
  process.stdout.write(printer.end());
  return count;
}

function drained(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    process.stdout.once('drain', resolve);
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** The filters as `--allowlist` and `--denylist` take them. */
function rawFilters({ whitelist = [], blacklist = [] }: FlowFilters): string {
  const list = (name: string, all: readonly object[]) =>
    all.length === 0 ? '' : `${name}:\n${all.map((one) => `    - '${JSON.stringify(one)}'\n`).join('')}`;
  return list('allowlist', whitelist) + list('denylist', blacklist) || '{}\n';
}
