/** `@trading-fun/model`: ONNX inference in a Fastify service, from a repository of versions with manifests. */
import type { TObject } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Batcher, type Prediction, type Run } from './batcher.ts'
import { TF_ERR_MODEL_NONE_FITS, TF_ERR_MODEL_REGISTERED, TF_ERR_MODEL_UNKNOWN } from './errors.ts'
import { checkVectors, featuresSchema, outOfRange, toVector } from './features.ts'
import { type Explanation, explain } from './linear.ts'
import type { Manifest } from './manifest.ts'
import { type ModelData, parseOptions } from './options.ts'
import { type ModelVersion, readModel, readRepository } from './repository.ts'
import { type OpenSession, loadSession, openOnnxSession } from './session.ts'

export type { Prediction, Run } from './batcher.ts'
export * from './errors.ts'
export type { Explanation } from './linear.ts'
export { type Bins, type Linear, type Manifest, ManifestSchema } from './manifest.ts'
export { ModelOptionsSchema } from './options.ts'
export type { ModelVersion } from './repository.ts'
export type { ModelSession, OpenSession, Scores, Signature } from './session.ts'

/** What `fastify.model` offers. */
export interface Model {
  /** Names of the models that are served. */
  readonly names: readonly string[]
  /** Every version in the repository, newest first within a model. */
  readonly versions: readonly ModelVersion[]
  /** The version of a model that answers now. @throws TF_ERR_MODEL_UNKNOWN */
  serving(name: string): ModelVersion
  /** JSON schema of a named vector of this model: every feature, finite, nothing else. @throws TF_ERR_MODEL_UNKNOWN */
  inputSchema(name: string): TObject
  /** A named vector as an input row. @throws TF_ERR_MODEL_UNKNOWN, TF_ERR_MODEL_INPUT naming the feature */
  toVector(name: string, record: Readonly<Record<string, number>>): Float32Array
  /** Names of the features of a row that lie outside the middle 99 % of the training rows. @throws TF_ERR_MODEL_UNKNOWN */
  outOfRange(name: string, vector: Float32Array): string[]
  /**
   * What each feature of a row contributes to the log-odds of the version with this manifest, the one that answered. undefined:
   * its manifest has no `linear` block.
   */
  explain(manifest: Manifest, vector: Float32Array): Explanation | undefined
  /** Rows that wait for a run of this model. @throws TF_ERR_MODEL_UNKNOWN */
  queueDepth(name: string): number
  /** Rows of a model that may wait or be in a run: the option `maxQueueRows`. */
  readonly queueCapacity: number
  /**
   * Scores vectors, row-major, in the order of the manifest's features. Requests of one turn of the event loop are scored in
   * one run; a row's scores are the same, to the bit, whatever it is batched with.
   * @throws TF_ERR_MODEL_UNKNOWN, TF_ERR_MODEL_INPUT naming the feature, TF_ERR_MODEL_BUSY, TF_ERR_MODEL_INFERENCE
   */
  predict(name: string, vectors: Float32Array): Promise<Prediction>
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Decorated by `@trading-fun/model`. */
    model: Model
  }
}

/** `repository` is required, all else has a default. */
export interface ModelOptions extends Partial<Omit<ModelData, 'repository'>>, Pick<ModelData, 'repository'> {
  /** Says why a version must not be served, or undefined if it may. The newest version that may is served. */
  refuse?: (manifest: Manifest) => string | undefined
  /** Ends the message of the boot's failure when every version is refused: what to do about it. */
  advice?: string
  /** The inference runtime; onnxruntime-node by default. */
  openSession?: OpenSession
  /** Called after each run, with its model; the application wires it to metrics. */
  onRun?: (manifest: Manifest, run: Run) => void
}

interface Served {
  version: ModelVersion
  batcher: Batcher
}

/** The newest version that is not refused. @throws TF_ERR_MODEL_NONE_FITS with the reason for each. */
function newestFitting(
  name: string,
  versions: readonly ModelVersion[],
  refuse: ModelOptions['refuse'],
  advice = ''
): ModelVersion {
  const reasons: string[] = []
  for (const version of versions) {
    const reason = refuse?.(version.manifest)
    if (reason === undefined) return version
    reasons.push(`version ${version.manifest.version} ${reason}`)
  }
  throw new TF_ERR_MODEL_NONE_FITS(name, `${reasons.join(', ')}. ${advice}`.trim())
}

async function model(fastify: FastifyInstance, options: ModelOptions): Promise<void> {
  if (fastify.hasDecorator('model')) throw new TF_ERR_MODEL_REGISTERED()
  const { refuse, advice, openSession = openOnnxSession, onRun, ...data } = options
  const { repository, maxBatchRows, maxQueueRows } = parseOptions(data)

  /** A listener that throws must not fail the requests of the run that it is told of. */
  function report(manifest: Manifest, run: Run): void {
    try {
      onRun?.(manifest, run)
    } catch (err) {
      fastify.log.error({ err, model: manifest.name }, 'model listener failed')
    }
  }

  const models = await readRepository(repository)
  const served = new Map<string, Served>()

  for (const [name, versions] of models) {
    const version = newestFitting(name, versions, refuse, advice)
    const { manifest, file } = version
    const session = await loadSession(openSession, await readModel(version), manifest)
    const batcher = new Batcher(session, manifest, {
      maxBatchRows,
      maxQueueRows,
      onRun: (run) => report(manifest, run)
    })
    // Next to the opening: whatever throws below, a close still releases the session, after its last run.
    fastify.addHook('onClose', async () => {
      await batcher.drain()
      await session.release()
    })
    served.set(name, { version, batcher })
    fastify.log.info({ model: name, version: manifest.version, source: manifest.source, file }, 'model loaded')
  }

  function find(name: string): Served {
    const found = served.get(name)
    if (found === undefined) throw new TF_ERR_MODEL_UNKNOWN(name)
    return found
  }

  const decorator: Model = {
    names: [...served.keys()],
    versions: [...models.values()].flat(),
    serving: (name) => find(name).version,
    inputSchema: (name) => featuresSchema(find(name).version.manifest),
    toVector: (name, record) => toVector(find(name).version.manifest, record),
    outOfRange: (name, vector) => outOfRange(find(name).version.manifest, vector),
    explain,
    queueCapacity: maxQueueRows,
    queueDepth: (name) => find(name).batcher.depth,
    async predict(name, vectors) {
      const { version, batcher } = find(name)
      checkVectors(version.manifest.features, vectors)
      return batcher.score(vectors)
    }
  }
  fastify.decorate('model', Object.freeze(decorator))
}

export default fp(model, { name: '@trading-fun/model', fastify: '5.x' })
