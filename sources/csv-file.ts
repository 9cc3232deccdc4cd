import type { Candles } from '../domain/market.ts'

/** The first line of every file. Dates are ISO and ascend; an empty cell means that there is no value. */
export const CSV_HEADER = 'date,open,high,low,close,adj_close,volume'

/**
 * Why a row is left out. `columns`: not seven of them. `date`: no ISO date, or one that is yet to come. `order`: not after the row before. `price`:
 * `close` or `adj_close` missing, or any price that is no number from 1e-9 to 1e12. `volume`: negative or not a number.
 */
export type CsvRowFault = 'columns' | 'date' | 'order' | 'price' | 'volume'

/** Rows left out, by reason. */
export type CsvDropped = Partial<Record<CsvRowFault, number>>

/** The rows that are valid, or why none can be used: another first line, no valid row. */
export type CsvContent =
  | { fault: null; candles: Candles; dropped: CsvDropped }
  | { fault: 'header' | 'empty'; dropped: CsvDropped }

/**
 * Reads one file of daily prices, UTF-8, with or without byte order mark, lines ended by LF or CRLF. No quotes: a date
 * and six numbers never need them, and splitting lines reads a folder several times faster than a general CSV parser.
 *
 * Rows are judged one by one; a row without `adj_close` is dropped though it has a `close`, because a series that mixes
 * adjusted and raw prices has jumps that never happened. Open, high, low and volume may be empty. Whether a day's high
 * is above its low is not checked.
 */
export function parseCsvFile(content: Buffer, today: string): CsvContent {
  const [header, ...lines] = content.toString().split(/\r?\n/)
  if (header?.replace(/^\uFEFF/, '') !== CSV_HEADER) return { fault: 'header', dropped: {} }

  const rows: Row[] = []
  const dropped: CsvDropped = {}
  let previous = ''
  for (const line of lines) {
    if (line === '') continue
    const row = parseRow(line.split(','), previous, today)
    if (typeof row === 'string') dropped[row] = (dropped[row] ?? 0) + 1
    else {
      rows.push(row)
      previous = row.date
    }
  }
  return rows.length === 0 ? { fault: 'empty', dropped } : { fault: null, candles: toCandles(rows), dropped }
}

interface Row {
  date: string
  open: number
  high: number
  low: number
  close: number
  adjClose: number
  volume: number
}

function parseRow(cells: string[], previous: string, today: string): Row | CsvRowFault {
  const [date, ...values] = cells
  if (date === undefined || values.length !== 6) return 'columns'
  if (!isDate(date) || date > today) return 'date'
  if (date <= previous) return 'order'
  const [open, high, low, close, adjClose, volume] = values.map(toNumber)
  if (!isPrice(open) || !isPrice(high) || !isPrice(low) || !isPrice(close) || !isPrice(adjClose)) return 'price'
  if (Number.isNaN(close) || Number.isNaN(adjClose)) return 'price'
  if (volume === undefined || volume < 0) return 'volume'
  return { date, open, high, low, close, adjClose, volume }
}

/** A day that the calendar has: `Date` alone would read February 31 as March 3. */
function isDate(text: string): boolean {
  return /^\d{4}-\d\d-\d\d$/.test(text) && new Date(text).getUTCDate() === Number(text.slice(8))
}

/** NaN for an empty cell, undefined for one that holds no number. */
function toNumber(cell: string): number | undefined {
  if (cell === '') return NaN
  const value = Number(cell)
  return Number.isFinite(value) ? value : undefined
}

/** What no share has ever cost, in any currency: a price outside is a mistake, and would make features overflow. */
const LOWEST_PRICE = 1e-9
const HIGHEST_PRICE = 1e12

/** A price that can be, or NaN for none. */
function isPrice(value: number | undefined): value is number {
  return value !== undefined && !(value < LOWEST_PRICE || value > HIGHEST_PRICE)
}

function toCandles(rows: Row[]): Candles {
  return {
    dates: rows.map(({ date }) => date),
    open: new Float64Array(rows.map(({ open }) => open)),
    high: new Float64Array(rows.map(({ high }) => high)),
    low: new Float64Array(rows.map(({ low }) => low)),
    close: new Float64Array(rows.map(({ close }) => close)),
    adjClose: new Float64Array(rows.map(({ adjClose }) => adjClose)),
    volume: new Float64Array(rows.map(({ volume }) => volume))
  }
}
