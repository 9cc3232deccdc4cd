/**
 * The features of the models, from adjusted closes alone: some markets have no volume and no open, high or low.
 *
 * Training and serving both call this file, so what is trained is what is served. All features are scale-free: prices
 * in pence or pounds, before or after a split, give the same vector. All are finite for every series of prices between
 * 1e-100 and 1e100, however quiet: what divides is never below `QUIETEST`, so that a constant price is at no distance
 * from anything, its %B is 0.5, its RSI 50 and its volatility ratio 1.
 */
import { bollinger, logReturns, macd, rollingMax, rollingMin, rollingStd, rsi, sma } from './indicators.ts'

/** What a model's manifest and a reply say of one place in a feature vector. */
export interface FeatureDefinition {
  name: string
  description: string
  unit: string
}

/** Closes until the first complete vector: 52 weeks, the longest window of all features. */
export const FEATURE_BARS = 252

/**
 * Daily bars that a server asks its source for, and the only ones that `latestFeatures` looks at. FEATURE_BARS are enough
 * for all but the MACD, whose averages forget slowly: after 300 bars the slow one still holds (25/27)^274 = 7e-10 of the
 * error of its seed, less than what is lost in rounding to float32 (6e-8).
 */
export const HISTORY_BARS = 300

/** A basis point a day: below the volatility of anything that is traded, above the rounding noise of what is not. */
const QUIETEST = 1e-4

/** What the formulas read, one place for each bar that has a vector. */
interface Columns {
  close: Float64Array
  /** ln(close / first close of the series). */
  level: Float64Array
  /** `level` of all bars, and the index in it of the first bar that has a vector. */
  past: Float64Array
  first: number
  /** Standard deviations of daily log returns over 20, 60 and 120 bars. */
  volatility20: Float64Array
  volatility60: Float64Array
  volatility120: Float64Array
  largestReturn: Float64Array
  strength: Float64Array
  convergence: Float64Array
  histogram: Float64Array
  middleBand: Float64Array
  upperBand: Float64Array
  mean50: Float64Array
  mean200: Float64Array
  highest: Float64Array
  lowest: Float64Array
}

interface Formula extends FeatureDefinition {
  value(columns: Columns, row: number): number
}

const SIGMAS = 'standard deviations'
const LOG_RETURN = 'log return'

const FORMULAS: readonly Formula[] = [
  {
    name: 'return_5d',
    description: 'Log return of 5 days over the 60-day volatility of 5 days',
    unit: SIGMAS,
    value: (columns, row) => move(columns, row, 5, 0) / spread(columns.volatility60[row]!, 5)
  },
  {
    name: 'return_20d',
    description: 'Log return of 20 days over the 60-day volatility of 20 days',
    unit: SIGMAS,
    value: (columns, row) => move(columns, row, 20, 0) / spread(columns.volatility60[row]!, 20)
  },
  {
    name: 'return_60d',
    description: 'Log return of 60 days over the 60-day volatility of 60 days',
    unit: SIGMAS,
    value: (columns, row) => move(columns, row, 60, 0) / spread(columns.volatility60[row]!, 60)
  },
  {
    name: 'momentum_120_20',
    description: 'Log return from 120 to 20 days ago over the 120-day volatility of 100 days',
    unit: SIGMAS,
    value: (columns, row) => move(columns, row, 120, 20) / spread(columns.volatility120[row]!, 100)
  },
  {
    name: 'momentum_250_20',
    description: 'Log return from 250 to 20 days ago (12-1 momentum) over the 120-day volatility of 230 days',
    unit: SIGMAS,
    value: (columns, row) => move(columns, row, 250, 20) / spread(columns.volatility120[row]!, 230)
  },
  {
    name: 'volatility_20d',
    description: 'Sample standard deviation of the last 20 daily log returns',
    unit: `${LOG_RETURN} a day`,
    value: (columns, row) => columns.volatility20[row]!
  },
  {
    name: 'volatility_60d',
    description: 'Sample standard deviation of the last 60 daily log returns',
    unit: `${LOG_RETURN} a day`,
    value: (columns, row) => columns.volatility60[row]!
  },
  {
    name: 'volatility_ratio',
    description: '20-day over 60-day volatility: above 1 when the price has become less quiet',
    unit: 'ratio',
    value: (columns, row) => spread(columns.volatility20[row]!, 1) / spread(columns.volatility60[row]!, 1)
  },
  {
    name: 'rsi_14',
    description: 'Relative strength index of 14 days with simple means',
    unit: '0 to 100',
    value: (columns, row) => columns.strength[row]!
  },
  {
    name: 'macd',
    description: 'MACD 12/26 of the log price over the 60-day volatility of a day',
    unit: SIGMAS,
    value: (columns, row) => columns.convergence[row]! / spread(columns.volatility60[row]!, 1)
  },
  {
    name: 'macd_histogram',
    description: 'MACD 12/26 of the log price minus its EMA 9, over the 60-day volatility of a day',
    unit: SIGMAS,
    value: (columns, row) => columns.histogram[row]! / spread(columns.volatility60[row]!, 1)
  },
  {
    name: 'bollinger_b',
    description: 'Bollinger %B of 20 days and 2 standard deviations: 0 on the lower band, 1 on the upper',
    unit: 'share of the band',
    value: (columns, row) => {
      const middle = columns.middleBand[row]!
      const reach = Math.max(columns.upperBand[row]! - middle, 2 * QUIETEST * middle)
      return 0.5 + (columns.close[row]! - middle) / (2 * reach)
    }
  },
  {
    name: 'sma50_distance',
    description: 'Log price minus its mean of 50 days',
    unit: LOG_RETURN,
    value: (columns, row) => columns.level[row]! - columns.mean50[row]!
  },
  {
    name: 'sma200_distance',
    description: 'Log price minus its mean of 200 days',
    unit: LOG_RETURN,
    value: (columns, row) => columns.level[row]! - columns.mean200[row]!
  },
  {
    name: 'high_52w_distance',
    description: 'Log return since the highest close of 252 days: 0 at the high, else negative',
    unit: LOG_RETURN,
    value: (columns, row) => columns.level[row]! - columns.highest[row]!
  },
  {
    name: 'low_52w_distance',
    description: 'Log return since the lowest close of 252 days: 0 at the low, else positive',
    unit: LOG_RETURN,
    value: (columns, row) => columns.level[row]! - columns.lowest[row]!
  },
  {
    name: 'max_return_20d',
    description: 'Largest daily log return of the last 20 days',
    unit: LOG_RETURN,
    value: (columns, row) => columns.largestReturn[row]!
  }
]

/** The places of a feature vector, in order. */
export const FEATURES: readonly FeatureDefinition[] = FORMULAS.map(({ name, description, unit }) =>
  Object.freeze({ name, description, unit })
)

/**
 * The vectors of all bars, row-major: feature f of bar t is at t * FEATURES.length + f. A row depends on its own bar and
 * those before it; the first FEATURE_BARS - 1 rows are NaN.
 *
 * @param adjClose adjusted closes, ascending by date, all positive.
 */
export function featureMatrix(adjClose: Float64Array): Float32Array {
  const width = FORMULAS.length
  const first = FEATURE_BARS - 1
  const matrix = new Float32Array(adjClose.length * width).fill(NaN)
  const columns = computeColumns(adjClose, first)
  for (let bar = first; bar < adjClose.length; bar++) writeRow(columns, bar - first, matrix, bar * width)
  return matrix
}

/**
 * The vector of the last bar, from the last HISTORY_BARS closes: who has 300 of them and who has five years get the same
 * bits. undefined: fewer than FEATURE_BARS closes.
 *
 * @param adjClose adjusted closes, ascending by date, all positive.
 */
export function latestFeatures(adjClose: Float64Array): Float32Array | undefined {
  if (adjClose.length < FEATURE_BARS) return undefined
  const recent = adjClose.subarray(-HISTORY_BARS)
  const vector = new Float32Array(FORMULAS.length)
  writeRow(computeColumns(recent, recent.length - 1), 0, vector, 0)
  return vector
}

/** The values of a vector by name, in the order of FEATURES. */
export function featureRecord(vector: Float32Array): Record<string, number> {
  return Object.fromEntries(FEATURES.map(({ name }, index) => [name, vector[index]!]))
}

/** The columns for `first` and all later bars. Windows are cut to what these bars need: one bar costs one window. */
function computeColumns(close: Float64Array, first: number): Columns {
  const returns = logReturns(close)
  const past = new Float64Array(close.length)
  for (let bar = 1; bar < close.length; bar++) past[bar] = past[bar - 1]! + returns[bar]!
  // MACD is taken of the log price: of the price itself it would be in the price's currency.
  const { macd: convergence, histogram } = macd(past)
  const { middle, upper } = bollinger(close.subarray(first - 19))
  return {
    close: close.subarray(first),
    level: past.subarray(first),
    past,
    first,
    volatility20: rolling(rollingStd, returns, 20, first),
    volatility60: rolling(rollingStd, returns, 60, first),
    volatility120: rolling(rollingStd, returns, 120, first),
    largestReturn: rolling(rollingMax, returns, 20, first),
    strength: rsi(close.subarray(first - 14), 14, 'simple').subarray(14),
    convergence: convergence.subarray(first),
    histogram: histogram.subarray(first),
    middleBand: middle.subarray(19),
    upperBand: upper.subarray(19),
    mean50: rolling(sma, past, 50, first),
    mean200: rolling(sma, past, 200, first),
    highest: rolling(rollingMax, past, FEATURE_BARS, first),
    lowest: rolling(rollingMin, past, FEATURE_BARS, first)
  }
}

function rolling(
  statistic: (values: Float64Array, window: number) => Float64Array,
  values: Float64Array,
  window: number,
  first: number
): Float64Array {
  return statistic(values.subarray(first - window + 1), window).subarray(window - 1)
}

function writeRow(columns: Columns, row: number, out: Float32Array, offset: number): void {
  for (const [index, formula] of FORMULAS.entries()) out[offset + index] = formula.value(columns, row)
}

/** Log return between two days, given as days before a row's own. */
function move({ past, first }: Columns, row: number, from: number, to: number): number {
  return past[first + row - to]! - past[first + row - from]!
}

/** How far a random walk of this daily volatility gets in so many days. */
function spread(volatility: number, days: number): number {
  return Math.max(volatility, QUIETEST) * Math.sqrt(days)
}
