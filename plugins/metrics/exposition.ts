/**
 * The exposition of a whole registry: our own families from their prebuilt lines, every other metric in the registry
 * (prom-client's process metrics, a consumer's own) through its `get()`. prom-client's own printer is not used: it prints
 * bucket bounds as integers and NaN as `Nan`, and its OpenMetrics renames the registry's counters for good.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Registry } from 'prom-client'
import { Counter, Gauge, type Snapshot } from './families.ts'
import { type Format, OPENMETRICS_FORMAT, formatBound, formatHeader, formatLabels, formatValue } from './format.ts'
import { Histogram } from './histogram.ts'

export type AnyFamily = Counter<never> | Gauge<never> | Histogram<never>

/** Characters that are printed before other work gets its turn: about a tenth of a millisecond. */
const CHUNK = 32_768

/** Whether a metric of a registry is one of ours. */
export function isFamily(metric: unknown): metric is AnyFamily {
  return metric instanceof Counter || metric instanceof Gauge || metric instanceof Histogram
}

/** The metrics of a registry, ours and others', as they are stored. */
export function metricsOf(registry: Registry): readonly (AnyFamily | { get(): Promise<Snapshot> })[] {
  // The type says MetricObject; what is stored are the metrics themselves, with get().
  return registry.getMetricsAsArray() as unknown as (AnyFamily | { get(): Promise<Snapshot> })[]
}

/**
 * Brings metrics up to date: asks the others for their samples, which they give asynchronously, and lets ours collect after
 * the last of them, so that whoever reads ours next reads them at one instant.
 * @returns the others' samples, in the places of their metrics
 */
export async function collectAll(metrics: ReturnType<typeof metricsOf>): Promise<(Snapshot | undefined)[]> {
  const foreign = await Promise.all(metrics.map(async (metric) => (isFamily(metric) ? undefined : metric.get())))
  for (const metric of metrics) if (isFamily(metric)) metric.collect()
  return foreign
}

function* foreignLines({ name, help, type, values }: Snapshot, format: Format): Generator<string> {
  yield formatHeader(name, help, type, format)
  for (const { metricName = name, labels = {}, value } of values) {
    const { le } = labels
    const printed = typeof le === 'number' ? { ...labels, le: formatBound(le) } : labels
    yield `${metricName}${formatLabels(printed)} ${formatValue(value)}\n`
  }
}

/**
 * Prints every metric of the registry as of one instant. Ours are copied at that instant, and then printed in pieces that
 * leave other work its turns, however many series there are.
 */
export async function exposition(registry: Registry, format: Format): Promise<Buffer> {
  const metrics = metricsOf(registry)
  const foreign = await collectAll(metrics)
  const frozen = metrics.map((metric, i) =>
    isFamily(metric) ? metric.freeze(format) : foreignLines(foreign[i]!, format)
  )

  // The copy was the longest piece of work; printing begins in a turn of its own.
  await nextTurn()
  const chunks: Buffer[] = []
  let text = ''
  for (const lines of frozen) {
    for (const line of lines) {
      text += line
      if (text.length < CHUNK) continue
      chunks.push(Buffer.from(text))
      text = ''
      await nextTurn()
    }
  }
  chunks.push(Buffer.from(format === OPENMETRICS_FORMAT ? `${text}# EOF\n` : text))
  return Buffer.concat(chunks)
}
