/** Where a model runs: on the event loop's thread, in worker threads, or in child processes. */
import type { Manifest } from './manifest.ts'
import { openOnnxSession } from './onnx.ts'
import type { ModelData } from './options.ts'
import { type PoolOptions, openPool } from './pool.ts'
import { type ModelSession, type OpenSession, openProven } from './session.ts'

/** `custom`: in the `openSession` that was given. */
export type Execution = 'inline' | 'thread' | 'process' | 'custom'

/**
 * Seconds of a run of 64 rows beyond which `auto` takes threads. A full batch is 64 times as many rows: at this speed, a tenth
 * of a second in which the event loop would answer nobody.
 */
const SLOW_SECONDS = 0.002

/** Milliseconds that an isolate may take to start and to open its session, and to end. */
const PATIENCE = { startTimeout: 60_000, endTimeout: 5000 }

export interface Runtime {
  session: ModelSession
  execution: Execution
}

/** Opens a version and proves it. `serving`: there are requests that this must not disturb. */
export type OpenRuntime = (bytes: Uint8Array, manifest: Manifest, serving: boolean) => Promise<Runtime>

/** `onCrash`: told when a thread or process ends by itself. */
export function createRuntime(
  { execution, workers, runTimeoutMs }: Pick<ModelData, 'execution' | 'workers' | 'runTimeoutMs'>,
  custom: OpenSession | undefined,
  onCrash: (error: Error) => void
): OpenRuntime {
  const pool =
    (kind: PoolOptions['kind'], size: number): OpenSession =>
    async (bytes, tensors) =>
      openPool(bytes, tensors, { ...PATIENCE, kind, workers: size, timeout: runTimeoutMs, onCrash })
  const openers: Record<Execution, OpenSession> = {
    inline: openOnnxSession,
    thread: pool('thread', workers),
    process: pool('process', workers),
    custom: custom ?? openOnnxSession
  }

  function fitting(seconds: number): Execution {
    if (execution !== 'auto') return execution
    return seconds > SLOW_SECONDS ? 'thread' : 'inline'
  }

  return async (bytes, manifest, serving) => {
    async function open(where: Execution): Promise<Runtime & { seconds: number }> {
      return { ...(await openProven(openers[where], bytes, manifest)), execution: where }
    }
    if (custom !== undefined) return open('custom')
    if (execution === 'process') return open('process')
    if (serving) {
      // What blocks or crashes here takes the service with it: once there are requests, a version proves itself elsewhere first.
      const { session, seconds } = await openProven(pool('process', 1), bytes, manifest)
      await session.release()
      return open(fitting(seconds))
    }
    const opened = await open(execution === 'auto' ? 'inline' : execution)
    const fits = fitting(opened.seconds)
    if (fits === opened.execution) return opened
    await opened.session.release()
    return open(fits)
  }
}
