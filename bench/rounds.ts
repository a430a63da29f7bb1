/** A figure that was taken several times. */
export interface Figure {
  readonly median: number;
  /** The quarter of the rounds below and above which it was: half of all lie between. */
  readonly quartiles: readonly [number, number];
}

export function figure(values: readonly number[]): Figure {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (part: number) => {
    const place = (sorted.length - 1) * part;
    const below = sorted[Math.floor(place)]!;
    return below + (sorted[Math.ceil(place)]! - below) * (place % 1);
  };
  return { median: at(0.5), quartiles: [at(0.25), at(0.75)] };
}

/**
 * Runs both in turn, so that what else goes on at the machine meets both alike: a round is one of each, in an order
 * that changes from round to round.
 */
export async function interleave<T>(
  rounds: number,
  first: () => Promise<T>,
  second: () => Promise<T>,
): Promise<[T, T][]> {
  const results: [T, T][] = [];
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) {
      results.push([await first(), await second()]);
    } else {
      const later = await second();
      results.push([await first(), later]);
    }
  }
  return results;
}
