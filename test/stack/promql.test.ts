/** /dashboard answers as a Prometheus would: the same readings and the same questions are put to both. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { details, overview } from '../../monitoring/panels.ts'
import { type Query, promql, runtime } from '../../monitoring/query.ts'
import { findProgram } from '../../monitoring/stack.ts'
import { metricsOfQuery } from '../../plugins/metrics/panels.ts'
import { type SeriesData, TICK, createRing } from '../../plugins/metrics/ring.ts'
import { build } from '../helper.ts'

const skip = findProgram('promtool') === undefined
if (skip)
  process.stderr.write('SKIPPED, /dashboard is not compared with PromQL: promtool missing, see CONTRIBUTING.md\n')

const rows = [overview, ...details]
const queries = rows.flatMap((row) => row.panels.flatMap((panel) => panel.queries))
/** Readings within a minute, both ends included: a rate over it has nothing to extrapolate. */
const READINGS = 13
/** The ring keeps five digits: what it answers is at most half of the fifth digit off. */
const ROUNDING = 5.1e-5

async function use(app: FastifyInstance, turn: number): Promise<void> {
  const { features } = (await app.inject('/predict_ticker/AAPL')).json()
  for (let i = 0; i <= turn % 4; i++) await app.inject({ method: 'POST', url: '/predict_raw', payload: { features } })
  await app.inject(`/ranking?country=${['Switzerland', 'Germany', 'Japan'][turn % 3]}`)
  for (const url of ['/ticker_info/AAPL', '/ticker_info/NOSUCH', '/nothing']) await app.inject(url)
  for (let i = 0; i < 8; i++) await app.inject('/models')
}

/** The labels of a series, from its name, and its question's number; undefined: a legend hides them. */
function labelsOf(
  { by = [], legend, kind }: { by?: readonly string[]; legend?: string; kind: string },
  name: string,
  question: number
) {
  if (kind === 'ratio' || by.length === 0) return `{question="${question}"}`
  if (legend !== undefined || (by.length > 1 && name.split(' ').length !== by.length)) return undefined
  const values = by.length === 1 ? [name] : name.split(' ')
  return `{question="${question}", ${by.map((label, i) => `${label}=${JSON.stringify(values[i])}`).join(', ')}}`
}

/** Series of a question's answer, as promtool reads them; none where there is no answer to compare, or none that a legend does not hide. */
function answered(query: Query, id: number, answer: readonly SeriesData[]): { labels: string; value: number }[] {
  // A heat map is of single buckets, PromQL's of cumulative ones.
  if (query.kind === 'heatmap' || metricsOfQuery(query).some((name) => name in runtime)) return []
  const series = answer.map(({ name, points }) => ({ labels: labelsOf(query, name, id), value: points.at(-1) ?? null }))
  const comparable = (one: (typeof series)[number]): one is { labels: string; value: number } =>
    one.labels !== undefined && one.value !== null
  return series.every(comparable) ? series : []
}

/**
 * The series of the two answers that are not the other's: nothing, or what promtool shows. Compared within a tolerance and not
 * rounded, since two values that are as near as can be may round apart.
 */
function differences(query: Query, id: number): string {
  const theirs = `(${promql(query, { interval: '1m' })})`
  const ours = `answer{question="${id}"}`
  const on = 'ignoring (question)'
  const equal = `(abs(${theirs} - ${on} ${ours}) <= ${on} (abs(${ours}) * ${ROUNDING}))`
  return `(${theirs} unless ${on} ${equal}) or ${on} (${ours} unless ${on} ${equal})`
}

t.test('a minute of traffic: its answers are those of PromQL', { skip }, async (t) => {
  const app = await build(t, { RATE_LIMIT_RPM: '30' })
  for (let turn = 0; turn < 6; turn++) await use(app, turn)
  const clock = { now: 0 }
  const ring = await createRing(app.metrics.registry, rows, () => clock.now)
  const series = new Map<string, string[]>()
  for (let reading = 0; reading < READINGS; reading++) {
    if (reading > 0) await use(app, reading)
    clock.now = reading * TICK
    await ring.tick()
    const { payload } = await app.inject('/prometheus')
    for (const [, name = '', value = ''] of payload.matchAll(/^(\w.*) (\S+)$/gm)) {
      series.set(name, [...(series.get(name) ?? []), value])
    }
  }
  const answers = [...ring.since(0).queries].map((answer, i) => answered(queries[i]!, i, answer))
  const questions = queries.flatMap((query, i) => (answers[i]!.length > 0 ? [differences(query, i)] : []))
  const alive = answers.filter((answer) => answer.some(({ value }) => value > 0))
  t.ok(alive.length >= 10, `${questions.length} questions, ${alive.length} of them with answers above 0`)

  const folder = await mkdtemp(join(tmpdir(), 'promql-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'test.json')
  // A series that is born later counts from 0 here; there it must have been 0 before.
  const input_series = [...series]
    .filter(([, values]) => !values.includes('NaN'))
    .map(([name, values]) => ({
      series: name,
      values: [...Array(READINGS - values.length).fill('0'), ...values].join(' ')
    }))
  const ours = answers.flat().map(({ labels, value }) => ({
    series: `answer${labels}`,
    values: Array(READINGS).fill(value).join(' ')
  }))
  await writeFile(
    file,
    JSON.stringify({
      evaluation_interval: '5s',
      tests: [
        {
          interval: '5s',
          input_series: [...input_series, ...ours],
          promql_expr_test: questions.map((expr) => ({ expr, eval_time: '1m', exp_samples: [] }))
        }
      ]
    })
  )
  const said = await promisify(execFile)('promtool', ['test', 'rules', file]).then(
    ({ stdout }) => stdout,
    (error: { stdout: string; stderr: string }) => error.stdout + error.stderr
  )
  t.match(said, 'SUCCESS')
})
