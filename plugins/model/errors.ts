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

// What is wrong with a version. At boot they end it; later they answer who asked for the load, and nothing changes.

/** A symlink leads out of the repository. */
export const TF_ERR_MODEL_PATH = createError<[string]>('TF_ERR_MODEL_PATH', '%s leads out of the model repository', 422)
/** A file is missing, a manifest is not JSON, or breaks its schema. */
export const TF_ERR_MODEL_MANIFEST = createError<[string, string]>('TF_ERR_MODEL_MANIFEST', 'Manifest of %s: %s', 422)
/** model.onnx is not the file that the manifest speaks of. */
export const TF_ERR_MODEL_CHECKSUM = createError<[string]>(
  'TF_ERR_MODEL_CHECKSUM',
  'model.onnx of %s has another sha256 than its manifest says: copy both files of the version again',
  422
)
/** The runtime can't open the file. */
export const TF_ERR_MODEL_OPEN = createError<[string, string]>(
  'TF_ERR_MODEL_OPEN',
  'Model %s can not be opened: %s',
  422
)
/** The session's inputs or outputs are not what the manifest promises. */
export const TF_ERR_MODEL_SIGNATURE = createError<[string, string]>('TF_ERR_MODEL_SIGNATURE', 'Model %s: %s', 422)
/** The runtime fails in the runs that come before the first request. */
export const TF_ERR_MODEL_WARM_UP = createError<[string, string]>(
  'TF_ERR_MODEL_WARM_UP',
  'Model %s fails its warm-up: %s',
  422
)
/** The model does not reproduce the answers its manifest was written with. */
export const TF_ERR_MODEL_SELF_TEST = createError<[string, number, number, number]>(
  'TF_ERR_MODEL_SELF_TEST',
  'Model %s fails its self-test: vector %d should give %d, gives %d',
  422
)
/** The manifest's `linear` block is of another model: explanations would be wrong. */
export const TF_ERR_MODEL_LINEAR = createError<[string, number, number]>(
  'TF_ERR_MODEL_LINEAR',
  "Model %s: its manifest's linear block gives a margin of %d where the model answers %d",
  422
)
/** A version that the service does not want, or whose features are not those that the model had before. */
export const TF_ERR_MODEL_REFUSED = createError<[string, string]>('TF_ERR_MODEL_REFUSED', 'Model %s %s', 422)
/** No version of a model is acceptable to the service. */
export const TF_ERR_MODEL_NONE_FITS = createError<[string, string]>(
  'TF_ERR_MODEL_NONE_FITS',
  'No version of %s fits: %s',
  422
)

// What is wrong with a request to load.

/** Another load, unload or rollback of the model is under way. */
export const TF_ERR_MODEL_CHANGING = createError<[string]>(
  'TF_ERR_MODEL_CHANGING',
  'Another change of %s is under way, try again when it has ended',
  409
)
/** There is no version to go back to. */
export const TF_ERR_MODEL_NO_ROLLBACK = createError<[string]>(
  'TF_ERR_MODEL_NO_ROLLBACK',
  'There is no version of %s before the one that serves',
  409
)
/** A request to the repository without the bearer token. */
export const TF_ERR_MODEL_UNAUTHORIZED = createError(
  'TF_ERR_MODEL_UNAUTHORIZED',
  'A bearer token is needed to change what is served',
  401
)

// What is wrong with a request to predict.

/** A model or version that does not exist, or is not served. */
export const TF_ERR_MODEL_UNKNOWN = createError<[string]>('TF_ERR_MODEL_UNKNOWN', 'There is no model %s', 404)
/** A model that was unloaded. */
export const TF_ERR_MODEL_NOT_LOADED = createError<[string]>(
  'TF_ERR_MODEL_NOT_LOADED',
  'The model %s is not loaded',
  503
)
/** A feature vector that the model can't score; the message names the feature. */
export const TF_ERR_MODEL_INPUT = createError<[string]>('TF_ERR_MODEL_INPUT', '%s', 400)
/** A body of the inference protocol that is not JSON. */
export const TF_ERR_MODEL_MEDIA_TYPE = createError(
  'TF_ERR_MODEL_MEDIA_TYPE',
  'The body must be application/json; the binary tensor data extension is not supported',
  415
)
/** More rows wait than the queue may hold. The status is the option `overflowStatus`; `retry-after` says how long it takes. */
export const TF_ERR_MODEL_BUSY = createError('TF_ERR_MODEL_BUSY', 'The model is busy, try again shortly', 503)
/** The runtime failed. */
export const TF_ERR_MODEL_INFERENCE = createError<[string] | [string, { cause: unknown }]>(
  'TF_ERR_MODEL_INFERENCE',
  'Inference failed: %s',
  500
)
/** The runtime answered something that is no probability, or no finite number. */
export const TF_ERR_MODEL_OUTPUT = createError<[string]>('TF_ERR_MODEL_OUTPUT', 'Inference failed: %s', 500)
/** It took too long: in the queue, or in a run. */
export const TF_ERR_MODEL_DEADLINE = createError('TF_ERR_MODEL_DEADLINE', 'The model did not answer in time', 504)
/** The process that ran the model has ended. */
export const TF_ERR_MODEL_CRASHED = createError('TF_ERR_MODEL_CRASHED', 'The process of the model has ended', 503)
/** Who asked does not wait any more. 499 is what proxies log for it. */
export const TF_ERR_MODEL_ABORTED = createError('TF_ERR_MODEL_ABORTED', 'Nobody waits for the answer any more', 499)
