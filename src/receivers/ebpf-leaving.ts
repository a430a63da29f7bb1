/**
 * The list of entries on their way out, as bytes: one line of text for each.
 *
 * @module
 */
import type { Leaving } from './ebpf-retire.js';

export const encodeLeaving = (leaving: readonly Leaving[]): Uint8Array =>
  Buffer.from(
    leaving
      .map(({ key, index, token }) => `${index} ${token} ${Buffer.from(key).toString('hex')}\n`)
      .join(''),
  );

export const decodeLeaving = (bytes: Uint8Array): Leaving[] =>
  Buffer.from(bytes)
    .toString()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [index, token, key] = line.split(' ') as [string, string, string];
      return { index: Number(index), token, key: Uint8Array.from(Buffer.from(key, 'hex')) };
    });
