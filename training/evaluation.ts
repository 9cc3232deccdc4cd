import { createRandom } from '../domain/random.ts'

/**
 * Figures of merit of a probability forecast. Arrays run in parallel: `p` forecasts in (0, 1), `y` labels 0 or 1,
 * `group` the cross-section (one universe on one date) a row is ranked in.
 */

/** Ranks 1..n, ascending; equal values share the mean of their ranks. */
export function averageRanks(values: Float64Array): Float64Array {
  const order = ascending(values)
  const ranks = new Float64Array(values.length)
  for (let from = 0, to = 0; from < order.length; from = to) {
    while (to < order.length && values[order[to]!] === values[order[from]!]) to++
    for (let i = from; i < to; i++) ranks[order[i]!] = (from + 1 + to) / 2
  }
  return ranks
}

function ascending(values: Float64Array): Uint32Array {
  return Uint32Array.from(values.keys()).toSorted((a, b) => values[a]! - values[b]! || a - b)
}

/** Area under the ROC curve: the chance that a positive row outranks a negative one, ties counting a half. */
export function auc(p: Float64Array, y: Uint8Array): number {
  return weightedAuc(p, y, ascending(p), () => 1)
}

function weightedAuc(p: Float64Array, y: Uint8Array, order: Uint32Array, weight: (row: number) => number): number {
  let positives = 0
  let negatives = 0
  let wins = 0
  for (let from = 0, to = 0; from < order.length; from = to) {
    let tiedPositives = 0
    let tiedNegatives = 0
    for (; to < order.length && p[order[to]!] === p[order[from]!]; to++) {
      const row = order[to]!
      if (y[row] === 1) tiedPositives += weight(row)
      else tiedNegatives += weight(row)
    }
    wins += tiedPositives * (negatives + tiedNegatives / 2)
    positives += tiedPositives
    negatives += tiedNegatives
  }
  return wins / (positives * negatives)
}

/**
 * 90 % interval of the AUC by bootstrap over blocks (calendar quarters): rows of a quarter share their market and their
 * label windows, so a quarter, not a row, is what repeats independently.
 *
 * @returns the 5 % and the 95 % quantile of `resamples` seeded resamples.
 */
export function bootstrapAuc(
  p: Float64Array,
  y: Uint8Array,
  block: readonly string[],
  resamples = 1000
): [number, number] {
  const names = [...new Set(block)]
  const index = new Map(names.map((name, i) => [name, i]))
  const blockOf = Uint32Array.from(block, (name) => index.get(name)!)
  const order = ascending(p)
  const random = createRandom('auc bootstrap')
  const draws = new Float64Array(resamples).map(() => {
    const times = new Uint32Array(names.length)
    for (let i = 0; i < names.length; i++) times[Math.floor(random.uniform() * names.length)]!++
    return weightedAuc(p, y, order, (row) => times[blockOf[row]!]!)
  })
  return [quantile(draws, 0.05), quantile(draws, 0.95)]
}

/** Quantile of a sample by linear interpolation (Hyndman & Fan type 7). */
export function quantile(values: Float64Array, q: number): number {
  return quantileOfSorted(values.toSorted(), q)
}

/** The same of a sample that ascends. */
export function quantileOfSorted(sorted: Float64Array, q: number): number {
  const at = q * (sorted.length - 1)
  const low = sorted[Math.floor(at)]!
  return low + (sorted[Math.ceil(at)]! - low) * (at - Math.floor(at))
}

/** The shortest decimal that reads back as the same float32. */
export function shortFloat(value: number): number {
  const exact = Math.fround(value)
  let digits = 1
  while (Math.fround(Number(exact.toPrecision(digits))) !== exact) digits++
  return Number(exact.toPrecision(digits))
}

/** Mean of a sample. */
export function average(values: Iterable<number>): number {
  let sum = 0
  let count = 0
  for (const value of values) {
    sum += value
    count++
  }
  return sum / count
}

/** Mean squared error of the probabilities. */
export function brier(p: Float64Array, y: Uint8Array): number {
  return average(p.map((value, i) => (value - y[i]!) ** 2))
}

/** Mean negative log-likelihood, in nats. */
export function logLoss(p: Float64Array, y: Uint8Array): number {
  return average(p.map((value, i) => -Math.log(y[i] === 1 ? value : 1 - value)))
}

/**
 * Expected calibration error: rows are sorted by probability into ten bins of equal count (equal probabilities stay in one
 * bin); the mean over the bins, by their rows, of |mean probability - share of positives|. Bins of equal width would be
 * empty but for two: the probabilities lie close to .5.
 */
export function calibrationError(p: Float64Array, y: Uint8Array): number {
  const order = ascending(p)
  let error = 0
  for (let bin = 1, from = 0, to = 0; bin <= 10; bin++, from = to) {
    to = Math.max(from, Math.floor((bin * p.length) / 10))
    while (to > from && to < p.length && p[order[to]!] === p[order[to - 1]!]) to++
    error += Math.abs(order.subarray(from, to).reduce((sum, row) => sum + p[row]! - y[row]!, 0))
  }
  return error / p.length
}

/** Spearman's rank correlation; 0 if either side is constant. */
export function spearman(a: Float64Array, b: Float64Array): number {
  const [ranksA, ranksB] = [averageRanks(a), averageRanks(b)]
  const centre = (a.length + 1) / 2
  let [ab, aa, bb] = [0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    const [da, db] = [ranksA[i]! - centre, ranksB[i]! - centre]
    ab += da * db
    aa += da * da
    bb += db * db
  }
  return aa * bb === 0 ? 0 : ab / Math.sqrt(aa * bb)
}

/**
 * t statistic of the mean of an autocorrelated series: Newey & West 1987, Bartlett weights 1 - l / (lag + 1). 20-day labels
 * sampled weekly overlap three later ones.
 */
export function neweyWestT(series: Float64Array, lag: number): number {
  const centre = average(series)
  const d = series.map((value) => value - centre)
  let variance = 0
  for (let l = 0; l <= lag; l++) {
    let covariance = 0
    for (let i = l; i < d.length; i++) covariance += d[i]! * d[i - l]!
    variance += (l === 0 ? 1 : 2 * (1 - l / (lag + 1))) * covariance
  }
  return centre / (Math.sqrt(variance) / d.length)
}
