import t from 'tap'
import { COIN_SIMULATION_START, createCoinSimulator } from '../../domain/coin-simulator.ts'

const BITCOIN = { id: 'bitcoin', symbol: 'BTC', name: 'Bitcoin', price: 90_000, cap: 1_800_000, stable: false }
const SMALL = { id: 'small', symbol: 'S', name: 'Small', price: 0.000_01, cap: 100, stable: false }
const TETHER = { id: 'tether', symbol: 'USDT', name: 'Tether', price: 1, cap: 180_000, stable: true }

/** ISO dates from one on. */
function days(from: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => new Date(Date.parse(from) + i * 86_400_000).toISOString().slice(0, 10))
}

t.test(
  'the same seed, coin and day give the same, whoever was asked for before; another seed another market',
  async (t) => {
    const one = createCoinSimulator(1)
    const two = createCoinSimulator(1)
    two.coin(TETHER, '2026-12-31')
    two.coin(BITCOIN, '2026-01-01')
    t.same(one.coin(BITCOIN, '2026-11-21'), two.coin(BITCOIN, '2026-11-21'))
    t.not(createCoinSimulator(2).coin(BITCOIN, '2026-11-21').price, one.coin(BITCOIN, '2026-11-21').price)
  }
)

t.test('changes are those against the prices of 1, 7 and 30 days before, weekends too', async (t) => {
  const simulator = createCoinSimulator(1)
  const all = days('2026-10-01', 60).map((day) => simulator.coin(BITCOIN, day))
  const today = all.at(-1)!
  for (const [change, back] of [
    [today.change24h, 1],
    [today.change7d, 7],
    [today.change30d, 30]
  ] as const) {
    const before = all.at(-1 - back)!.price!
    t.ok(Math.abs(change! - 100 * (today.price! / before - 1)) < 0.01, `${back} days`)
  }
  t.equal(new Set(all.map(({ price }) => price)).size, 60)
})

t.test('a coin is what its figures say', async (t) => {
  const coin = createCoinSimulator(1).coin(BITCOIN, '2026-11-21')
  t.match(coin, { id: 'bitcoin', symbol: 'BTC', name: 'Bitcoin', image: null, marketCapRank: null, nft: false })
  t.equal(coin.circulatingSupply, 20_000_000)
  t.equal(coin.marketCap, Math.round(coin.price! * 20_000_000))
  t.equal(coin.lastUpdated, '2026-11-22T00:00:00.000Z', 'the end of the day')
  t.ok(coin.low24h! <= coin.price! && coin.price! <= coin.high24h!)
  t.ok(coin.atl! <= coin.price! && coin.price! <= coin.ath!)
  t.ok(coin.athDate! <= coin.lastUpdated! && coin.atlDate! <= coin.lastUpdated!)
})

t.test('prices stay around the listed one for years, those of stable coins at it', async (t) => {
  const simulator = createCoinSimulator(1)
  for (const day of days('2026-01-01', 400).filter((_, i) => i % 40 === 0)) {
    const { price } = simulator.coin(BITCOIN, day)
    t.ok(price! > 9000 && price! < 900_000, `${day}: ${price}`)
    t.ok(Math.abs(simulator.coin(TETHER, day).price! - 1) < 0.02)
  }
  t.ok(simulator.coin(SMALL, '2036-01-01').price! > 0)
})

t.test('small coins have gaps now and then, large ones never', async (t) => {
  const simulator = createCoinSimulator(1)
  const gaps = (listing: typeof BITCOIN): number =>
    days('2026-01-01', 200).filter((day) => {
      const { change7d, change30d, volume } = simulator.coin(listing, day)
      return change7d === null || change30d === null || volume === null
    }).length
  t.equal(gaps(BITCOIN), 0)
  t.ok(gaps(SMALL) > 2 && gaps(SMALL) < 30)
})

t.test('before the simulation begins it is its first day', async (t) => {
  const simulator = createCoinSimulator(1)
  t.equal(simulator.coin(TETHER, '2020-01-01').price, simulator.coin(TETHER, COIN_SIMULATION_START).price)
  t.type(simulator.coin(BITCOIN, '2020-01-01').change30d, 'number')
})
