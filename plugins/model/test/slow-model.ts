/** An ONNX model whose time is in its input: the tiny one, beside a product of matrices of |a| + `size` rows. */
import { encodeOnnx, node, scalar } from '../../../training/onnx-format.ts'

/** ONNX's number of int64. */
const INT64 = 7

export function slowModel(size = 1): Uint8Array {
  return encodeOnnx({
    name: 'slow',
    description: '',
    inputs: [{ name: 'features', width: 2 }],
    outputs: [
      { name: 'probability', width: 1 },
      { name: 'margin', width: 1 }
    ],
    nodes: [
      // The greatest |a| and `size` as a shape [n, n].
      { operator: 'Split', input: ['features'], output: ['a', 'b'], attributes: { axis: 1 } },
      node('Abs', ['a'], 'distance'),
      node('ReduceMax', ['distance'], 'greatest', { keepdims: 1 }),
      node('Add', ['greatest', 'size'], 'sum'),
      node('ArgMax', ['one'], 'first', { axis: 0, keepdims: 0 }),
      node('Gather', ['sum', 'first'], 'length', { axis: 1 }),
      node('Cast', ['length'], 'n', { to: INT64 }),
      node('Concat', ['n', 'n'], 'shape', { axis: 0 }),
      node('Expand', ['zero', 'shape'], 'matrix'),
      node('MatMul', ['matrix', 'matrix'], 'product'),
      node('ReduceMax', ['product'], 'nothing', { keepdims: 0 }),
      // sigmoid(a - 2 b + .5 + 0)
      node('Mul', ['b', 'two'], 'twice'),
      node('Sub', ['a', 'twice'], 'difference'),
      node('Add', ['difference', 'half'], 'linear'),
      node('Add', ['linear', 'nothing'], 'margin'),
      node('Sigmoid', ['margin'], 'probability')
    ],
    tensors: [
      { name: 'one', dims: [1], values: Float32Array.of(1) },
      { name: 'zero', dims: [1, 1], values: Float32Array.of(0) },
      scalar('size', size),
      scalar('two', 2),
      scalar('half', 0.5)
    ],
    metadata: {}
  })
}
