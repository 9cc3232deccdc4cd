import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { parse } from 'yaml'
import { catalogue } from '../../monitoring/catalogue.ts'
import { dashboard, dashboardJson } from '../../monitoring/dashboard.ts'
import { details, overview, panels as questions } from '../../monitoring/panels.ts'
import { build, scrape } from '../helper.ts'
import { metricsIn } from './promql.ts'

const run = promisify(execFile)

/** What these tests read of Grafana's JSON model, as a file has it. */
interface Target {
  refId: string
  expr: string
  legendFormat: string
  format?: string
  instant: boolean
  range: boolean
  datasource: unknown
}
interface Link {
  title: string
  url: string
}
interface Panel {
  id: number
  type: string
  title: string
  description: string
  datasource: unknown
  collapsed?: boolean
  panels?: Panel[]
  gridPos: { x: number; y: number; w: number; h: number }
  links: Link[]
  targets: Target[]
  options: Record<string, unknown> & { legend?: Record<string, unknown>; calculate?: boolean; yAxis?: { unit: string } }
  fieldConfig: {
    defaults: {
      unit?: string
      min?: number
      max?: number
      noValue?: string
      mappings?: { type: string; options: Record<string, { text: string }> }[]
      thresholds?: { mode: string; steps: { value: number | null; color: string }[] }
      custom?: { thresholdsStyle?: { mode: string }; stacking?: { mode: string } }
    }
    overrides: { matcher: { id: string; options: string }; properties: unknown[] }[]
  }
}
interface Variable {
  type: string
  name: string
  label: string
  query: string
  datasource: unknown
  refresh: number
  multi: boolean
  includeAll: boolean
  allValue: string
}
interface Model {
  title: string
  uid: string
  id: null
  editable: boolean
  schemaVersion: number
  timezone: string
  refresh: string
  time: unknown
  tags: string[]
  graphTooltip: number
  links: Link[]
  panels: Panel[]
  templating: { list: Variable[] }
  annotations: { list: { name: string; datasource: unknown; target: Target; textFormat: string }[] }
}
interface Rules {
  groups: { rules: { alert: string; expr: string }[] }[]
}

const model = JSON.parse(dashboardJson()) as Model
const everything = model.panels.flatMap((panel) => [panel, ...(panel.panels ?? [])])
const rows = model.panels.filter(({ type }) => type === 'row')
const panels = everything.filter(({ type }) => type !== 'row')
const queries = panels.flatMap((panel) => panel.targets.map((target) => ({ ...target, title: panel.title })))
const expressions = [...queries, ...model.annotations.list.map(({ target }) => target)].map(({ expr }) => expr)
const byTitle = (title: string): Panel => panels.find((panel) => panel.title === title)!
const variable = (name: string): Variable => model.templating.list.find((one) => one.name === name)!

const DATASOURCE = { type: 'prometheus', uid: '${datasource}' }
/** Prometheus writes ALERTS; most alerts are of a job, not of an instance. */
const ABOUT_ALERTS = 'Alerts'

/** The metric and the matchers of each selector. Every selector of ours has matchers, and no value a brace. */
function selectors(expr: string): { metric: string; matchers: string }[] {
  return [...expr.matchAll(/([a-zA-Z_:][\w:]*)\{([^}]*)\}/g)].map(([, metric, matchers]) => ({
    metric: metric!,
    matchers: matchers!
  }))
}

/** As Grafana would ask it, of all instances. */
function asked(expr: string): string {
  const values: Record<string, string> = { job: 'trading-fun-api', instance: '.+', __rate_interval: '1m' }
  return expr.replaceAll(/\$(\w+)/g, (_, name: string) => values[name]!)
}

t.test("the monitoring guide's twelve panels come first, in its order", async (t) => {
  t.same(
    model.panels.slice(0, 12).map(({ title }) => title),
    [
      'API Request Rate',
      'API Response Time (p95)',
      'Model Predictions Per Minute',
      'Cache Hit Rate',
      'Model Loaded Status',
      'OpenAI Configured',
      'Ranking Generation Time',
      'Model Prediction Distribution',
      'Data Fetch Duration',
      'AI Analysis Requests',
      'Rate Limit Violations',
      'Data Fetch Errors'
    ]
  )
  t.equal(overview.panels.length, 12)
})

t.test('a row each of the details; of closed ones Grafana asks nothing', async (t) => {
  t.same(
    rows.map(({ title, collapsed }) => [title, collapsed]),
    details.map(({ title }) => [title, title !== 'Service level'])
  )
  t.same(
    panels.map(({ title }) => title).filter((title) => title !== ABOUT_ALERTS),
    questions.map(({ title }) => title),
    'every panel of panels.ts, in its order'
  )
  const from = model.panels.indexOf(rows[0]!) + 1
  t.same(
    model.panels.slice(from, model.panels.indexOf(rows[1]!)).map(({ title }) => title),
    [ABOUT_ALERTS, ...details[0]!.panels.map(({ title }) => title)],
    'the panels of an open row follow it'
  )
})

t.test('the bare object, as Grafana reads it from a file', async (t) => {
  const { title, uid, id, editable, schemaVersion, timezone, refresh, time, tags, graphTooltip } = model
  t.same(
    { title, uid, id, editable, schemaVersion, timezone, refresh, time, tags, graphTooltip },
    {
      title: 'Trading Fun API - Performance Monitoring',
      uid: 'trading-fun-api',
      id: null,
      editable: false,
      schemaVersion: 42,
      timezone: 'browser',
      refresh: '10s',
      time: { from: 'now-1h', to: 'now' },
      tags: ['trading-fun', 'prometheus'],
      graphTooltip: 1
    }
  )
  t.notOk('__inputs' in model || 'dashboard' in model)
  t.notMatch(dashboardJson(), /\$\{DS_|"graph"|"singlestat"|"table-old"/)
  t.same(
    new Set(panels.map(({ type }) => type)),
    new Set(['timeseries', 'stat', 'gauge', 'heatmap', 'state-timeline']),
    'no Angular panels'
  )
  t.equal(dashboardJson(), dashboardJson(), 'the same every time')
  t.ok(dashboardJson().endsWith('}\n'))
  t.same(JSON.parse(JSON.stringify(dashboard())), model)
})

t.test('ids and titles are unique, and no panel lies on another or beyond the grid', async (t) => {
  t.same(
    everything.map(({ id }) => id),
    everything.map((_, index) => index + 1)
  )
  t.equal(new Set(everything.map(({ title }) => title)).size, everything.length)
  // A closed row's panels have places as if the rows above them were as they are, and those below were not there.
  for (const placed of [model.panels, ...rows.map((row) => [row, ...row.panels!])]) {
    const cells = placed.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, cell) => `${x + (cell % w)} ${y + Math.floor(cell / w)}`)
    )
    t.equal(new Set(cells).size, cells.length, 'no cell is taken twice')
    t.ok(placed.every(({ gridPos: { x, y, w, h } }) => x >= 0 && y >= 0 && w > 0 && h > 0 && x + w <= 24))
  }
  const lines = Map.groupBy(model.panels, ({ gridPos }) => gridPos.y)
  for (const [y, line] of lines) {
    t.equal(
      line.reduce((sum, { gridPos }) => sum + gridPos.w, 0),
      24,
      `the line at ${y} is full`
    )
  }
  for (const { title, gridPos, type } of panels) {
    t.ok(type === 'stat' || type === 'gauge' ? gridPos.w <= 4 : gridPos.w >= 8, `${title} is as wide as its kind needs`)
  }
})

// The rules of Grafana's dashboard-linter, by their names.

t.test('template-datasource-rule', async (t) => {
  const templates = model.templating.list.filter(({ type }) => type === 'datasource')
  t.same(
    templates.map(({ name, label, query }) => ({ name, label, query })),
    [{ name: 'datasource', label: 'Data source', query: 'prometheus' }]
  )
})

for (const [name, label] of [
  ['job', 'Job'],
  ['instance', 'Instance']
] as const) {
  t.test(`template-${name}-rule`, async (t) => {
    const { type, label: labelled, datasource, multi, allValue } = variable(name)
    t.same(
      { type, label: labelled, datasource, multi, allValue },
      { type: 'query', label, datasource: DATASOURCE, multi: true, allValue: '.+' }
    )
  })

  t.test(`target-${name}-rule`, async (t) => {
    for (const { title, expr } of queries) {
      if (title === ABOUT_ALERTS && name === 'instance') continue
      const without = selectors(expr).filter(({ matchers }) => !matchers.split(', ').includes(`${name}=~"$${name}"`))
      t.same(without, [], `${title}: ${expr}`)
      t.equal(selectors(expr).length, metricsIn(asked(expr)).length, 'no metric is without matchers')
    }
  })
}

t.test('template-label-promql-rule, template-on-time-change-reload-rule', async (t) => {
  t.equal(variable('job').query, 'label_values(system_info{service="trading-fun-api"}, job)')
  t.equal(variable('instance').query, 'label_values(system_info{job=~"$job"}, instance)')
  for (const name of ['job', 'instance']) t.equal(variable(name).refresh, 2)
  t.equal(variable('job').includeAll, false, 'all jobs would be other services too')
  t.equal(variable('instance').includeAll, true)
  const samples = Object.keys(await scrape(await build(t)))
  t.ok(
    samples.some((sample) => sample.startsWith('system_info{service="trading-fun-api"')),
    'the series that the variables ask for exists'
  )
})

t.test('panel-datasource-rule, panel-title-description-rule, panel-no-targets-rule', async (t) => {
  for (const { title, description, datasource, targets } of panels) {
    t.same(datasource, DATASOURCE, title)
    t.match(description, /^[A-Z"0-9].*\.$/, `${title}: a description of whole sentences`)
    t.ok(targets.length > 0)
    t.same(
      targets.map(({ refId }) => refId),
      targets.map((_, index) => 'ABCDEFG'[index])
    )
    for (const target of targets) t.same(target.datasource, DATASOURCE)
  }
})

t.test('panel-units-rule', async (t) => {
  const known = ['reqps', 'ops', 'opm', 'binBps', 's', 'bytes', 'percentunit', 'short', 'none']
  for (const { title, type, fieldConfig, options } of panels) {
    t.ok(known.includes((type === 'heatmap' ? options.yAxis?.unit : fieldConfig.defaults.unit)!), title)
  }
  const units = Object.fromEntries(panels.map(({ title, fieldConfig }) => [title, fieldConfig.defaults.unit]))
  t.match(units, {
    'API Request Rate': 'reqps',
    'API Response Time (p95)': 's',
    'Model Predictions Per Minute': 'opm',
    'Cache Hit Rate': 'percentunit',
    'Model Loaded Status': 'none',
    'Bytes on the wire': 'binBps',
    Fetches: 'ops',
    'Cache size': 'bytes',
    Queue: 'short'
  })
})

/** Whether a machine has promtool; the tests of the rules need it too. */
const promtool = await run('promtool', ['--version']).then(
  () => true,
  () => false
)

t.test('target-promql-rule', { skip: !promtool && 'promtool is not installed' }, async (t) => {
  const rules = expressions.map((expr, index) => ({ record: `expression:${index}`, expr: asked(expr) }))
  const file = join(t.testdir(), 'rules.yml')
  await writeFile(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }))
  const { stdout } = await run('promtool', ['check', 'rules', file], { timeout: 20_000 })
  t.match(stdout, `SUCCESS: ${expressions.length} rules found`)
})

t.test('target-rate-interval-rule', async (t) => {
  const fixed = queries.filter(({ expr }) => /\[(?!\$__rate_interval\])/.test(expr)).map(({ title }) => title)
  t.same(
    new Set(fixed),
    new Set(['Failed requests', 'Error budget burn', 'Requests within 250 ms']),
    "only what is compared with an alert has the alert's window"
  )
})

t.test('target-counter-agg-rule', async (t) => {
  for (const { title, expr } of queries) {
    const bare = expr.replaceAll(/\b(?:rate|increase)\(\w+\{[^}]*\}\[[^\]]+\]\)/g, '')
    t.notMatch(bare, /_(?:total|count|sum|bucket)\b/, title)
  }
})

// Beyond the linter.

t.test('every metric that is asked for is exposed, and every application metric is asked for', async (t) => {
  const { payload } = await (await build(t)).inject('/prometheus')
  const types = new Map([...payload.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name!, type!]))
  const families = expressions
    .flatMap((expr) => metricsIn(asked(expr)))
    .map(({ name }) => {
      const family = name.replace(/_(?:bucket|sum|count)$/, '')
      return types.get(family) === 'histogram' ? family : name
    })
  t.same(
    [...new Set(families)].filter((name) => !types.has(name)),
    ['ALERTS']
  )
  t.same(
    Object.keys(catalogue).filter((name) => !families.includes(name)),
    [],
    'an application metric that no panel shows'
  )
})

t.test('labels that legends name are kept by the query', async (t) => {
  for (const { title, expr, legendFormat } of [
    ...queries,
    ...model.annotations.list.map(({ name, target, textFormat }) => ({
      ...target,
      title: name,
      legendFormat: textFormat
    }))
  ]) {
    t.not(legendFormat, '', title)
    const named = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label!)
    const kept = /by \(([^)]*)\)/.exec(expr)?.[1]?.split(', ') ?? (title === 'Restart' ? ['instance'] : [])
    const lost = named.filter((label) => !kept.includes(label))
    const unnamed = kept.filter((label) => !named.includes(label) && !['le', 'instance'].includes(label))
    t.same({ lost, unnamed }, { lost: [], unnamed: [] }, `${title}: ${legendFormat} of ${expr}`)
  }
  for (const { title, targets } of panels) {
    const legends = targets.map(({ legendFormat }) => legendFormat)
    t.equal(new Set(legends).size, legends.length, `${title}: no two series of one name`)
  }
})

t.test('thresholds ascend from a base, and charts show them', async (t) => {
  for (const { title, thresholds } of questions) {
    const { type, fieldConfig } = byTitle(title)
    if (type === 'heatmap') continue
    const { mode, steps } = fieldConfig.defaults.thresholds!
    t.equal(mode, 'absolute')
    t.equal(steps[0]!.value, null, `${title}: the base`)
    const values = steps.slice(1).map(({ value }) => value!)
    t.same(
      values,
      values.toSorted((a, b) => a - b),
      title
    )
    t.equal(new Set(values).size, values.length)
    t.same(
      values,
      (thresholds ?? []).slice(1).map(({ from }) => from),
      'those of panels.ts'
    )
    for (const { color } of steps) t.ok(['green', 'orange', 'red', 'blue'].includes(color))
    if (type === 'timeseries') {
      t.equal(fieldConfig.defaults.custom!.thresholdsStyle!.mode, thresholds ? 'dashed' : 'off', title)
    }
  }
})

t.test('numbers are of now, named by their states, and say so when there is nothing', async (t) => {
  for (const { title, show, idle, states } of questions) {
    const { type, targets, fieldConfig } = byTitle(title)
    const { noValue, mappings, min, max, unit } = fieldConfig.defaults
    const now = show === 'number' || show === 'gauge'
    t.same([targets[0]!.instant, targets[0]!.range], [now, !now], title)
    t.equal(noValue, idle, title)
    t.same(mappings?.map(({ options }) => [options['0']!.text, options['1']!.text]) ?? [], states ? [states] : [])
    if (type !== 'heatmap') t.equal(min, 0, title)
    t.equal(max, unit === 'percentunit' ? 1 : undefined, title)
  }
})

t.test('several series have a table of the last and the highest value; one has its title', async (t) => {
  const table = { displayMode: 'table', placement: 'bottom', showLegend: true, calcs: ['lastNotNull', 'max'] }
  t.match(byTitle('API Request Rate').options.legend, table)
  t.match(byTitle('Response time').options.legend, table)
  t.match(byTitle('Requests in flight').options.legend, { showLegend: false })
  t.same(
    panels
      .filter(({ fieldConfig }) => fieldConfig.defaults.custom?.stacking?.mode === 'normal')
      .map(({ title }) => title),
    questions.filter(({ show }) => show === 'stacked').map(({ title }) => title)
  )
  const colours = byTitle('Replies by status').fieldConfig.overrides.map(({ matcher, properties }) => [
    matcher.options,
    properties
  ])
  t.same(colours.at(-1), ['/^5/', [{ id: 'color', value: { mode: 'fixed', fixedColor: 'red' } }]], 'failures are red')
})

t.test('the heatmap takes the buckets of Prometheus', async (t) => {
  const { options, targets, fieldConfig } = byTitle('Model Prediction Distribution')
  t.equal(options.calculate, false)
  t.equal(options.yAxis?.unit, 'percentunit')
  t.match(targets, [{ format: 'heatmap', legendFormat: '{{le}}', expr: /^sum by \(le\) \(increase\(/ }])
  t.equal(fieldConfig.defaults.unit, undefined, 'counts are no shares')
})

t.test('links lead to alerts that exist, and to every alert that asks the service', async (t) => {
  const file = join(import.meta.dirname, '../../monitoring/alert_rules.yml')
  const { groups } = parse(await readFile(file, 'utf8')) as Rules
  const rules = groups.flatMap((group) => group.rules)
  const names = new Set(rules.map(({ alert }) => alert))
  const runbook = 'https://github.com/trading-fun/trading-fun-api/blob/main/monitoring/runbook.md'
  const linked = new Set<string>()
  for (const { title, links } of panels) {
    for (const link of links) {
      if (title === ABOUT_ALERTS) {
        t.equal(link.url, runbook)
        continue
      }
      const alert = link.title.replace('Runbook: ', '')
      t.ok(names.has(alert), `${title}: ${alert}`)
      t.equal(link.url, `${runbook}#${alert.toLowerCase()}`)
      linked.add(alert)
    }
  }
  const ofService = rules.filter(({ expr }) => !/prometheus_|alertmanager/.test(expr)).map(({ alert }) => alert)
  t.same(
    [...new Set(ofService)].filter((alert) => !linked.has(alert)),
    [],
    'an alert that no panel links to'
  )
  for (const { title, description } of questions) {
    for (const [alert] of description.matchAll(/\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b/g)) {
      if (alert !== 'JavaScript') t.ok(names.has(alert), `${title} speaks of ${alert}`)
    }
  }
  t.same(
    model.links.map(({ url }) => url),
    [runbook, runbook.replace('monitoring/runbook.md', 'docs/metrics.md')]
  )
})

t.test('restarts, new models and alerts are marked on every panel', async (t) => {
  t.same(
    model.annotations.list.map(({ name }) => name),
    ['Restart', 'New model version', 'Alert']
  )
  for (const { datasource, target } of model.annotations.list) {
    t.same(datasource, DATASOURCE)
    t.match(target.expr, 'job=~"$job"')
  }
})
