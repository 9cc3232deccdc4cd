/** Whether an error is one of this package (errors.ts), and says enough by itself. */
export function isModelError(error: unknown): error is Error & { code: string } {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('TF_ERR_MODEL_')
}
