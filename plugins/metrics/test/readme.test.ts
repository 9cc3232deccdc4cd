import { readFileSync } from 'node:fs'
import t from 'tap'
import type { MetricSpec } from '../catalogue.ts'
import * as plugin from '../index.ts'
import { COLOURS, SHOWS, UNITS } from '../panels.ts'

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8').split('\n')

/** The first row of a table that begins with this code. */
function row(code: string): string {
  return readme.find((line) => line.startsWith(`| \`${code}\` |`)) ?? ''
}

t.test('the README lists every option with its default and description', async (t) => {
  for (const [name, option] of Object.entries(plugin.MetricsOptionsSchema.properties)) {
    t.ok(row(name).includes(String(option.default ?? 'none')), `${name}: ${String(option.default)}`)
    t.ok(row(name).includes(String(option.description)), `${name}: ${option.description}`)
  }
})

t.test('the README lists every metric of the plugin with its type, labels and buckets', async (t) => {
  for (const [name, spec] of Object.entries<MetricSpec>(plugin.pluginCatalogue)) {
    const labels = Object.keys(spec.labels ?? {}).map((label) => `\`${label}\``)
    const cells = [`\`${name}\``, spec.type, labels.join(', '), 'buckets' in spec ? spec.buckets.join(', ') : '']
    t.equal(row(name), `| ${cells.join(' | ')} |`.replaceAll('  ', ' '))
  }
})

t.test('the README lists every unit, way to draw and colour of a panel', async (t) => {
  for (const [field, values] of Object.entries({ unit: UNITS, show: SHOWS, thresholds: COLOURS })) {
    for (const value of values) t.ok(row(field).includes(`\`${value}\``), `${field}: ${value}`)
  }
})

t.test('the README lists every error with its status', async (t) => {
  for (const name of Object.keys(plugin).filter((key) => key.startsWith('TF_ERR_'))) {
    t.match(row(name), name.endsWith('UNAUTHORIZED') ? '| 401 | ' : '| 500 | boot: ')
  }
})
