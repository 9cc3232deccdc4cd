/** The entry of an isolate: as a worker thread it has a port, as a child process a channel. */
import { parentPort } from 'node:worker_threads'
import { type Order, createHost } from './host.ts'
import { openOnnxSession } from './onnx.ts'

const follow = createHost(openOnnxSession)

if (parentPort) {
  const port = parentPort
  port.on('message', async (order: Order) => {
    const answer = await follow(order)
    if (answer) port.postMessage(answer)
    else port.close()
  })
} else {
  // Ctrl-C reaches the whole group of processes: the parent says when to end.
  process.on('SIGINT', () => {}).on('SIGTERM', () => {})
  process.on('message', async (order: Order) => {
    const answer = await follow(order)
    if (answer) process.send!(answer)
    else process.disconnect()
  })
}
