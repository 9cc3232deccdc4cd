/** Two faults of the drill against a real Prometheus and Alertmanager. All of them: npm run drill. */
import t from 'tap'
import { drill } from '../../monitoring/drill.ts'
import { problemsOf } from '../../monitoring/drill/table.ts'
import { findProgram } from '../../monitoring/stack.ts'

const missing = ['prometheus', 'prometheus-alertmanager'].filter((name) => findProgram(name) === undefined)
if (missing.length > 0) {
  process.stderr.write(`SKIPPED, no fault is rehearsed: ${missing.join(', ')} missing, see CONTRIBUTING.md\n`)
}
/** It takes 45 s on a quiet machine. */
const LIMIT = { timeout: 600_000 }
t.setTimeout(LIMIT.timeout)

t.test(
  'faults are noticed, told, resolved, and nothing else fires',
  { skip: missing.length > 0 && 'no Prometheus', ...LIMIT },
  async (t) => {
    const only = ['scrape outage', 'unloaded model']
    const said: string[] = []
    const { signal } = new AbortController()
    const outcomes = await drill({ speed: 30, only, signal, say: (line) => said.push(line) })
    t.same(outcomes.flatMap(problemsOf), [], said.join('\n'))
    t.match(outcomes, [
      {
        fault: 'scrape outage',
        alerts: [
          { alert: 'TargetDown', told: { receiver: 'critical' } },
          { alert: 'MetricsAbsent', told: 'held back' }
        ]
      },
      { fault: 'unloaded model', alerts: [{ alert: 'ModelNotLoaded', told: { receiver: 'critical' } }] }
    ])
  }
)
