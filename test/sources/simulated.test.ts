import t from 'tap'
import type { Fetched } from '../../domain/market.ts'
import { simulatedSource } from '../../sources/simulated.ts'
import { LISTINGS, UNIVERSES } from '../../sources/universes.ts'

const SUNDAY = new Date('2026-11-22T15:00:00Z')
const now = (): Date => SUNDAY

/** The value under a symbol; a test that expects one fails without it. */
function valueOf<T>(answers: Map<string, Fetched<T>>, symbol: string): T {
  const answer = answers.get(symbol)
  if (!answer?.ok) throw new Error(`no value for ${symbol}`)
  return answer.value
}

t.test('says what it is and lists every universe', async (t) => {
  const source = simulatedSource({ now })
  t.equal(source.name, 'simulated')
  t.equal(source.kind, 'simulated')
  t.equal(source.universes, UNIVERSES)
  t.match(source.instrument('BRK-B'), { name: 'Berkshire Hathaway', country: 'United States', currency: 'USD' })
  t.equal(source.instrument('NOPE'), undefined)
})

t.test('history ends on the last finished weekday and has as many days as asked for', async (t) => {
  const candles = valueOf(await simulatedSource({ now }).history(['NESN.SW'], 300), 'NESN.SW')
  t.equal(candles.dates.at(-1), '2026-11-20')
  t.equal(candles.dates.length, 300)
  t.same(
    [candles.open, candles.high, candles.low, candles.close, candles.adjClose, candles.volume].map((c) => c.length),
    [300, 300, 300, 300, 300, 300]
  )
})

t.test('five years are there, and no more than there are', async (t) => {
  const source = simulatedSource({ now })
  t.equal(valueOf(await source.history(['SAP.DE'], 5 * 261), 'SAP.DE').dates[0], '2021-11-22')
  t.equal(valueOf(await source.history(['SAP.DE'], 1e6), 'SAP.DE').dates[0], '2017-01-02')
  t.equal(valueOf(await source.history(['SAP.DE'], 0), 'SAP.DE').dates.length, 0)
})

t.test('a symbol that is not listed is not found, the others are answered', async (t) => {
  const source = simulatedSource({ now })
  const history = await source.history(['AAPL', 'NOPE'], 5)
  const quotes = await source.quotes(['NOPE', 'AAPL'])
  for (const answers of [history, quotes]) {
    t.same(answers.get('NOPE'), { ok: false, error: 'not_found' })
    t.equal(answers.get('AAPL')?.ok, true)
    t.equal(answers.size, 2)
  }
})

t.test('a quote is what the candles say', async (t) => {
  const source = simulatedSource({ now })
  const quote = valueOf(await source.quotes(['MSFT']), 'MSFT')
  const year = valueOf(await source.history(['MSFT'], 252), 'MSFT')
  t.equal(quote.price, year.close[251])
  t.equal(quote.change, (year.close[251]! / year.close[250]! - 1) * 100)
  t.equal(quote.volume, year.volume[251])
  t.equal(quote.fiftyTwoWeekHigh, Math.max(...year.high))
  t.equal(quote.fiftyTwoWeekLow, Math.min(...year.low))
  t.equal(quote.asOf, '2026-11-20')
})

t.test('market capitalisation is in the major unit of the currency', async (t) => {
  const quotes = await simulatedSource({ now }).quotes(['HSBA.L', 'SAP.DE'])
  // On the day that listed prices are from, a price is the listed one.
  const [hsbc, sap] = [LISTINGS.get('HSBA.L')!, LISTINGS.get('SAP.DE')!]
  t.equal(valueOf(quotes, 'HSBA.L').marketCap, (hsbc.price / 100) * hsbc.shares * 1e6)
  t.equal(valueOf(quotes, 'SAP.DE').marketCap, sap.price * sap.shares * 1e6)
})

t.test('the price-earnings ratio moves with the price, and is unknown without earnings', async (t) => {
  const apple = LISTINGS.get('AAPL')!
  const onPriceDate = valueOf(await simulatedSource({ now }).quotes(['AAPL']), 'AAPL')
  t.equal(onPriceDate.peRatio, apple.peRatio)

  const later = await simulatedSource({ now: () => new Date('2027-06-01') }).quotes(['AAPL', 'INTC'])
  const { price, peRatio } = valueOf(later, 'AAPL')
  t.not(price, apple.price)
  t.equal(peRatio, (apple.peRatio! * price) / apple.price)
  t.equal(valueOf(later, 'INTC').peRatio, null)
})

t.test('an open service moves on to the next trading day by itself, keeping the past', async (t) => {
  let clock = new Date('2026-11-23T23:59:59Z')
  const source = simulatedSource({ now: () => clock })
  const monday = valueOf(await source.history(['AAPL'], 10), 'AAPL')
  t.equal(monday.dates.at(-1), '2026-11-20')

  clock = new Date('2026-11-24T00:00:01Z')
  const tuesday = valueOf(await source.history(['AAPL'], 11), 'AAPL')
  t.equal(tuesday.dates.at(-1), '2026-11-23')
  t.same(tuesday.close.slice(0, 10), monday.close)
})

t.test('what a caller writes into an answer reaches nobody else', async (t) => {
  const source = simulatedSource({ now })
  const first = valueOf(await source.history(['AAPL'], 5), 'AAPL')
  const close = [...first.close]
  first.close.fill(0)
  first.dates.fill('')
  const second = valueOf(await source.history(['AAPL'], 5), 'AAPL')
  t.same([...second.close], close)
  t.equal(second.dates.at(-1), '2026-11-20')
})

t.test('the same seed is the same market, another seed another; so with the strength of the signal', async (t) => {
  const oldest = async (options: object): Promise<number | undefined> =>
    valueOf(await simulatedSource({ now, ...options }).history(['AAPL'], 1000), 'AAPL').close[0]
  t.equal(await oldest({}), await oldest({ seed: 1, momentum: 0.04 }))
  t.not(await oldest({}), await oldest({ seed: 2 }))
  t.not(await oldest({}), await oldest({ momentum: 0 }))
})

t.test('without a clock it runs on the real one', async (t) => {
  const { asOf } = valueOf(await simulatedSource().quotes(['AAPL']), 'AAPL')
  const age = Date.now() - Date.parse(asOf)
  t.ok(age > 86_400_000 && age < 5 * 86_400_000, `${asOf} is a finished day of this week or the last`)
})
