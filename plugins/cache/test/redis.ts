/** Redis as the cache sees it, with a clock of its own, and told how to fail. */
import { hash } from 'node:crypto'
import type { RedisClient } from '../index.ts'

interface Entry {
  body: Buffer
  /** null: no end. */
  endsAt: number | null
}

/** Milliseconds, but for the line that holds them. */
interface Written {
  loadedAt?: number
  ttl?: number
  life?: number
  /** What is left of its life. */
  rest?: number
  head?: string
}

export class FakeRedis implements RedisClient {
  status = 'ready'
  /** Milliseconds. */
  clock = { ms: 0 }
  readonly entries = new Map<string, Entry>()
  /** Commands in the order in which they came. */
  readonly sent: string[] = []
  /** What every command ends in instead of being done. */
  broken: (() => Promise<never>) | undefined

  /** Puts something where the cache will look. */
  put(key: string, body: string | Buffer, life = 60_000): void {
    this.entries.set(key, { body: Buffer.from(body), endsAt: this.clock.ms + life })
  }

  /** As the cache writes it. */
  write(key: string, json: string, given: Written = {}): void {
    const { loadedAt = 0, ttl = 100, life = 1000, rest = life, head = '' } = given
    const text = `${head || `${loadedAt} ${ttl} ${life}`}\n${json}`
    this.put(key, hash('sha256', `${key}\n${text}`).slice(0, 32) + text, rest)
  }

  async getrangeBuffer(key: string, start: number, end: number): Promise<Buffer> {
    await this.#command(`getrange ${key}`)
    return this.#alive(key)?.body.subarray(start, end + 1) ?? Buffer.alloc(0)
  }

  async pttl(key: string): Promise<number> {
    await this.#command(`pttl ${key}`)
    const entry = this.#alive(key)
    if (!entry) return -2
    return entry.endsAt === null ? -1 : entry.endsAt - this.clock.ms
  }

  async set(key: string, value: string, _unit: 'PX', milliseconds: number): Promise<'OK'> {
    await this.#command(`set ${key}`)
    this.put(key, value, milliseconds)
    return 'OK'
  }

  async del(key: string): Promise<number> {
    await this.#command(`del ${key}`)
    return Number(this.entries.delete(key))
  }

  async #command(command: string): Promise<void> {
    this.sent.push(command)
    await this.broken?.()
  }

  #alive(key: string): Entry | undefined {
    const entry = this.entries.get(key)
    return entry && (entry.endsAt === null || entry.endsAt > this.clock.ms) ? entry : undefined
  }
}

/** What ioredis rejects with when the server answers with an error. */
export function replyError(message: string): Error {
  return Object.assign(new Error(message), { name: 'ReplyError' })
}
