import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import modelPlugin, { type Manifest } from '../index.ts'

const repository = join(import.meta.dirname, 'fixtures/repository')
const tiny = JSON.parse(readFileSync(join(repository, 'tiny/1/manifest.json'), 'utf8')) as Manifest
/** What the tiny model computes, sigmoid(a - 2 b + .5), in two pieces too many: a scale of 2 and a slope of one half. */
const linear = {
  means: [0.25, 0.1],
  scales: [2, 0.5],
  weights: [4, -2],
  intercept: 1.1,
  calibration: { a: 0.5, b: 0 }
}

/** A service with the tiny model, whose manifest is changed. */
async function build(t: Test, change: object): Promise<FastifyInstance> {
  const folder = t.testdir()
  cpSync(repository, folder, { recursive: true })
  writeFileSync(join(folder, 'tiny/1/manifest.json'), JSON.stringify({ ...tiny, ...change }))
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(modelPlugin, { repository: folder })
  return app
}

t.test('the parts of a row add up to its margin in double precision, and to the graph in float32', async (t) => {
  const app = await build(t, { linear })
  for (const row of [Float32Array.of(0.3, 0.7), Float32Array.of(-1e3, 2e-3), Float32Array.of(0, 0)]) {
    const { margin, manifest } = await app.model.predict('tiny', row)
    const parts = app.model.explain(manifest, row)!
    t.same(Object.keys(parts.contributions), ['a', 'b'])
    const sum = Object.values(parts.contributions).reduce((total, part) => total + part, parts.base)
    t.ok(Math.abs(sum - parts.margin) < 1e-9)
    t.ok(Math.abs(parts.margin - margin![0]!) <= parts.tolerance, `${parts.margin} and ${margin![0]}`)
  }
  const { contributions, base } = app.model.explain(tinyWith(linear), Float32Array.of(2.25, 1.1))!
  t.same(contributions, { a: 0.5 * 4, b: -0.5 * 2 * ((Math.fround(1.1) - Math.fround(0.1)) / 0.5) })
  t.equal(base, 0.5 * Math.fround(1.1))
})

function tinyWith(block: NonNullable<Manifest['linear']>): Manifest {
  return { ...tiny, linear: block }
}

t.test('a feature beyond the clip contributes no more', async (t) => {
  const app = await build(t, {})
  const clipped = tinyWith({ ...linear, clip: 3 })
  const at = (a: number): number => app.model.explain(clipped, Float32Array.of(a, 0))!.contributions['a']!
  t.equal(at(1e6), 0.5 * 4 * 3)
  t.equal(at(-1e6), -0.5 * 4 * 3)
  t.equal(at(1e6), at(7))
})

t.test('a manifest without the block explains nothing', async (t) => {
  const app = await build(t, {})
  const { manifest } = await app.model.predict('tiny', Float32Array.of(1, 1))
  t.equal(app.model.explain(manifest, Float32Array.of(1, 1)), undefined)
})

t.test('a block that is not of this model is refused at boot', async (t) => {
  for (const wrong of [
    { weights: [4, -2.001] },
    // The only row of the self-test can't tell these two from the model's own: a and b are equal there.
    { means: [0.25, 0.25], scales: [2, 2], weights: [-8, 4], intercept: 0.5 },
    { intercept: 1.2 },
    { calibration: { a: 0.5, b: 1e-4 } },
    { scales: [2, 0.51] },
    { clip: 0.5 }
  ]) {
    const self_test = [{ features: { a: 1, b: 1 }, probability: 1 / (1 + Math.exp(0.5)) }]
    await t.rejects(
      build(t, { self_test, linear: { ...linear, ...wrong } }),
      { code: 'TF_ERR_MODEL_LINEAR', message: /^Model tiny\/1: its manifest's linear block gives a margin of/ },
      JSON.stringify(wrong)
    )
  }
})

t.test('lists that do not fit the features, or each other, are refused at boot', async (t) => {
  const bins = { edges: [0, 1], shares: [0.2, 0.3, 0.5], psi_limits: { date: 1, month: 0.5 } }
  for (const [change, message] of [
    [{ linear: { ...linear, means: [0] } }, 'linear/means: needs one value a feature'],
    [{ linear: { ...linear, scales: [1, 1, 1] } }, 'linear/scales: needs one value a feature'],
    [{ linear: { ...linear, weights: [] } }, 'linear/weights: needs one value a feature'],
    [{ linear: { ...linear, scales: [1, 0] } }, 'linear/scales/1: Expected number to be greater than 0'],
    [{ drift: { features: [bins], score: bins } }, 'drift/features: needs one a feature'],
    [
      { drift: { features: [bins, { ...bins, shares: [0.5, 0.5] }], score: bins } },
      'drift/features/1: 2 edges make 3 shares'
    ],
    [{ drift: { features: [bins, bins], score: { ...bins, edges: [1, 1] } } }, 'drift/score: edges must ascend']
  ] as const) {
    await t.rejects(build(t, change), { code: 'TF_ERR_MODEL_MANIFEST', message: `Manifest of tiny/1: ${message}` })
  }
  t.ok(await build(t, { drift: { features: [bins, bins], score: bins } }))
})
