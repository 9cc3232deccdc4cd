import createError from '@fastify/error'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, Type } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import { parseCoinId, rankCoins, scoreCoin } from '../domain/coins.ts'
import type { CoinsAnswer } from '../plugins/coins.ts'
import { CoinDetailsReply, CoinId, CoinSourceName, RankedCoin, toDetails, toRankedCoin } from '../schemas/coins.ts'
import { Finite } from '../schemas/finite.ts'
import { Freshness, type Warning, Warnings } from '../schemas/market.ts'
import { problems } from '../schemas/problem.ts'

const MAX_IDS = 250
const MAX_LIMIT = 250

export const TF_ERR_CRYPTO_IDS = createError<[string]>('TF_ERR_CRYPTO_IDS', 'crypto_ids %s', 400)
export const TF_ERR_CRYPTO_QUERY = createError('TF_ERR_CRYPTO_QUERY', 'query is blank', 400)

const Provenance = Type.Composite([Type.Object({ source: CoinSourceName, warnings: Warnings }), Freshness])
const RankingReply = Type.Composite([
  Type.Object({
    ranking: Type.Array(RankedCoin),
    skipped: Type.Array(Type.Object({ crypto_id: Type.String(), reason: Type.Literal('not_found') }), {
      description: 'Ids that were asked for and that the source has no coin of.'
    })
  }),
  Provenance
])

/** The ids of `bitcoin, Solana,,`, canonical and each once. @throws TF_ERR_CRYPTO_IDS naming the one that is none */
function parseIds(text: string): string[] {
  const ids = new Set<string>()
  for (const item of text.split(',')) {
    if (item.trim() === '') continue
    const id = parseCoinId(item)
    if (id === undefined) throw new TF_ERR_CRYPTO_IDS(`has ${JSON.stringify(item)}, which is not an id`)
    ids.add(id)
  }
  if (ids.size > MAX_IDS) throw new TF_ERR_CRYPTO_IDS(`has ${ids.size} ids, more than ${MAX_IDS}`)
  return [...ids]
}

const crypto: FastifyPluginAsyncTypebox = async (fastify) => {
  const { coins } = fastify

  function provenance({ age, stale, dropped }: Omit<CoinsAnswer<unknown>, 'value'>): Static<typeof Provenance> {
    const warnings: Static<typeof Warning>[] = []
    if (coins.source === 'simulated') {
      warnings.push({ code: 'simulated_data', message: 'Prices are invented by a seeded simulator.' })
    }
    if (dropped > 0) {
      warnings.push({
        code: 'dropped_coins',
        message: `${dropped} coins of the source made no sense and are left out.`
      })
    }
    return { source: coins.source, stale, age_seconds: age / 1000, warnings }
  }

  fastify.get(
    '/crypto/ranking',
    {
      schema: {
        tags: ['crypto'],
        operationId: 'getCryptoRanking',
        summary: 'The largest coins, or coins of your own, by momentum score',
        querystring: Type.Object(
          {
            crypto_ids: Type.String({
              default: '',
              maxLength: 10_000,
              description: `Up to ${MAX_IDS} ids of CoinGecko, separated by commas, instead of the 250 largest coins.`,
              examples: ['bitcoin,ethereum,solana']
            }),
            include_nft: Type.Boolean({ default: true, description: 'false: without the tokens of NFTs.' }),
            min_probability: Finite({ default: 0, minimum: 0, maximum: 1, description: 'Least momentum score.' }),
            limit: Type.Integer({
              default: 50,
              minimum: 1,
              maximum: MAX_LIMIT,
              finite: true,
              description: 'Best so many, after all else.'
            })
          },
          { additionalProperties: false }
        ),
        response: { 200: RankingReply, ...problems(400, 502, 504) }
      }
    },
    async (request) => {
      const { crypto_ids, include_nft: includeNft, min_probability: minScore, limit } = request.query
      const ids = parseIds(crypto_ids)
      const { value, ...answer } = ids.length > 0 ? await coins.byIds(ids) : await coins.largest()
      const found = new Set(value.map(({ id }) => id))
      return {
        ranking: rankCoins(value, { includeNft, minScore, limit }).map(toRankedCoin),
        skipped: ids.filter((id) => !found.has(id)).map((crypto_id) => ({ crypto_id, reason: 'not_found' as const })),
        ...provenance(answer)
      }
    }
  )

  fastify.get(
    '/crypto/search',
    {
      schema: {
        tags: ['crypto'],
        operationId: 'searchCrypto',
        summary: 'The coin that fits an id, a symbol or a name best',
        querystring: Type.Object(
          { query: Type.String({ maxLength: 100, examples: ['btc'] }) },
          { additionalProperties: false }
        ),
        response: { 200: Type.Composite([RankedCoin, Provenance]), ...problems(400, 404, 502, 504) }
      }
    },
    async (request) => {
      const query = request.query.query.trim()
      if (query === '') throw new TF_ERR_CRYPTO_QUERY()
      const { value, ...answer } = await coins.search(query)
      return { ...toRankedCoin(scoreCoin(value)), ...provenance(answer) }
    }
  )

  fastify.get(
    '/crypto/details/:id',
    {
      schema: {
        tags: ['crypto'],
        operationId: 'getCryptoDetails',
        summary: 'What is known of one coin',
        params: Type.Object({ id: CoinId }),
        response: { 200: Type.Composite([CoinDetailsReply, Provenance]), ...problems(400, 404, 502, 504) }
      }
    },
    async (request) => {
      const { value, ...answer } = await coins.details(parseCoinId(request.params.id)!)
      return { ...toDetails(value), ...provenance(answer) }
    }
  )
}

export default fp(crypto, {
  name: 'crypto-routes',
  fastify: '5.x',
  encapsulate: true,
  decorators: { fastify: ['coins'] }
})
