/** What came of a drill, for people and for the exit code. */
import { NOT_REHEARSED } from './faults.ts'
import type { AlertOutcome, Outcome } from './watch.ts'

/** What went wrong, a line each. */
export function problemsOf({ fault, alerts, falseAlarms, restless }: Outcome): string[] {
  const missing = alerts.flatMap(({ alert, fired, told, resolved, toldResolved }) => {
    if (fired === undefined) return [`${alert} did not fire`]
    return [
      ...(told === undefined ? [`${alert} was told to nobody`] : []),
      ...(resolved === undefined ? [`${alert} was not resolved`] : []),
      ...(toldResolved ? [] : [`nobody was told that ${alert} is over`])
    ]
  })
  const wrong = falseAlarms.map((alert) => `${alert} fired, and should not have`)
  const late = restless.map((alert) => `${alert} was not over at the end, or somebody thinks so`)
  return [...missing, ...wrong, ...late].map((text) => `${fault}: ${text}`)
}

function toldTo({ told: how }: AlertOutcome): string {
  if (how === undefined) return 'nobody'
  return how === 'held back' ? how : `${how.receiver}, ${how.after} s`
}

const time = (value: number | undefined): string => (value === undefined ? 'never' : `${value} s`)

/** A Markdown table, aligned: a row for each alert that was expected. */
export function tableOf(outcomes: readonly Outcome[]): string {
  const head = ['fault', 'alert expected', 'fired after', 'told', 'resolved after', 'consequences', 'false alarms']
  const rows = outcomes.flatMap(({ fault, alerts, consequences, falseAlarms }) =>
    alerts.map((outcome, i) => [
      i === 0 ? fault : '',
      outcome.alert,
      time(outcome.fired),
      toldTo(outcome),
      time(outcome.resolved),
      i === 0 ? consequences.join(', ') : '',
      i === 0 ? falseAlarms.join(', ') || 'none' : ''
    ])
  )
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)))
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}

/** Alerts of which a drill says nothing, a line a reason. */
export function silenceOf(): string {
  return NOT_REHEARSED.map(([reason, alerts]) => `not rehearsed, ${reason}: ${alerts.join(', ')}`).join('\n')
}
