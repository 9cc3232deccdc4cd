import createError from '@fastify/error'

export const TF_ERR_MODEL_OPTIONS = createError<[string]>(
  'TF_ERR_MODEL_OPTIONS',
  'Invalid model options, %s',
  500,
  TypeError
)
export const TF_ERR_MODEL_REGISTERED = createError(
  'TF_ERR_MODEL_REGISTERED',
  'The model plugin is registered on this instance already',
  500
)
/** The repository folder can't be read, or holds no model. */
export const TF_ERR_MODEL_REPOSITORY = createError<[string]>('TF_ERR_MODEL_REPOSITORY', 'Model repository: %s', 500)
/** A manifest is missing, not JSON, or breaks its schema. */
export const TF_ERR_MODEL_MANIFEST = createError<[string, string]>('TF_ERR_MODEL_MANIFEST', 'Manifest of %s: %s', 500)
/** model.onnx is not the file that the manifest speaks of. */
export const TF_ERR_MODEL_CHECKSUM = createError<[string]>(
  'TF_ERR_MODEL_CHECKSUM',
  'model.onnx of %s has another sha256 than its manifest says: copy both files of the version again',
  500
)
/** The session's inputs or outputs are not what the manifest promises. */
export const TF_ERR_MODEL_SIGNATURE = createError<[string, string]>('TF_ERR_MODEL_SIGNATURE', 'Model %s: %s', 500)
/** The model does not reproduce the answers its manifest was written with. */
export const TF_ERR_MODEL_SELF_TEST = createError<[string, number, number, number]>(
  'TF_ERR_MODEL_SELF_TEST',
  'Model %s fails its self-test: vector %d should give %d, gives %d',
  500
)
/** The manifest's `linear` block is of another model: explanations would be wrong. */
export const TF_ERR_MODEL_LINEAR = createError<[string, number, number]>(
  'TF_ERR_MODEL_LINEAR',
  "Model %s: its manifest's linear block gives a margin of %d where the model answers %d",
  500
)
/** No version of a model is acceptable to the service. */
export const TF_ERR_MODEL_NONE_FITS = createError<[string, string]>(
  'TF_ERR_MODEL_NONE_FITS',
  'No version of %s fits: %s',
  500
)
/** A model that is not served. */
export const TF_ERR_MODEL_UNKNOWN = createError<[string]>('TF_ERR_MODEL_UNKNOWN', 'There is no model %s', 404)
/** A feature vector that the model can't score; the message names the feature. */
export const TF_ERR_MODEL_INPUT = createError<[string]>('TF_ERR_MODEL_INPUT', '%s', 400)
/** More rows wait than the queue may hold. */
export const TF_ERR_MODEL_BUSY = createError('TF_ERR_MODEL_BUSY', 'The model is busy, try again shortly', 503)
/** The runtime failed, or answered something that is no probability. */
export const TF_ERR_MODEL_INFERENCE = createError<[string] | [string, { cause: unknown }]>(
  'TF_ERR_MODEL_INFERENCE',
  'Inference failed: %s',
  500
)
