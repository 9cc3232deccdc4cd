/** The registry as JSON, for people and scripts without a Prometheus: the same numbers as the exposition. */
import type { Registry } from 'prom-client'
import { collectAll, isFamily, metricsOf } from './exposition.ts'
import type { Sample, Snapshot } from './families.ts'
import { Histogram, type HistogramReading } from './histogram.ts'

/**
 * One series: `value`, or for a histogram `count`, `sum`, `buckets` (cumulative by their upper bound) and estimated
 * quantiles, null without observations. JSON has no NaN or infinity: such a value is left out.
 */
export interface SeriesJson {
  labels: Record<string, string>
  value?: number
  count?: number
  sum?: number
  buckets?: Record<string, number>
  p50?: number | null
  p95?: number | null
  p99?: number | null
}

/** One metric with its series. */
export interface MetricJson {
  name: string
  help: string
  type: string
  series: SeriesJson[]
}

/**
 * A quantile estimated from cumulative buckets as PromQL's histogram_quantile does it: values spread evenly within a bucket,
 * the first one starting at 0, and the highest finite bound for what lies above it. null without observations.
 */
export function estimateQuantile(q: number, bounds: Float64Array, cumulative: readonly number[]): number | null {
  const total = cumulative.at(-1)!
  if (total === 0) return null
  const rank = q * total
  const bucket = cumulative.findIndex((count) => count >= rank)
  if (bucket >= bounds.length) return bounds.at(-1)!
  const upper = bounds[bucket]!
  // As PromQL: a first bucket at or below 0 has no lower end to interpolate from.
  if (bucket === 0 && upper <= 0) return upper
  const lower = bucket === 0 ? 0 : bounds[bucket - 1]!
  const below = bucket === 0 ? 0 : cumulative[bucket - 1]!
  return lower + ((upper - lower) * (rank - below)) / (cumulative[bucket]! - below)
}

function histogramSeries({ les, bounds }: Histogram<never>, reading: HistogramReading): SeriesJson {
  const { labels, cumulative, sum, count } = reading
  return {
    labels,
    count,
    sum,
    buckets: Object.fromEntries(cumulative.map((value, i) => [les[i]!, value])),
    p50: estimateQuantile(0.5, bounds, cumulative),
    p95: estimateQuantile(0.95, bounds, cumulative),
    p99: estimateQuantile(0.99, bounds, cumulative)
  }
}

function sampleSeries({ labels = {}, value, metricName }: Sample, name: string): SeriesJson {
  const own = Object.fromEntries(Object.entries(labels).map(([key, text]) => [key, String(text)]))
  const named = metricName === undefined || metricName === name ? own : { __name__: metricName, ...own }
  return Number.isFinite(value) ? { labels: named, value } : { labels: named }
}

/** Reads the metrics of the registry whose names begin with one of `prefixes`, all without; ours at one instant. */
export async function metricsJson(registry: Registry, prefixes: readonly string[] = ['']): Promise<MetricJson[]> {
  const wanted = metricsOf(registry).filter((metric) => {
    const { name } = metric as { name: string }
    return prefixes.some((prefix) => name.startsWith(prefix))
  })
  const foreign = await collectAll(wanted)
  return wanted.map((metric, i) => {
    if (metric instanceof Histogram) {
      const { name, help, type } = metric
      return { name, help, type, series: metric.readings().map((reading) => histogramSeries(metric, reading)) }
    }
    const { name, help, type } = isFamily(metric) ? metric : foreign[i]!
    const samples: Snapshot['values'] = isFamily(metric) ? metric.samples() : foreign[i]!.values
    return { name, help, type, series: samples.map((sample) => sampleSeries(sample, name)) }
  })
}
