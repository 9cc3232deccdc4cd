import { createHash } from 'node:crypto'
import { readFile, readdir } from 'node:fs/promises'
import t from 'tap'
import { FEATURES } from '../../domain/features.ts'
import type { Manifest } from '../../training/manifest.ts'
import { CLIP, type LinearModel } from '../../training/model.ts'
import { toOnnx } from '../../training/onnx.ts'
import { withRuntime } from '../../training/verify.ts'

const MODELS = new URL('../../models/outperform/', import.meta.url)

t.test('a committed model of each source', async (t) => {
  const sources = await Promise.all(['1', '2'].map(async (version) => (await read(version)).manifest.source))
  t.same(sources, ['simulated', 'historical'])
})

async function read(version: string): Promise<{ onnx: Buffer; manifest: Manifest; card: string }> {
  const folder = new URL(`${version}/`, MODELS)
  return {
    onnx: await readFile(new URL('model.onnx', folder)),
    manifest: JSON.parse(await readFile(new URL('manifest.json', folder), 'utf8')) as Manifest,
    card: await readFile(new URL('CARD.md', folder), 'utf8')
  }
}

for (const version of ['1', '2']) {
  t.test(`outperform ${version} is whole, and computes what its manifest says`, async (t) => {
    const { onnx, manifest, card } = await read(version)
    t.same((await readdir(new URL(`${version}/`, MODELS))).toSorted(), ['CARD.md', 'manifest.json', 'model.onnx'])
    t.same(Object.keys(manifest), [
      'name',
      'version',
      'format',
      'model_type',
      'features',
      'label',
      'horizon_days',
      'trained_at',
      'window',
      'source',
      'universe',
      'calibration',
      'metrics',
      'sha256',
      'self_test',
      'linear',
      'drift'
    ])
    t.equal(manifest.version, version)
    t.equal(manifest.sha256, createHash('sha256').update(onnx).digest('hex'))
    t.same(
      manifest.features.map(({ name, description, unit }) => ({ name, description, unit })),
      FEATURES
    )
    t.match(card, `# outperform ${version} `)
    t.match(card, manifest.metrics.auc.toFixed(4))
    t.notMatch(`${card}${JSON.stringify(manifest)}${onnx.toString('latin1')}`, /\/(work|home|root|tmp|Users)\//)

    const vectors = manifest.self_test.map(({ features }) => Float32Array.from(FEATURES, ({ name }) => features[name]!))
    await withRuntime(onnx, FEATURES.length, async (run) => {
      for (const [i, vector] of vectors.entries()) {
        const { probability } = await run(vector)
        const wanted = manifest.self_test[i]!.probability
        t.ok(Math.abs(probability[0]! - wanted) <= 1e-6, `row ${i}: ${probability[0]}, wanted ${wanted}`)
      }
    })
  })

  t.test(
    `outperform ${version} is made of its linear block, to the bit, and has limits that its months pass`,
    async (t) => {
      const { onnx, manifest, card } = await read(version)
      const { means, scales, clip, weights, intercept, calibration } = manifest.linear
      const model: LinearModel = {
        mean: Float32Array.from(means),
        scale: Float32Array.from(scales),
        weights: Float32Array.from(weights),
        intercept: Math.fround(intercept),
        platt: { a: Math.fround(calibration.a), b: Math.fround(calibration.b) }
      }
      t.equal(clip, CLIP)
      t.ok(Buffer.from(toOnnx(model, manifest.name, manifest.label)).equals(onnx))
      const { features, score } = manifest.drift
      for (const { edges, shares, psi_limits } of [...features, score]) {
        t.equal(shares.length, edges.length + 1)
        t.ok(Math.abs(shares.reduce((sum, share) => sum + share, 0) - 1) < 1e-3)
        t.ok(psi_limits.date >= psi_limits.month * 0.9 && psi_limits.month > 0.1)
      }
      t.match(card, `| probability | ${score.psi_limits.date.toFixed(2)} | ${score.psi_limits.month.toFixed(2)} |`)
    }
  )

  t.test(`outperform ${version} has honest figures`, async (t) => {
    const { metrics, source, calibration } = (await read(version)).manifest
    t.ok(metrics.gate_passed)
    t.ok(metrics.auc_ci90[0] > 0.5)
    t.ok(metrics.brier <= metrics.brier_base)
    t.ok(calibration.a > 0)
    if (source === 'historical') {
      t.ok(metrics.auc > 0.505 && metrics.auc < 0.55)
      t.ok(metrics.ece <= 0.01)
    } else {
      t.ok(metrics.auc > 0.545)
    }
  })
}
