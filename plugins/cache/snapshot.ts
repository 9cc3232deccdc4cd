import { TF_ERR_CACHE_VALUE } from './errors.ts'

/** `T` as a receiver may use it: read only, all the way down. */
export type DeepReadonly<T> = { readonly [K in keyof T]: DeepReadonly<T[K]> }

/** Deeper than any reply; it also ends the walk through a cycle. */
const MAX_DEPTH = 100

/**
 * A frozen copy of plain JSON data. It is a copy because the original may share parts with its maker (a source's own
 * arrays), who must neither find them frozen nor be able to change what was cached.
 * Properties that are undefined are left out, as in JSON. Whatever else JSON would change in silence (NaN, Infinity,
 * Date, Map, class instances, undefined or a hole in an array) is refused.
 * @throws TF_ERR_CACHE_VALUE with the path to the culprit
 */
export function snapshot<T>(value: T): DeepReadonly<T> {
  const path: (string | number)[] = []

  function refuse(found: string): never {
    throw new TF_ERR_CACHE_VALUE(path.join('.'), found)
  }

  function copyObject(item: object): object {
    const prototype: unknown = Object.getPrototypeOf(item)
    if (prototype !== Object.prototype && prototype !== null) return refuse('an instance of a class')
    const copied: Record<string, unknown> = {}
    for (const [key, property] of Object.entries(item)) {
      // Assigning to it would set the prototype.
      if (key === '__proto__') return refuse('an object with a key __proto__')
      if (property !== undefined) copied[key] = copy(property, key)
    }
    return copied
  }

  function copy(item: unknown, key: string | number): unknown {
    if (item === null || typeof item === 'string' || typeof item === 'boolean' || Number.isFinite(item)) return item
    path.push(key)
    if (typeof item !== 'object') return refuse(typeof item === 'number' ? String(item) : typeof item)
    if (path.length > MAX_DEPTH) return refuse(`nested over ${MAX_DEPTH} levels deep`)
    const copied = Array.isArray(item) ? Array.from(item, copy) : copyObject(item)
    path.pop()
    return Object.freeze(copied)
  }

  // What comes out is what went in, minus what could be written to.
  return copy(value, 'value') as DeepReadonly<T>
}
