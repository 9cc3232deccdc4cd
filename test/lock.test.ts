/** What `npm ci` does beside unpacking: nothing. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

t.test(
  'no install script runs (else: take hasInstallScript out of package-lock.json, docs/decisions.md)',
  async (t) => {
    const { packages } = JSON.parse(readFileSync(join(import.meta.dirname, '../package-lock.json'), 'utf8')) as {
      packages: Record<string, { hasInstallScript?: boolean }>
    }
    const scripted = Object.entries(packages).filter(([, { hasInstallScript }]) => hasInstallScript)
    t.same(
      scripted.map(([path]) => path),
      []
    )
    t.ok('node_modules/onnxruntime-node' in packages)
  }
)
