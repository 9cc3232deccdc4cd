import type { Instrument, Universe } from '../domain/market.ts'
import type { SimulatedInstrument } from '../domain/simulator.ts'
import data from './universes.json' with { type: 'json' }

/** An instrument of universes.json, with the rough figures from which the simulator starts. They are no market data. */
export interface Listing extends Instrument, SimulatedInstrument {
  sector: string
  country: string
  currency: string
  /** Price over earnings at `price`; null: no earnings. */
  peRatio: number | null
}

const countries = data.countries.map(({ name, origin, currency, sectors }) => {
  const listings: Listing[] = sectors.flatMap((sector) =>
    sector.instruments.map((instrument) => ({ ...instrument, sector: sector.name, country: name, currency }))
  )
  return { listings, universe: { name, origin, date: data.date, symbols: listings.map(({ symbol }) => symbol) } }
})

/** Every instrument of universes.json, by symbol. */
export const LISTINGS: ReadonlyMap<string, Listing> = new Map(
  countries.flatMap(({ listings }) => listings.map((listing) => [listing.symbol, listing]))
)

/** Global, then the countries: selections by hand, dated, not point-in-time (see `origin` of each). */
export const UNIVERSES: readonly Universe[] = [
  { ...data.global, date: data.date },
  ...countries.map(({ universe }) => universe)
]
