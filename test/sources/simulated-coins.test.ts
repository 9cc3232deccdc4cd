import t from 'tap'
import type { CoinDetails, CoinMarkets, CoinSource } from '../../domain/coins.ts'
import type { Fetched } from '../../domain/market.ts'
import { simulatedCoinSource } from '../../sources/simulated-coins.ts'

const SUNDAY = new Date('2026-11-22T15:00:00Z')

/** The value of an answer; a test that expects one fails without it. */
async function valueOf<T>(answer: Promise<Fetched<T>>): Promise<T> {
  const fetched = await answer
  if (!fetched.ok) throw new Error(fetched.error)
  return fetched.value
}

t.test('250 coins, the largest first, ranked without a hole; tokens of NFTs are marked', async (t) => {
  const source = simulatedCoinSource({ now: () => SUNDAY })
  t.equal(source.name, 'simulated')
  const { coins, dropped } = await valueOf<CoinMarkets>(source.largest())
  t.equal(dropped, 0)
  t.same(
    coins.map(({ marketCapRank }) => marketCapRank),
    Array.from({ length: 250 }, (_, i) => i + 1)
  )
  t.same(
    coins.map(({ marketCap }) => marketCap),
    coins.map(({ marketCap }) => marketCap!).toSorted((a, b) => b - a)
  )
  t.equal(coins[0]!.id, 'bitcoin')
  t.equal(coins.find(({ id }) => id === 'apecoin')!.nft, true)
  t.equal(coins[0]!.nft, false)
})

t.test('the same all day, new the day after, other by another seed', async (t) => {
  let now = SUNDAY
  const source = simulatedCoinSource({ now: () => now })
  const made = async (by: CoinSource): Promise<string> => JSON.stringify(await valueOf<CoinMarkets>(by.largest()))
  const first = await made(source)
  now = new Date('2026-11-22T23:59:59Z')
  t.equal(await made(source), first)
  now = new Date('2026-11-23T00:00:00Z')
  t.not(await made(source), first)
  t.not(await made(simulatedCoinSource({ seed: 2, now: () => SUNDAY })), first)
  t.equal((await valueOf<CoinMarkets>(simulatedCoinSource().largest())).coins.length, 250, 'today, by the clock')
})

t.test('coins by id, without those that there are not; details and searches', async (t) => {
  const source = simulatedCoinSource({ now: () => SUNDAY })
  const { coins } = await valueOf<CoinMarkets>(source.byIds(['solana', 'nope', 'bitcoin']))
  t.same(
    coins.map(({ id }) => id),
    ['solana', 'bitcoin']
  )
  t.match(await valueOf<CoinDetails>(source.details('the-sandbox')), {
    symbol: 'SAND',
    categories: ['Non-Fungible Tokens (NFT)'],
    lastUpdated: '2026-11-22T00:00:00.000Z'
  })
  t.same((await valueOf<CoinDetails>(source.details('bitcoin'))).categories, [])
  t.same(await source.details('nope'), { ok: false, error: 'not_found' })
  t.equal(await valueOf(source.search('bnb')), 'binancecoin')
  t.same(await source.search('no such coin'), { ok: false, error: 'not_found' })
})
