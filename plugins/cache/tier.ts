/** The second tier: what one process loaded, for the others and for the time after a restart, in Redis or Valkey. */
import { hash } from 'node:crypto'
import {
  type Commands,
  type Outcome,
  type TierCommand,
  type TierError,
  type TierState,
  createCommands
} from './commands.ts'
import { snapshot } from './snapshot.ts'

/** What is asked of a client. Those of ioredis 5 and 6 and of iovalkey have it. */
export interface RedisClient {
  /** `ready`: commands can be sent. In any other state the tier is left out. */
  readonly status: string
  getrangeBuffer(key: string, start: number, end: number): Promise<Buffer>
  pttl(key: string): Promise<number>
  set(key: string, value: string, unit: 'PX', milliseconds: number): Promise<unknown>
  del(key: string): Promise<unknown>
}

/**
 * What a lookup found. `hit`: a fresh value. `stale`: one past its ttl. `corrupt`: something that is not what was written, or
 * too large: it is deleted. `error`: the command failed. `skipped`: none was sent, because Redis is down or too busy.
 */
export const TIER_RESULTS = ['hit', 'stale', 'miss', 'corrupt', 'error', 'skipped'] as const
export type TierResult = (typeof TIER_RESULTS)[number]

/** The figures of one cache type in the second tier, counted from the start. */
export interface TierStats {
  /** Lookups by what they found; together they are all lookups. */
  lookups: Record<TierResult, number>
  /** Commands that failed, by reason: lookups, writes and deletions. */
  errors: Record<TierError, number>
  /** Values stored. */
  writes: number
  /** Values not sent because they are larger than `maxRedisEntryBytes`. */
  oversized: number
}

/** What happens in the second tier. */
export interface TierEvents {
  onTierLookup?: (type: string, result: TierResult) => void
  onTierError?: (type: string, command: TierCommand, kind: TierError) => void
  /** Noticed with the commands: without traffic nothing is noticed. */
  onTierState?: (state: TierState) => void
}

/** A value as it was found. Durations are milliseconds. */
export interface Found {
  value: unknown
  /** As JSON. */
  bytes: number
  age: number
  ttl: number
}

/** A value to be stored. Durations are milliseconds. */
export interface Stored {
  json: string
  ttl: number
  /** How long it is of any use, stale. */
  life: number
}

/** No method fails or throws. */
export interface Tier {
  get(type: string, key: string): Promise<Found | undefined>
  /** Not waited for. */
  set(type: string, key: string, stored: Stored): void
  /** Not waited for, and lost while Redis is down. */
  delete(type: string, key: string): void
  stats(type: string): TierStats
  state(): TierState
}

export interface TierSettings {
  client: RedisClient
  types: readonly string[]
  /** Before all keys. */
  prefix: string
  /** Bound on what is sent and on what is received. */
  maxBytes: number
  /** Milliseconds that a command is waited for. */
  timeout: number
  /** Milliseconds of a clock that never goes back. */
  now: () => number
  /** Milliseconds since 1970. */
  wallClock: () => number
}

/** Of the form below: another one has another number, and never meets it. */
const VERSION = 1
/** Hex digits of the SHA-256 in front of the body. */
const SEAL = 32
/** Of a key that is not there, and of one without an end. */
const [NO_KEY, NO_END] = [-2, -1]

export function createTier(settings: TierSettings, events: Required<TierEvents>): Tier {
  const { client, maxBytes, wallClock, timeout, now } = settings
  const figures = new Map(settings.types.map((type) => [type, zero()]))
  const commands: Commands = createCommands({
    isConnected: () => client.status === 'ready',
    timeout,
    now,
    onState: events.onTierState
  })

  function nameOf(type: string, key: string): string {
    return `${settings.prefix}${VERSION}:${type}:${key}`
  }

  async function get(type: string, key: string): Promise<Found | undefined> {
    const { result, found } = await lookUp(type, nameOf(type, key))
    figures.get(type)!.lookups[result]++
    events.onTierLookup(type, result)
    if (result === 'corrupt') remove(type, key)
    return found
  }

  async function lookUp(type: string, name: string): Promise<{ result: TierResult; found?: Found }> {
    const outcome = await run(type, 'get', async () => {
      // The rest of its life first: if another value takes its place in between, that one looks older than it is, never younger.
      const rest = client.pttl(name)
      // No more than the bound comes over the wire, whatever is there, and what is cut off does not match its seal.
      const body = client.getrangeBuffer(name, 0, maxBytes - 1).catch(garbageOrThrow)
      return Promise.all([rest, body])
    })
    if (outcome.result !== 'ok') return outcome
    const [rest, body] = outcome.reply
    if (rest === NO_KEY || body?.length === 0) return { result: 'miss' }
    const found = body && open(name, body, rest)
    if (!found) return { result: 'corrupt' }
    return { result: found.age < found.ttl ? 'hit' : 'stale', found }
  }

  /**
   * The age is the greater one of two: what has gone of its life by the clock of Redis, which all hosts share, and the time
   * since it was loaded by the clocks of the hosts. The first alone would take a value for new that lay in the buffers of a
   * paused server, the second one that came from a host whose clock is ahead.
   */
  function open(name: string, body: Buffer, rest: number): Found | undefined {
    if (rest === NO_END) return undefined
    const text = body.toString('utf8', SEAL)
    if (body.toString('latin1', 0, SEAL) !== seal(name, text)) return undefined
    const head = text.slice(0, text.indexOf('\n') + 1)
    const [loadedAt = Number.NaN, ttl = Number.NaN, life = Number.NaN] = head.split(' ').map(Number)
    const age = Math.max(0, wallClock() - loadedAt, life - rest)
    if (!(rest <= life && age >= 0 && ttl >= 0)) return undefined
    try {
      const value = snapshot<unknown>(JSON.parse(text.slice(head.length)))
      return { value, bytes: body.length - SEAL - head.length, age, ttl }
    } catch {
      return undefined
    }
  }

  function set(type: string, key: string, { json, ttl, life }: Stored): void {
    const name = nameOf(type, key)
    const milliseconds = Math.max(1, Math.ceil(life))
    const text = `${wallClock()} ${ttl} ${milliseconds}\n${json}`
    if (SEAL + Buffer.byteLength(text) > maxBytes) {
      figures.get(type)!.oversized++
      return
    }
    void store(type, async () => client.set(name, seal(name, text) + text, 'PX', milliseconds))
  }

  async function store(type: string, send: () => Promise<unknown>): Promise<void> {
    const { result } = await run(type, 'set', send)
    if (result === 'ok') figures.get(type)!.writes++
  }

  function remove(type: string, key: string): void {
    void run(type, 'delete', async () => client.del(nameOf(type, key)))
  }

  async function run<T>(type: string, command: TierCommand, send: () => Promise<T>): Promise<Outcome<T>> {
    const outcome = await commands.run(send)
    if (outcome.result === 'error') {
      figures.get(type)!.errors[outcome.kind]++
      events.onTierError(type, command, outcome.kind)
    }
    return outcome
  }

  return {
    get,
    set,
    delete: remove,
    stats: (type) => structuredClone(figures.get(type)!),
    state: () => commands.state()
  }
}

/** Over the key too, and so over the version: a value does not pass for that of another key. */
function seal(name: string, text: string): string {
  return hash('sha256', `${name}\n${text}`).slice(0, SEAL)
}

function garbageOrThrow(error: Error): undefined {
  if (!error.message.startsWith('WRONGTYPE')) throw error
}

function zero(): TierStats {
  return {
    lookups: { hit: 0, stale: 0, miss: 0, corrupt: 0, error: 0, skipped: 0 },
    errors: { timeout: 0, connection: 0, reply: 0 },
    writes: 0,
    oversized: 0
  }
}
