/** The option `dashboard`, checked to the last field: a misspelt one would draw something else, without a word. */
import { type TSchema, type TUnion, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { DashboardOptions } from './dashboard.ts'
import { TF_ERR_METRICS_OPTIONS } from './errors.ts'
import { COLOURS, type PanelQuery, SHOWS, UNITS } from './panels.ts'

const closed = { additionalProperties: false }

/** `expected` is told when it is another one. */
function oneOf(...values: readonly string[]): TUnion {
  return Type.Union(
    values.map((value) => Type.Literal(value)),
    { expected: `Expected ${values.join(', ')}` }
  )
}

const Pattern = Type.Object({ source: Type.String(), flags: Type.String() })
const Matcher = Type.Union([Type.String(), Pattern, Type.Object({ not: Pattern }, closed)], {
  expected: 'Expected a text, a pattern or { not: pattern }'
})
const selector = { metric: Type.String(), where: Type.Optional(Type.Record(Type.String(), Matcher)) }
const grouped = { ...selector, by: Type.Optional(Type.Array(Type.String())) }
const Events = Type.Array(Type.Object({ ...selector, upTo: Type.Optional(Type.Number()) }, closed))

/** The fields of a question, by its kind. */
const FIELDS: Record<PanelQuery['kind'], Record<string, TSchema>> = {
  rate: { ...grouped, per: Type.Optional(oneOf('second', 'minute')) },
  quantile: { ...grouped, quantile: Type.Number({ minimum: 0, maximum: 1 }) },
  mean: grouped,
  ratio: {
    part: Events,
    whole: Events,
    times: Type.Optional(Type.Number()),
    window: Type.Optional(oneOf('5m', '1h'))
  },
  value: { ...grouped, over: oneOf('sum', 'min', 'max') },
  share: { ...grouped, of: Type.String(), over: oneOf('min', 'max') },
  age: grouped,
  heatmap: selector
}

const Panel = Type.Object(
  {
    title: Type.String(),
    description: Type.String(),
    unit: oneOf(...UNITS),
    show: oneOf(...SHOWS),
    // Which other fields there are depends on the kind.
    queries: Type.Array(Type.Object({ kind: oneOf(...Object.keys(FIELDS)) })),
    thresholds: Type.Optional(Type.Array(Type.Object({ from: Type.Number(), colour: oneOf(...COLOURS) }, closed))),
    states: Type.Optional(Type.Tuple([Type.String(), Type.String()])),
    idle: Type.Optional(Type.String())
  },
  closed
)
const Row = Type.Object(
  { title: Type.String(), panels: Type.Array(Panel), folded: Type.Optional(Type.Boolean()) },
  closed
)
const Dashboard = Type.Object(
  {
    url: Type.Optional(Type.String()),
    title: Type.Optional(Type.String()),
    rows: Type.Optional(Type.Array(Row)),
    notice: Type.Optional(Type.Function([], Type.Unknown())),
    links: Type.Optional(Type.Record(Type.String(), Type.String()))
  },
  closed
)

function check(schema: TSchema, value: unknown, place: string): void {
  const first = Value.Errors(schema, value).First()
  if (first === undefined) return
  const { path, message, schema: violated } = first
  throw new TF_ERR_METRICS_OPTIONS(`${place}${path.replaceAll('/', '.')}: ${violated['expected'] ?? message}`)
}

/** @throws TF_ERR_METRICS_OPTIONS with the first field that is wrong, unknown or missing */
export function checkDashboard(options: DashboardOptions): void {
  check(Dashboard, options, 'dashboard')
  for (const [r, { panels }] of (options.rows ?? []).entries()) {
    for (const [p, { queries }] of panels.entries()) {
      for (const [q, query] of queries.entries()) {
        const fields = { kind: Type.String(), legend: Type.Optional(Type.String()), ...FIELDS[query.kind] }
        check(Type.Object(fields, closed), query, `dashboard.rows.${r}.panels.${p}.queries.${q}`)
      }
    }
  }
}
