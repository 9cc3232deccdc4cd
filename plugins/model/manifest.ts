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
  label: Type.String({ description: 'What the probability is a probability of.' }),
  horizon_days: Type.Integer({ minimum: 1, description: 'Trading days ahead.' }),
  trained_at: Type.String(),
  window: Type.Object({ from: Type.String(), to: Type.String() }),
  source: Type.Union([Type.Literal('simulated'), Type.Literal('historical')]),
  universe: Type.Unknown({ description: 'What it was trained on.' }),
  calibration: Type.Record(Type.String(), Type.Unknown()),
  metrics: Type.Record(Type.String(), Type.Unknown(), { description: 'Purged walk-forward figures.' }),
  sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  self_test: Type.Array(Type.Object({ features: Type.Record(Type.String(), Finite), probability: Finite }), {
    minItems: 1
  })
})

export type Manifest = Static<typeof ManifestSchema>
