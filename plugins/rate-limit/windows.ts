export interface WindowStats {
  /** Windows open now: one for each client and endpoint. */
  windows: number
  /** Clients with an open window. */
  clients: number
  /** Endpoints with an open window; all unmatched requests are one endpoint, GET and HEAD of a route too. */
  endpoints: number
  /** Open windows dropped since the start because `maxWindows` was reached: their clients began anew. */
  evictions: number
}

export interface Windows {
  /** Counts a request: the requests in its window, this one included, and the milliseconds left of it. */
  count(key: string, timeWindow: number): { requests: number; left: number }
  stats(): WindowStats
}

/** The key of a window. A client has no space in it. */
export function windowKey(client: string, endpoint: string): string {
  return `${client} ${endpoint}`
}

/**
 * At most `limit` windows, in the order in which they were opened. So the ended ones are in front and are dropped as
 * new ones open: memory follows the traffic. If all are open the oldest makes room, whose client gains least by it.
 */
export function createWindows(limit: number, now: () => number): Windows {
  const windows = new Map<string, { requests: number; endsAt: number }>()
  let evictions = 0

  function makeRoom(time: number): void {
    for (const [key, window] of windows) {
      const open = window.endsAt > time
      if (open && windows.size < limit) return
      if (open) evictions++
      windows.delete(key)
    }
  }

  return Object.freeze<Windows>({
    count(key, timeWindow) {
      const time = now()
      const window = windows.get(key)
      const left = window ? window.endsAt - time : 0
      if (window && left > 0) return { requests: ++window.requests, left }
      // Deleted first, so that it goes to the end of the order.
      windows.delete(key)
      makeRoom(time)
      windows.set(key, { requests: 1, endsAt: time + timeWindow })
      return { requests: 1, left: timeWindow }
    },
    stats() {
      const clients = new Set<string>()
      const endpoints = new Set<string>()
      const time = now()
      let open = 0
      for (const [key, { endsAt }] of windows) {
        if (endsAt <= time) continue
        const space = key.indexOf(' ')
        clients.add(key.slice(0, space))
        endpoints.add(key.slice(space + 1))
        open++
      }
      return { windows: open, clients: clients.size, endpoints: endpoints.size, evictions }
    }
  })
}
