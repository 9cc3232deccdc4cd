/** Which metrics and labels a PromQL expression names: by its tokens, without a parser. */

/** A metric, and the labels that the expression uses of it: in its matchers, and in what it is grouped by. */
export interface MetricUse {
  name: string
  labels: string[]
}

/** Strings and comments, then durations and numbers, then names, then brackets; all else is of no interest. */
const TOKEN = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`|#.*|\$?\b\d[\w.]*|[a-zA-Z_:][\w:]*|[(){}[\]]/g
const NAME = /^[a-zA-Z_:]/
const CLOSING: Record<string, string> = { '(': ')', '{': '}', '[': ']' }

const GROUPINGS = new Set(['by', 'without'])
const MATCHINGS = new Set(['on', 'ignoring', 'group_left', 'group_right'])
const WORDS = new Set(['and', 'or', 'unless', 'bool', 'offset', 'inf', 'nan', 'start', 'end', 'atan2'])

/**
 * The metrics of an expression, one entry a mention. Its limits: selectors without a name (`{job="..."}`) are not seen, a metric named like
 * a keyword (`by`, `offset`) is taken for it, labels in `on`, `ignoring`, `group_left` and `group_right` and in the strings
 * of label_replace belong to no metric, and a range `[5m:$interval]` is skipped, variables included. Syntax is not checked.
 */
export function metricsIn(expression: string): MetricUse[] {
  const tokens = (expression.match(TOKEN) ?? []).filter((token) => !token.startsWith('#'))
  const found: (MetricUse & { at: number })[] = []
  const groupings: { from: number; to: number; labels: string[] }[] = []

  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at]!
    const next = tokens[at + 1]
    if (token === '[' || token === '{') at = closing(tokens, at)
    else if (!NAME.test(token)) continue
    else if (GROUPINGS.has(token) || MATCHINGS.has(token)) {
      if (next !== '(') continue
      const end = closing(tokens, at + 1)
      if (GROUPINGS.has(token)) groupings.push({ ...grouped(tokens, at, end), labels: names(tokens, at + 1, end) })
      at = end
    } else if (next !== '(' && !GROUPINGS.has(next ?? '') && !WORDS.has(token.toLowerCase())) {
      const end = next === '{' ? closing(tokens, at + 1) : at
      found.push({ name: token, labels: names(tokens, at, end).slice(1), at })
      at = end
    }
  }
  return found.map(({ name, labels, at }) => {
    const around = groupings.filter(({ from, to }) => from < at && at < to)
    return { name, labels: [...new Set([...labels, ...around.flatMap((group) => group.labels)])] }
  })
}

/** What a grouping is of: the brackets after it (`sum by (x) (...)`), or before it (`sum (...) by (x)`). */
function grouped(tokens: readonly string[], at: number, end: number): { from: number; to: number } {
  if (tokens[end + 1] === '(') return { from: end + 1, to: closing(tokens, end + 1) }
  let from = at - 2
  while (from > 0 && closing(tokens, from) !== at - 1) from--
  return { from, to: at - 1 }
}

/** Where the bracket at a place closes; the place itself if there is none. */
function closing(tokens: readonly string[], at: number): number {
  const open = tokens[at]!
  const close = CLOSING[open]
  if (close === undefined) return at
  let depth = 0
  for (let i = at; i < tokens.length; i++) {
    if (tokens[i] === open) depth++
    else if (tokens[i] === close && --depth === 0) return i
  }
  throw new Error(`${open} is not closed: ${tokens.join(' ')}`)
}

function names(tokens: readonly string[], from: number, to: number): string[] {
  return tokens.slice(from, to + 1).filter((token) => NAME.test(token))
}
