/** The outside of an isolate: a worker thread or a child process with one session of its own. */
import { fork } from 'node:child_process'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { TF_ERR_MODEL_CRASHED, TF_ERR_MODEL_DEADLINE } from './errors.ts'
import type { Answer, Order } from './host.ts'
import type { Scores } from './session.ts'
import type { Signature, Tensors } from './tensors.ts'

export type IsolateKind = 'thread' | 'process'

export interface IsolateOptions {
  kind: IsolateKind
  /** Milliseconds that the start with the opening of the session may take, a run, and the end. */
  startTimeout: number
  timeout: number
  endTimeout: number
  /** Told when it ends and nobody has ended it, with the reason as the error's cause. */
  onCrash?: (error: Error) => void
}

/** What threads and processes have in common. */
interface Channel {
  send(order: Order): void
  onAnswer(listener: (answer: Answer) => void): void
  /** `how`: its exit code or signal, or what was thrown in it. */
  onExit(listener: (how: string) => void): void
  /** Threads have none: to end one during a run ends the whole process. */
  kill?(): void
}

/** From source it is TypeScript, in the package JavaScript. */
const ENTRY = new URL(`worker${extname(import.meta.filename)}`, import.meta.url)

function ignore(): void {}

function crashed(how?: string): Error {
  const cause = how === undefined ? undefined : new Error(how)
  return Object.assign(new TF_ERR_MODEL_CRASHED(), { cause, headers: { 'retry-after': '1' } })
}

/** Threads that follow an order. */
const busy = new Set<Worker>()
let watched = false

/**
 * A thread in a run can't be ended: Node would wait for the run at the exit, however long it takes, and then abort. Who closes before
 * has waited as long as a run may take.
 */
/* c8 ignore start: nothing of a process that is killed is counted; a test looks at one from outside */
function exitAtOnce(): void {
  if (busy.size === 0) return
  process.stderr.write('The process exits while a model is in a run, and is killed.\n')
  process.kill(process.pid, 'SIGKILL')
}
/* c8 ignore stop */

function startThread(): Channel {
  const worker = new Worker(ENTRY)
  if (!watched) process.on('exit', exitAtOnce)
  watched = true
  // What is thrown there ends it.
  let thrown: Error | undefined
  worker.on('error', (error) => (thrown = error))
  worker.on('message', () => busy.delete(worker)).once('exit', () => busy.delete(worker))
  return {
    send(order) {
      if (order.order !== 'end') busy.add(worker)
      worker.postMessage(order, order.order === 'run' ? [order.features.buffer as ArrayBuffer] : [])
    },
    onAnswer: (listener) => void worker.on('message', listener),
    onExit: (listener) => void worker.once('exit', (code) => listener(thrown?.message ?? `exit code ${code}`))
  }
}

function startProcess(): Channel {
  const child = fork(ENTRY, { serialization: 'advanced', stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  // Its end is told by `exit`; what can't be sent any more needs no other word.
  child.on('error', ignore)
  return {
    send: (order) => void child.send(order, ignore),
    onAnswer: (listener) => void child.on('message', (answer) => listener(answer as Answer)),
    onExit: (listener) => void child.once('exit', (code, signal) => listener(signal ?? `exit code ${code}`)),
    kill: () => void child.kill('SIGKILL')
  }
}

/** Follows one order at a time. */
export class Isolate {
  readonly #channel: Channel
  readonly #options: IsolateOptions
  readonly #exited: Promise<void>
  /** The order under way; undefined: none is. */
  #order: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined
  /** Resolves when the order under way has ended, also one that nobody waits for any more. */
  idle: Promise<void> = Promise.resolve()
  alive = true
  /** Whether it is ended from here. */
  #ending = false

  constructor(options: IsolateOptions) {
    this.#options = options
    this.#channel = options.kind === 'thread' ? startThread() : startProcess()
    this.#channel.onAnswer((answer) => {
      this.#order?.resolve(answer)
      this.#order = undefined
    })
    this.#exited = new Promise((resolve) => {
      this.#channel.onExit((how) => {
        this.alive = false
        const error = crashed(how)
        this.#order?.reject(error)
        if (!this.#ending) options.onCrash?.(error)
        resolve()
      })
    })
  }

  /** Opens its session. @throws TF_ERR_MODEL_DEADLINE, TF_ERR_MODEL_CRASHED, the runtime's own error by its message */
  async open(
    bytes: Uint8Array,
    tensors: Tensors
  ): Promise<{ inputs: readonly Signature[]; outputs: readonly Signature[] }> {
    const answer = await this.#follow({ order: 'open', bytes, tensors }, this.#options.startTimeout)
    return answer as Extract<Answer, { answer: 'opened' }>
  }

  /** Scores rows. @throws as `open` does; a process that is late is killed, a thread is left to its run */
  async run(features: Float32Array, rows: number): Promise<Scores> {
    const answer = await this.#follow({ order: 'run', features, rows }, this.#options.timeout)
    return answer as Extract<Answer, { answer: 'scored' }>
  }

  /** Ends it after its run, for which a process is not waited for, and a thread not for ever. */
  async end(): Promise<void> {
    this.#ending = true
    this.#channel.send({ order: 'end' })
    if (this.#order !== undefined) this.#kill()
    await this.#within(this.#exited, this.#options.endTimeout).catch(() => this.#kill())
  }

  /** A process; a thread goes on. */
  #kill(): void {
    if (this.#channel.kill === undefined) return
    this.#ending = true
    this.#channel.kill()
  }

  async #follow(order: Order, timeout: number): Promise<Answer> {
    // It would never answer.
    if (!this.alive) throw crashed()
    const answered = new Promise<Answer>((resolve, reject) => {
      this.#order = { resolve, reject }
    })
    this.idle = answered.then(ignore, ignore)
    this.#channel.send(order)
    const answer = await this.#within(answered, timeout).catch((error: Error) => {
      this.#kill()
      throw error
    })
    if (answer.answer === 'failed') throw new Error(answer.message)
    return answer
  }

  async #within<T>(work: Promise<T>, milliseconds: number): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new TF_ERR_MODEL_DEADLINE()), milliseconds)
    })
    return Promise.race([work, late]).finally(() => clearTimeout(timer))
  }
}
