import t, { type Test } from 'tap'
import type { MarketSource } from '../../domain/market.ts'
import { UNIVERSES } from '../../sources/universes.ts'
import { type Upstream, createUpstream } from '../../sources/upstream.ts'
import { yahooSource } from '../../sources/yahoo.ts'
import { FAULTS, type Handler, type Stub, json, optionsFor, startStub } from './stub.ts'

/** Midday in New York: the session of 2026-11-20 is open. */
const NOW = new Date('2026-11-20T17:00:00Z')
/** The opening bell of a day in New York, as charts have it. */
const bell = (date: string): number => Date.parse(`${date}T14:30:00Z`) / 1000

interface Day {
  at: number
  close: number | null
  adjclose?: number | null
  high?: number | null
}

/** A chart in the form of Yahoo's, of invented days. */
function chart(days: readonly Day[], meta: object = {}): object {
  const closes = days.map(({ close }) => close)
  const result = {
    meta: {
      currency: 'USD',
      gmtoffset: -18_000,
      longName: 'Invented Corporation',
      currentTradingPeriod: { regular: { start: bell('2026-11-20'), end: bell('2026-11-20') + 23_400 } },
      ...meta
    },
    timestamp: days.map(({ at }) => at),
    indicators: {
      quote: [
        {
          open: closes,
          high: days.map(({ high, close }) => high ?? close),
          low: closes,
          close: closes,
          volume: closes.map(() => 1000)
        }
      ],
      adjclose: [{ adjclose: days.map(({ close, adjclose }) => (adjclose === undefined ? close : adjclose)) }]
    }
  }
  return { chart: { result: [result], error: null } }
}

const WEEK = ['2026-11-16', '2026-11-17', '2026-11-18', '2026-11-19'].map((date, i) => ({
  at: bell(date),
  close: 100 + i
}))

async function build(t: Test, handler: Handler, options: object = {}): Promise<{ source: MarketSource; stub: Stub }> {
  const stub = await startStub(t, handler)
  const upstream = createUpstream({ name: 'yahoo', origin: stub.origin, retries: 0, ...options })
  t.teardown(async () => upstream.close())
  return { source: yahooSource({ upstream, now: () => NOW }), stub }
}

/** The answer for one symbol when Yahoo answers so. */
async function candlesOf(t: Test, body: object, days = 300) {
  const { source } = await build(t, (_request, response) => json(response, body))
  const history = (await source.history(['ACME'], days)).get('ACME')!
  if (!history.ok) throw new Error(history.error)
  return history.value
}

t.test('a symbol is one request for as many calendar days as hold its bars', async (t) => {
  const { source, stub } = await build(t, (_request, response) => json(response, chart(WEEK)))
  t.match(source, { name: 'yahoo', kind: 'historical', universes: UNIVERSES })
  const history = await source.history(['BRK-B', '7203.T'], 300)
  t.same([...history.keys()], ['BRK-B', '7203.T'])
  const urls = stub.requests
    .map(({ url }) => new URL(url, 'http://x'))
    .toSorted((a, b) => (a.pathname < b.pathname ? -1 : 1))
  t.same(
    urls.map(({ pathname }) => pathname),
    ['/v8/finance/chart/7203.T', '/v8/finance/chart/BRK-B']
  )
  const { period1, period2, interval, events } = Object.fromEntries(urls[0]!.searchParams)
  t.equal(events, 'div,splits')
  t.equal(Number(period2), NOW.getTime() / 1000)
  t.equal((Number(period2) - Number(period1)) / 86_400, 434)
  t.equal(interval, '1d')
})

t.test('days are those of the exchange, ascending; adjusted closes carry splits and dividends', async (t) => {
  const candles = await candlesOf(
    t,
    chart([
      { at: bell('2026-11-17'), close: 50, adjclose: 49.5 },
      { at: bell('2026-11-16'), close: 200, adjclose: 49 }
    ])
  )
  t.same(candles.dates, ['2026-11-16', '2026-11-17'])
  t.same([...candles.close], [200, 50])
  t.same([...candles.adjClose], [49, 49.5])
  t.same([...candles.volume], [1000, 1000])
  const tokyo = await candlesOf(
    t,
    chart([{ at: Date.parse('2026-11-17T00:00:00Z') / 1000, close: 1 }], { gmtoffset: 32_400 })
  )
  t.same(tokyo.dates, ['2026-11-17'])
  const auckland = await candlesOf(
    t,
    chart([{ at: Date.parse('2026-11-17T21:00:00Z') / 1000, close: 1 }], { gmtoffset: 46_800 })
  )
  t.same(auckland.dates, ['2026-11-18'])
})

t.test(
  'a day without a price, and the one that is not over, is no candle; what is missing in a candle is NaN',
  async (t) => {
    const days = [
      ...WEEK,
      { at: bell('2026-11-13'), close: null },
      { at: bell('2026-11-12'), close: 5, adjclose: null },
      { at: bell('2026-11-11'), close: -5 },
      { at: bell('2026-11-20'), close: 999 }
    ]
    const candles = await candlesOf(t, chart(days))
    t.same(candles.dates, ['2026-11-16', '2026-11-17', '2026-11-18', '2026-11-19'])
    const holes = chart(WEEK) as { chart: { result: { indicators: { quote: Record<string, unknown>[] } }[] } }
    holes.chart.result[0]!.indicators.quote[0]!['high'] = [null, 'x']
    delete holes.chart.result[0]!.indicators.quote[0]!['volume']
    const partial = await candlesOf(t, holes)
    t.same([...partial.high], [Number.NaN, Number.NaN, Number.NaN, Number.NaN])
    t.same([...partial.volume], [Number.NaN, Number.NaN, Number.NaN, Number.NaN])
  }
)

t.test(
  'days are dated by the zone of the exchange, in summer and in winter; its offset serves where that is unknown',
  async (t) => {
    // Midnight in London, in June and in November.
    const nights = [
      { at: Date.parse('2026-06-14T23:00:00Z') / 1000, close: 1 },
      { at: Date.parse('2026-11-16T00:00:00Z') / 1000, close: 1 }
    ]
    const london = { gmtoffset: 0, exchangeTimezoneName: 'Europe/London' }
    t.same((await candlesOf(t, chart(nights, london))).dates, ['2026-06-15', '2026-11-16'])
    const nowhere = { gmtoffset: 0, exchangeTimezoneName: 'Europe/Nowhere' }
    t.same((await candlesOf(t, chart(nights, nowhere))).dates, ['2026-06-14', '2026-11-16'])
  }
)

t.test('when the session is over its day is a candle, once, as it was last', async (t) => {
  const over = { currentTradingPeriod: { regular: { start: bell('2026-11-20'), end: NOW.getTime() / 1000 } } }
  const days = [...WEEK, { at: bell('2026-11-20'), close: 7 }, { at: bell('2026-11-20') + 60, close: 8 }]
  const candles = await candlesOf(t, chart(days, over))
  t.same([candles.dates.at(-1), candles.close.at(-1), candles.dates.length], ['2026-11-20', 8, 5])
  t.equal(
    (await candlesOf(t, chart(days, { currentTradingPeriod: undefined }))).dates.length,
    5,
    'or when no session is known'
  )
  t.equal((await candlesOf(t, chart(WEEK), 2)).dates.length, 2, 'and no more than were asked for')
})

t.test('names and currencies, minor units too, are learned from the first answer', async (t) => {
  const metas: Record<string, object> = {
    'XYZ.L': { currency: 'GBp', longName: 'Invented plc' },
    SHORT: { currency: undefined, longName: undefined, shortName: 'INV' },
    NONE: { longName: undefined },
    AAPL: { longName: 'Not Apple' }
  }
  const { source } = await build(t, (request, response) =>
    json(response, chart(WEEK, metas[decodeURIComponent(request.url!.split('/')[4]!.split('?')[0]!)]))
  )
  t.equal(source.instrument('XYZ.L'), undefined)
  for (let i = 0; i < 2; i++) await source.quotes(Object.keys(metas))
  t.match(source.instrument('XYZ.L'), {
    symbol: 'XYZ.L',
    name: 'Invented plc',
    currency: 'GBp',
    country: null,
    sector: null
  })
  t.match(source.instrument('SHORT'), { name: 'INV', currency: null })
  t.match(source.instrument('NONE'), { name: 'NONE', currency: 'USD' })
  t.match(source.instrument('AAPL'), { country: 'United States' }, 'what is listed is known already')
})

t.test('what is learned is bounded', async (t) => {
  const upstream: Upstream = {
    name: 'yahoo',
    state: 'closed',
    get: async () => chart(WEEK),
    post: async () => undefined,
    close: async () => undefined
  }
  const source = yahooSource({ upstream })
  await source.quotes(Array.from({ length: 10_001 }, (_, i) => `N${i}`))
  t.equal(source.instrument('N0'), undefined)
  t.equal(source.instrument('N10000')!.name, 'Invented Corporation')
})

t.test('a quote is the last candle against the one before', async (t) => {
  const { source } = await build(t, (_request, response) => json(response, chart(WEEK)))
  const quote = (await source.quotes(['ACME'])).get('ACME')!
  t.match(quote, {
    ok: true,
    value: {
      price: 103,
      volume: 1000,
      marketCap: null,
      peRatio: null,
      fiftyTwoWeekHigh: 103,
      fiftyTwoWeekLow: 100,
      asOf: '2026-11-19'
    }
  })
})

t.test('a quote while the session is open is of that session', async (t) => {
  const { source } = await build(t, (_request, response) =>
    json(response, chart([...WEEK, { at: bell('2026-11-20') + 9000, close: 206 }]))
  )
  t.match((await source.quotes(['ACME'])).get('ACME'), {
    ok: true,
    value: { price: 206, change: 100, asOf: '2026-11-20', fiftyTwoWeekHigh: 206 }
  })
})

t.test('what Yahoo has no prices of is not found, whatever the status', async (t) => {
  for (const [status, code, description, error] of [
    [404, 'Not Found', 'No data found, symbol may be delisted', 'not_found'],
    [200, 'Not Found', 'No data found, symbol may be delisted', 'not_found'],
    [400, 'Bad Request', "Data doesn't exist for startDate = 1, endDate = 2", 'not_found'],
    [400, 'Bad Request', 'Invalid input - interval=1x', 'upstream_error'],
    [200, 'Internal', undefined, 'schema']
  ] as const) {
    const { source } = await build(t, (_request, response) =>
      json(response, { chart: { result: null, error: { code, description } } }, status)
    )
    t.same((await source.history(['ACME'], 5)).get('ACME'), { ok: false, error }, `${status} ${code}`)
  }
})

t.test('of 60 symbols each has its own answer, in order, over few connections', async (t) => {
  const symbols = Array.from({ length: 60 }, (_, i) => `${i % 2 ? 'GOOD' : 'BAD'}${i}`)
  const { source, stub } = await build(
    t,
    (request, response) =>
      request.url!.includes('GOOD') ? json(response, chart(WEEK)) : json(response, { chart: null }, 404),
    { concurrency: 4 }
  )
  const history = await source.history(symbols, 300)
  t.same([...history.keys()], symbols)
  for (const [symbol, answer] of history) t.equal(answer.ok, symbol.startsWith('GOOD'), symbol)
  t.equal(stub.requests.length, 60)
  t.equal(stub.connections(), 4)
})

t.test('a chart without days, or without prices, is an unknown symbol', async (t) => {
  const { meta, timestamp, indicators } = withTime()
  for (const result of [
    { meta, timestamp: [], indicators },
    { meta, timestamp: null, indicators },
    // As Yahoo answers for a time in which nothing was traded: no timestamps, one empty row.
    { meta, indicators },
    { meta, timestamp, indicators: { quote: [] } },
    { meta, timestamp, indicators: { ...indicators, adjclose: undefined } }
  ]) {
    const { source } = await build(t, (_request, response) =>
      json(response, { chart: { result: [result], error: null } })
    )
    t.same((await source.history(['ACME'], 5)).get('ACME'), { ok: false, error: 'not_found' })
  }
})

function withTime(): { meta: object; timestamp: number[]; indicators: object } {
  return (chart(WEEK) as { chart: { result: [{ meta: object; timestamp: number[]; indicators: object }] } }).chart
    .result[0]
}

t.test('what is no chart is said to be none', async (t) => {
  const [whole] = (chart(WEEK) as { chart: { result: [Record<string, unknown>] } }).chart.result
  for (const result of [
    undefined,
    {},
    { ...whole, meta: {} },
    { ...whole, indicators: {} },
    { ...whole, timestamp: ['a'] },
    { ...whole, timestamp: 5 }
  ]) {
    const { source } = await build(t, (_request, response) =>
      json(response, { chart: { result: [result], error: null } })
    )
    t.same((await source.history(['ACME'], 5)).get('ACME'), { ok: false, error: 'schema' })
  }
  const { source } = await build(t, (_request, response) => json(response, null))
  t.same((await source.history(['ACME'], 5)).get('ACME'), { ok: false, error: 'schema' })
})

for (const fault of FAULTS) {
  const { name, expected, handler, origin } = fault
  t.test(`${name}: only the symbols concerned fail, as ${expected}`, async (t) => {
    const { source } = await build(
      t,
      (request, response, body) =>
        request.url!.includes('GOOD') ? json(response, chart(WEEK)) : handler(request, response, body),
      optionsFor(fault)
    )
    const history = await source.history(['BAD', 'GOOD'], 300)
    t.same([...history.keys()], ['BAD', 'GOOD'])
    t.same(history.get('BAD'), { ok: false, error: expected })
    t.equal(history.get('GOOD')!.ok, origin === undefined)
  })
}
