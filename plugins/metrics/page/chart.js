/** A panel's chart: lines, stacked areas or a heat map, by uPlot. */
import { css } from './element.js'
import { coloursOf, formatClock, formatValue } from './format.js'

/** @typedef {Omit<import('../panels.ts').Panel, 'queries'> & { queries: number }} Definition */
/** @typedef {{ name: string, points: (number | null)[] }} Series */

/** @type {typeof import('uplot')} */
const uPlot = /** @type {any} */ (globalThis).uPlot

const HEIGHT = 190
/** Charts with one key have one pointer. */
const POINTER = 'dashboard'

/** What all charts show: the Unix seconds of the ticks, and of how many seconds. */
export const view = { times: /** @type {number[]} */ ([]), range: 3600 }

/** Where charts begin: at the start of the range, or of the service if that is later. */
function begin() {
  const last = view.times.at(-1) ?? 0
  return Math.min(last - 60, Math.max(last - view.range, view.times[0] ?? 0))
}

/**
 * The numbers as uPlot draws them: series that are off have none, and stacked ones are sums from the last one up.
 * @param {Definition} definition
 * @param {readonly Series[]} series
 * @param {ReadonlySet<string>} off
 * @returns {import('uplot').AlignedData}
 */
function dataOf({ show }, series, off) {
  const shown = series.map(({ name, points }) => (off.has(name) ? points.map(() => null) : points))
  if (show !== 'stacked') return [view.times, ...shown]
  const below = view.times.map(() => 0)
  const sums = shown
    .toReversed()
    .map((points) => points.map((value, i) => (value === null ? null : (below[i] = (below[i] ?? 0) + value))))
  return [view.times, ...sums.toReversed()]
}

/** Where the vertical axis ends. @param {Definition} definition @param {number} most @returns {number} */
function topOf({ unit }, most) {
  if (unit === 'ratio') return 1
  if (unit === 'count') return Math.max(1, most * 1.1)
  return most > 0 ? most * 1.1 : 1
}

/** @param {Definition} definition @param {readonly Series[]} series @returns {import('uplot').Axis[]} */
function axesOf({ show, unit }, series) {
  const line = { stroke: css('--grid'), width: 1 }
  const common = { stroke: css('--muted'), grid: line, ticks: line, font: '11px system-ui, sans-serif' }
  const heat = show === 'heatmap'
  /** A bucket's bound is at its upper edge. @param {number} tick */
  const bound = (tick) => (series.length > 14 && tick % 2 === 0 ? '' : (series[tick - 1]?.name ?? ''))
  return [
    {
      ...common,
      size: 32,
      space: 72,
      values: (_chart, ticks, _axis, _space, step) => ticks.map((tick) => formatClock(tick, step < 60))
    },
    {
      ...common,
      size: (_chart, texts) => 20 + 6.5 * Math.max(0, ...(texts ?? []).map((text) => text.length)),
      ...(heat && { splits: () => series.map((_one, i) => i + 1), grid: { show: false } }),
      values: (_chart, ticks) => ticks.map((tick) => (heat ? bound(tick) : formatValue(tick, unit)))
    }
  ]
}

/** @param {ArrayLike<number | null | undefined> | undefined} points */
function isAlone(points) {
  return Array.from(points ?? []).filter((value) => typeof value === 'number').length === 1
}

/** @param {Definition} definition @param {readonly Series[]} series @returns {import('uplot').Series[]} */
function linesOf({ show }, series) {
  const colours = coloursOf(series.map(({ name }) => name))
  const lines = series.map(({ name }, i) => ({
    label: name,
    stroke: css(colours[i] ?? '--muted'),
    width: 1.5,
    // A single value makes no line.
    points: {
      /** @param {import('uplot')} chart @param {number} index */
      show: (chart, index) => isAlone(chart.data[index]),
      size: 5
    },
    ...(show === 'stacked' && { fill: css(colours[i] ?? '--muted', 0.35) }),
    // A heat map is drawn by its hook.
    ...(show === 'heatmap' && { paths: () => null })
  }))
  return [{}, ...lines]
}

/**
 * Draws a chart into an element. `set` takes what is new; `resize` follows the element.
 * @param {HTMLElement} place
 * @param {Definition} definition
 * @param {readonly Series[]} series
 * @param {(tick: number | null) => void} onPointer is told of the tick under the pointer
 */
export function createChart(place, definition, series, onPointer) {
  const { show, thresholds = [] } = definition
  const heat = show === 'heatmap'
  const chart = new uPlot(
    {
      width: place.clientWidth || 320,
      height: HEIGHT,
      padding: [12, 8, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: POINTER, setSeries: false }, drag: { x: false, y: false }, points: { show: !heat } },
      scales: {
        x: { range: () => [begin(), view.times.at(-1) ?? 0] },
        y: { range: (_chart, _least, most) => [0, heat ? series.length : topOf(definition, most)] }
      },
      axes: axesOf(definition, series),
      series: linesOf(definition, series),
      hooks: {
        draw: [(made) => (heat ? drawHeat(made, series) : drawThresholds(made, thresholds))],
        setCursor: [(made) => onPointer(made.cursor.idx ?? null)]
      }
    },
    dataOf(definition, series, new Set()),
    place
  )
  uPlot.sync(POINTER).sub(chart)
  return {
    /** The tick under the pointer. */
    get pointer() {
      return chart.cursor.idx ?? null
    },
    /** @param {ReadonlySet<string>} off */
    set: (off) => chart.setData(dataOf(definition, series, off)),
    resize() {
      if (place.clientWidth > 0 && place.clientWidth !== chart.width) {
        chart.setSize({ width: place.clientWidth, height: HEIGHT })
      }
    },
    destroy() {
      uPlot.sync(POINTER).unsub(chart)
      chart.destroy()
    }
  }
}

/** A dashed line where a value begins to mean something. @param {import('uplot')} chart @param {readonly import('../panels.ts').Threshold[]} thresholds */
function drawThresholds(chart, thresholds) {
  const { ctx, bbox } = chart
  const top = chart.scales['y']?.max ?? 0
  for (const { from, colour } of thresholds.slice(1)) {
    if (from > top) continue
    const y = Math.round(chart.valToPos(from, 'y', true))
    ctx.save()
    ctx.strokeStyle = css(`--${colour}`)
    ctx.lineWidth = devicePixelRatio
    ctx.setLineDash([6 * devicePixelRatio, 6 * devicePixelRatio])
    ctx.beginPath()
    ctx.moveTo(bbox.left, y)
    ctx.lineTo(bbox.left + bbox.width, y)
    ctx.stroke()
    ctx.restore()
  }
}

/** A cell a tick and bucket, the darker the more. @param {import('uplot')} chart @param {readonly Series[]} series */
function drawHeat(chart, series) {
  const { ctx } = chart
  const most = Math.max(1, ...series.flatMap(({ points }) => points.map((value) => value ?? 0)))
  ctx.save()
  ctx.fillStyle = css('--heat')
  for (const [row, { points }] of series.entries()) {
    const top = chart.valToPos(row + 1, 'y', true)
    const height = chart.valToPos(row, 'y', true) - top
    for (const [i, value] of points.entries()) {
      const end = view.times[i] ?? 0
      if (value === null || value === 0 || end <= begin()) continue
      const left = chart.valToPos(view.times[i - 1] ?? end - 5, 'x', true)
      ctx.globalAlpha = 0.15 + 0.85 * Math.sqrt(value / most)
      ctx.fillRect(left, top, Math.max(1, chart.valToPos(end, 'x', true) - left), height - 1)
    }
  }
  ctx.restore()
}
