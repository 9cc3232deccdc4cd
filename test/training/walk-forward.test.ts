import * as fc from 'fast-check'
import t from 'tap'
import { FEATURES } from '../../domain/features.ts'
import type { Row } from '../../training/dataset.ts'
import { knownBefore } from '../../training/model.ts'
import { evaluate, yearlyFolds, type Forecast } from '../../training/walk-forward.ts'

const DAY = 86_400_000

function row(over: Partial<Row> = {}): Row {
  const features = new Float32Array(FEATURES.length)
  return {
    universe: 'Testland',
    symbol: 'A',
    date: '2020-01-01',
    end: '2020-01-29',
    features,
    forward: 0,
    label: 0,
    ...over
  }
}

const iso = (day: number): string => new Date(day * DAY).toISOString().slice(0, 10)

t.test('no label of a training row reaches the year it is judged on, with a week to spare', async (t) => {
  const start = Date.UTC(2010, 0, 1) / DAY
  const days = fc.array(
    fc.record({ day: fc.integer({ min: 0, max: 3000 }), window: fc.integer({ min: 20, max: 60 }) }),
    {
      minLength: 50,
      maxLength: 300
    }
  )
  let judged = 0
  fc.assert(
    fc.property(days, (sample) => {
      const rows = sample
        .toSorted((a, b) => a.day - b.day)
        .map(({ day, window }) => row({ date: iso(start + day), end: iso(start + day + window) }))
      return yearlyFolds(rows).every(({ year, train, test }) => {
        judged += test.length
        const first = Date.parse(`${year}-01-01`)
        return (
          test.length > 0 &&
          test.every(({ date }) => date.startsWith(year)) &&
          first - Date.parse(rows[0]!.date) >= 4 * 365 * DAY &&
          train.every(({ end }) => first - Date.parse(end) > 7 * DAY) &&
          train.length === rows.filter(({ end }) => first - Date.parse(end) > 7 * DAY).length
        )
      })
    })
  )
  t.ok(judged > 1000)
  t.same(yearlyFolds([]), [])
})

t.test('a row is known when its label ended more than a week before', async (t) => {
  const rows = ['2020-03-23', '2020-03-24', '2020-03-25'].map((end) => row({ end }))
  t.same(
    knownBefore(rows, '2020-03-31').map(({ end }) => end),
    ['2020-03-23']
  )
})

/** Ten stocks a date; the forecast orders the returns rightly on the first date of each year, wrongly on the second. */
function forecasts(): Forecast[] {
  const dates = ['2020-01-01', '2020-04-01', '2021-01-06', '2021-04-07', '2021-07-07']
  return dates.flatMap((date, d) =>
    Array.from({ length: 10 }, (_, i): Forecast => {
      const forward = (i - 4.5) / 100
      const rank = d === 1 ? -i : i
      return {
        row: row({ date, symbol: `S${i}`, forward, label: i >= 5 ? 1 : 0 }),
        probability: 0.5 + rank / 100,
        base: 0.5
      }
    })
  )
}

t.test('the figures of two years', async (t) => {
  const { metrics, years } = evaluate(forecasts())
  t.same(
    years.map(({ year, rows, rank_ic }) => [year, rows, rank_ic]),
    [
      ['2020', 20, 0],
      ['2021', 30, 1]
    ]
  )
  t.equal(years[1]!.auc, 1)
  t.equal(years[1]!.brier_base, 0.25)
  t.equal(metrics.rows, 50)
  t.equal(metrics.folds, 2)
  t.equal(metrics.auc_years_above_half, 1 + Number(years[0]!.auc > 0.5))
  t.ok(Math.abs(metrics.rank_ic - 0.6) < 1e-12)
  t.equal(metrics.top_decile_hit, 0.8, 'the best of ten is right on four dates of five')
  t.equal(metrics.brier_base, 0.25)
  t.ok(metrics.brier > 0.2 && metrics.brier < 0.25)
  t.ok(metrics.auc_ci90[0] <= metrics.auc && metrics.auc <= metrics.auc_ci90[1])
  t.ok(metrics.ece > 0 && metrics.log_loss < Math.LN2)
})

t.test('the rank IC is of a date, its universes counting by their rows', async (t) => {
  const one = Array.from({ length: 4 }, (_, i): Forecast => ({
    row: row({ universe: 'Large', forward: i, label: i > 1 ? 1 : 0 }),
    probability: 0.4 + i / 100,
    base: 0.5
  }))
  const other = [0, 1].map((i): Forecast => ({
    row: row({ universe: 'Small', forward: -i, label: i === 0 ? 1 : 0 }),
    probability: 0.4 + i / 100,
    base: 0.5
  }))
  t.ok(Math.abs(evaluate([...one, ...other]).metrics.rank_ic - (4 * 1 + 2 * -1) / 6) < 1e-12)
})
