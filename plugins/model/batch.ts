/** The requests of one run, and their rows one after the other. */
import type { Prediction } from './batcher.ts'
import type { Rows } from './session.ts'

/** One request. */
export interface Job {
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

const FIRST_ROWS = 16

export class Batch {
  readonly #width: number
  /** Room for rows; the first `rows` of it are taken. */
  #features: Float32Array
  /** Rows of requests that gave up. */
  #given = 0
  rows: number
  jobs: Job[] = []
  /** It waits. */
  open = true

  /** `room`: an array to fill, which grows as needed; the first `rows` of it are filled already. */
  constructor(width: number, room: Float32Array = new Float32Array(FIRST_ROWS * width), rows = 0) {
    this.#width = width
    this.#features = room
    this.rows = rows
  }

  /** The array with the rows, for another batch when this one is scored. */
  get room(): Float32Array {
    return this.#features
  }

  /** Copies whole rows behind those that it has. */
  append(vectors: Float32Array): void {
    const from = this.rows * this.#width
    const needed = from + vectors.length
    if (needed > this.#features.length) {
      const larger = new Float32Array(Math.max(needed, 2 * this.#features.length))
      larger.set(this.#features.subarray(0, from))
      this.#features = larger
    }
    this.#features.set(vectors, from)
    this.rows = needed / this.#width
  }

  /** The rows of one of its jobs need no scores any more. */
  giveUp(rows: number): void {
    this.#given += rows
  }

  /** Nothing joins it any more. Only those who still wait are left in it. */
  close(): void {
    this.open = false
    if (this.#given === 0) return
    let from = 0
    let to = 0
    for (const { rows, settled } of this.jobs) {
      if (!settled) {
        this.#features.copyWithin(to * this.#width, from * this.#width, (from + rows) * this.#width)
        to += rows
      }
      from += rows
    }
    this.rows = to
    this.jobs = this.jobs.filter(({ settled }) => !settled)
  }

  /** What a session scores. */
  get content(): Rows {
    return { features: this.#features.subarray(0, this.rows * this.#width), rows: this.rows }
  }
}
