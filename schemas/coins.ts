/** Coins as they are answered. */
import { type Static, Type } from '@sinclair/typebox'
import { COIN_ID_PATTERN, COIN_SOURCES, type CoinDetails, type ScoredCoin } from '../domain/coins.ts'
import { Finite } from './finite.ts'
import { MaybeNumber, MaybeText } from './market.ts'

/** An id as clients write it; parseCoinId makes it canonical. */
export const CoinId = Type.String({
  pattern: COIN_ID_PATTERN,
  description: "CoinGecko's id of a coin, such as bitcoin; spaces around it and upper case are fine.",
  examples: ['bitcoin']
})

export const CoinSourceName = Type.Unsafe<(typeof COIN_SOURCES)[number]>({
  type: 'string',
  enum: COIN_SOURCES,
  description: 'Where the prices come from. `simulated` prices are invented.'
})

const Percent = Type.Union([Finite(), Type.Null()], { description: 'In percent.' })
const Score = Finite({
  minimum: 0,
  maximum: 1,
  description: 'Points for size, rising prices and turnover; the sum of `score_parts`.'
})
const Points = Finite({ minimum: 0, maximum: 1 })

/** What a ranking and the details have in common. */
const market = {
  crypto_id: Type.String(),
  symbol: Type.String({ description: 'Upper case; several coins can have the same.' }),
  name: Type.String(),
  price: Type.Union([Finite(), Type.Null()], { description: 'US dollars, as all amounts.' }),
  change_24h: Percent,
  change_7d: Percent,
  change_30d: Percent,
  market_cap: MaybeNumber,
  market_cap_rank: Type.Union([Type.Integer({ minimum: 1 }), Type.Null()]),
  volume: Type.Union([Finite(), Type.Null()], { description: 'Of 24 hours.' }),
  nft: Type.Boolean({ description: 'Whether it is the token of an NFT collection, market, game or world.' }),
  image: MaybeText
}

export const RankedCoin = Type.Object({
  ...market,
  volume_to_mcap_ratio: Type.Union([Finite(), Type.Null()], {
    description: 'Volume over market capitalisation, in percent.'
  }),
  momentum_score: Score,
  probability: Finite({
    minimum: 0,
    maximum: 1,
    description: 'The momentum score under its old name. It is no probability of anything.'
  }),
  score_parts: Type.Object(
    { rank: Points, change_24h: Points, change_7d: Points, change_30d: Points, volume: Points },
    { description: 'What each part gave; the most: .30, .25, .20, .15, .10. A null gives nothing.' }
  )
})

export const CoinDetailsReply = Type.Object({
  ...market,
  description: Type.Union([Type.String(), Type.Null()], { description: 'Plain text of the source.' }),
  homepage: MaybeText,
  categories: Type.Array(Type.String()),
  genesis_date: MaybeText,
  high_24h: MaybeNumber,
  low_24h: MaybeNumber,
  circulating_supply: MaybeNumber,
  total_supply: MaybeNumber,
  max_supply: MaybeNumber,
  ath: Type.Union([Finite(), Type.Null()], { description: 'The highest price ever.' }),
  ath_date: MaybeText,
  atl: Type.Union([Finite(), Type.Null()], { description: 'The lowest.' }),
  atl_date: MaybeText,
  last_updated: MaybeText
})

type Market = Pick<Static<typeof RankedCoin>, keyof typeof market>

function toMarket(coin: Readonly<Omit<CoinDetails, 'categories'>> | ScoredCoin): Market {
  return {
    crypto_id: coin.id,
    symbol: coin.symbol,
    name: coin.name,
    price: coin.price,
    change_24h: coin.change24h,
    change_7d: coin.change7d,
    change_30d: coin.change30d,
    market_cap: coin.marketCap,
    market_cap_rank: coin.marketCapRank,
    volume: coin.volume,
    nft: coin.nft,
    image: coin.image
  }
}

/** A row of a ranking. */
export function toRankedCoin(coin: ScoredCoin): Static<typeof RankedCoin> {
  return {
    ...toMarket(coin),
    volume_to_mcap_ratio: coin.turnover,
    momentum_score: coin.score,
    probability: coin.score,
    score_parts: coin.parts
  }
}

/** The details of a coin. */
export function toDetails(
  coin: Readonly<Omit<CoinDetails, 'categories'>> & { categories: readonly string[] }
): Static<typeof CoinDetailsReply> {
  return {
    ...toMarket(coin),
    description: coin.description,
    homepage: coin.homepage,
    categories: [...coin.categories],
    genesis_date: coin.genesisDate,
    high_24h: coin.high24h,
    low_24h: coin.low24h,
    circulating_supply: coin.circulatingSupply,
    total_supply: coin.totalSupply,
    max_supply: coin.maxSupply,
    ath: coin.ath,
    ath_date: coin.athDate,
    atl: coin.atl,
    atl_date: coin.atlDate,
    last_updated: coin.lastUpdated
  }
}
