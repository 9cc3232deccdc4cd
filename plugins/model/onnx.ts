/** A session on onnxruntime-node: rows in, its tensors made and read as the manifest says. */
import { TF_ERR_MODEL_OUTPUT } from './errors.ts'
import type { OpenSession, Rows, Scores } from './session.ts'
import { type InputTensor, type OutputTensor, type Signature, type Tensors, fixedBatch } from './tensors.ts'

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

interface Input extends InputTensor {
  /** Its columns are the rows as they are. */
  whole: boolean
}

/** The columns of one input, of `size` rows: where there are fewer, zeros follow. */
function gather(part: Float32Array, width: number, { columns, datatype, whole }: Input, size: number): Values {
  if (whole && part.length === size * width) return part
  const values = new (datatype === 'FP64' ? Float64Array : Float32Array)(size * columns.length)
  let at = 0
  for (let row = 0; row < part.length; row += width) for (const column of columns) values[at++] = part[row + column]!
  return values
}

type Values = Float32Array | Float64Array

interface Result {
  readonly data: unknown
  readonly dims: readonly number[]
}

/** One value a row. @throws TF_ERR_MODEL_OUTPUT if the tensor is not what its session has promised */
function pick({ name, column }: OutputTensor, { data, dims }: Result, size: number): Float32Array {
  const [rows, width = 1] = dims
  if (rows !== size || (column === undefined ? width !== 1 : column >= width))
    throw new TF_ERR_MODEL_OUTPUT(`${name} is [${dims.join()}] for ${size} rows`)
  const values = data as Values
  if (width === 1) return values instanceof Float32Array ? values : Float32Array.from(values)
  return Float32Array.from({ length: size }, (_, row) => values[row * width + column!]!)
}

function read({ outputs }: Tensors, results: Readonly<Record<string, Result>>, size: number): Scores {
  const scores: Scores = {}
  for (const output of outputs) scores[output.role] = pick(output, results[output.name]!, size)
  return scores
}

/** Opens a session on onnxruntime-node, one thread a run: its pool slows single rows down and rankings are short. */
export const openOnnxSession: OpenSession = async (bytes, tensors) => {
  const onnx = await import('onnxruntime-node')
  const session = await onnx.InferenceSession.create(bytes, { intraOpNumThreads: 1, interOpNumThreads: 1 })
  const inputs = session.inputMetadata.map(signatureOf)
  const batch = fixedBatch(inputs)
  // Labels, which nobody asks for, are not made.
  const fetches = [...new Set(tensors.outputs.map(({ name }) => name))]
  const unknown = new onnx.Tensor('float32', new Float32Array(0), [0])
  const unfed = Object.fromEntries(
    tensors.inputs.map(({ name }) => [name, unknown as InstanceType<typeof onnx.Tensor>])
  )
  const width = tensors.inputs.reduce((sum, { columns }) => sum + columns.length, 0)
  const plan = tensors.inputs.map((input): Input => {
    const { datatype, columns } = input
    const whole = datatype === 'FP32' && columns.length === width && columns.every((column, i) => column === i)
    return { ...input, whole }
  })

  /** Feeds of these rows those from `from` on, as many as one run takes. */
  function feed(feeds: typeof unfed, { features, rows }: Rows, from: number): typeof unfed {
    const size = batch ?? rows
    const part = size === rows ? features : features.subarray(from * width, (from + size) * width)
    for (const input of plan) {
      const values = gather(part, width, input, size)
      const dims = [size, input.columns.length]
      feeds[input.name] =
        values instanceof Float64Array
          ? new onnx.Tensor('float64', values, dims)
          : new onnx.Tensor('float32', values, dims)
    }
    return feeds
  }

  return {
    inputs,
    outputs: session.outputMetadata.map(signatureOf),
    async run(next) {
      // `session.run` computes in a setImmediate of its own, and reads what it is fed there. Ours comes just before it: so
      // late, every request of this turn is in the batch. A runtime that read earlier would fail the warm-up.
      const feeds = { ...unfed }
      let given: Rows | undefined
      let nothing: unknown
      setImmediate(() => {
        try {
          given = next()
          feed(feeds, given, 0)
        } catch (error) {
          // The empty tensor is refused.
          nothing = error
        }
      })
      let results: Awaited<ReturnType<typeof session.run>>
      try {
        results = await session.run(feeds, fetches)
      } catch (error) {
        throw nothing ?? error
      }
      const { rows } = given!
      const first = read(tensors, results, batch ?? rows)
      if (batch === undefined || batch === rows) return first
      const scores: Scores = {}
      for (const { role } of tensors.outputs) scores[role] = new Float32Array(rows)
      let part = first
      for (let from = 0; from < rows; from += batch) {
        if (from > 0) part = read(tensors, await session.run(feed(feeds, given!, from), fetches), batch)
        for (const { role } of tensors.outputs) scores[role]!.set(part[role]!.subarray(0, rows - from), from)
      }
      return scores
    },
    release: async () => session.release()
  }
}
