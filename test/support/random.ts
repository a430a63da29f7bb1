import { createHash } from 'node:crypto';

/** Bytes without any order, the same at every run, as latin1 text. */
export function randomBytes(length: number, seed = ''): string {
  let text = '';
  for (let i = 0; text.length < length; i++)
    text += createHash('sha512').update(`${seed} ${i}`).digest().toString('latin1');
  return text.slice(0, length);
}

/** Whole numbers below another one, without any order, the same at every run. */
export function numbers(seed: string): (below: number) => number {
  const bytes = Buffer.from(randomBytes(1 << 18, seed), 'latin1');
  let at = 0;
  return (below) => {
    at = (at + 4) % bytes.length;
    return bytes.readUInt32LE(at) % below;
  };
}
