/** The model repository: `<name>/<version>/{model.onnx, manifest.json}`. Reading it opens no session. */
import { createHash } from 'node:crypto'
import { readFile, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Value } from '@sinclair/typebox/value'
import { TF_ERR_MODEL_CHECKSUM, TF_ERR_MODEL_MANIFEST, TF_ERR_MODEL_REPOSITORY } from './errors.ts'
import { type Manifest, ManifestSchema, contradiction } from './manifest.ts'

/** One version on disk. */
export interface ModelVersion {
  readonly manifest: Manifest
  /** Path of model.onnx, within the repository and in the file system. */
  readonly path: string
  readonly file: string
  readonly sizeBytes: number
}

// Versions are numbers; whatever else lies in the folder (a copy under way, notes) is not a version.
const NAME = /^[a-z][a-z0-9_-]{0,63}$/
const VERSION = /^[1-9][0-9]{0,8}$/

async function folders(directory: string, grammar: RegExp): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true })
  return entries.filter((entry) => entry.isDirectory() && grammar.test(entry.name)).map((entry) => entry.name)
}

async function readManifest(directory: string, name: string, version: string): Promise<Manifest> {
  const id = `${name}/${version}`
  let manifest: unknown
  try {
    manifest = JSON.parse(await readFile(join(directory, 'manifest.json'), 'utf8'))
  } catch (error) {
    throw new TF_ERR_MODEL_MANIFEST(id, (error as Error).message)
  }
  const first = Value.Errors(ManifestSchema, manifest).First()
  if (first) throw new TF_ERR_MODEL_MANIFEST(id, `${first.path.slice(1)}: ${first.message}`)
  const checked = manifest as Manifest
  if (checked.name !== name || checked.version !== version) {
    throw new TF_ERR_MODEL_MANIFEST(id, `speaks of ${checked.name}/${checked.version}`)
  }
  const fault = contradiction(checked)
  if (fault !== undefined) throw new TF_ERR_MODEL_MANIFEST(id, fault)
  return checked
}

/**
 * All versions of all models, by name, newest version first.
 * @throws TF_ERR_MODEL_REPOSITORY if there is none; TF_ERR_MODEL_MANIFEST for the first manifest that is not in order:
 * passing over it would serve an older version without a word.
 */
export async function readRepository(directory: string): Promise<Map<string, ModelVersion[]>> {
  const models = new Map<string, ModelVersion[]>()
  const names = await folders(directory, NAME).catch((error: Error) => {
    throw new TF_ERR_MODEL_REPOSITORY(error.message)
  })
  for (const name of names.toSorted()) {
    const versions = await folders(join(directory, name), VERSION)
    const read = versions
      .toSorted((a, b) => Number(b) - Number(a))
      .map(async (version): Promise<ModelVersion> => {
        const folder = join(directory, name, version)
        const manifest = await readManifest(folder, name, version)
        const file = join(folder, 'model.onnx')
        const { size } = await stat(file).catch((error: Error) => {
          throw new TF_ERR_MODEL_MANIFEST(`${name}/${version}`, error.message)
        })
        return { manifest, path: `${name}/${version}/model.onnx`, file, sizeBytes: size }
      })
    if (read.length > 0) models.set(name, await Promise.all(read))
  }
  if (models.size === 0)
    throw new TF_ERR_MODEL_REPOSITORY(`${directory} holds no model (<name>/<version>/manifest.json)`)
  return models
}

/** The bytes of model.onnx. @throws TF_ERR_MODEL_CHECKSUM if they are not the ones the manifest was written for. */
export async function readModel({ manifest, file }: ModelVersion): Promise<Uint8Array> {
  const bytes = await readFile(file)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  if (sha256 !== manifest.sha256) throw new TF_ERR_MODEL_CHECKSUM(`${manifest.name}/${manifest.version}`)
  return bytes
}
