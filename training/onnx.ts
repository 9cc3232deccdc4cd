import { FEATURES } from '../domain/features.ts'
import { CLIP, type LinearModel } from './model.ts'
import { encodeOnnx, type OnnxNode, type OnnxTensor } from './onnx-format.ts'

/**
 * The model as ONNX: `features` float32 [batch, F] -> `probability` and `margin` float32 [batch, 1].
 *
 * `margin` is the calibrated log-odds: `probability` is its sigmoid. With `contribution` the tensor [batch, F] of that name
 * inside the graph, margin = platt_a · (intercept + Σ contribution) + platt_b.
 *
 * The sum over features is `Split` into columns and a variadic `Sum`, because that adds row by row in one order: a row
 * scores the same bits alone and in every batch, on every processor. `ReduceSum` does not (onnxruntime 1.30 sums in an
 * order that depends on a row's address: with 27 features 42 % of the margins changed with the batch); `Gemm` and
 * `MatMul` did where it was measured, but choose their kernel by batch size and processor.
 */
export function toOnnx(model: LinearModel, name: string, description: string): Uint8Array {
  const columns = FEATURES.map((feature) => `contribution_${feature.name}`)
  return encodeOnnx({
    name,
    description,
    inputs: [{ name: 'features', width: FEATURES.length }],
    outputs: [
      { name: 'probability', width: 1 },
      { name: 'margin', width: 1 }
    ],
    nodes: [
      node('Sub', ['features', 'mean'], 'centred'),
      node('Div', ['centred', 'scale'], 'standardised'),
      node('Clip', ['standardised', 'clip_low', 'clip_high'], 'clipped'),
      node('Mul', ['clipped', 'weights'], 'contribution'),
      { operator: 'Split', input: ['contribution'], output: columns, attributes: { axis: 1 } },
      node('Sum', ['intercept', ...columns], 'raw_margin'),
      node('Mul', ['raw_margin', 'platt_a'], 'scaled_margin'),
      node('Add', ['scaled_margin', 'platt_b'], 'margin'),
      node('Sigmoid', ['margin'], 'probability')
    ],
    tensors: [
      tensor('mean', model.mean),
      tensor('scale', model.scale),
      scalar('clip_low', -CLIP),
      scalar('clip_high', CLIP),
      tensor('weights', model.weights),
      scalar('intercept', model.intercept),
      scalar('platt_a', model.platt.a),
      scalar('platt_b', model.platt.b)
    ],
    metadata: { model: name, features: FEATURES.map((feature) => feature.name).join(',') }
  })
}

function node(operator: string, input: string[], output: string): OnnxNode {
  return { operator, input, output: [output] }
}

function tensor(name: string, values: Float32Array): OnnxTensor {
  return { name, dims: [values.length], values }
}

function scalar(name: string, value: number): OnnxTensor {
  return { name, dims: [], values: Float32Array.of(value) }
}
