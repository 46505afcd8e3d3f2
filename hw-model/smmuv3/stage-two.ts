/**
 * Stage 2 as the pipeline and the stage 1 walker meet it: an IPA goes in, a physical address comes out, from the IPA
 * cache or from a walk. [SMMU 3.3.2] [Arm D8.2 Translation process]
 */

import { downHigh, downLow, joinWord, offsetHigh, offsetLow, pageHigh, pageLow, TWO32 } from '../bits/address.js'
import { MISS } from '../cache/translation-cache.js'
import type { Memory } from '../memory/memory.js'
import { type PlainTables, type TableStage, WALK } from '../walk/format.js'
import { Walker } from '../walk/walker.js'
import type { StageTwoConfig } from './decode-ste.js'
import { EVENT } from './event-records.js'
import { ASK, makesDirty, RIGHT } from './rights.js'
import { spanOf } from './spans.js'
import type { Tlb } from './tlb.js'
import { geometryFlags } from './tlb-flags.js'
import { WalkCache } from './walk-cache.js'

const { ALL } = RIGHT

/** The event for each way a walk can end. TABLE_STAGE is not one of a stage's own. */
export const WALK_EVENTS: readonly number[] = [
  0,
  EVENT.F_WALK_EABT,
  EVENT.F_TRANSLATION,
  EVENT.F_TRANSLATION,
  EVENT.F_ADDR_SIZE,
  EVENT.F_ACCESS,
  0,
  EVENT.F_WALK_EABT,
]

/** Stage 2 of whichever stream is being served. */
export class StageTwo implements TableStage {
  tableLo = 0
  tableHi = 0

  /** Why the last translation failed. */
  event = 0
  /** The IPA it was asked for. */
  ipaLo = 0
  ipaHi = 0
  /** Where a fetch aborted. */
  fetchAddress = 0
  /** 1 when the refused access to a table was a read. */
  ttrnw = 1

  /** The physical address asked for. */
  addressLo = 0
  addressHi = 0
  leafLg2 = 0
  rights = 0

  readonly walker: Walker
  readonly #tlb: Tlb
  #tables: WalkCache
  #config: StageTwoConfig | null = null
  /** Nothing is kept of a walk of this stage, nor is anybody told of it. */
  #keepsNothing = false

  constructor(memory: Memory, tlb: Tlb) {
    this.walker = new Walker(memory)
    this.#tlb = tlb
    this.#tables = this.#start()
  }

  /** The halves of the IPA, of the address and of the table's address as one exact number each. */
  get ipa(): number {
    return joinWord(this.ipaLo, this.ipaHi)
  }

  get address(): number {
    return joinWord(this.addressLo, this.addressHi)
  }

  get tableAddress(): number {
    return joinWord(this.tableLo, this.tableHi)
  }

  /** The TLB has other caches than before. */
  replan(): void {
    this.#tables = this.#start()
  }

  #start(): WalkCache {
    const { walk2, ipa } = this.#tlb
    const tables = new WalkCache(walk2)
    this.walker.keeper = walk2.isOn ? tables : null
    this.#keepsNothing = !walk2.isOn && !ipa.isOn && !this.#tlb.isView
    return tables
  }

  /** Names the stream's stage 2. */
  use(config: StageTwoConfig): void {
    this.#config = config
  }

  get plainTables(): PlainTables | null {
    return this.#keepsNothing && this.walker.trace === null ? (this.#config as StageTwoConfig).plain : null
  }

  /** An access to a CD, an L1CD or a stage 1 table: a data access, whatever the device wanted. */
  translateTable(lo: number, hi: number, write: boolean): boolean {
    const right = write ? RIGHT.WRITE : RIGHT.READ
    if (!this.translate(lo, hi, right | ASK.STRUCTURE)) return false
    if ((this.rights & right) === 0 || this.#config?.format.isProtected(this.rights) === true) {
      this.event = EVENT.F_PERMISSION
      this.ttrnw = write ? 0 : 1
      return false
    }
    this.tableLo = this.addressLo
    this.tableHi = this.addressHi
    return true
  }

  /**
   * Translates an IPA and answers the rights; the caller checks them. False with `event` set when nothing maps it.
   *
   * @param ask bits of ACCESS and ASK, for the flags
   */
  translate(lo: number, hi: number, ask: number): boolean {
    const config = this.#config as StageTwoConfig
    this.ipaLo = lo
    this.ipaHi = hi
    if (!isInRange(lo, hi, config.inputBits)) return this.#fail(EVENT.F_TRANSLATION)
    const { ipa: cache } = this.#tlb
    const tag = this.#tlb.ipaTag(config)
    if (cache.isOn) {
      const slot = cache.findAt(tag, pageLow(lo, hi), pageHigh(hi))
      // A first write must reach the entry in memory, which may say something else by now. [Arm D8.5.2.1]
      if (slot !== MISS && !makesDirty(cache.flagsOf(slot), ask)) {
        this.#answer(slot, lo, hi)
        return true
      }
      cache.misses++
    }
    return this.#walk(config, tag, lo, hi, ask)
  }

  #answer(slot: number, lo: number, hi: number): void {
    const { ipa: cache } = this.#tlb
    cache.hits++
    this.leafLg2 = cache.leafLg2Of(slot)
    this.rights = cache.flagsOf(slot) & RIGHT.KEPT
    const start = cache.addressOf(slot)
    this.addressLo = start | offsetLow(lo, this.leafLg2)
    this.addressHi = (start / TWO32) | offsetHigh(hi, this.leafLg2)
  }

  #walk(config: StageTwoConfig, tag: number, lo: number, hi: number, ask: number): boolean {
    const { walker } = this
    const plain = this.#tlb.spans ? null : this.plainTables
    if (plain !== null && walker.walkPlainly(plain, lo, hi, ALL)) {
      this.#take(walker.leafLg2, lo, hi)
      return true
    }
    const tables = this.#tables
    tables.begin(tag, 0, config, lo, hi)
    const { tableLo, tableHi, top, index } = tables
    const { format, granuleLg2 } = config
    const end = walker.walk(format, null, tableLo, tableHi, top, granuleLg2, index, lo, hi, ask, tables.rights)
    if (end !== WALK.OK) {
      this.fetchAddress = walker.entryAddress
      return this.#fail(WALK_EVENTS[end])
    }
    this.#take(this.#tlb.spans ? spanOf(walker, format, config.inputBits, lo, hi) : walker.leafLg2, lo, hi)
    // What a refused access did not flag. [Arm D8.5.1 The Access flag]
    if (this.#tlb.ipa.isOn && (walker.rights & RIGHT.UNACCESSED) === 0) this.#keep(tag, granuleLg2, lo, hi)
    return true
  }

  /** What the walk has found is the answer, and holds for so many bytes. */
  #take(leafLg2: number, lo: number, hi: number): void {
    const { walker } = this
    this.leafLg2 = leafLg2
    this.rights = walker.rights
    this.addressLo = walker.addressLo | offsetLow(lo, walker.leafLg2)
    this.addressHi = walker.addressHi | offsetHigh(hi, walker.leafLg2)
  }

  #keep(tag: number, granuleLg2: number, lo: number, hi: number): void {
    const { leafLg2, walker } = this
    const flags = walker.rights | geometryFlags(granuleLg2, walker.level)
    const low = downLow(this.addressLo, leafLg2)
    const high = downHigh(this.addressHi, leafLg2)
    this.#tlb.ipa.fillAt(tag, 0, pageLow(lo, hi), pageHigh(hi), leafLg2, low, high, flags, 0, 0, leafLg2)
  }

  /** Notes that stage 2 maps an IPA, and not for this kind of access; answers `end`. */
  deny(ipaLo: number, ipaHi: number, end: number): number {
    this.ipaLo = ipaLo
    this.ipaHi = ipaHi
    this.event = EVENT.F_PERMISSION
    return end
  }

  #fail(event: number): boolean {
    this.event = event
    return false
  }
}

/** Whether an IPA has no bit at or above `inputBits`. */
function isInRange(lo: number, hi: number, inputBits: number): boolean {
  return inputBits < 32 ? hi === 0 && lo >>> inputBits === 0 : hi >>> (inputBits - 32) === 0
}
