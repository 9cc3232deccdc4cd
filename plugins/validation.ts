import { Ajv, type KeywordDefinition } from 'ajv'
/** How requests are validated: bodies strictly, texts of a URL by their meaning, and never a number that is not finite. */
import ajvFormats from 'ajv-formats'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

// Without a `type`, or Ajv would skip it for Infinity.
const finite: KeywordDefinition = {
  keyword: 'finite',
  schemaType: 'boolean',
  validate: (on: boolean, value: unknown) => !on || typeof value !== 'number' || Number.isFinite(value),
  error: { message: 'must be a finite number' }
}

function makeAjv(coerceTypes: boolean): Ajv {
  // strictNumbers off: with it Infinity fails as "must be number" before `finite` can say what is wrong.
  const ajv = new Ajv({
    coerceTypes,
    strictNumbers: false,
    useDefaults: true,
    allErrors: true,
    removeAdditional: false,
    keywords: ['kind', 'modifier', 'x-quantiles', 'x-unit', finite]
  })
  ajvFormats.default(ajv)
  return ajv
}

async function validation(fastify: FastifyInstance): Promise<void> {
  // Coercion would make 0 of null and 1 of true: a body says what it means, a query string can't.
  const strict = makeAjv(false)
  const coercing = makeAjv(true)
  fastify.setValidatorCompiler(({ schema, httpPart }) => (httpPart === 'body' ? strict : coercing).compile(schema))
}

export default fp(validation, { name: 'validation', fastify: '5.x' })
