/**
 * The Huffman code of HPACK (RFC 7541 5.2 and appendix B). The kernel compares coded texts and decodes none but paths on
 * their way to a route, by a table that is made here; what it keeps as text, user space decodes.
 *
 * @module
 */
import { enums } from '../bpf/generated/counts.js';

/**
 * Bits of the code of each byte, and of the end of a text. The code is canonical: codes of one length are consecutive
 * numbers in the order of their symbols, and the first of a length follows the last of the length before.
 */
const LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28,
  28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7,
  8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19,
  13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13,
  28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21,
  22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23,
  22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25,
  25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const END = 256;

/** A node of the code's tree: two nodes, or symbols, that the next bit leads to. */
interface Node {
  readonly number: number;
  readonly next: [Node | number | undefined, Node | number | undefined];
}

const NODES: readonly Node[] = tree();

function tree(): Node[] {
  const nodes: Node[] = [];
  const node = (): Node => {
    const made: Node = { number: nodes.length, next: [undefined, undefined] };
    nodes.push(made);
    return made;
  };
  const root = node();
  let code = 0;
  let before = 0;
  for (const symbol of [...LENGTHS.keys()].sort((a, b) => LENGTHS[a]! - LENGTHS[b]! || a - b)) {
    const bits = LENGTHS[symbol]!;
    code *= 2 ** (bits - before);
    before = bits;
    let at = root;
    for (let bit = bits - 1; bit > 0; bit--) {
      const side = (code >>> bit) & 1;
      at.next[side] ??= node();
      at = at.next[side] as Node;
    }
    at.next[code & 1] = symbol;
    code++;
  }
  return nodes;
}

/** The text behind a code; what is no printable ASCII, and all after it, becomes one `\ufffd`. */
export function decodeHuffman(bytes: Uint8Array): string {
  let text = '';
  let at = NODES[0]!;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      const next = at.next[(byte >> bit) & 1];
      if (typeof next === 'object') {
        at = next;
        continue;
      }
      if (next === undefined || next < 0x20 || next > 0x7e) return `${text}\ufffd`;
      text += String.fromCharCode(next);
      at = NODES[0]!;
    }
  }
  return text; // what is left over are ones that fill the last byte
}

/** `struct huffman_code`: where four bits lead from each node of the tree, and which symbol they complete, if any. */
export function huffmanSteps(): Uint32Array {
  const steps = new Uint32Array(256 * 16);
  for (const { number } of NODES) {
    for (let four = 0; four < 16; four++) {
      let at = NODES[number]!;
      let completed = 0;
      for (let bit = 3; bit >= 0; bit--) {
        const next = at.next[(four >> bit) & 1];
        if (typeof next === 'object') {
          at = next;
          continue;
        }
        // Nobody may send the end as a symbol.
        completed = next === undefined || next === END ? 0 : (next << 8) | enums.huffman_flag.HUFFMAN_SYMBOL;
        at = NODES[0]!;
      }
      steps[number * 16 + four] = at.number | completed;
    }
  }
  return steps;
}
