/** The registry as JSON, for people and scripts without a Prometheus: the same numbers as the exposition. */
import type { Registry } from 'prom-client'
import { isFamily, metricsOf } from './exposition.ts'
import { Histogram, formatBound, type Sample, type Snapshot } from './families.ts'

/** One series: `value`, or for a histogram `count`, `sum` and `buckets`, cumulative by their upper bound. */
export interface SeriesJson {
  labels: Record<string, string>
  value?: number
  count?: number
  sum?: number
  buckets?: Record<string, number>
}

/** One metric with its series. */
export interface MetricJson {
  name: string
  help: string
  type: string
  series: SeriesJson[]
}

function histogramSeries(histogram: Histogram<never>): SeriesJson[] {
  const les = [...Array.from(histogram.bounds, formatBound), '+Inf']
  return histogram.readings().map(({ labels, cumulative, sum, count }) => ({
    labels,
    count,
    sum,
    buckets: Object.fromEntries(cumulative.map((value, i) => [les[i]!, value]))
  }))
}

/** A sample of another library's metric. JSON has no NaN or infinity: such a value is left out. */
function sampleSeries({ labels, value, metricName }: Sample, name: string): SeriesJson {
  const own = Object.fromEntries(Object.entries(labels).map(([key, text]) => [key, String(text)]))
  const series: SeriesJson = {
    labels: metricName === undefined || metricName === name ? own : { __name__: metricName, ...own }
  }
  if (Number.isFinite(value)) series.value = value
  return series
}

/** Reads every metric of the registry; ours at one instant, as in the exposition. */
export async function metricsJson(registry: Registry): Promise<MetricJson[]> {
  const metrics = metricsOf(registry)
  const snapshots: Snapshot[] = await Promise.all(metrics.map((metric) => metric.get()))
  return snapshots.map((snapshot, i) => {
    const { name, help, type } = snapshot
    const metric = metrics[i]
    const series =
      isFamily(metric) && metric instanceof Histogram
        ? histogramSeries(metric)
        : snapshot.values.map((sample) => sampleSeries(sample, name))
    return { name, help, type, series }
  })
}
