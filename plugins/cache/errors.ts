import createError from '@fastify/error'

export const TF_ERR_CACHE_OPTIONS = createError<[string]>(
  'TF_ERR_CACHE_OPTIONS',
  'Invalid cache options, %s',
  500,
  TypeError
)
export const TF_ERR_CACHE_REGISTERED = createError(
  'TF_ERR_CACHE_REGISTERED',
  'The cache plugin is registered on this instance already',
  500
)
/** `wrap`, `delete` or `clear` with a type that is not among the option `types`. */
export const TF_ERR_CACHE_TYPE = createError<[string, string]>(
  'TF_ERR_CACHE_TYPE',
  'Unknown cache type "%s", expected one of %s',
  500,
  TypeError
)
export const TF_ERR_CACHE_POLICY = createError<[string, number, unknown]>(
  'TF_ERR_CACHE_POLICY',
  'Invalid cache policy, %s must be a number from 0 to %d, not %s',
  500,
  TypeError
)
/** A load had not ended by the `timeout` of its policy. */
export const TF_ERR_CACHE_TIMEOUT = createError<[number]>(
  'TF_ERR_CACHE_TIMEOUT',
  'The data was not there in %d ms',
  504
)
/** A value that JSON would refuse, or change in silence. */
export const TF_ERR_CACHE_VALUE = createError<[string, string]>(
  'TF_ERR_CACHE_VALUE',
  'A cached value must be plain JSON data, %s is %s',
  500,
  TypeError
)
