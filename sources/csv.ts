import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Candles, Instrument, MarketSource, Universe } from '../domain/market.ts'
import { parseSymbol } from '../domain/symbols.ts'
import { answer, lastCandles, quoteOf } from './candles.ts'
import { type CsvContent, type CsvDropped, parseCsvFile } from './csv-file.ts'
import { LISTINGS } from './universes.ts'

export interface CsvSourceOptions {
  /** Folder of `<MARKET>/<TICKER>.csv` files. */
  directory: string
  /** Called once for each file that was not taken as a whole. */
  log?: (report: CsvFileReport) => void
  /** The clock, read once: rows of days to come are dropped. */
  now?: () => Date
}

/** What was left out of one file. */
export interface CsvFileReport {
  /** `US/AAPL.csv` */
  file: string
  /** Rows in use. */
  rows: number
  /** Rows left out, by reason. */
  dropped: CsvDropped
  /**
   * Why the whole file is left out, null if it is in use. `symbol`: its name is none. `duplicate`: an earlier file has
   * the symbol. The others: see `CsvContent`.
   */
  skipped: 'symbol' | 'duplicate' | CsvContent['fault']
}

/** The folder cannot be read, or no file in it can be used. */
export class CsvDirectoryError extends Error {
  readonly code = 'TF_ERR_SOURCE_CSV_DIRECTORY'
}

const SUFFIX = '.csv'

interface Market {
  country: string
  currency: string
}

const UNITED_KINGDOM: Market = { country: 'United Kingdom', currency: 'GBp' }

/** By the name of the folder. */
const MARKETS: ReadonlyMap<string, Market> = new Map([
  ['US', { country: 'United States', currency: 'USD' }],
  ['CH', { country: 'Switzerland', currency: 'CHF' }],
  ['DE', { country: 'Germany', currency: 'EUR' }],
  ['GB', UNITED_KINGDOM],
  ['UK', UNITED_KINGDOM],
  ['FR', { country: 'France', currency: 'EUR' }],
  ['JP', { country: 'Japan', currency: 'JPY' }],
  ['CA', { country: 'Canada', currency: 'CAD' }]
])

interface Stock {
  folder: string
  /** The universe that it belongs to beside Global. */
  universe: string
  instrument: Instrument
  candles: Candles
}

/**
 * A folder of daily prices, read as a whole, once. Only plain `*.csv` files exactly one level down count; links are not
 * followed. See `parseCsvFile` for their content.
 *
 * A folder named by country code (US, CH, DE, GB or UK, FR, JP, CA) is that country's universe, any other the universe
 * of its own name, without country and currency. `Global` is all symbols of all folders. A symbol is taken from the
 * first file that has it, in alphabetical order. Names and sectors come from universes.json where it has the symbol.
 * Arrays in answers are copies. Market capitalisation and price-earnings ratio are unknown.
 *
 * Rejects with `CsvDirectoryError` (`TF_ERR_SOURCE_CSV_DIRECTORY`).
 */
export async function openCsvSource(options: CsvSourceOptions): Promise<MarketSource> {
  const { directory, log, now = () => new Date() } = options
  const today = now().toISOString().slice(0, 10)
  const stocks = new Map<string, Stock>()
  for (const { folder, name } of await listFiles(directory)) {
    const report = (rows: number, dropped: CsvDropped, skipped: CsvFileReport['skipped']): void =>
      log?.({ file: `${folder}/${name}`, rows, dropped, skipped })

    const symbol = parseSymbol(name.slice(0, -SUFFIX.length))
    if (symbol === undefined) report(0, {}, 'symbol')
    else if (stocks.has(symbol)) report(0, {}, 'duplicate')
    else {
      const content = parseCsvFile(await readFile(join(directory, folder, name)), today)
      if (content.fault === null) stocks.set(symbol, toStock(symbol, folder, content.candles))
      const rows = content.fault === null ? content.candles.dates.length : 0
      if (rows === 0 || Object.keys(content.dropped).length > 0) report(rows, content.dropped, content.fault)
    }
  }
  if (stocks.size === 0) throw new CsvDirectoryError(`No usable <MARKET>/<TICKER>.csv in the price folder ${directory}`)

  const find = (symbol: string): Stock | undefined => stocks.get(symbol)
  return {
    name: 'csv',
    kind: 'historical',
    universes: toUniverses([...stocks.values()]),
    instrument: (symbol) => find(symbol)?.instrument,
    history: async (symbols, days) => answer(symbols, find, ({ candles }) => lastCandles(candles, days)),
    quotes: async (symbols) =>
      answer(symbols, find, ({ candles }) => ({ ...quoteOf(candles), marketCap: null, peRatio: null }))
  }
}

/** In alphabetical order, so that which of two duplicates counts does not depend on the file system. */
async function listFiles(directory: string): Promise<{ folder: string; name: string }[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((cause: unknown) => {
    throw new CsvDirectoryError(`Cannot read the price folder ${directory}`, { cause })
  })
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  const files = []
  for (const folder of folders.toSorted()) {
    const inside = await readdir(join(directory, folder), { withFileTypes: true })
    const names = inside.filter((entry) => entry.isFile() && entry.name.endsWith(SUFFIX)).map(({ name }) => name)
    for (const name of names.toSorted()) files.push({ folder, name })
  }
  return files
}

function toStock(symbol: string, folder: string, candles: Candles): Stock {
  const market = MARKETS.get(folder.toUpperCase())
  const listing = LISTINGS.get(symbol)
  const instrument = {
    symbol,
    name: listing?.name ?? symbol,
    sector: listing?.sector ?? null,
    country: market?.country ?? null,
    currency: market?.currency ?? null
  }
  return { folder, universe: market?.country ?? folder, instrument, candles }
}

function toUniverses(stocks: Stock[]): Universe[] {
  const names = new Set(stocks.map(({ universe }) => universe))
  names.delete('Global')
  return [
    toUniverse('Global', stocks),
    ...[...names].map((name) =>
      toUniverse(
        name,
        stocks.filter(({ universe }) => universe === name)
      )
    )
  ]
}

function toUniverse(name: string, stocks: Stock[]): Universe {
  const folders = new Set(stocks.map(({ folder }) => folder))
  return {
    name,
    symbols: stocks.map(({ instrument }) => instrument.symbol),
    origin: `csv folder${folders.size > 1 ? 's' : ''} ${[...folders].join(', ')}`,
    date: stocks
      .map(({ candles }) => candles.dates.at(-1)!)
      .toSorted()
      .at(-1)!
  }
}
