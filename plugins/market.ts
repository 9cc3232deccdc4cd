/** Prices, quotes and universes: `fastify.market`, over whichever source the service is configured with. */
import createError from '@fastify/error'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Candles, Fetched, FetchError, MarketSource, Quote, Universe } from '../domain/market.ts'
import { failureReply } from '../schemas/problem.ts'

/** What `fastify.market` offers: the source, timed, and its universes by name. */
export interface Market extends MarketSource {
  /** @throws TF_ERR_MARKET_UNKNOWN_COUNTRY with the list of what there is. */
  universe(name: string): Universe
  /** The error for a symbol that the source has no answer for: a 404, or a 502, 503 or 504 with Retry-After. */
  failure(symbol: string, error: FetchError): Error
  /** The smallest universe that a symbol belongs to: what its percentile is taken in. */
  homeOf(symbol: string): Universe | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Decorated by the `market` plugin. */
    market: Market
  }
}

export interface MarketOptions {
  source: MarketSource
  /** Called after each fetch; the application wires it to metrics. */
  onFetch?: (source: MarketSource['name'], seconds: number, errors: readonly FetchError[]) => void
}

export const TF_ERR_MARKET_UNKNOWN_COUNTRY = createError<[string, string]>(
  'TF_ERR_MARKET_UNKNOWN_COUNTRY',
  'Unknown country %s; there are: %s',
  400
)

export const TF_ERR_MARKET_UNKNOWN_TICKER = createError<[string]>(
  'TF_ERR_MARKET_UNKNOWN_TICKER',
  'Unknown ticker %s',
  404
)
export const TF_ERR_MARKET_SOURCE = createError<[string, string]>(
  'TF_ERR_MARKET_SOURCE',
  'The price source has no answer for %s (%s)',
  502
)

async function market(fastify: FastifyInstance, { source, onFetch }: MarketOptions): Promise<void> {
  // The smallest first; Global, which can be as small as the only country, last.
  const bySize = source.universes.toSorted(
    (a, b) => Number(a.name === 'Global') - Number(b.name === 'Global') || a.symbols.length - b.symbols.length
  )

  async function timed<T>(
    symbols: readonly string[],
    fetch: () => Promise<Map<string, Fetched<T>>>
  ): Promise<Map<string, Fetched<T>>> {
    const started = performance.now()
    // A source answers for every symbol; one that throws all the same has failed for all of them.
    const fetched = await fetch().catch((err: unknown) => {
      fastify.log.error({ err, source: source.name }, 'market source failed')
      return new Map(symbols.map((symbol) => [symbol, { ok: false as const, error: 'upstream_error' as const }]))
    })
    const errors = [...fetched.values()].flatMap((part) => (part.ok ? [] : [part.error]))
    onFetch?.(source.name, (performance.now() - started) / 1000, errors)
    return fetched
  }

  const decorator: Market = {
    name: source.name,
    kind: source.kind,
    universes: source.universes,
    universe(name) {
      const found = source.universes.find((universe) => universe.name === name)
      if (found) return found
      throw new TF_ERR_MARKET_UNKNOWN_COUNTRY(name, source.universes.map((universe) => universe.name).join(', '))
    },
    failure(symbol, error) {
      if (error === 'not_found') return new TF_ERR_MARKET_UNKNOWN_TICKER(symbol)
      return Object.assign(new TF_ERR_MARKET_SOURCE(symbol, error), failureReply({ error }))
    },
    homeOf: (symbol) => bySize.find((universe) => universe.symbols.includes(symbol)),
    instrument: (symbol) => source.instrument(symbol),
    history: async (symbols, days): Promise<Map<string, Fetched<Candles>>> =>
      timed(symbols, async () => source.history(symbols, days)),
    quotes: async (symbols): Promise<Map<string, Fetched<Quote>>> => timed(symbols, async () => source.quotes(symbols))
  }
  fastify.decorate('market', Object.freeze(decorator))
}

export default fp(market, { name: 'market', fastify: '5.x' })
