/** Which tensors of a model are its features and its answers: by the manifest, and by what the session says of itself. */
import type { Manifest } from './manifest.ts'

/** What a model may answer for a row. */
export type Role = 'probability' | 'margin' | 'score'

/** Tensors, in the words of the Open Inference Protocol: -1 is the number of rows. */
export interface InputTensor {
  name: string
  datatype: 'FP32' | 'FP64'
  shape: readonly [-1, number]
  /** Its columns: places in the manifest's features. */
  columns: readonly number[]
}

export interface OutputTensor {
  name: string
  role: Role
  /** The column of the answer; undefined: there is only one. */
  column: number | undefined
}

/** What of a session is fed and fetched. */
export interface Tensors {
  readonly inputs: readonly InputTensor[]
  readonly outputs: readonly OutputTensor[]
}

/** A tensor of a session: -1 is a dimension that is free. */
export interface Signature {
  name: string
  type: string
  shape: readonly number[]
}

const USUAL_OUTPUTS = {
  classification: { probability: { name: 'probability' }, margin: { name: 'margin' } },
  regression: { score: { name: 'score' } }
}

/** The tensors that a manifest speaks of; without a word of it `features`, and `probability` with `margin`, or `score`. */
export function tensorsOf({ features, task = 'classification', inputs, outputs }: Manifest): Tensors {
  const names = features.map(({ name }) => name)
  const named: NonNullable<Manifest['outputs']> = outputs ?? USUAL_OUTPUTS[task]
  return {
    inputs: (inputs ?? [{ name: 'features' }]).map(({ name, datatype = 'FP32', features: own = names }) => ({
      name,
      datatype,
      shape: [-1, own.length],
      columns: own.map((feature) => names.indexOf(feature))
    })),
    outputs: (Object.keys(named) as Role[]).map((role) => ({
      role,
      name: named[role]!.name,
      column: named[role]!.column
    }))
  }
}

/** What a manifest says of tensors that can't be: undefined, nothing. */
export function tensorsContradiction(manifest: Manifest): string | undefined {
  const { features, task = 'classification', inputs = [], calibration = {}, linear, self_test: tests } = manifest
  const roles = tensorsOf(manifest).outputs.map(({ role }) => role)
  const [needed, foreign] =
    task === 'regression' ? (['score', 'probability'] as const) : (['probability', 'score'] as const)
  if (!roles.includes(needed)) return `outputs: a ${task} needs ${needed}`
  if (roles.includes(foreign)) return `outputs/${foreign}: is not for a ${task}`
  if (task === 'regression' && (roles.includes('margin') || linear !== undefined))
    return `${linear === undefined ? 'outputs/margin' : 'linear'}: is not for a regression`
  if (task === 'regression' && Object.keys(calibration).length > 0)
    return 'calibration: a regression has no probability to calibrate, leave it out'
  if (linear !== undefined && !roles.includes('margin')) return 'linear: needs the output margin'
  const untold = tests.findIndex((test) => test[needed] === undefined)
  if (untold !== -1) return `self_test/${untold}/${needed}: is missing`
  if (new Set(inputs.map(({ name }) => name)).size !== inputs.length) return 'inputs: two have one name'
  return inputsContradiction(features, inputs)
}

function inputsContradiction(
  features: Manifest['features'],
  inputs: NonNullable<Manifest['inputs']>
): string | undefined {
  const left = new Set(features.map(({ name }) => name))
  for (const [i, { features: own }] of inputs.entries()) {
    if (own === undefined && inputs.length > 1) return `inputs/${i}/features: say which of them go into this input`
    for (const name of own ?? left) {
      if (!left.delete(name)) return `inputs/${i}/features: ${name} is no feature, or in an input already`
    }
  }
  const [missing] = left
  return inputs.length > 0 && missing !== undefined ? `inputs: none takes the feature ${missing}` : undefined
}

const TYPES = { FP32: 'float32', FP64: 'float64' }

/** By the type of a tensor that can't be used: what to do. */
function advice(kind: string, { type }: Signature): string {
  if (type === 'not a tensor') return ': it is a map or sequence, export the classifier with zipmap=False'
  if (type === 'string')
    return `: it is text, ${kind === 'input' ? 'encode it as numbers' : 'name the output of the numbers'}`
  if (type === 'float32' || type === 'float64')
    return `: say "datatype": "${type === 'float64' ? 'FP64' : 'FP32'}" in the manifest's inputs`
  return `: ${kind === 'input' ? 'export the model with float inputs' : 'name an output of floats, not that of the labels'}`
}

function inputFault(tensor: Signature, { datatype, shape: [, width] }: InputTensor): string | undefined {
  if (tensor.type !== TYPES[datatype]) return advice('input', tensor)
  const [, own] = tensor.shape
  if (tensor.shape.length !== 2) return ': it should have rows and columns'
  // -1: the manifest alone says how many there are, and the warm-up proves it.
  return own === -1 || own === width ? undefined : `: the manifest gives it ${width} features`
}

function outputFault(tensor: Signature, column: number | undefined): string | undefined {
  if (tensor.type !== 'float32' && tensor.type !== 'float64') return advice('output', tensor)
  const { shape } = tensor
  if (shape.length !== 1 && shape.length !== 2) return ': it should have one value a row, or columns'
  const width = shape[1] ?? 1
  if (width === -1) return undefined
  if (column === undefined) return width === 1 ? undefined : ": say which column in the manifest's outputs"
  return column < width ? undefined : `: it has no column ${column}`
}

/** Rows that a session takes at a time; undefined: any number. */
export function fixedBatch(inputs: readonly Signature[]): number | undefined {
  const rows = inputs[0]?.shape[0] ?? -1
  return rows === -1 ? undefined : rows
}

/** Why a session is not what its manifest promises, and what to change: undefined, it is. */
export function signatureFault(
  session: { readonly inputs: readonly Signature[]; readonly outputs: readonly Signature[] },
  { inputs, outputs }: Tensors
): string | undefined {
  const list = (tensors: readonly Signature[]): string =>
    tensors.map(({ name, type, shape }) => `${name} ${type}[${shape.join()}]`).join(', ') || 'none'
  for (const input of inputs) {
    const tensor = session.inputs.find(({ name }) => name === input.name)
    const fault =
      tensor === undefined
        ? `: name it in the manifest's inputs, and what answers, of ${list(session.outputs)}, in its outputs`
        : inputFault(tensor, input)
    const needed = `${TYPES[input.datatype]}[${input.shape.join()}]`
    if (fault !== undefined) return `needs the input ${input.name} ${needed}, has ${list(session.inputs)}${fault}`
  }
  for (const { name: wanted, column } of outputs) {
    const tensor = session.outputs.find(({ name }) => name === wanted)
    const fault = tensor === undefined ? ": name it in the manifest's outputs" : outputFault(tensor, column)
    if (fault !== undefined) return `needs the output ${wanted} float32[-1,1], has ${list(session.outputs)}${fault}`
  }
  const unfed = session.inputs.find(({ name }) => inputs.every((input) => input.name !== name))
  if (unfed !== undefined) return `has the input ${unfed.name}, which no feature of the manifest goes into`
  const batch = fixedBatch(session.inputs)
  const other = session.inputs.find(({ shape: [rows] }) => rows !== (batch ?? -1))
  return (
    other && `takes batches of ${batch ?? 'any number of'} rows, but the input ${other.name} those of ${other.shape[0]}`
  )
}
