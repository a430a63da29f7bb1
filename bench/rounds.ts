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
 * Runs all in turn, so that what else goes on at the machine meets them alike: a round is one of each, and each round
 * begins with another.
 */
export async function interleave<T, Runs extends readonly (() => Promise<T>)[]>(
  rounds: number,
  ...runs: Runs
): Promise<{ -readonly [Place in keyof Runs]: T }[]> {
  const results: T[][] = [];
  for (let round = 0; round < rounds; round++) {
    const result = new Array<T>(runs.length);
    for (let turn = 0; turn < runs.length; turn++) {
      const place = (round + turn) % runs.length;
      result[place] = await runs[place]!();
    }
    results.push(result);
  }
  return results as { -readonly [Place in keyof Runs]: T }[];
}
