/** A model of trees for the benchmarks: 200 complete ones of depth 6, their numbers made up. */
import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Random, createRandom } from '../domain/random.ts'
import type { Manifest } from '../plugins/model/index.ts'
import { encodeOnnx } from '../training/onnx-format.ts'

const TREES = 200
const DEPTH = 6
/** Nodes 0 to INNER - 1 of a tree ask, the others are leaves; node i has the children 2 i + 1 and 2 i + 2. */
const INNER = 2 ** DEPTH - 1
const NODES = 2 * INNER + 1

interface Tree {
  features: number[]
  /** Of a leaf: its log-odds. */
  values: Float32Array
}

function createTree(random: Random, width: number): Tree {
  const features = Array.from({ length: NODES }, (_, i) => (i < INNER ? Math.floor(random.uniform() * width) : 0))
  const values = Float32Array.from({ length: NODES }, (_, i) => (i < INNER ? 1 : 0.05) * random.normal())
  return { features, values }
}

/** The probability of a row: the sigmoid of the sum of its leaves. */
function score(trees: readonly Tree[], row: Float32Array): number {
  let sum = 0
  for (const { features, values } of trees) {
    let node = 0
    while (node < INNER) node = 2 * node + (row[features[node]!]! <= values[node]! ? 1 : 2)
    sum += values[node]!
  }
  return 1 / (1 + Math.exp(-sum))
}

function toOnnx(trees: readonly Tree[], width: number): Uint8Array {
  const each = <T>(of: (tree: Tree, number: number, node: number) => T, from = 0): T[] =>
    trees.flatMap((tree, number) => Array.from({ length: NODES - from }, (_, i) => of(tree, number, i + from)))
  return encodeOnnx({
    name: 'forest',
    description: `${TREES} trees of depth ${DEPTH}`,
    inputs: [{ name: 'features', width }],
    outputs: [{ name: 'probability', width: 1 }],
    nodes: [
      {
        operator: 'TreeEnsembleRegressor',
        domain: 'ai.onnx.ml',
        input: ['features'],
        output: ['margin'],
        attributes: {
          n_targets: 1,
          nodes_treeids: each((_, number) => number),
          nodes_nodeids: each((_tree, _number, node) => node),
          nodes_featureids: each(({ features }, _, node) => features[node]!),
          nodes_values: Float32Array.from(each(({ values }, _, node) => (node < INNER ? values[node]! : 0))),
          nodes_modes: each((_tree, _number, node) => (node < INNER ? 'BRANCH_LEQ' : 'LEAF')),
          nodes_truenodeids: each((_tree, _number, node) => (node < INNER ? 2 * node + 1 : 0)),
          nodes_falsenodeids: each((_tree, _number, node) => (node < INNER ? 2 * node + 2 : 0)),
          target_treeids: each((_, number) => number, INNER),
          target_nodeids: each((_tree, _number, node) => node, INNER),
          target_ids: each(() => 0, INNER),
          target_weights: Float32Array.from(each(({ values }, _, node) => values[node]!, INNER))
        }
      },
      { operator: 'Sigmoid', input: ['margin'], output: ['probability'] }
    ],
    tensors: [],
    metadata: {}
  })
}

/** Writes a repository with the model `forest`, of the features of another one. */
export async function writeForest(repository: string, like: Manifest): Promise<void> {
  const random = createRandom('forest')
  const { features } = like
  const trees = Array.from({ length: TREES }, () => createTree(random, features.length))
  const row = Float32Array.from(features, ({ quantiles }) => quantiles.p50)
  const bytes = toOnnx(trees, features.length)
  const named = Object.fromEntries(features.map(({ name }, j) => [name, row[j]!]))
  const { linear: _linear, drift: _drift, ...rest } = like
  const manifest: Manifest = {
    ...rest,
    name: 'forest',
    model_type: 'trees',
    sha256: createHash('sha256').update(bytes).digest('hex'),
    self_test: [{ features: named, probability: score(trees, row) }],
    outputs: { probability: { name: 'probability' } }
  }
  const folder = join(repository, 'forest', manifest.version)
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'model.onnx'), bytes)
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest))
}
