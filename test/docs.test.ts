import { globSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { envExample, metricsDocument, renderReadme, settingsTable } from '../docs/generate.ts'
import { dashboardJson } from '../monitoring/dashboard.ts'
import { build } from './helper.ts'

const root = join(import.meta.dirname, '..')
const read = async (file: string): Promise<string> => readFile(join(root, file), 'utf8')
/** All that the service is made of, without tests and builds. */
const files = globSync(['*.ts', '{domain,plugins,routes,sources}/**/*.ts'], {
  cwd: root,
  exclude: ['**/{test,dist,node_modules}/**']
})
const code = (await Promise.all(files.map(read))).join('\n')

t.test("README.md quotes real replies and today's settings (else: npm run docs)", async (t) => {
  const readme = await read('README.md')
  t.ok([...readme.matchAll(/```sh\ncurl/g)].length >= 8)
  t.equal(await renderReadme(readme), readme)
  t.ok(readme.includes(settingsTable()))
})

t.test('the table of settings says how long a token must be', (t) => {
  for (const name of ['MODEL_CONTROL_TOKEN', 'METRICS_TOKEN']) {
    t.ok(settingsTable().includes(`| \`${name}\` |  | 16 characters or more |`), name)
  }
  t.notMatch(settingsTable(), '| 1 characters')
  t.end()
})

t.test('the table of rate limits says what replies say, and which routes have none', async (t) => {
  const [, table = ''] = /<!-- limits -->\n([^]*)<!-- \/limits -->/.exec(await read('README.md')) ?? []
  const rows = [...table.matchAll(/^\| `(\w+) (\S+)` \| (\d+) \| \d+ \| (\d+) \|$/gm)].map((match) => match.slice(1))
  t.equal(rows.length, table.trim().split('\n').length - 3, 'all but two lines of heading, and that of the others')
  t.ok(rows.some(([, url]) => url === '/ranking'))
  const [usual, least] = [await build(t, { RATE_LIMIT_RPM: '60' }), await build(t, { RATE_LIMIT_RPM: '1' })]
  const told = async (app: FastifyInstance, method: string, url: string): Promise<unknown> =>
    (await app.inject({ method: method as 'GET', url })).headers['ratelimit-limit']
  for (const [method = '', url = '', max, atLeast] of rows) {
    // There only with a token.
    if (url.startsWith('/v2/repository')) continue
    t.equal(await told(usual, method, url), max, url)
    t.equal(await told(least, method, url), atLeast, `${url} at the least setting`)
  }
  for (const url of ['/', '/countries', '/nowhere']) t.equal(await told(usual, 'GET', url), '60', url)
  for (const url of ['/health', '/v2/health/live', '/prometheus', '/metrics', '/docs', '/dashboard']) {
    t.equal(await told(usual, 'GET', url), undefined, url)
  }
})

t.test('an example that has gone stale is found', async (t) => {
  const stale = '```sh\ncurl localhost:8000/health/live\n```\n\n```json\n{}\n```\n'
  t.equal(await renderReadme(stale), stale.replace('{}', '{ "status": "live" }'))
  const untyped = "```sh\ncurl localhost:8000/predict_raw -d '{}'\n```\n\n```json\n{}\n```\n"
  t.match(await renderReadme(untyped), '"status": 415', 'a body is sent with the headers of the command, and no others')
  await t.rejects(renderReadme('```sh\ncurl example.com\n```\n\n```json\n{}\n```\n'), {
    message: 'no address in curl example.com'
  })
})

t.test('.env.example has every setting (else: npm run docs)', async (t) => {
  t.equal(await read('.env.example'), envExample())
})

t.test('docs/metrics.md is the catalogue (else: npm run docs)', async (t) => {
  t.equal(await read('docs/metrics.md'), metricsDocument())
})

t.test("Grafana's dashboard is that of monitoring/dashboard.ts (else: npm run docs)", async (t) => {
  t.equal(await read('monitoring/grafana/dashboards/trading-fun-api.json'), dashboardJson())
})

t.test('README.md says which model of real prices there is, and when what it learned from ended', async (t) => {
  const app = await build(t)
  const { manifest } = app.model.versions.find(({ manifest: { source } }) => source === 'historical')!
  const { version, trained_at } = manifest
  t.ok((await read('README.md')).includes(`version ${version}, learned from prices until ${trained_at.slice(0, 10)}`))
})

t.test('docs/monitoring.md has every line of the log from warnings on, by its level, and no other', async (t) => {
  t.ok(files.length > 50)
  const guide = await read('docs/monitoring.md')
  for (const level of ['fatal', 'error', 'warn']) {
    const said = [...code.matchAll(new RegExp(`log\\.${level}\\([^]*?'([a-zA-Z][^']+)'\\s*\\)`, 'g'))]
    const [, lines = ''] = new RegExp(`^\\| \\d0 \\\`${level}\\\` \\|[^|]*\\| (.*) \\|$`, 'm').exec(guide) ?? []
    const listed = [...lines.replaceAll(/\([^)]*\)/g, '').matchAll(/`([^`]+)`/g)]
    const unique = (found: RegExpMatchArray[]): string[] => [...new Set(found.map(([, line]) => line!))].toSorted()
    t.same(unique(listed), unique(said), level)
  }
})

t.test('what the runbook looks for in the log is what the service says', async (t) => {
  t.ok(files.length > 50)
  const runbook = await read('monitoring/runbook.md')
  const searches = [...runbook.matchAll(/^ +docker compose logs .*\bapi \| (grep .*)$/gm)].map(([, search]) => search!)
  const phrases = searches
    .flatMap((search) => [...search.matchAll(/'([^']+)'/g)].flatMap(([, pattern]) => pattern!.split('|')))
    .filter((phrase) => /^[\w -]+$/.test(phrase))
  t.ok(phrases.length >= 8, phrases.join(', '))
  for (const phrase of phrases) t.ok(code.includes(phrase), phrase)
})

t.test('README.md says how many alert rules there are', async (t) => {
  const rules = (await read('monitoring/alert_rules.yml')).match(/- alert:/g)!.length
  t.ok((await read('README.md')).includes(`the ${rules} alert rules`), String(rules))
})
