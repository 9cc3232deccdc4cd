/** CoinGecko's replies, read with suspicion: field by field, and a row that makes no sense is no row. */
import { type Coin, type CoinDetails, type CoinMarkets, parseCoinId } from '../domain/coins.ts'
import { NFT_IDS } from './coins.ts'
import { UpstreamError } from './upstream.ts'

type Row = Readonly<Record<string, unknown>>

/** Longer texts are cut. */
const MAX_TEXT = 5000
const MAX_CATEGORIES = 50

/** A value that a field can't have. */
class FieldError extends Error {}

function refuse(form: string): never {
  throw new UpstreamError('coingecko', 'schema', `a reply that is no ${form}`)
}

/** The properties of an object; none of anything else. */
function rowOf(value: unknown): Row {
  return typeof value === 'object' && value !== null ? (value as Row) : {}
}

function text(value: unknown): string {
  if (typeof value !== 'string' || value.trim() === '') throw new FieldError('no text')
  return value.trim().slice(0, MAX_TEXT)
}

/** @throws FieldError for what is neither null nor a finite number. */
function number(value: unknown): number | null {
  if (value === null || value === undefined) return null
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new FieldError('no number')
  return value
}

/** @throws FieldError for less than 0 too. */
function amount(value: unknown): number | null {
  const found = number(value)
  if (found !== null && found < 0) throw new FieldError('less than nothing')
  return found
}

function rank(value: unknown): number | null {
  const found = number(value)
  if (found !== null && !(Number.isInteger(found) && found > 0)) throw new FieldError('no rank')
  return found
}

/** An address to be shown; CoinGecko also has the names of missing pictures here. */
function address(value: unknown): string | null {
  return typeof value === 'string' && value.length <= MAX_TEXT && /^https?:\/\/[^\s"'<>]+$/.test(value) ? value : null
}

/** A date or time as it stands, if it is one. */
function time(value: unknown): string | null {
  return typeof value === 'string' && !Number.isNaN(Date.parse(value)) ? value : null
}

/** @throws FieldError */
function identity(row: Row): Pick<Coin, 'id' | 'symbol' | 'name' | 'nft'> {
  const id = text(row['id'])
  // What can't be asked for again is of no use.
  if (parseCoinId(id) !== id) throw new FieldError('no id')
  return { id, symbol: text(row['symbol']).toUpperCase(), name: text(row['name']), nft: NFT_IDS.has(id) }
}

/** @throws FieldError */
function readCoin(row: Row): Coin {
  return {
    ...identity(row),
    price: amount(row['current_price']),
    change24h: number(row['price_change_percentage_24h_in_currency'] ?? row['price_change_percentage_24h']),
    change7d: number(row['price_change_percentage_7d_in_currency']),
    change30d: number(row['price_change_percentage_30d_in_currency']),
    marketCap: amount(row['market_cap']),
    marketCapRank: rank(row['market_cap_rank']),
    volume: amount(row['total_volume']),
    image: address(row['image'])
  }
}

/** What `read` makes of a row, undefined for a row that makes no sense. */
function attempt<T>(read: (row: Row) => T, value: unknown): T | undefined {
  try {
    return read(rowOf(value))
  } catch {
    return undefined
  }
}

/** `/coins/markets`: each coin once. @throws UpstreamError: `schema` for another form, or if no row makes sense */
export function readMarkets(body: unknown): CoinMarkets {
  if (!Array.isArray(body)) return refuse('list of coins')
  const coins = new Map<string, Coin>()
  for (const value of body as unknown[]) {
    const coin = attempt(readCoin, value)
    if (coin !== undefined && !coins.has(coin.id)) coins.set(coin.id, coin)
  }
  if (coins.size === 0 && body.length > 0) return refuse('list of coins')
  return { coins: [...coins.values()], dropped: body.length - coins.size }
}

/** `/search`: ids, the best first. @throws UpstreamError: `schema` */
export function readSearch(body: unknown): string[] {
  const { coins } = rowOf(body)
  if (!Array.isArray(coins)) return refuse('search')
  return (coins as unknown[]).flatMap((coin) => {
    const { id } = rowOf(coin)
    return typeof id === 'string' ? [id] : []
  })
}

/** `/coins/{id}`. @throws UpstreamError: `schema` */
export function readDetails(body: unknown): CoinDetails {
  return attempt(readDetailed, body) ?? refuse('coin')
}

/** @throws FieldError */
function readDetailed(row: Row): CoinDetails {
  const market = row['market_data']
  if (typeof market !== 'object' || market === null) throw new FieldError('no market')
  const data = market as Row
  const usd = (name: string): unknown => rowOf(data[name])['usd']
  return {
    ...identity(row),
    price: amount(usd('current_price')),
    change24h: number(data['price_change_percentage_24h']),
    change7d: number(data['price_change_percentage_7d']),
    change30d: number(data['price_change_percentage_30d']),
    marketCap: amount(usd('market_cap')),
    marketCapRank: rank(row['market_cap_rank']),
    volume: amount(usd('total_volume')),
    image: address(rowOf(row['image'])['large']),
    description: plain(rowOf(row['description'])['en']),
    homepage: homepage(rowOf(row['links'])['homepage']),
    categories: categories(row['categories']),
    genesisDate: time(row['genesis_date']),
    high24h: amount(usd('high_24h')),
    low24h: amount(usd('low_24h')),
    circulatingSupply: amount(data['circulating_supply']),
    totalSupply: amount(data['total_supply']),
    maxSupply: amount(data['max_supply']),
    ath: amount(usd('ath')),
    athDate: time(usd('ath_date')),
    atl: amount(usd('atl')),
    atlDate: time(usd('atl_date')),
    lastUpdated: time(row['last_updated'])
  }
}

/** Text without the links that CoinGecko puts into it: what strangers wrote must not run in a page. */
function plain(value: unknown): string | null {
  if (typeof value !== 'string') return null
  const stripped = value
    .replaceAll(/<[^<>]*>/g, '')
    .replaceAll('<', '')
    .trim()
  return stripped === '' ? null : stripped.slice(0, MAX_TEXT)
}

function homepage(value: unknown): string | null {
  return Array.isArray(value) ? address(value[0]) : null
}

function categories(value: unknown): string[] {
  const all = Array.isArray(value) ? (value as unknown[]) : []
  return all.filter((name): name is string => typeof name === 'string').slice(0, MAX_CATEGORIES)
}
