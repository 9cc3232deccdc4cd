import createError from '@fastify/error'

export const TF_ERR_RATE_LIMIT_OPTIONS = createError<[string]>(
  'TF_ERR_RATE_LIMIT_OPTIONS',
  'Invalid rate-limit options, %s',
  500,
  TypeError
)
/** A route with a wrong `config.quota`, or with the `config.rateLimit` of @fastify/rate-limit. */
export const TF_ERR_RATE_LIMIT_QUOTA = createError<[string, string]>(
  'TF_ERR_RATE_LIMIT_QUOTA',
  'Invalid quota of route %s, %s',
  500,
  TypeError
)
export const TF_ERR_RATE_LIMIT_REGISTERED = createError(
  'TF_ERR_RATE_LIMIT_REGISTERED',
  'A rate limit is registered on this instance already',
  500
)
/** What a client gets that asks too often; the reply has a Retry-After header. */
export const TF_ERR_RATE_LIMIT_EXCEEDED = createError<[number]>(
  'TF_ERR_RATE_LIMIT_EXCEEDED',
  'Rate limit exceeded, retry in %d s',
  429
)
/** What all get while the shared store is down, with `onStoreFailure: 'closed'`. */
export const TF_ERR_RATE_LIMIT_STORE = createError(
  'TF_ERR_RATE_LIMIT_STORE',
  'The store of the rate limits does not answer',
  503
)
