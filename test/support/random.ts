import { createHash } from 'node:crypto';

/** Bytes without any order, the same at every run, as latin1 text. */
export function randomBytes(length: number, seed = ''): string {
  let text = '';
  for (let i = 0; text.length < length; i++)
    text += createHash('sha512').update(`${seed} ${i}`).digest().toString('latin1');
  return text.slice(0, length);
}
