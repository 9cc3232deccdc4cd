/**
 * Whether the model still sees what it was trained on: `fastify.drift`. Features and probabilities of the rows that were scored
 * are counted in the bins of the model's manifest; the stability indices are made of the counts when somebody asks.
 */
import { isDeepStrictEqual } from 'node:util'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { binOf, stabilityIndex } from '../domain/drift.ts'
import { RANKING_MODEL } from '../domain/ranking.ts'
import type { Manifest } from './model/index.ts'

/** A row that was scored. */
export interface ObservedRow {
  symbol: string
  /** Day of its newest price, YYYY-MM-DD. */
  asOf: string
  vector: Float32Array
  probability: number
}

/** PSI of one quantity against the training rows, and what it should stay below; both 0 while nothing can be said. */
export interface Stability {
  psi: number
  limit: number
}

export interface DriftReport extends WindowReport {
  /** The share of the universes' symbols that had no feature vector when they were asked for last; 0 before any was. */
  missing: number
}

/** What the rows of the window say. */
export interface WindowReport {
  /** Rows in the window. */
  samples: number
  /** `outside`: the share of rows outside the middle 99 % of the training rows; 0 while nothing can be said. */
  features: readonly (Stability & { name: string; outside: number })[]
  score: Stability
}

/** What `fastify.drift` offers. */
export interface Drift {
  /**
   * Counts rows that the version with this manifest has scored: each symbol of a universe once a market day.
   * @param missing symbols that were to be scored and had no feature vector: no prices, too few, or a source that failed
   */
  observe(manifest: Manifest, rows: readonly ObservedRow[], missing?: readonly string[]): void
  /** Of the version that is served now, or was before it was unloaded. */
  report(): DriftReport
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Decorated by the `drift` plugin. */
    drift: Drift
  }
}

/** Market days of the window: a month of them, like the parts of the training rows that the limits are made of. */
const WINDOW_DAYS = 20
/** So many days make a month: a few stocks whose last prices are old, each of another day, do not. */
const MONTH_DAYS = 15
/** Fewer rows say more of themselves than of the market: with ten bins their PSI is .05 by chance alone. */
const MIN_SAMPLES = 200

/** The rows of one market day. */
interface Day {
  symbols: Set<string>
  /** Counts of all bins, of one quantity after the other: the features, then the probability. */
  counts: Uint32Array
  /** Rows out of range, by feature. */
  outside: Uint32Array
}

/** Counts of the last market days of one model version. */
class DriftWindow {
  readonly manifest: Manifest
  /** The one that was compared last. */
  #same: Manifest
  readonly #quantities: NonNullable<Manifest['drift']>['features']
  readonly #days = new Map<string, Day>()
  /** Made of the present counts, if somebody has asked. */
  #report: WindowReport | undefined

  constructor(manifest: Manifest) {
    this.manifest = manifest
    this.#same = manifest
    const { drift: baseline } = manifest
    this.#quantities = baseline === undefined ? [] : [...baseline.features, baseline.score]
  }

  /** Whether a manifest asks for the same counts: it may have been read anew. Of the same weights it may speak otherwise. */
  isOf(manifest: Manifest): boolean {
    if (manifest === this.#same) return true
    if (!isDeepStrictEqual(manifest, this.manifest)) return false
    this.#same = manifest
    return true
  }

  add({ symbol, asOf, vector, probability }: ObservedRow): void {
    const day = this.#days.get(asOf) ?? this.#open(asOf)
    if (day === undefined || day.symbols.has(symbol)) return
    day.symbols.add(symbol)
    this.#report = undefined
    for (const [j, { quantiles }] of this.manifest.features.entries()) {
      if (vector[j]! < quantiles.p0_5 || vector[j]! > quantiles.p99_5) day.outside[j]!++
    }
    let offset = 0
    for (const [j, { edges, shares }] of this.#quantities.entries()) {
      // The last quantity is none of the vector's.
      day.counts[offset + binOf(edges, vector[j] ?? probability)]!++
      offset += shares.length
    }
  }

  /** A new day; the oldest makes room for it. undefined: it is older than all of a full window. */
  #open(asOf: string): Day | undefined {
    if (this.#days.size === WINDOW_DAYS) {
      const oldest = [...this.#days.keys()].toSorted()[0]!
      if (asOf < oldest) return undefined
      this.#days.delete(oldest)
    }
    const bins = this.#quantities.reduce((sum, { shares }) => sum + shares.length, 0)
    const outside = new Uint32Array(this.manifest.features.length)
    const day: Day = { symbols: new Set(), counts: new Uint32Array(bins), outside }
    this.#days.set(asOf, day)
    return day
  }

  report(): WindowReport {
    return (this.#report ??= this.#compute())
  }

  #compute(): WindowReport {
    const days = [...this.#days.values()]
    const samples = days.reduce((sum, { symbols }) => sum + symbols.size, 0)
    const counts = total(days.map((day) => day.counts))
    const outside = total(days.map((day) => day.outside))
    const enough = samples >= MIN_SAMPLES
    // The fewer days, the further their stocks stray together. Until there are enough they are judged like a single day. Days
    // count by their rows, as the inverse of Simpson's index has it: of n equal ones it is n.
    const squares = days.reduce((sum, { symbols }) => sum + symbols.size ** 2, 0)
    const length = samples ** 2 >= MONTH_DAYS * squares && enough ? 'month' : 'date'
    let offset = 0
    const stabilities = this.#quantities.map(({ shares, psi_limits }): Stability => {
      const own = counts.subarray(offset, (offset += shares.length))
      return { psi: enough ? stabilityIndex(shares, own) : 0, limit: psi_limits[length] }
    })
    const nothing: Stability = { psi: 0, limit: 0 }
    return {
      samples,
      features: this.manifest.features.map(({ name }, j) => ({
        name,
        outside: enough ? outside[j]! / samples : 0,
        ...(stabilities[j] ?? nothing)
      })),
      score: stabilities.at(-1) ?? nothing
    }
  }
}

/** Element by element. */
function total(arrays: readonly Uint32Array[]): Uint32Array {
  const sums = new Uint32Array(arrays[0]?.length ?? 0)
  for (const array of arrays) array.forEach((value, i) => (sums[i]! += value))
  return sums
}

async function drift(fastify: FastifyInstance): Promise<void> {
  const { market, model } = fastify
  // What clients may ask for beside them is no market, and has no bound.
  const members = new Set(market.universes.flatMap(({ symbols }) => symbols))
  let window = new DriftWindow(model.serving(RANKING_MODEL).manifest)

  /** The window of the version that is served now, or was last: another version has other bins, and starts anew. */
  function current(): DriftWindow {
    const manifest = model.find(RANKING_MODEL)?.manifest
    if (manifest !== undefined && !window.isOf(manifest)) window = new DriftWindow(manifest)
    return window
  }

  /** Whether a symbol had no vector when it was asked for last. Vectors are whole or none, so this is every feature's rate. */
  const lacking = new Map<string, boolean>()
  const note = (symbol: string, isMissing: boolean): unknown => members.has(symbol) && lacking.set(symbol, isMissing)

  const decorator: Drift = {
    observe(manifest, rows, missing = []) {
      for (const { symbol } of rows) note(symbol, false)
      for (const symbol of missing) note(symbol, true)
      const own = current()
      // Answers of a version that has just been replaced.
      if (!own.isOf(manifest)) return
      for (const row of rows) if (members.has(row.symbol)) own.add(row)
    },
    report() {
      const missing = [...lacking.values()].filter(Boolean).length
      return { ...current().report(), missing: missing / Math.max(1, lacking.size) }
    }
  }
  fastify.decorate('drift', Object.freeze(decorator))
}

export default fp(drift, { name: 'drift', fastify: '5.x', dependencies: ['market', '@trading-fun/model'] })
