/** The landing page in the browser: a country's ranking, anew each minute while somebody looks, and what its model is worth. */
import { element } from './element.js'
import { rankingTable } from './table.js'
import { clock, day, figures, notices, verdict } from './words.js'

/** @typedef {import('./words.js').Ranking} Ranking */
/** @typedef {import('./words.js').Model} Model */

/** Milliseconds after which a ranking is asked for again: as long as the service keeps one fresh. */
const REFRESH = 60_000
/** Milliseconds until the next try, where a failed reply does not say. */
const RETRY = 15_000
/** Milliseconds for which a reply is waited for: longer than any source of prices may take. */
const PATIENCE = 60_000

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id))
const select = /** @type {HTMLSelectElement} */ (byId('country'))

/** The last ranking of each country and when it came: at most as many as there are countries. @type {Map<string, { ranking: Ranking, at: number }>} */
const known = new Map()
/** `name/version` of the model whose figures are on the page. @type {string | undefined} */
let described
/** Ends the request for a country that nobody wants any more. */
let current = new AbortController()
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer
/** When the next request is due, in Unix milliseconds. */
let due = 0

/** A reply that is none, in words. */
class Trouble extends Error {
  /** @param {string} message @param {number} [wait] milliseconds until it may be better */
  constructor(message, wait = RETRY) {
    super(message)
    this.wait = wait
  }
}

/** @param {unknown} error @returns {Trouble} */
const wordsOf = (error) => (error instanceof Trouble ? error : new Trouble('This page has failed.'))

/** @param {string} url @param {AbortSignal} signal @returns {Promise<any>} @throws {Trouble} also if it is not wanted any more */
async function ask(url, signal) {
  /** @type {Response} */
  let reply
  try {
    reply = await fetch(url, {
      headers: { accept: 'application/json' },
      signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)])
    })
    if (reply.ok) return await reply.json()
  } catch {
    throw new Trouble('The service does not answer.')
  }
  // A proxy in between may answer without a problem of ours.
  const { detail = `The service answers ${reply.status}` } = await reply.json().catch(() => ({}))
  const seconds = Number(reply.headers.get('retry-after'))
  throw new Trouble(`${String(detail).replace(/\.$/, '')}.`, seconds > 0 ? seconds * 1000 : RETRY)
}

/** Sets a text, but not the one that is there: it would be read out again. @param {string} id @param {string} text */
function say(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text
}

/** @param {AbortSignal} signal */
async function listCountries(signal) {
  if (select.options.length > 0) return
  const { countries } = await ask('countries', signal)
  const wanted = new URLSearchParams(location.search).get('country')
  for (const { name, size } of countries) {
    const option = element('option', { value: name }, `${name} (${size})`)
    option.selected = name === wanted
    select.append(option)
  }
  select.disabled = false
}

/** @param {string} country @param {{ ranking: Ranking, at: number }} found */
function draw(country, { ranking, at }) {
  const marks = notices(ranking).map(({ title, text }) => element('li', {}, element('strong', {}, title), ` ${text}`))
  byId('notices').replaceChildren(...marks)
  const count = ranking.ranking.length
  byId('table').replaceChildren(
    count > 0 ? rankingTable(ranking) : element('p', {}, `None of the stocks of ${country} can be ranked.`)
  )
  byId('table').classList.remove('is-old')
  say('status', `${country}: ${count} stocks ranked`)
  const asOf = ranking.data_as_of === null ? '' : `Prices of ${day(ranking.data_as_of)}, source ${ranking.source}. `
  say('when', `${asOf}Ranked at ${clock(at - ranking.age_seconds * 1000)}, asked for again each minute.`)
}

/** Says why there is nothing new, and leaves what there is, marked. @param {string} country @param {Trouble} trouble */
function complain(country, trouble) {
  const held = known.get(country)
  const what = held ? `What is shown is of ${clock(held.at)}, it could not be refreshed. ` : ''
  say('reason', `${what}${trouble.message}`)
  byId('trouble').hidden = false
  byId('table').classList.toggle('is-old', held !== undefined)
  if (held) return
  // Nobody must take another country's ranking for this one's.
  byId('table').replaceChildren()
  byId('notices').replaceChildren()
  say('status', country === '' ? 'No countries' : `${country}: no ranking`)
  say('when', '')
}

/** Shows what the model is worth that has made the ranking. @param {AbortSignal} signal @param {Ranking['model']} model */
async function describe(signal, { name, version }) {
  if (described === `${name}/${version}`) return
  try {
    /** @type {{ available_models: Model[] }} */
    const { available_models: models } = await ask('models', signal)
    const model = models.find((one) => one.name === name && one.version === version)
    if (model === undefined) throw new Trouble(`${name} ${version} is not among the models any more.`)
    const list = figures(model).flatMap(({ term, text }) => [element('dt', {}, term), element('dd', {}, text)])
    byId('figures').replaceChildren(element('p', {}, verdict(model)), element('dl', {}, ...list))
    described = `${name}/${version}`
  } catch (error) {
    // The next ranking brings the next try.
    if (!signal.aborted) say('figures', `There are no figures now. ${wordsOf(error).message}`)
  }
}

/** @param {number} wait milliseconds */
function schedule(wait) {
  clearTimeout(timer)
  due = Date.now() + wait
  timer = setTimeout(() => document.hidden || void load(), wait)
}

/** Shows the ranking of the chosen country: a new one, or the one of less than a minute ago. @param {boolean} [anew] */
async function load(anew = true) {
  current.abort()
  current = new AbortController()
  const { signal } = current
  clearTimeout(timer)
  byId('table').setAttribute('aria-busy', 'true')
  try {
    await listCountries(signal)
    const country = select.value
    let held = known.get(country)
    if (held === undefined) say('status', `Loading ${country} …`)
    else if (!anew) draw(country, held)
    if (anew || held === undefined || Date.now() - held.at >= REFRESH) {
      const query = new URLSearchParams({ country, sparkline: 'true' })
      held = { ranking: await ask(`ranking?${query}`, signal), at: Date.now() }
      known.set(country, held)
      draw(country, held)
    }
    byId('trouble').hidden = true
    say('reason', '')
    schedule(held.at + REFRESH - Date.now())
    await describe(signal, held.ranking.model)
  } catch (error) {
    if (signal.aborted) return
    const trouble = wordsOf(error)
    complain(select.value, trouble)
    schedule(trouble.wait)
  } finally {
    if (!signal.aborted) byId('table').removeAttribute('aria-busy')
  }
}

select.addEventListener('change', () => {
  history.replaceState(null, '', `?${new URLSearchParams({ country: select.value })}`)
  void load(false)
})
byId('again').addEventListener('click', () => void load())
byId('refresh').addEventListener('click', () => void load())
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && Date.now() >= due) void load()
})
void load()
