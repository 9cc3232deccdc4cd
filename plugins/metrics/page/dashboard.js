/** The dashboard in the browser: asks for the last hour once, then for what is new, and says when nothing comes. */
import { view } from './chart.js'
import { element } from './element.js'
import { formatClock } from './format.js'
import { CAPACITY, Panel } from './panel.js'

/** @typedef {{ title: string, folded: boolean, panels: import('./chart.js').Definition[] }} Row */
/**
 * `now` and `times` are Unix milliseconds of the service's clock, `next` is the tick to go on from.
 * @typedef {{ instance: string, now: number, interval: number, notice: string | null, next: number, times: number[],
 *   series: import('./chart.js').Series[][], rows?: Row[] }} Reply
 */

/** So many intervals without anything new are worth a mark. */
const LATE = 3
/** The choices of what charts show, in seconds. */
const RANGES = /** @type {const} */ ({ 300: '5 min', 900: '15 min', 3600: '1 h' })

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id))

/** @type {Panel[]} */
let panels = []
/** Milliseconds between ticks, as the service says. */
let interval = 5000
/** What is known already: of which process, up to which tick. */
const known = { instance: '', next: 0 }
/** The clock of the service when it answered last, and ours: hers may be another than the one of this machine. */
const clock = { service: 0, own: 0 }
/** @type {string | undefined} */
let token

/** What the service says to a request without the token. */
class Refused extends Error {}

/** Makes all panels; of those that were there before, what a person has chosen is kept. @param {Row[]} rows */
function build(rows) {
  const off = new Map(panels.map((panel) => [panel.definition.title, panel.off]))
  const open = new Map(
    Array.from(document.querySelectorAll('details'), (row) => [row.querySelector('h2')?.textContent, row.open])
  )
  for (const panel of panels) panel.destroy()
  panels = []
  const sections = rows.map(({ title, folded, panels: definitions }) => {
    const own = definitions.map((definition, i) => new Panel(definition, panels.length + i, off.get(definition.title)))
    panels.push(...own)
    const grid = element('div', { class: 'grid' }, ...own.map(({ root }) => root))
    const summary = element('summary', {}, element('h2', {}, title))
    const details = element('details', (open.get(title) ?? !folded) ? { open: '' } : {}, summary, grid)
    details.addEventListener('toggle', () => own.forEach((panel) => panel.draw()))
    return details
  })
  byId('panels').replaceChildren(...sections)
}

/** @param {Reply} reply */
function take({ instance, now, next, rows, times, series, notice }) {
  Object.assign(known, { instance, next })
  Object.assign(clock, { service: now, own: performance.now() })
  if (rows !== undefined) {
    view.times.length = 0
    build(rows)
  }
  const before = view.times.length
  view.times.push(...times.map((time) => time / 1000))
  if (view.times.length > CAPACITY) view.times.splice(0, view.times.length - CAPACITY)
  let query = 0
  for (const panel of panels) {
    const { queries } = panel.definition
    panel.add(series.slice(query, (query += queries)), before)
  }
  byId('notice').textContent = notice
  byId('notice').hidden = notice === null
  for (const panel of panels) panel.draw()
}

/** Says whether the numbers are of now, and if not why. @param {string} [trouble] */
function mark(trouble) {
  const last = view.times.at(-1)
  const now = clock.service + performance.now() - clock.own
  const late = last === undefined ? trouble !== undefined : now - last * 1000 > LATE * interval
  const stale = byId('stale')
  // Its text is read out when it changes: once, not at every try.
  if (late && stale.hidden) {
    const since =
      last === undefined ? '' : `Nothing new since ${formatClock(last, true)}; what is shown is from before. `
    stale.textContent = `${since}${trouble ?? 'The service does not read its metrics.'}`
  }
  stale.hidden = !late
  document.body.classList.toggle('is-stale', late)
  byId('status').textContent = late ? 'not live' : `live, every ${interval / 1000} s · ${formatClock(last ?? 0, true)}`
}

/** @returns {Promise<Reply>} */
async function ask() {
  const reply = await fetch(`${document.body.dataset['base']}/data?instance=${known.instance}&from=${known.next}`, {
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(10_000)
  })
  if (reply.status === 401) throw new Refused(token === undefined ? 'A token is needed.' : 'The token is wrong.')
  if (!reply.ok) throw new Error(`The service answers ${reply.status}.`)
  return reply.json()
}

async function update() {
  try {
    const reply = await ask()
    interval = reply.interval
    byId('login').hidden = true
    take(reply)
    mark()
  } catch (error) {
    const refused = error instanceof Refused
    byId('login').hidden = !refused
    byId('stale').hidden = true
    mark(refused ? error.message : 'The service does not answer.')
    if (refused) return
  }
  setTimeout(update, interval)
}

function ranges() {
  const fieldset = element('fieldset', { class: 'ranges' }, element('legend', { class: 'unseen' }, 'Time range'))
  for (const [seconds, text] of Object.entries(RANGES)) {
    const chosen = Number(seconds) === view.range
    const input = element('input', { type: 'radio', name: 'range', ...(chosen && { checked: '' }) })
    input.addEventListener('change', () => {
      view.range = Number(seconds)
      for (const panel of panels) panel.draw()
    })
    fieldset.append(element('label', {}, input, text))
  }
  return fieldset
}

document.querySelector('header')?.append(ranges())
byId('login').addEventListener('submit', (event) => {
  event.preventDefault()
  token = /** @type {HTMLInputElement} */ (byId('token')).value
  void update()
})
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => panels.forEach((panel) => panel.redraw()))
void update()
