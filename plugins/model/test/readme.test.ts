import { readFileSync } from 'node:fs'
import t from 'tap'
import * as errors from '../errors.ts'
import { ManifestSchema, ModelOptionsSchema } from '../index.ts'

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8').split('\n')

/** The first row of a table that begins with this code, alone or in a list. */
function row(code: string): string {
  return readme.find((line) => line.startsWith('| `') && line.split(' | ')[0]!.includes(`\`${code}\``)) ?? ''
}

t.test('the README lists every option with its default and description', async (t) => {
  for (const [name, option] of Object.entries(ModelOptionsSchema.properties)) {
    const fallback = name === 'repository' ? 'required' : 'none'
    const value = (JSON.stringify(option.default) ?? fallback).replaceAll('"', '')
    t.ok(row(name).includes(`| ${value} |`), `${name}: ${value}`)
    t.ok(row(name).includes(String(option.description)), `${name}: ${option.description}`)
    const { minLength = 1 } = option as { minLength?: number }
    if (minLength > 1) t.ok(row(name).endsWith(` ${minLength} characters or more |`), `${name}: ${minLength}`)
  }
})

t.test('the README lists every field of the manifest, with its description if it has one', async (t) => {
  const fields = Object.keys(ManifestSchema.properties)
  t.same(fields.slice(0, fields.indexOf('horizon_days')), ManifestSchema.required, 'those above are required')
  for (const [name, { description }] of Object.entries(ManifestSchema.properties)) {
    t.not(row(name), '', name)
    const text = (description ?? '').replace(/\.$/, '')
    t.ok(row(name).replaceAll('`', '').includes(text), `${name}: ${text}`)
  }
})

t.test('the README lists every error with its status', async (t) => {
  for (const [name, TfError] of Object.entries(errors)) {
    const { statusCode } = Reflect.construct(TfError, []) as { statusCode: number }
    t.match(row(name), `| \`${name}\` | ${statusCode} | `)
  }
})
