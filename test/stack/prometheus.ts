/** A Prometheus' answers, and the parts of its language that the tests of this folder take apart. */

export interface Sample {
  labels: Record<string, string>
  value: number
}

/** An instant query. @throws what Prometheus says of a query that it refuses */
export async function query(base: string, expression: string): Promise<Sample[]> {
  const body = new URLSearchParams({ query: expression })
  const reply = await fetch(`${base}/api/v1/query`, { method: 'POST', body, signal: AbortSignal.timeout(10_000) })
  const { status, error, data } = (await reply.json()) as {
    status: string
    error?: string
    data: { resultType: string; result: { metric: Record<string, string>; value: [number, string] }[] }
  }
  if (status !== 'success') throw new Error(`${expression}: ${error}`)
  return data.result.map(({ metric: { __name__, ...labels }, value: [, value] }) => ({ labels, value: Number(value) }))
}

/** Whether an answer has a number in it: NaN is none. */
export function hasData(samples: readonly Sample[]): boolean {
  return samples.some(({ value }) => !Number.isNaN(value))
}

/** The queries of a document: what stands in its promql fences, separated by blank lines, without comments. */
export function queriesIn(markdown: string): string[] {
  const fences = [...markdown.matchAll(/^ *```promql\n([^]*?)^ *```/gm)].map(([, text]) => text!)
  return fences
    .flatMap((text) => text.split(/\n\s*\n/))
    .map((text) => text.replaceAll(/^\s*#.*$/gm, '').trim())
    .filter((text) => text !== '')
}

const OPERATOR = /^(?:and|or|unless)\b(?:\s*(?:on|ignoring)\s*\([^)]*\))?/
const COMPARISON = /^(?:==|!=|>=|<=|>|<)/

/**
 * What an alert looks at, without its limits: its operands at the outermost level, each without the comparison and what it is
 * compared with. `absent(x)` looks at x.
 */
export function leftHandSides(expression: string): string[] {
  const sides: string[] = []
  let side = ''
  let compared = false
  let depth = 0
  for (let i = 0; i < expression.length;) {
    const rest = expression.slice(i)
    const text = /^"(?:[^"\\]|\\.)*"/.exec(rest)?.[0]
    const operator = depth === 0 && /\s|\)/.test(expression[i - 1] ?? '') ? OPERATOR.exec(rest)?.[0] : undefined
    if (operator !== undefined) {
      sides.push(side)
      side = ''
      compared = false
      i += operator.length
      continue
    }
    compared ||= depth === 0 && text === undefined && COMPARISON.test(rest)
    const piece = text ?? expression[i]!
    if ('({['.includes(piece)) depth++
    if (')}]'.includes(piece)) depth--
    if (!compared) side += piece
    i += piece.length
  }
  return [...sides, side].map((text) => /^absent\((.*)\)$/s.exec(text.trim())?.[1] ?? text.trim())
}
