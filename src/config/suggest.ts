import { closest, distance } from 'fastest-levenshtein';

/** `Did you mean ...?` if one of the known words is close enough to be meant. */
export function didYouMean(word: string, known: readonly string[]): string | undefined {
  if (known.length === 0) return undefined;
  const best = closest(word, known);
  const near = distance(word.toLowerCase(), best.toLowerCase()) <= Math.max(2, Math.floor(word.length / 3));
  return near ? `Did you mean ${best}?` : undefined;
}
