/**
 * The way of a hit: what is left to do for an access whose StreamID and SubstreamID have led somewhere before. Range,
 * TLB, permission, in the manual's order; whoever needs more than that is sent through all steps.
 * [SMMU 3.3.3 Configuration and Translation lookup]
 */

import { offsetIn, pageHigh, pageLow } from '../bits/address.js'
import { type Outcome, STATUS, type Transaction } from '../port.js'
import { type KnownPaths, NEEDED, neededAt, ODD_HIGH, ODD_LOW, PATH, SHAPE } from './known-paths.js'
import { PRIVILEGED_SHIFT, RIGHT, WRITES } from './rights.js'
import { effectiveHigh } from './stage-one.js'
import type { Tlb } from './tlb.js'
import { TLB_FLAGS } from './tlb-flags.js'

/** What came of it. */
export const FOLLOWED = {
  /** The outcome is complete. */
  DONE: 0,
  /** Nothing in the TLB, and nothing else in the way. */
  WALK: 1,
  /** Something else: an address out of range, a right that is missing, a first write. Nothing has been done. */
  NOT_SO: 2,
} as const

// What this module names itself is settled when the engine compiles the way of a hit; what another one names is read
// each time that it is used.
const { DONE, WALK, NOT_SO } = FOLLOWED
const { TAG, GLOBAL_TAG, BEYOND_LOW, BEYOND_HIGH, SHAPE: SHAPE_OF } = PATH
const { BY_IPA, NO_LOW, NO_HIGH, IGNORES_LOW, IGNORES_HIGH, BARS_LOW, BARS_HIGH } = SHAPE
const [ANY_ODD_LOW, ANY_ODD_HIGH] = [ODD_LOW, ODD_HIGH]
const { OK } = STATUS
const { USER } = RIGHT
const { STAGE_2_SHIFT } = TLB_FLAGS
const [RIGHTS_NEEDED, placeOfNeeded] = [NEEDED, neededAt]
const [lowOf, highOf, offsetOf] = [pageLow, pageHigh, offsetIn]
const [ANY_WRITE, TO_PRIVILEGED] = [WRITES, PRIVILEGED_SHIFT]

/** Bit 55 of an address, in its high half: which half of the address space it is in. */
const UPPER_HALF = 1 << 23

/** Either stage has yet to mark its entry for the first write. */
const CLEAN = RIGHT.CLEAN | (RIGHT.CLEAN << STAGE_2_SHIFT)

/** Follows the known paths of one unit. */
export class KnownHits {
  paths: KnownPaths
  /** The path of an access that needs a walk, and the high word of its address without what its half ignores. */
  path = 0
  high = 0

  readonly #tlb: Tlb
  /** Hits that nobody has counted, of the TLB and of the IPA cache. */
  #byVa = 0
  #byIpa = 0

  constructor(tlb: Tlb, paths: KnownPaths) {
    this.#tlb = tlb
    this.paths = paths
  }

  /**
   * Ends a plain access to an enabled unit, if its path is known. Answers one of FOLLOWED.
   *
   * @param version of all that paths are made from
   */
  follow(transaction: Transaction, outcome: Outcome, version: number): number {
    const path = this.paths.find(transaction.rid | 0, transaction.pasid, version)
    if (path < 0) return NOT_SO
    const { words } = this.paths
    const shape = words[path | SHAPE_OF]
    const needed = RIGHTS_NEEDED[placeOfNeeded(shape, transaction.access)]
    const lo = transaction.lo | 0
    let hi = transaction.hi | 0
    if ((hi & UPPER_HALF) === 0) {
      if ((shape & ANY_ODD_LOW) !== 0) {
        if ((shape & NO_LOW) !== 0 || ((shape & BARS_LOW) !== 0 && needed <= USER)) return NOT_SO
        if ((shape & IGNORES_LOW) !== 0) hi = effectiveHigh(hi, false, true)
      }
      if ((hi & words[path | BEYOND_LOW]) !== 0) return NOT_SO
    } else {
      if ((shape & ANY_ODD_HIGH) !== 0) {
        if ((shape & NO_HIGH) !== 0 || ((shape & BARS_HIGH) !== 0 && needed <= USER)) return NOT_SO
        if ((shape & IGNORES_HIGH) !== 0) hi = effectiveHigh(hi, true, true)
      }
      if ((~hi & words[path | BEYOND_HIGH]) !== 0) return NOT_SO
    }
    if ((shape & BY_IPA) !== 0) return this.#followIpa(path, needed, lo, hi, outcome)
    const { va } = this.#tlb
    let slot = va.findAt(words[path | TAG], lowOf(lo, hi), highOf(hi))
    if (slot < 0) {
      // Of its own ASID, or a global one of its ASID set. [SMMU 3.17 TLB tagging]
      slot = va.findAt(words[path | GLOBAL_TAG], lowOf(lo, hi), highOf(hi))
      if (slot < 0) {
        this.path = path
        this.high = hi
        return WALK
      }
    }
    const flags = va.flagsOf(slot)
    let rights = flags & (flags >>> STAGE_2_SHIFT)
    if ((flags & CLEAN) !== 0) rights &= ~ANY_WRITE
    if ((rights & needed) !== needed) return NOT_SO
    const leafLg2 = va.leafLg2Of(slot)
    outcome.status = OK
    outcome.hit = 1
    outcome.leafLg2 = leafLg2
    outcome.address = va.addressOf(slot) + offsetOf(lo, hi, leafLg2)
    outcome.rights = (needed > USER ? rights >>> TO_PRIVILEGED : rights) & USER
    this.#byVa++
    return DONE
  }

  /** The same where stage 1 is off. */
  #followIpa(path: number, needed: number, lo: number, hi: number, outcome: Outcome): number {
    const { ipa } = this.#tlb
    const slot = ipa.findAt(this.paths.words[path | TAG], lowOf(lo, hi), highOf(hi))
    if (slot < 0) return NOT_SO
    const flags = ipa.flagsOf(slot)
    const rights = (flags & CLEAN) !== 0 ? flags & ~ANY_WRITE : flags
    if ((rights & needed) !== needed) return NOT_SO
    const leafLg2 = ipa.leafLg2Of(slot)
    outcome.status = OK
    outcome.hit = 1
    outcome.leafLg2 = leafLg2
    outcome.address = ipa.addressOf(slot) + offsetOf(lo, hi, leafLg2)
    outcome.rights = (needed > USER ? rights >>> TO_PRIVILEGED : rights) & USER
    this.#byIpa++
    return DONE
  }

  /** Counts the hits where they belong, and answers how many they were. */
  settle(): { readonly all: number; readonly byVa: number } {
    const [byVa, byIpa] = [this.#byVa, this.#byIpa]
    this.#tlb.va.hits += byVa
    this.#tlb.ipa.hits += byIpa
    this.#byVa = 0
    this.#byIpa = 0
    return { all: byVa + byIpa, byVa }
  }
}
