/** A panel: a title, what it shows, and its numbers or a chart with its legend. */
import { createChart, view } from './chart.js'
import { element } from './element.js'
import { colourOf, coloursOf, formatClock, formatValue } from './format.js'

/** @typedef {import('./chart.js').Definition} Definition */
/** @typedef {import('./chart.js').Series} Series */

/** Ticks that are kept: an hour. */
export const CAPACITY = 720
/** Of more series than this, those that were 0 all the time are left out. */
const CROWDED = 6

/** The largest of the values. @param {Series['points']} points @returns {number | null} */
function most(points) {
  return points.reduce((best, one) => (one !== null && (best === null || one > best) ? one : best), null)
}

export class Panel {
  /**
   * @param {Definition} definition
   * @param {number} index
   * @param {Set<string>} [off] names of series that a person has switched off
   */
  constructor(definition, index, off = new Set()) {
    const id = `panel-${index}`
    this.definition = definition
    /** Of each query. @type {Series[][]} */
    this.answers = Array.from({ length: definition.queries }, () => [])
    /** All of them. @type {Series[]} */
    this.series = []
    this.off = off
    this.body = element('div', { class: `body ${definition.show}` })
    this.legend = element('table', { class: 'legend' })
    this.root = element(
      'section',
      { class: 'panel', 'aria-labelledby': id },
      element('h3', { id }, definition.title),
      element('p', { class: 'description' }, definition.description),
      this.body
    )
    /** @type {ReturnType<typeof createChart> | undefined} */
    this.chart = undefined
    /** The series that the chart was made for. @type {Series[]} */
    this.drawn = []
    new ResizeObserver(() => this.chart?.resize()).observe(this.body)
  }

  /**
   * Adds what is new of each query's series. Their number only grows, and they keep their places.
   * @param {Series[][]} fresh
   * @param {number} before ticks that were known
   */
  add(fresh, before) {
    for (const [query, series] of fresh.entries()) {
      const known = (this.answers[query] ??= [])
      for (const [i, { name, points }] of series.entries()) {
        const one = (known[i] ??= { name, points: Array(before).fill(null) })
        one.points.push(...points)
        if (one.points.length > CAPACITY) one.points.splice(0, one.points.length - CAPACITY)
      }
    }
    this.series = this.answers.flat()
  }

  /** The series worth a line: those with values, and of many those that were ever more than 0. @returns {Series[]} */
  visible() {
    if (this.definition.show === 'heatmap') return this.series
    const some = this.series.filter(({ points }) => points.some((value) => value !== null))
    if (some.length === 0) return this.series.slice(0, 1)
    if (some.length <= CROWDED) return some
    const busy = some.filter(({ points }) => points.some((value) => value !== null && value !== 0))
    return busy.length > 0 ? busy : [{ name: 'none of any kind', points: view.times.map(() => 0) }]
  }

  /** Draws what there is; in a folded row, nothing. */
  draw() {
    if (this.root.closest('details')?.open === false) return
    const { show } = this.definition
    if (show === 'number' || show === 'gauge') this.drawNumbers()
    else this.drawChart()
  }

  /** Draws all of it again, for another theme. */
  redraw() {
    this.destroy()
    this.draw()
  }

  destroy() {
    this.chart?.destroy()
    this.chart = undefined
  }

  /** @param {number | null | undefined} value @returns {string} */
  text(value) {
    const { unit, states, idle = 'none' } = this.definition
    return value === null || value === undefined ? idle : formatValue(value, unit, states)
  }

  drawNumbers() {
    const { thresholds, show, title } = this.definition
    const numbers = this.series.map(({ name, points }) => {
      const value = points.at(-1) ?? null
      const colour = value === null ? '' : (colourOf(value, thresholds) ?? '')
      const parts = [element('p', { class: `value ${colour}` }, this.text(value))]
      if (show === 'gauge') parts.push(gauge(this.definition, value, this.text(value)))
      if (this.series.length > 1 || name !== title) parts.push(element('p', { class: 'name' }, name))
      return element('div', {}, ...parts)
    })
    this.body.replaceChildren(...numbers)
  }

  drawChart() {
    const series = this.visible()
    const same = series.length === this.drawn.length && series.every((one, i) => one === this.drawn[i])
    if (this.chart === undefined || !same) {
      this.chart?.destroy()
      this.drawn = series
      const place = element('div', { class: 'chart', role: 'img' })
      const label = `${this.definition.title}: values`
      const legend = element(
        'div',
        { class: 'legends', tabindex: '0', role: 'group', 'aria-label': label },
        this.legend
      )
      this.body.replaceChildren(place, legend)
      this.chart = createChart(place, this.definition, series, (tick) => this.list(series, tick))
    }
    this.chart.set(this.off)
    this.list(series, this.chart.pointer)
    const now = series.slice(0, 12).map(({ name, points }) => `${name} ${this.text(points.at(-1))}`)
    this.body.firstElementChild?.setAttribute('aria-label', `${this.definition.title}, now: ${now.join(', ')}`)
  }

  /** Fills the legend with the values of a tick, or of now. @param {Series[]} series @param {number | null} tick */
  list(series, tick) {
    const valueOf = (/** @type {Series} */ { points }) => (tick === null ? points.at(-1) : points[tick]) ?? null
    const when = tick === null ? 'now' : formatClock(view.times[tick] ?? 0, true)
    if (this.definition.show === 'heatmap') return this.listBuckets(series, valueOf, when)
    const colours = coloursOf(series.map(({ name }) => name))
    const rows = series.map((one, i) => ({
      name: one.name,
      value: valueOf(one),
      most: most(one.points),
      colour: colours[i] ?? ''
    }))
    if (tick === null) rows.sort((a, b) => (b.value ?? -1) - (a.value ?? -1) || (b.most ?? -1) - (a.most ?? -1))
    // A legend is made anew at every tick; who is on one of its buttons stays there.
    const focused = this.legend.contains(document.activeElement) ? document.activeElement?.textContent : undefined
    this.legend.replaceChildren(
      element('caption', { class: 'unseen' }, this.definition.title),
      element('thead', {}, element('tr', {}, ...['series', when, 'most'].map(columnHead))),
      element('tbody', {}, ...rows.map((row) => this.legendRow(row)))
    )
    const again = [...this.legend.querySelectorAll('button')].find(({ textContent }) => textContent === focused)
    again?.focus()
  }

  /** @param {{ name: string, value: number | null, most: number | null, colour: string }} row */
  legendRow({ name, value, most: highest, colour }) {
    const swatch = element('span', { class: 'swatch', 'aria-hidden': 'true' })
    swatch.style.background = `var(${colour})`
    const button = element('button', { type: 'button', 'aria-pressed': String(!this.off.has(name)) }, swatch, name)
    button.addEventListener('click', () => {
      if (!this.off.delete(name)) this.off.add(name)
      this.draw()
    })
    const head = element('th', { scope: 'row' }, button)
    return element('tr', {}, head, element('td', {}, this.text(value)), element('td', {}, this.text(highest)))
  }

  /** @param {Series[]} series @param {(one: Series) => number | null} valueOf @param {string} when */
  listBuckets(series, valueOf, when) {
    const counts = series.map((one) => ({ name: one.name, value: valueOf(one) ?? 0 }))
    const fullest = counts.reduce((best, one) => (one.value > best.value ? one : best), { name: '', value: 0 })
    const text =
      fullest.value === 0
        ? 'none within a minute'
        : `most at or below ${fullest.name}: ${formatValue(fullest.value, 'count')} within a minute`
    this.legend.replaceChildren(element('caption', {}, `${when}: ${text}`))
  }
}

/** @param {string} text */
function columnHead(text) {
  return element('th', { scope: 'col' }, text)
}

const SVG = 'http://www.w3.org/2000/svg'

/** A part of a half circle, from the left on. @param {number} share 0 to 1 @param {string} name its class */
function arc(share, name) {
  const angle = Math.PI * (1 - share)
  const path = document.createElementNS(SVG, 'path')
  path.setAttribute('d', `M 10 60 A 50 50 0 0 1 ${60 + 50 * Math.cos(angle)} ${60 - 50 * Math.sin(angle)}`)
  path.setAttribute('class', name)
  return path
}

/** A half circle, filled as far as the value goes. @param {Definition} definition @param {number | null} value @param {string} text */
function gauge({ title, thresholds = [], unit }, value, text) {
  const full = unit === 'ratio' ? 1 : Math.max(1, value ?? 0, ...thresholds.map(({ from }) => from))
  const svg = document.createElementNS(SVG, 'svg')
  svg.setAttribute('viewBox', '0 0 120 66')
  svg.setAttribute('role', 'img')
  svg.setAttribute('aria-label', `${title}: ${text}`)
  svg.append(arc(1, 'track'))
  if (value !== null && value > 0) svg.append(arc(Math.min(1, value / full), `level ${colourOf(value, thresholds)}`))
  return element('div', { class: 'arc' }, svg)
}
