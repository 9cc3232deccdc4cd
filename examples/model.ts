/**
 * An ONNX model served by `@trading-fun/model`: `node examples/model.ts`, then
 * `curl -H 'content-type: application/json' -d '{"a":1,"b":2}' http://127.0.0.1:3004/predict`
 */
import { join } from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import model from '../plugins/model/index.ts'

/** A model of two features: sigmoid(a - 2 b + .5). */
const repository = join(import.meta.dirname, '../plugins/model/test/fixtures/repository')

export async function build(): Promise<FastifyInstance> {
  const app = Fastify({
    logger: true,
    ajv: {
      customOptions: {
        // Words of the model's schema that Ajv must know. It refuses 1e999 by itself: `strictNumbers` is its default.
        keywords: ['finite', 'x-quantiles', 'x-unit'],
        // Or null is scored as 0, and a feature with a typo is dropped in silence.
        coerceTypes: false,
        removeAdditional: false
      }
    }
  })
  await app.register(model, {
    repository,
    // GET /v2/models/tiny, POST /v2/models/tiny/infer and others, as clients of KServe and Triton know them.
    inferenceProtocol: { name: 'example', version: '1.0.0' },
    onRun: ({ name }, { rows, seconds }) => app.log.info({ model: name, rows, seconds }, 'run')
  })

  const body = app.model.inputSchema('tiny')
  app.post<{ Body: Record<string, number> }>('/predict', { schema: { body } }, async (request) => {
    const vector = app.model.toVector('tiny', request.body)
    const { probability, manifest } = await app.model.predict('tiny', vector)
    return {
      probability: probability?.[0],
      label: manifest.label,
      version: manifest.version,
      outOfRange: app.model.outOfRange(manifest, vector)
    }
  })
  return app
}

if (import.meta.main) {
  const app = await build()
  await app.listen({ host: '127.0.0.1', port: 3004 })
}
