/** One loaded model version: opened, checked against its manifest, warmed up and self-tested before anyone may ask it. */
import { isModelError } from './coded.ts'
import {
  TF_ERR_MODEL_INFERENCE,
  TF_ERR_MODEL_OPEN,
  TF_ERR_MODEL_OUTPUT,
  TF_ERR_MODEL_SELF_TEST,
  TF_ERR_MODEL_SIGNATURE,
  TF_ERR_MODEL_WARM_UP
} from './errors.ts'
import { toVector } from './features.ts'
import { checkLinear } from './linear.ts'
import type { Manifest } from './manifest.ts'

/** A row's answers: `probability` of the manifest's label, and its log-odds, `margin`. One of each a row. */
export interface Scores {
  probability: Float32Array
  margin: Float32Array
}

/** A tensor's description: -1 is a dimension that is free. */
export interface Signature {
  name: string
  type: string
  shape: readonly number[]
}

/** Vectors, row-major: `rows` of them in `features`. */
export interface Rows {
  features: Float32Array
  rows: number
}

/** All that this plugin asks of an inference runtime. Tests hand in a fake; a worker pool would be another one. */
export interface ModelSession {
  readonly inputs: readonly Signature[]
  readonly outputs: readonly Signature[]
  /**
   * Scores the rows that it asks for: once, when it begins to compute, in a later turn of the event loop. If `next` throws there
   * is nothing to score any more, and `run` rejects with what it threw.
   */
  run(next: () => Rows): Promise<Scores>
  release(): Promise<void>
}

/** Opens a session from the bytes of a model.onnx. */
export type OpenSession = (bytes: Uint8Array) => Promise<ModelSession>

/** Runs of the warm-up, each of one row and of many: first calls allocate and plan. */
const WARM_UP_RUNS = 3
const WARM_UP_ROWS = 64
/** The self-test's values are float32 results; other processors round the last bits differently. */
const SELF_TEST_TOLERANCE = 1e-5

/** The part of onnxruntime's ValueMetadata that matters. Its own types ask for the browser's, in every service that uses ours. */
interface TensorMetadata {
  readonly name: string
  readonly type?: string
  readonly shape?: readonly (number | string)[]
}

/** A tensor as onnxruntime describes it; maps and sequences, as classifiers exported with ZipMap have, are none. */
export function signatureOf(metadata: TensorMetadata): Signature {
  if (metadata.shape === undefined || metadata.type === undefined)
    return { name: metadata.name, type: 'not a tensor', shape: [] }
  const shape = metadata.shape.map((size) => (typeof size === 'number' ? size : -1))
  return { name: metadata.name, type: metadata.type, shape }
}

/** Opens a session on onnxruntime-node, one thread a run: its pool slows single rows down and rankings are short. */
export const openOnnxSession: OpenSession = async (bytes) => {
  const onnx = await import('onnxruntime-node')
  const session = await onnx.InferenceSession.create(bytes, { intraOpNumThreads: 1, interOpNumThreads: 1 })
  const unknown = new onnx.Tensor('float32', new Float32Array(0), [0])
  return {
    inputs: session.inputMetadata.map(signatureOf),
    outputs: session.outputMetadata.map(signatureOf),
    async run(next) {
      // `session.run` computes in a setImmediate of its own, and reads what it is fed there. Ours comes just before it: so
      // late, every request of this turn is in the batch. A runtime that read earlier would fail the warm-up.
      const feeds = { features: unknown }
      let nothing: unknown
      setImmediate(() => {
        try {
          const { features, rows } = next()
          feeds.features = new onnx.Tensor('float32', features, [rows, features.length / rows])
        } catch (error) {
          // The empty tensor is refused.
          nothing = error
        }
      })
      const { probability, margin } = await session.run(feeds).catch((error: unknown) => {
        throw nothing ?? error
      })
      return { probability: probability!.data as Float32Array, margin: margin!.data as Float32Array }
    },
    release: async () => session.release()
  }
}

function checkSignature(session: ModelSession, { name, version, features }: Manifest): void {
  const expected = [
    { tensors: session.inputs, kind: 'input', name: 'features', width: features.length },
    { tensors: session.outputs, kind: 'output', name: 'probability', width: 1 },
    { tensors: session.outputs, kind: 'output', name: 'margin', width: 1 }
  ]
  for (const { tensors, kind, name: tensorName, width } of expected) {
    const tensor = tensors.find((candidate) => candidate.name === tensorName)
    const found = tensors
      .map((candidate) => `${candidate.name} ${candidate.type}[${candidate.shape.join()}]`)
      .join(', ')
    const fits =
      tensor?.type === 'float32' && tensor.shape.length === 2 && tensor.shape[0] === -1 && tensor.shape[1] === width
    if (!fits) {
      throw new TF_ERR_MODEL_SIGNATURE(
        `${name}/${version}`,
        `needs the ${kind} ${tensorName} float32[-1,${width}], has ${found || 'none'}`
      )
    }
  }
}

/** @throws TF_ERR_MODEL_OUTPUT if there is not one finite score a row, or a probability is outside 0..1. */
export function checkScores({ probability, margin }: Scores, rows: number): void {
  if (probability.length !== rows || margin.length !== rows) {
    throw new TF_ERR_MODEL_OUTPUT(`${rows} rows gave ${probability.length} probabilities and ${margin.length} margins`)
  }
  for (let i = 0; i < rows; i++) {
    // Written so that NaN fails it.
    if (!(probability[i]! >= 0 && probability[i]! <= 1) || !Number.isFinite(margin[i]!)) {
      throw new TF_ERR_MODEL_OUTPUT(`row ${i} scored ${probability[i]} with margin ${margin[i]}`)
    }
  }
}

/** Resolves to the seconds of the fastest run of WARM_UP_ROWS rows: what else the machine does only makes runs slower. */
async function warmUp(session: ModelSession, width: number): Promise<number> {
  let fastest = Infinity
  for (let run = 0; run < WARM_UP_RUNS; run++) {
    for (const rows of [1, WARM_UP_ROWS]) {
      const started = performance.now()
      await session.run(() => ({ features: new Float32Array(rows * width), rows }))
      if (rows === WARM_UP_ROWS) fastest = Math.min(fastest, performance.now() - started)
    }
  }
  return fastest / 1000
}

async function selfTest(session: ModelSession, manifest: Manifest): Promise<void> {
  for (const [i, { features, probability }] of manifest.self_test.entries()) {
    const vector = toVector(manifest, features)
    const scores = await session.run(() => ({ features: vector, rows: 1 }))
    checkScores(scores, 1)
    const scored = scores.probability[0]!
    if (Math.abs(scored - probability) > SELF_TEST_TOLERANCE) {
      throw new TF_ERR_MODEL_SELF_TEST(idOf(manifest), i, probability, scored)
    }
  }
}

function idOf({ name, version }: Manifest): string {
  return `${name}/${version}`
}

/** What a step fails with: an error of this package as it is, any other one as `wrap` makes it. */
async function step<T>(work: Promise<T>, wrap: (message: string) => Error): Promise<T> {
  return work.catch((cause: Error) => {
    throw isModelError(cause) ? cause : Object.assign(wrap(cause.message), { cause })
  })
}

/** A session that has proven that it works, and the seconds that a run of 64 rows takes it. */
export interface ProvenSession {
  session: ModelSession
  seconds: number
}

/**
 * Opens a version and proves that it works; what it opened is released if it does not.
 * @throws TF_ERR_MODEL_OPEN, TF_ERR_MODEL_SIGNATURE, TF_ERR_MODEL_WARM_UP, TF_ERR_MODEL_SELF_TEST, TF_ERR_MODEL_LINEAR,
 * TF_ERR_MODEL_OUTPUT, TF_ERR_MODEL_INPUT if a vector of the self-test does not fit
 */
export async function openProven(open: OpenSession, bytes: Uint8Array, manifest: Manifest): Promise<ProvenSession> {
  const id = idOf(manifest)
  const session = await step(open(bytes), (message) => new TF_ERR_MODEL_OPEN(id, message))
  try {
    checkSignature(session, manifest)
    const warm = warmUp(session, manifest.features.length)
    const seconds = await step(warm, (message) => new TF_ERR_MODEL_WARM_UP(id, message))
    await step(selfTest(session, manifest), (message) => new TF_ERR_MODEL_INFERENCE(message))
    await step(checkLinear(session, manifest), (message) => new TF_ERR_MODEL_INFERENCE(message))
    return { session, seconds }
  } catch (error) {
    await session.release()
    throw error
  }
}
