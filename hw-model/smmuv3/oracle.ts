/**
 * The SMMUv3's side of the oracle: what a fresh walk reads, what the caches would answer, and what is no difference.
 * [SMMU 3.21 Structure access rules and update procedures] [SMMU 4.4 TLB invalidation]
 */

import { pageOf } from '../bits/address.js'
import { MISS } from '../cache/translation-cache.js'
import type { Oracle } from '../oracle/oracle.js'
import type { Reads, Remedy, Subject, WordName } from '../oracle/subject.js'
import { ACCESS, type ChangedEntry, type Invalidation, Outcome, REQUEST, STATUS, type Transaction } from '../port.js'
import type { CommandWitness } from './commands.js'
import { type Dry, dry, EVERYTHING, type Leaves, MEMORY_ALONE, type Parts } from './explain.js'
import type { Features } from './features.js'
import { HELD_NOWHERE } from './oracle-faults.js'
import { remedyOf, type Tried } from './oracle-remedies.js'
import { invalidationOf, shortfallsOf } from './oracle-why.js'
import { breaks, marks, nameOf, WordTaker } from './oracle-words.js'
import type { Pipeline } from './stalls.js'

/** What names an entry: its tag space and ASID, or for stage 2 alone its VMID below zero. */
const SPACE_UNIT = 2 ** 17

const { READ, WRITE, EXECUTE } = ACCESS

/** One unit, as its oracle asks it. */
export class SmmuSubject implements Subject {
  readonly sync = { name: 'SYNC', operands: {} }
  readonly #parts: Parts
  readonly #pipeline: Pipeline
  readonly #memory: Dry
  readonly #taker = new WordTaker()
  /** Rights that the last transaction wants to be told of: of one that is no translation request none. */
  #wanted = 0

  constructor(parts: Parts, pipeline: Pipeline) {
    this.#parts = parts
    this.#pipeline = pipeline
    this.#memory = dry(parts, MEMORY_ALONE, HELD_NOWHERE)
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
    const { type, access } = transaction
    // A translation request asks to read, always. [SMMU 3.9.1 ATS Interface]
    this.#wanted = type === REQUEST.TRANSLATION ? READ | (access & (WRITE | EXECUTE)) : 0
    taker.reads = reads
    this.#memory.tlb.asked = null
    this.#memory.tlb.askedVmid = -1
    this.#memory.translator.translate(transaction, outcome)
    taker.reads = null
  }

  cached(transaction: Transaction, outcome: Outcome): void {
    dry(this.#parts, EVERYTHING, HELD_NOWHERE).translator.translate(transaction, outcome)
  }

  /**
   * Rights that memory has got since are no difference to an access that does without; a function that has asked for
   * them would not use the page as it may. The access flag is hardware's where hardware sets it, and then its absence is
   * no fault. [Arm D8.5.1 The Access flag]
   */
  isSame(cached: Outcome, fresh: Outcome): boolean {
    if (cached.status !== fresh.status) return false
    if (cached.status !== STATUS.OK) return cached.fault === fresh.fault
    if ((fresh.rights & ~cached.rights & this.#wanted) !== 0) return false
    // A translation request that is granted nothing names no address.
    if (cached.rights === 0) return true
    return cached.address === fresh.address && (cached.rights & ~fresh.rights) === 0
  }

  /** Leaves are kept whole. */
  pieceLg2(): number {
    return 64
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
    const end = (leaves: Leaves, adapt?: (pipeline: Dry) => void): Tried => {
      const pipeline = dry(this.#parts, leaves, HELD_NOWHERE)
      adapt?.(pipeline)
      const outcome = new Outcome()
      pipeline.translator.translate(transaction, outcome)
      return { pipeline, outcome, isRight: this.isSame(outcome, fresh) }
    }
    return remedyOf(this.#parts, transaction, changed, end)
  }

  shortfalls(sent: Invalidation, missing: Invalidation): readonly string[] | null {
    return shortfallsOf(sent, missing)
  }

  describe(kind: number): WordName {
    return nameOf(kind)
  }

  marks(kind: number, before: readonly [number, number], after: readonly [number, number]): boolean {
    return marks(kind, before, after)
  }

  breaks(kind: number, before: readonly [number, number], after: readonly [number, number]): boolean {
    return breaks(this.#parts.features, kind, before, after)
  }
}

/** Tells an oracle what the command queue consumes. */
export function witnessFor(oracle: Oracle, features: Features): CommandWitness {
  return {
    invalidates: (opcode, command) => oracle.sent(invalidationOf(opcode, command, features)),
    synced: () => oracle.synced(),
  }
}
