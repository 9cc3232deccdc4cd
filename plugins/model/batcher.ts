/** Micro-batching: what arrives in one turn of the event loop is scored in one run. */
import { TF_ERR_MODEL_BUSY, TF_ERR_MODEL_INFERENCE } from './errors.ts'
import { type ModelSession, type Scores, checkScores } from './session.ts'

interface Job {
  features: Float32Array
  rows: number
  resolve: (scores: Scores) => void
  reject: (error: Error) => void
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

/** Collects requests until the event loop turns and runs them together. A row's scores do not depend on its batch. */
export class Batcher {
  readonly #session: ModelSession
  readonly #options: BatcherOptions
  #queue: Job[] = []
  #queued = 0
  /** Rows that wait or are being scored: what the bound is on. */
  #pending = 0
  #running = new Set<Promise<void>>()
  #scheduled = false

  constructor(session: ModelSession, options: BatcherOptions) {
    this.#session = session
    this.#options = options
  }

  /** Rows that wait for a run. */
  get depth(): number {
    return this.#queued
  }

  /** @throws TF_ERR_MODEL_BUSY when the queue is full; TF_ERR_MODEL_INFERENCE when the run fails. */
  async score(features: Float32Array, rows: number): Promise<Scores> {
    // A request larger than the whole bound could never be served: it may come when nothing else does.
    if (this.#pending > 0 && this.#pending + rows > this.#options.maxQueueRows)
      throw Object.assign(new TF_ERR_MODEL_BUSY(), { headers: { 'retry-after': '1' } })
    this.#queued += rows
    this.#pending += rows
    return new Promise((resolve, reject) => {
      this.#queue.push({ features, rows, resolve, reject })
      this.#schedule()
    })
  }

  /** Resolves when nothing waits or runs any more. */
  async drain(): Promise<void> {
    while (this.#queue.length > 0 || this.#running.size > 0) {
      await Promise.all(this.#running)
      await new Promise(setImmediate)
    }
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      const run = this.#run(this.#take())
      this.#running.add(run)
      void run.finally(() => this.#running.delete(run))
      if (this.#queue.length > 0) this.#schedule()
    })
  }

  #take(): Job[] {
    let rows = 0
    const fits = this.#queue.findIndex((job, i) => (rows += job.rows) > this.#options.maxBatchRows && i > 0)
    const jobs = this.#queue.splice(0, fits === -1 ? this.#queue.length : fits)
    for (const job of jobs) this.#queued -= job.rows
    return jobs
  }

  async #run(jobs: Job[]): Promise<void> {
    const rows = jobs.reduce((sum, job) => sum + job.rows, 0)
    const run: Run = { seconds: 0, rows, requests: jobs.length }
    let started = performance.now()
    try {
      // onnxruntime computes in a setImmediate of its own, after whatever else this turn holds: ours, queued just before, is
      // when the run begins. A session that answers at once has been timed from here.
      setImmediate(() => {
        started = performance.now()
      })
      const scores = await this.#session.run(concatenate(jobs), rows)
      run.seconds = (performance.now() - started) / 1000
      checkScores(scores, rows)
      run.scores = scores
      let from = 0
      for (const job of jobs) {
        const to = from + job.rows
        job.resolve({ probability: scores.probability.slice(from, to), margin: scores.margin.slice(from, to) })
        from = to
      }
    } catch (cause) {
      run.seconds = (performance.now() - started) / 1000
      const error =
        cause instanceof TF_ERR_MODEL_INFERENCE ? cause : new TF_ERR_MODEL_INFERENCE('the runtime failed', { cause })
      for (const job of jobs) job.reject(error)
    }
    this.#pending -= rows
    this.#options.onRun?.(run)
  }
}

function concatenate(jobs: readonly Job[]): Float32Array {
  if (jobs.length === 1) return jobs[0]!.features
  const all = new Float32Array(jobs.reduce((length, job) => length + job.features.length, 0))
  let offset = 0
  for (const { features } of jobs) {
    all.set(features, offset)
    offset += features.length
  }
  return all
}
