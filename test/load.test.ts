/** Under load with concurrent scrapes, every number that is exposed is the one the client counted. */
import { spawnSync } from 'node:child_process'
import { Agent, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { build } from './helper.ts'

// A hundred services are opened in it.
t.setTimeout(600_000)
const agent = new Agent({ keepAlive: true, maxSockets: 32 })

interface Answer {
  status: number
  body: string
}

async function ask(app: FastifyInstance, path: string, body?: string, accept = '*/*'): Promise<Answer> {
  const { port } = app.server.address() as AddressInfo
  const headers = { accept, ...(body !== undefined && { 'content-type': 'application/json' }) }
  return new Promise((resolve, reject) => {
    const sent = request({ port, path, agent, headers, method: body === undefined ? 'GET' : 'POST' }, (reply) => {
      text(reply).then((answer) => resolve({ status: reply.statusCode!, body: answer }), reject)
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

/** The samples of an exposition as Python's client library parses it, by name and labels; undefined where it is not installed. */
function parsedByPython(
  exposition: string,
  parser: 'parser' | 'openmetrics.parser'
): Record<string, number> | undefined {
  const script = `
import json, sys
from prometheus_client.${parser} import text_string_to_metric_families as parse
print(json.dumps([[s.name, s.labels, s.value if s.value == s.value else None] for family in parse(sys.stdin.read()) for s in family.samples]))`
  const run = spawnSync('/usr/bin/python3', ['-c', script], { input: exposition, encoding: 'utf8', maxBuffer: 1e8 })
  if (run.error !== undefined || run.stderr?.includes('No module named')) return undefined
  if (run.status !== 0) throw new Error(run.stderr)
  const samples = JSON.parse(run.stdout) as [string, Record<string, string>, number][]
  return Object.fromEntries(samples.map(([name, labels, value]) => [sampleName(name, labels), value]))
}

function sampleName(name: string, labels: Record<string, string>): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
  return `${name}{${pairs.toSorted().join()}}`
}

t.test('the exposition, OpenMetrics and JSON agree with the client after 6,000 requests and 60 scrapes', async (t) => {
  const app = await build(t)
  await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => agent.destroy())
  const { features } = JSON.parse((await ask(app, '/predict_ticker/AAPL')).body)
  const raw = JSON.stringify({ features })

  const kinds: [endpoint: string, method: string, send: () => Promise<Answer>][] = [
    ['/predict_raw', 'POST', async () => ask(app, '/predict_raw', raw)],
    ['/predict_raw', 'POST', async () => ask(app, '/predict_raw', '{"features":{}}')],
    ['/ticker_info/:ticker', 'GET', async () => ask(app, '/ticker_info/NESN.SW')],
    ['/ranking', 'GET', async () => ask(app, '/ranking?country=Japan')],
    ['unmatched', 'GET', async () => ask(app, `/random-${Math.random()}`)],
    ['/countries', 'GET', async () => ask(app, '/countries')]
  ]
  const counted: Record<string, number> = {
    [sampleName('http_requests_total', { method: 'GET', endpoint: '/predict_ticker/:ticker', status: '200' })]: 1
  }
  let predictions = 1
  async function client(): Promise<void> {
    for (let i = 0; i < 125; i++) {
      for (const [endpoint, method, send] of kinds) {
        const { status } = await send()
        const sample = sampleName('http_requests_total', { method, endpoint, status: String(status) })
        counted[sample] = (counted[sample] ?? 0) + 1
        if (endpoint === '/predict_raw' && status === 200) predictions++
      }
    }
  }
  async function scraper(accept: string): Promise<void> {
    for (let i = 0; i < 30; i++) await ask(app, '/prometheus', undefined, accept)
  }
  await Promise.all([...Array.from({ length: 8 }, client), scraper('*/*'), scraper('application/openmetrics-text')])

  const plain = (await ask(app, '/prometheus')).body
  const open = (await ask(app, '/prometheus', undefined, 'application/openmetrics-text')).body
  const json = JSON.parse((await ask(app, '/metrics?name=http_requests_total,model_predictions_total')).body)

  const views: Record<string, Record<string, number> | undefined> = {
    JSON: Object.fromEntries(
      json.metrics.flatMap(
        ({ name, series }: { name: string; series: { labels: Record<string, string>; value: number }[] }) =>
          series.map(({ labels, value }) => [sampleName(name, labels), value])
      )
    ),
    'the text format, by an independent parser': parsedByPython(plain, 'parser'),
    'OpenMetrics, by an independent parser': parsedByPython(open, 'openmetrics.parser')
  }
  t.equal(
    Object.values(counted).reduce((sum, n) => sum + n, 0),
    6001
  )
  for (const [view, samples] of Object.entries(views)) {
    await t.test(view, async (t) => {
      if (samples === undefined)
        return t.comment('SKIPPED: install python3-prometheus-client to have it read by another parser')
      const found = Object.entries(samples).filter(
        ([name, value]) => name.startsWith('http_requests_total') && value > 0
      )
      t.same(Object.fromEntries(found), counted)
      const rows = samples[sampleName('model_predictions_total', { model_type: 'outperform' })]!
      const { countries } = JSON.parse((await ask(app, '/countries')).body)
      const sizes = Object.fromEntries(countries.map(({ name, size }: { name: string; size: number }) => [name, size]))
      t.equal(rows, predictions + sizes['Japan'] + sizes['United States'])
      if (view !== 'JSON') t.equal(samples['http_requests_in_flight{}'], 0)
    })
  }
})

t.test('100 services opened and closed in one process leave nothing behind', { timeout: 580_000 }, async (t) => {
  // Without the collections of garbage, which have been of more kinds the longer the process runs.
  const series = async (app: FastifyInstance): Promise<number> => {
    const { payload } = await app.inject('/prometheus')
    return payload.split('\n').filter((line) => !line.includes('nodejs_gc_duration')).length
  }
  const first = await build(t)
  const expected = await series(first)
  await first.close()
  const handles = (): number => process.getActiveResourcesInfo().length
  const before = handles()
  for (let i = 0; i < 100; i++) {
    const app = await build(t)
    await app.inject('/countries')
    if (i % 25 === 0) t.equal(await series(app), expected, 'its own series only')
    await app.close()
  }
  t.ok(handles() < before + 10, `${handles()} active resources, ${before} before`)
})
