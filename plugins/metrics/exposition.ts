/**
 * The text format 0.0.4 of a whole registry: our own families from their prebuilt lines, every other metric in the
 * registry (prom-client's process metrics, a consumer's own) through its `get()`. prom-client's own printer is not used:
 * it prints bucket bounds as integers and NaN as `Nan`.
 */
import type { Registry } from 'prom-client'
import {
  Counter,
  Gauge,
  Histogram,
  formatBound,
  formatHeader,
  formatLabels,
  formatValue,
  type Snapshot
} from './families.ts'

/** The content type that Prometheus 3 insists on, to the letter. */
export const TEXT_FORMAT = 'text/plain; version=0.0.4; charset=utf-8'

export type Family = Counter<never> | Gauge<never> | Histogram<never>

/** Whether a metric of a registry is one of ours. */
export function isFamily(metric: unknown): metric is Family {
  return metric instanceof Counter || metric instanceof Gauge || metric instanceof Histogram
}

/** The metrics of a registry, ours and others', as they are stored. */
export function metricsOf(registry: Registry): readonly (Family | { get(): Promise<Snapshot> })[] {
  // The type says MetricObject; what is stored are the metrics themselves, with get().
  return registry.getMetricsAsArray() as unknown as (Family | { get(): Promise<Snapshot> })[]
}

function foreignText({ name, help, type, values }: Snapshot): string {
  let text = formatHeader(name, help, type)
  for (const { metricName = name, labels, value } of values) {
    const { le } = labels
    const printed = typeof le === 'number' ? { ...labels, le: formatBound(le) } : labels
    text += `${metricName}${formatLabels(printed)} ${formatValue(value)}\n`
  }
  return text
}

/** Prints every metric of the registry. */
export async function exposition(registry: Registry): Promise<string> {
  const metrics = metricsOf(registry)
  // Foreign metrics answer asynchronously; ours are read after the last of them, in one go: one instant.
  const foreign = await Promise.all(metrics.map(async (metric) => (isFamily(metric) ? undefined : metric.get())))
  for (const metric of metrics) if (isFamily(metric)) metric.collect()
  return metrics.map((metric, i) => (isFamily(metric) ? metric.text() : foreignText(foreign[i]!))).join('')
}
