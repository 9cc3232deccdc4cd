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
import { type Signature, type Tensors, signatureFault, tensorsOf } from './tensors.ts'

/** Answers, one of each a row: those that the manifest's task and outputs speak of. */
export interface Scores {
  /** Of the manifest's label. Every classification has it. */
  probability?: Float32Array
  /** The log-odds of the probability, if the model answers them. */
  margin?: Float32Array
  /** What a regression answers, and nothing else does. */
  score?: Float32Array
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

/** Opens a session from the bytes of a model.onnx; `tensors` are those that its manifest speaks of. */
export type OpenSession = (bytes: Uint8Array, tensors: Tensors) => Promise<ModelSession>

/** Runs of the warm-up, each of one row and of many: first calls allocate and plan. */
const WARM_UP_RUNS = 3
const WARM_UP_ROWS = 64
/** The self-test's values are float32 results; other processors round the last bits differently. Of scores above 1 a share. */
const SELF_TEST_TOLERANCE = 1e-5
const MAX_FLOAT32 = 3.4028234663852886e38

/** @throws TF_ERR_MODEL_OUTPUT if there is not one value a row of each answer */
export function checkLengths(scores: Scores, rows: number, outputs: Tensors['outputs']): void {
  for (const { role } of outputs) {
    const length = scores[role]?.length ?? 0
    if (length !== rows) throw new TF_ERR_MODEL_OUTPUT(`${rows} rows gave ${length} of ${role}`)
  }
}

/** Why the rows from `from` to before `to` have no scores: a value is not finite, a probability outside 0..1. undefined: they have. */
export function faultOf(scores: Scores, outputs: Tensors['outputs'], from: number, to: number): string | undefined {
  for (const { role } of outputs) {
    const values = scores[role]!
    const [least, most] = role === 'probability' ? [0, 1] : [-MAX_FLOAT32, MAX_FLOAT32]
    for (let i = from; i < to; i++) {
      // Written so that NaN fails it.
      if (!(values[i]! >= least && values[i]! <= most)) return `row ${i - from} has the ${role} ${values[i]}`
    }
  }
  return undefined
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

async function selfTest(session: ModelSession, manifest: Manifest, { outputs }: Tensors): Promise<void> {
  const role = manifest.task === 'regression' ? 'score' : 'probability'
  for (const [i, test] of manifest.self_test.entries()) {
    const vector = toVector(manifest, test.features)
    const scores = await session.run(() => ({ features: vector, rows: 1 }))
    checkLengths(scores, 1, outputs)
    const fault = faultOf(scores, outputs, 0, 1)
    if (fault !== undefined) throw new TF_ERR_MODEL_OUTPUT(fault)
    const expected = test[role]!
    const scored = scores[role]![0]!
    if (Math.abs(scored - expected) > SELF_TEST_TOLERANCE * Math.max(1, Math.abs(expected))) {
      throw new TF_ERR_MODEL_SELF_TEST(idOf(manifest), i, expected, scored)
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

/** Codes of requests; of a load they are the version's own fault. */
const FAULTS = ['OUTPUT', 'INFERENCE', 'INPUT', 'DEADLINE', 'CRASHED'].map((reason) => `TF_ERR_MODEL_${reason}`)

/** Says of which version an error of the trial speaks. */
function blame(id: string, error: unknown): unknown {
  if (!isModelError(error) || !FAULTS.includes(error.code)) return error
  return Object.assign(error, { statusCode: 422, headers: {}, message: `Model ${id}: ${error.message}` })
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
  const tensors = tensorsOf(manifest)
  let session: ModelSession | undefined
  try {
    session = await step(open(bytes, tensors), (message) => new TF_ERR_MODEL_OPEN(id, message))
    const fault = signatureFault(session, tensors)
    if (fault !== undefined) throw new TF_ERR_MODEL_SIGNATURE(id, fault)
    const warm = warmUp(session, manifest.features.length)
    const seconds = await step(warm, (message) => new TF_ERR_MODEL_WARM_UP(id, message))
    await step(selfTest(session, manifest, tensors), (message) => new TF_ERR_MODEL_INFERENCE(message))
    await step(checkLinear(session, manifest), (message) => new TF_ERR_MODEL_INFERENCE(message))
    return { session, seconds }
  } catch (error) {
    await session?.release()
    throw blame(id, error)
  }
}
