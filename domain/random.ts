/** A reproducible stream of random numbers. */
export interface Random {
  /** Uniform between 0 and 1, both excluded. */
  uniform(): number
  /** Normal with mean 0 and variance 1. */
  normal(): number
  /** Student's t, scaled to variance 1: shocks with fat tails. `dof` must be above 2. */
  studentT(dof: number): number
}

/**
 * The stream that belongs to a key: the same key always gives the same numbers, different keys independent ones.
 * The generator is sfc32 (Doty-Humphrey, PractRand): its 128 bits of state keep streams from overlapping, which a
 * generator with one 32-bit counter cannot promise for hundreds of streams.
 */
export function createRandom(key: string): Random {
  const next = sfc32(hash(key))
  /** Uniform between -1 and 1, never 0. */
  const coordinate = (): number => (next() + 0.5) / 2 ** 31

  let x = 0
  /** Puts a random point into the unit disk; returns the square of its distance from the centre. */
  function disk(): number {
    for (;;) {
      x = coordinate()
      const y = coordinate()
      const square = x * x + y * y
      if (square < 1) return square
    }
  }

  return {
    uniform() {
      return (coordinate() + 1) / 2
    },
    /** Marsaglia and Bray (1964), the polar method; the second number of the pair is not kept. */
    normal() {
      const square = disk()
      return x * Math.sqrt((-2 * Math.log(square)) / square)
    },
    /** Bailey (1994), "Polar generation of random variates with the t-distribution". */
    studentT(dof) {
      const square = disk()
      return x * Math.sqrt(((dof - 2) * (square ** (-2 / dof) - 1)) / square)
    }
  }
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h
}

/** Integers from -2^31 to 2^31 - 1. */
function sfc32(seed: number): () => number {
  // A typed array: numbers of 32 bits in the variables of a closure would be allocated on the heap at every step.
  const state = Int32Array.of(0, 0, seed, 1)
  function next(): number {
    const b = state[1]!
    const c = state[2]!
    const counter = state[3]!
    const out = (state[0]! + b + counter) | 0
    state[0] = b ^ (b >>> 9)
    state[1] = c + (c << 3)
    state[2] = ((c << 21) | (c >>> 11)) + out
    state[3] = counter + 1
    return out
  }
  // A 32-bit seed needs about a dozen rounds until every bit of the state depends on it.
  for (let round = 0; round < 16; round++) next()
  return next
}
