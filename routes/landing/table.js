/** The table of a ranking. */
import { element, svg } from './element.js'
import { change, day, percent, price, signed } from './words.js'

/** @typedef {import('./words.js').Ranking['ranking'][number]} Row */

const WIDTH = 120
const HEIGHT = 32

/** A line through the closes, from the lowest at the bottom to the highest at the top. @param {readonly number[]} closes */
function line(closes) {
  const low = Math.min(...closes)
  const range = Math.max(...closes) - low
  const step = WIDTH / Math.max(1, closes.length - 1)
  const points = closes.map((close, i) => {
    const height = range > 0 ? (close - low) / range : 0.5
    return `${(i * step).toFixed(1)},${(HEIGHT - height * HEIGHT).toFixed(1)}`
  })
  return points.join(' ')
}

/** @param {readonly number[]} closes */
function chart(closes) {
  const rise = change(closes)
  const text = `${signed(rise)} in ${closes.length} days`
  const points = { points: line(closes), class: rise < 0 ? 'fall' : 'rise' }
  // Room for the width of the line, which is not scaled.
  const box = `-2 -2 ${WIDTH + 4} ${HEIGHT + 4}`
  const image = { class: 'sparkline', viewBox: box, preserveAspectRatio: 'none', role: 'img', 'aria-label': text }
  const label = element('span', { class: 'change', 'aria-hidden': 'true' }, signed(rise))
  return [svg('svg', image, svg('polyline', points)), label]
}

/** What a table is to a screen reader, it is no longer once its rows are grids: so it is said. */
const COLUMNS = [
  { name: 'place', head: 'Place' },
  { name: 'stock', head: 'Stock' },
  { name: 'history', head: 'Last closes' },
  { name: 'price', head: 'Price' },
  { name: 'probability', head: 'Probability' },
  { name: 'percentile', head: 'Percentile' },
  { name: 'signal', head: 'Signal' }
]

/** @param {Row} row @param {string | null} newest */
function rowOf(row, newest) {
  const old = row.as_of !== newest
  const signal = row.signal.toLowerCase().replaceAll(' ', '-')
  /** @type {{ [column: string]: (Node | string)[] }} */
  const cells = {
    place: [String(row.rank)],
    history: row.sparkline === undefined ? [] : chart(row.sparkline),
    price: [price(row.price, row.currency), ...(old ? [element('span', { class: 'old' }, day(row.as_of))] : [])],
    probability: [percent(row.prob)],
    percentile: [row.percentile.toFixed(0)],
    signal: [element('span', { class: `signal ${signal}` }, row.signal)]
  }
  const made = COLUMNS.map(({ name, head }) => {
    const attributes = { class: name, 'data-head': head }
    if (name !== 'stock') return element('td', { ...attributes, role: 'cell' }, ...(cells[name] ?? []))
    const title = element('strong', {}, row.ticker)
    const full = element('span', { class: 'name' }, row.name)
    return element('th', { ...attributes, role: 'rowheader', scope: 'row' }, title, ' ', full)
  })
  return element('tr', { role: 'row' }, ...made)
}

/** @param {import('./words.js').Ranking} ranking */
export function rankingTable({ ranking, country, data_as_of: newest }) {
  const heads = COLUMNS.map(({ name, head }) =>
    element('th', { role: 'columnheader', scope: 'col', class: name }, head)
  )
  return element(
    'table',
    { role: 'table' },
    element('caption', {}, `${country}, by probability`),
    element('thead', { role: 'rowgroup' }, element('tr', { role: 'row' }, ...heads)),
    element('tbody', { role: 'rowgroup' }, ...ranking.map((row) => rowOf(row, newest)))
  )
}
