import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import { RANKING_MODEL } from '../domain/ranking.ts'
import { problems } from '../schemas/problem.ts'

const ModelVersion = Type.Object({
  file: Type.String(),
  size_bytes: Type.Integer(),
  name: Type.String(),
  version: Type.String(),
  model_type: Type.String(),
  label: Type.String(),
  horizon_days: Type.Optional(Type.Integer()),
  source: Type.Optional(Type.String()),
  trained_at: Type.String(),
  window: Type.Optional(Type.Object({ from: Type.String(), to: Type.String() })),
  features: Type.Array(Type.Object({ name: Type.String(), description: Type.String(), unit: Type.String() })),
  metrics: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { description: 'Purged walk-forward figures.' })),
  sha256: Type.String()
})

const models: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get(
    '/models',
    {
      schema: {
        tags: ['models'],
        operationId: 'listModels',
        summary: 'The model that is served, and every version in the repository with its honest figures',
        response: {
          200: Type.Object({
            current_model: Type.Union([Type.String(), Type.Null()], {
              description: 'name/version; null: none is loaded.'
            }),
            available_models: Type.Array(ModelVersion)
          }),
          ...problems()
        }
      }
    },
    async () => {
      const serving = fastify.model.find(RANKING_MODEL)
      return {
        current_model: serving ? `${RANKING_MODEL}/${serving.manifest.version}` : null,
        available_models: fastify.model.versions.map(({ manifest: version, path, sizeBytes }) => ({
          ...version,
          file: path,
          size_bytes: sizeBytes
        }))
      }
    }
  )
}

export default fp(models, {
  name: 'models-routes',
  fastify: '5.x',
  encapsulate: true,
  decorators: { fastify: ['model'] }
})
