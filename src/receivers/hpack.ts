/**
 * The Huffman code of HPACK (RFC 7541 5.2 and appendix B). The kernel compares coded texts and decodes none; what it
 * keeps as text, user space decodes.
 *
 * @module
 */

/**
 * Symbols by the length of their codes. The code is canonical: codes of one length are consecutive numbers in the order
 * of their symbols, and the first of a length follows the last of the length before. All of printable ASCII; what comes
 * after the backslash is left out.
 */
const SYMBOLS: readonly (readonly [bits: number, symbols: string])[] = [
  [5, '012aceiost'],
  [6, ' %-./3456789=A_bdfghlmnpru'],
  [7, ':BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz'],
  [8, '&*,;XZ'],
  [10, '!"()?'],
  [11, "'+|"],
  [12, '#>'],
  [13, '\0$@[]~'],
  [14, '^}'],
  [15, '<`{'],
  [19, '\\'],
];

/** By length, then by code. */
const CODES = new Map<number, Map<number, string>>();
{
  let code = 0;
  let before = 0;
  for (const [bits, symbols] of SYMBOLS) {
    code <<= bits - before;
    before = bits;
    CODES.set(bits, new Map([...symbols].map((symbol) => [code++, symbol])));
  }
}

/** The text behind a code; what is no printable ASCII, and all after it, becomes one `\ufffd`. */
export function decodeHuffman(bytes: Uint8Array): string {
  let text = '';
  let code = 0;
  let bits = 0;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code = (code << 1) | ((byte >> bit) & 1);
      bits++;
      const symbol = CODES.get(bits)?.get(code);
      if (symbol !== undefined) {
        text += symbol;
        code = bits = 0;
      } else if (bits > 19) {
        return `${text}\ufffd`;
      }
    }
  }
  return text; // what is left over are ones that fill the last byte
}
