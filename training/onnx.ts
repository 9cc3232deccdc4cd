import { FEATURES } from '../domain/features.ts'
import { CLIP, type LinearModel } from './model.ts'
import { encodeOnnx, node, scalar, type OnnxTensor } from './onnx-format.ts'

/**
 * The model as ONNX: `features` float32 [batch, F] -> `probability` and `margin` float32 [batch, 1].
 *
 * `margin` is the calibrated log-odds, platt_a · (intercept + Σ weight · z) + platt_b, and `probability` its sigmoid. The
 * calibration is part of the weights and of the intercept here: two operators less in each run.
 *
 * A row scores the same bits alone and in every batch, on every processor: features are turned into rows first, [F, batch], and
 * all from there on goes element by element. `ReduceSum` over the first axis adds whole rows, one after the other. Over the
 * last axis it would not do: onnxruntime 1.30 sums there in an order that depends on a row's address (with 27 features 42 % of
 * the margins changed with the batch). `Gemm` and `MatMul` choose their kernel by batch size and processor.
 */
export function toOnnx(model: LinearModel, name: string, description: string): Uint8Array {
  const { a, b } = model.platt
  return encodeOnnx({
    name,
    description,
    inputs: [{ name: 'features', width: FEATURES.length }],
    outputs: [
      { name: 'probability', width: 1 },
      { name: 'margin', width: 1 }
    ],
    nodes: [
      node('Transpose', ['features'], 'rows', { perm: [1, 0] }),
      node('Sub', ['rows', 'mean'], 'centred'),
      node('Div', ['centred', 'scale'], 'standardised'),
      node('Clip', ['standardised', 'clip_low', 'clip_high'], 'clipped'),
      node('Mul', ['clipped', 'weights'], 'contributions'),
      node('ReduceSum', ['contributions', 'first_axis'], 'sum', { keepdims: 0 }),
      node('Unsqueeze', ['sum', 'last_axis'], 'column'),
      node('Add', ['column', 'intercept'], 'margin'),
      node('Sigmoid', ['margin'], 'probability')
    ],
    tensors: [
      column('mean', model.mean),
      column('scale', model.scale),
      scalar('clip_low', -CLIP),
      scalar('clip_high', CLIP),
      column(
        'weights',
        model.weights.map((weight) => a * weight)
      ),
      axis('first_axis', 0n),
      axis('last_axis', 1n),
      scalar('intercept', a * model.intercept + b)
    ],
    metadata: { model: name, features: FEATURES.map((feature) => feature.name).join(',') }
  })
}

function column(name: string, values: Float32Array): OnnxTensor {
  return { name, dims: [values.length, 1], values }
}

function axis(name: string, value: bigint): OnnxTensor {
  return { name, dims: [1], values: BigInt64Array.of(value) }
}
