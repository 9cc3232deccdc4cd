import { createHash } from 'node:crypto'
import t from 'tap'
import type { Candles } from '../../domain/market.ts'
import { createSimulator, lastTradingDay, PRICE_DATE, type SimulatedInstrument } from '../../domain/simulator.ts'

const LAST = '2026-11-20'
const HORIZON = 20

function instrument(over: Partial<SimulatedInstrument> = {}): SimulatedInstrument {
  return { symbol: 'AAPL', sector: 'Information Technology', price: 270, shares: 14_800, ...over }
}

function market(size: number): SimulatedInstrument[] {
  return Array.from({ length: size }, (_, i) => instrument({ symbol: `S${i}`, sector: `sector ${i % 10}` }))
}

function logReturns(prices: Float64Array): number[] {
  return [...prices.subarray(1)].map((price, day) => Math.log(price / prices[day]!))
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

function correlation(a: number[], b: number[]): number {
  const [ma, mb] = [mean(a), mean(b)]
  const product = (x: number[], mx: number, y: number[], my: number): number =>
    mean(x.map((value, i) => (value - mx) * (y[i]! - my)))
  return product(a, ma, b, mb) / Math.sqrt(product(a, ma, a, ma) * product(b, mb, b, mb))
}

/** A fingerprint of the first `days` rows: a failed comparison of whole arrays takes minutes to print. */
function digest(candles: Candles, days: number): string {
  const { dates, ...columns } = candles
  const hash = createHash('sha256').update(dates.slice(0, days).join())
  for (const column of Object.values(columns)) hash.update(column.subarray(0, days).join())
  return hash.digest('hex')
}

t.test('one candle a weekday, from the start of the simulation to the day asked for', async (t) => {
  const { dates, close } = createSimulator({ seed: 1 }).candles(instrument(), LAST)
  t.equal(dates[0], '2017-01-02')
  t.equal(dates.at(-1), LAST)
  // 516 weeks lie between the first and the last Monday, and the last week is complete.
  t.equal(dates.length, 516 * 5)
  t.equal(close.length, dates.length)
  t.ok(dates.every((date) => new Date(date).getUTCDay() % 6 !== 0))
  t.ok(dates.every((date, day) => day === 0 || date > dates[day - 1]!))
})

t.test('a weekend ends with its Friday, and nothing comes before the start', async (t) => {
  const simulator = createSimulator({ seed: 1 })
  const lengths = ['2017-01-06', '2017-01-07', '2017-01-08', '2017-01-09', '2017-01-02', '2017-01-01'].map(
    (until) => simulator.candles(instrument(), until).dates.length
  )
  t.same(lengths, [5, 5, 5, 6, 1, 0])
  t.equal(simulator.candles(instrument(), '2017-01-08').dates.at(-1), '2017-01-06')
})

t.test('a date that is none is refused', async (t) => {
  const simulator = createSimulator({ seed: 1 })
  t.throws(() => simulator.candles(instrument(), 'yesterday'), new RangeError('Not an ISO date: yesterday'))
  t.throws(() => simulator.signal(instrument(), '2026-11-20T12:00:00Z'), RangeError)
})

t.test('candles are consistent', async (t) => {
  const { open, high, low, close, adjClose, volume } = createSimulator({ seed: 2 }).candles(instrument(), LAST)
  t.ok(low.every((value, day) => value > 0 && value <= Math.min(open[day]!, close[day]!)))
  t.ok(high.every((value, day) => value >= Math.max(open[day]!, close[day]!)))
  t.ok(volume.every((value) => Number.isInteger(value) && value > 0))
  t.equal(adjClose.join(), close.join())
  t.not(adjClose.buffer, close.buffer, 'written to separately')
})

t.test('more is traded on days that move more', async (t) => {
  const { close, volume } = createSimulator({ seed: 2 }).candles(instrument(), LAST)
  const moves = logReturns(close).map(Math.abs)
  t.ok(correlation(moves, [...volume.subarray(1)]) > 0.3)
})

t.test('prices pass through the listed price, whatever day is asked for', async (t) => {
  const simulator = createSimulator({ seed: 3 })
  for (const until of [PRICE_DATE, '2027-03-01']) {
    const { dates, close } = simulator.candles(instrument({ price: 117_000 }), until)
    t.equal(close[dates.indexOf(PRICE_DATE)], 117_000)
  }
})

t.test('the same seed gives the same market in every version', async (t) => {
  const { dates, open, high, low, close, volume } = createSimulator({ seed: 1 }).candles(instrument(), LAST)
  t.same(
    [dates[1000], open[1000], high[1000], low[1000], close[1000], volume[1000]],
    ['2020-11-02', 550.5535, 555.0109, 545.1397, 549.702, 80_354_867]
  )
})

t.test('a day that is added changes nothing before it', async (t) => {
  const simulator = createSimulator({ seed: 4 })
  const before = simulator.candles(instrument(), '2026-11-19')
  const days = before.dates.length
  const later = simulator.candles(instrument(), '2031-06-30')
  t.equal(digest(later, days), digest(before, days))
  t.ok(
    later.close.every((price) => price > 0),
    'and it goes on'
  )
  t.equal(digest(simulator.candles(instrument(), '2026-11-19'), Infinity), digest(before, days), 'nor does going back')
  t.equal(digest(simulator.candles(instrument(), before.dates[299]!), Infinity), digest(before, 300))
})

t.test('a path does not depend on which others are asked for, or in which order', async (t) => {
  const alone = createSimulator({ seed: 5 }).candles(instrument(), LAST)
  const crowd = createSimulator({ seed: 5 })
  crowd.candles(instrument({ symbol: 'XOM', sector: 'Energy' }), '2028-01-03')
  crowd.candles(instrument({ symbol: 'MSFT' }), '2020-01-03')
  t.equal(digest(crowd.candles(instrument(), LAST), Infinity), digest(alone, Infinity))
})

t.test('seed, symbol and sector make the returns; price and shares only scale', async (t) => {
  const base = createSimulator({ seed: 6 }).candles(instrument(), LAST)
  const other = (seed: number, over: Partial<SimulatedInstrument>): Candles =>
    createSimulator({ seed }).candles(instrument(over), LAST)
  t.not(other(7, {}).close[0], base.close[0])
  t.not(other(6, { symbol: 'MSFT' }).close[0], base.close[0])
  t.not(other(6, { sector: 'Energy' }).close[0], base.close[0])
  t.not(other(6, { sector: null }).close[0], base.close[0])

  const scaled = other(6, { price: 540, shares: 29_600 })
  t.ok(scaled.close.every((price, day) => Math.abs(price / 2 - base.close[day]!) <= 1e-4))
  t.ok(scaled.volume.every((volume, day) => Math.abs(volume / 2 - base.volume[day]!) <= 1))
})

t.test('returns look like returns of stocks: fat tails, clustered volatility, common factors', async (t) => {
  const simulator = createSimulator({ seed: 8 })
  const stocks = market(40).map((stock) => logReturns(simulator.candles(stock, LAST).close))

  const volatility = mean(stocks.map((returns) => Math.sqrt(252 * mean(returns.map((r) => r ** 2)))))
  t.ok(volatility > 0.2 && volatility < 0.5, `annual volatility ${volatility}`)

  const kurtosis = mean(stocks.map((r) => mean(r.map((x) => x ** 4)) / mean(r.map((x) => x ** 2)) ** 2))
  t.ok(kurtosis > 5, `kurtosis ${kurtosis}, 3 is normal`)

  const sizes = stocks.map((returns) => returns.map(Math.abs))
  const clustering = mean(sizes.map((size) => correlation(size.slice(5), size.slice(0, -5))))
  t.ok(clustering > 0.1, `sizes of moves five days apart correlate by ${clustering}`)

  const pairs = stocks.flatMap((a, i) =>
    stocks.slice(0, i).map((b, j) => ({ same: i % 10 === j % 10, r: correlation(a, b) }))
  )
  const within = mean(pairs.filter(({ same }) => same).map(({ r }) => r))
  const across = mean(pairs.filter(({ same }) => !same).map(({ r }) => r))
  t.ok(across > 0.15 && across < 0.5, `across sectors ${across}`)
  t.ok(within > across + 0.05, `within a sector ${within}`)
})

t.test('the signal is the return from 120 to 20 days ago in units of volatility, cut at 2', async (t) => {
  const simulator = createSimulator({ seed: 9 })
  const { close } = simulator.candles(instrument({ price: 1e6 }), LAST)
  const signal = simulator.signal(instrument(), LAST)
  t.equal(signal.length, close.length)
  t.ok(signal.subarray(0, 120).every((z) => z === 0))
  t.ok(signal.every((z) => Math.abs(z) <= 2))
  t.equal(Math.max(...signal), 2)

  const ratios = []
  for (const [day, z] of signal.entries()) {
    if (Math.abs(z) > 0.1 && Math.abs(z) < 2) ratios.push(Math.log(close[day - 20]! / close[day - 120]!) / z)
  }
  t.ok(ratios.length > 1000)
  for (const ratio of [Math.min(...ratios), Math.max(...ratios)]) t.ok(Math.abs(ratio / mean(ratios) - 1) < 1e-6)
})

/** How well the signal ranks the stocks of a market by whether they beat its median over the next 20 days. */
function signalAuc(seed: number, momentum: number | undefined): number {
  const simulator = createSimulator({ seed, ...(momentum !== undefined && { momentum }) })
  const stocks = market(60).map((stock) => ({
    close: simulator.candles(stock, LAST).close,
    signal: simulator.signal(stock, LAST)
  }))
  const cases: { score: number; beats: boolean }[] = []
  for (let day = 300; day < stocks[0]!.close.length - HORIZON; day += 20) {
    const futures = stocks.map(({ close }) => close[day + HORIZON]! / close[day]!)
    const median = futures.toSorted((a, b) => a - b)[stocks.length / 2]!
    for (const [i, { signal }] of stocks.entries()) cases.push({ score: signal[day]!, beats: futures[i]! >= median })
  }
  // Half of the cases beat the median: the mean rank of those says how often one of them is above one of the others.
  const ranked = cases.toSorted((a, b) => a.score - b.score)
  const ranks = ranked.flatMap(({ beats }, rank) => (beats ? [rank + 1] : []))
  return (mean(ranks) - (ranks.length + 1) / 2) / (cases.length - ranks.length)
}

t.test('the planted signal is as strong as documented, and absent at strength 0', async (t) => {
  const seeds = [1, 2, 3, 4, 5]
  const planted = mean(seeds.map((seed) => signalAuc(seed, undefined)))
  t.ok(planted > 0.555 && planted < 0.585, `AUC ${planted} at the default strength`)
  const none = mean(seeds.map((seed) => signalAuc(seed, 0)))
  t.ok(Math.abs(none - 0.5) < 0.01, `AUC ${none} at strength 0`)
})

t.test('an absurdly strong signal and an absurdly low price still give positive prices', async (t) => {
  const { low, high } = createSimulator({ seed: 1, momentum: 1 }).candles(instrument({ price: 1e-9 }), LAST)
  t.equal(Math.min(...low), 1e-4)
  t.ok(high.every((price) => price >= 1e-4 && Number.isFinite(price)))
})

t.test('the last trading day is the latest weekday that is over in UTC', async (t) => {
  const days: [string, string][] = [
    ['2026-11-22T23:59:59Z', '2026-11-20'],
    ['2026-11-23T00:00:00Z', '2026-11-20'],
    ['2026-11-23T23:59:59Z', '2026-11-20'],
    ['2026-11-24T00:00:00Z', '2026-11-23'],
    ['2026-11-21T00:00:00Z', '2026-11-20'],
    ['2026-11-20T12:00:00Z', '2026-11-19'],
    ['2027-01-01T00:00:00Z', '2026-12-31']
  ]
  for (const [now, day] of days) t.equal(lastTradingDay(new Date(now)), day, now)
})
