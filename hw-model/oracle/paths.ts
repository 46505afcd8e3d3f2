/**
 * Beginnings that fresh walks have in common: pages of one table differ in their last words alone. What is shared stays in
 * the machine's cache while other pages are looked at, and of each page little is left that is its own.
 */

import type { Transaction } from '../port.js'

/** log2 of the bytes that a table of leaves maps, most often. */
const REGION_LG2 = 21

/** Regions that are told apart, each at its own place alone; a power of two. */
const PLACES = 1024

/** Shorter ones are not worth it. */
const SHORTEST = 4

const NONE: readonly number[] = []

/** The beginnings last found. */
export class Paths {
  readonly #shared: (readonly number[])[] = new Array<readonly number[]>(PLACES).fill(NONE)
  /** What was seen last in each region. */
  readonly #seen: (readonly number[])[] = new Array<readonly number[]>(PLACES).fill(NONE)

  /** The beginning that some words share with others of their region; empty where nothing is known to share it. */
  of({ rid, pasid, lo, hi }: Transaction, words: readonly number[]): readonly number[] {
    const place = placeOf(rid, pasid, lo, hi)
    const shared = this.#shared[place]
    if (shared.length > 0 && commonTo(shared, words) === shared.length) return shared
    const length = commonTo(this.#seen[place], words)
    this.#seen[place] = words
    const found = length < SHORTEST ? NONE : words.slice(0, length)
    this.#shared[place] = found
    return found
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
