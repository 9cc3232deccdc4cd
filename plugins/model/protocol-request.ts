/** Inference requests as they come, checked to the last element: whatever the service's own validator lets pass or changes. */
import { TF_ERR_MODEL_INPUT } from './errors.ts'
import type { Manifest } from './manifest.ts'
import { type InputTensor, type Role, tensorsOf } from './tensors.ts'

/** A request that can be scored. */
export interface CheckedRequest {
  /** undefined: the client gave none. */
  id: string | undefined
  /** Row-major, rounded to float32. */
  vectors: Float32Array
  /** In the order in which they were asked for, each once. */
  outputs: readonly Role[]
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
function rowsOf(value: unknown, path: string, width: number, maxRows: number): number {
  const shape = listOf(value, path)
  const [rows] = shape
  if (shape.length !== 2 || shape[1] !== width || !Number.isSafeInteger(rows) || (rows as number) < 1)
    refuse(path, `must be [N,${width}], N being 1 or more`)
  if ((rows as number) > maxRows) refuse(path, `has more rows than a request may have, ${maxRows}`)
  return rows as number
}

/** Puts the elements of an input, flat or nested, into their columns of the vectors. */
function fill(
  vectors: Float32Array,
  value: unknown,
  path: string,
  columns: readonly number[],
  manifest: Manifest
): void {
  const { features } = manifest
  const data = listOf(value, path)
  const width = columns.length
  const rows = vectors.length / features.length
  const put = (element: unknown, at: number, place: string): void => {
    const column = columns[at % width]!
    const target = Math.floor(at / width) * features.length + column
    vectors[target] = element as number
    if (typeof element !== 'number' || !Number.isFinite(vectors[target]))
      refuse(`${path}/${place}`, `(${features[column]!.name}) must be a finite number (float32)`)
  }
  if (Array.isArray(data[0])) {
    if (data.length !== rows) refuse(path, `has ${data.length} rows, the shape ${rows}`)
    for (const [i, row] of data.entries()) {
      const values = listOf(row, `${path}/${i}`)
      if (values.length !== width) refuse(`${path}/${i}`, `has ${values.length} elements, the shape ${width}`)
      for (const [j, element] of values.entries()) put(element, i * width + j, `${i}/${j}`)
    }
  } else {
    if (data.length !== rows * width) refuse(path, `has ${data.length} elements, the shape ${rows * width}`)
    for (const [i, element] of data.entries()) put(element, i, `${i}`)
  }
}

function outputsOf(value: unknown, all: readonly Role[]): readonly Role[] {
  if (value === undefined) return all
  const names: Role[] = []
  for (const [i, entry] of listOf(value, 'outputs').entries()) {
    const path = `outputs/${i}`
    const output = fieldsOf(entry, path)
    const name = all.find((known) => known === output['name'])
    if (name === undefined) refuse(`${path}/name`, `is no output of this model, there are ${all.join(', ')}`)
    // Or a small request could ask for a reply of any size.
    if (names.includes(name)) refuse(`${path}/name`, 'is asked for already')
    checkParameters(output, `${path}/`)
    names.push(name)
  }
  return names.length === 0 ? all : names
}

/** The inputs of a request by the tensors of the model, in their order, each with its place in the body. */
function inputsOf(
  value: unknown,
  tensors: readonly InputTensor[]
): { tensor: InputTensor; input: Fields; path: string }[] {
  const list = listOf(value, 'inputs')
  const names = tensors.map(({ name }) => name).join(', ')
  if (list.length !== tensors.length)
    refuse(
      'inputs',
      `must hold the ${tensors.length === 1 ? 'one input' : `${tensors.length} inputs`} of this model, ${names}`
    )
  const given = list.map((entry, i) => ({ input: fieldsOf(entry, `inputs/${i}`), path: `inputs/${i}` }))
  for (const { input, path } of given) {
    const tensor = tensors.find(({ name }) => name === input['name'])
    if (tensor === undefined) refuse(`${path}/name`, `is no input of this model, there is ${names}`)
    if (input['datatype'] !== tensor.datatype) refuse(`${path}/datatype`, `must be ${tensor.datatype}`)
    checkParameters(input, `${path}/`)
  }
  return tensors.map((tensor) => {
    const found = given.find(({ input }) => input['name'] === tensor.name)
    if (found === undefined) refuse('inputs', `lacks ${tensor.name}`)
    return { tensor, ...found }
  })
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
  const tensors = tensorsOf(manifest)
  const inputs = inputsOf(request['inputs'], tensors.inputs)
  const counts = inputs.map(({ tensor, input, path }) =>
    rowsOf(input['shape'], `${path}/shape`, tensor.columns.length, maxRows)
  )
  const [rows = 0] = counts
  const other = counts.findIndex((count) => count !== rows)
  if (other !== -1) refuse(`${inputs[other]!.path}/shape`, `has other rows than ${inputs[0]!.tensor.name}, ${rows}`)
  const vectors = new Float32Array(rows * manifest.features.length)
  for (const { tensor, input, path } of inputs) fill(vectors, input['data'], `${path}/data`, tensor.columns, manifest)
  const roles = tensors.outputs.map(({ role }) => role)
  return { id, vectors, outputs: outputsOf(request['outputs'], roles) }
}
