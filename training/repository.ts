import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** The version a new model of this name gets: the highest number there is, plus 1; 1 where there is none. */
export async function nextVersion(repository: string, name: string): Promise<string> {
  await mkdir(join(repository, name), { recursive: true })
  const numbers = (await readdir(join(repository, name))).filter((entry) => /^[1-9]\d*$/.test(entry)).map(Number)
  return String(Math.max(0, ...numbers) + 1)
}

/**
 * Writes `<repository>/<name>/<version>/` in one step: files go into a temporary folder beside it, which is then renamed,
 * so that a service that looks sees all of a version or none of it.
 *
 * @returns the folder.
 * @throws the file system's error, ENOTEMPTY if the version exists; then nothing is left behind.
 */
export async function writeVersion(
  repository: string,
  name: string,
  version: string,
  files: Readonly<Record<string, string | Uint8Array>>
): Promise<string> {
  const folder = join(repository, name, version)
  const temporary = join(repository, name, `.new-${randomUUID()}`)
  await mkdir(temporary)
  try {
    for (const [file, content] of Object.entries(files)) await writeFile(join(temporary, file), content)
    await rename(temporary, folder)
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
  return folder
}
