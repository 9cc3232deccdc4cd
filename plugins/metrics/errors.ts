import createError from '@fastify/error'

export const TF_ERR_METRICS_OPTIONS = createError<[string]>(
  'TF_ERR_METRICS_OPTIONS',
  'Invalid metrics options, %s',
  500,
  TypeError
)
export const TF_ERR_METRICS_REGISTERED = createError(
  'TF_ERR_METRICS_REGISTERED',
  'The metrics plugin is registered on this instance already',
  500
)
/** A scrape without the bearer token. */
export const TF_ERR_METRICS_UNAUTHORIZED = createError(
  'TF_ERR_METRICS_UNAUTHORIZED',
  'A bearer token is needed to read metrics',
  401
)
