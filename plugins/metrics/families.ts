/**
 * Metric families whose series are cells in typed arrays. Binding labels costs once, at registration; counting costs an
 * addition. A family has the shape that prom-client's Registry asks of a metric, so everything written for that registry
 * (text, JSON, merge, duplicate check) sees it.
 */
import { type Format, formatHeader, formatLabels, formatValue } from './format.ts'

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
export interface Store {
  readonly values: Float64Array
}

/** What all three kinds share: labels to slots, slots to numbers. `Cell` is the bound handle that callers keep. */
export abstract class Family<L extends LabelSpec, Cell> {
  readonly name: string
  readonly help: string
  abstract readonly type: 'counter' | 'gauge' | 'histogram'
  /** How prom-client's cluster registry would add up processes. */
  readonly aggregator = 'sum'
  readonly labelNames: readonly string[]
  /** `width` numbers a series, one series after the other. */
  values: Float64Array
  protected readonly width: number
  /** The labels of each series, in the order of their numbers. */
  readonly series: Record<string, string>[] = []
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

  /** Whether a label's values are known only at boot or later, so that the family can grow to its limit. */
  get open(): boolean {
    return Object.values(this.#closed).some((values) => values.length === 0)
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
