import * as fc from 'fast-check'
import t from 'tap'
import {
  FEATURE_BARS,
  FEATURES,
  featureMatrix,
  featureRecord,
  HISTORY_BARS,
  latestFeatures
} from '../../domain/features.ts'

const WIDTH = FEATURES.length
const FIVE_YEARS = 1260

/** A random walk of daily log returns with 2 % volatility, the same for the same seed (mulberry32). */
function randomWalk(seed: number, bars: number): Float64Array {
  let state = seed
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  let level = Math.log(20 + 200 * uniform())
  return Float64Array.from({ length: bars }, () => {
    level += 0.02 * (uniform() + uniform() + uniform() - 1.5) * 2
    return Math.exp(level)
  })
}

const rowOf = (matrix: Float32Array, bar: number): Float32Array => matrix.subarray(bar * WIDTH, (bar + 1) * WIDTH)

const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length

/** Seeded by the first value alone: what 300 bars leave of that is below anything compared here. */
function ema(values: Float64Array, period: number): Float64Array {
  let average = values[0]!
  return values.map((value) => (average += (2 / (period + 1)) * (value - average)))
}

/** The largest difference between two vectors, relative to the values where those are above 0.01. */
function distance(left: Float32Array, right: Float32Array): number {
  return Math.max(...left.map((value, i) => Math.abs(value - right[i]!) / Math.max(Math.abs(value), 0.01)))
}

function latest(adjClose: Float64Array): Float32Array {
  const vector = latestFeatures(adjClose)
  if (vector === undefined) throw new Error('no vector')
  return vector
}

t.test('every feature has a name of its own, a description and a unit', async (t) => {
  t.equal(WIDTH, 17)
  t.equal(new Set(FEATURES.map(({ name }) => name)).size, WIDTH)
  for (const { name, description, unit } of FEATURES) {
    t.match(name, /^[a-z][a-z0-9_]+$/)
    t.ok(description.length > 20 && unit.length > 0, name)
  }
  t.equal(FEATURE_BARS, 252)
  t.equal(HISTORY_BARS, 300)
})

t.test('each feature is what its description says', async (t) => {
  const close = randomWalk(3, 300)
  const now = close.length - 1
  const ago = (days: number): number => Math.log(close[now - days]!)
  const logs = close.map(Math.log)
  const returns = logs.subarray(1).map((value, i) => value - logs[i]!)
  const deviation = (values: Float64Array): number =>
    Math.sqrt((mean(values.map((value) => value * value)) - mean(values) ** 2) * (values.length / (values.length - 1)))
  const volatility = (days: number): number => deviation(returns.slice(-days))
  const changes = close.slice(-14).map((value, i) => value - close[now - 14 + i]!)
  const gains = changes.filter((change) => change > 0).reduce((sum, change) => sum + change, 0)
  const losses = changes.filter((change) => change < 0).reduce((sum, change) => sum - change, 0)
  const slow = ema(logs, 26)
  const macd = ema(logs, 12).map((value, i) => value - slow[i]!)
  const signal = ema(macd, 9)
  const year = close.slice(-252)

  const wanted = {
    return_5d: (ago(0) - ago(5)) / (volatility(60) * Math.sqrt(5)),
    return_20d: (ago(0) - ago(20)) / (volatility(60) * Math.sqrt(20)),
    return_60d: (ago(0) - ago(60)) / (volatility(60) * Math.sqrt(60)),
    momentum_120_20: (ago(20) - ago(120)) / (volatility(120) * Math.sqrt(100)),
    momentum_250_20: (ago(20) - ago(250)) / (volatility(120) * Math.sqrt(230)),
    volatility_20d: volatility(20),
    volatility_60d: volatility(60),
    volatility_ratio: volatility(20) / volatility(60),
    rsi_14: 100 - 100 / (1 + gains / losses),
    macd: macd[now]! / volatility(60),
    macd_histogram: (macd[now]! - signal[now]!) / volatility(60),
    bollinger_b: 0.5 + (close[now]! - mean(close.slice(-20))) / (4 * deviation(close.slice(-20))),
    sma50_distance: ago(0) - mean(logs.slice(-50)),
    sma200_distance: ago(0) - mean(logs.slice(-200)),
    high_52w_distance: Math.log(close[now]! / Math.max(...year)),
    low_52w_distance: Math.log(close[now]! / Math.min(...year)),
    max_return_20d: Math.max(...returns.slice(-20))
  }
  const found = featureRecord(latest(close))
  t.same(Object.keys(found), Object.keys(wanted))
  t.ok(distance(Float32Array.from(Object.values(found)), Float32Array.from(Object.values(wanted))) < 1e-6)
})

t.test('what is trained is what is served', async (t) => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const close = randomWalk(seed, FIVE_YEARS)
    const matrix = featureMatrix(close)
    t.equal(matrix.length, FIVE_YEARS * WIDTH)
    let worst = 0
    for (let bar = FEATURE_BARS - 1; bar < FIVE_YEARS; bar++) {
      worst = Math.max(worst, distance(rowOf(matrix, bar), latest(close.subarray(0, bar + 1))))
    }
    t.ok(worst < 1e-6, `seed ${seed}: ${worst}`)
  }
})

t.test('a longer history gives the same bits as HISTORY_BARS', async (t) => {
  const close = randomWalk(7, FIVE_YEARS)
  // A fall to almost nothing just before: an average over all of the series still shows a trace of it.
  for (let bar = 0; bar < FIVE_YEARS - HISTORY_BARS; bar++) close[bar] = close[bar]! * 1e60
  const wanted = latest(close.slice(-HISTORY_BARS))
  t.same(latest(close), wanted)
  t.same(latest(close.subarray(-HISTORY_BARS - 20)), wanted)
  t.notSame(rowOf(featureMatrix(close), FIVE_YEARS - 1), wanted)
})

t.test('a row knows nothing of later bars', async (t) => {
  const close = randomWalk(11, 600)
  const matrix = featureMatrix(close)
  for (const bars of [252, 253, 400, 599]) {
    t.same(featureMatrix(close.slice(0, bars)), matrix.slice(0, bars * WIDTH))
  }
})

t.test('rows are NaN until the first complete one', async (t) => {
  const close = randomWalk(13, 260)
  const matrix = featureMatrix(close)
  t.ok(matrix.subarray(0, 251 * WIDTH).every(Number.isNaN))
  t.ok(matrix.subarray(251 * WIDTH).every(Number.isFinite))
  t.same(featureMatrix(close.subarray(0, 251)), new Float32Array(251 * WIDTH).fill(NaN))
  t.same(featureMatrix(new Float64Array()), new Float32Array())
  t.equal(latestFeatures(close.subarray(0, 251)), undefined)
  t.same(latestFeatures(close.subarray(0, 252)), rowOf(matrix, 251))
})

t.test('a constant price is at no distance from anything', async (t) => {
  const neutral = { volatility_ratio: 1, rsi_14: 50, bollinger_b: 0.5 }
  const wanted = { ...Object.fromEntries(FEATURES.map(({ name }) => [name, 0])), ...neutral }
  for (const price of [0.1, 1, 17.3, 123_456.789]) {
    const close = new Float64Array(400).fill(price)
    t.same(featureRecord(latest(close)), wanted)
    t.same(featureRecord(rowOf(featureMatrix(close), 399)), wanted)
  }
})

t.test('the 52-week high and low are those of 252 closes', async (t) => {
  const withPrice = (daysAgo: number, price: number): Record<string, number> => {
    const close = new Float64Array(300).fill(100)
    close[299 - daysAgo] = price
    return featureRecord(latest(close))
  }
  t.equal(withPrice(251, 200)['high_52w_distance'], Math.fround(-Math.LN2))
  t.equal(withPrice(252, 200)['high_52w_distance'], 0)
  t.equal(withPrice(251, 50)['low_52w_distance'], Math.fround(Math.LN2))
  t.equal(withPrice(252, 50)['low_52w_distance'], 0)
})

t.test('the largest return is that of 20 days', async (t) => {
  const doubled = (daysAgo: number): Float64Array =>
    Float64Array.from({ length: 300 }, (_, bar) => (bar < 299 - daysAgo ? 1 : 2))
  t.equal(featureRecord(latest(doubled(19)))['max_return_20d'], Math.fround(Math.LN2))
  t.equal(featureRecord(latest(doubled(20)))['max_return_20d'], 0)
})

t.test('a price that stopped moving after a fall keeps its memory and stays finite', async (t) => {
  const close = Float64Array.from({ length: 300 }, (_, bar) => (bar < 220 ? 100 : 50))
  const found = featureRecord(latest(close))
  t.match(found, { volatility_20d: 0, volatility_60d: 0, rsi_14: 50, bollinger_b: 0.5, return_60d: 0 })
  t.equal(found['high_52w_distance'], Math.fround(-Math.LN2))
  // 80 days ago: outside the last 60, inside the last 120.
  const volatility = Math.LN2 * Math.sqrt((1 - 1 / 120) / 119)
  t.ok(Math.abs(found['momentum_120_20']! / (-Math.LN2 / (volatility * 10)) - 1) < 1e-6)
})

t.test('scale does not matter: the same bits after a split, the same values in any currency', async (t) => {
  for (const seed of [17, 18, 19]) {
    const close = randomWalk(seed, 400)
    for (const factor of [0.25, 0.5, 2, 1024]) {
      t.same(featureMatrix(close.map((price) => price * factor)), featureMatrix(close))
    }
    for (const factor of [1e-6, 0.01, 0.9137, 150.31, 1e6]) {
      t.ok(distance(latest(close.map((price) => price * factor)), latest(close)) < 1e-6, `times ${factor}`)
    }
  }
})

t.test('every series of positive prices has finite features', async () => {
  const exponent = fc.oneof(
    { weight: 4, arbitrary: fc.double({ min: 1, max: 3, noNaN: true }) },
    { weight: 1, arbitrary: fc.double({ min: -100, max: 100, noNaN: true }) }
  )
  // Runs of one price each, so that windows with and without any movement are common.
  const run = fc.tuple(exponent, fc.integer({ min: 1, max: 90 }))
  fc.assert(
    fc.property(fc.array(run, { minLength: 1, maxLength: 30 }), (runs) => {
      const prices = runs.flatMap(([power, days]) => Array.from({ length: days }, () => 10 ** power))
      const padding = Array.from({ length: Math.max(0, FEATURE_BARS - prices.length) }, () => prices[0]!)
      const close = Float64Array.from([...padding, ...prices])
      const vectors = [latest(close), featureMatrix(close).subarray((FEATURE_BARS - 1) * WIDTH)]
      return vectors.every((vector) => vector.every(Number.isFinite))
    })
  )
})
