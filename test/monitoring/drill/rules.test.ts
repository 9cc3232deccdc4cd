import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { shorten, shortenAlertmanager, shortenPrometheus, shortenRules } from '../../../monitoring/drill/rules.ts'
import { findProgram } from '../../../monitoring/stack.ts'

const folder = join(import.meta.dirname, '../../../monitoring')
const text = (file: string): string => readFileSync(join(folder, file), 'utf8')
const RULES = ['recording_rules.yml', 'alert_rules.yml']

interface Rule {
  expr: string
  for?: string
}
const rulesOf = (yaml: string): Rule[] => parse(yaml).groups.flatMap(({ rules }: { rules: Rule[] }) => rules)

t.test('durations', async (t) => {
  for (const [long, short] of Object.entries({
    '5m': '10s',
    '10m': '20s',
    '1h': '120s',
    '3d': '8640s',
    '1w': '20160s',
    '1y': '1051200s',
    '1h30m': '180s',
    '45s': '1500ms',
    '45s10ms': '1500ms',
    '10s': '1s',
    '0s': '1s'
  })) {
    t.equal(shorten(long, 30), short, long)
  }
})

t.test('windows, `for` and intervals of a rule are shorter, and nothing else is changed', async (t) => {
  const rules = {
    groups: [
      {
        name: 'a',
        interval: '30s',
        rules: [
          {
            alert: 'A',
            expr: 'rate(x:rate5m{a=~"[0-9]"}[5m]) > 0.05 and increase(y[1h]) >= 20',
            for: '5m',
            labels: { window: '5m' }
          },
          { record: 'x:rate5m', expr: 'x * 24 * 3600' }
        ]
      }
    ]
  }
  t.same(parse(shortenRules(JSON.stringify(rules), 30)), {
    groups: [
      {
        name: 'a',
        interval: '1s',
        rules: [
          {
            alert: 'A',
            expr: 'rate(x:rate5m{a=~"[0-9]"}[10s]) > 0.05 and increase(y[120s]) >= 20',
            for: '10s',
            labels: { window: '5m' }
          },
          { record: 'x:rate5m', expr: 'x * 24 * 3600' }
        ]
      }
    ]
  })
})

t.test("the repository's rules: every window is shorter, and promtool accepts them", async (t) => {
  const written = RULES.map((file) => {
    const original = text(file)
    const short = shortenRules(original, 30)
    const [before, after] = [rulesOf(original), rulesOf(short)]
    t.equal(after.length, before.length)
    for (const [i, { expr }] of before.entries()) {
      t.notMatch(expr, /\boffset\b|\[[^\]"]*:/, 'what shortenRules does not know')
      const windows = (from: string): string[] => [...from.matchAll(/\[(\w+)\]/g)].map(([, window]) => window!)
      t.same(
        windows(after[i]!.expr),
        windows(expr).map((window) => shorten(window, 30))
      )
      t.equal(after[i]!.expr.replaceAll(/\[\w+\]/g, ''), expr.replaceAll(/\[\w+\]/g, ''))
    }
    const path = join(t.testdirName, file)
    t.testdir()
    return { path, short }
  })
  if (findProgram('promtool') === undefined) {
    process.stderr.write('SKIPPED, promtool does not check the rules of the drill: see CONTRIBUTING.md\n')
    return
  }
  for (const { path, short } of written) writeFileSync(path, short)
  const said = execFileSync('promtool', ['check', 'rules', ...written.map(({ path }) => path)], { encoding: 'utf8' })
  t.equal(said.match(/SUCCESS/g)?.length, 2)
})

t.test('Prometheus scrapes every second, and reads the rules in the folder', async (t) => {
  const before = parse(text('prometheus.yml'))
  const after = parse(shortenPrometheus(text('prometheus.yml'), 30, '/of/the/drill'))
  t.same(after, {
    ...before,
    global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
    rule_files: RULES.map((file) => `/of/the/drill/${file}`)
  })
})

t.test('Alertmanager waits less, and tells the listener and nobody else', async (t) => {
  const paging = text('alertmanager.yml').replaceAll(/^ {4}# /gm, '    ')
  t.match(paging, /^ {4}slack_configs/m)
  const { route, receivers, inhibit_rules } = parse(shortenAlertmanager(paging, 30, 'http://127.0.0.1:1'))
  t.match(route, { receiver: 'default', group_wait: '1s', group_interval: '10s', repeat_interval: '1440s' })
  t.match(route.routes[0], {
    receiver: 'critical',
    group_wait: '1s',
    repeat_interval: '120s',
    group_interval: undefined
  })
  t.match(route.routes[2], { receiver: 'info', group_wait: '10s' })
  t.same(
    receivers,
    ['default', 'critical', 'warning', 'info'].map((name) => ({
      name,
      webhook_configs: [{ url: `http://127.0.0.1:1/${name}`, send_resolved: true }]
    }))
  )
  t.same(inhibit_rules, parse(text('alertmanager.yml')).inhibit_rules)
})
