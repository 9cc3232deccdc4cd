import t from 'tap'
import type { MarketSource } from '../../domain/market.ts'
import { build, fakeSource, waveCandles } from '../helper.ts'

t.test('one ticker: its names, its price, its year', async (t) => {
  const app = await build(t)
  const reply = await app.inject('/ticker_info/nesn.sw')
  t.equal(reply.statusCode, 200)
  const info = reply.json()
  t.match(info, {
    ticker: 'NESN.SW',
    name: 'Nestlé',
    country: 'Switzerland',
    currency: 'CHF',
    as_of: '2026-11-20',
    source: 'simulated'
  })
  t.ok(info.fifty_two_week_low <= info.price && info.price <= info.fifty_two_week_high)
  t.ok(info.market_cap > info.price)
  t.ok(info.volume > 0)
  t.ok(info.pe_ratio > 0)
})

t.test('what a source does not know is null, not 0', async (t) => {
  const app = await build(t, {}, { source: fakeSource({ A: waveCandles() }) })
  t.match((await app.inject('/ticker_info/A')).json(), {
    ticker: 'A',
    name: 'A',
    change: null,
    volume: null,
    market_cap: null,
    pe_ratio: null,
    country: null,
    sector: null,
    currency: null
  })
})

t.test('unknown and failing tickers', async (t) => {
  const app = await build(t, {}, { source: fakeSource({ DOWN: 'network' }) })
  t.match((await app.inject('/ticker_info/NOSUCH')).json(), {
    status: 404,
    code: 'TF_ERR_MARKET_UNKNOWN_TICKER',
    detail: 'Unknown ticker NOSUCH'
  })
  t.match((await app.inject('/ticker_info/DOWN')).json(), {
    status: 502,
    code: 'TF_ERR_MARKET_SOURCE',
    detail: 'The price source has no answer for DOWN (network)'
  })
})

t.test('a quote is asked for once while it is fresh, and an old one serves when its source fails', async (t) => {
  const fake = fakeSource({ A: waveCandles() })
  let asked = 0
  const quotes: MarketSource['quotes'] = async (symbols) => {
    asked++
    return fake.quotes(symbols)
  }
  const app = await build(t, {}, { source: { ...fake, quotes } })
  for (let i = 0; i < 3; i++) t.equal((await app.inject('/ticker_info/A')).json().stale, false)
  for (let i = 0; i < 3; i++) t.equal((await app.inject('/ticker_info/NOSUCH')).statusCode, 404)
  t.equal(asked, 2, 'that there is no such symbol is remembered too')
  const eager = await build(t, { QUOTE_TTL_SECONDS: '0' }, { source: { ...fake, quotes } })
  for (let i = 0; i < 3; i++) await eager.inject('/ticker_info/A')
  t.equal(asked, 5)
})

t.test('a batch answers each ticker once, and says which failed', async (t) => {
  const app = await build(t)
  const post = (payload: object) => app.inject({ method: 'POST', url: '/ticker_info_batch', payload })
  const { results, errors } = (await post(['AAPL', ' aapl', 'BRK.B', 'NOSUCH'])).json()
  t.same(Object.keys(results), ['AAPL', 'BRK-B'])
  const { age_seconds: age, ...single } = (await app.inject('/ticker_info/AAPL')).json()
  t.match(results.AAPL, { ...single, stale: false, age_seconds: 0 })
  t.ok(age >= 0)
  t.same(errors, { NOSUCH: 'Unknown ticker NOSUCH' })
  for (const [payload, field] of [
    [[], ''],
    [Array.from({ length: 101 }, (_, i) => `T${i}`), ''],
    [['AAPL', 'A$'], '1'],
    [['AAPL', 5], '1'],
    [{ tickers: ['AAPL'] }, '']
  ] as const) {
    const reply = await post(payload)
    t.equal(reply.statusCode, 400)
    t.equal(reply.json().errors[0].field, field)
  }
})
