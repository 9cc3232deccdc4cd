/**
 * Metric families whose series are cells in typed arrays. Binding labels costs once, at registration; counting costs an
 * addition. A family has the shape that prom-client's Registry asks of a metric, so everything written for that registry
 * (text, JSON, merge, duplicate check) sees it.
 */
import { type Format, OPENMETRICS_FORMAT, formatBound, formatHeader, formatLabels, formatValue } from './format.ts'

/** Label names with their values. An empty list is a set that is known only at boot: its series appear when bound. */
export type LabelSpec = Readonly<Record<string, readonly string[]>>

/** One value for each label of a spec; a name or value that is not in the spec does not compile. */
export type LabelValues<L extends LabelSpec> = {
  readonly [K in keyof L]: L[K] extends readonly [] ? string : L[K][number]
}

/** One printed sample, as prom-client's `get()` answers it. */
export interface Sample {
  /** prom-client's successor leaves them out of a summary's sum and count. */
  labels?: Record<string, string | number>
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

/** The label value of the one series that holds what no other series may. */
export const OVERFLOW = '__overflow__'

/** What the families of one registry share. */
export interface FamilyLimits {
  /** Series a family may have; what comes after goes to its overflow series. */
  readonly maxSeries: number
  /** False while the service boots: a wrong label is then an error of its author. Later it must not fail a request. */
  serving: boolean
  /** Told of each label set that went to the overflow series. */
  onDropped(metric: string): void
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
  readonly #limits: FamilyLimits
  #collect: (() => void) | undefined

  constructor(name: string, help: string, spec: L, width: number, limits: FamilyLimits) {
    this.name = name
    this.help = help
    this.labelNames = Object.keys(spec)
    this.#closed = spec
    this.#limits = limits
    this.width = width
    this.values = new Float64Array(width)
  }

  /**
   * The cell of one series, made on first use and the same ever after: bind it once, outside the hot path. Beyond the
   * family's limit, and for wrong labels once the service is ready, it is the cell of the overflow series.
   * @throws TypeError while the service boots, for a label name or value that the spec does not have
   */
  labels(labels: LabelValues<L>): Cell {
    const given = labels as Record<string, string>
    const problem = this.#problemOf(given)
    if (problem !== undefined) {
      if (!this.#limits.serving) throw new TypeError(`${this.name}: ${problem}`)
      return this.#overflow()
    }
    const ordered = Object.fromEntries(this.labelNames.map((name) => [name, given[name]!]))
    const key = JSON.stringify(Object.values(ordered))
    const cell = this.#cells.get(key)
    if (cell !== undefined) return cell
    return this.series.length < this.#limits.maxSeries ? this.#add(key, ordered) : this.#overflow()
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

  /** Runs what `onCollect` was given. */
  collect(): void {
    this.#collect?.()
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

  /**
   * Copies the family's numbers now and returns what prints them later, a series at a time, from lines that were printed
   * but for their value when the series was made.
   */
  freeze(format: Format): Iterable<string> {
    return this.print(this.values.slice(0, this.series.length * this.width), format)
  }

  protected *print(values: Float64Array, format: Format): Generator<string> {
    yield formatHeader(this.name, this.help, this.type, format)
    for (let i = 0; i * this.width < values.length; i++) yield this.printSeries(i, values, format)
  }

  protected abstract printSeries(index: number, values: Float64Array, format: Format): string
  /** All series as prom-client reads them, now. */
  abstract samples(): Sample[]
  protected abstract prepare(labels: Record<string, string>): void
  protected abstract cell(offset: number): Cell

  #problemOf(given: Record<string, string>): string | undefined {
    for (const name of this.labelNames) {
      const value = given[name]
      const allowed = this.#closed[name]!
      if (typeof value !== 'string' || (allowed.length > 0 && !allowed.includes(value))) {
        return `label ${name} can't be ${JSON.stringify(value)}`
      }
    }
    const extra = Object.keys(given).find((name) => !this.labelNames.includes(name))
    return extra === undefined ? undefined : `has no label ${extra}`
  }

  #overflow(): Cell {
    this.#limits.onDropped(this.name)
    return (
      this.#cells.get(OVERFLOW) ??
      this.#add(OVERFLOW, Object.fromEntries(this.labelNames.map((name) => [name, OVERFLOW])))
    )
  }

  #add(key: string, labels: Record<string, string>): Cell {
    const offset = this.series.length * this.width
    if (offset + this.width > this.values.length) {
      const grown = new Float64Array(this.values.length * 2)
      grown.set(this.values)
      this.values = grown
    }
    this.series.push(labels)
    this.prepare(labels)
    const cell = this.cell(offset)
    this.#cells.set(key, cell)
    return cell
  }
}

/** A family with one number a series. */
abstract class ScalarFamily<L extends LabelSpec, Cell> extends Family<L, Cell> {
  readonly #prefixes: string[] = []

  constructor(name: string, help: string, spec: L, limits: FamilyLimits) {
    super(name, help, spec, 1, limits)
  }

  samples(): Sample[] {
    return this.series.map((labels, i) => ({ labels, value: this.values[i]! }))
  }

  protected printSeries(index: number, values: Float64Array): string {
    return `${this.#prefixes[index]}${formatValue(values[index]!)}\n`
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

  /** Takes over a total that is counted elsewhere; a lower one than before is ignored. */
  raiseTo(total: number): void {
    if (total > this.#family.values[this.#index]!) this.#family.values[this.#index] = total
  }
}

/** A number that only grows. */
export class Counter<L extends LabelSpec> extends ScalarFamily<L, CounterCell> {
  readonly type = 'counter'

  /** @throws TypeError if the name lacks the `_total` that OpenMetrics asks of counters */
  constructor(name: string, help: string, spec: L, limits: FamilyLimits) {
    super(name, help, spec, limits)
    if (!name.endsWith('_total')) throw new TypeError(`${name}: a counter's name ends with _total`)
  }

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

/** A trace that one observation belongs to; the last one of each bucket is kept. */
interface Exemplar {
  traceId: string
  value: number
  /** Seconds since 1970. */
  at: number
}

interface HistogramStore extends Store {
  readonly bounds: Float64Array
  /** By the place of their bucket in `values`. */
  readonly exemplars: Map<number, Exemplar>
}

/** A bound histogram. */
export class HistogramCell {
  readonly #family: HistogramStore
  readonly #offset: number
  constructor(family: HistogramStore, offset: number) {
    this.#family = family
    this.#offset = offset
  }

  /** Counts one value, in the family's unit (seconds, bytes). NaN is ignored. `traceId`: the trace to show it by. */
  observe(value: number, traceId?: string): void {
    if (Number.isNaN(value)) return
    const { bounds, values } = this.#family
    let bucket = 0
    while (bucket < bounds.length && value > bounds[bucket]!) bucket++
    values[this.#offset + bucket]! += 1
    values[this.#offset + bounds.length + 1]! += value
    if (traceId !== undefined) {
      this.#family.exemplars.set(this.#offset + bucket, { traceId, value, at: Date.now() / 1000 })
    }
  }
}

/** Counts of values by size. A series holds one count a bucket, the last one above all bounds, and then the sum. */
export class Histogram<L extends LabelSpec> extends Family<L, HistogramCell> {
  readonly type = 'histogram'
  /** Ascending upper bounds, +Inf left out. */
  readonly bounds: Float64Array
  readonly exemplars = new Map<number, Exemplar>()
  readonly #les: string[]
  readonly #prefixes: { buckets: string[]; sum: string; count: string }[] = []

  /** @throws TypeError if the bounds are not finite and ascending, or a label is called `le` */
  constructor(name: string, help: string, spec: L, bounds: readonly number[], limits: FamilyLimits) {
    super(name, help, spec, bounds.length + 2, limits)
    const ascending = bounds.every((bound, i) => Number.isFinite(bound) && (i === 0 || bound > bounds[i - 1]!))
    if (bounds.length === 0 || !ascending) throw new TypeError(`${name}: buckets must be finite and ascending`)
    if ('le' in spec) throw new TypeError(`${name}: a histogram has the label le already`)
    this.bounds = Float64Array.from(bounds)
    this.#les = [...bounds.map(formatBound), '+Inf']
  }

  /** The bounds as they are printed, `+Inf` included. */
  get les(): readonly string[] {
    return this.#les
  }

  /** All series, read now. */
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

  override reset(): void {
    super.reset()
    this.exemplars.clear()
  }

  protected printSeries(index: number, values: Float64Array, format: Format): string {
    const prefix = this.#prefixes[index]!
    const offset = index * this.width
    let text = ''
    let count = 0
    for (let bucket = 0; bucket <= this.bounds.length; bucket++) {
      count += values[offset + bucket]!
      text += prefix.buckets[bucket]! + count
      const exemplar = format === OPENMETRICS_FORMAT ? this.exemplars.get(offset + bucket) : undefined
      text += exemplar ? ` # {trace_id="${exemplar.traceId}"} ${exemplar.value} ${exemplar.at}\n` : '\n'
    }
    return `${text}${prefix.sum}${formatValue(values[offset + this.width - 1]!)}\n${prefix.count}${count}\n`
  }

  samples(): Sample[] {
    return this.readings().flatMap(({ labels, cumulative, sum, count }) => [
      ...cumulative.map((value, i) => ({
        labels: { ...labels, le: this.#les[i]! },
        value,
        metricName: `${this.name}_bucket`
      })),
      { labels, value: sum, metricName: `${this.name}_sum` },
      { labels, value: count, metricName: `${this.name}_count` }
    ])
  }

  protected prepare(labels: Record<string, string>): void {
    this.#prefixes.push({
      buckets: this.#les.map((le) => `${this.name}_bucket${formatLabels({ ...labels, le })} `),
      sum: `${this.name}_sum${formatLabels(labels)} `,
      count: `${this.name}_count${formatLabels(labels)} `
    })
  }

  protected cell(offset: number): HistogramCell {
    return new HistogramCell(this, offset)
  }
}
