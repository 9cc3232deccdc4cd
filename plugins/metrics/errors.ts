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
/** A panel of the dashboard asks for a metric that is not there, or not of its kind. */
export const TF_ERR_METRICS_DASHBOARD = createError<[string, string]>(
  'TF_ERR_METRICS_DASHBOARD',
  'The panel "%s" can\'t be drawn: %s',
  500,
  TypeError
)
/** A scrape without the bearer token. */
export const TF_ERR_METRICS_UNAUTHORIZED = createError(
  'TF_ERR_METRICS_UNAUTHORIZED',
  'A bearer token is needed to read metrics',
  401
)
