/** How far a distribution has strayed from another one: the population stability index over fixed bins. */

/** A distribution: bins up to and with each of the ascending `edges`, one more beyond the last, and the share in each. */
export interface Distribution {
  edges: readonly number[]
  shares: readonly number[]
}

/** An empty bin counts as this share: its logarithm would be infinite. The same for every size of sample. */
const LEAST_SHARE = 0.001

/** The bin that a value falls into, 0 to edges.length. */
export function binOf(edges: readonly number[], value: number): number {
  let bin = 0
  while (bin < edges.length && value > edges[bin]!) bin++
  return bin
}

/**
 * Population stability index: Σ (actual - expected) · ln(actual / expected) over the bins, 0 where both are alike, the
 * symmetric Kullback-Leibler divergence (Jeffreys 1946). The rule of thumb that .25 is a shift does not hold for prices: they
 * move together, so that even the months of the training data stray further from their sum.
 *
 * @param counts in each bin; their sum must be above 0.
 */
export function stabilityIndex(shares: readonly number[], counts: ArrayLike<number>): number {
  let total = 0
  for (let bin = 0; bin < shares.length; bin++) total += counts[bin]!
  let sum = 0
  for (let bin = 0; bin < shares.length; bin++) {
    const expected = Math.max(shares[bin]!, LEAST_SHARE)
    const actual = Math.max(counts[bin]! / total, LEAST_SHARE)
    sum += (actual - expected) * Math.log(actual / expected)
  }
  return sum
}
