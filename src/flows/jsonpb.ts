/**
 * Lines of JSON, one flow each, as `hubble observe -o jsonpb` prints and `--input-file` reads them.
 *
 * @module
 */
import type { FlowEvent } from './flow.js';
import { fromHubble } from './hubble-read.js';
import { toHubble } from './hubble-write.js';
import { UnreadableFlow } from './json.js';
import { CONTROLS, unicodeEscape } from './words.js';

/** Longest line that is read, characters; what is longer is skipped. */
const LONGEST_LINE = 1 << 20;

/** One line, without its end. What a terminal obeys is escaped, as JSON lets one. */
export const writeLine = (event: FlowEvent): string =>
  JSON.stringify(toHubble(event)).replaceAll(CONTROLS, (control) => unicodeEscape(control));

/** What a line says. Undefined if it is empty, or of a kind that is not known. Throws `UnreadableFlow`. */
export function readLine(line: string): FlowEvent | undefined {
  if (line.trim() === '') return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new UnreadableFlow('this is not JSON');
  }
  return fromHubble(value);
}

export interface ReadOptions {
  /** Called with what is wrong with a line, and its number from 1. The line is skipped. */
  onBadLine(reason: string, line: number): void;
}

/** The flows in a text that comes in pieces. An unfinished last line counts as one. */
export async function* readLines(
  pieces: AsyncIterable<string | Uint8Array>,
  { onBadLine }: ReadOptions,
): AsyncGenerator<FlowEvent, void, undefined> {
  let number = 0;
  for await (const line of linesOf(pieces)) {
    number++;
    try {
      if (line === undefined) throw new UnreadableFlow(`longer than ${LONGEST_LINE} characters`);
      const event = readLine(line);
      if (event) yield event;
    } catch (error) {
      if (!(error instanceof UnreadableFlow)) throw error;
      onBadLine(error.message, number);
    }
  }
}

/** Undefined for a line that is too long. */
async function* linesOf(pieces: AsyncIterable<string | Uint8Array>): AsyncGenerator<string | undefined> {
  const decoder = new TextDecoder();
  let rest = '';
  let skipping = false;
  for await (const piece of pieces) {
    const parts = (typeof piece === 'string' ? piece : decoder.decode(piece, { stream: true })).split('\n');
    for (const [i, part] of parts.entries()) {
      if (!skipping) rest += part;
      if (rest.length > LONGEST_LINE) skipping = true;
      if (skipping) rest = '';
      if (i === parts.length - 1) break;
      yield skipping ? undefined : rest;
      rest = '';
      skipping = false;
    }
  }
  if (skipping) yield undefined;
  else if (rest !== '') yield rest;
}
