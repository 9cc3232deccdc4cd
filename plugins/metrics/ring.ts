/** The last hour of a dashboard's answers, in memory: each query is asked at every tick, and its values are kept in a ring. */
import type { Registry } from 'prom-client'
import { type Totals, totalsOf, valuesOf } from './answer.ts'
import { type Columns, columnsOfFamily, columnsOfSnapshot } from './columns.ts'
import { TF_ERR_METRICS_DASHBOARD } from './errors.ts'
import { collectAll, isFamily, metricsOf } from './exposition.ts'
import { formatBound } from './format.ts'
import { type Panel, type PanelQuery, type Row, metricsOfQuery } from './panels.ts'

/** Milliseconds between two ticks. */
export const TICK = 5000
/** Ticks that are kept: an hour. */
export const CAPACITY = 720
/** Ticks that a rate looks back on, where its query names no window: a minute, as Grafana does for scrapes 10 s apart. */
const WINDOW = 12
const WINDOWS = { '5m': 60, '1h': CAPACITY } as const

/** A series of a query: its name, and a value a tick. null: none. */
export interface SeriesData {
  name: string
  points: (number | null)[]
}

export interface Ring {
  /** Asks all queries now. One tick at a time; a failed one leaves nothing behind. */
  tick(): Promise<void>
  /**
   * The ticks from a number on, at most the last hour's: their Unix times in milliseconds, and the series of each query, in the
   * order of the panels. Queries are read as they are iterated; what falls out of the ring until then is null. `next` is the
   * number to go on from.
   */
  since(tick: number): { next: number; times: number[]; queries: Iterable<SeriesData[]> }
  /** Bytes of the numbers it holds. */
  readonly bytes: number
}

/** Ticks in a circle: the last hour's, and one that may be made while they are read. */
const HELD = CAPACITY + 1

/** The numbers of the last `length` ticks, `width` each. */
class Circle {
  readonly #values: Float64Array
  readonly #width: number
  readonly #length: number

  constructor(length: number, width = 1) {
    this.#values = new Float64Array(length * width).fill(Number.NaN)
    this.#width = width
    this.#length = length
  }

  get bytes(): number {
    return this.#values.byteLength
  }

  at(tick: number): Float64Array {
    const from = (tick % this.#length) * this.#width
    return this.#values.subarray(from, from + this.#width)
  }
}

/** What is kept of a group of a query. */
interface Group {
  /** The totals of the ticks within the window. */
  totals: Circle
  /** The names of its series and their values, of the last hour. */
  series: { name: string; points: Circle }[]
}

/** What a group is called: by the query's legend, or by its labels, or as the panel. */
function nameOf({ legend }: PanelQuery, labels: Readonly<Record<string, string>>, title: string): string {
  if (legend === undefined) return Object.values(labels).join(' ') || title
  return legend.replaceAll(/\{\{(\w+)\}\}/g, (_match, label: string) => labels[label] ?? '')
}

/** Five digits are more than a screen shows. */
function rounded(value: number): number {
  return Number.isFinite(value) ? Number(value.toPrecision(5)) : Number.NaN
}

class Asked {
  readonly #query: PanelQuery
  readonly #title: string
  readonly #totals: Totals
  readonly #window: number
  readonly #groups: Group[] = []

  constructor(query: PanelQuery, { title }: Panel, columns: ReadonlyMap<string, Columns>) {
    this.#query = query
    this.#title = title
    this.#totals = totalsOf(query, columns)
    this.#window = query.kind === 'ratio' && query.window !== undefined ? WINDOWS[query.window] : WINDOW
  }

  #open(labels: Readonly<Record<string, string>>): Group {
    const { width, bounds } = this.#totals
    const names =
      this.#query.kind === 'heatmap'
        ? [...Array.from(bounds, formatBound), '+Inf']
        : [nameOf(this.#query, labels, this.#title)]
    return {
      totals: new Circle(this.#window + 1, width),
      series: names.map((name) => ({ name, points: new Circle(HELD) }))
    }
  }

  ask(columns: ReadonlyMap<string, Columns>, tick: number, times: Circle): void {
    const now = times.at(tick)[0]! / 1000
    const back = Math.min(tick, this.#window)
    const seconds = back === 0 ? 0 : now - times.at(tick - back)[0]! / 1000
    for (const [place, totals] of this.#totals.read(columns).entries()) {
      const group = (this.#groups[place] ??= this.#open(this.#totals.groups[place]!))
      group.totals.at(tick).set(totals)
      const before = back === 0 ? undefined : group.totals.at(tick - back)
      const values = valuesOf(this.#query, this.#totals.bounds, totals, before, { seconds, now })
      for (const [i, { points }] of group.series.entries()) points.at(tick)[0] = rounded(values[i]!)
    }
  }

  /** Values of the ticks from `from` to before `to`; `oldest` is the first one that is held. */
  data(from: number, to: number, oldest: number): SeriesData[] {
    return this.#groups.flatMap(({ series }) =>
      series.map(({ name, points }) => ({
        name,
        points: Array.from({ length: to - from }, (_, i) => {
          const value = points.at(from + i)[0]!
          return Number.isNaN(value) || from + i < oldest ? null : value
        })
      }))
    )
  }

  get bytes(): number {
    return this.#groups.reduce(
      (sum, { totals, series }) => sum + totals.bytes + series.reduce((all, { points }) => all + points.bytes, 0),
      0
    )
  }
}

/**
 * Prepares the panels of all rows. The first value of what needs two readings comes with the second tick.
 * @param now Unix time in milliseconds
 * @throws TF_ERR_METRICS_DASHBOARD naming the panel whose metric is not in the registry, or not of the right type
 */
export async function createRing(registry: Registry, rows: readonly Row[], now: () => number): Promise<Ring> {
  const panels = rows.flatMap((row) => row.panels)
  const names = new Set(panels.flatMap(({ queries }) => queries.flatMap(metricsOfQuery)))
  const wanted = metricsOf(registry).filter((metric) => names.has((metric as { name: string }).name))

  async function readAll(): Promise<Map<string, Columns>> {
    const snapshots = await collectAll(wanted)
    return new Map(
      wanted.map((metric, i) => [
        (metric as { name: string }).name,
        isFamily(metric) ? columnsOfFamily(metric) : columnsOfSnapshot(snapshots[i]!, metric)
      ])
    )
  }

  const first = await readAll()
  for (const panel of panels) for (const query of panel.queries) check(panel, query, first)
  const asked = panels.flatMap((panel) => panel.queries.map((query) => new Asked(query, panel, first)))
  const times = new Circle(HELD)
  let ticks = 0

  function* read(from: number, to: number): Generator<SeriesData[]> {
    for (const one of asked) yield one.data(from, to, ticks - HELD)
  }

  return {
    async tick() {
      const columns = await readAll()
      times.at(ticks)[0] = now()
      for (const one of asked) one.ask(columns, ticks, times)
      ticks++
    },
    since(tick) {
      const next = ticks
      const from = Math.min(next, Math.max(tick, 0, next - CAPACITY))
      return {
        next,
        times: Array.from({ length: next - from }, (_, i) => times.at(from + i)[0]!),
        queries: read(from, next)
      }
    },
    get bytes() {
      return asked.reduce((sum, one) => sum + one.bytes, times.bytes)
    }
  }
}

/** A question must have its metric, or its panel would be empty for ever. */
function check({ title }: Panel, query: PanelQuery, columns: ReadonlyMap<string, Columns>): void {
  for (const metric of metricsOfQuery(query)) {
    const found = columns.get(metric)
    if (found === undefined) throw new TF_ERR_METRICS_DASHBOARD(title, `there is no metric ${metric}`)
    const needsBuckets = query.kind === 'quantile' || query.kind === 'mean' || query.kind === 'heatmap'
    if (needsBuckets && found.bounds.length === 0) {
      throw new TF_ERR_METRICS_DASHBOARD(title, `${metric} is not a histogram`)
    }
  }
}
