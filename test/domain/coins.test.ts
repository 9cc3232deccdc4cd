import t from 'tap'
import { COIN_ID_PATTERN, type Coin, findCoin, parseCoinId, rankCoins, scoreCoin } from '../../domain/coins.ts'

/** A coin of which only a name is known. */
function coin(id: string, over: Partial<Coin> = {}): Coin {
  return {
    id,
    symbol: id.toUpperCase(),
    name: `The ${id}`,
    price: null,
    change24h: null,
    change7d: null,
    change30d: null,
    marketCap: null,
    marketCapRank: null,
    volume: null,
    image: null,
    nft: false,
    ...over
  }
}

const ALL = { includeNft: true, minScore: 0, limit: 250 }
const ids = (coins: readonly Coin[]): string[] => coins.map(({ id }) => id)

t.test('ids are trimmed, in lower case, and never another path', async (t) => {
  for (const [text, id] of [
    ['bitcoin', 'bitcoin'],
    [' Bitcoin\n', 'bitcoin'],
    ['avalanche-2', 'avalanche-2'],
    ['-10', '-10'],
    ['a_b.c', 'a_b.c'],
    ['a'.repeat(100), 'a'.repeat(100)]
  ] as const) {
    t.equal(parseCoinId(text), id, text)
  }
  for (const text of ['', ' ', '.', '..', '_', 'a b', 'a/b', 'a,b', 'ß', 'ı', 'a?b', 'a'.repeat(101)]) {
    t.equal(parseCoinId(text), undefined, JSON.stringify(text))
    t.notMatch(text, new RegExp(COIN_ID_PATTERN, 'u'))
  }
})

t.test('turnover is volume over capitalisation in percent, unknown without either', async (t) => {
  t.match(scoreCoin(coin('a', { volume: 50, marketCap: 200 })), { turnover: 25, score: 0.1, parts: { volume: 0.1 } })
  for (const over of [{ volume: 50 }, { marketCap: 200 }, { volume: 50, marketCap: 0 }]) {
    t.match(scoreCoin(coin('a', over)), { turnover: null, score: 0 })
  }
})

t.test('the best first, of equals the larger, then by id; coins without a rank last', async (t) => {
  const coins = [
    coin('small', { marketCapRank: 90 }),
    coin('b'),
    coin('a'),
    coin('large', { marketCapRank: 60 }),
    coin('rising', { marketCapRank: 99, change7d: 11 })
  ]
  t.same(ids(rankCoins(coins, ALL)), ['rising', 'large', 'small', 'a', 'b'])
  t.same(ids(rankCoins(coins, { ...ALL, limit: 2 })), ['rising', 'large'])
  t.same(ids(rankCoins(coins, { ...ALL, minScore: 0.2 })), ['rising'], 'a score of the least is enough')
  t.same(ids(rankCoins(coins, { ...ALL, minScore: 0.21 })), [])
})

t.test('tokens of NFTs are left out before the limit counts', async (t) => {
  const coins = [coin('ape', { nft: true, change7d: 11 }), coin('a', { change7d: 1 }), coin('b')]
  t.same(ids(rankCoins(coins, { ...ALL, limit: 2 })), ['ape', 'a'])
  t.same(ids(rankCoins(coins, { ...ALL, includeNft: false, limit: 2 })), ['a', 'b'])
})

t.test('a text names a coin by id, symbol or name; of several the largest is meant', async (t) => {
  const coins = [
    coin('bridged-x', { symbol: 'X' }),
    coin('x-two', { symbol: 'X', marketCapRank: 9 }),
    coin('x-one', { symbol: 'X', marketCapRank: 3 }),
    coin('y', { name: 'Why Coin' })
  ]
  t.equal(findCoin(coins, 'x')?.id, 'x-one')
  t.equal(findCoin(coins, 'X-TWO')?.id, 'x-two')
  t.equal(findCoin(coins, 'why coin')?.id, 'y')
  t.equal(findCoin(coins, 'why'), undefined)
})
