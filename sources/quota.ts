/** A quota of requests a minute, kept on our side: what an upstream would refuse is not even sent. */
export interface Quota {
  /**
   * Takes one request and returns 0, or takes none and returns the seconds until there may be one. `reserve` requests a minute are
   * left to calls that ask for less of a reserve.
   */
  take(reserve?: number): number
}

const MINUTE = 60_000

/**
 * Never more than `perMinute` in any 60 seconds: a log of the times of the last requests. A bucket that refills while it is emptied would let
 * almost twice as many through.
 * @param now Milliseconds of a clock that never goes back.
 */
export function createQuota(perMinute: number, now: () => number = () => performance.now()): Quota {
  /** Times of the requests of the last minute, the oldest first. */
  let sent: number[] = []
  return {
    take(reserve = 0) {
      const time = now()
      sent = sent.filter((at) => at > time - MINUTE)
      // However small the quota is, one request is for everyone.
      const allowed = Math.max(1, perMinute - reserve)
      if (sent.length < allowed) {
        sent.push(time)
        return 0
      }
      return Math.ceil((sent[sent.length - allowed]! + MINUTE - time) / 1000)
    }
  }
}
