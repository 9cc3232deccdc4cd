import data from './coins.json' with { type: 'json' }

/** A coin of coins.json, with the rough figures from which the simulator starts. They are no market data. */
export interface CoinListing {
  id: string
  symbol: string
  name: string
  /** US dollars. */
  price: number
  /** Market capitalisation at `price`, in millions of US dollars. */
  cap: number
  /** Whether its price is meant to stay where it is, at a dollar or at that of gold. */
  stable: boolean
}

/** Every coin of coins.json, by id. */
export const COIN_LISTINGS: ReadonlyMap<string, CoinListing> = new Map(
  (data.coins as Omit<CoinListing, 'stable'>[]).map((coin) => [coin.id, { stable: false, ...coin }])
)

/** Ids of the tokens of NFT collections, markets, games and worlds; `origin` in coins.json says who says so. */
export const NFT_IDS: ReadonlySet<string> = new Set(data.nft.ids)
