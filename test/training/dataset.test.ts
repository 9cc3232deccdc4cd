import t from 'tap'
import { FEATURE_BARS, FEATURES, featureMatrix } from '../../domain/features.ts'
import type { Candles, Fetched, MarketSource } from '../../domain/market.ts'
import { createRandom } from '../../domain/random.ts'
import { buildDataset } from '../../training/dataset.ts'

/** 300 weekdays from Monday 2018-01-01. */
const DATES = Array.from({ length: 300 }, (_, i) =>
  new Date(Date.UTC(2018, 0, 1 + Math.floor(i / 5) * 7 + (i % 5))).toISOString().slice(0, 10)
)

function candles(dates: string[], adjClose: Float64Array): Candles {
  const none = new Float64Array(dates.length).fill(NaN)
  return { dates, open: none, high: none, low: none, close: adjClose, adjClose, volume: none }
}

function randomWalk(symbol: string): Candles {
  const random = createRandom(symbol)
  let price = 100
  return candles(
    DATES,
    Float64Array.from(DATES, () => (price *= Math.exp(0.02 * random.normal())))
  )
}

function source(prices: Record<string, Candles>, extra: string[] = []): MarketSource {
  const symbols = [...Object.keys(prices), ...extra]
  const history = new Map<string, Fetched<Candles>>(extra.map((symbol) => [symbol, { ok: false, error: 'not_found' }]))
  for (const [symbol, value] of Object.entries(prices)) history.set(symbol, { ok: true, value })
  return {
    name: 'csv',
    kind: 'historical',
    universes: ['Global', 'Testland'].map((name) => ({ name, symbols, origin: 'a test', date: '2018-01-01' })),
    instrument: () => undefined,
    history: async () => history,
    quotes: async () => new Map()
  }
}

const NAMES = ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I']
const walks = (): Record<string, Candles> => Object.fromEntries(NAMES.map((name) => [name, randomWalk(name)]))

t.test('rows are Wednesdays with features and a label window, labelled against the median', async (t) => {
  const prices = walks()
  const rows = await buildDataset(source(prices, ['UNKNOWN']))
  const first = FEATURE_BARS - 1 + ((2 - ((FEATURE_BARS - 1) % 5) + 5) % 5)
  const wanted = DATES.filter((_, day) => day >= first && day % 5 === 2 && day + 20 < 300)
  t.same([...new Set(rows.map((row) => row.date))], wanted)
  t.equal(rows.length, wanted.length * 9, 'Global adds no second row')

  const day = DATES.indexOf(wanted[0]!)
  const own = rows.filter((row) => row.date === wanted[0])
  t.same(
    own.map((row) => row.symbol),
    NAMES
  )
  t.equal(own[0]!.end, DATES[day + 20])
  for (const row of own) {
    const { adjClose } = prices[row.symbol]!
    t.equal(row.forward, adjClose[day + 20]! / adjClose[day]! - 1)
    t.same(row.features, featureMatrix(adjClose).slice(day * FEATURES.length, (day + 1) * FEATURES.length))
  }
  const ascending = own.toSorted((a, b) => a.forward - b.forward)
  t.same(
    ascending.map((row) => row.label),
    [0, 0, 0, 0, 0, 1, 1, 1, 1],
    'the median itself is not above it'
  )
})

t.test('features know nothing after their date, labels nothing after their end', async (t) => {
  const prices = walks()
  const before = await buildDataset(source(prices))
  const cut = DATES.indexOf(before[0]!.end)
  for (const { adjClose } of Object.values(prices)) {
    for (let day = cut + 1; day < 300; day++) adjClose[day]! *= 1 + (day % 7)
  }
  const after = await buildDataset(source(prices))
  const known = (rows: typeof before): unknown => rows.filter((row) => row.end <= DATES[cut]!)
  t.same(known(after), known(before))
  t.same(
    after.filter((row) => row.date <= DATES[cut]!).map((row) => row.features),
    before.filter((row) => row.date <= DATES[cut]!).map((row) => row.features)
  )
})

t.test('a member needs a bar on the date and on the last day of the label; too few members give no rows', async (t) => {
  const prices = walks()
  const complete = await buildDataset(source(prices))
  const [date, end] = [complete[0]!.date, complete[0]!.end]
  const without = (symbol: string, missing: string): void => {
    const { dates, adjClose } = prices[symbol]!
    const at = dates.indexOf(missing)
    prices[symbol] = candles(
      dates.filter((_, i) => i !== at),
      adjClose.filter((_, i) => i !== at)
    )
  }
  without('A', end)
  const eight = (await buildDataset(source(prices))).filter((row) => row.date === date)
  t.same(
    eight.map((row) => row.symbol),
    NAMES.slice(1)
  )
  without('B', date)
  t.same(
    (await buildDataset(source(prices))).filter((row) => row.date === date),
    [],
    'seven are too few'
  )
})

t.test('a day with too few members is no trading day', async (t) => {
  const prices = walks()
  const [date] = (await buildDataset(source(prices))).map((row) => row.date)
  for (const symbol of ['A', 'B']) {
    const { dates, adjClose } = prices[symbol]!
    const at = dates.indexOf(date!) + 1
    prices[symbol] = candles(
      dates.filter((_, i) => i !== at),
      adjClose.filter((_, i) => i !== at)
    )
  }
  const [row] = await buildDataset(source(prices))
  t.equal(row!.end, DATES[DATES.indexOf(date!) + 21], 'twenty days later are twenty of the others')
})

t.test('a member with too short a history counts for the median and gives no row', async (t) => {
  const prices = walks()
  const late = randomWalk('late')
  prices['J'] = candles(
    late.dates.slice(200),
    late.adjClose.slice(200).map((price, i) => price * 1.1 ** i)
  )
  const rows = await buildDataset(source(prices))
  t.notOk(rows.some((row) => row.symbol === 'J'))
  const first = rows.filter((row) => row.date === rows[0]!.date)
  t.equal(first.filter((row) => row.label === 1).length, 4, 'five of ten are above, one of them is J')
})
