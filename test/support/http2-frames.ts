/**
 * HTTP/2 by hand: frames, and the fields of header blocks in the form that a test wants them in.
 *
 * @module
 */

const HEADERS = 1;
const END_STREAM = 1;
const END_HEADERS = 4;

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** RFC 9113 4.1 */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array = Buffer.alloc(0),
): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

export const SETTINGS = frame(4, 0, 0);
export const data = (stream: number, text: string, end = false): Buffer =>
  frame(0, end ? END_STREAM : 0, stream, Buffer.from(text));
export const reset = (stream: number, code: number): Buffer => frame(3, 0, stream, u32(code));
export const goaway = (last: number): Buffer => frame(7, 0, 0, Buffer.concat([u32(last), u32(0)]));

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A field of either table by its number, up to 126. */
export const indexed = (index: number): Buffer => Buffer.from([0x80 | index]);

/** A field as text; names and values of up to 126 bytes. */
export function literal(name: string, value: string, { insert = false } = {}): Buffer {
  const text = (value: string) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
  return Buffer.concat([Buffer.from([insert ? 0x40 : 0]), text(name), text(value)]);
}

export function headers(stream: number, fields: readonly Buffer[], end = false): Buffer {
  return frame(HEADERS, END_HEADERS | (end ? END_STREAM : 0), stream, Buffer.concat(fields));
}

/** Numbers of the static table: RFC 7541 appendix A. */
export const STATIC = {
  GET: indexed(2),
  POST: indexed(3),
  ROOT: indexed(4),
  OK: indexed(8),
  404: indexed(13),
  500: indexed(14),
};
