/** The inside of an isolate: one session, in a worker thread or a child process, that runs what it is sent. */
import type { OpenSession, Scores } from './session.ts'
import type { Signature, Tensors } from './tensors.ts'

/** What an isolate is told. */
export type Order =
  | { order: 'open'; bytes: Uint8Array; tensors: Tensors }
  | { order: 'run'; features: Float32Array; rows: number }
  | { order: 'end' }

/** What it answers to `open` and `run`. */
export type Answer =
  | { answer: 'opened'; inputs: readonly Signature[]; outputs: readonly Signature[] }
  | ({ answer: 'scored' } & Scores)
  | { answer: 'failed'; message: string }

/** Makes the function that follows orders, one at a time; it resolves to undefined for the last one. */
export function createHost(open: OpenSession): (order: Order) => Promise<Answer | undefined> {
  let session: Awaited<ReturnType<OpenSession>> | undefined

  async function follow(order: Order): Promise<Answer | undefined> {
    if (order.order === 'open') {
      session = await open(order.bytes, order.tensors)
      return { answer: 'opened', inputs: session.inputs, outputs: session.outputs }
    }
    if (order.order === 'run') {
      const { features, rows } = order
      return { answer: 'scored', ...(await session!.run(() => ({ features, rows }))) }
    }
    await session?.release()
    return undefined
  }

  return async (order) => follow(order).catch((error: Error): Answer => ({ answer: 'failed', message: error.message }))
}
