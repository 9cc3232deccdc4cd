/** Micro-batching: what arrives in one turn of the event loop, or while the runtime is busy, is scored in one run. */
import { Batch, type Job } from './batch.ts'
import { isModelError } from './coded.ts'
import {
  TF_ERR_MODEL_ABORTED,
  TF_ERR_MODEL_BUSY,
  TF_ERR_MODEL_DEADLINE,
  TF_ERR_MODEL_INFERENCE,
  TF_ERR_MODEL_OUTPUT
} from './errors.ts'
import type { Manifest } from './manifest.ts'
import type { ModelData } from './options.ts'
import { type ModelSession, type Scores, checkLengths, faultOf } from './session.ts'
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
  /** Rows that have scores. */
  answered: number
  /** Theirs, in their order. Absent: the run failed. */
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

/** The weight of the newest run in the mean of their times. */
const NEWEST = 0.2
/** Milliseconds; Node's timers take a longer one for none. */
const LONGEST_TIMEOUT = 2 ** 31 - 1
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
  /** Runs under way, of which one or more may still wait for a worker; who waits for their end. */
  #running = 0
  /** Those that have their rows. */
  #computing = 0
  readonly #onIdle: (() => void)[] = []
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
   * Whole rows. They are copied, unless they are more than `maxBatchSize`: such an array must stay as it is until it is answered.
   * Rejects with TF_ERR_MODEL_BUSY if the queue is full, TF_ERR_MODEL_DEADLINE, TF_ERR_MODEL_ABORTED, and what the run fails with.
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
    const batch = this.#join(vectors, rows)
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
    // What waits has a run that is about to begin.
    if (this.#running > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve))
    this.#clock.clearTimeout(timer)
  }

  #rejected(error: Error): Error {
    this.#options.onReject(error)
    return error
  }

  /** Says when to come again: when the runs under way and what waits now will have been scored, as fast as it goes. */
  #busy(): Error {
    const turns = this.#queue.length / Math.max(1, this.#computing) + Math.min(1, this.#computing)
    const seconds = Math.min(MAX_RETRY_AFTER, Math.max(1, Math.ceil(turns * this.#pace)))
    return Object.assign(new TF_ERR_MODEL_BUSY(), {
      statusCode: this.#options.overflowStatus,
      headers: { 'retry-after': String(seconds) }
    })
  }

  #watch(batch: Batch, job: Job, deadline: number | undefined, signal: AbortSignal | undefined): void {
    const late = (): void => this.#giveUp(batch, job, new TF_ERR_MODEL_DEADLINE())
    const aborted = (): void => this.#giveUp(batch, job, new TF_ERR_MODEL_ABORTED())
    const timer = deadline === undefined ? undefined : this.#clock.setTimeout(late, Math.min(deadline, LONGEST_TIMEOUT))
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
    batch.giveUp(job.rows)
    this.#queued -= job.rows
    this.#pending -= job.rows
  }

  #fail(job: Job, error: Error): void {
    if (job.settled) return
    job.settled = true
    job.forget?.()
    job.reject(this.#rejected(error))
  }

  /** Rows join the last batch in the queue if it may take so many more, otherwise a new one. */
  #join(vectors: Float32Array, rows: number): Batch {
    const last = this.#queue.at(-1)
    if (last !== undefined && last.rows + rows <= this.#options.maxBatchSize) {
      last.append(vectors)
      return last
    }
    const batch = this.#newBatch(vectors, rows)
    this.#queue.push(batch)
    return batch
  }

  #newBatch(vectors: Float32Array, rows: number): Batch {
    if (this.#isLarge(rows)) return new Batch(this.#width, vectors, rows)
    const batch = new Batch(this.#width, this.#spare)
    this.#spare = undefined
    batch.append(vectors)
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
    void this.#run()
  }

  /** The first batch in which somebody still waits. Nothing joins it any more; the next one may begin. @throws NothingLeft */
  #take(): Batch {
    this.#scheduled = false
    let batch: Batch | undefined
    do {
      batch = this.#queue.shift()
      if (batch === undefined) throw new NothingLeft()
      batch.close()
    } while (batch.rows === 0)
    this.#queued -= batch.rows
    this.#schedule()
    return batch
  }

  async #run(): Promise<void> {
    this.#running++
    const run: { asked: boolean; batch?: Batch; started: number } = { asked: false, started: this.#clock.now() }
    let seconds: number | undefined
    try {
      const scores = await this.#session.run(() => {
        run.asked = true
        const batch = this.#take()
        this.#computing++
        run.batch = batch
        run.started = this.#clock.now()
        return batch.content
      })
      seconds = this.#clockRun(run.started)
      checkLengths(scores, run.batch!.rows, this.#outputs)
      this.#end(run.batch!, run.started, seconds, this.#answer(run.batch!, scores))
    } catch (cause) {
      if (run.batch === undefined) {
        // Without rows there was no run, but a wait for one.
        run.started = this.#clock.now()
        seconds = 0
      }
      seconds ??= this.#clockRun(run.started)
      // The runtime may have failed before it asked. If it did ask and got nothing, what waits now has a run of its own.
      const batch = run.asked ? run.batch : this.#takeIfAny()
      if (batch !== undefined) {
        const error = isModelError(cause) ? cause : new TF_ERR_MODEL_INFERENCE('the runtime failed', { cause })
        for (const job of batch.jobs) this.#fail(job, error)
        this.#end(batch, run.started, seconds)
      }
    }
    if (run.batch !== undefined) this.#computing--
    this.#running--
    if (this.#running === 0) for (const resolve of this.#onIdle.splice(0)) resolve()
  }

  /** The seconds since a run has begun, which has ended now. */
  #clockRun(started: number): number {
    const seconds = (this.#clock.now() - started) / 1000
    this.#pace += (this.#pace === 0 ? 1 : NEWEST) * (seconds - this.#pace)
    return seconds
  }

  #takeIfAny(): Batch | undefined {
    try {
      return this.#take()
    } catch {
      return undefined
    }
  }

  /**
   * Answers the requests, but fails those with rows that have no scores: what one client sends must not fail another's.
   * Returns the scores of the rows that have some; undefined: none has.
   */
  #answer({ jobs, rows }: Batch, scores: Scores): Scores | undefined {
    const whole = faultOf(scores, this.#outputs, 0, rows) === undefined
    const answered: number[] = []
    let from = 0
    for (const job of jobs) {
      const to = from + job.rows
      const fault = whole ? undefined : faultOf(scores, this.#outputs, from, to)
      if (fault === undefined) {
        job.settled = true
        job.forget?.()
        job.resolve(this.#prediction(scores, from, to, rows))
        if (!whole) for (let row = from; row < to; row++) answered.push(row)
      } else this.#fail(job, new TF_ERR_MODEL_OUTPUT(fault))
      from = to
    }
    if (whole) return scores
    if (answered.length === 0) return undefined
    const some: Scores = {}
    for (const { role } of this.#outputs) some[role] = Float32Array.from(answered, (row) => scores[role]![row]!)
    return some
  }

  #prediction({ probability, margin, score }: Scores, from: number, to: number, rows: number): Prediction {
    const all = from === 0 && to === rows
    const cut = (values: Float32Array): Float32Array => (all ? values : values.subarray(from, to))
    const prediction: Prediction = { manifest: this.#manifest }
    if (probability) prediction.probability = cut(probability)
    if (margin) prediction.margin = cut(margin)
    if (score) prediction.score = cut(score)
    return prediction
  }

  /** Larger than batches are: one request alone, in its own array. */
  #isLarge(rows: number): boolean {
    return rows > this.#options.maxBatchSize
  }

  #end(batch: Batch, started: number, seconds: number, scores?: Scores): void {
    const { rows, jobs } = batch
    this.#pending -= rows
    if (!this.#isLarge(rows)) this.#spare = batch.room
    const waits = jobs.map(({ since }) => (started - since) / 1000)
    const answered = scores?.[this.#outputs[0]!.role]!.length ?? 0
    this.#options.onRun({ seconds, rows, requests: jobs.length, waits, answered, ...(scores && { scores }) })
  }
}
