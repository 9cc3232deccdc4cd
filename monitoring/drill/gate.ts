/** A way to a server that can be cut: whoever comes then is refused, as by a server that is gone. */
import { once } from 'node:events'
import { type AddressInfo, type Socket, connect, createServer } from 'node:net'

export interface Gate {
  /** Of 127.0.0.1, the same after a cut. */
  readonly port: number
  /** Ends all connections; new ones are refused. */
  cut(): Promise<void>
  /** Lets connections through again. */
  mend(): Promise<void>
}

/** A gate on a free port, open. It is closed by `cut`. */
export async function openGate(target: number): Promise<Gate> {
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const inner = connect(target, '127.0.0.1')
    for (const [socket, other] of [
      [client, inner],
      [inner, client]
    ] as const) {
      sockets.add(socket)
      // An error is followed by close.
      socket
        .on('error', () => undefined)
        .once('close', () => {
          sockets.delete(socket)
          other.destroy()
        })
      socket.pipe(other)
    }
  })
  async function listen(on: number): Promise<void> {
    server.listen(on, '127.0.0.1')
    await once(server, 'listening')
  }
  await listen(0)
  const { port } = server.address() as AddressInfo
  return {
    port,
    async cut() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
    async mend() {
      await listen(port)
    }
  }
}
