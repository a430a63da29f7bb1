/**
 * What the kernel does with an automaton, in TypeScript: the reference for it, and what `meshtap policy check` uses.
 *
 * @module
 */
import type { Automaton } from './automaton.js';
import { ESCAPED } from './path-symbols.js';

const [SLASH, PERCENT, QUESTION] = [0x2f, 0x25, 0x3f];

/**
 * The patterns of a scope that match a path, the best first.
 * @param target as in the request: all between the spaces of a request line, or the value of `:path`
 */
export function walkPath(automaton: Automaton, scope: string, target: Uint8Array): readonly number[] {
  let state = startOf(automaton, scope);
  let at = 0;
  if (target[0] !== SLASH) {
    at = pathInAbsolute(automaton, target);
    if (at < 0) return [];
    // An empty path is that of the root (RFC 3986, 6.2.3).
    if (target[at] !== SLASH) state = step(automaton, state, SLASH);
  }
  for (; at < target.length && state !== 0 && target[at] !== QUESTION; at++) {
    let symbol = target[at]!;
    if (symbol === PERCENT) {
      const [high, low] = [digit(target[at + 1]), digit(target[at + 2])];
      if (high < 0 || low < 0) return [];
      symbol = ESCAPED + high * 16 + low;
      at += 2;
    }
    state = step(automaton, state, symbol);
  }
  return automaton.outputs[automaton.outputOf[state]!]!;
}

/** The patterns of a scope that match a text as it stands, the best first: a method, a host. */
export function walkText(automaton: Automaton, scope: string, text: Uint8Array): readonly number[] {
  let state = startOf(automaton, scope);
  for (const byte of text) {
    if (state === 0) break;
    state = step(automaton, state, byte);
  }
  return automaton.outputs[automaton.outputOf[state]!]!;
}

/** Where the path begins in `http://authority/path`; negative if it is nothing of this form. */
function pathInAbsolute(automaton: Automaton, target: Uint8Array): number {
  let state = automaton.absolute;
  let at = 0;
  for (; at < target.length && state !== 0; at++) {
    const byte = target[at]!;
    if (automaton.outputOf[state] !== 0 && (byte === SLASH || byte === QUESTION)) return at;
    state = step(automaton, state, byte);
  }
  return automaton.outputOf[state] !== 0 ? at : -1;
}

function startOf({ starts }: Automaton, scope: string): number {
  const start = starts.get(scope);
  if (start === undefined) throw new RangeError(`the automaton has no scope ${scope}`);
  return start;
}

function step({ transitions, classes, classCount }: Automaton, state: number, symbol: number): number {
  return transitions[state * classCount + classes[symbol]!]!;
}

function digit(byte: number | undefined): number {
  return byte === undefined ? -1 : '0123456789abcdef'.indexOf(String.fromCharCode(byte).toLowerCase());
}
