/** `@trading-fun/model`: ONNX inference in a Fastify service, from a repository of versions with manifests. */
import type { TObject } from '@sinclair/typebox'
import type { FastifyInstance, FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import type { Patience, Prediction, Run } from './batcher.ts'
import { REJECT_REASONS, type RejectReason, isModelError, reasonOf } from './coded.ts'
import { departure } from './departure.ts'
import { TF_ERR_MODEL_NOT_LOADED, TF_ERR_MODEL_REGISTERED } from './errors.ts'
import { checkVectors, featuresSchema, outOfRange, toVector } from './features.ts'
import { type Explanation, explain } from './linear.ts'
import type { Manifest } from './manifest.ts'
import { type ModelData, parseOptions } from './options.ts'
import type { Refuse } from './policy.ts'
import { registerProtocol } from './protocol.ts'
import { type IndexEntry, Registry, type Reload } from './registry.ts'
import type { ModelVersion } from './repository.ts'
import { registerControl } from './routes.ts'
import { type Execution, createRuntime } from './runtime.ts'
import type { OpenSession } from './session.ts'

export type { Prediction, Run } from './batcher.ts'
export * from './errors.ts'
export type { Explanation } from './linear.ts'
export { type Bins, type Linear, type Manifest, ManifestSchema } from './manifest.ts'
export { ModelOptionsSchema, type VersionPolicy } from './options.ts'
export { REJECT_REASONS, RELOAD_REASONS, type RejectReason, type ReloadReason } from './coded.ts'
export type { IndexEntry, Reload } from './registry.ts'
export type { ModelVersion } from './repository.ts'
export { openOnnxSession } from './onnx.ts'
export type { Execution } from './runtime.ts'
export type { ModelSession, OpenSession, Scores } from './session.ts'
export { type InputTensor, type OutputTensor, type Role, type Signature, type Tensors, tensorsOf } from './tensors.ts'

/** What one request may ask for. */
export interface PredictOptions extends Patience {
  /** One of the versions that are served; without it, the one that `serving` names. */
  version?: string | undefined
}

/** What `fastify.model` offers. */
export interface Model {
  /** Names of the models that are loaded. */
  readonly names: readonly string[]
  /** Every version that was in order in the repository when it was last looked at (at boot, and at each load), newest first within a model. */
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
  /**
   * Aborts when the client leaves without its reply: for `predict`. Fastify's `request.signal` aborts as soon as the body has been
   * read.
   */
  departure(reply: FastifyReply): AbortSignal
  /** Names of the features of a row that lie outside the middle 99 % of the training rows of the version with this manifest. */
  outOfRange(manifest: Manifest, vector: Float32Array): string[]
  /**
   * What each feature of a row contributes to the log-odds of the version with this manifest, the one that answered. undefined:
   * its manifest has no `linear` block.
   */
  explain(manifest: Manifest, vector: Float32Array): Explanation | undefined
  /** Where the version that answers runs: what `auto` has chosen. @throws TF_ERR_MODEL_UNKNOWN, TF_ERR_MODEL_NOT_LOADED */
  execution(name: string): Execution
  /** Rows that wait for a run of this model, of all versions that are served or being replaced; 0 if there are none. */
  queueDepth(name: string): number
  /** Rows of a version that may wait or be in a run: the option `maxQueueSize`. */
  readonly queueCapacity: number
  /**
   * Scores vectors, row-major, in the order of the manifest's features. A classification answers `probability`, and `margin` if
   * it has one; a regression `score`. Requests of one turn of the event loop are scored in one run; a row's scores are the same,
   * to the bit, whatever it is batched with, if the model's operators see to it. The vectors are copied, unless they are more than
   * `maxBatchSize` rows: then leave them as they are until the answer is there.
   * @throws TF_ERR_MODEL_UNKNOWN, TF_ERR_MODEL_NOT_LOADED, TF_ERR_MODEL_INPUT naming the feature, TF_ERR_MODEL_BUSY,
   * TF_ERR_MODEL_DEADLINE, TF_ERR_MODEL_ABORTED, TF_ERR_MODEL_CRASHED, TF_ERR_MODEL_INFERENCE, TF_ERR_MODEL_OUTPUT
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
  /** Another inference runtime than onnxruntime-node; `execution`, `workers` and `runTimeoutMs` are its own business then. */
  openSession?: OpenSession
  /** Called after each run, with its model; the application wires it to metrics. */
  onRun?: (manifest: Manifest, run: Run) => void
  /** Called for each request that gets no scores, unless it is the request that is wrong. */
  onReject?: (name: string, reason: RejectReason) => void
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
    openSession,
    onRun,
    onReject,
    onReload,
    isReady = () => true,
    ...data
  } = options
  const { repository, versionPolicy, token, inferenceProtocol, maxRequestRows, ...more } = parseOptions(data)
  const { execution, workers, runTimeoutMs, drainTimeoutMs, ...batching } = more

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

  const rejected = guard(onReject)
  const reject = (name: string, error: unknown): void => rejected(name, reasonOf(error, REJECT_REASONS))

  const registry = new Registry({
    repository,
    versionPolicy,
    batching,
    refuse,
    advice,
    open: createRuntime({ execution, workers, runTimeoutMs }, openSession, (err) =>
      fastify.log.error({ err }, 'a thread or process of a model has ended by itself')
    ),
    drainTimeoutMs,
    onRun: guard(onRun),
    onReject: reject,
    onReload: guard(onReload),
    onFault: (err) => fastify.log.error({ err }, 'model could not be released'),
    // Whoever asked has been told; those on call were not. What this package says by itself needs no stack.
    onFailure(name, error) {
      const what = isModelError(error) ? { code: error.code, reason: error.message } : { err: error }
      fastify.log.warn({ model: name, ...what }, 'a load or rollback failed')
    },
    log({ manifest: { name, version, source }, file }, where, message) {
      fastify.log.info({ model: name, version, source, file, execution: where }, message)
    }
  })
  // Before the opening: whatever throws below, a close still releases what was opened, after its last run.
  fastify.addHook('onClose', async () => registry.close())
  await registry.boot()

  /** What a request needs; that it is not loaded is why the request fails. */
  function need(name: string, version?: string): ReturnType<Registry['find']> {
    try {
      return registry.find(name, version)
    } catch (error) {
      if (error instanceof TF_ERR_MODEL_NOT_LOADED) reject(name, error)
      throw error
    }
  }
  const manifestOf = (name: string): Manifest => need(name).version.manifest

  const decorator: Model = {
    get names() {
      return registry.names
    },
    get versions() {
      return registry.versions
    },
    find: (name) => (registry.names.includes(name) ? registry.find(name).version : undefined),
    serving: (name) => need(name).version,
    index: async () => registry.index(),
    load: async (name, version) => registry.load(name, version),
    unload: async (name) => registry.unload(name),
    rollback: async (name) => registry.rollback(name),
    inputSchema: (name) => featuresSchema(manifestOf(name)),
    toVector: (name, record) => toVector(manifestOf(name), record),
    departure,
    outOfRange,
    explain,
    execution: (name) => registry.find(name).execution,
    queueCapacity: batching.maxQueueSize,
    queueDepth: (name) => registry.depth(name),
    // Not async: a promise less in each request.
    predict(name, vectors, wishes) {
      try {
        const { version, batcher } = need(name, wishes?.version)
        checkVectors(version.manifest.features, vectors)
        return batcher.score(vectors, wishes)
      } catch (error) {
        return Promise.reject(error)
      }
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
