import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import * as fc from 'fast-check'
import t from 'tap'
import {
  bollinger,
  ema,
  logReturns,
  macd,
  rollingMax,
  rollingMin,
  rollingStd,
  rsi,
  sma
} from '../../domain/indicators.ts'

const require = createRequire(import.meta.url)

/** Fails at the first bar that differs by more than `tolerance` times the larger of both; NaN equals NaN. */
function sameSeries(test: Pick<typeof t, 'equal'>, found: Float64Array, wanted: Float64Array, tolerance: number): void {
  test.equal(firstDifference(found, wanted, tolerance), undefined)
}

function firstDifference(found: Float64Array, wanted: Float64Array, tolerance: number): string | undefined {
  if (found.length !== wanted.length) return `${found.length} bars, wanted ${wanted.length}`
  const bar = found.findIndex((value, i) => {
    const size = Math.max(Math.abs(value), Math.abs(wanted[i]!))
    return Number.isNaN(size) ? !Object.is(value, wanted[i]) : Math.abs(value - wanted[i]!) > tolerance * size
  })
  return bar < 0 ? undefined : `bar ${bar}: ${found[bar]}, wanted ${wanted[bar]}`
}

// --- published values -------------------------------------------------------------------------------------------

/** techan leaves a value out where it has none. */
type TechanKey = 'close' | 'value' | 'rsi' | 'macd' | 'signal' | 'difference' | 'middleBand' | 'upperBand' | 'lowerBand'
type TechanPoint = Partial<Record<TechanKey, number>>

const valuesOf = (points: TechanPoint[], key: TechanKey): Float64Array =>
  Float64Array.from(points.map((point) => point[key] ?? NaN))

/** `length` bars, of which only the last ones have a value. */
function padded(values: Float64Array, length: number): Float64Array {
  const series = new Float64Array(length).fill(NaN)
  series.set(values, length - values.length)
  return series
}

/** One column of a CSV of d3fc's own tests; an empty cell is NaN. */
function d3fcColumn(file: string, column: string): Float64Array {
  const path = require.resolve(`@d3fc/d3fc-technical-indicator/test/data/${file}.csv`)
  const [header = '', ...lines] = readFileSync(path, 'utf8').trimEnd().split(/\r?\n/)
  const index = header.split(',').indexOf(column)
  return Float64Array.from(lines.map((line) => Number(line.split(',')[index] || NaN)))
}

/** 452 daily closes from 2012-05-18 on, newest first in the file; as a module it would want a browser's global d3. */
function facebookCloses(): Float64Array {
  const source = readFileSync(require.resolve('techan/test/spec/bundle/_fixtures/data/ohlc.js'), 'utf8')
  const rows = [...source.matchAll(/\["\d{4}-\d\d-\d\d",[\d.]+,[\d.]+,[\d.]+,([\d.]+),\d+\]/g)]
  return Float64Array.from(rows.map(([, close]) => Number(close))).toReversed()
}

t.test('equals the values techan publishes', async (t) => {
  const fixtures = 'techan/test/spec/bundle/_fixtures/data'
  type Fixture = { input: TechanPoint[]; expected: TechanPoint[] }
  const average: { input: TechanPoint[]; expected: Record<'sma' | 'ema', TechanPoint[]> } = require(
    `${fixtures}/movingaverage.js`
  )
  const values = valuesOf(average.input, 'close')
  sameSeries(t, sma(values, 10), padded(valuesOf(average.expected.sma, 'value'), values.length), 1e-14)
  sameSeries(t, ema(values, 10), padded(valuesOf(average.expected.ema, 'value'), values.length), 1e-14)

  const convergence: Fixture = require(`${fixtures}/macd.js`)
  const found = macd(valuesOf(convergence.input, 'close'))
  const { length } = convergence.input
  sameSeries(t, found.macd.slice(33), valuesOf(convergence.expected, 'macd'), 1e-12)
  sameSeries(t, found.signal, padded(valuesOf(convergence.expected, 'signal'), length), 1e-12)
  sameSeries(t, found.histogram, padded(valuesOf(convergence.expected, 'difference'), length), 1e-12)

  // techan goes on from here with alpha = 2 / 15, which is neither Wilder's way nor a simple mean.
  const strength: Fixture = require(`${fixtures}/rsi.js`)
  const closes = valuesOf(strength.input, 'close')
  const [first = NaN] = valuesOf(strength.expected, 'rsi')
  t.ok(Math.abs(rsi(closes, 14, 'wilder')[14]! - first) < 1e-12)
  t.ok(Math.abs(rsi(closes, 14, 'simple')[14]! - first) < 1e-12)
})

t.test('equals techan on 452 days of a share', async (t) => {
  const closes = facebookCloses()
  t.equal(closes.length, 452)
  type Indicator = () => (points: TechanPoint[]) => TechanPoint[]
  const techan: { indicator: Record<'sma' | 'ema' | 'macd' | 'bollinger', Indicator> } = require('techan')
  const points = Array.from(closes, (close) => ({ close }))

  sameSeries(t, sma(closes, 10), padded(valuesOf(techan.indicator.sma()(points), 'value'), 452), 1e-13)
  sameSeries(t, ema(closes, 10), padded(valuesOf(techan.indicator.ema()(points), 'value'), 452), 1e-13)
  const convergence = techan.indicator.macd()(points)
  sameSeries(t, macd(closes).signal, padded(valuesOf(convergence, 'signal'), 452), 1e-10)
  sameSeries(t, macd(closes).histogram, padded(valuesOf(convergence, 'difference'), 452), 1e-10)

  // techan divides by n, and leaves the first full window out.
  const { middle, upper, lower } = bollinger(closes, 20, 2 * Math.sqrt(19 / 20))
  const bands = techan.indicator.bollinger()(points)
  sameSeries(t, middle.slice(20), valuesOf(bands, 'middleBand'), 1e-13)
  sameSeries(t, upper.slice(20), valuesOf(bands, 'upperBand'), 1e-13)
  sameSeries(t, lower.slice(20), valuesOf(bands, 'lowerBand'), 1e-13)
})

t.test('equals the values d3fc publishes, also after days without prices', async (t) => {
  const open = d3fcColumn('input', 'Open')
  t.ok(Number.isNaN(open[0]))
  // Nine digits are printed; the MACD is a difference of two of those.
  sameSeries(t, sma(open, 10), d3fcColumn('movingAverage', 'MA'), 1e-9)
  sameSeries(t, ema(open, 9), d3fcColumn('exponentialMovingAverage', 'EMA'), 1e-9)
  sameSeries(t, rollingStd(open, 10), d3fcColumn('bollingerBands', 'SDEV'), 1e-9)
  sameSeries(t, rsi(d3fcColumn('input', 'Close'), 14, 'wilder'), d3fcColumn('rsi', 'RSI'), 1e-9)

  const { middle, upper, lower } = bollinger(open, 10)
  sameSeries(t, middle, d3fcColumn('bollingerBands', 'SMA'), 1e-9)
  sameSeries(t, upper, d3fcColumn('bollingerBands', 'UPPER'), 1e-9)
  sameSeries(t, lower, d3fcColumn('bollingerBands', 'LOWER'), 1e-9)

  const convergence = macd(open, 12, 29)
  sameSeries(t, convergence.macd, d3fcColumn('macd', 'MACD'), 1e-7)
  sameSeries(t, convergence.signal, d3fcColumn('macd', 'SIGNAL'), 1e-7)
  sameSeries(t, convergence.histogram, d3fcColumn('macd', 'HISTOGRAM'), 1e-6)
})

// --- properties -------------------------------------------------------------------------------------------------

/** In cents: neighbouring floats would test nothing but rounding. */
const price = fc.integer({ min: 100, max: 100_000 }).map((cents) => cents / 100)
const prices = fc.array(price, { maxLength: 80 }).map((values) => Float64Array.from(values))
const gappy = fc
  .array(fc.oneof({ weight: 12, arbitrary: price }, { weight: 1, arbitrary: fc.constant(NaN) }), { maxLength: 80 })
  .map((values) => Float64Array.from(values))
const window = fc.integer({ min: 1, max: 25 })

const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length

function deviation(values: Float64Array): number {
  const middle = mean(values)
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1))
}

/** Cutler's: of the slice's changes. */
function strengthOf(slice: Float64Array): number {
  const changes = slice.subarray(1).map((value, i) => value - slice[i]!)
  const gain = changes.reduce((sum, change) => sum + Math.max(change, 0), 0)
  const loss = changes.reduce((sum, change) => sum + Math.max(-change, 0), 0)
  return gain + loss === 0 ? 50 : 100 - 100 / (1 + gain / loss)
}

/** The definition: a slice a bar. */
function sliced(values: Float64Array, size: number, statistic: (slice: Float64Array) => number): Float64Array {
  return values.map((_, i) => (i + 1 < size ? NaN : statistic(values.subarray(i + 1 - size, i + 1))))
}

/** Runs a property whose check names the first difference it finds. */
function holds<Args extends [unknown, ...unknown[]]>(
  arbitraries: { [I in keyof Args]: fc.Arbitrary<Args[I]> },
  check: (...args: Args) => (string | undefined)[]
): void {
  fc.assert(
    fc.property(...arbitraries, (...args: Args) => {
      const differences = check(...args).filter((difference) => difference !== undefined)
      if (differences.length > 0) throw new Error(differences.join('; '))
    })
  )
}

t.test('rolling statistics equal those of slices, around gaps too', async () => {
  holds<[Float64Array, number]>([gappy, window], (values, size) => [
    firstDifference(sma(values, size), sliced(values, size, mean), 1e-13),
    firstDifference(rollingStd(values, size), sliced(values, size, deviation), 1e-12),
    firstDifference(
      rollingMax(values, size),
      sliced(values, size, (slice) => Math.max(...slice)),
      0
    ),
    firstDifference(
      rollingMin(values, size),
      sliced(values, size, (slice) => Math.min(...slice)),
      0
    )
  ])
})

t.test('the simple RSI equals that of slices', async () => {
  holds<[Float64Array, number]>([gappy, window], (values, period) => [
    firstDifference(rsi(values, period, 'simple'), sliced(values, period + 1, strengthOf), 1e-10)
  ])
})

t.test('log returns add up', async (t) => {
  const returns = logReturns(Float64Array.of(100, 110, 55, NaN, 50, 100))
  sameSeries(t, returns, Float64Array.of(NaN, Math.log(1.1), -Math.LN2, NaN, NaN, Math.LN2), 1e-15)
})

t.test('another currency scales averages and bands, and leaves the RSI alone', async () => {
  const rate = fc.double({ min: 1e-6, max: 1e6, noNaN: true })
  holds<[Float64Array, number, number]>([prices, rate, window], (values, factor, size) => {
    const scale = (series: Float64Array): Float64Array => series.map((value) => value * factor)
    return [
      firstDifference(sma(scale(values), size), scale(sma(values, size)), 1e-10),
      firstDifference(ema(scale(values), size), scale(ema(values, size)), 1e-10),
      firstDifference(bollinger(scale(values), size).upper, scale(bollinger(values, size).upper), 1e-10),
      firstDifference(rsi(scale(values), size, 'simple'), rsi(values, size, 'simple'), 1e-8),
      firstDifference(rsi(scale(values), size, 'wilder'), rsi(values, size, 'wilder'), 1e-8)
    ]
  })
})

const half = (series: Float64Array): Float64Array => series.map((value) => value / 2)

t.test('a split of 2 for 1 changes nothing but the scale, to the bit', async () => {
  holds<[Float64Array, number]>([prices, window], (values, size) => [
    firstDifference(rollingStd(half(values), size), half(rollingStd(values, size)), 0),
    firstDifference(bollinger(half(values), size).lower, half(bollinger(values, size).lower), 0),
    firstDifference(macd(half(values), 3, 7, size).histogram, half(macd(values, 3, 7, size).histogram), 0),
    firstDifference(rsi(half(values), size, 'wilder'), rsi(values, size, 'wilder'), 0),
    firstDifference(logReturns(half(values)), logReturns(values), 0)
  ])
})

t.test('a constant has exactly itself for a mean and no deviation, whatever went before', async () => {
  holds<[Float64Array, number, number]>([prices, price, window], (before, value, size) => {
    const flat = new Float64Array(size * 2).fill(value)
    const series = Float64Array.from([...before, ...flat])
    const full = new Float64Array(size + 1).fill(value)
    const tail = (found: Float64Array): Float64Array => found.slice(-full.length)
    return [
      firstDifference(tail(sma(series, size)), full, 0),
      firstDifference(tail(rollingStd(series, size + 1)).slice(1), new Float64Array(size), 0),
      firstDifference(ema(flat, size), padded(full, flat.length), 0),
      firstDifference(macd(flat, 1, size, 1).histogram, padded(full.fill(0), flat.length), 0),
      firstDifference(rsi(flat, size, 'wilder').slice(size), new Float64Array(size).fill(50), 0)
    ]
  })
})

t.test('the RSI is 100 without a loss and 0 without a gain', async (t) => {
  const rise = Float64Array.from({ length: 40 }, (_, i) => 1.01 ** i)
  for (const smoothing of ['simple', 'wilder'] as const) {
    t.same(new Set(rsi(rise, 14, smoothing).slice(14)), new Set([100]))
    t.same(new Set(rsi(rise.toReversed(), 14, smoothing).slice(14)), new Set([0]))
  }
})

t.test('an exponential average starts anew after a gap', async () => {
  holds<[Float64Array, Float64Array, number]>([prices, prices, window], (before, after, period) => [
    firstDifference(
      ema(Float64Array.from([...before, NaN, ...after]), period),
      Float64Array.from([...ema(before, period), NaN, ...ema(after, period)]),
      0
    )
  ])
})

t.test('a million bars and a crash from 1e9 leave no trace', async (t) => {
  const values = Float64Array.from({ length: 1_000_000 }, (_, i) => 100 + Math.sin(i) + Math.sin(i * i * 0.001))
  values.fill(1e9, 500_000, 500_100)
  const means = sma(values, 200)
  const deviations = rollingStd(values, 200)
  for (const last of [199, 250_001, 500_299, 500_300, 700_007, 999_999]) {
    const slice = values.subarray(last - 199, last + 1)
    t.ok(Math.abs(means[last]! / mean(slice) - 1) < 1e-13, `mean at ${last}`)
    t.ok(Math.abs(deviations[last]! / deviation(slice) - 1) < 1e-12, `deviation at ${last}`)
  }
})

t.test('a series shorter than the window has no values', async (t) => {
  const short = Float64Array.of(1, 2, 3)
  const none = Float64Array.of(NaN, NaN, NaN)
  for (const rolled of [sma, ema, rollingStd, rollingMax, rollingMin]) {
    t.same(rolled(short, 4), none)
    t.same(rolled(new Float64Array(), 4), new Float64Array())
  }
  t.same(rsi(short, 3, 'simple'), none)
  t.same(macd(short), { macd: none, signal: none, histogram: none })
  t.same(bollinger(short), { middle: none, upper: none, lower: none })
})

t.test('a window that is no positive integer is refused', async (t) => {
  for (const bad of [0, -1, 1.5, NaN, Infinity]) {
    const message = `window must be a positive integer, got ${bad}`
    for (const rolled of [sma, ema, rollingStd, rollingMax, rollingMin]) {
      t.throws(() => rolled(Float64Array.of(1, 2, 3), bad), new RangeError(message))
    }
    t.throws(() => rsi(Float64Array.of(1, 2, 3), bad, 'wilder'), new RangeError(message))
  }
})

t.test('a result stays as it was, however many others are made after it', async (t) => {
  const values = Float64Array.from({ length: 100 }, (_, i) => i)
  const results = Array.from({ length: 500 }, (_, i) => sma(values, (i % 50) + 1))
  const differences = results.map((result, i) => firstDifference(result, sliced(values, (i % 50) + 1, mean), 1e-14))
  t.same(new Set(differences), new Set([undefined]))
  const long = sma(new Float64Array(100_000).fill(7), 2)
  t.equal(long.length, 100_000)
  t.equal(long[99_999], 7)
})
