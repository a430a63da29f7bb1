import { closest, distance } from 'fastest-levenshtein';

/**
 * `Did you mean ...?` if one of the known words is close enough to be meant. The first `shared` letters, which all have,
 * make none of them closer.
 */
export function didYouMean(word: string, known: readonly string[], shared = 0): string | undefined {
  if (known.length === 0) return undefined;
  const best = closest(word, known);
  const tolerated = Math.max(2, Math.floor((word.length - shared) / 3));
  const near = distance(word.toLowerCase(), best.toLowerCase()) <= tolerated;
  return near ? `Did you mean ${best}?` : undefined;
}
