import { type Static, Type } from '@sinclair/typebox'

const Finite = Type.Number()

const FeatureSchema = Type.Object({
  name: Type.String({ minLength: 1 }),
  description: Type.String(),
  unit: Type.String(),
  quantiles: Type.Object(
    { p0_5: Finite, p50: Finite, p99_5: Finite },
    {
      additionalProperties: Finite,
      description: 'Of the training rows: p0_5 is the value below which .5 % of them lie.'
    }
  )
})

const LinearSchema = Type.Object(
  {
    means: Type.Array(Finite),
    scales: Type.Array(Type.Number({ exclusiveMinimum: 0 })),
    clip: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
    weights: Type.Array(Finite),
    intercept: Finite,
    calibration: Type.Object({ a: Finite, b: Finite })
  },
  {
    description:
      'What a linear model is made of: log-odds = a · (intercept + Σ weights · clip((x - means) / scales, ±clip)) + b.'
  }
)

const BinsSchema = Type.Object({
  edges: Type.Array(Finite, { minItems: 1, maxItems: 99 }),
  shares: Type.Array(Type.Number({ minimum: 0, maximum: 1 })),
  psi_limits: Type.Object({ date: Type.Number({ minimum: 0 }), month: Type.Number({ minimum: 0 }) })
})

const DriftSchema = Type.Object(
  { features: Type.Array(BinsSchema), score: BinsSchema },
  {
    description:
      'What the training rows looked like: bins (up to and with each edge) of each feature and of the probability, the share of rows in each, and the PSI that 5 % of the training dates, and of its months, exceed.'
  }
)

const TaskSchema = Type.Union([Type.Literal('classification'), Type.Literal('regression')], {
  description: 'classification, the default: the model answers a probability. regression: it answers a score.'
})

const InputsSchema = Type.Array(
  Type.Object(
    {
      name: Type.String({ minLength: 1 }),
      datatype: Type.Optional(Type.Union([Type.Literal('FP32'), Type.Literal('FP64')])),
      features: Type.Optional(Type.Array(Type.String(), { minItems: 1 }))
    },
    { additionalProperties: false }
  ),
  { minItems: 1, maxItems: 4096, description: 'The tensors that the features go into, each into one.' }
)

const OutputSchema = Type.Object(
  { name: Type.String({ minLength: 1 }), column: Type.Optional(Type.Integer({ minimum: 0 })) },
  { additionalProperties: false }
)
const OutputsSchema = Type.Object(
  {
    probability: Type.Optional(OutputSchema),
    margin: Type.Optional(OutputSchema),
    score: Type.Optional(OutputSchema)
  },
  { additionalProperties: false, description: 'The tensors that the answers are in.' }
)

/** Parameters of a linear model, as float32. */
export type Linear = Static<typeof LinearSchema>
/** The distribution of one quantity among the training rows, and how far a date or a month of them strays from it. */
export type Bins = Static<typeof BinsSchema>

/**
 * manifest.json: the contract of one model version. An ONNX session exposes names and shapes only; what the columns mean,
 * where the weights come from and what they are worth stands here, tied to the file by its checksum.
 */
export const ManifestSchema = Type.Object({
  name: Type.String({ pattern: '^[a-z][a-z0-9_-]{0,63}$' }),
  version: Type.String({ pattern: '^[1-9][0-9]{0,8}$' }),
  format: Type.Literal('onnx'),
  model_type: Type.String({ description: 'The kind of model, such as logistic_regression.' }),
  features: Type.Array(FeatureSchema, {
    minItems: 1,
    maxItems: 4096,
    description: 'The columns of the input, in order.'
  }),
  label: Type.String({ description: 'What the probability is a probability of, or what the score is.' }),
  trained_at: Type.String({ description: 'A date and time.' }),
  sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  self_test: Type.Array(
    Type.Object({
      features: Type.Record(Type.String(), Finite),
      probability: Type.Optional(Finite),
      score: Type.Optional(Finite)
    }),
    { minItems: 1 }
  ),
  horizon_days: Type.Optional(Type.Integer({ minimum: 1, description: 'Trading days ahead, if it is a forecast.' })),
  window: Type.Optional(
    Type.Object({ from: Type.String(), to: Type.String() }, { description: 'The time that it learned from.' })
  ),
  source: Type.Optional(
    Type.Union([Type.Literal('simulated'), Type.Literal('historical')], { description: 'Of what it learned from.' })
  ),
  universe: Type.Optional(Type.Unknown({ description: 'What it was trained on.' })),
  calibration: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { description: 'Of its probabilities.' })),
  metrics: Type.Optional(
    Type.Record(Type.String(), Type.Unknown(), { description: 'What it is worth, by data that it did not learn from.' })
  ),
  linear: Type.Optional(LinearSchema),
  drift: Type.Optional(DriftSchema),
  task: Type.Optional(TaskSchema),
  inputs: Type.Optional(InputsSchema),
  outputs: Type.Optional(OutputsSchema)
})

export type Manifest = Static<typeof ManifestSchema>

function binsFault({ edges, shares }: Bins): string | undefined {
  if (shares.length !== edges.length + 1) return `${edges.length} edges make ${edges.length + 1} shares`
  return edges.every((edge, i) => i === 0 || edge > edges[i - 1]!) ? undefined : 'edges must ascend'
}

/** What a manifest that keeps to the schema contradicts itself in: lists that do not fit each other. undefined: nothing. */
export function contradiction({ features, linear, drift, trained_at, window }: Manifest): string | undefined {
  const dates = [trained_at, ...(window ? [window.from, window.to] : [])]
  const date = dates.find((text) => Number.isNaN(Date.parse(text)))
  if (date !== undefined) return `trained_at and window: ${JSON.stringify(date)} is no date`
  if (new Set(features.map(({ name }) => name)).size !== features.length) return 'two features have one name'
  for (const list of ['means', 'scales', 'weights'] as const) {
    if (linear && linear[list].length !== features.length) return `linear/${list}: needs one value a feature`
  }
  if (drift === undefined) return undefined
  if (drift.features.length !== features.length) return 'drift/features: needs one a feature'
  for (const [j, bins] of [...drift.features, drift.score].entries()) {
    const fault = binsFault(bins)
    if (fault !== undefined) return `drift/${features[j] ? `features/${j}` : 'score'}: ${fault}`
  }
  return undefined
}
