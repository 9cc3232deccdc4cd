/**
 * Metric families whose series are cells in typed arrays. Binding labels costs once, at registration; counting costs an
 * addition. A family has the shape that prom-client's Registry asks of a metric, so everything written for that registry
 * (text, JSON, merge, duplicate check) sees it.
 */

/** Label names with their values. An empty list is a set that is known only at boot: its series appear when bound. */
export type LabelSpec = Readonly<Record<string, readonly string[]>>

/** One value for each label of a spec; a name or value that is not in the spec does not compile. */
export type LabelValues<L extends LabelSpec> = {
  readonly [K in keyof L]: L[K] extends readonly [] ? string : L[K][number]
}

/** One printed sample, as prom-client's `get()` answers it. */
export interface Sample {
  labels: Record<string, string | number>
  value: number
  /** Differs from the family's name in histograms: `x_bucket`, `x_sum`, `x_count`. */
  metricName?: string
}

/** What prom-client's Registry stores, and what `get()` resolves to. */
export interface Snapshot {
  name: string
  help: string
  type: string
  aggregator: string
  values: Sample[]
}

/** One series of a histogram, read at one instant. */
export interface HistogramReading {
  labels: Record<string, string>
  /** Observations at or below each bound, the last one (+Inf) being all of them. */
  cumulative: number[]
  sum: number
  count: number
}

/** Prints a number as the text format wants it. */
export function formatValue(value: number): string {
  if (value === Infinity) return '+Inf'
  if (value === -Infinity) return '-Inf'
  return String(value)
}

/** Prints a bucket bound as a float (`1.0`): the spelling that is the same in Prometheus 2 and, after ingestion, in 3. */
export function formatBound(bound: number): string {
  return Number.isInteger(bound) ? bound.toFixed(1) : formatValue(bound)
}

const ESCAPES: Record<string, string> = { '\\': '\\\\', '"': '\\"', '\n': '\\n' }

/** `{a="x",b="y"}`, or nothing without labels; values escaped as the text format wants it. */
export function formatLabels(labels: Readonly<Record<string, string | number>>): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${String(value).replaceAll(/[\\"\n]/g, (c) => ESCAPES[c]!)}"`
  )
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

/** The two header lines of a family. */
export function formatHeader(name: string, help: string, type: string): string {
  return `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${type}\n`
}

/** Every combination of the closed label sets; none if one of them is known only at boot. */
function combinations(spec: LabelSpec): Record<string, string>[] {
  return Object.entries(spec).reduce<Record<string, string>[]>(
    (rows, [name, values]) => rows.flatMap((row) => values.map((value) => ({ ...row, [name]: value }))),
    [{}]
  )
}

/** Where a cell keeps its number. The array is replaced when the family grows, so cells reach it through the family. */
interface Store {
  readonly values: Float64Array
}

/** What all three kinds share: labels to slots, slots to numbers. `Cell` is the bound handle that callers keep. */
abstract class Family<L extends LabelSpec, Cell> {
  readonly name: string
  readonly help: string
  abstract readonly type: 'counter' | 'gauge' | 'histogram'
  /** How prom-client's cluster registry would add up processes. */
  readonly aggregator = 'sum'
  readonly labelNames: readonly string[]
  /** `width` numbers a series, one series after the other. */
  values: Float64Array
  protected readonly width: number
  protected readonly series: Record<string, string>[] = []
  readonly #cells = new Map<string, Cell>()
  readonly #closed: LabelSpec
  #collect: (() => void) | undefined

  constructor(name: string, help: string, spec: L, width: number) {
    this.name = name
    this.help = help
    this.labelNames = Object.keys(spec)
    this.#closed = spec
    this.width = width
    this.values = new Float64Array(width)
  }

  /**
   * The cell of one series, made on first use and the same ever after: bind it once, outside the hot path.
   * @throws TypeError for a missing or unknown label name, or a value outside the closed set.
   */
  labels(labels: LabelValues<L>): Cell {
    const given = labels as Record<string, string>
    const ordered: Record<string, string> = {}
    for (const name of this.labelNames) {
      const value = given[name]
      const allowed = this.#closed[name]!
      if (typeof value !== 'string' || (allowed.length > 0 && !allowed.includes(value))) {
        throw new TypeError(`${this.name}: label ${name} can't be ${JSON.stringify(value)}`)
      }
      ordered[name] = value
    }
    const extra = Object.keys(given).find((name) => !this.labelNames.includes(name))
    if (extra !== undefined) throw new TypeError(`${this.name}: has no label ${extra}`)

    const key = JSON.stringify(Object.values(ordered))
    let cell = this.#cells.get(key)
    if (cell === undefined) {
      const offset = this.series.length * this.width
      if (offset + this.width > this.values.length) this.#grow()
      this.series.push(ordered)
      this.prepare(ordered)
      cell = this.cell(offset)
      this.#cells.set(key, cell)
    }
    return cell
  }

  /** Makes the series of every combination of closed label sets, so that they are exposed at 0 before their first event. */
  initialize(): this {
    for (const labels of combinations(this.#closed)) this.labels(labels as LabelValues<L>)
    return this
  }

  /** Runs before each reading: the place to set a gauge from a number kept elsewhere. */
  onCollect(collect: () => void): this {
    this.#collect = collect
    return this
  }

  /** prom-client's reading of a metric. */
  async get(): Promise<Snapshot> {
    this.collect()
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values: this.samples() }
  }

  /** prom-client's reset: every series back to 0. */
  reset(): void {
    this.values.fill(0)
  }

  collect(): void {
    this.#collect?.()
  }

  /** The family in text format 0.0.4, from lines that were printed but for their value when the series was made. */
  abstract text(): string
  protected abstract samples(): Sample[]
  protected abstract prepare(labels: Record<string, string>): void
  protected abstract cell(offset: number): Cell

  #grow(): void {
    const grown = new Float64Array(this.values.length * 2)
    grown.set(this.values)
    this.values = grown
  }
}

/** A family with one number a series. */
abstract class ScalarFamily<L extends LabelSpec, Cell> extends Family<L, Cell> {
  readonly #prefixes: string[] = []

  constructor(name: string, help: string, spec: L) {
    super(name, help, spec, 1)
  }

  text(): string {
    let text = formatHeader(this.name, this.help, this.type)
    for (let i = 0; i < this.#prefixes.length; i++) text += `${this.#prefixes[i]}${formatValue(this.values[i]!)}\n`
    return text
  }

  protected samples(): Sample[] {
    return this.series.map((labels, i) => ({ labels, value: this.values[i]! }))
  }

  protected prepare(labels: Record<string, string>): void {
    this.#prefixes.push(`${this.name}${formatLabels(labels)} `)
  }
}

/** A bound counter. */
export class CounterCell {
  readonly #family: Store
  readonly #index: number
  constructor(family: Store, index: number) {
    this.#family = family
    this.#index = index
  }

  /** Adds `by`, 1 by default. What is not a number of at least 0 is ignored: a metric never throws into a request. */
  inc(by = 1): void {
    if (by >= 0) this.#family.values[this.#index]! += by
  }
}

/** A number that only grows. */
export class Counter<L extends LabelSpec> extends ScalarFamily<L, CounterCell> {
  readonly type = 'counter'
  protected cell(offset: number): CounterCell {
    return new CounterCell(this, offset)
  }
}

/** A bound gauge. */
export class GaugeCell {
  readonly #family: Store
  readonly #index: number
  constructor(family: Store, index: number) {
    this.#family = family
    this.#index = index
  }

  /** Sets the value; NaN is ignored. */
  set(value: number): void {
    if (!Number.isNaN(value)) this.#family.values[this.#index] = value
  }

  inc(by = 1): void {
    this.set(this.#family.values[this.#index]! + by)
  }

  dec(by = 1): void {
    this.inc(-by)
  }
}

/** A number that goes up and down. */
export class Gauge<L extends LabelSpec> extends ScalarFamily<L, GaugeCell> {
  readonly type = 'gauge'
  protected cell(offset: number): GaugeCell {
    return new GaugeCell(this, offset)
  }
}

/** A bound histogram. */
export class HistogramCell {
  readonly #family: Store & { readonly bounds: Float64Array }
  readonly #offset: number
  constructor(family: Store & { readonly bounds: Float64Array }, offset: number) {
    this.#family = family
    this.#offset = offset
  }

  /** Counts one value, in the family's unit (seconds, bytes). NaN is ignored. */
  observe(value: number): void {
    if (Number.isNaN(value)) return
    const { bounds, values } = this.#family
    let bucket = 0
    while (bucket < bounds.length && value > bounds[bucket]!) bucket++
    values[this.#offset + bucket]! += 1
    values[this.#offset + bounds.length + 1]! += value
  }
}

/** Counts of values by size. A series holds one count a bucket, the last one above all bounds, and then the sum. */
export class Histogram<L extends LabelSpec> extends Family<L, HistogramCell> {
  readonly type = 'histogram'
  /** Ascending upper bounds, +Inf left out. */
  readonly bounds: Float64Array
  readonly #prefixes: { buckets: string[]; sum: string; count: string }[] = []

  /** @throws TypeError if the bounds are not finite and ascending, or a label is called `le`. */
  constructor(name: string, help: string, spec: L, bounds: readonly number[]) {
    super(name, help, spec, bounds.length + 2)
    const ascending = bounds.every((bound, i) => Number.isFinite(bound) && (i === 0 || bound > bounds[i - 1]!))
    if (bounds.length === 0 || !ascending) throw new TypeError(`${name}: buckets must be finite and ascending`)
    if ('le' in spec) throw new TypeError(`${name}: a histogram has the label le already`)
    this.bounds = Float64Array.from(bounds)
  }

  /** All series, read at one instant. */
  readings(): HistogramReading[] {
    return this.series.map((labels, i) => {
      const offset = i * this.width
      const cumulative: number[] = []
      let count = 0
      for (let bucket = 0; bucket <= this.bounds.length; bucket++) {
        count += this.values[offset + bucket]!
        cumulative.push(count)
      }
      return { labels, cumulative, sum: this.values[offset + this.width - 1]!, count }
    })
  }

  text(): string {
    let text = formatHeader(this.name, this.help, this.type)
    this.readings().forEach(({ cumulative, sum, count }, i) => {
      const prefix = this.#prefixes[i]!
      for (let bucket = 0; bucket < cumulative.length; bucket++)
        text += `${prefix.buckets[bucket]}${cumulative[bucket]}\n`
      text += `${prefix.sum}${formatValue(sum)}\n${prefix.count}${count}\n`
    })
    return text
  }

  protected samples(): Sample[] {
    const les = [...Array.from(this.bounds, formatBound), '+Inf']
    return this.readings().flatMap(({ labels, cumulative, sum, count }) => [
      ...cumulative.map((value, i) => ({
        labels: { ...labels, le: les[i]! },
        value,
        metricName: `${this.name}_bucket`
      })),
      { labels, value: sum, metricName: `${this.name}_sum` },
      { labels, value: count, metricName: `${this.name}_count` }
    ])
  }

  protected prepare(labels: Record<string, string>): void {
    const les = [...Array.from(this.bounds, formatBound), '+Inf']
    this.#prefixes.push({
      buckets: les.map((le) => `${this.name}_bucket${formatLabels({ ...labels, le })} `),
      sum: `${this.name}_sum${formatLabels(labels)} `,
      count: `${this.name}_count${formatLabels(labels)} `
    })
  }

  protected cell(offset: number): HistogramCell {
    return new HistogramCell(this, offset)
  }
}
