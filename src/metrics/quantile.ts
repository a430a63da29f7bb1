/** As Prometheus' `histogram_quantile`: in a straight line within the bucket that holds it. NaN of nothing. */
export function quantile(q: number, buckets: Float64Array, boundaries: readonly number[]): number {
  const rank = q * buckets.reduce((sum, n) => sum + n, 0);
  let below = 0;
  for (const [i, n] of buckets.entries()) {
    if (n > 0 && below + n >= rank) {
      const lower = boundaries[i - 1] ?? 0;
      const upper = boundaries[i] ?? lower;
      return lower + ((upper - lower) * (rank - below)) / n;
    }
    below += n;
  }
  return Number.NaN;
}
