/** The codes of errors.ts in short, for metrics: closed sets. */

/** Why loads fail; `none`: one did not; `other`: for no reason of this package. Each but these two ends a code, `TF_ERR_MODEL_<REASON>`. */
export const RELOAD_REASONS = [
  'none',
  'unknown',
  'repository',
  'path',
  'manifest',
  'checksum',
  'open',
  'signature',
  'warm_up',
  'self_test',
  'linear',
  'input',
  'output',
  'inference',
  'deadline',
  'crashed',
  'refused',
  'none_fits',
  'no_rollback',
  'not_loaded',
  'changing',
  'other'
] as const
export type ReloadReason = (typeof RELOAD_REASONS)[number]

/** Why requests get no scores. */
export const REJECT_REASONS = [
  'not_loaded',
  'busy',
  'deadline',
  'aborted',
  'crashed',
  'inference',
  'output',
  'other'
] as const
export type RejectReason = (typeof REJECT_REASONS)[number]

/** Whether an error is one of this package (errors.ts), and says enough by itself. */
export function isModelError(error: unknown): error is Error & { code: string } {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('TF_ERR_MODEL_')
}

/** The end of an error's code if it is one of these, otherwise `other`. */
export function reasonOf<R extends string>(error: unknown, reasons: readonly R[]): R | 'other' {
  const reason = isModelError(error) && error.code.slice('TF_ERR_MODEL_'.length).toLowerCase()
  return reasons.find((known) => known === reason) ?? 'other'
}
