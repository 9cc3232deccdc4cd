/** What each feature contributes to a linear model's log-odds: exact, because such a model is a sum. */
import { TF_ERR_MODEL_LINEAR } from './errors.ts'
import type { Linear, Manifest } from './manifest.ts'
import type { ModelSession } from './session.ts'

/** The parts of one row's log-odds. */
export interface Explanation {
  /** By feature: `a · weight · z`, z being the standardised feature, cut at the clip. */
  contributions: Record<string, number>
  /** The part that no feature has to do with: `a · intercept + b`. */
  base: number
  /** Log-odds by the model's formula in double precision; the parts add up to it within 1e-9. */
  margin: number
  /** By how much a runtime that computes the same sum in float32 may differ from `margin`. */
  tolerance: number
}

/**
 * Share of the sizes of all terms, or of 1 if they are smaller, that float32 arithmetic may cost: as much as the self-test
 * allows. Rounding takes 6e-8 of a term at each step, and the order of a runtime's sum is its own.
 */
const FLOAT32_TOLERANCE = 1e-5

function standardise({ means, scales, clip = Infinity }: Linear, vector: Float32Array, j: number): number {
  // The runtime has the parameters as float32, which a manifest's short decimals stand for.
  const z = (vector[j]! - Math.fround(means[j]!)) / Math.fround(scales[j]!)
  return Math.max(-clip, Math.min(clip, z))
}

/** The parts of one row, by the manifest's `linear` block. undefined: it has none. */
export function explain({ features, linear }: Manifest, vector: Float32Array): Explanation | undefined {
  if (linear === undefined) return undefined
  const intercept = Math.fround(linear.intercept)
  const a = Math.fround(linear.calibration.a)
  const b = Math.fround(linear.calibration.b)
  const base = a * intercept + b
  const contributions: Record<string, number> = {}
  let raw = intercept
  let size = 1 + Math.abs(base)
  for (const [j, { name }] of features.entries()) {
    const term = Math.fround(linear.weights[j]!) * standardise(linear, vector, j)
    raw += term
    contributions[name] = a * term
    size += Math.abs(a * term)
  }
  return { contributions, base, margin: a * raw + b, tolerance: FLOAT32_TOLERANCE * size }
}

/**
 * Rows that tell each weight from the others: those of the self-test, and the first of them with one feature after the other
 * moved to a standard deviation above its mean.
 */
function probes({ features, self_test: tests }: Manifest, { means, scales }: Linear): Float32Array {
  const rows = tests.map((test) => features.map(({ name }) => test.features[name]!))
  const moved = features.map((_, j) => rows[0]!.with(j, means[j]! + scales[j]!))
  return Float32Array.from([...rows, ...moved].flat())
}

/**
 * Proves that the `linear` block, if there is one, speaks of this model.
 * @throws TF_ERR_MODEL_LINEAR if the graph answers another margin than the block gives.
 */
export async function checkLinear(session: ModelSession, manifest: Manifest): Promise<void> {
  if (manifest.linear === undefined) return
  const vectors = probes(manifest, manifest.linear)
  const width = manifest.features.length
  const rows = vectors.length / width
  const scores = await session.run(() => ({ features: vectors, rows }))
  for (let row = 0; row < rows; row++) {
    const { margin, tolerance } = explain(manifest, vectors.subarray(row * width, (row + 1) * width))!
    // A manifest with the block names the output.
    const answered = scores.margin![row]!
    // Written so that NaN fails it.
    if (!(Math.abs(margin - answered) <= tolerance)) {
      throw new TF_ERR_MODEL_LINEAR(`${manifest.name}/${manifest.version}`, margin, answered)
    }
  }
}
