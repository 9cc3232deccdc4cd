/** A session on isolates: as many runs at a time as there are workers. */
import { TF_ERR_MODEL_DEADLINE } from './errors.ts'
import { Isolate, type IsolateOptions } from './isolate.ts'
import type { ModelSession, Scores } from './session.ts'
import type { Tensors } from './tensors.ts'

export interface PoolOptions extends IsolateOptions {
  /** Isolates at the most. The first one is started at once, others when they are needed. */
  workers: number
}

/** Values that are copied in one turn of the event loop: a tenth of a millisecond, with the memory for it. */
const COPIED_AT_ONCE = 65_536

/** A copy to send away: the array is somebody else's, and a part of one would be sent as all of it. */
async function copyOf(values: Float32Array): Promise<Float32Array> {
  const copy = new Float32Array(values.length)
  for (let from = 0; from < values.length; from += COPIED_AT_ONCE) {
    if (from > 0) await new Promise(setImmediate)
    copy.set(values.subarray(from, from + COPIED_AT_ONCE), from)
  }
  return copy
}

/** @throws TF_ERR_MODEL_DEADLINE, TF_ERR_MODEL_CRASHED, the runtime's own error by its message */
export async function openPool(bytes: Uint8Array, tensors: Tensors, options: PoolOptions): Promise<ModelSession> {
  const { workers, timeout } = options
  const isolates = new Set<Isolate>()
  const free: Isolate[] = []
  const waiting: (() => void)[] = []

  function giveBack(isolate: Isolate): void {
    if (isolate.alive) free.push(isolate)
    else isolates.delete(isolate)
    waiting.shift()?.()
  }

  async function start(): Promise<{ isolate: Isolate; opened: Pick<ModelSession, 'inputs' | 'outputs'> }> {
    const isolate = new Isolate(options)
    isolates.add(isolate)
    try {
      return { isolate, opened: await isolate.open(bytes, tensors) }
    } catch (error) {
      isolates.delete(isolate)
      waiting.shift()?.()
      await isolate.end()
      throw error
    }
  }

  async function turn(milliseconds: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.splice(waiting.indexOf(wake), 1)
        reject(new TF_ERR_MODEL_DEADLINE())
      }, milliseconds)
      function wake(): void {
        clearTimeout(timer)
        resolve()
      }
      waiting.push(wake)
    })
  }

  /** A worker that is free. One that has died is replaced here, by whoever needs it. */
  async function take(): Promise<Isolate> {
    const until = performance.now() + timeout
    for (;;) {
      const isolate = free.pop()
      if (isolate?.alive) return isolate
      if (isolate !== undefined) isolates.delete(isolate)
      else if (isolates.size < workers) return (await start()).isolate
      else await turn(until - performance.now())
    }
  }

  const { isolate: first, opened } = await start()
  giveBack(first)
  return {
    ...opened,
    async run(next) {
      const isolate = await take()
      let scores: Promise<Scores>
      try {
        const { features, rows } = next()
        const copy = await copyOf(features)
        scores = isolate.run(copy, rows)
      } catch (error) {
        giveBack(isolate)
        throw error
      }
      // A thread that is late is free when its run has ended.
      void isolate.idle.then(() => giveBack(isolate))
      return scores
    },
    async release() {
      await Promise.all([...isolates].map(async (isolate) => isolate.end()))
    }
  }
}
