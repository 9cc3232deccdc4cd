import { featureMatrix, FEATURES } from '../domain/features.ts'
import type { Candles, MarketSource, Universe } from '../domain/market.ts'
import { quantile } from './evaluation.ts'

/** Trading days that a label looks ahead. */
export const HORIZON_DAYS = 20
/** Rows are taken on Wednesdays: neighbouring days tell the same story, and few exchange holidays fall on one. */
export const DAYS_BETWEEN_ROWS = 5
/** A date on which fewer members of a universe have prices says nothing about a median. */
export const MIN_MEMBERS = 8

const DAY = 86_400_000
/** Days since 1970-01-01, a Thursday, modulo 7. */
const WEDNESDAY = 6
/** More than any source has: all of it. */
const ALL_BARS = 100_000

/** One symbol on one date. */
export interface Row {
  universe: string
  symbol: string
  /** ISO date of the last bar that the features know. */
  date: string
  /** ISO date of the bar that ends the label's window, HORIZON_DAYS trading days later. */
  end: string
  features: Float32Array
  /** Return of the adjusted close from `date` to `end`. */
  forward: number
  /** 1: `forward` is above the median of the universe over the same days. */
  label: 0 | 1
}

/** Rows by date, then universe and symbol in the source's order. */
export type Dataset = readonly Row[]

/** Adjusted closes -> one vector a bar, row-major. Its default is the service's own. */
export type FeatureFunction = (adjClose: Float64Array) => Float32Array

/**
 * Weekly rows of all universes that are a country's. (`Global` is left out: its members are in the others, and a median
 * over different calendars and currencies compares exchange rates.)
 *
 * The days of a universe are those on which at least MIN_MEMBERS members have a bar. A member's row needs a bar on the
 * row's date and on the label's last day; nothing after `date` enters the features, nothing before it the label.
 */
export async function buildDataset(source: MarketSource, features: FeatureFunction = featureMatrix): Promise<Dataset> {
  const rows: Row[] = []
  for (const universe of source.universes) {
    if (universe.name !== 'Global') rows.push(...(await universeRows(source, universe, features)))
  }
  return rows.toSorted((a, b) => (a.date < b.date ? -1 : Number(a.date > b.date)))
}

/** A symbol's prices, with the bar of each date. */
interface Member {
  symbol: string
  adjClose: Float64Array
  bar: Map<string, number>
  vectors: Float32Array
}

async function universeRows(source: MarketSource, universe: Universe, features: FeatureFunction): Promise<Row[]> {
  const histories = await source.history(universe.symbols, ALL_BARS)
  const members: Member[] = []
  for (const symbol of universe.symbols) {
    const history = histories.get(symbol)
    if (history?.ok) members.push(toMember(symbol, history.value, features))
  }
  const calendar = tradingDays(members)
  return calendar.flatMap((date, day) => {
    const end = calendar[day + HORIZON_DAYS]
    return end !== undefined && isWednesday(date) ? crossSection(universe.name, members, date, end) : []
  })
}

function toMember(symbol: string, { dates, adjClose }: Candles, features: FeatureFunction): Member {
  const bar = new Map(dates.map((date, index) => [date, index]))
  return { symbol, adjClose, bar, vectors: features(adjClose) }
}

/** Ascending dates on which enough members have a bar. */
function tradingDays(members: readonly Member[]): string[] {
  const bars = new Map<string, number>()
  for (const { bar } of members) {
    for (const date of bar.keys()) bars.set(date, (bars.get(date) ?? 0) + 1)
  }
  return [...bars.keys()].filter((date) => bars.get(date)! >= MIN_MEMBERS).toSorted()
}

function isWednesday(date: string): boolean {
  return (Date.parse(date) / DAY) % 7 === WEDNESDAY
}

/** The rows of one universe on one date: labels against the median of all with prices, rows for those with features. */
function crossSection(universe: string, members: readonly Member[], date: string, end: string): Row[] {
  const present = members.flatMap(({ symbol, adjClose, bar, vectors }) => {
    const [from, to] = [bar.get(date), bar.get(end)]
    if (from === undefined || to === undefined) return []
    const vector = vectors.subarray(from * FEATURES.length, (from + 1) * FEATURES.length)
    return [{ symbol, features: vector, forward: adjClose[to]! / adjClose[from]! - 1 }]
  })
  if (present.length < MIN_MEMBERS) return []
  const forward = Float64Array.from(present, (member) => member.forward)
  const median = quantile(forward, 0.5)
  return present
    .map((member): Row => ({ universe, date, end, ...member, label: member.forward > median ? 1 : 0 }))
    .filter((row) => row.features.every(Number.isFinite))
}
