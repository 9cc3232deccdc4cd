/** The model repository: `<name>/<version>/{model.onnx, manifest.json}`. Reading it opens no session. */
import { createHash } from 'node:crypto'
import { readFile, readdir, realpath, stat } from 'node:fs/promises'
import { join, sep } from 'node:path'
import type { TSchema } from '@sinclair/typebox'
import { Value, type ValueError } from '@sinclair/typebox/value'
import { isModelError } from './coded.ts'
import { TF_ERR_MODEL_CHECKSUM, TF_ERR_MODEL_MANIFEST, TF_ERR_MODEL_PATH, TF_ERR_MODEL_REPOSITORY } from './errors.ts'
import { type Manifest, ManifestSchema, contradiction } from './manifest.ts'
import { tensorsContradiction } from './tensors.ts'

/** One version on disk. */
export interface ModelVersion {
  readonly manifest: Manifest
  /** Path of model.onnx within the repository, and in the file system with all links resolved. */
  readonly path: string
  readonly file: string
  readonly sizeBytes: number
}

// Versions are numbers; whatever else lies in the folder (a copy under way, notes) is not a version.
const NAME = new RegExp(ManifestSchema.properties.name.pattern!)
const VERSION = new RegExp(ManifestSchema.properties.version.pattern!)

/** Links are followed: what they lead to is looked at when it is read. */
async function folders(directory: string, grammar: RegExp): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true })
  const found = entries.filter((entry) => (entry.isDirectory() || entry.isSymbolicLink()) && grammar.test(entry.name))
  return found.map((entry) => entry.name)
}

/** A path in the repository with its links resolved. @throws TF_ERR_MODEL_PATH if they lead out of it */
async function resolveWithin(root: string, ...path: string[]): Promise<string> {
  const [base, real] = await Promise.all([realpath(root), realpath(join(root, ...path))])
  if (!real.startsWith(base + sep)) throw new TF_ERR_MODEL_PATH(path.join('/'))
  return real
}

/** Names of the folders that may hold models, in order. @throws TF_ERR_MODEL_REPOSITORY */
export async function modelNames(root: string): Promise<string[]> {
  const names = await folders(root, NAME).catch((error: Error) => {
    throw new TF_ERR_MODEL_REPOSITORY(error.message)
  })
  return names.toSorted()
}

/** Versions of a model, newest first; none if there is no such model. @throws TF_ERR_MODEL_PATH, TF_ERR_MODEL_REPOSITORY */
export async function modelVersions(root: string, name: string): Promise<string[]> {
  // Names come from clients too: what is no name never becomes a path.
  if (!NAME.test(name)) return []
  try {
    const versions = await folders(await resolveWithin(root, name), VERSION)
    return versions.toSorted((a, b) => Number(b) - Number(a))
  } catch (error) {
    if (isModelError(error)) throw error
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return []
    throw new TF_ERR_MODEL_REPOSITORY(message)
  }
}

/** A file of a version, and its size. @throws if it is none: to open a pipe or a device waits for its other end, maybe for ever */
async function fileWithin(root: string, ...path: string[]): Promise<{ file: string; size: number }> {
  const file = await resolveWithin(root, ...path)
  const found = await stat(file)
  if (!found.isFile()) throw new Error(`${path.at(-1)} is no file`)
  return { file, size: found.size }
}

/** Names the values that are allowed where there are few, which TypeBox does not. */
function schemaFault({ path, message, schema }: ValueError): string {
  const values = (schema['anyOf'] as TSchema[] | undefined)?.map(({ const: value }) => value as unknown) ?? []
  const expected = values.length > 0 && !values.includes(undefined) ? `must be one of ${values.join(', ')}` : message
  return `${path.slice(1)}: ${expected}`
}

async function readManifest(file: string, name: string, version: string): Promise<Manifest> {
  const id = `${name}/${version}`
  const manifest: unknown = JSON.parse(await readFile(file, 'utf8'))
  const first = Value.Errors(ManifestSchema, manifest).First()
  if (first) throw new TF_ERR_MODEL_MANIFEST(id, schemaFault(first))
  const checked = manifest as Manifest
  if (checked.name !== name || checked.version !== version) {
    throw new TF_ERR_MODEL_MANIFEST(id, `speaks of ${checked.name}/${checked.version}`)
  }
  const fault = contradiction(checked) ?? tensorsContradiction(checked)
  if (fault !== undefined) throw new TF_ERR_MODEL_MANIFEST(id, fault)
  return checked
}

/** One of the versions of a model, by its manifest. @throws TF_ERR_MODEL_MANIFEST, TF_ERR_MODEL_PATH */
export async function readVersion(root: string, name: string, version: string): Promise<ModelVersion> {
  const id = `${name}/${version}`
  try {
    const contract = await fileWithin(root, name, version, 'manifest.json')
    const manifest = await readManifest(contract.file, name, version)
    const { file, size } = await fileWithin(root, name, version, 'model.onnx')
    return { manifest, path: `${id}/model.onnx`, file, sizeBytes: size }
  } catch (error) {
    if (isModelError(error)) throw error
    throw new TF_ERR_MODEL_MANIFEST(id, (error as Error).message)
  }
}

/**
 * The versions of a model, newest first: those of these numbers, and others as far as they are in order. Without numbers all of
 * them must be: passing over one would serve an older version without a word.
 * @throws TF_ERR_MODEL_MANIFEST, TF_ERR_MODEL_PATH
 */
export async function readVersions(root: string, name: string, needed?: readonly string[]): Promise<ModelVersion[]> {
  const numbers = await modelVersions(root, name)
  const versions = await Promise.all(
    numbers.map(async (version) => {
      const read = readVersion(root, name, version)
      return needed === undefined || needed.includes(version) ? read : read.catch(() => undefined)
    })
  )
  return versions.filter((version) => version !== undefined)
}

/**
 * The bytes of model.onnx, read once: what is hashed is what is opened, so a file that changes meanwhile, or is only half
 * copied, is never served.
 * @throws TF_ERR_MODEL_CHECKSUM if they are not the ones the manifest was written for.
 */
export async function readModel({ manifest, file }: ModelVersion): Promise<Uint8Array> {
  const id = `${manifest.name}/${manifest.version}`
  const bytes = await readFile(file).catch((error: Error) => {
    throw new TF_ERR_MODEL_MANIFEST(id, error.message)
  })
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  if (sha256 !== manifest.sha256) throw new TF_ERR_MODEL_CHECKSUM(id)
  return bytes
}
