/** Histograms: counts of values by size, with an exemplar a bucket. */
import { Family, type FamilyLimits, type LabelSpec, type Sample, type Store } from './families.ts'
import { type Format, OPENMETRICS_FORMAT, formatBound, formatLabels, formatValue } from './format.ts'

/** One series of a histogram, read at one instant. */
export interface HistogramReading {
  labels: Record<string, string>
  /** Observations at or below each bound, the last one (+Inf) being all of them. */
  cumulative: number[]
  sum: number
  count: number
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
