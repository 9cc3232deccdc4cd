/** `@trading-fun/model`: ONNX inference in a Fastify service, from a repository of versions with manifests. */
import type { TObject } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Prediction, Run } from './batcher.ts'
import { TF_ERR_MODEL_REGISTERED } from './errors.ts'
import { checkVectors, featuresSchema, outOfRange, toVector } from './features.ts'
import { type Explanation, explain } from './linear.ts'
import type { Manifest } from './manifest.ts'
import { type ModelData, parseOptions } from './options.ts'
import type { Refuse } from './policy.ts'
import { registerProtocol } from './protocol.ts'
import { type IndexEntry, Registry, type Reload } from './registry.ts'
import type { ModelVersion } from './repository.ts'
import { registerControl } from './routes.ts'
import { type OpenSession, openOnnxSession, openProven } from './session.ts'

export type { Prediction, Run } from './batcher.ts'
export * from './errors.ts'
export type { Explanation } from './linear.ts'
export { type Bins, type Linear, type Manifest, ManifestSchema } from './manifest.ts'
export { ModelOptionsSchema, type VersionPolicy } from './options.ts'
export { type IndexEntry, RELOAD_REASONS, type Reload, type ReloadReason } from './registry.ts'
export type { ModelVersion } from './repository.ts'
export type { ModelSession, OpenSession, Scores, Signature } from './session.ts'

/** What one request may ask for. */
export interface PredictOptions {
  /** One of the versions that are served; without it, the one that `serving` names. */
  version?: string
}

/** What `fastify.model` offers. */
export interface Model {
  /** Names of the models that are loaded. */
  readonly names: readonly string[]
  /** Every version in the repository when it was last looked at (at boot, and at each load), newest first within a model. */
  readonly versions: readonly ModelVersion[]
  /** Whether a model is loaded, and which version of it answers now; undefined if it is not. */
  find(name: string): ModelVersion | undefined
  /** The version of a model that answers now. @throws TF_ERR_MODEL_UNKNOWN, TF_ERR_MODEL_NOT_LOADED */
  serving(name: string): ModelVersion
  /** Every version in the repository now, and whether it is served. @throws TF_ERR_MODEL_REPOSITORY */
  index(): Promise<IndexEntry[]>
  /**
   * Serves the version that the policy chooses, or one by its number, instead of what is served now. The old one answers until
   * the new one has proven that it works; what fails changes nothing. Resolves when the old one has ended its runs.
   * @throws TF_ERR_MODEL_UNKNOWN, TF_ERR_MODEL_CHANGING if another change of this model is under way, and what is wrong with
   * the version
   */
  load(name: string, version?: string): Promise<ModelVersion>
  /** Serves nothing of a model any more; resolves when its runs have ended. @throws TF_ERR_MODEL_UNKNOWN, TF_ERR_MODEL_NOT_LOADED, TF_ERR_MODEL_CHANGING */
  unload(name: string): Promise<void>
  /** Loads the version that was served before, or else the newest one below. @throws TF_ERR_MODEL_NO_ROLLBACK, and what `load` does */
  rollback(name: string): Promise<ModelVersion>
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
  predict(name: string, vectors: Float32Array, options?: PredictOptions): Promise<Prediction>
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Decorated by `@trading-fun/model`. */
    model: Model
  }
}

/** `repository` is required, all else has a default. */
export interface ModelOptions extends Partial<Omit<ModelData, 'repository'>>, Pick<ModelData, 'repository'> {
  /** Says why a version must not be served, or undefined if it may. */
  refuse?: Refuse
  /** Ends the message when every version of a model is refused: what to do about it. */
  advice?: string
  /** The inference runtime; onnxruntime-node by default. */
  openSession?: OpenSession
  /** Called after each run, with its model; the application wires it to metrics. */
  onRun?: (manifest: Manifest, run: Run) => void
  /** Called after each load and rollback, failed ones too; not for the boot. */
  onReload?: (reload: Reload) => void
  /** What must hold besides the models for `/v2/health/ready` to say yes. */
  isReady?: () => boolean
}

async function model(fastify: FastifyInstance, options: ModelOptions): Promise<void> {
  if (fastify.hasDecorator('model')) throw new TF_ERR_MODEL_REGISTERED()
  const {
    refuse = () => undefined,
    advice = '',
    openSession = openOnnxSession,
    onRun,
    onReload,
    isReady = () => true,
    ...data
  } = options
  const { repository, versionPolicy, token, inferenceProtocol, maxRequestRows, ...batching } = parseOptions(data)

  /** A listener that throws must not fail the requests of what it is told of. */
  function guard<A extends unknown[]>(listener: ((...args: A) => void) | undefined): (...args: A) => void {
    return (...args) => {
      try {
        listener?.(...args)
      } catch (err) {
        fastify.log.error({ err }, 'model listener failed')
      }
    }
  }

  const registry = new Registry({
    repository,
    versionPolicy,
    batching,
    refuse,
    advice,
    open: async (bytes, manifest) => (await openProven(openSession, bytes, manifest)).session,
    onRun: guard(onRun),
    onReload: guard(onReload),
    log({ manifest, file }, message) {
      fastify.log.info({ model: manifest.name, version: manifest.version, source: manifest.source, file }, message)
    }
  })
  // Before the opening: whatever throws below, a close still releases what was opened, after its last run.
  fastify.addHook('onClose', async () => registry.close())
  await registry.boot()

  const manifestOf = (name: string): Manifest => registry.find(name).version.manifest
  const decorator: Model = {
    get names() {
      return registry.names
    },
    get versions() {
      return registry.versions
    },
    find: (name) => (registry.names.includes(name) ? registry.find(name).version : undefined),
    serving: (name) => registry.find(name).version,
    index: async () => registry.index(),
    load: async (name, version) => registry.load(name, version),
    unload: async (name) => registry.unload(name),
    rollback: async (name) => registry.rollback(name),
    inputSchema: (name) => featuresSchema(manifestOf(name)),
    toVector: (name, record) => toVector(manifestOf(name), record),
    outOfRange: (name, vector) => outOfRange(manifestOf(name), vector),
    explain,
    queueCapacity: batching.maxQueueRows,
    queueDepth: (name) => (registry.names.includes(name) ? registry.find(name).batcher.depth : 0),
    async predict(name, vectors, { version: number } = {}) {
      const { version, batcher } = registry.find(name, number)
      checkVectors(version.manifest.features, vectors)
      return batcher.score(vectors)
    }
  }
  fastify.decorate('model', Object.freeze(decorator))
  if (token !== undefined) registerControl(fastify, registry, token)
  if (inferenceProtocol !== undefined) {
    const extensions = token === undefined ? [] : ['model_repository']
    registerProtocol(fastify, registry, { ...inferenceProtocol, extensions, maxRequestRows, isReady })
  }
}

export default fp(model, { name: '@trading-fun/model', fastify: '5.x' })
