/** The route that Prometheus asks: negotiated, compressed, guarded, and printed once for all who ask at the same time. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { FastifyInstance, onRequestHookHandler } from 'fastify'
import { TF_ERR_METRICS_UNAUTHORIZED } from './errors.ts'
import { type Format, acceptsGzip, negotiateFormat } from './format.ts'

/** Compresses off the main thread. */
export const compress: (body: Buffer) => Promise<Buffer> = promisify(gzip)

/**
 * Calls that arrive while a rendering runs share the next one: nobody is answered with numbers from before their own
 * request, and at most one rendering runs at a time for a key.
 */
export function shareNext<K, V>(render: (key: K) => Promise<V>): (key: K) => Promise<V> {
  const running = new Map<K, Promise<V>>()
  const waiting = new Map<K, Promise<V>>()

  function start(key: K): Promise<V> {
    const run = render(key).finally(() => running.delete(key))
    running.set(key, run)
    return run
  }

  return async (key) => {
    const current = running.get(key)
    if (current === undefined) return start(key)
    let next = waiting.get(key)
    if (next === undefined) {
      const begin = async (): Promise<V> => {
        waiting.delete(key)
        return start(key)
      }
      next = current.then(begin, begin)
      waiting.set(key, next)
    }
    return next
  }
}

/** Digests have one length, whatever was sent: comparing them tells nothing of the token. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** An onRequest hook that asks for `Authorization: Bearer <token>`; without a token it lets everyone pass. */
export function bearerGuard(token: string | undefined): onRequestHookHandler {
  const expected = token === undefined ? undefined : digest(`Bearer ${token}`)
  return (request, _reply, done) => {
    if (expected === undefined || timingSafeEqual(digest(request.headers.authorization ?? ''), expected)) done()
    else done(Object.assign(new TF_ERR_METRICS_UNAUTHORIZED(), { headers: { 'www-authenticate': 'Bearer' } }))
  }
}

/** Registers the route. `onScrape` is told the seconds that a rendering took. */
export function registerScrape(
  fastify: FastifyInstance,
  url: string,
  guard: onRequestHookHandler,
  render: (format: Format) => Promise<Buffer>,
  onScrape: (seconds: number) => void
): void {
  const shared = shareNext(async (format: Format) => {
    const started = performance.now()
    const body = await render(format)
    onScrape((performance.now() - started) / 1000)
    return body
  })

  fastify.get(url, { config: { metrics: false }, logLevel: 'warn', onRequest: guard }, async ({ headers }, reply) => {
    const format = negotiateFormat(headers.accept)
    const zipped = acceptsGzip(headers['accept-encoding'])
    const body = await shared(format)
    reply.type(format).header('vary', 'accept, accept-encoding').header('cache-control', 'no-store')
    return zipped ? reply.header('content-encoding', 'gzip').send(await compress(body)) : reply.send(body)
  })
}
