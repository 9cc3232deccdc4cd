/** What Prometheus itself can't check: that rules, their tests, the runbook and the catalogue speak of the same things. */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { OLD_MODEL_DAYS } from '../../domain/ranking.ts'
import { catalogue } from '../../monitoring/catalogue.ts'
import pkg from '../../package.json' with { type: 'json' }
import type { Catalogue } from '../../plugins/metrics/index.ts'
import { metricsIn } from './promql.ts'

interface Rule {
  alert?: string
  record?: string
  expr: string
  labels?: Record<string, string>
  annotations?: Record<string, string>
}
interface RuleFile {
  groups: { name: string; rules: Rule[] }[]
}
interface AlertCase {
  alertname: string
  exp_alerts?: { exp_labels?: Record<string, string>; exp_annotations?: Record<string, string> }[]
}
interface UnitTests {
  tests: { alert_rule_test?: AlertCase[]; promql_expr_test?: { expr: string }[] }[]
}

const folder = join(import.meta.dirname, '../../monitoring')
const text = (file: string): string => readFileSync(join(folder, file), 'utf8')
const rulesOf = (file: string): Rule[] => (parse(text(file)) as RuleFile).groups.flatMap(({ rules }) => rules)

const alerts = rulesOf('alert_rules.yml')
const recorded = rulesOf('recording_rules.yml')
const runbook = text('runbook.md')
const unitTests = readdirSync(join(folder, 'tests')).flatMap(
  (file) => (parse(text(`tests/${file}`)) as UnitTests).tests
)
const cases = unitTests.flatMap((test) => test.alert_rule_test ?? [])
const unique = (values: readonly string[]): string[] => [...new Set(values)].toSorted()
const alertNames = unique(alerts.map(({ alert }) => alert!))

/** What others write: the client library, Prometheus and Alertmanager. */
const FOREIGN = [
  'up',
  'process_start_time_seconds',
  'nodejs_eventloop_lag_p99_seconds',
  'prometheus_rule_evaluation_failures_total',
  'prometheus_notifications_dropped_total',
  'alertmanager_notifications_failed_total'
]
/** Labels that a scrape adds, and the bounds of a histogram. */
const ADDED = ['job', 'instance', 'le']
const specs: Catalogue = catalogue

/** The catalogue's metric behind a sample's name. */
function ownMetric(name: string): string | undefined {
  const family = name.replace(/_(bucket|sum|count)$/, '')
  return specs[family]?.type === 'histogram' && family !== name ? family : name in specs ? name : undefined
}

/** What is wrong with an expression's metrics and labels. */
function faults(expr: string): string[] {
  return metricsIn(expr).flatMap(({ name, labels }) => {
    if (FOREIGN.includes(name)) return []
    const own = ownMetric(name)
    const record = recorded.find((rule) => rule.record === name)
    if (own === undefined && record === undefined) return [`${name} is no metric`]
    if (own !== undefined && specs[own]!.type === 'histogram' && own === name) return [`${name} is no sample of it`]
    const known = own === undefined ? ['job'] : [...Object.keys(specs[own]!.labels ?? {}), ...ADDED]
    return labels.filter((label) => !known.includes(label)).map((label) => `${name} has no label ${label}`)
  })
}

t.test('every alert says what it is, how bad, and what to do', async (t) => {
  for (const { alert, labels, annotations } of alerts) {
    t.match(labels?.['severity'], /^(critical|warning|info)$/, alert!)
    t.same(Object.keys(annotations ?? {}), ['summary', 'description', 'runbook_url'], alert!)
    t.match(annotations?.['description'], /\{\{ \$value \||for (a minute|\d+ minutes)/, `${alert}: a value or a time`)
    t.notMatch(annotations?.['description'], /\{\{ \$value \}\}/, `${alert}: no raw number`)
  }
})

t.test('every alert has an entry in the runbook, and every entry an alert', async (t) => {
  const headings = [...runbook.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading!)
  t.same(headings.toSorted(), alertNames)
  const urls = alerts.map(({ annotations }) => new URL(annotations!['runbook_url']!))
  t.same(
    urls.map(({ hash }) => hash),
    alerts.map(({ alert }) => `#${alert!.toLowerCase()}`)
  )
  t.equal(unique(urls.map(({ origin, pathname }) => origin + pathname)).length, 1, 'one runbook')
  t.match(urls[0]!.pathname, /\/monitoring\/runbook\.md$/)
  const repository = pkg.repository.url.replace(/^git\+|\.git$/g, '')
  t.equal(urls[0]!.origin + urls[0]!.pathname, `${repository}/blob/main/monitoring/runbook.md`, "the repository's own")
  for (const entry of runbook.split(/^## /m).slice(1)) {
    const [name] = entry.split('\n', 1)
    for (const part of ['**Meaning.**', '**Check.**', '**Causes.**', '**Fix.**'])
      t.ok(entry.includes(part), `${name}: ${part}`)
    t.match(entry, /^1\. [^]*^2\. [^]*^3\. /m, `${name}: three checks`)
    t.ok(entry.includes(`silence add alertname=${name} `), `${name}: how to silence it`)
  }
})

t.test('docs/monitoring.md has every alert in its table, once, with its severities', async (t) => {
  const guide = readFileSync(join(folder, '../docs/monitoring.md'), 'utf8')
  const row = /^\| \[(\w+)\]\(\.\.\/monitoring\/runbook\.md#(\w+)\) \| ([a-z, ]+) \| ./gm
  const rows = [...guide.matchAll(row)].map((match) => match.slice(1).join(' | '))
  const expected = alertNames.map((name) => {
    const severities = alerts.filter(({ alert }) => alert === name).map(({ labels }) => labels?.['severity'])
    return [name, name.toLowerCase(), [...new Set(severities)].join(', ')].join(' | ')
  })
  t.same(rows.toSorted(), expected)
})

t.test('every alert has a case in which it fires, and one in which it must not', async (t) => {
  for (const { alert, labels = {} } of alerts) {
    const of = cases.filter(({ alertname }) => alertname === alert)
    const fires = ({ exp_alerts = [] }: AlertCase): boolean =>
      exp_alerts.some(({ exp_labels = {} }) =>
        Object.entries(labels).every(([name, value]) => exp_labels[name] === value)
      )
    const rule = `${alert} ${labels['window'] ?? ''}`
    t.ok(of.some(fires), `${rule} fires`)
    t.notOk(of.every(fires), `${rule} is silent`)
    const described = of.flatMap(({ exp_alerts = [] }) => exp_alerts)
    t.ok(
      described.every(({ exp_annotations }) => exp_annotations?.['description'] !== undefined),
      `${rule} says what is expected in its own words`
    )
  }
  t.same(unique(cases.map(({ alertname }) => alertname)), alertNames, 'no case is of an alert that is gone')
})

t.test('every recording rule is named level:metric:operation, tested, and used', async (t) => {
  const names = recorded.map(({ record }) => record!)
  const metrics = (exprs: readonly string[]): string[] =>
    exprs.flatMap((expr) => metricsIn(expr).map(({ name }) => name))
  const tested = metrics(unitTests.flatMap((test) => (test.promql_expr_test ?? []).map(({ expr }) => expr)))
  const used = metrics(alerts.map(({ expr }) => expr))
  const sources = readdirSync(folder).filter((file) => file.endsWith('.ts'))
  const panels = sources.map(text).join('\n')
  for (const { record, expr } of recorded) {
    const ranges = [...expr.matchAll(/\[(\w+)\]/g)].map(([, range]) => range!)
    t.same(unique(ranges), [/\d+[mhd]$/.exec(record!)?.[0]], `${record} is of the window in its name`)
  }
  for (const name of names) {
    t.match(name, /^job:[a-z_]+:[a-z_]*rate\d+[mhd]$/)
    t.ok(tested.includes(name), `${name} is tested`)
    t.ok(used.includes(name) || panels.includes(name), `${name} is used`)
  }
})

t.test('the error budget is watched with the windows and factors of the SRE workbook', async (t) => {
  const hours = (range: string): number => Number.parseInt(range, 10) * { m: 1 / 60, h: 1, d: 24 }[range.at(-1)!]!
  const pair =
    /^job:http_errors_per_request:ratio_rate(\w+) > ([\d.]+) \* 0\.001\nand job:http_errors_per_request:ratio_rate(\w+) > \2 \* 0\.001\nand job:http_requests:rate\1 \* ([\d *]+) > 1 \/ \(\2 \* 0\.001\)\n$/
  const found = alerts
    .filter(({ alert }) => alert === 'ErrorBudgetBurn')
    .map(({ expr, labels }) => {
      const [, long = '', factor, short = '', seconds = ''] = pair.exec(expr) ?? []
      t.equal(labels?.['window'], long)
      t.equal(hours(long) / hours(short), 12, `${short} is a twelfth of ${long}`)
      const product = seconds.split('*').reduce((result, number) => result * Number(number), 1)
      t.equal(product, hours(long) * 3600, `${seconds} seconds are ${long}`)
      // Percent of the budget of 30 days that are gone when it fires.
      return [labels?.['severity'], Number(((Number(factor) * hours(long)) / 7.2).toFixed(6))]
    })
  t.same(found, [
    ['critical', 2],
    ['critical', 5],
    ['warning', 10],
    ['warning', 10]
  ])
})

t.test('ModelOld has the limit that the service warns of at its start', async (t) => {
  const { expr } = alerts.find(({ alert }) => alert === 'ModelOld')!
  t.match(expr, `model_age_seconds) > ${OLD_MODEL_DAYS} * 24 * 3600\n`)
})

t.test('every metric and label in a rule is one that something writes', async (t) => {
  for (const { alert, record, expr } of [...alerts, ...recorded]) {
    t.not(metricsIn(expr).length, 0, `${alert ?? record} asks for something`)
    t.same(faults(expr), [], alert ?? record!)
  }
  const foreign = [...alerts, ...recorded].flatMap(({ expr }) => metricsIn(expr).map(({ name }) => name))
  t.same(
    unique(foreign.filter((name) => FOREIGN.includes(name))),
    FOREIGN.toSorted(),
    'the list of others is no longer than it must be'
  )
})

t.test('a metric or label that nothing writes is found', async (t) => {
  t.same(faults('rate(http_request_total[5m])'), ['http_request_total is no metric'])
  t.same(faults('http_request_duration_seconds > 1'), ['http_request_duration_seconds is no sample of it'])
  t.same(faults('http_requests_total_bucket'), ['http_requests_total_bucket is no metric'])
  t.same(faults('sum by (country) (cache_hits_total{typ="x"})'), [
    'cache_hits_total has no label typ',
    'cache_hits_total has no label country'
  ])
  t.same(faults('job:http_requests:rate1h{endpoint="/"}'), ['job:http_requests:rate1h has no label endpoint'])
})

t.test('all rules leave out the same endpoints, and the runbook asks for metrics that exist', async (t) => {
  const selectors = [...alerts, ...recorded].flatMap(({ expr }) => expr.match(/endpoint!~"[^"]*"/g) ?? [])
  t.same(unique(selectors), ['endpoint!~"/analyze|/health.*"', 'endpoint!~"/health.*"'])
  const queries = [...runbook.matchAll(/^ *```promql\n([^]*?)```/gm)].map(([, query]) => query!)
  t.ok(queries.length > 10)
  for (const query of queries) {
    const unknown = faults(query).filter(
      (fault) => !/^(process|nodejs|prometheus|alertmanager)_\w+ is no metric$/.test(fault)
    )
    t.same(unknown, [], query)
  }
})

t.test('metricsIn finds metrics and their labels', async (t) => {
  const found = (expr: string): string[] => metricsIn(expr).map(({ name, labels }) => `${name} ${labels.join()}`.trim())
  t.same(found('up'), ['up'])
  t.same(found('rate(a_total{x="b", y=~"c{d}|by (e)", z!=\'#\'}[5m]) * 60 # f'), ['a_total x,y,z'])
  t.same(found('sum by (job, le) (rate(a_bucket{x="1"}[5m])) > 2 and c offset 5m'), ['a_bucket x,job,le', 'c'])
  t.same(found('sum(rate(a{x="1"}[5m])) by (job) / max without (le) (b)'), ['a x,job', 'b le'])
  t.same(found('max by (x) (min by (y) (a)) unless on (job) group_left (z) b'), ['a x,y', 'b'])
  t.same(found('a{le="0.8"} - ignoring (le) a{le="0.7"}'), ['a le', 'a le'])
  t.same(found('job:a:rate5m > bool 14.4 * 1e-3 or topk(5, b) == Inf'), ['job:a:rate5m', 'b'])
  t.same(found('rate(a[$__rate_interval]) + max_over_time(b[1h:5m])'), ['a', 'b'])
  t.same(found('time() - 5 * 24'), [])
  t.same(found('count by (x) ({job="a"}) + a'), ['a'])
  t.throws(() => metricsIn('a{b="c"'), { message: /^\{ is not closed/ })
})
