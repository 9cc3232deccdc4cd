/** Shapes of the Open Inference Protocol v2 (kserve/open-inference-protocol, inference_rest.md), as OpenAPI shows them. */
import { type Static, Type } from '@sinclair/typebox'

/** The datatype of all answers. */
export const DATATYPE = 'FP32'
/** The protocol's name for an ONNX file. */
export const PLATFORM = 'onnx_onnxv1'

const Parameters = Type.Optional(
  Type.Record(Type.String(), Type.Unknown(), { description: 'None is known here; they are ignored.' })
)
const Shape = Type.Array(Type.Integer())
const Tensor = Type.Object({ name: Type.String(), datatype: Type.String(), shape: Shape })
const Data = Type.Array(Type.Unknown(), { description: 'Numbers, row-major: flat, or nested as the shape says.' })

export const ErrorReply = Type.Object({ error: Type.String() })

export const ServerMetadata = Type.Object({
  name: Type.String(),
  version: Type.String(),
  extensions: Type.Array(Type.String())
})

export const Live = Type.Object({ live: Type.Boolean() })
export const Ready = Type.Object({
  live: Type.Boolean({ description: 'The same: the specification has this name.' }),
  ready: Type.Boolean()
})
export const ModelReady = Type.Object({ name: Type.String(), ready: Type.Boolean() })

export const ModelMetadata = Type.Object({
  name: Type.String(),
  versions: Type.Array(Type.String(), { description: 'Those that answer; the first one who names none.' }),
  platform: Type.String(),
  inputs: Type.Array(Tensor),
  outputs: Type.Array(Tensor)
})

export const InferRequest = Type.Object({
  id: Type.Optional(Type.String({ description: 'Comes back in the reply.' })),
  parameters: Parameters,
  inputs: Type.Array(
    Type.Object({ name: Type.String(), shape: Shape, datatype: Type.String(), parameters: Parameters, data: Data })
  ),
  outputs: Type.Optional(
    Type.Array(Type.Object({ name: Type.String(), parameters: Parameters }), { description: 'All, if left out.' })
  )
})

export const InferReply = Type.Object({
  model_name: Type.String(),
  model_version: Type.String({ description: 'The version that answered.' }),
  id: Type.Optional(Type.String()),
  outputs: Type.Array(
    Type.Object({ name: Type.String(), shape: Shape, datatype: Type.String(), data: Type.Array(Type.Number()) })
  )
})
export type InferReply = Static<typeof InferReply>
