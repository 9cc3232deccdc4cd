/** Which versions of each model answer, and how that changes without a request being lost. */
import { Batcher, type BatcherOptions, type Run } from './batcher.ts'
import { RELOAD_REASONS, type ReloadReason, reasonOf } from './coded.ts'
import {
  TF_ERR_MODEL_CHANGING,
  TF_ERR_MODEL_NOT_LOADED,
  TF_ERR_MODEL_NO_ROLLBACK,
  TF_ERR_MODEL_OPTIONS,
  TF_ERR_MODEL_REFUSED,
  TF_ERR_MODEL_REPOSITORY,
  TF_ERR_MODEL_UNKNOWN
} from './errors.ts'
import type { Manifest } from './manifest.ts'
import type { VersionPolicy } from './options.ts'
import { type Refuse, chooseVersions, numbersOf } from './policy.ts'
import { type ModelVersion, modelNames, modelVersions, readModel, readVersion, readVersions } from './repository.ts'
import type { Execution, OpenRuntime } from './runtime.ts'
import type { ModelSession } from './session.ts'
import { tensorsOf } from './tensors.ts'

/** A load or rollback that has ended, as reported to `onReload`. */
export interface Reload {
  model: string
  /** The version that answers from now on; undefined: nothing has changed. */
  version: string | undefined
  result: 'success' | 'failure'
  reason: ReloadReason
  /** Until the new version answers and the old one is released. */
  seconds: number
}

/** A version in the repository, or one that is served, in the words of Triton's repository index. */
export interface IndexEntry {
  name: string
  version: string
  state: 'READY' | 'UNAVAILABLE'
  /** Why it is not ready; empty if it is, or was never asked for. */
  reason: string
}

export interface RegistryOptions {
  repository: string
  versionPolicy: Readonly<Record<string, VersionPolicy>>
  batching: Omit<BatcherOptions, 'onRun' | 'onReject'>
  /** Milliseconds that what waits gets, when a version ends. */
  drainTimeoutMs: number
  refuse: Refuse
  /** Ends the message that no version fits. */
  advice: string
  /** Opens a version and proves that it works. */
  open: OpenRuntime
  onRun: (manifest: Manifest, run: Run) => void
  /** Told of each request that gets no scores. */
  onReject: (name: string, error: Error) => void
  onReload: (reload: Reload) => void
  /** Told that a session could not be released. */
  onFault: (error: Error) => void
  /** Told of an error that ended a load or rollback. */
  onFailure: (name: string, error: unknown) => void
  log: (version: ModelVersion, execution: Execution, message: string) => void
}

/** A version that answers. */
interface Served {
  version: ModelVersion
  session: ModelSession
  execution: Execution
  batcher: Batcher
}

interface Model {
  /** The versions that answer; the first one those who name none. Empty: unloaded. */
  live: readonly Served[]
  /** Versions that were in order in the repository when it was last looked at, newest first. */
  versions: readonly ModelVersion[]
  /** The names of its features and its answers: schemas and vectors made by them outlive a version. */
  contract: string
  /** Versions that were the first, the latest last. */
  past: string[]
  /** The version that failed to load last, and why. */
  failure?: { version: string; reason: string }
}

/** Versions that a rollback can go back through. */
const MAX_PAST = 16

/** Puts a version behind those that were served before it; the same again is no step. */
function remember(past: string[], version: string): void {
  if (past.at(-1) === version) return
  past.push(version)
  if (past.length > MAX_PAST) past.shift()
}

function contractOf(manifest: Manifest): string {
  const answers = tensorsOf(manifest).outputs.map(({ role }) => role)
  return JSON.stringify([manifest.features.map(({ name }) => name), answers.toSorted()])
}

export class Registry {
  readonly #options: RegistryOptions
  readonly #models = new Map<string, Model>()
  /** Versions that answer nobody any more, but those who wait. */
  readonly #retiring = new Set<Served>()
  /** Changes under way: one of a model at a time. */
  readonly #changing = new Map<string, Promise<unknown>>()
  #booted = false
  #closed = false

  constructor(options: RegistryOptions) {
    this.#options = options
  }

  /** Loads every model of the repository. @throws what is wrong with the first that can't be */
  async boot(): Promise<void> {
    const { repository, versionPolicy } = this.#options
    for (const name of await modelNames(repository)) {
      if ((await modelVersions(repository, name)).length > 0) await this.#switch(name)
    }
    if (this.#models.size === 0)
      throw new TF_ERR_MODEL_REPOSITORY(`${repository} holds no model (<name>/<version>/manifest.json)`)
    const unknown = Object.keys(versionPolicy).find((name) => !this.#models.has(name))
    if (unknown !== undefined) throw new TF_ERR_MODEL_OPTIONS(`versionPolicy/${unknown}: there is no such model`)
    this.#booted = true
  }

  /** Names of the models that are loaded. */
  get names(): string[] {
    return [...this.#models].flatMap(([name, { live }]) => (live.length > 0 ? [name] : []))
  }

  get versions(): ModelVersion[] {
    return [...this.#models.values()].flatMap(({ versions }) => versions)
  }

  /** What answers for a model, or for one version of it. @throws TF_ERR_MODEL_UNKNOWN, TF_ERR_MODEL_NOT_LOADED */
  find(name: string, version?: string): Served {
    const model = this.#models.get(name)
    if (model === undefined) throw new TF_ERR_MODEL_UNKNOWN(name)
    const first = model.live[0]
    if (first === undefined)
      throw Object.assign(new TF_ERR_MODEL_NOT_LOADED(name), { headers: { 'retry-after': '10' } })
    if (version === undefined) return first
    const found = model.live.find((served) => served.version.manifest.version === version)
    if (found === undefined) throw new TF_ERR_MODEL_UNKNOWN(`${name}/${version}`)
    return found
  }

  /** Numbers of the versions that answer for a loaded model, first the one that answers who names none. */
  served(name: string): string[] {
    return this.#models.get(name)!.live.map(({ version }) => version.manifest.version)
  }

  /** Rows that wait for a run of a model, of all versions: also those of one that was replaced. */
  depth(name: string): number {
    const retiring = [...this.#retiring].filter(({ version }) => version.manifest.name === name)
    const served = [...(this.#models.get(name)?.live ?? []), ...retiring]
    return served.reduce((sum, { batcher }) => sum + batcher.depth, 0)
  }

  /** Every version that lies in the repository now or is served, by name, newest first. Opens nothing. */
  async index(): Promise<IndexEntry[]> {
    const { repository } = this.#options
    const names = new Set([...(await modelNames(repository)), ...this.#models.keys()])
    const entries: IndexEntry[] = []
    for (const name of [...names].toSorted()) {
      const { live = [], failure } = this.#models.get(name) ?? {}
      const ready = live.map(({ version: { manifest } }) => manifest.version)
      const versions = new Set([...(await modelVersions(repository, name)), ...ready])
      for (const version of [...versions].toSorted((a, b) => Number(b) - Number(a))) {
        if (ready.includes(version)) entries.push({ name, version, state: 'READY', reason: '' })
        else {
          const reason = failure?.version === version ? failure.reason : await this.#fault(name, version)
          entries.push({ name, version, state: 'UNAVAILABLE', reason })
        }
      }
    }
    return entries
  }

  async #fault(name: string, version: string): Promise<string> {
    return readVersion(this.#options.repository, name, version).then(
      () => '',
      ({ message }: Error) => message
    )
  }

  /**
   * Serves a version, or those that the policy chooses, instead of what is served now. Until it has proven itself the old one
   * answers; what fails changes nothing. Resolves to the version that answers, when the old one has ended its runs and is
   * released.
   */
  async load(name: string, version?: string): Promise<ModelVersion> {
    return this.#reload(name, async () => this.#switch(name, version))
  }

  /**
   * Serves the version that was served before, as far as it is still there; if none was, the newest one below it that fits.
   * @throws TF_ERR_MODEL_NO_ROLLBACK, and what `load` does
   */
  async rollback(name: string): Promise<ModelVersion> {
    return this.#reload(name, async () => {
      const { manifest } = this.find(name).version
      const { past } = this.#models.get(name)!
      const there = await modelVersions(this.#options.repository, name)
      while (past.length > 0 && (past.at(-1) === manifest.version || !there.includes(past.at(-1)!))) past.pop()
      const before = past.at(-1) ?? (await this.#below(name, manifest.version))
      if (before === undefined) throw new TF_ERR_MODEL_NO_ROLLBACK(name)
      const version = await this.#switch(name, before, true)
      past.pop()
      return version
    })
  }

  /** Nothing answers for the model any more. Resolves when its runs have ended and it is released. */
  async unload(name: string): Promise<void> {
    await this.#exclusive(name, async () => {
      const { version, execution } = this.find(name)
      const model = this.#models.get(name)!
      const { live } = model
      model.live = []
      remember(model.past, version.manifest.version)
      await Promise.all(live.map(this.#retire))
      this.#options.log(version, execution, 'model unloaded')
    })
  }

  /** Waits for changes under way, then for the runs, and releases all. Nothing is loaded any more. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.allSettled(this.#changing.values())
    for (const model of this.#models.values()) {
      const { live } = model
      model.live = []
      await Promise.all(live.map(this.#retire))
    }
  }

  /** After its last run. */
  readonly #retire = async (served: Served): Promise<void> => {
    const { batcher, session } = served
    this.#retiring.add(served)
    await batcher.drain(this.#options.drainTimeoutMs)
    this.#retiring.delete(served)
    // What was asked for has happened: a failing release is no reason to say that it has not.
    await session.release().catch((error: Error) => this.#options.onFault(error))
  }

  async #exclusive<T>(name: string, change: () => Promise<T>): Promise<T> {
    if (this.#closed || this.#changing.has(name)) throw new TF_ERR_MODEL_CHANGING(name)
    const done = change()
    this.#changing.set(name, done)
    return done.finally(() => this.#changing.delete(name))
  }

  async #reload(name: string, change: () => Promise<ModelVersion>): Promise<ModelVersion> {
    const started = performance.now()
    const report = (result: Reload['result'], reason: ReloadReason, version?: string): void => {
      const seconds = (performance.now() - started) / 1000
      this.#options.onReload({ model: name, version, result, reason, seconds })
    }
    try {
      const version = await this.#exclusive(name, change)
      report('success', 'none', version.manifest.version)
      return version
    } catch (error) {
      report('failure', reasonOf(error, RELOAD_REASONS))
      this.#options.onFailure(name, error)
      throw error
    }
  }

  /** What to serve, first the one that answers those who name none; and every version that is known now. */
  async #choose(name: string, wanted?: string): Promise<{ chosen: ModelVersion[]; known: ModelVersion[] }> {
    const { repository, versionPolicy, refuse, advice } = this.#options
    const policy = (Object.hasOwn(versionPolicy, name) ? versionPolicy[name] : undefined) ?? 'latest'
    // Whatever has become of the others, what is asked for by its number, going back too, must work.
    const read = await readVersions(repository, name, wanted === undefined ? numbersOf(policy, wanted) : [wanted])
    const there = read.map(({ manifest }) => manifest.version)
    // Besides what is asked for, what is served stays.
    const served = wanted === undefined ? [] : (this.#models.get(name)?.live ?? []).map(({ version }) => version)
    const known = [...read, ...served.filter(({ manifest }) => !there.includes(manifest.version))]
    known.sort((a, b) => Number(b.manifest.version) - Number(a.manifest.version))
    const chosen = chooseVersions(name, known, policy, wanted, refuse, advice)
    return { chosen, known }
  }

  async #open(version: ModelVersion, contract: string): Promise<Served> {
    const { open, batching, onRun, onReject } = this.#options
    const { manifest } = version
    // Schemas that were compiled, and vectors on their way, would mean something else.
    if (contractOf(manifest) !== contract)
      throw new TF_ERR_MODEL_REFUSED(
        `${manifest.name}/${manifest.version}`,
        'has other features or answers than the one before'
      )
    const { session, execution } = await open(await readModel(version), manifest, this.#booted)
    const batcher = new Batcher(session, manifest, {
      ...batching,
      onRun: (run) => onRun(manifest, run),
      onReject: (error) => onReject(manifest.name, error)
    })
    return { version, session, execution, batcher }
  }

  /** `back`: a rollback, so that the next one goes further back. */
  async #switch(name: string, wanted?: string, back = false): Promise<ModelVersion> {
    const { chosen, known } = await this.#choose(name, wanted)
    const before = this.#models.get(name)
    const old = before?.live ?? []
    const [first] = chosen as [ModelVersion]
    // Versions of a list are asked with the same vectors, so this holds at boot too.
    const contract = before?.contract ?? contractOf(first.manifest)
    const live: Served[] = []
    for (const version of chosen) {
      const { version: number } = version.manifest
      // Besides the one that is asked for, what is served already stays as it is.
      const same =
        wanted === undefined || wanted === number
          ? undefined
          : old.find((served) => served.version.manifest.version === number)
      try {
        live.push(same ?? (await this.#open(version, contract)))
      } catch (error) {
        if (before) before.failure = { version: number, reason: (error as Error).message }
        await Promise.all(live.filter((served) => !old.includes(served)).map(this.#retire))
        throw error
      }
    }
    const number = first.manifest.version
    const past = before?.past ?? []
    const from = old[0]?.version.manifest.version
    if (!back && from !== undefined && from !== number) remember(past, from)
    // The switch: who asks from here on is answered by the new one.
    this.#models.set(name, { live, versions: known, contract, past })
    this.#options.log(first, live[0]!.execution, 'model loaded')
    await Promise.all(old.filter((served) => !live.includes(served)).map(this.#retire))
    return first
  }

  async #below(name: string, version: string): Promise<string | undefined> {
    const { repository, refuse } = this.#options
    for (const number of await modelVersions(repository, name)) {
      if (Number(number) >= Number(version)) continue
      const found = await readVersion(repository, name, number).catch(() => undefined)
      if (found !== undefined && refuse(found.manifest) === undefined) return number
    }
    return undefined
  }
}
