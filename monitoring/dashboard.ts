/**
 * Grafana's dashboard, made of panels.ts: `npm run docs` writes it to grafana/dashboards/trading-fun-api.json, which Grafana
 * reads from there (the bare object: the form that its file provisioning takes).
 */
/* oxlint-disable unicorn/no-array-sort -- the SDK's builders have a `sort`, and are no arrays */
import type { Builder } from '@grafana/grafana-foundation-sdk/cog'
import {
  BigValueColorMode,
  BigValueGraphMode,
  BigValueTextMode,
  GraphThresholdsStyleConfigBuilder,
  GraphThresholdsStyleMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder
} from '@grafana/grafana-foundation-sdk/common'
import * as grafana from '@grafana/grafana-foundation-sdk/dashboard'
import * as gauge from '@grafana/grafana-foundation-sdk/gauge'
import * as heatmap from '@grafana/grafana-foundation-sdk/heatmap'
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus'
import * as stat from '@grafana/grafana-foundation-sdk/stat'
import * as statetimeline from '@grafana/grafana-foundation-sdk/statetimeline'
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries'
import * as units from '@grafana/grafana-foundation-sdk/units'
import type { Threshold, Unit } from '../plugins/metrics/index.ts'
import { type Panel, details, overview } from './panels.ts'
import { type Query, type Scope, promql } from './query.ts'

const REPOSITORY = 'https://github.com/trading-fun/trading-fun-api/blob/main'
const RUNBOOK = `${REPOSITORY}/monitoring/runbook.md`

const DATASOURCE = { type: 'prometheus', uid: '${datasource}' }
const JOB = 'job=~"$job"'
const SCOPE = { selector: `${JOB}, instance=~"$instance"`, interval: '$__rate_interval' } satisfies Scope

/** Grafana's names: they follow its light and dark themes. */
const COLOURS: Record<Threshold['colour'], string> = { green: 'green', amber: 'orange', red: 'red', blue: 'blue' }

const UNITS: Record<Exclude<Unit, 'per second'>, string> = {
  'per minute': units.OpsPerMinute,
  'bytes per second': units.BytesPerSecondIEC,
  seconds: units.Seconds,
  bytes: units.BytesIEC,
  ratio: units.PercentUnit,
  count: units.Short,
  state: units.NoUnit
}

/** The alerts behind a panel, by its title: it links to what the runbook says of them. */
const ALERTS: Readonly<Record<string, readonly string[]>> = {
  'API Request Rate': ['TargetDown'],
  'API Response Time (p95)': ['SlowResponseTime'],
  'Cache Hit Rate': ['LowCacheHitRate'],
  'Model Loaded Status': ['ModelNotLoaded', 'MetricsAbsent'],
  'Rate Limit Violations': ['RateLimitStorm'],
  'Data Fetch Errors': ['UpstreamFailing'],
  'AI Analysis Requests': ['AnalysisFailing'],
  'AI analysis duration': ['AnalysisSlow'],
  Circuits: ['CircuitOpen'],
  Redis: ['RedisDown'],
  'Failed requests': ['HighErrorRate'],
  'Error budget burn': ['ErrorBudgetBurn'],
  'Response time': ['SlowResponseTime'],
  'Replies by status': ['HighErrorRate'],
  'Age of the newest price': ['StaleMarketData'],
  Queue: ['ModelQueueSaturated'],
  'Features against training': ['ModelDrift'],
  'Age of the model': ['ModelOld'],
  'Requests without scores': ['ModelRejecting'],
  'Last reload': ['ModelReloadFailed'],
  'Event loop delay': ['EventLoopSaturated'],
  'Requests shed': ['RequestsShed'],
  Uptime: ['ServiceRestarting'],
  'Series dropped': ['SeriesDropped']
}

const COLUMNS = 24
const HEIGHT = 8
const NUMBER_WIDTH = 4
const CHART_WIDTH = 8
const MAX_CHART_WIDTH = 12

type PanelBuilder =
  | timeseries.PanelBuilder
  | stat.PanelBuilder
  | gauge.PanelBuilder
  | heatmap.PanelBuilder
  | statetimeline.PanelBuilder

interface Drawn {
  builder: PanelBuilder
  width: typeof NUMBER_WIDTH | typeof CHART_WIDTH
}

/** A link beside the title. Not by the SDK's builder, which puts links into a menu (`placement`). */
function link(title: string, url: string): Builder<grafana.DashboardLink> {
  const type = grafana.DashboardLinkType.Link
  const rest = { icon: 'doc', tooltip: '', tags: [], asDropdown: false, includeVars: false, keepTime: false }
  return { build: () => ({ title, type, url, targetBlank: true, ...rest }) }
}

function labels(query: Query): readonly string[] {
  return query.kind === 'ratio' ? [] : (query.by ?? [])
}

function series(query: Query, title: string): string {
  if (query.kind === 'heatmap') return '{{le}}'
  const names = labels(query).map((label) => `{{${label}}}`)
  return query.legend ?? (names.join(' ') || title)
}

/** A number is of now: the last of a range would stay after the events have stopped. */
function target({ title, show }: Panel, query: Query, index: number): DataqueryBuilder {
  const builder = new DataqueryBuilder()
    .refId(String.fromCodePoint(65 + index))
    .datasource(DATASOURCE)
    .expr(promql(query, SCOPE))
    .legendFormat(series(query, title))
    .format(show === 'heatmap' ? PromQueryFormat.Heatmap : PromQueryFormat.TimeSeries)
  return show === 'number' || show === 'gauge' ? builder.instant() : builder.range()
}

function unitOf({ unit, queries }: Panel): string {
  if (unit !== 'per second') return UNITS[unit]
  const requests = queries.every((query) => 'metric' in query && query.metric === 'http_requests_total')
  return requests ? units.RequestsPerSecond : units.OpsPerSecond
}

/** Always given: Grafana's own default is red from 80 on. */
function thresholdSteps(given: readonly Threshold[] = [{ from: 0, colour: 'blue' }]): grafana.ThresholdsConfigBuilder {
  const steps = given.map(({ from, colour }, index) => ({ value: index === 0 ? null : from, color: COLOURS[colour] }))
  return new grafana.ThresholdsConfigBuilder().mode(grafana.ThresholdsMode.Absolute).steps(steps)
}

function named(options: Record<number, grafana.ValueMappingResult>): grafana.ValueMapping[] {
  return [{ type: grafana.MappingType.ValueToText, options }]
}

const colourBy = (mode: grafana.FieldColorModeId): grafana.FieldColorBuilder =>
  new grafana.FieldColorBuilder().mode(mode)
const latest = (): ReduceDataOptionsBuilder => new ReduceDataOptionsBuilder().calcs(['lastNotNull'])

function numberPanel({ unit, queries }: Panel): stat.PanelBuilder {
  return new stat.PanelBuilder()
    .reduceOptions(latest())
    .graphMode(BigValueGraphMode.None)
    .colorMode(unit === 'state' ? BigValueColorMode.Background : BigValueColorMode.Value)
    .textMode(
      queries.some((query) => labels(query).length > 0) ? BigValueTextMode.ValueAndName : BigValueTextMode.Value
    )
    .colorScheme(colourBy(grafana.FieldColorModeId.Thresholds))
}

function gaugePanel(): gauge.PanelBuilder {
  return new gauge.PanelBuilder().reduceOptions(latest()).colorScheme(colourBy(grafana.FieldColorModeId.Thresholds))
}

/** Prometheus has made the buckets: Grafana is not to calculate any. */
function heatmapPanel(panel: Panel): heatmap.PanelBuilder {
  const { Scheme } = heatmap.HeatmapColorMode
  return new heatmap.PanelBuilder()
    .calculate(false)
    .color(
      new heatmap.HeatmapColorOptionsBuilder()
        .mode(Scheme)
        .scheme('Oranges')
        .fill('dark-orange')
        .exponent(0.5)
        .steps(64)
    )
    .cellValues(new heatmap.CellValuesBuilder().unit(units.Short).decimals(0))
    .rowsFrame(new heatmap.RowsHeatmapOptionsBuilder().value('observations'))
    .yAxis(new heatmap.YAxisConfigBuilder().unit(unitOf(panel)).decimals(0))
    .tooltip(new heatmap.HeatmapTooltipBuilder().mode(TooltipDisplayMode.Single).yHistogram(true))
}

/** Statuses have the colours of what they mean; other series the one of their name, the same on every panel. */
const STATUS_COLOURS = { '2': 'green', '3': 'blue', '4': 'orange', '5': 'red' }

function chart({ show, queries, thresholds }: Panel): timeseries.PanelBuilder {
  const stacked = show === 'stacked'
  const grouped = queries.some((query) => labels(query).length > 0)
  const many = grouped || queries.length > 1
  const legend = new VizLegendOptionsBuilder().placement(LegendPlacement.Bottom).showLegend(many)
  const tooltip = new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending)
  const builder = new timeseries.PanelBuilder()
    .lineWidth(2)
    .fillOpacity(stacked ? 40 : 0)
    .showPoints(VisibilityMode.Auto)
    .stacking(new StackingConfigBuilder().mode(stacked ? StackingMode.Normal : StackingMode.None).group('A'))
    .thresholdsStyle(
      new GraphThresholdsStyleConfigBuilder().mode(
        thresholds ? GraphThresholdsStyleMode.Dashed : GraphThresholdsStyleMode.Off
      )
    )
    .colorScheme(colourBy(grafana.FieldColorModeId.PaletteClassicByName))
    .tooltip(tooltip.hideZeros(grouped))
    .legend(
      many
        ? legend.displayMode(LegendDisplayMode.Table).calcs(['lastNotNull', 'max']).sortBy('Last *').sortDesc(true)
        : legend.displayMode(LegendDisplayMode.List)
    )
  if (queries.some((query) => labels(query).includes('status'))) {
    for (const [digit, fixedColor] of Object.entries(STATUS_COLOURS)) {
      builder.overrideByRegexp(`/^${digit}/`, [{ id: 'color', value: { mode: 'fixed', fixedColor } }])
    }
  }
  return builder
}

function visualization(panel: Panel): PanelBuilder {
  if (panel.show === 'number') return numberPanel(panel)
  if (panel.show === 'gauge') return gaugePanel()
  return panel.show === 'heatmap' ? heatmapPanel(panel) : chart(panel)
}

/** How values are printed and judged. Not in a heatmap, whose values are counts; its unit is that of the axis. */
function scale(builder: PanelBuilder, panel: Panel): void {
  builder.unit(unitOf(panel)).min(0).thresholds(thresholdSteps(panel.thresholds))
  if (panel.unit === 'ratio') builder.max(1).decimals(2)
  if (panel.states) {
    const [zero, one] = panel.states
    builder.mappings(named({ 0: { text: zero, index: 0 }, 1: { text: one, index: 1 } }))
  }
}

function draw(panel: Panel): Drawn {
  const { title, description, show, idle, queries } = panel
  const builder = visualization(panel)
    .title(title)
    .description(description)
    .datasource(DATASOURCE)
    .targets(queries.map((query, index) => target(panel, query, index)))
    .links((ALERTS[title] ?? []).map((alert) => link(`Runbook: ${alert}`, `${RUNBOOK}#${alert.toLowerCase()}`)))
  if (show !== 'heatmap') scale(builder, panel)
  if (idle !== undefined) builder.noValue(idle)
  return { builder, width: show === 'number' || show === 'gauge' ? NUMBER_WIDTH : CHART_WIDTH }
}

/** No question to the service: Prometheus writes ALERTS. Most alerts are of a job, so there is no instance to select. */
function alerts(): Drawn {
  const firing = `2 * ALERTS{${JOB}, alertstate="firing"}`
  const pending = `ALERTS{${JOB}, alertstate="pending"}`
  const builder = new statetimeline.PanelBuilder()
    .title('Alerts')
    .description('Alerts of this job that are pending (their condition holds, not for long enough yet) or firing.')
    .datasource(DATASOURCE)
    .withTarget(
      new DataqueryBuilder()
        .refId('A')
        .datasource(DATASOURCE)
        .expr(`max by (alertname, severity) (${firing} or ${pending})`)
        .legendFormat('{{alertname}} ({{severity}})')
        .range()
    )
    .unit(units.NoUnit)
    .mappings(
      named({
        1: { text: 'pending', color: COLOURS.amber, index: 0 },
        2: { text: 'firing', color: COLOURS.red, index: 1 }
      })
    )
    .thresholds(thresholdSteps())
    .colorScheme(colourBy(grafana.FieldColorModeId.Thresholds))
    .noValue('no alert')
    .showValue(VisibilityMode.Never)
    .rowHeight(0.8)
    .legend(
      new VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom)
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Single))
    .links([link('Runbook', RUNBOOK)])
  return { builder, width: CHART_WIDTH }
}

/** Lines of the grid from `y` on; in each, the charts share what is left of the width. */
function arrange(drawn: readonly Drawn[], y: number): { height: number; panels: PanelBuilder[] } {
  const lines: Drawn[][] = []
  let left = 0
  for (const one of drawn) {
    if (one.width > left) {
      lines.push([])
      left = COLUMNS
    }
    lines.at(-1)!.push(one)
    left -= one.width
  }
  const panels = lines.flatMap((line, index) => {
    const used = line.reduce((sum, { width }) => sum + width, 0)
    const charts = line.filter(({ width }) => width === CHART_WIDTH).length
    const wide = Math.min(MAX_CHART_WIDTH, CHART_WIDTH + Math.floor((COLUMNS - used) / charts))
    let x = 0
    return line.map(({ builder, width }) => {
      const w = width === CHART_WIDTH ? wide : width
      builder.gridPos({ x, y: y + index * HEIGHT, w, h: HEIGHT })
      x += w
      return builder
    })
  })
  return { height: lines.length * HEIGHT, panels }
}

function datasourceVariable(): Builder<grafana.VariableModel> {
  return new grafana.DatasourceVariableBuilder('datasource').label('Data source').type('prometheus')
}

/**
 * Every series has a job and an instance from Prometheus; system_info is this service's and no other's. Only instances can be
 * chosen all together: all jobs would be other services too. (dashboard-linter asks for the value of All even so.)
 */
function targetVariable(name: 'job' | 'instance', label: string, matchers: string): grafana.QueryVariableBuilder {
  const query = `label_values(system_info{${matchers}}, ${name})`
  return new grafana.QueryVariableBuilder(name)
    .label(label)
    .datasource(DATASOURCE)
    .query(query)
    .definition(query)
    .refresh(grafana.VariableRefresh.OnTimeRangeChanged)
    .sort(grafana.VariableSort.AlphabeticalAsc)
    .multi(true)
    .allValue('.+')
}

function annotation(name: string, colour: string, expr: string, text: string): grafana.AnnotationQueryBuilder {
  return new grafana.AnnotationQueryBuilder()
    .name(name)
    .datasource(DATASOURCE)
    .enable(true)
    .iconColor(colour)
    .target(new DataqueryBuilder().refId('Anno').datasource(DATASOURCE).expr(expr).range())
    .titleFormat(name)
    .textFormat(text)
}

function annotations(): grafana.AnnotationQueryBuilder[] {
  const { selector, interval } = SCOPE
  const versions = `count by (model_type, version) (model_info{${selector}} == 1)`
  const before = `count by (model_type, version) (model_info{${selector}} offset ${interval} == 1)`
  return [
    annotation(
      'Restart',
      COLOURS.blue,
      `changes(process_start_time_seconds{${selector}}[${interval}]) > 0`,
      '{{instance}}'
    ),
    annotation('New model version', COLOURS.green, `${versions} unless ${before}`, '{{model_type}} {{version}}'),
    annotation(
      'Alert',
      COLOURS.red,
      `max by (alertname, severity) (ALERTS{${JOB}, alertstate="firing"})`,
      '{{alertname}} ({{severity}})'
    )
  ]
}

/**
 * The overview, without a header, and a row each of the details. Panels of a folded row are inside it: Grafana asks nothing of
 * them until it is opened. "Service level" is not folded, since the guide's twelve know no failures.
 */
function addPanels(builder: grafana.DashboardBuilder): void {
  let id = 0
  const { height, panels } = arrange(overview.panels.map(draw), 0)
  for (const panel of panels) builder.withPanel(panel.id(++id))
  let y = height
  for (const { title, folded = false, panels: own } of details) {
    const open = !folded
    const header = new grafana.RowBuilder(title).id(++id).gridPos({ x: 0, y, w: COLUMNS, h: 1 })
    const row = arrange([...(open ? [alerts()] : []), ...own.map(draw)], y + 1)
    for (const panel of row.panels) panel.id(++id)
    if (!open) for (const panel of row.panels) header.withPanel(panel)
    builder.withRow(header)
    if (open) for (const panel of row.panels) builder.withPanel(panel)
    y += open ? 1 + row.height : 1
  }
}

/** The dashboard as Grafana's JSON model. */
export function dashboard(): grafana.Dashboard {
  const builder = new grafana.DashboardBuilder('Trading Fun API - Performance Monitoring')
    .uid('trading-fun-api')
    .id(null)
    .description('Made from monitoring/panels.ts by `npm run docs`: change it there.')
    .tags(['trading-fun', 'prometheus'])
    .timezone('browser')
    .refresh('10s')
    .time({ from: 'now-1h', to: 'now' })
    .readonly()
    .tooltip(grafana.DashboardCursorSync.Crosshair)
    .links([link('Runbook', RUNBOOK), link('Metrics', `${REPOSITORY}/docs/metrics.md`)])
    .variables([
      datasourceVariable(),
      targetVariable('job', 'Job', 'service="trading-fun-api"'),
      targetVariable('instance', 'Instance', JOB)
        .includeAll(true)
        .current({ text: ['All'], value: ['$__all'] })
    ])
    .annotations(annotations())
  addPanels(builder)
  return builder.build()
}

/** The file, byte for byte. */
export function dashboardJson(): string {
  return `${JSON.stringify(dashboard(), null, 2)}\n`
}
