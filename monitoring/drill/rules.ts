/** The repository's configuration with a clock that runs faster: the same rules, in seconds instead of minutes. */
import { basename, join } from 'node:path'
import { parse, stringify } from 'yaml'

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_536_000_000
}
/** Below a second nothing is measured: it is the shortest scrape interval that a busy machine keeps. */
const SHORTEST = 1000

/** A duration as Prometheus and Alertmanager write it (`1h30m`), `speed` times as short, but not below a second. */
export function shorten(duration: string, speed: number): string {
  const parts = [...duration.matchAll(/(\d+)(ms|[smhdwy])/g)]
  const total = parts.reduce((sum, [, number, unit]) => sum + Number(number) * UNITS[unit!]!, 0)
  const short = Math.max(SHORTEST, Math.round(total / speed))
  return short % 1000 === 0 ? `${short / 1000}s` : `${short}ms`
}

interface Rules {
  groups: { interval: string; rules: { expr: string; for?: string }[] }[]
}

/**
 * A file of rules with shorter windows, `for` and intervals. Expressions are the same otherwise, limits and least numbers of
 * events too: traffic must have as many events in the shorter window.
 */
export function shortenRules(text: string, speed: number): string {
  const file = parse(text) as Rules
  for (const group of file.groups) {
    group.interval = shorten(group.interval, speed)
    for (const rule of group.rules) {
      rule.expr = rule.expr.replaceAll(/\[(\w+)\]/g, (_, window: string) => `[${shorten(window, speed)}]`)
      if (rule.for !== undefined) rule.for = shorten(rule.for, speed)
    }
  }
  return stringify(file)
}

interface Prometheus {
  global: Record<'scrape_interval' | 'scrape_timeout' | 'evaluation_interval', string>
  rule_files: string[]
}

/** prometheus.yml with shorter intervals, and the rules that lie in `folder`. */
export function shortenPrometheus(text: string, speed: number, folder: string): string {
  const config = parse(text) as Prometheus
  const { global } = config
  for (const name of ['scrape_interval', 'scrape_timeout', 'evaluation_interval'] as const) {
    global[name] = shorten(global[name], speed)
  }
  config.rule_files = config.rule_files.map((file) => join(folder, basename(file)))
  return stringify(config)
}

interface Route {
  group_wait?: string
  group_interval?: string
  repeat_interval?: string
  routes?: Route[]
}

/** alertmanager.yml with shorter waits. Each receiver tells `listener` under its own name, and nobody else: a drill pages no one. */
export function shortenAlertmanager(text: string, speed: number, listener: string): string {
  const config = parse(text) as { route: Route; receivers: { name: string }[] }
  function shortenRoute(route: Route): void {
    for (const name of ['group_wait', 'group_interval', 'repeat_interval'] as const) {
      const wait = route[name]
      if (wait !== undefined) route[name] = shorten(wait, speed)
    }
    route.routes?.forEach(shortenRoute)
  }
  shortenRoute(config.route)
  config.receivers = config.receivers.map(({ name }) => ({
    name,
    webhook_configs: [{ url: `${listener}/${name}`, send_resolved: true }]
  }))
  return stringify(config)
}
