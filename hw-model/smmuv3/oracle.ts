/**
 * The SMMUv3's side of the oracle: what a fresh walk reads, what the caches would answer, and what is no difference.
 * [SMMU 3.21 Structure access rules and update procedures] [SMMU 4.4 TLB invalidation]
 */

import { pageOf } from '../bits/address.js'
import { MISS } from '../cache/translation-cache.js'
import type { Oracle } from '../oracle/oracle.js'
import type { Reads, Remedy, Subject, WordName } from '../oracle/subject.js'
import { type ChangedEntry, type Invalidation, type Outcome, STATUS, type Transaction } from '../port.js'
import type { CommandWitness } from './commands.js'
import { EVENT } from './event-records.js'
import { type Dry, dry, EVERYTHING, MEMORY_ALONE, type Parts } from './explain.js'
import type { Features } from './features.js'
import { remedyOf } from './oracle-remedies.js'
import { invalidationOf, shortfallsOf } from './oracle-why.js'
import { breaks, nameOf, WordTaker } from './oracle-words.js'
import type { Pipeline } from './stalls.js'

/** What names an entry: its tag space and ASID, or for stage 2 alone its VMID below zero. */
const SPACE_UNIT = 2 ** 17

/** One unit, as its oracle asks it. */
export class SmmuSubject implements Subject {
  readonly sync = { name: 'SYNC', operands: {} }
  readonly #parts: Parts
  readonly #pipeline: Pipeline
  readonly #memory: Dry
  readonly #taker = new WordTaker()

  constructor(parts: Parts, pipeline: Pipeline) {
    this.#parts = parts
    this.#pipeline = pipeline
    this.#memory = dry(parts, MEMORY_ALONE)
    const { configs, translator } = this.#memory
    configs.witness = this.#taker
    translator.stageOne.walker.trace = this.#taker.of(1)
    translator.stageTwo.walker.trace = this.#taker.of(2)
  }

  live(transaction: Transaction, outcome: Outcome): void {
    this.#pipeline.translate(transaction, outcome)
  }

  fresh(transaction: Transaction, outcome: Outcome, reads: Reads): void {
    const taker = this.#taker
    taker.reads = reads
    taker.agedFrame = -1
    this.#memory.tlb.asked = null
    this.#memory.tlb.askedVmid = -1
    this.#memory.translator.translate(transaction, outcome)
    taker.reads = null
  }

  cached(transaction: Transaction, outcome: Outcome): void {
    dry(this.#parts, EVERYTHING).translator.translate(transaction, outcome)
  }

  /**
   * Rights that memory has got since are none to whom they were not granted, and the access flag is hardware's: software
   * that clears it to see who is there does not have to invalidate. [Arm D8.5.1 The Access flag]
   */
  isSame(cached: Outcome, fresh: Outcome): boolean {
    const status = cached.status === STATUS.PENDING ? STATUS.FAULT : cached.status
    if (status === STATUS.OK && fresh.status !== STATUS.OK) return this.#isAged(cached, fresh)
    if (status !== fresh.status) return false
    if (status === STATUS.FAULT) return cached.fault === fresh.fault
    // A translation request that is granted nothing names no address.
    if (status !== STATUS.OK || cached.rights === 0) return true
    return cached.address === fresh.address && (cached.rights & ~fresh.rights) === 0
  }

  entry(): number {
    const { asked, askedSpace, askedVmid } = this.#memory.tlb
    if (asked !== null) return askedSpace * SPACE_UNIT + asked.asid + 1
    return askedVmid < 0 ? 0 : -1 - askedVmid
  }

  isKept(entry: number, lo: number, hi: number): boolean {
    if (entry === 0) return false
    const { tlb } = this.#parts
    const page = pageOf(lo, hi)
    if (entry < 0) return tlb.findIpa(-1 - entry, page) !== MISS
    const space = Math.floor((entry - 1) / SPACE_UNIT)
    return tlb.findNamed(space, (entry - 1) % SPACE_UNIT, page) !== MISS
  }

  remedy(transaction: Transaction, fresh: Outcome, changed: ChangedEntry | null): Remedy {
    return remedyOf(this.#parts, transaction, changed, (outcome) => this.isSame(outcome, fresh))
  }

  shortfalls(sent: Invalidation, missing: Invalidation): readonly string[] | null {
    return shortfallsOf(sent, missing)
  }

  describe(kind: number): WordName {
    return nameOf(kind)
  }

  breaks(kind: number, before: readonly [number, number], after: readonly [number, number]): boolean {
    return breaks(this.#parts.features, kind, before, after)
  }

  /** Memory says the same but for the access flag. Behind stage 1, where stage 2 maps it is not looked at. */
  #isAged(cached: Outcome, fresh: Outcome): boolean {
    const { agedFrame, agedLg2 } = this.#taker
    const event = fresh.status === STATUS.FAULT || fresh.status === STATUS.RAZ_WI ? fresh.fault : 0
    if (agedFrame < 0 || (event !== EVENT.F_ACCESS && fresh.status !== STATUS.ABORTED)) return false
    if (this.#memory.tlb.asked !== null && this.#memory.tlb.askedVmid >= 0) return true
    return cached.address - (cached.address % 2 ** agedLg2) === agedFrame
  }
}

/** Tells an oracle what the command queue consumes. */
export function witnessFor(oracle: Oracle, features: Features): CommandWitness {
  return {
    invalidates: (opcode, command) => oracle.sent(invalidationOf(opcode, command, features)),
    synced: () => oracle.synced(),
  }
}
