/**
 * Whether what is promised is true: the service, Prometheus and Alertmanager run with the repository's own configuration, a
 * client drives traffic, and everything that asks Prometheus (documents, panels, alerts) gets an answer, and the right one.
 * Once against Debian's Prometheus 2, and against Prometheus 3 where `install.sh` has put one.
 */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { catalogue } from '../../monitoring/catalogue.ts'
import { dashboard } from '../../monitoring/dashboard.ts'
import { findProgram, freePorts, runPrometheus, startStack } from '../../monitoring/stack.ts'
import { metricsIn } from '../monitoring/promql.ts'
import { startStub } from '../sources/stub.ts'
import { type Sample, hasData, leftHandSides, queriesIn, query } from './prometheus.ts'
import { RATE_LIMIT_RPM, type Tally, drive, languageModel, sendGarbage } from './traffic.ts'

const root = join(import.meta.dirname, '../..')
const PROMETHEUS_3 = join(import.meta.dirname, '.prometheus-3/prometheus')

/** What healthy traffic does not move, each with a test of its own that does. */
const QUIET = [
  'metrics_series_dropped_total',
  'http_requests_shed_total',
  'rate_limit_without_store_total',
  'cache_stale_total',
  'cache_tier_lookups_total',
  'cache_tier_errors_total',
  'redis_configured',
  'redis_up',
  'upstream_retries_total',
  'upstream_circuit_open',
  'model_queue_depth',
  'model_missing_ratio',
  'model_rejects_total',
  'model_reloads_total'
]
/** Longer than a scrape interval and the evaluation of the slowest rule. */
const PATIENCE_MS = 130_000

const missing = ['prometheus', 'promtool', 'prometheus-alertmanager'].filter((name) => findProgram(name) === undefined)
if (missing.length > 0) {
  process.stderr.write(
    `SKIPPED, nothing is compared with a real Prometheus: ${missing.join(', ')} missing, see CONTRIBUTING.md\n`
  )
}
const skip3 = findProgram(PROMETHEUS_3) === undefined
if (skip3)
  process.stderr.write('SKIPPED, nothing is compared with Prometheus 3: it is not in test/stack/.prometheus-3\n')

/** All of it must be over in five minutes. */
const LIMIT = { timeout: 290_000 }
t.setTimeout(LIMIT.timeout)

async function text(path: string): Promise<string> {
  return readFile(join(root, path), 'utf8')
}

interface Evaluated {
  group: string
  name: string
  health: string
  state?: string
}

/** The rules, when each has been evaluated: when a group begins depends on its name and its file's path. */
async function evaluated(base: string): Promise<Evaluated[]> {
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end; await sleep(250)) {
    const reply = await fetch(`${base}/api/v1/rules`)
    const { data } = (await reply.json()) as { data: { groups: { name: string; rules: Omit<Evaluated, 'group'>[] }[] } }
    const found = data.groups.flatMap(({ name: group, rules: list }) => list.map((rule) => ({ ...rule, group })))
    if (found.length > 0 && found.every(({ health }) => health !== 'unknown')) return found
  }
  throw new Error(`there are rules that have not been evaluated after ${PATIENCE_MS / 1000} s`)
}

/** Waits until a query's first value is the expected one, or anything at all. */
async function until(base: string, expression: string, expected?: number): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end; await sleep(250)) {
    const [first] = await query(base, expression)
    if (expected === undefined ? first !== undefined : first?.value === expected) return
  }
  throw new Error(`${expression} is not ${expected ?? 'there'} after ${PATIENCE_MS / 1000} s`)
}

/** Every question of the dashboard, as Grafana would put it. */
function panelQueries(): { title: string; expression: string }[] {
  interface Panel {
    title?: string
    targets?: { expr: string }[]
    panels?: Panel[]
  }
  const flat = (panel: Panel): Panel[] => [panel, ...(panel.panels ?? []).flatMap(flat)]
  const { panels = [] } = JSON.parse(JSON.stringify(dashboard())) as { panels?: Panel[] }
  return panels.flatMap(flat).flatMap(({ title = '', targets = [] }) =>
    targets.map(({ expr }) => ({
      title,
      expression: expr
        .replaceAll('$__rate_interval', '2m')
        .replaceAll('$job', 'trading-fun-api')
        .replaceAll('$instance', '.+')
    }))
  )
}

async function rules(): Promise<{ alert?: string; record?: string; expr: string }[]> {
  const files = await Promise.all(
    ['alert_rules.yml', 'recording_rules.yml'].map(async (file) => text(`monitoring/${file}`))
  )
  return files.flatMap((file) => parse(file).groups.flatMap(({ rules: list }: { rules: object[] }) => list))
}

/** Everything that a Prometheus can be asked, once it has scraped the whole traffic. */
async function checkAnswers(t: Test, prometheus: string, tally: Tally): Promise<void> {
  const total = [...tally.replies.values()].reduce((sum, count) => sum + count, 0)
  await until(prometheus, 'sum(http_requests_total{endpoint!~"/health.*"})', total)
  const value = async (expression: string): Promise<number | undefined> =>
    (await query(prometheus, expression))[0]?.value

  await t.test('all targets are up, and nothing is alarmed', async (t) => {
    const up = await query(prometheus, 'up')
    t.same(Object.fromEntries(up.map(({ labels, value: answers }) => [labels['job'], answers])), {
      alertmanager: 1,
      prometheus: 1,
      'trading-fun-api': 1
    })
    t.same(await query(prometheus, 'ALERTS{alertstate="firing"}'), [])
  })

  await t.test('the counts are those of the client, exactly', async (t) => {
    const counted = await query(prometheus, 'http_requests_total{endpoint!~"/health.*"} > 0')
    const name = ({ labels }: Sample): string => `${labels['method']} ${labels['endpoint']} ${labels['status']}`
    t.same(Object.fromEntries(counted.map((sample) => [name(sample), sample.value])), Object.fromEntries(tally.replies))
    t.equal(await value('sum(http_request_duration_seconds_count{endpoint!~"/health.*"})'), total)
    t.equal(await value('sum(http_request_duration_seconds_bucket{endpoint!~"/health.*", le="10.0"})'), total)
    t.equal(await value('sum(model_predictions_total)'), tally.predictions)
    t.equal(await value('model_prediction_probability_bucket{le="1.0"}'), tally.predictions)
    t.equal(await value('sum(model_batch_size_sum)'), tally.predictions)
    t.equal(await value('cache_hits_total{cache_type="ranking"}'), tally.cacheHits)
    t.equal(await value('cache_misses_total{cache_type="ranking"}'), tally.rankingsMade)
    t.equal(await value('ranking_tickers_processed_sum'), tally.ranked)
    t.equal(await value('sum(ranking_generation_duration_seconds_count)'), tally.rankingsMade)
    t.equal(await value('rate_limit_exceeded_total{endpoint="/models"}'), tally.replies.get('GET /models 429'))
    t.equal(await value('http_client_errors_total{code="HPE_INVALID_METHOD"}'), 1)
    t.equal(await value('data_fetch_errors_total{source="simulated", error_type="not_found"}'), 2)
    t.equal(await value('crypto_fetch_duration_seconds_count'), tally.coinFetches)
    t.equal(await value('crypto_items_fetched_count'), tally.coinFetches)
    t.equal(await value('crypto_items_fetched_sum'), tally.coinsFetched)
    t.equal(await value('cache_misses_total{cache_type="coins"}'), tally.coinMisses)
    t.equal(await value('cache_hits_total{cache_type="coins"}'), tally.coinHits)
    t.equal(await value('cache_misses_total{cache_type="coin_details"}'), 2)
    const { made, cached, failed, tokens } = tally.analyses
    t.equal(await value('ai_analysis_requests_total{cached="no"}'), made)
    t.equal(await value('ai_analysis_requests_total{cached="yes"}'), cached)
    t.equal(await value('ai_analysis_duration_seconds_count'), made)
    t.equal(await value('ai_analysis_tokens_used_sum'), tokens)
    t.equal(await value('ai_analysis_tokens_used_count'), made + failed)
    t.equal(await value('data_fetch_duration_seconds_count{source="openai"}'), made + failed)
    t.equal(await value('data_fetch_errors_total{source="openai", error_type="schema"}'), failed)
    t.equal(await value('openai_configured'), 1)
  })

  await t.test('every panel has data', async (t) => {
    for (const { title, expression } of panelQueries()) {
      const samples = await query(prometheus, expression)
      // A list of alerts is empty while all is well.
      if (metricsIn(expression)[0]?.name === 'ALERTS') t.same(samples, [], title)
      else t.ok(hasData(samples), `${title}: ${expression}`)
      t.notOk(
        samples.some(({ value: number }) => Number.isNaN(number)),
        `${title} shows no NaN`
      )
    }
  })

  await t.test('every query of the documents has data', LIMIT, async (t) => {
    const documented = queriesIn(await text('docs/monitoring.md'))
    t.ok(documented.length > 20)
    for (const expression of documented) {
      // A rule's answer comes with its next evaluation.
      await until(prometheus, expression)
      t.ok(hasData(await query(prometheus, expression)), expression)
    }
    // What the runbook asks is often whether there is something: nothing is an answer, an error is not.
    const runbook = queriesIn(await text('monitoring/runbook.md'))
    t.ok(runbook.length > 20)
    for (const expression of runbook) t.ok(await query(prometheus, expression), expression)
  })

  await t.test('what every alert looks at is there', LIMIT, async (t) => {
    for (const { alert, record, expr } of await rules()) {
      const looksAt = record === undefined ? leftHandSides(expr) : [record]
      for (const expression of looksAt) {
        // Of notifications there are some counters only when one is sent.
        if (expression.startsWith('sum by (job, integration)')) continue
        await until(prometheus, expression)
        t.ok(hasData(await query(prometheus, expression)), `${alert ?? record}: ${expression}`)
      }
    }
  })

  await t.test('every metric that anything names exists', async (t) => {
    const everything = [
      ...panelQueries().map(({ expression }) => expression),
      ...(await rules()).map(({ expr }) => expr),
      ...queriesIn(await text('docs/monitoring.md')),
      ...queriesIn(await text('monitoring/runbook.md'))
    ]
    const names = new Set(everything.flatMap((expression) => metricsIn(expression).map(({ name }) => name)))
    // Prometheus makes it when an alert is pending.
    names.delete('ALERTS')
    for (const name of names) t.ok((await query(prometheus, `count({__name__="${name}"})`)).length > 0, name)
  })

  await t.test('no rule fails, and every alert is inactive', async (t) => {
    for (const { group, name, health, state } of await evaluated(prometheus)) {
      t.equal(health, 'ok', `${group}: ${name}`)
      t.not(state, 'firing', name)
    }
  })
}

t.test('the whole stack tells the truth', { skip: missing.length > 0 && 'no Prometheus', ...LIMIT }, async (t) => {
  const [api = 0, alertmanager = 0, first = 0, second = 0] = await freePorts(4)
  const { origin } = await startStub(t, languageModel)
  // What is cached stays fresh, so that how much is made is known.
  const env = {
    LOG_LEVEL: 'error',
    RANKING_TTL_SECONDS: '3600',
    COINS_TTL_SECONDS: '3600',
    ANALYSIS_TTL_SECONDS: '3600',
    RATE_LIMIT_RPM: String(RATE_LIMIT_RPM),
    OPENAI_BASE_URL: `${origin}/v1`
  }
  const stack = await startStack({ ports: { api, alertmanager, prometheus: first }, env })
  t.teardown(async () => stack.close())
  const bases = [{ name: 'Prometheus 2', base: stack.prometheus }]
  if (!skip3) {
    const folder = t.testdir()
    const three = await runPrometheus(PROMETHEUS_3, { api, alertmanager, prometheus: second }, folder)
    t.teardown(async () => three.stop())
    bases.push({ name: 'Prometheus 3', base: `http://127.0.0.1:${second}` })
  }
  // Rates see what comes after a first scrape.
  await Promise.all(bases.map(async ({ base }) => until(base, 'count(http_requests_total) > 0')))
  const tally = await drive(stack.api)
  await sendGarbage(api)

  for (const { name, base } of bases) await t.test(name, LIMIT, async (t) => checkAnswers(t, base, tally))

  await t.test('promtool has nothing to say about the exposition', async (t) => {
    const exposition = await (await fetch(`${stack.api}/prometheus`)).text()
    const child = execFile('promtool', ['check', 'metrics'])
    let said = ''
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk: string) => (said += chunk))
    child.stdin!.end(exposition)
    const [code] = await once(child, 'close')
    t.equal(said, '')
    t.equal(code, 0)
  })

  await t.test('every metric of the service has been written, and is on a panel or in the documents', async (t) => {
    const { metrics } = (await (await fetch(`${stack.api}/metrics`)).json()) as {
      metrics: { name: string; series: { value?: number; count?: number }[] }[]
    }
    const shown = new Set(panelQueries().flatMap(({ expression }) => metricsIn(expression).map(({ name }) => name)))
    const described = await text('docs/metrics.md')
    for (const { name, series } of metrics.filter((metric) => metric.name in catalogue)) {
      const moved = series.some(({ value = 0, count = 0 }) => value !== 0 || count !== 0)
      const expected = !QUIET.includes(name)
      t.equal(moved, expected, `${name} is ${expected ? '' : 'not '}written`)
      const onPanel = ['', '_bucket', '_sum', '_count'].some((suffix) => shown.has(name + suffix))
      t.ok(onPanel || described.includes(`## \`${name}\``), `${name} is shown or described`)
    }
  })
})
