/**
 * What each hit reads of its watch, in 64 bytes that lie together: a line of the machine's cache may have to come from
 * memory, and costs more than all that is done with it.
 */

import { offsetIn } from '../bits/address.js'
import { MEMORY, type Memory } from '../memory/memory.js'
import type { Outcome, Transaction } from '../port.js'

/** No record. */
export const NONE = -1

/** Records that there is room for at first. */
const FIRST = 1024

const TWO32 = 2 ** 32

/** Int32s of a record: its key, the next of its bucket, the answer, the last word that the walk read, when it was right. */
const WIDTH_LG2 = 4
const LO = 0
const HI = 1
const RID = 2
const PASID = 3
/** Kind, and size of the leaf. */
const SIZED = 4
const NEXT = 5
const ADDRESS_LO = 6
/** Twenty bits, and the answer's rights; negative while the record says nothing. */
const ADDRESS_HI = 7
const CHANGES = 8
const WORD_LO = 9
const WORD_HI = 10
const VALUE_LO = 11
const VALUE_HI = 12
const IS_WHOLE = 13
/** In float64s. */
const RIGHT_AT = 7
const DOUBLES_LG2 = 3

const RIGHTS_AT = 20
const ADDRESS_MASK = (1 << RIGHTS_AT) - 1
const SILENT = -1

/** What a record says. */
export interface Answer {
  readonly address: number
  readonly rights: number
  /** The last word that the walk read, where it is and what it was. */
  readonly word: number
  readonly value: readonly [lo: number, hi: number]
  /** Changes of words that had been seen. */
  readonly changes: number
  /** All but that word is what many walks begin with. */
  readonly isWhole: boolean
}

/** Records by their numbers, and by keys. */
export class Records {
  readonly #most: number
  #room: number
  #buckets: Int32Array
  #ints: Int32Array
  #doubles: Float64Array

  /** @param most a power of two */
  constructor(most: number) {
    this.#most = most
    this.#room = Math.min(most, FIRST)
    this.#buckets = new Int32Array(this.#room).fill(NONE)
    this.#doubles = new Float64Array(this.#room << DOUBLES_LG2)
    this.#ints = new Int32Array(this.#doubles.buffer)
  }

  /** The record of a key. */
  find(rid: number, pasid: number, lo: number, hi: number, sized: number): number {
    const ints = this.#ints
    let record = this.#buckets[this.#bucketOf(rid, pasid, lo, hi, sized)]
    while (record !== NONE) {
      const at = record << WIDTH_LG2
      if (
        ints[at] === lo &&
        ints[at + HI] === hi &&
        ints[at + RID] === rid &&
        ints[at + PASID] === pasid &&
        ints[at + SIZED] === sized
      ) {
        return record
      }
      record = ints[at + NEXT]
    }
    return NONE
  }

  /** Makes a record that says nothing, under a key. */
  put(record: number, rid: number, pasid: number, lo: number, hi: number, sized: number): void {
    if (record >= this.#room) this.#grow()
    const ints = this.#ints
    const at = record << WIDTH_LG2
    ints[at + LO] = lo
    ints[at + HI] = hi
    ints[at + RID] = rid
    ints[at + PASID] = pasid
    ints[at + SIZED] = sized
    ints[at + ADDRESS_HI] = SILENT
    this.#doubles[(record << DOUBLES_LG2) + RIGHT_AT] = 0
    this.#link(record)
  }

  /** Takes a record out of its bucket. */
  take(record: number): void {
    const ints = this.#ints
    const bucket = this.#bucketOfRecord(record)
    const next = ints[(record << WIDTH_LG2) + NEXT]
    let at = this.#buckets[bucket]
    if (at === record) {
      this.#buckets[bucket] = next
      return
    }
    while (ints[(at << WIDTH_LG2) + NEXT] !== record) at = ints[(at << WIDTH_LG2) + NEXT]
    ints[(at << WIDTH_LG2) + NEXT] = next
  }

  /** What it says from now on. */
  say(record: number, { address, rights, word, value, changes, isWhole }: Answer): void {
    const ints = this.#ints
    const at = record << WIDTH_LG2
    ints[at + ADDRESS_LO] = address | 0
    ints[at + ADDRESS_HI] = (address / TWO32) | 0 | (rights << RIGHTS_AT)
    ints[at + WORD_LO] = word | 0
    ints[at + WORD_HI] = (word / TWO32) | 0
    ints[at + VALUE_LO] = value[0]
    ints[at + VALUE_HI] = value[1]
    ints[at + CHANGES] = changes
    ints[at + IS_WHOLE] = isWhole ? 1 : 0
  }

  /** It says nothing any more. */
  hush(record: number): void {
    this.#ints[(record << WIDTH_LG2) + ADDRESS_HI] = SILENT
  }

  rightAt(record: number): number {
    return this.#doubles[(record << DOUBLES_LG2) + RIGHT_AT]
  }

  setRightAt(record: number, operation: number): void {
    this.#doubles[(record << DOUBLES_LG2) + RIGHT_AT] = operation
  }

  /** Whether it says something that is as new as the last change of any word, and the word has its value. */
  holds(record: number, changes: number, memory: Memory): boolean {
    const ints = this.#ints
    const at = record << WIDTH_LG2
    if (ints[at + ADDRESS_HI] < 0 || ints[at + CHANGES] !== changes) return false
    const status = memory.loadAt(ints[at + WORD_LO], ints[at + WORD_HI])
    return status === MEMORY.OK && memory.lo === ints[at + VALUE_LO] && memory.hi === ints[at + VALUE_HI]
  }

  /** See `Answer`. */
  isWhole(record: number): boolean {
    return this.#ints[(record << WIDTH_LG2) + IS_WHOLE] === 1
  }

  /** Whether a good answer is the one that it says. */
  isSaid(record: number, { lo, hi }: Transaction, outcome: Outcome): boolean {
    const ints = this.#ints
    const at = record << WIDTH_LG2
    const high = ints[at + ADDRESS_HI]
    const first = (high & ADDRESS_MASK) * TWO32 + (ints[at + ADDRESS_LO] >>> 0)
    return outcome.rights === high >> RIGHTS_AT && outcome.address === first + offsetIn(lo, hi, ints[at + SIZED] & 127)
  }

  #link(record: number): void {
    const bucket = this.#bucketOfRecord(record)
    this.#ints[(record << WIDTH_LG2) + NEXT] = this.#buckets[bucket]
    this.#buckets[bucket] = record
  }

  /** Twice the room. Who calls it is about to link the first record beyond. */
  #grow(): void {
    const before = this.#room
    const doubles = new Float64Array((before * 2) << DOUBLES_LG2)
    doubles.set(this.#doubles)
    this.#doubles = doubles
    this.#ints = new Int32Array(doubles.buffer)
    this.#room = Math.min(this.#most, before * 2)
    const linked = this.#buckets
    this.#buckets = new Int32Array(this.#room).fill(NONE)
    for (const first of linked) {
      let record = first
      while (record !== NONE) {
        const next = this.#ints[(record << WIDTH_LG2) + NEXT]
        this.#link(record)
        record = next
      }
    }
  }

  #bucketOfRecord(record: number): number {
    const ints = this.#ints
    const at = record << WIDTH_LG2
    return this.#bucketOf(ints[at + RID], ints[at + PASID], ints[at + LO], ints[at + HI], ints[at + SIZED])
  }

  #bucketOf(rid: number, pasid: number, lo: number, hi: number, sized: number): number {
    let mixed = Math.imul(lo ^ Math.imul(hi, 0x85ebca6b) ^ sized, 0x9e3779b1)
    mixed = Math.imul(mixed ^ (mixed >>> 15) ^ rid, 0xc2b2ae35) ^ Math.imul(pasid, 0x27d4eb2f)
    return (mixed ^ (mixed >>> 13)) & (this.#room - 1)
  }
}
