/** Whether a client still waits for its reply. */
import type { FastifyReply } from 'fastify'

/** Aborts when the client leaves without its reply. Fastify's `request.signal` aborts as soon as the body has been read. */
export function departure({ raw }: FastifyReply): AbortSignal {
  const left = new AbortController()
  // It may have left before, while a hook or the body was waited for.
  if (raw.destroyed && !raw.writableFinished) left.abort()
  raw.once('close', () => {
    if (!raw.writableFinished) left.abort()
  })
  return left.signal
}
