import t from 'tap'
import { FEATURES, featureMatrix } from '../../domain/features.ts'
import { createSimulator } from '../../domain/simulator.ts'
import { LISTINGS } from '../../sources/universes.ts'
import type { FeatureFunction } from '../../training/dataset.ts'
import { gateFailures } from '../../training/gate.ts'
import { trainOn } from '../../training/pipeline.ts'
import { evaluate, forecastFold, yearlyFolds } from '../../training/walk-forward.ts'
import { smallMarket } from './small-market.ts'

const WIDTH = FEATURES.length
const quiet = (): void => {}
const lines: string[] = []
const PLANTED = { momentum: 0.04, seed: 9 }
const planted = await trainOn(smallMarket(PLANTED), (line) => lines.push(line))

/** Some of the features as they will be so many days later. */
function fromTheFuture(days: number, names: readonly string[]): FeatureFunction {
  return (adjClose) => {
    const honest = featureMatrix(adjClose)
    return honest.map((value, i) =>
      names.includes(FEATURES[i % WIDTH]!.name) && i + days * WIDTH < honest.length ? honest[i + days * WIDTH]! : value
    )
  }
}

t.test('the planted signal is found: most of what a perfect forecaster would', async (t) => {
  const { evaluation, failures, model, rows, source } = planted
  t.equal(source, 'simulated')
  t.same(failures, [])
  t.same(
    evaluation.years.map(({ year }) => year),
    ['2022', '2023']
  )
  t.match(lines, [/^\d+ weekly rows from 2017-12-20 to 2023-/, /^2022: \d+ rows trained, \d+ forecast$/, /^2023: /])

  const simulator = createSimulator(PLANTED)
  const signals = new Map<string, Map<string, number>>()
  for (const symbol of new Set(rows.map((row) => row.symbol))) {
    const listing = LISTINGS.get(symbol)!
    const { dates } = simulator.candles(listing, '2023-06-30')
    const signal = simulator.signal(listing, '2023-06-30')
    signals.set(symbol, new Map(dates.map((date, i) => [date, signal[i]!])))
  }
  const judged = yearlyFolds(rows).flatMap(({ test }) => [...test])
  const oracle = evaluate(
    judged.map((row) => ({ row, base: 0.5, probability: 0.5 + signals.get(row.symbol)!.get(row.date)! / 10 }))
  ).metrics
  const share = evaluation.metrics.rank_ic / oracle.rank_ic
  t.ok(share > 0.7 && share < 1.2, `model ${evaluation.metrics.rank_ic}, oracle ${oracle.rank_ic}`)

  const heaviest = FEATURES[model.weights.indexOf(Math.max(...model.weights))]!.name
  t.match(heaviest, /momentum/)
  t.ok(model.platt.a > 0.5)
})

t.test('a market without signal: the leak alarm is silent, the promotion gate refuses', async (t) => {
  for (const seed of [1, 4, 5, 7]) {
    const { evaluation, failures } = await trainOn(smallMarket({ momentum: 0, seed, kind: 'historical' }), quiet)
    t.ok(Math.abs(evaluation.metrics.auc - 0.5) < 0.03, `AUC ${evaluation.metrics.auc}`)
    t.match(failures[0], /^no skill shown: AUC 0\.\d{4}, and its 5 % bootstrap bound 0\.4\d{3} is not above \.5$/)
  }
})

t.test('the leak alarm fires on real prices when features are from the future', async (t) => {
  const prices = smallMarket({ momentum: 0, seed: 7, kind: 'historical' })
  const names = FEATURES.map(({ name }) => name)
  await t.rejects(trainOn(prices, quiet, fromTheFuture(1, ['return_5d'])), {
    name: 'LeakError',
    message: /return_5d alone has a rank IC of 0\.\d{3}, t \d+/
  })
  await t.rejects(trainOn(prices, quiet, fromTheFuture(1, names)), { name: 'LeakError' })
  await t.rejects(trainOn(prices, quiet, fromTheFuture(20, ['return_20d'])), {
    name: 'LeakError',
    message: /^leak alarm: a walk-forward AUC of 0\.[89]\d* is above 0\.55\. A feature that knows the future/
  })
})

t.test('the leak alarm is silent on a simulated market', async (t) => {
  const future = fromTheFuture(20, ['return_20d'])
  t.ok((await trainOn(smallMarket({ momentum: 0, seed: 7 }), quiet, future)).evaluation.metrics.auc > 0.8)
})

t.test('a fold forecasts from its training rows alone', async (t) => {
  const [fold] = yearlyFolds(planted.rows)
  const honest = forecastFold(fold!)
  const flipped = fold!.test.map((row) => ({ ...row, label: 1 as const, forward: -row.forward }))
  const blind = forecastFold({ ...fold!, test: flipped })
  t.same(
    blind.map(({ probability }) => probability),
    honest.map(({ probability }) => probability)
  )
  const base = fold!.train.filter(({ label }) => label === 1).length / fold!.train.length
  t.ok([...honest, ...blind].every((forecast) => Math.abs(forecast.base - base) < 1e-12))
})

t.test('too little history says so', async (t) => {
  const market = smallMarket({ momentum: 0, seed: 7 })
  const short: typeof market = { ...market, history: (symbols) => market.history(symbols, 900) }
  await t.rejects(trainOn(short, quiet), { name: 'RangeError', message: /^too little history: \d+ weekly rows/ })
})

t.test('the gate asks for a bound above .5 and a Brier score not above the base rate', async (t) => {
  const { metrics } = planted.evaluation
  t.same(gateFailures({ ...metrics, auc_ci90: [0.5001, 0.6], brier: 0.25, brier_base: 0.25 }), [])
  t.match(gateFailures({ ...metrics, auc_ci90: [0.5, 0.6], brier: 0.25, brier_base: 0.25 }), [/^no skill shown/])
  t.same(gateFailures({ ...metrics, auc_ci90: [0.5001, 0.6], brier: 0.2501, brier_base: 0.25 }), [
    'probabilities no better than the base rate: Brier 0.25010 against 0.25000'
  ])
  t.equal(gateFailures({ ...metrics, auc_ci90: [NaN, NaN], brier: NaN }).length, 2, 'NaN passes nothing')
})
