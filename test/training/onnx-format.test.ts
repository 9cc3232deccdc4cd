import { InferenceSession, Tensor } from 'onnxruntime-node'
import t from 'tap'
import { encodeOnnx } from '../../training/onnx-format.ts'

t.test(
  'a model of trees: lists of integers, floats and texts, a text, and the domain of classical models',
  async (t) => {
    const bytes = encodeOnnx({
      name: 'stump',
      description: '',
      inputs: [{ name: 'features', width: 2 }],
      outputs: [{ name: 'score', width: 1 }],
      nodes: [
        {
          operator: 'TreeEnsembleRegressor',
          domain: 'ai.onnx.ml',
          input: ['features'],
          output: ['score'],
          attributes: {
            n_targets: 1,
            aggregate_function: 'SUM',
            nodes_treeids: [0, 0, 0],
            nodes_nodeids: [0, 1, 2],
            nodes_featureids: [1, 0, 0],
            nodes_values: Float32Array.of(0.5, 0, 0),
            nodes_modes: ['BRANCH_LEQ', 'LEAF', 'LEAF'],
            nodes_truenodeids: [1, 0, 0],
            nodes_falsenodeids: [2, 0, 0],
            target_treeids: [0, 0],
            target_nodeids: [1, 2],
            target_ids: [0, 0],
            target_weights: Float32Array.of(-3, 7.25)
          }
        }
      ],
      tensors: [],
      metadata: {}
    })
    const session = await InferenceSession.create(bytes)
    t.teardown(async () => session.release())
    const features = new Tensor('float32', Float32Array.of(9, 0.5, 9, 0.51), [2, 2])
    const { score } = await session.run({ features })
    t.same(score!.data, Float32Array.of(-3, 7.25))
  }
)
