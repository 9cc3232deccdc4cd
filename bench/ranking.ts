/**
 * `node bench/ranking.ts`: a ranking of 500 tickers of 300 days: features of all and one batched inference, against a
 * prediction at a time; and its indicators against those of the package technicalindicators.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import Fastify from 'fastify'
import { FEATURES, HISTORY_BARS, latestFeatures } from '../domain/features.ts'
import { bollinger, logReturns, macd, rollingMax, rollingMin, rollingStd, rsi, sma } from '../domain/indicators.ts'
import { RANKING_MODEL } from '../domain/ranking.ts'
import { createSimulator } from '../domain/simulator.ts'
import model, { type Model } from '../plugins/model/index.ts'
import { LISTINGS } from '../sources/universes.ts'
import { begin, ratios, rounds, settings, spread, table } from './harness.ts'

const TICKERS = 500

interface Calculator {
  calculate(input: object): unknown[]
}

/** By require: its types are of another time. */
const packaged = createRequire(import.meta.url)('technicalindicators') as Record<
  'SMA' | 'RSI' | 'MACD' | 'BollingerBands' | 'SD' | 'Highest' | 'Lowest',
  Calculator
>

/** Closes of 300 days; the listings are fewer than 500, so that some have several seeds. */
function closes(): Float64Array[] {
  const listings = [...LISTINGS.values()]
  return Array.from({ length: TICKERS }, (_, i) => {
    const simulator = createSimulator({ seed: Math.floor(i / listings.length) + 1 })
    return simulator.candles(listings[i % listings.length]!, '2026-11-20').adjClose.slice(-HISTORY_BARS)
  })
}

/** What the features are made of, each over the whole series: the last value of each. */
function ours(series: Float64Array): number[] {
  const returns = logReturns(series)
  const { macd: line, histogram } = macd(series)
  const { middle, upper } = bollinger(series)
  const columns = [
    sma(series, 50),
    sma(series, 200),
    rsi(series, 14, 'wilder'),
    line,
    histogram,
    middle,
    upper,
    ...[20, 60, 120].map((window) => rollingStd(returns, window)),
    rollingMax(series, 252),
    rollingMin(series, 252)
  ]
  return columns.map((column) => column.at(-1)!)
}

/** The same by the package. Its standard deviation divides by n, ours by n - 1; its first MACD values are seeded by means. */
function theirs(series: number[]): number[] {
  const { SMA, RSI, MACD, BollingerBands, SD, Highest, Lowest } = packaged
  const returns = series.slice(1).map((close, i) => Math.log(close / series[i]!))
  const periods = { fastPeriod: 12, slowPeriod: 26, signalPeriod: 9, SimpleMAOscillator: false, SimpleMASignal: false }
  const line = MACD.calculate({ values: series, ...periods }).at(-1) as { MACD: number; histogram: number }
  const bands = BollingerBands.calculate({ values: series, period: 20, stdDev: 2 }).at(-1) as Record<string, number>
  return [
    SMA.calculate({ values: series, period: 50 }).at(-1) as number,
    SMA.calculate({ values: series, period: 200 }).at(-1) as number,
    RSI.calculate({ values: series, period: 14 }).at(-1) as number,
    line.MACD,
    line.histogram,
    bands['middle']!,
    bands['upper']!,
    ...[20, 60, 120].map((period) => SD.calculate({ values: returns, period }).at(-1) as number),
    Highest.calculate({ values: series, period: 252 }).at(-1) as number,
    Lowest.calculate({ values: series, period: 252 }).at(-1) as number
  ]
}

/** @throws if the two do not compute the same: then there is nothing to compare. */
function compare(series: Float64Array): void {
  const own = ours(series)
  for (const [i, value] of theirs([...series]).entries()) {
    if (!(Math.abs(value - own[i]!) <= 0.03 * Math.abs(own[i]!) + 1e-3))
      throw new Error(`indicator ${i}: ${own[i]}, package ${value}`)
  }
}

function simulatedOnly({ source }: { source?: string }): string | undefined {
  return source === 'simulated' ? undefined : 'is not the model of the simulated market'
}

async function openModel(): Promise<Model> {
  const app = Fastify()
  await app.register(model, { repository: join(import.meta.dirname, '../models'), refuse: simulatedOnly })
  await app.ready()
  return app.model
}

async function main(): Promise<void> {
  const { seconds } = settings('node bench/ranking.ts: a ranking of 500 tickers', 60)
  begin(['onnxruntime-node', 'technicalindicators'])
  const opened = await openModel()
  const all = closes()
  const arrays = all.map((series) => [...series])
  all.slice(0, 20).forEach(compare)

  const width = FEATURES.length
  async function batched(): Promise<void> {
    const vectors = new Float32Array(TICKERS * width)
    all.forEach((series, i) => vectors.set(latestFeatures(series)!, i * width))
    await opened.predict(RANKING_MODEL, vectors)
  }
  async function single(): Promise<void> {
    for (const series of all) await opened.predict(RANKING_MODEL, latestFeatures(series)!)
  }
  const tasks: [string, () => Promise<void> | void][] = [
    ['features and one inference', batched],
    ['a prediction at a time', single],
    ['features alone', () => all.forEach((series) => void latestFeatures(series))],
    ['indicators, ours', () => all.forEach((series) => void ours(series))],
    ['indicators, technicalindicators', () => arrays.forEach((series) => void theirs(series))]
  ]
  const times = await rounds(
    tasks.map(([, run]) => async () => {
      const started = performance.now()
      await run()
      return performance.now() - started
    }),
    seconds
  )
  console.log(
    'Medians and quartiles of 500 tickers; how many times shorter than a prediction at a time, and than the package.'
  )
  const base = [1, 1, 1, 4, 4]
  table(
    ['', 'ms', 'times shorter'],
    tasks.map(([name], i) => [name, spread(times[i]!, 2), spread(ratios(times[base[i]!]!, times[i]!), 1)])
  )
  process.exit()
}

await main()
