/** Micro-batching: what arrives in one turn of the event loop, or while the runtime is busy, is scored in one run. */
import { isModelError } from './coded.ts'
import { TF_ERR_MODEL_ABORTED, TF_ERR_MODEL_BUSY, TF_ERR_MODEL_DEADLINE, TF_ERR_MODEL_INFERENCE } from './errors.ts'
import type { Manifest } from './manifest.ts'
import type { ModelData } from './options.ts'
import { type ModelSession, type Scores, checkScores } from './session.ts'
import { type Tensors, tensorsOf } from './tensors.ts'

/** The scores of a request's rows, and the version that gave them: it may be another one than a moment ago. */
export interface Prediction extends Scores {
  manifest: Manifest
}

/** One run, as reported to `onRun`. */
export interface Run {
  /** Seconds of the run alone, without the wait for it. */
  seconds: number
  rows: number
  requests: number
  /** Seconds that each of the requests waited for it. */
  waits: readonly number[]
  /** Absent: the run failed. */
  scores?: Scores
}

/** What one request may ask of the queue. */
export interface Patience {
  /** Milliseconds from now after which nobody waits for the answer any more. What has not begun by then never does. */
  deadline?: number | undefined
  /** Says that nobody waits any more. */
  signal?: AbortSignal | undefined
}

/** Time, which tests make themselves; in milliseconds. */
export interface Clock {
  now: () => number
  setTimeout: (callback: () => void, milliseconds: number) => unknown
  clearTimeout: (timer: unknown) => void
}

const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  setTimeout,
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout | undefined)
}

export interface BatcherOptions extends Pick<
  ModelData,
  'maxBatchSize' | 'maxQueueDelayMs' | 'maxQueueSize' | 'overflowStatus'
> {
  onRun: (run: Run) => void
  /** Told of each request that gets no scores. */
  onReject: (error: Error) => void
  clock?: Clock
}

interface Job {
  rows: number
  /** When it came, by the clock. */
  since: number
  /** Answered, or given up. */
  settled: boolean
  resolve: (prediction: Prediction) => void
  reject: (error: Error) => void
  /** Stops its timer, and listening to its signal. */
  forget?: () => void
}

/** The requests of one run, their rows one after the other. */
interface Batch {
  /** Room for rows; the first `rows` of it are taken. */
  features: Float32Array
  rows: number
  jobs: Job[]
  /** It waits. */
  open: boolean
  /** Rows of requests that gave up. */
  given: number
}

const FIRST_ROWS = 16
/** The weight of the newest run in the mean of their times. */
const NEWEST = 0.2
/** Seconds; longer waits are not promised. */
const MAX_RETRY_AFTER = 600

/** Everybody gave up before the run began. */
class NothingLeft extends Error {}

/** A row's scores do not depend on its batch. */
export class Batcher {
  readonly #session: ModelSession
  readonly #manifest: Manifest
  readonly #options: BatcherOptions
  readonly #width: number
  readonly #outputs: Tensors['outputs']
  readonly #clock: Clock
  readonly #queue: Batch[] = []
  #queued = 0
  /** Rows that wait or are being scored: what the bound is on. */
  #pending = 0
  readonly #running = new Set<Promise<void>>()
  /** A run is about to begin: it takes the first batch when it asks for rows. */
  #scheduled = false
  /** Runs out when the first batch has waited long enough for others. */
  #timer: unknown
  #draining = false
  /** The room of a batch that has been scored, for the next one. */
  #spare: Float32Array | undefined
  /** Mean seconds of a run, the newer the weightier. */
  #pace = 0

  constructor(session: ModelSession, manifest: Manifest, options: BatcherOptions) {
    this.#session = session
    this.#manifest = manifest
    this.#options = options
    this.#width = manifest.features.length
    this.#outputs = tensorsOf(manifest).outputs
    this.#clock = options.clock ?? SYSTEM_CLOCK
  }

  /** Rows that wait for a run. */
  get depth(): number {
    return this.#queued
  }

  /**
   * Whole rows, which are copied. Rejects with TF_ERR_MODEL_BUSY if the queue is full, TF_ERR_MODEL_DEADLINE,
   * TF_ERR_MODEL_ABORTED, and what the run fails with.
   */
  score(vectors: Float32Array, { deadline, signal }: Patience = {}): Promise<Prediction> {
    const rows = vectors.length / this.#width
    if (signal?.aborted) return Promise.reject(this.#rejected(new TF_ERR_MODEL_ABORTED()))
    if (deadline !== undefined && !(deadline > 0)) return Promise.reject(this.#rejected(new TF_ERR_MODEL_DEADLINE()))
    // A request larger than the whole bound could never be served: it may come when nothing else does.
    if (this.#pending > 0 && this.#pending + rows > this.#options.maxQueueSize)
      return Promise.reject(this.#rejected(this.#busy()))
    this.#queued += rows
    this.#pending += rows
    const batch = this.#batchFor(rows)
    batch.features.set(vectors, batch.rows * this.#width)
    batch.rows += rows
    return new Promise((resolve, reject) => {
      const job: Job = { rows, since: this.#clock.now(), settled: false, resolve, reject }
      batch.jobs.push(job)
      if (deadline !== undefined || signal !== undefined) this.#watch(batch, job, deadline, signal)
      this.#schedule()
    })
  }

  /** Resolves when nothing waits or runs any more; what still waits after so many milliseconds is refused. */
  async drain(milliseconds: number): Promise<void> {
    this.#draining = true
    this.#schedule()
    const timer = this.#clock.setTimeout(() => {
      for (const batch of this.#queue) for (const job of batch.jobs) this.#giveUp(batch, job, this.#busy())
    }, milliseconds)
    while (this.#queue.length > 0 || this.#running.size > 0) {
      await Promise.all(this.#running)
      await new Promise(setImmediate)
    }
    this.#clock.clearTimeout(timer)
  }

  #rejected(error: Error): Error {
    this.#options.onReject(error)
    return error
  }

  /** Says when to come again: when the runs under way and what waits now will have been scored, as fast as it goes. */
  #busy(): Error {
    const turns = this.#queue.length / Math.max(1, this.#running.size) + 1
    const seconds = Math.min(MAX_RETRY_AFTER, Math.max(1, Math.ceil(turns * this.#pace)))
    return Object.assign(new TF_ERR_MODEL_BUSY(), {
      statusCode: this.#options.overflowStatus,
      headers: { 'retry-after': String(seconds) }
    })
  }

  #watch(batch: Batch, job: Job, deadline: number | undefined, signal: AbortSignal | undefined): void {
    const late = (): void => this.#giveUp(batch, job, new TF_ERR_MODEL_DEADLINE())
    const aborted = (): void => this.#giveUp(batch, job, new TF_ERR_MODEL_ABORTED())
    const timer = deadline === undefined ? undefined : this.#clock.setTimeout(late, deadline)
    signal?.addEventListener('abort', aborted)
    job.forget = () => {
      this.#clock.clearTimeout(timer)
      signal?.removeEventListener('abort', aborted)
    }
  }

  /** Nobody waits for this request any more. One that is in a run stays there, unanswered. */
  #giveUp(batch: Batch, job: Job, error: Error): void {
    if (job.settled) return
    this.#fail(job, error)
    if (!batch.open) return
    batch.given += job.rows
    this.#queued -= job.rows
    this.#pending -= job.rows
  }

  #fail(job: Job, error: Error): void {
    if (job.settled) return
    job.settled = true
    job.forget?.()
    job.reject(this.#rejected(error))
  }

  /** The last batch in the queue if it may take so many rows more, otherwise a new one. */
  #batchFor(rows: number): Batch {
    let batch = this.#queue.at(-1)
    if (batch === undefined || batch.rows + rows > this.#options.maxBatchSize) {
      const features = this.#spare ?? new Float32Array(FIRST_ROWS * this.#width)
      this.#spare = undefined
      this.#queue.push((batch = { features, rows: 0, jobs: [], open: true, given: 0 }))
    }
    const needed = (batch.rows + rows) * this.#width
    if (needed > batch.features.length) {
      const larger = new Float32Array(Math.max(needed, 2 * batch.features.length))
      larger.set(batch.features)
      batch.features = larger
    }
    return batch
  }

  /** Begins a run, unless one is about to begin, or the first batch may wait for more. */
  #schedule(): void {
    const [first] = this.#queue
    if (this.#scheduled || first === undefined) return
    const { maxQueueDelayMs, maxBatchSize } = this.#options
    if (maxQueueDelayMs > 0 && !this.#draining && this.#queue.length === 1 && first.rows < maxBatchSize) {
      const waited = this.#clock.now() - first.jobs[0]!.since
      if (waited < maxQueueDelayMs) {
        this.#timer ??= this.#clock.setTimeout(() => this.#begin(), maxQueueDelayMs - waited)
        return
      }
    }
    this.#begin()
  }

  #begin(): void {
    this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
    this.#scheduled = true
    const run = this.#run()
    this.#running.add(run)
    void run.finally(() => this.#running.delete(run))
  }

  /** The first batch in which somebody still waits. Nothing joins it any more; the next one may begin. @throws NothingLeft */
  #take(): Batch {
    this.#scheduled = false
    let batch: Batch | undefined
    do {
      batch = this.#queue.shift()
      if (batch === undefined) throw new NothingLeft()
      batch.open = false
      if (batch.given > 0) this.#close(batch)
    } while (batch.rows === 0)
    this.#queued -= batch.rows
    this.#schedule()
    return batch
  }

  /** Moves the rows of those who still wait together. */
  #close(batch: Batch): void {
    let from = 0
    let to = 0
    for (const { rows, settled } of batch.jobs) {
      if (!settled) {
        batch.features.copyWithin(to * this.#width, from * this.#width, (from + rows) * this.#width)
        to += rows
      }
      from += rows
    }
    batch.rows = to
    batch.jobs = batch.jobs.filter(({ settled }) => !settled)
  }

  async #run(): Promise<void> {
    const run: { batch?: Batch; started: number } = { started: this.#clock.now() }
    try {
      const scores = await this.#session.run(() => {
        const batch = this.#take()
        run.batch = batch
        run.started = this.#clock.now()
        return { features: batch.features.subarray(0, batch.rows * this.#width), rows: batch.rows }
      })
      const seconds = (this.#clock.now() - run.started) / 1000
      checkScores(scores, run.batch!.rows, this.#outputs)
      this.#answer(run.batch!.jobs, scores)
      this.#end(run.batch!, run.started, seconds, scores)
    } catch (cause) {
      const seconds = (this.#clock.now() - run.started) / 1000
      // The runtime may have failed before it asked.
      const batch = run.batch ?? this.#takeIfAny()
      if (batch === undefined) return
      const error = isModelError(cause) ? cause : new TF_ERR_MODEL_INFERENCE('the runtime failed', { cause })
      for (const job of batch.jobs) this.#fail(job, error)
      this.#end(batch, run.started, seconds)
    }
  }

  #takeIfAny(): Batch | undefined {
    try {
      return this.#take()
    } catch {
      return undefined
    }
  }

  #answer(jobs: readonly Job[], scores: Scores): void {
    let from = 0
    for (const job of jobs) {
      const to = from + job.rows
      job.settled = true
      job.forget?.()
      const prediction: Prediction = { manifest: this.#manifest }
      for (const { role } of this.#outputs) prediction[role] = scores[role]!.subarray(from, to)
      job.resolve(prediction)
      from = to
    }
  }

  #end(batch: Batch, started: number, seconds: number, scores?: Scores): void {
    const { rows, jobs } = batch
    this.#pending -= rows
    this.#pace += (this.#pace === 0 ? 1 : NEWEST) * (seconds - this.#pace)
    // What a single large request needed is not kept.
    if (batch.features.length <= this.#options.maxBatchSize * this.#width) this.#spare = batch.features
    const waits = jobs.map(({ since }) => (started - since) / 1000)
    this.#options.onRun({ seconds, rows, requests: jobs.length, waits, ...(scores && { scores }) })
  }
}
