import protobuf from 'protobufjs'

/** A typed array that an ONNX model holds, a scalar with empty `dims`: float32, or int64 where an operator asks for axes. */
export interface OnnxTensor {
  name: string
  dims: number[]
  values: Float32Array | BigInt64Array
}

/** An attribute's value: an integer, a text, or a list of one kind; a Float32Array is a list of floats. */
export type OnnxAttribute = number | string | readonly number[] | readonly string[] | Float32Array

/** One operation, of ai.onnx or, with `domain: 'ai.onnx.ml'`, of the classical models. */
export interface OnnxNode {
  operator: string
  domain?: 'ai.onnx.ml'
  input: string[]
  output: string[]
  attributes?: Record<string, OnnxAttribute>
}

/** A node of ai.onnx with one output. */
export function node(
  operator: string,
  input: string[],
  output: string,
  attributes: NonNullable<OnnxNode['attributes']> = {}
): OnnxNode {
  return { operator, input, output: [output], attributes }
}

export function scalar(name: string, value: number): OnnxTensor {
  return { name, dims: [], values: Float32Array.of(value) }
}

/** An input or output float32 [batch, width], the batch free. */
export interface OnnxPort {
  name: string
  width: number
}

/** A model file: what it computes, and what it says of itself. */
export interface OnnxModel {
  name: string
  description: string
  inputs: OnnxPort[]
  outputs: OnnxPort[]
  nodes: OnnxNode[]
  tensors: OnnxTensor[]
  metadata: Record<string, string>
}

/** Operator set ai.onnx 13 and IR 8: old enough for every runtime of the last years, and all that is needed. */
const OPSET = 13
const IR_VERSION = 8
/** TensorProto.DataType. */
const FLOAT = 1
const INT64 = 7
const ML_OPSET = 1

const field = (type: string, id: number): protobuf.IField => ({ type, id })
const repeated = (type: string, id: number): protobuf.IField => ({ type, id, rule: 'repeated' })

/** The part of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) that these models use. */
const ModelProto = protobuf.Root.fromJSON({
  nested: {
    ModelProto: {
      fields: {
        irVersion: field('int64', 1),
        producerName: field('string', 2),
        docString: field('string', 6),
        graph: field('GraphProto', 7),
        opsetImport: repeated('OperatorSetIdProto', 8),
        metadataProps: repeated('StringStringEntryProto', 14)
      }
    },
    OperatorSetIdProto: { fields: { domain: field('string', 1), version: field('int64', 2) } },
    StringStringEntryProto: { fields: { key: field('string', 1), value: field('string', 2) } },
    GraphProto: {
      fields: {
        node: repeated('NodeProto', 1),
        name: field('string', 2),
        initializer: repeated('TensorProto', 5),
        input: repeated('ValueInfoProto', 11),
        output: repeated('ValueInfoProto', 12)
      }
    },
    NodeProto: {
      fields: {
        input: repeated('string', 1),
        output: repeated('string', 2),
        name: field('string', 3),
        opType: field('string', 4),
        attribute: repeated('AttributeProto', 5),
        domain: field('string', 7)
      }
    },
    AttributeProto: {
      fields: {
        name: field('string', 1),
        i: field('int64', 3),
        s: field('bytes', 4),
        floats: repeated('float', 7),
        ints: repeated('int64', 8),
        strings: repeated('bytes', 9),
        type: field('int32', 20)
      }
    },
    TensorProto: {
      fields: {
        dims: repeated('int64', 1),
        dataType: field('int32', 2),
        name: field('string', 8),
        rawData: field('bytes', 9)
      }
    },
    ValueInfoProto: { fields: { name: field('string', 1), type: field('TypeProto', 2) } },
    TypeProto: { fields: { tensorType: field('TensorTypeProto', 1) } },
    TensorTypeProto: { fields: { elemType: field('int32', 1), shape: field('TensorShapeProto', 2) } },
    TensorShapeProto: { fields: { dim: repeated('DimensionProto', 1) } },
    DimensionProto: { fields: { dimValue: field('int64', 1), dimParam: field('string', 2) } }
  }
}).lookupType('ModelProto')

/** The bytes of a `.onnx` file. The same model gives the same bytes. */
export function encodeOnnx({ name, description, inputs, outputs, nodes, tensors, metadata }: OnnxModel): Uint8Array {
  return ModelProto.encode({
    irVersion: IR_VERSION,
    producerName: 'trading-fun-api',
    docString: description,
    opsetImport: [
      { domain: '', version: OPSET },
      ...(nodes.some(({ domain }) => domain) ? [{ domain: 'ai.onnx.ml', version: ML_OPSET }] : [])
    ],
    metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    graph: {
      name,
      node: nodes.map(toNode),
      initializer: tensors.map(toTensor),
      input: inputs.map(toValueInfo),
      output: outputs.map(toValueInfo)
    }
  }).finish()
}

function toNode({ operator, domain, input, output, attributes = {} }: OnnxNode): object {
  const attribute = Object.entries(attributes).map(([name, value]) => ({ name, ...toAttribute(value) }))
  return { opType: operator, name: output[0], input, output, attribute, ...(domain && { domain }) }
}

/** The numbers are AttributeProto.AttributeType. */
function toAttribute(value: OnnxAttribute): object {
  if (typeof value === 'number') return { i: value, type: 2 }
  if (typeof value === 'string') return { s: Buffer.from(value), type: 3 }
  if (value instanceof Float32Array) return { floats: [...value], type: 6 }
  const [first] = value
  return typeof first === 'string'
    ? { strings: value.map((text) => Buffer.from(String(text))), type: 8 }
    : { ints: value, type: 7 }
}

/** `rawData` is little-endian, whatever this machine is. */
function toTensor({ name, dims, values }: OnnxTensor): object {
  const bytes = new DataView(new ArrayBuffer(values.byteLength))
  if (values instanceof Float32Array) for (const [i, value] of values.entries()) bytes.setFloat32(i * 4, value, true)
  else for (const [i, value] of values.entries()) bytes.setBigInt64(i * 8, value, true)
  const dataType = values instanceof Float32Array ? FLOAT : INT64
  return { name, dims, dataType, rawData: new Uint8Array(bytes.buffer) }
}

function toValueInfo({ name, width }: OnnxPort): object {
  const shape = { dim: [{ dimParam: 'batch' }, { dimValue: width }] }
  return { name, type: { tensorType: { elemType: FLOAT, shape } } }
}
