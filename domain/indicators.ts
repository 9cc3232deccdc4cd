/**
 * Rolling statistics and technical indicators over one series, oldest value first.
 *
 * Each function takes n values and returns n values; a place whose window is not full, or holds a NaN, is NaN, as with
 * pandas' `rolling(window)`, and values come back as soon as the NaN has left the window. Windows and periods are counted
 * in bars; one that is not a positive integer throws a RangeError. All are O(n), whatever the window.
 *
 * Nothing is ever subtracted when it leaves a window, which is how running sums drift. A series is cut into blocks as
 * long as the window (van Herk 1992; Gil and Werman 1993): a window that ends inside a block is the tail of the block
 * before and the head of this one, and both are accumulated afresh for each block. Sums are of differences to the block's
 * first value, which all of these windows contain. So equal values have exactly their mean, and a deviation of exactly 0,
 * and precision depends on the spread inside a window, not on the price level or on what went by before.
 *
 * Results are views that may share an ArrayBuffer: `slice()` one before it is transferred or cloned to another thread.
 */

/** Moving average convergence/divergence, in the unit of the values. */
export interface Macd {
  macd: Float64Array
  signal: Float64Array
  histogram: Float64Array
}

/** Bollinger bands, in the unit of the values. */
export interface Bollinger {
  middle: Float64Array
  upper: Float64Array
  lower: Float64Array
}

/** How `rsi` averages gains and losses. */
export type RsiSmoothing = 'simple' | 'wilder'

/** Simple moving average: the mean of the last `window` values. */
export function sma(values: Float64Array, window: number): Float64Array {
  const means = unfilled(values.length, window)
  const share = 1 / window
  for (let start = window - 1; start < values.length; start += window) {
    const end = Math.min(start + window, values.length)
    const pivot = values[start]!
    let tail = 0
    for (let last = start + window - 1; last > start; last--) {
      if (last < end) means[last] = tail
      tail += values[last - window]! - pivot
    }
    means[start] = tail
    let head = 0
    for (let last = start; last < end; last++) {
      head += values[last]! - pivot
      means[last] = pivot + (means[last]! + head) * share
    }
  }
  return means
}

/** Sample standard deviation (ddof 1) of the last `window` values; NaN for a window of one. */
export function rollingStd(values: Float64Array, window: number): Float64Array {
  return rollingMoments(values, window).std
}

/** Largest of the last `window` values. */
export function rollingMax(values: Float64Array, window: number): Float64Array {
  return rollingExtreme(values, window, 1)
}

/** Smallest of the last `window` values. */
export function rollingMin(values: Float64Array, window: number): Float64Array {
  return rollingExtreme(values, window, -1)
}

/** ln(value / value before), the continuously compounded return of one bar; NaN at the first bar. */
export function logReturns(values: Float64Array): Float64Array {
  const returns = unfilled(values.length, 1)
  for (let i = 1; i < values.length; i++) returns[i] = Math.log(values[i]! / values[i - 1]!)
  return returns
}

/**
 * Exponential moving average with alpha = 2 / (period + 1), seeded by the mean of the first `period` values, as Appel
 * and the charting libraries have it. (pandas' `ewm(span, adjust=False)` is seeded by the first value alone: the two
 * differ by a term that shrinks by 1 - alpha a bar.) After a NaN it is seeded anew.
 */
export function ema(values: Float64Array, period: number): Float64Array {
  return smoothed(values, period, 2 / (period + 1))
}

/**
 * Relative strength index, 0 to 100: the average gain as a share of average gain plus average loss, per bar
 * (J. W. Wilder, New Concepts in Technical Trading Systems, 1978). `wilder` averages as he does, with alpha = 1 / period
 * after a first simple mean; `simple` is the mean of the last `period` changes (Cutler's RSI), which depends on nothing
 * before its window. Without any change it is 50: neither side is stronger.
 */
export function rsi(values: Float64Array, period: number, smoothing: RsiSmoothing): Float64Array {
  const gains = unfilled(values.length, 1)
  const losses = unfilled(values.length, 1)
  for (let i = 1; i < values.length; i++) {
    const change = values[i]! - values[i - 1]!
    const size = Math.abs(change)
    // max(change, 0) and max(-change, 0), exactly, without a branch that goes either way at random.
    gains[i] = (size + change) / 2
    losses[i] = (size - change) / 2
  }
  const gain = smoothing === 'wilder' ? smoothed(gains, period, 1 / period) : sma(gains, period)
  const loss = smoothing === 'wilder' ? smoothed(losses, period, 1 / period) : sma(losses, period)
  for (let i = 0; i < values.length; i++) {
    const total = gain[i]! + loss[i]!
    gain[i] = total === 0 ? 50 : 100 * (gain[i]! / total)
  }
  return gain
}

/** EMA(fast) - EMA(slow), the EMA of that over `signal` bars, and their difference (G. Appel, 1979; Aspray, 1986). */
export function macd(values: Float64Array, fast = 12, slow = 26, signal = 9): Macd {
  const line = difference(ema(values, fast), ema(values, slow))
  const average = ema(line, signal)
  return { macd: line, signal: average, histogram: difference(line, average) }
}

/**
 * Simple moving average, and `width` standard deviations above and below it (Bollinger on Bollinger Bands, 2001).
 * The deviation is the sample's; Bollinger's own divides by n: multiply the width by sqrt((n - 1) / n) for his.
 */
export function bollinger(values: Float64Array, window = 20, width = 2): Bollinger {
  const { mean: middle, std: upper } = rollingMoments(values, window)
  const lower = unfilled(values.length, window)
  for (let i = 0; i < values.length; i++) {
    const reach = width * upper[i]!
    upper[i] = middle[i]! + reach
    lower[i] = middle[i]! - reach
  }
  return { middle, upper, lower }
}

/**
 * Mean and sample standard deviation in one pass, by the head and tail sums described above. The pivot's own distance is
 * 0, so by Cauchy and Schwarz the squares exceed total^2 / window by at least their window-th part, which for any window
 * of less than millions of bars is far more than rounding: a variance is never below 0.
 */
function rollingMoments(values: Float64Array, window: number): { mean: Float64Array; std: Float64Array } {
  const mean = unfilled(values.length, window)
  const std = unfilled(values.length, window)
  const share = 1 / window
  const freeShare = 1 / (window - 1)
  for (let start = window - 1; start < values.length; start += window) {
    const end = Math.min(start + window, values.length)
    const pivot = values[start]!
    let sum = 0
    let squares = 0
    for (let last = start + window - 1; last > start; last--) {
      if (last < end) {
        mean[last] = sum
        std[last] = squares
      }
      const distance = values[last - window]! - pivot
      sum += distance
      squares += distance * distance
    }
    mean[start] = sum
    std[start] = squares
    sum = 0
    squares = 0
    for (let last = start; last < end; last++) {
      const distance = values[last]! - pivot
      sum += distance
      squares += distance * distance
      const total = mean[last]! + sum
      const variance = (std[last]! + squares - total * total * share) * freeShare
      mean[last] = pivot + total * share
      std[last] = Math.sqrt(variance)
    }
  }
  return { mean, std }
}

/** Largest value of the last `window` for sign 1, smallest for sign -1. */
function rollingExtreme(values: Float64Array, window: number, sign: 1 | -1): Float64Array {
  const extremes = unfilled(values.length, window)
  for (let start = window - 1; start < values.length; start += window) {
    const end = Math.min(start + window, values.length)
    let extreme = -Infinity
    for (let last = start + window - 1; last > start; last--) {
      if (last < end) extremes[last] = extreme
      extreme = Math.max(extreme, sign * values[last - window]!)
    }
    extremes[start] = extreme
    extreme = -Infinity
    for (let last = start; last < end; last++) {
      extreme = Math.max(extreme, sign * values[last]!)
      extremes[last] = sign * Math.max(extremes[last]!, extreme)
    }
  }
  return extremes
}

function difference(left: Float64Array, right: Float64Array): Float64Array {
  const differences = unfilled(left.length, 1)
  for (let i = 0; i < left.length; i++) differences[i] = left[i]! - right[i]!
  return differences
}

/** Exponential smoothing by `alpha`, from the mean of the first `period` values in a row that are not NaN. */
function smoothed(values: Float64Array, period: number, alpha: number): Float64Array {
  const averages = unfilled(values.length, period)
  let average = 0
  let seen = 0
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    if (Number.isNaN(value)) {
      seen = 0
      continue
    }
    // While the seed grows this is the running mean; equal values leave it exactly where it is.
    if (seen === 0) average = value
    else average += (value - average) * (seen < period ? 1 / (seen + 1) : alpha)
    seen++
    if (seen >= period) averages[i] = average
  }
  return averages
}

/** Bytes of a slab: 27 columns of 300 bars. */
const SLAB = 64 * 1024
let slab = new ArrayBuffer(0)
let used = 0

/**
 * A column of NaN. To make a typed array costs a microsecond, more than most of the loops above take for a year of bars,
 * and a view a fortieth of that: so columns are cut from a slab, one after the other, as Node cuts its small Buffers.
 */
function unfilled(length: number, window: number): Float64Array {
  if (!Number.isInteger(window) || window < 1) throw new RangeError(`window must be a positive integer, got ${window}`)
  const bytes = length * Float64Array.BYTES_PER_ELEMENT
  if (used + bytes > slab.byteLength) {
    slab = new ArrayBuffer(Math.max(bytes, SLAB))
    used = 0
  }
  const column = new Float64Array(slab, used, length).fill(NaN)
  used += bytes
  return column
}
