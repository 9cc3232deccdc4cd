import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import modelPlugin, { type Manifest, type ModelOptions, type ModelSession } from '../index.ts'

export const repository = join(import.meta.dirname, 'fixtures/repository')
export const tiny = JSON.parse(readFileSync(join(repository, 'tiny/1/manifest.json'), 'utf8')) as Manifest

/** What the tiny model computes: sigmoid(a - 2 b + .5). */
export function sigmoid(a: number, b: number): number {
  return 1 / (1 + Math.exp(-(a - 2 * b + 0.5)))
}

export interface FakeSession extends ModelSession {
  runs: number[]
  released: number
  /** Runs after the release. */
  late: number
}

/** A session that computes what the tiny model does, and remembers what it was asked. */
export function fakeSession(over: Partial<FakeSession> = {}): FakeSession {
  const session: FakeSession = {
    inputs: [{ name: 'features', type: 'float32', shape: [-1, 2] }],
    outputs: [
      { name: 'probability', type: 'float32', shape: [-1, 1] },
      { name: 'margin', type: 'float32', shape: [-1, 1] }
    ],
    runs: [],
    released: 0,
    late: 0,
    async run(next) {
      await new Promise(setImmediate)
      const { features, rows } = next()
      session.runs.push(rows)
      session.late += session.released
      const margin = Float32Array.from({ length: rows }, (_, i) => features[2 * i]! - 2 * features[2 * i + 1]! + 0.5)
      return { margin, probability: margin.map((m) => 1 / (1 + Math.exp(-m))) }
    },
    async release() {
      session.released++
    },
    ...over
  }
  return session
}

export async function build(t: Test, options: Partial<ModelOptions> = {}): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(modelPlugin, { repository, ...options })
  return app
}

export type Version = [name: string, version: string, manifest: object | string, bytes?: string | Uint8Array]

/** Writes a version: the tiny one's manifest with changes, and the true checksum of `bytes`. */
export function writeVersion(folder: string, [name, version, change, bytes = 'weights']: Version): void {
  const directory = join(folder, name, version)
  mkdirSync(directory, { recursive: true })
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const manifest = typeof change === 'string' ? change : JSON.stringify({ ...tiny, name, version, sha256, ...change })
  writeFileSync(join(directory, 'manifest.json'), manifest)
  writeFileSync(join(directory, 'model.onnx'), bytes)
}

/** A repository of these versions in a temporary folder. */
export function repositoryOf(t: Test, versions: Version[]): string {
  const folder = t.testdir({})
  for (const version of versions) writeVersion(folder, version)
  return folder
}
