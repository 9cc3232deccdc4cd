import { InferenceSession, Tensor } from 'onnxruntime-node'
import { createRandom } from '../domain/random.ts'
import { score, type LinearModel } from './model.ts'

/** Answers of the runtime, one of each a row. */
export interface RuntimeScores {
  probability: Float32Array
  margin: Float32Array
}

/** Scores row-major vectors. */
export type Runtime = (vectors: Float32Array) => Promise<RuntimeScores>

/** What a verification saw. */
export interface Verification {
  rows: number
  /** Largest |runtime - trainer| of a probability, and of a margin. */
  probability: number
  margin: number
}

const ROWS = 10_000
const TOLERANCE = 1e-6
/** Single rows, odd and even sizes, a universe, the largest micro-batches. */
export const BATCH_SIZES: readonly number[] = [1, 7, 8, 50, 512, 4096]

/** Calls `use` with an onnxruntime session of these bytes, as the service opens it, and releases it. */
export async function withRuntime<T>(bytes: Uint8Array, width: number, use: (run: Runtime) => Promise<T>): Promise<T> {
  const session = await InferenceSession.create(bytes, { intraOpNumThreads: 1, interOpNumThreads: 1 })
  try {
    return await use(async (vectors) => {
      const features = new Tensor('float32', vectors, [vectors.length / width, width])
      const { probability, margin } = await session.run({ features })
      return { probability: probability!.data as Float32Array, margin: margin!.data as Float32Array }
    })
  } finally {
    await session.release()
  }
}

/**
 * Proves that the runtime computes what was trained: 10,000 random rows around the training data, far enough out for the
 * clip to work, against the trainer's own float64; and that a row's bits do not depend on its batch.
 *
 * @throws Error if a probability differs by more than 1e-6, or a bit by batch.
 */
export async function verify(run: Runtime, model: LinearModel): Promise<Verification> {
  const vectors = randomVectors(model)
  const whole = await run(vectors)
  const width = model.weights.length
  const worst = { rows: ROWS, probability: 0, margin: 0 }
  for (let row = 0; row < ROWS; row++) {
    const own = score(model, vectors.subarray(row * width, (row + 1) * width))
    worst.probability = Math.max(worst.probability, Math.abs(whole.probability[row]! - own.probability))
    worst.margin = Math.max(worst.margin, Math.abs(whole.margin[row]! - own.margin))
  }
  if (!(worst.probability <= TOLERANCE)) {
    throw new Error(`onnxruntime and the trainer differ by ${worst.probability.toExponential(1)} in a probability`)
  }
  for (const size of BATCH_SIZES) await checkBatches(run, vectors, width, size, whole)
  return worst
}

async function checkBatches(
  run: Runtime,
  vectors: Float32Array,
  width: number,
  size: number,
  whole: RuntimeScores
): Promise<void> {
  for (let from = 0; from < ROWS; from += size) {
    const part = await run(vectors.slice(from * width, (from + size) * width))
    for (const [i, value] of part.margin.entries()) {
      if (!Object.is(value, whole.margin[from + i]) || !Object.is(part.probability[i], whole.probability[from + i])) {
        throw new Error(`row ${from + i} scores other bits in a batch of ${size} than in one of ${ROWS}`)
      }
    }
  }
}

function randomVectors({ mean, scale }: LinearModel): Float32Array<ArrayBuffer> {
  const random = createRandom('verification')
  const width = mean.length
  return new Float32Array(ROWS * width).map((_, i) => mean[i % width]! + 2 * random.normal() * scale[i % width]!)
}
