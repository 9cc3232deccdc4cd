/** Micro-batching: what arrives in one turn of the event loop is scored in one run. */
import { isModelError } from './coded.ts'
import { TF_ERR_MODEL_BUSY, TF_ERR_MODEL_INFERENCE } from './errors.ts'
import type { Manifest } from './manifest.ts'
import { type ModelSession, type Scores, checkScores } from './session.ts'

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
  /** Absent: the run failed. */
  scores?: Scores
}

export interface BatcherOptions {
  /** Rows of one run at the most; a single larger request runs alone. */
  maxBatchRows: number
  /** Rows that may wait; beyond them a request is refused. */
  maxQueueRows: number
  onRun?: ((run: Run) => void) | undefined
}

interface Job {
  rows: number
  resolve: (prediction: Prediction) => void
  reject: (error: Error) => void
}

/** The requests of one run, their rows one after the other. */
interface Batch {
  /** Room for rows; the first `rows` of it are taken. */
  features: Float32Array
  rows: number
  jobs: Job[]
}

const FIRST_ROWS = 16

/** Collects requests until the event loop turns and runs them together. A row's scores do not depend on its batch. */
export class Batcher {
  readonly #session: ModelSession
  readonly #manifest: Manifest
  readonly #options: BatcherOptions
  readonly #width: number
  readonly #queue: Batch[] = []
  #queued = 0
  /** Rows that wait or are being scored: what the bound is on. */
  #pending = 0
  readonly #running = new Set<Promise<void>>()
  #scheduled = false
  /** The room of a batch that has been scored, for the next one. */
  #spare: Float32Array | undefined

  constructor(session: ModelSession, manifest: Manifest, options: BatcherOptions) {
    this.#session = session
    this.#manifest = manifest
    this.#options = options
    this.#width = manifest.features.length
  }

  /** Rows that wait for a run. */
  get depth(): number {
    return this.#queued
  }

  /** Whole rows, which are copied. Rejects with TF_ERR_MODEL_BUSY if the queue is full, TF_ERR_MODEL_INFERENCE if the run fails. */
  score(vectors: Float32Array): Promise<Prediction> {
    const rows = vectors.length / this.#width
    // A request larger than the whole bound could never be served: it may come when nothing else does.
    if (this.#pending > 0 && this.#pending + rows > this.#options.maxQueueRows)
      return Promise.reject(Object.assign(new TF_ERR_MODEL_BUSY(), { headers: { 'retry-after': '1' } }))
    this.#queued += rows
    this.#pending += rows
    const batch = this.#batchFor(rows)
    batch.features.set(vectors, batch.rows * this.#width)
    batch.rows += rows
    this.#schedule()
    return new Promise((resolve, reject) => void batch.jobs.push({ rows, resolve, reject }))
  }

  /** Resolves when nothing waits or runs any more. */
  async drain(): Promise<void> {
    while (this.#queue.length > 0 || this.#running.size > 0) {
      await Promise.all(this.#running)
      await new Promise(setImmediate)
    }
  }

  /** The last batch in the queue if it may take so many rows more, otherwise a new one. */
  #batchFor(rows: number): Batch {
    let batch = this.#queue.at(-1)
    if (batch === undefined || batch.rows + rows > this.#options.maxBatchRows) {
      const features = this.#spare ?? new Float32Array(FIRST_ROWS * this.#width)
      this.#spare = undefined
      this.#queue.push((batch = { features, rows: 0, jobs: [] }))
    }
    const needed = (batch.rows + rows) * this.#width
    if (needed > batch.features.length) {
      const larger = new Float32Array(Math.max(needed, 2 * batch.features.length))
      larger.set(batch.features)
      batch.features = larger
    }
    return batch
  }

  /** Begins a run for the first batch, unless one is about to begin: what comes until it asks for its rows joins it. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    const run = this.#run(this.#queue[0]!)
    this.#running.add(run)
    void run.finally(() => this.#running.delete(run))
  }

  /** Nothing joins the batch any more; the next one may begin. */
  #close(batch: Batch): void {
    if (this.#queue[0] !== batch) return
    this.#queue.shift()
    this.#queued -= batch.rows
    this.#scheduled = false
    if (this.#queue.length > 0) this.#schedule()
  }

  async #run(batch: Batch): Promise<void> {
    let started = performance.now()
    let scores: Scores | undefined
    let seconds: number
    try {
      const answered = await this.#session.run(() => {
        this.#close(batch)
        started = performance.now()
        return { features: batch.features.subarray(0, batch.rows * this.#width), rows: batch.rows }
      })
      seconds = (performance.now() - started) / 1000
      checkScores(answered, batch.rows)
      scores = answered
      this.#answer(batch.jobs, scores)
    } catch (cause) {
      seconds = (performance.now() - started) / 1000
      // The runtime may have failed before it asked.
      this.#close(batch)
      const error = isModelError(cause) ? cause : new TF_ERR_MODEL_INFERENCE('the runtime failed', { cause })
      for (const job of batch.jobs) job.reject(error)
    }
    this.#pending -= batch.rows
    // What a single large request needed is not kept.
    if (batch.features.length <= this.#options.maxBatchRows * this.#width) this.#spare = batch.features
    this.#options.onRun?.({ seconds, rows: batch.rows, requests: batch.jobs.length, ...(scores && { scores }) })
  }

  #answer(jobs: readonly Job[], { probability, margin }: Scores): void {
    const manifest = this.#manifest
    let from = 0
    for (const job of jobs) {
      const to = from + job.rows
      job.resolve({ probability: probability.subarray(from, to), margin: margin.subarray(from, to), manifest })
      from = to
    }
  }
}
