/** What bench/serving.ts measures without HTTP: rows a second in one process, and the turns of its event loop. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import model, { type Manifest, type ModelOptions, type Scores } from '../plugins/model/index.ts'
import { answer, unpin, watch } from './harness.ts'

/** Models by their kind. */
export const NAMES: Readonly<Record<Kind, string>> = { linear: 'outperform', trees: 'forest' }
export type Kind = 'linear' | 'trees'
/** Rows of the request that stops the event loop, and milliseconds of a window without HTTP. */
export const LARGE = 16_384
const LOOP_MS = 50

export const REPOSITORY = join(import.meta.dirname, '../models')
const MANIFEST = join(REPOSITORY, 'outperform/1/manifest.json')
export const readManifest = async (): Promise<Manifest> => JSON.parse(await readFile(MANIFEST, 'utf8')) as Manifest

/** A row from the middle of the training rows. */
const middle = ({ features }: Manifest): Float32Array => Float32Array.from(features, ({ quantiles }) => quantiles.p50)

function simulatedOnly({ source }: Manifest): string | undefined {
  return source === 'simulated' ? undefined : 'is not the linear model of the simulated market'
}

export async function registerModel(
  app: FastifyInstance,
  repository: string,
  options: Partial<ModelOptions>
): Promise<void> {
  await app.register(model, { repository, refuse: simulatedOnly, ...options })
}

/** Resolves to the rows a second that so many loops score one after the other, each a row at a time. */
async function rate(loops: number, scoreOne: () => Promise<unknown>): Promise<number> {
  const started = performance.now()
  let done = 0
  const loop = async (): Promise<void> => {
    while (performance.now() - started < LOOP_MS) {
      await scoreOne()
      done++
    }
  }
  await Promise.all(Array.from({ length: loops }, loop))
  return done / ((performance.now() - started) / 1000)
}

export interface Question {
  kind: Kind
  /** Loops over `predict`; 0: one over `session.run`. */
  loops: number
}

/** `session.run` as anybody would call it, for what `predict` answers. */
export async function openRaw(
  repository: string,
  kind: Kind
): Promise<(features: Float32Array, rows: number) => Promise<Scores>> {
  const file = join(repository, NAMES[kind], '1/model.onnx')
  const session = await InferenceSession.create(file, { intraOpNumThreads: 1, interOpNumThreads: 1 })
  const fetches = kind === 'linear' ? ['probability', 'margin'] : ['probability']
  return async (features, rows) => {
    const tensor = new Tensor('float32', features, [rows, features.length / rows])
    const { probability, margin } = await session.run({ features: tensor }, fetches)
    return { probability: probability!.data as Float32Array, margin: margin?.data as Float32Array }
  }
}

function repeat(row: Float32Array, rows: number): Float32Array {
  return Float32Array.from({ length: rows * row.length }, (_, i) => row[i % row.length]!)
}

/** Answers questions for rows a second. */
export async function runLoops(forest: string): Promise<void> {
  const row = middle(await readManifest())
  const app = { linear: Fastify(), trees: Fastify() }
  await registerModel(app.linear, REPOSITORY, { execution: 'inline' })
  await registerModel(app.trees, forest, { execution: 'inline' })
  const raw = { linear: await openRaw(REPOSITORY, 'linear'), trees: await openRaw(forest, 'trees') }
  answer(null, async (question) => {
    const { kind, loops } = question as Question
    if (loops === 0) return rate(1, async () => raw[kind](row, 1))
    return rate(loops, async () => app[kind].model.predict(NAMES[kind], row))
  })
}

/** What is under way while the event loop turns; nothing at all shows what other processes do to it. */
export const WORKS = [
  '`session.run` on the main thread',
  '`predict` in a thread',
  'nothing for 30 ms (the noise)'
] as const

/** Answers one of WORKS with the longest turn. */
export async function runTurns(forest: string): Promise<void> {
  const raw = await openRaw(forest, 'trees')
  const app = Fastify()
  const vectors = repeat(middle(await readManifest()), LARGE)
  const works: Record<(typeof WORKS)[number], () => Promise<unknown>> = {
    [WORKS[0]]: async () => raw(vectors, LARGE),
    [WORKS[1]]: async () => app.model.predict('forest', vectors),
    [WORKS[2]]: async () => setTimeout(30)
  }
  let registered = false
  answer(null, async (work) => {
    if (!registered) {
      // Threads inherit the cores of who starts them.
      unpin()
      await registerModel(app, forest, { execution: 'thread' })
      registered = true
    }
    return (await watch(works[work as keyof typeof works])).stall
  })
}
