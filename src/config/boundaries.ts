/** Most boundaries a histogram can have: the kernel keeps 24 buckets, the last one is +Inf (`wire/counts.h`). */
export const MAX_BOUNDARIES = 23;

/** Upper bounds of the latency buckets, seconds: 100 us to 60 s, two or three steps to a decade. */
export const DEFAULT_BOUNDARIES: readonly number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];

/** What is wrong with a list of boundaries, and at which place in it; undefined if nothing is. */
export function boundaryProblem(
  boundaries: readonly number[],
): { index: number; accepted: string } | undefined {
  if (boundaries.length === 0) return { index: -1, accepted: 'at least one boundary' };
  if (boundaries.length > MAX_BOUNDARIES)
    return { index: -1, accepted: `at most ${MAX_BOUNDARIES} boundaries, found ${boundaries.length}` };
  for (const [index, value] of boundaries.entries()) {
    // The kernel counts in whole nanoseconds.
    if (!Number.isFinite(value) || value < 1e-9) return { index, accepted: 'a positive number of seconds' };
    const before = boundaries[index - 1];
    if (before !== undefined && value <= before)
      return { index, accepted: `boundaries in ascending order, so more than ${before}` };
  }
  return undefined;
}
