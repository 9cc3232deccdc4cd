import { setImmediate as nextTurn } from 'node:timers/promises'
import { createCoinSimulator } from '../domain/coin-simulator.ts'
import { type CoinDetails, type CoinSource, findCoin } from '../domain/coins.ts'
import type { Fetched, FetchFailure } from '../domain/market.ts'
import { COIN_LISTINGS, NFT_IDS } from './coins.ts'

/** Paths that are made before other work gets its turn: a few milliseconds. */
const AT_ONCE = 20
const DAY = 86_400_000
const NOT_FOUND: FetchFailure = { ok: false, error: 'not_found' }

export interface SimulatedCoinSourceOptions {
  /** Another seed is another market. Default 1. */
  seed?: number
  /** The clock; tests stop it. */
  now?: () => Date
}

/**
 * The simulated coins: the 250 of coins.json with their real ids, symbols and names, and invented prices as they were at the end of
 * yesterday (UTC). All are made when one is first asked for, and kept until the next day.
 */
export function simulatedCoinSource({ seed = 1, now = () => new Date() }: SimulatedCoinSourceOptions = {}): CoinSource {
  const simulator = createCoinSimulator(seed)
  let made = { day: '', coins: Promise.resolve<ReadonlyMap<string, CoinDetails>>(new Map()) }

  async function make(day: string): Promise<ReadonlyMap<string, CoinDetails>> {
    const coins: CoinDetails[] = []
    for (const listing of COIN_LISTINGS.values()) {
      const nft = NFT_IDS.has(listing.id)
      coins.push({ ...simulator.coin(listing, day), nft, categories: nft ? ['Non-Fungible Tokens (NFT)'] : [] })
      if (coins.length % AT_ONCE === 0) await nextTurn()
    }
    const largest = coins.toSorted((a, b) => b.marketCap! - a.marketCap!)
    return new Map(largest.map((coin, i) => [coin.id, { ...coin, marketCapRank: i + 1 }]))
  }

  /** Today's, by id, the largest first. */
  async function today(): Promise<ReadonlyMap<string, CoinDetails>> {
    const day = new Date(now().getTime() - DAY).toISOString().slice(0, 10)
    if (made.day !== day) made = { day, coins: make(day) }
    return made.coins
  }

  async function details(id: string): Promise<Fetched<CoinDetails>> {
    const value = (await today()).get(id)
    return value === undefined ? NOT_FOUND : { ok: true, value }
  }

  return {
    name: 'simulated',
    largest: async () => ({ ok: true, value: { coins: [...(await today()).values()], dropped: 0 } }),
    async byIds(ids) {
      const coins = await today()
      return { ok: true, value: { coins: ids.flatMap((id) => coins.get(id) ?? []), dropped: 0 } }
    },
    async search(query) {
      const coin = findCoin([...(await today()).values()], query)
      return coin === undefined ? NOT_FOUND : { ok: true, value: coin.id }
    },
    details
  }
}
