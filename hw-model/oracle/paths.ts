/**
 * What fresh walks have in common: pages of one table differ in their last words alone. What is shared is compared with
 * memory in runs of words that lie together, and stays in the machine's cache while other pages are looked at.
 */

import type { Memory } from '../memory/memory.js'
import type { Transaction } from '../port.js'
import type { Words } from './words.js'

/** log2 of the bytes that a table of leaves maps, most often. */
const REGION_LG2 = 21

/** Regions whose last path is remembered, each at its own place alone; a power of two. */
const PLACES = 1024

/** Int32s of a run: its address, low half first, where its values are, and how many there are. */
const RUN = 4

/** Words that walks begin with, as they were when all of their watches were right. */
export class Path {
  readonly ids: readonly number[]
  readonly #runs: Int32Array
  readonly #values: Int32Array

  constructor(ids: readonly number[], words: Words) {
    this.ids = ids
    const values = new Int32Array(2 * ids.length)
    const runs: number[] = []
    let end = -1
    for (const [i, id] of ids.entries()) {
      const { address, after } = words.changeOf(id)
      values.set(after, 2 * i)
      if (address === end) runs[runs.length - 1] += 2
      else runs.push(address | 0, (address / 2 ** 32) | 0, 2 * i, 2)
      end = address + 8
    }
    this.#values = values
    this.#runs = Int32Array.from(runs)
  }

  /** Whether memory has those values; false, too, where that is not seen at once. */
  isIn(memory: Memory): boolean {
    const runs = this.#runs
    const values = this.#values
    for (let i = 0; i < runs.length; i += RUN) {
      if (!memory.matches(runs[i], runs[i + 1], values, runs[i + 2], runs[i + 3])) return false
    }
    return true
  }

  /** Whether it is how a walk begins that has read these words, with the values that they have now. */
  begins(ids: readonly number[], words: Words): boolean {
    const own = this.ids
    if (own.length > ids.length) return false
    for (let i = 0; i < own.length; i++) if (own[i] !== ids[i]) return false
    return words.have(own, this.#values)
  }
}

/** The paths last made. */
export class Paths {
  readonly #words: Words
  readonly #made: (Path | null)[] = new Array<Path | null>(PLACES).fill(null)
  /** What was read last in each region. */
  readonly #read: (readonly number[])[] = new Array<readonly number[]>(PLACES).fill([])

  constructor(words: Words) {
    this.#words = words
  }

  /** How a walk begins that has just read some words. The last one is never part of it. */
  of({ rid, pasid, lo, hi }: Transaction, ids: readonly number[]): Path {
    const place = placeOf(rid, pasid, lo, hi)
    const made = this.#made[place]
    const shared = commonTo(this.#read[place], ids)
    this.#read[place] = ids
    // The same page again says nothing of what it shares with others.
    const isLong = made !== null && (shared === ids.length || made.ids.length >= Math.min(shared, ids.length - 1))
    if (isLong && made.begins(ids, this.#words)) return made
    const length = Math.min(shared === 0 ? ids.length : shared, ids.length - 1)
    const path = new Path(ids.slice(0, length), this.#words)
    this.#made[place] = path
    return path
  }
}

/** Words that two begin with. */
function commonTo(one: readonly number[], other: readonly number[]): number {
  const most = Math.min(one.length, other.length)
  let length = 0
  while (length < most && one[length] === other[length]) length++
  return length
}

function placeOf(rid: number, pasid: number, lo: number, hi: number): number {
  const mixed = Math.imul((lo >>> REGION_LG2) ^ Math.imul(hi, 0x85ebca6b), 0x9e3779b1) ^ Math.imul(rid, 0xc2b2ae35)
  const whole = Math.imul(mixed ^ (mixed >>> 15) ^ pasid, 0x27d4eb2f)
  return (whole ^ (whole >>> 13)) & (PLACES - 1)
}
