/**
 * `npm run docs`: rewrites what the documents quote from the code. In README.md the reply below each `curl` is the one that
 * the service really gives, the table of settings is made from the schema, that of rate limits from the registered routes;
 * .env.example is the schema too; docs/metrics.md is the catalogue, and the JSON in monitoring/grafana is
 * monitoring/dashboard.ts. A test fails when the files differ from what this would write.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { buildApp } from '../app.ts'
import { ConfigSchema, loadConfig } from '../config.ts'
import { catalogue } from '../monitoring/catalogue.ts'
import { dashboardJson } from '../monitoring/dashboard.ts'
import type { MetricSpec } from '../plugins/metrics/index.ts'

const root = join(import.meta.dirname, '..')

/** The day on which the examples were made: the simulated market of the day is a fixed one. */
const NOW = new Date('2026-11-22T12:00:00Z')

interface Setting {
  description: string
  default?: unknown
  type?: string
  enum?: string[]
  minimum?: number
  maximum?: number
  minLength?: number
}

const settings = Object.entries(ConfigSchema.properties as Record<string, Setting>)

/** A default as the environment would give it. */
function shown(value: unknown = ''): string {
  return Array.isArray(value) ? value.join(',') : `${value as string | number | boolean}`
}

function bounds({ type, enum: values, minimum, maximum, minLength = 1 }: Setting): string {
  if (values) return values.join(', ')
  if (minLength > 1) return `${minLength} characters or more`
  if (type === 'integer') return `${minimum} to ${maximum}`
  return type === 'boolean' ? 'true, false, 1, 0' : ''
}

/** The table of settings. */
export function settingsTable(): string {
  const rows = settings.map(([name, setting]) => {
    const fallback = shown(setting.default).replace(/^.+$/, '`$&`')
    return `| \`${name}\` | ${fallback} | ${bounds(setting)} | ${setting.description} |`
  })
  return ['| variable | default | values | |', '| --- | --- | --- | --- |', ...rows].join('\n')
}

/** The table of rate limits: the routes whose requests are not plain ones, as the service has registered them. */
export function limitsTable(app: FastifyInstance): string {
  const plain = loadConfig({}).RATE_LIMIT_RPM
  const own = [...app.rateLimiter.limits].filter(([, { weight, atLeast }]) => weight > 1 || atLeast > 1)
  const rows = own.map(([route, { max, weight, atLeast }]) => `| \`${route}\` | ${max} | ${weight} | ${atLeast} |`)
  const heading = ['| route | requests a minute | weight | at least |', '| --- | ---: | ---: | ---: |']
  return [...heading, ...rows, `| all others | ${plain} | 1 | 1 |`].join('\n')
}

/** .env.example: every setting, commented out, with its default. */
export function envExample(): string {
  const entries = settings.map(([name, setting]) => `# ${setting.description}\n# ${name}=${shown(setting.default)}\n`)
  return ['# Settings of the service. `npm start` reads a copy of this file called .env.\n', ...entries].join('\n')
}

/** docs/metrics.md: the catalogue in words. */
export function metricsDocument(): string {
  const sections = Object.entries<MetricSpec>(catalogue).map(([name, spec]) => {
    const labels = Object.entries(spec.labels ?? {}).map(
      ([label, values]) => `- \`${label}\`: ${values.length === 0 ? 'known at boot' : values.join(', ')}`
    )
    const buckets = spec.type === 'histogram' ? [`- buckets: ${spec.buckets.join(', ')}`] : []
    return `## \`${name}\`\n\n${[`*${spec.type}.* ${spec.help}`, [...labels, ...buckets].join('\n')].filter(Boolean).join('\n\n')}\n`
  })
  return `# Metrics

Made from [monitoring/catalogue.ts](../monitoring/catalogue.ts) by \`npm run docs\`. Every combination of closed label sets exists at 0
from the first scrape on, and so does each route with the statuses 200 and 500 and each universe of the market source. HEAD and
OTHER, further statuses, and dropped series appear as they occur. Beside these there are prom-client's \`process_*\` and \`nodejs_*\` metrics.

${sections.join('\n')}`
}

/** JSON as a reader wants it: what fits on a line is on one, and so is each object of a list. */
function pretty(value: unknown, indent = '', row = false): string {
  const flat = JSON.stringify(value, null, 1).replaceAll(/\n\s*/g, ' ')
  if (typeof value !== 'object' || value === null || row || indent.length + flat.length <= 118) return flat
  const inner = `${indent}  `
  const items = Array.isArray(value)
    ? value.map((item) => pretty(item, inner, true))
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${pretty(item, inner)}`)
  const [open, close] = Array.isArray(value) ? '[]' : '{}'
  return `${open}\n${items.map((item) => inner + item).join(',\n')}\n${indent}${close}`
}

/** Runs `curl [-s] 'URL' [-H 'NAME: VALUE'] [-d 'BODY'] [| grep -E 'PATTERN']` against the service without a network. */
async function curl(app: FastifyInstance, command: string): Promise<string> {
  const url = /'?localhost:8000(\/[^\s']*)'?/.exec(command)?.[1]
  if (url === undefined) throw new Error(`no address in ${command}`)
  const payload = /-d '([^']*)'/.exec(command)?.[1]
  const header = /-H '([^:]+): ([^']*)'/.exec(command)
  const pattern = /\| grep -E '([^']*)'/.exec(command)?.[1]
  const reply = payload
    ? await app.inject({ method: 'POST', url, payload, headers: header ? { [header[1]!]: header[2] } : {} })
    : await app.inject(url)
  if (pattern !== undefined) {
    return reply.payload
      .split('\n')
      .filter((line) => new RegExp(pattern).test(line))
      .join('\n')
  }
  const body = reply.json()
  // The one thing in a reply that is never the same twice.
  if ('request_id' in body) body.request_id = '5f1c9c3e-8f63-4b5e-9a53-0c6d5a2a7f10'
  return pretty(body)
}

const EXAMPLE = /```sh\n(curl [^\n]+(?:\n[^`\n]+)*)\n```\n\n```(json|text)\n[^`]*```/g
const SETTINGS = /(?<=<!-- settings -->\n)[^]*?(?=<!-- \/settings -->)/
const LIMITS = /(?<=<!-- limits -->\n)[^]*?(?=<!-- \/limits -->)/

/** README.md with the replies and the tables of today's code. Replies are asked for in the order in which they stand. */
export async function renderReadme(readme: string): Promise<string> {
  // With the routes that are there only if a token is.
  const config = loadConfig({ LOG_LEVEL: 'silent', MODEL_CONTROL_TOKEN: 'of-no-use-to-anybody' })
  const app = await buildApp(config, { now: () => NOW })
  try {
    let rendered = ''
    let from = 0
    for (const match of readme.matchAll(EXAMPLE)) {
      const [whole, command = '', language] = match
      const reply = await curl(app, command)
      rendered += `${readme.slice(from, match.index)}\`\`\`sh\n${command}\n\`\`\`\n\n\`\`\`${language}\n${reply}\n\`\`\``
      from = match.index + whole.length
    }
    return (rendered + readme.slice(from))
      .replace(SETTINGS, () => `${settingsTable()}\n`)
      .replace(LIMITS, () => `${limitsTable(app)}\n`)
  } finally {
    await app.close()
  }
}

/* c8 ignore start: the command itself; tests compare what it would write */
if (import.meta.main) {
  const file = join(root, 'README.md')
  await writeFile(file, await renderReadme(await readFile(file, 'utf8')))
  await writeFile(join(root, '.env.example'), envExample())
  await writeFile(join(root, 'docs/metrics.md'), metricsDocument())
  await writeFile(join(root, 'monitoring/grafana/dashboards/trading-fun-api.json'), dashboardJson())
}
/* c8 ignore stop */
