/** Which versions are to be served. */
import { TF_ERR_MODEL_NONE_FITS, TF_ERR_MODEL_REFUSED, TF_ERR_MODEL_UNKNOWN } from './errors.ts'
import type { Manifest } from './manifest.ts'
import type { VersionPolicy } from './options.ts'
import type { ModelVersion } from './repository.ts'

/** What the service says of a version: why it must not be served, or undefined. */
export type Refuse = (manifest: Manifest) => string | undefined

/** The newest version that is not refused. @throws TF_ERR_MODEL_NONE_FITS with the reason for each. */
function newestFitting(name: string, versions: readonly ModelVersion[], refuse: Refuse, advice: string): ModelVersion {
  const reasons: string[] = []
  for (const version of versions) {
    const reason = refuse(version.manifest)
    if (reason === undefined) return version
    reasons.push(`version ${version.manifest.version} ${reason}`)
  }
  throw new TF_ERR_MODEL_NONE_FITS(name, `${reasons.join(', ')}. ${advice}`.trim())
}

/** Numbers of the versions that somebody asked for, or a policy names; undefined: it is the newest that fits. */
export function numbersOf(policy: VersionPolicy, wanted: string | undefined): readonly string[] | undefined {
  if (policy === 'latest') return wanted === undefined ? undefined : [wanted]
  if ('pinned' in policy) return [wanted ?? policy.pinned]
  return wanted === undefined ? policy.list : [...new Set([wanted, ...policy.list])]
}

/**
 * The versions to serve of those that are known (newest first): the first one answers those who name none. `wanted` is what
 * somebody asked for by number: it stands above the policy, and before the versions of a list.
 * @throws TF_ERR_MODEL_UNKNOWN, TF_ERR_MODEL_REFUSED, TF_ERR_MODEL_NONE_FITS ending with `advice`
 */
export function chooseVersions(
  name: string,
  known: readonly ModelVersion[],
  policy: VersionPolicy,
  wanted: string | undefined,
  refuse: Refuse,
  advice: string
): ModelVersion[] {
  if (known.length === 0) throw new TF_ERR_MODEL_UNKNOWN(name)
  const numbers = numbersOf(policy, wanted)
  if (numbers === undefined) return [newestFitting(name, known, refuse, advice)]
  return numbers.map((number) => {
    const version = known.find(({ manifest }) => manifest.version === number)
    if (version === undefined) throw new TF_ERR_MODEL_UNKNOWN(`${name}/${number}`)
    const reason = refuse(version.manifest)
    if (reason !== undefined) throw new TF_ERR_MODEL_REFUSED(`${name}/${number}`, `${reason}. ${advice}`.trim())
    return version
  })
}
