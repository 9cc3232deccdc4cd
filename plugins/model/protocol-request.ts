/** Inference requests as they come, checked to the last element: whatever the service's own validator lets pass or changes. */
import { TF_ERR_MODEL_INPUT } from './errors.ts'
import type { Manifest } from './manifest.ts'
import { DATATYPE, INPUT, OUTPUTS, type OutputName } from './protocol-schema.ts'

/** A request that can be scored. */
export interface CheckedRequest {
  /** undefined: the client gave none. */
  id: string | undefined
  /** Row-major, rounded to float32. */
  vectors: Float32Array
  /** In the order in which they were asked for, each once. */
  outputs: readonly OutputName[]
}

type Fields = Readonly<Record<string, unknown>>

function refuse(path: string, fault: string): never {
  throw new TF_ERR_MODEL_INPUT(`${path} ${fault}`)
}

function fieldsOf(value: unknown, path: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(path, 'must be an object')
  return value as Fields
}

function listOf(value: unknown, path: string): readonly unknown[] {
  if (value === undefined) refuse(path, 'is missing')
  if (!Array.isArray(value)) refuse(path, 'must be an array')
  return value
}

/** `parameters` may be anything by name. Those that say that the data is elsewhere would leave us without it. */
function checkParameters(owner: Fields, path: string): void {
  if (owner['parameters'] === undefined) return
  const parameters = fieldsOf(owner['parameters'], `${path}parameters`)
  for (const name of ['binary_data_size', 'shared_memory_region']) {
    if (Object.hasOwn(parameters, name)) {
      refuse(`${path}parameters/${name}`, 'is of an extension that is not supported: send the tensor as JSON, in data')
    }
  }
}

/** Rows of `[N, F]`. */
function rowsOf(value: unknown, width: number, maxRows: number): number {
  const path = `inputs/0/shape`
  const shape = listOf(value, path)
  const [rows] = shape
  if (shape.length !== 2 || shape[1] !== width || !Number.isSafeInteger(rows) || (rows as number) < 1)
    refuse(path, `must be [N,${width}], N being 1 or more`)
  if ((rows as number) > maxRows) refuse(path, `has more rows than a request may have, ${maxRows}`)
  return rows as number
}

/** Flat or nested, the same numbers in the same order. */
function vectorsOf(value: unknown, rows: number, { features }: Manifest): Float32Array {
  const path = 'inputs/0/data'
  const width = features.length
  const data = listOf(value, path)
  const vectors = new Float32Array(rows * width)
  const put = (element: unknown, at: number, place: string): void => {
    vectors[at] = element as number
    if (typeof element !== 'number' || !Number.isFinite(vectors[at]))
      refuse(`${path}/${place}`, `(${features[at % width]!.name}) must be a finite number (float32)`)
  }
  if (Array.isArray(data[0])) {
    if (data.length !== rows) refuse(path, `has ${data.length} rows, the shape ${rows}`)
    for (const [i, row] of data.entries()) {
      const values = listOf(row, `${path}/${i}`)
      if (values.length !== width) refuse(`${path}/${i}`, `has ${values.length} elements, the shape ${width}`)
      for (const [j, element] of values.entries()) put(element, i * width + j, `${i}/${j}`)
    }
  } else {
    if (data.length !== vectors.length) refuse(path, `has ${data.length} elements, the shape ${vectors.length}`)
    for (const [i, element] of data.entries()) put(element, i, `${i}`)
  }
  return vectors
}

function outputsOf(value: unknown): readonly OutputName[] {
  if (value === undefined) return OUTPUTS
  const names: OutputName[] = []
  for (const [i, entry] of listOf(value, 'outputs').entries()) {
    const path = `outputs/${i}`
    const output = fieldsOf(entry, path)
    const name = OUTPUTS.find((known) => known === output['name'])
    if (name === undefined) refuse(`${path}/name`, `is no output of this model, there are ${OUTPUTS.join(', ')}`)
    // Or a small request could ask for a reply of any size.
    if (names.includes(name)) refuse(`${path}/name`, 'is asked for already')
    checkParameters(output, `${path}/`)
    names.push(name)
  }
  return names.length === 0 ? OUTPUTS : names
}

/**
 * Checks the body of a request for a model with this manifest. Nothing is coerced; fields that the protocol does not have are
 * ignored, as its other servers do.
 * @throws TF_ERR_MODEL_INPUT naming the place in the body
 */
export function checkRequest(body: unknown, manifest: Manifest, maxRows: number): CheckedRequest {
  const request = fieldsOf(body, 'the body')
  const { id } = request
  if (id !== undefined && typeof id !== 'string') refuse('id', 'must be a string')
  checkParameters(request, '')
  const inputs = listOf(request['inputs'], 'inputs')
  if (inputs.length !== 1) refuse('inputs', `must hold the one input of this model, ${INPUT}`)
  const input = fieldsOf(inputs[0], 'inputs/0')
  if (input['name'] !== INPUT) refuse('inputs/0/name', `is no input of this model, there is ${INPUT}`)
  if (input['datatype'] !== DATATYPE) refuse('inputs/0/datatype', `must be ${DATATYPE}`)
  checkParameters(input, 'inputs/0/')
  const rows = rowsOf(input['shape'], manifest.features.length, maxRows)
  return { id, vectors: vectorsOf(input['data'], rows, manifest), outputs: outputsOf(request['outputs']) }
}
