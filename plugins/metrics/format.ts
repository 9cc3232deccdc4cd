/** How numbers, labels and headers are printed. */

/** The text format that every Prometheus reads; to the letter, since Prometheus 3 refuses what it can't parse. */
export const TEXT_FORMAT = 'text/plain; version=0.0.4; charset=utf-8'
/** OpenMetrics, which has exemplars. */
export const OPENMETRICS_FORMAT = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

export type Format = typeof TEXT_FORMAT | typeof OPENMETRICS_FORMAT

/** Prints a number as both formats want it. */
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

/** `{a="x",b="y"}`, or nothing without labels; values escaped. */
export function formatLabels(labels: Readonly<Record<string, string | number>>): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${String(value).replaceAll(/[\\"\n]/g, (c) => ESCAPES[c]!)}"`
  )
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

/** The two header lines of a family. In OpenMetrics a counter is named without the `_total` of its sample. */
export function formatHeader(name: string, help: string, type: string, format: Format): string {
  if (format === TEXT_FORMAT) {
    return `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${type}\n`
  }
  const escaped = help.replaceAll(/[\\"\n]/g, (c) => ESCAPES[c]!)
  if (type !== 'counter') return `# HELP ${name} ${escaped}\n# TYPE ${name} ${type}\n`
  // Another library's counter may lack the suffix that OpenMetrics insists on.
  if (!name.endsWith('_total')) return `# HELP ${name} ${escaped}\n# TYPE ${name} unknown\n`
  const family = name.slice(0, -'_total'.length)
  return `# HELP ${family} ${escaped}\n# TYPE ${family} counter\n`
}

/**
 * The best format for an Accept header, by its q-values; the text format when nothing fits, as Prometheus itself would fall
 * back to it.
 */
export function negotiateFormat(accept: string | undefined): Format {
  let best: Format = TEXT_FORMAT
  let quality = 0
  for (const range of (accept ?? '').toLowerCase().split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim())
    const parameter = (name: string): string | undefined =>
      parameters.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1)
    const q = Number(parameter('q') ?? 1)
    const version = parameter('version')
    const offered =
      type === 'application/openmetrics-text' && (version === undefined || version === '1.0.0')
        ? OPENMETRICS_FORMAT
        : ['text/plain', 'text/*', '*/*'].includes(type) && (version === undefined || version === '0.0.4')
          ? TEXT_FORMAT
          : undefined
    if (offered !== undefined && q > quality) {
      best = offered
      quality = q
    }
  }
  return best
}

/** Whether an Accept-Encoding header takes gzip. */
export function acceptsGzip(header: string | undefined): boolean {
  for (const coding of (header ?? '').toLowerCase().split(',')) {
    const [name, q = 'q=1'] = coding.split(';').map((part) => part.trim())
    if (name === 'gzip' || name === '*') return Number(q.slice(2)) > 0
  }
  return false
}
