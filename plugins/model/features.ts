/** Feature vectors against their manifest: by name, complete, finite. */
import { type TObject, Type } from '@sinclair/typebox'
import { TF_ERR_MODEL_INPUT } from './errors.ts'
import type { Manifest } from './manifest.ts'

/**
 * JSON schema of `{name: value}` for one vector: every feature required, a finite number, nothing else. `finite` is a
 * keyword that the validator must know (JSON has no Infinity, but `1e999` parses to it).
 */
export function featuresSchema({ features }: Manifest): TObject {
  const properties = features.map(({ name, description, unit, quantiles }) => {
    const range = { 'x-quantiles': quantiles, 'x-unit': unit }
    return [name, Type.Number({ description, finite: true, ...range })] as const
  })
  return Type.Object(Object.fromEntries(properties), { additionalProperties: false })
}

/** V8 keeps arrays of up to 64 bytes on its heap; a larger one of its own costs ten times what a part of a shared one does. */
const SHARED_ROWS = 256
let shared = new Float32Array(0)
let taken = 0

function emptyRow(width: number): Float32Array {
  if (taken + width > shared.length) {
    shared = new Float32Array(SHARED_ROWS * width)
    taken = 0
  }
  const row = new Float32Array(shared.buffer, taken * shared.BYTES_PER_ELEMENT, width)
  taken += width
  return row
}

/**
 * A named vector as the model's input row; its buffer is shared with other rows.
 * @throws TF_ERR_MODEL_INPUT naming the first feature that is missing, unknown, or no finite float32.
 */
export function toVector({ features }: Manifest, record: Readonly<Record<string, number>>): Float32Array {
  const vector = emptyRow(features.length)
  for (let i = 0; i < features.length; i++) {
    const { name } = features[i]!
    const value = record[name]
    if (typeof value !== 'number') {
      const fault = Object.hasOwn(record, name) ? 'must be a finite number (float32)' : 'is missing'
      throw new TF_ERR_MODEL_INPUT(`features/${name} ${fault}`)
    }
    vector[i] = value
  }
  const names = Object.keys(record)
  if (names.length !== features.length) {
    const missing = features.find(({ name }) => !names.includes(name))
    if (missing !== undefined) throw new TF_ERR_MODEL_INPUT(`features/${missing.name} is missing`)
    const unknown = names.find((name) => !features.some((feature) => feature.name === name))
    throw new TF_ERR_MODEL_INPUT(`features/${unknown} is not a feature of this model`)
  }
  checkVectors(features, vector)
  return vector
}

/** @throws TF_ERR_MODEL_INPUT if the rows are not whole, or name and row of the first value that is not finite in float32. */
export function checkVectors(features: Manifest['features'], vectors: Float32Array): void {
  const width = features.length
  if (vectors.length === 0 || vectors.length % width !== 0) {
    throw new TF_ERR_MODEL_INPUT(`${vectors.length} values are no whole rows of ${width} features`)
  }
  const at = firstNotFinite(vectors)
  if (at === -1) return
  const row = vectors.length === width ? '' : ` of row ${Math.floor(at / width)}`
  throw new TF_ERR_MODEL_INPUT(`features/${features[at % width]!.name}${row} must be a finite number (float32)`)
}

function firstNotFinite(values: Float32Array): number {
  const { length } = values
  for (let i = 0; i < length; i++) if (!Number.isFinite(values[i]!)) return i
  return -1
}

/** Names of the features of a row outside their p0_5 to p99_5 in the training rows: the model extrapolates there. */
export function outOfRange({ features }: Manifest, vector: Float32Array): string[] {
  const names: string[] = []
  for (let i = 0; i < features.length; i++) {
    const { name, quantiles } = features[i]!
    if (vector[i]! < quantiles.p0_5 || vector[i]! > quantiles.p99_5) names.push(name)
  }
  return names
}
