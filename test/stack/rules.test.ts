/** What Prometheus' and Alertmanager's own tools say of their configuration, the rules and the runbook. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse } from 'yaml'

const folder = join(import.meta.dirname, '../../monitoring')
// Windows of days are many evaluations.
t.setTimeout(600_000)

interface Tool {
  command: string
  /** What a test that needs it is skipped with; false: it is there. */
  skip: string | false
}

/** A command by the first of its names that is on the PATH. */
function find(debianPackage: string, ...names: [string, ...string[]]): Tool {
  const found = names.find((name) => spawnSync(name, ['--version']).error === undefined)
  const missing = `SKIPPED, NOTHING IS PROVEN: no ${names.join(' or ')} on the PATH; apt-get install ${debianPackage}`
  return { command: found ?? names[0], skip: found === undefined && missing }
}

const promtool = find('prometheus', 'promtool')
const amtool = find('prometheus-alertmanager', 'amtool')
const alertmanager = find('prometheus-alertmanager', 'prometheus-alertmanager', 'alertmanager')

/** The exit code and what was printed, which is shown when a test fails. */
function run({ command }: Tool, ...args: string[]): { code: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: folder, encoding: 'utf8', timeout: 120_000 })
  return { code: status, output: stdout + stderr }
}

t.test(
  'promtool accepts the configuration and the rules, and finds nothing to remark',
  { skip: promtool.skip },
  async (t) => {
    t.match(run(promtool, 'check', 'config', '--lint=all', '--lint-fatal', 'prometheus.yml'), {
      code: 0,
      output: /2 rule files found/
    })
    const { code, output } = run(promtool, 'check', 'rules', 'recording_rules.yml', 'alert_rules.yml')
    t.equal(code, 0, output)
  }
)

t.test('each alert fires when it should, and does not when it should not', { skip: promtool.skip }, async (t) => {
  for (const file of readdirSync(join(folder, 'tests'))) {
    const { code, output } = run(promtool, 'test', 'rules', `tests/${file}`)
    t.equal(code, 0, output)
  }
})

t.test('the queries of the runbook are PromQL', { skip: promtool.skip }, async (t) => {
  const runbook = readFileSync(join(folder, 'runbook.md'), 'utf8')
  const queries = [...runbook.matchAll(/^ *```promql\n([^]*?)```/gm)].map(([, query]) => query!)
  t.ok(queries.length > 10)
  // As rules, since promtool reads no query alone; JSON is YAML.
  const rules = queries.map((expr, i) => ({ record: `query_${i}`, expr }))
  const file = join(t.testdir(), 'queries.yml')
  writeFileSync(file, JSON.stringify({ groups: [{ name: 'runbook', rules }] }))
  const { code, output } = run(promtool, 'check', 'rules', file)
  t.equal(code, 0, output)
})

/** The file with its commented integrations in force, but the webhook: its `url_file` is younger than Debian's Alertmanager. */
function withExamples(text: string): string {
  return text.replace(/^ {4}# webhook_configs:\n.*\n/m, '').replace(/^ {4}# /gm, '    ')
}

t.test('amtool accepts the configuration, and its examples', { skip: amtool.skip }, async (t) => {
  const { code, output } = run(amtool, 'check-config', 'alertmanager.yml')
  t.equal(code, 0, output)

  const text = readFileSync(join(folder, 'alertmanager.yml'), 'utf8')
  const examples = withExamples(text)
  const file = join(t.testdir(), 'alertmanager.yml')
  writeFileSync(file, examples)
  const checked = run(amtool, 'check-config', file)
  t.equal(checked.code, 0, checked.output)
  const integrations = parse(examples).receivers.flatMap((receiver: object) => Object.keys(receiver).slice(1))
  t.same(integrations, ['pagerduty_configs', 'slack_configs', 'email_configs'])
  t.notMatch(
    text,
    /^\s*#?\s*(- )?(api_url|routing_key|service_key|auth_password|url|password|bearer_token):/m,
    'no secret'
  )
})

t.test('an alert goes to the receiver of its severity', { skip: amtool.skip }, async (t) => {
  const routes: Record<string, string> = {
    'severity=critical': 'critical',
    'severity=warning': 'warning',
    'severity=info': 'info',
    'alertname=X': 'default'
  }
  for (const [label, receiver] of Object.entries(routes)) {
    const flags = ['--config.file=alertmanager.yml', `--verify.receivers=${receiver}`]
    const { code, output } = run(amtool, 'config', 'routes', 'test', ...flags, label)
    t.equal(code, 0, `${label}: ${output}`)
  }
})

/** A running Alertmanager with this project's configuration; its API's address. */
async function startAlertmanager(t: Test): Promise<string> {
  const child = spawn(
    alertmanager.command,
    [
      `--config.file=${join(folder, 'alertmanager.yml')}`,
      `--storage.path=${t.testdir()}`,
      '--web.listen-address=127.0.0.1:0',
      '--cluster.listen-address='
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] }
  )
  t.teardown(async () => {
    if (child.kill()) await once(child, 'exit')
  })
  let log = ''
  for await (const chunk of child.stderr.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    log += chunk
    const address = /Listening on.* address=(127\.0\.0\.1:\d+)/.exec(log)?.[1]
    if (address !== undefined) {
      child.stderr.resume()
      return `http://${address}/api/v2/alerts`
    }
  }
  throw new Error(`Alertmanager did not start:\n${log}`)
}

/** What is held back of alerts that fire together, each with its severity. */
const INHIBITED: [firing: string[], heldBack: string[]][] = [
  [['HighErrorRate warning', 'SlowResponseTime warning', 'ErrorBudgetBurn warning', 'RequestsShed warning'], []],
  [
    ['TargetDown critical', 'MetricsAbsent critical', 'HighErrorRate warning', 'LowCacheHitRate info'],
    ['HighErrorRate warning', 'LowCacheHitRate info', 'MetricsAbsent critical']
  ],
  [['TargetDown critical', 'ErrorBudgetBurn critical'], []],
  [
    ['ModelNotLoaded critical', 'HighErrorRate warning', 'ErrorBudgetBurn critical', 'StaleMarketData warning'],
    ['ErrorBudgetBurn critical', 'HighErrorRate warning']
  ],
  [
    ['ErrorBudgetBurn critical', 'ErrorBudgetBurn warning', 'HighErrorRate warning', 'SlowResponseTime warning'],
    ['ErrorBudgetBurn warning', 'HighErrorRate warning']
  ]
]

t.test('Alertmanager starts with no secret, and holds back what follows', { skip: alertmanager.skip }, async (t) => {
  const url = await startAlertmanager(t)
  // Each set is of a service of its own: nothing crosses from one to another.
  const alerts = INHIBITED.flatMap(([firing], i) =>
    firing.map((alert) => {
      const [alertname, severity] = alert.split(' ')
      return { labels: { alertname, severity, job: `service ${i}` } }
    })
  )
  const headers = { 'content-type': 'application/json' }
  const posted = await fetch(url, { method: 'POST', headers, body: JSON.stringify(alerts) })
  t.equal(posted.status, 200, await posted.text())

  type Found = { labels: { alertname: string; severity: string; job: string } }[]
  const heldBack = async (): Promise<Found> => (await fetch(`${url}?active=false`)).json() as Promise<Found>
  // The alerts reach the inhibitor in the order in which they were posted, but not before the reply.
  const expected = INHIBITED.flatMap(([, held]) => held).length
  let found = await heldBack()
  for (const end = Date.now() + 5000; found.length < expected && Date.now() < end;) found = await heldBack()
  for (const [i, [firing, held]] of INHIBITED.entries()) {
    const ours = found.filter(({ labels }) => labels.job === `service ${i}`)
    t.same(ours.map(({ labels }) => `${labels.alertname} ${labels.severity}`).toSorted(), held, firing.join(', '))
  }
})
