/** Any metric of a registry, ours or prom-client's, as columns of numbers: one layout for who computes with them. */
import type { AnyFamily } from './exposition.ts'
import type { Sample, Snapshot } from './families.ts'
import { Histogram } from './histogram.ts'

/**
 * `width` numbers a series, one series after the other: a counter's or gauge's value; of a histogram the count of each bucket
 * (not cumulative), of what is above all bounds, and the sum.
 */
export interface Columns {
  series: readonly Readonly<Record<string, string>>[]
  values: Float64Array
  width: number
  /** Ascending upper bounds of a histogram, +Inf left out; empty for other metrics. */
  bounds: Float64Array
}

const NO_BOUNDS = new Float64Array(0)

/** A family's own arrays: valid until the next event. */
export function columnsOfFamily(family: AnyFamily): Columns {
  const bounds = family instanceof Histogram ? family.bounds : NO_BOUNDS
  return { series: family.series, values: family.values, width: bounds === NO_BOUNDS ? 1 : bounds.length + 2, bounds }
}

function textLabels({ labels = {} }: Sample): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, String(value)]))
}

function columnsOfHistogram({ name, values: samples }: Snapshot, upperBounds: readonly number[]): Columns {
  const bounds = Float64Array.from(upperBounds)
  const width = bounds.length + 2
  const rows = new Map<string, { labels: Record<string, string>; numbers: Float64Array }>()
  for (const sample of samples) {
    const { le = '', ...labels } = textLabels(sample)
    const key = JSON.stringify(labels)
    let row = rows.get(key)
    if (row === undefined) rows.set(key, (row = { labels, numbers: new Float64Array(width) }))
    if (sample.metricName === `${name}_sum`) row.numbers[width - 1] = sample.value
    // `+Inf` is at no bound, and so after the last one.
    else if (sample.metricName === `${name}_bucket`) row.numbers[place(bounds, Number(le))] = sample.value
  }
  const values = new Float64Array(rows.size * width)
  for (const [i, { numbers }] of [...rows.values()].entries()) {
    // From cumulative counts to one a bucket, from above.
    for (let bucket = bounds.length; bucket > 0; bucket--) numbers[bucket]! -= numbers[bucket - 1]!
    values.set(numbers, i * width)
  }
  return { series: [...rows.values()].map(({ labels }) => labels), values, width, bounds }
}

function place(bounds: Float64Array, le: number): number {
  const at = bounds.indexOf(le)
  return at === -1 ? bounds.length : at
}

/** A metric of prom-client, as its `get()` answers it: a histogram says nothing of its bounds before its first observation. */
export function columnsOfSnapshot(snapshot: Snapshot, metric: object): Columns {
  if ('upperBounds' in metric) return columnsOfHistogram(snapshot, metric.upperBounds as number[])
  const samples = snapshot.values.filter(({ metricName = snapshot.name }) => metricName === snapshot.name)
  const values = Float64Array.from(samples, ({ value }) => value)
  return { series: samples.map(textLabels), values, width: 1, bounds: NO_BOUNDS }
}
