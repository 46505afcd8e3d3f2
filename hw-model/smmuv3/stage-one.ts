/**
 * Stage 1 as the pipeline meets it: range, TLB, tables, and under nesting stage 2 for what they answer. The TLB keeps
 * both stages together. [SMMU 3.4.1 Input address size and Virtual Address size] [Arm D8.2 Translation process]
 */

import { downHigh, downLow, joinWord, offsetHigh, offsetLow, pageHigh, pageLow, TWO32 } from '../bits/address.js'
import { MISS } from '../cache/translation-cache.js'
import type { Memory } from '../memory/memory.js'
import { WALK } from '../walk/format.js'
import { Walker } from '../walk/walker.js'
import type { ContextConfig, HalfConfig } from './decode-cd.js'
import type { StreamConfig } from './decode-ste.js'
import { EVENT } from './event-records.js'
import type { Need } from './need.js'
import { makesDirty, RIGHT } from './rights.js'
import { spanOf } from './spans.js'
import { type StageTwo, WALK_EVENTS } from './stage-two.js'
import type { Tlb } from './tlb.js'
import { geometryFlags, TLB_FLAGS } from './tlb-flags.js'
import { WalkCache } from './walk-cache.js'

/** How stage 1 ended. */
export const END = {
  /** Translated; `address`, `leafLg2`, `rights` and `outputRights` hold. */
  OK: 0,
  /** `event` of stage 1. */
  STAGE_1: 1,
  /** An entry of stage 1 could not be read; `fetchAddress` holds. */
  FETCH: 2,
  /** Stage 2 refused the address of a table; it knows why. */
  TABLE: 3,
  /** Stage 2 refused the output of stage 1; it knows why. */
  OUTPUT: 4,
} as const

/** What every walk meets, as constants of this file: a name of another is read anew each time. */
const { UNACCESSED, KEPT, ALL } = RIGHT
const { OK, STAGE_1, FETCH, TABLE, OUTPUT } = END
const { STAGE_2_SHIFT } = TLB_FLAGS
const WALKED = WALK.OK
const NOWHERE = MISS

/** Not an end: the TLB has an entry that is clean, and this is a write. */
const FIRST_WRITE = -1

/** Stage 1 of whichever transaction is being served; its fields hold the last result. */
export class StageOne {
  addressLo = 0
  addressHi = 0
  /** What stage 1 put out; with stage 2, an IPA. */
  ipaLo = 0
  ipaHi = 0
  leafLg2 = 0
  /** What stage 1 grants. */
  rights = 0
  /** What stage 2 grants, or everything without it. */
  outputRights = 0
  /** 1 when the TLB answered. */
  hit = 0
  /** 1 when tables were walked; an address out of range needs neither. */
  walked = 0
  event = 0
  /** Physical address of an entry that could not be read. */
  fetchAddress = 0

  readonly walker: Walker
  readonly #stageTwo: StageTwo
  readonly #tlb: Tlb
  #tables: WalkCache

  constructor(memory: Memory, stageTwo: StageTwo, tlb: Tlb) {
    this.walker = new Walker(memory)
    this.#stageTwo = stageTwo
    this.#tlb = tlb
    this.#tables = this.#start()
  }

  /** The halves of either as one exact number. */
  get address(): number {
    return joinWord(this.addressLo, this.addressHi)
  }

  get ipa(): number {
    return joinWord(this.ipaLo, this.ipaHi)
  }

  /** The TLB has other caches than before. */
  replan(): void {
    this.#tables = this.#start()
  }

  #start(): WalkCache {
    const { walk1 } = this.#tlb
    const tables = new WalkCache(walk1)
    this.walker.keeper = walk1.isOn ? tables : null
    return tables
  }

  /** Translates a VA of two halves. Answers one of END. */
  translate(stream: StreamConfig, context: ContextConfig, vaLo: number, vaHi: number, need: Need): number {
    const lo = vaLo | 0
    const isHigh = (vaHi & 0x00800000) !== 0
    const half = isHigh ? context.high : context.low
    this.hit = 0
    this.walked = 0
    // Where unprivileged accesses are kept out, no cache is asked either. [SMMU 5.4 E0PD0] [Arm D8.2.4]
    if (half === null || (half.keepsUserOut && need.shift === 0)) return this.#fault(EVENT.F_TRANSLATION)
    const hi = effectiveHigh(vaHi, isHigh, isHigh ? context.tbi1 : context.tbi0)
    if (!isInRange(lo, hi, half.inputBits, isHigh)) return this.#fault(EVENT.F_TRANSLATION)
    const tlb = this.#tlb
    if (context.tagEpoch !== tlb.epoch) tlb.tagContext(context, stream.space)
    const slot = tlb.findVaAt(context, pageLow(lo, hi), pageHigh(hi))
    const end = slot === NOWHERE ? FIRST_WRITE : this.#answer(slot, lo, hi, need)
    if (end === FIRST_WRITE) return this.#walk(stream, context, half, lo, hi, need)
    tlb.va.hits++
    return end
  }

  /** The same of an address that is known to be in range, and not to be in the TLB. */
  walk(stream: StreamConfig, context: ContextConfig, lo: number, hi: number, need: Need): number {
    const half = (hi & 0x00800000) !== 0 ? context.high : context.low
    return this.#walk(stream, context, half as HalfConfig, lo, hi, need)
  }

  /**
   * A TLB entry is checked for every access, and the stage that denies it is told. FIRST_WRITE where the entry says
   * that a table in memory must be marked, and so read again. [Arm D8.5.2.1 Hardware management of the dirty state]
   */
  #answer(slot: number, lo: number, hi: number, need: Need): number {
    const { va } = this.#tlb
    this.hit = 1
    this.rights = va.flagsOf(slot) & KEPT
    this.outputRights = (va.flagsOf(slot) >>> STAGE_2_SHIFT) & KEPT
    this.leafLg2 = va.leafLg2Of(slot)
    const start = va.addressOf(slot)
    const ipa = va.extraOf(slot)
    const inLow = offsetLow(lo, this.leafLg2)
    const inHigh = offsetHigh(hi, this.leafLg2)
    this.addressLo = start | inLow
    this.addressHi = (start / TWO32) | inHigh
    this.ipaLo = ipa | inLow
    this.ipaHi = (ipa / TWO32) | inHigh
    if (!need.isMetBy(this.rights)) return this.#fault(EVENT.F_PERMISSION)
    if (makesDirty(this.rights, need.ask)) return FIRST_WRITE
    if (!need.isMetBy(this.outputRights)) return this.#stageTwo.deny(this.ipaLo, this.ipaHi, OUTPUT)
    return makesDirty(this.outputRights, need.askBehind(this.rights)) ? FIRST_WRITE : OK
  }

  /** Stage 1 tables, then stage 2 for what they answer. */
  #walk(stream: StreamConfig, context: ContextConfig, half: HalfConfig, lo: number, hi: number, need: Need): number {
    const { walker } = this
    this.hit = 0
    this.walked = 1
    this.#tlb.va.misses++
    const stageTwo = stream.stageTwo === null ? null : this.#stageTwo
    const { format, granuleLg2 } = half
    const tables = this.#tables
    tables.begin(context.tag, context.group, half, lo, hi)
    const { tableLo, tableHi, top, index, rights } = tables
    const end = walker.walk(format, stageTwo, tableLo, tableHi, top, granuleLg2, index, lo, hi, need.ask, rights)
    if (end === WALK.TABLE_STAGE) return TABLE
    if (end !== WALKED) {
      this.fetchAddress = stageTwo === null ? walker.entryAddress : stageTwo.tableAddress
      return WALK_EVENTS[end] === EVENT.F_WALK_EABT ? FETCH : this.#fault(WALK_EVENTS[end])
    }
    this.rights = walker.rights
    this.leafLg2 = this.#tlb.spans ? spanOf(walker, format, half.inputBits, lo, hi) : walker.leafLg2
    this.outputRights = ALL
    this.ipaLo = walker.addressLo | offsetLow(lo, walker.leafLg2)
    this.ipaHi = walker.addressHi | offsetHigh(hi, walker.leafLg2)
    this.addressLo = this.ipaLo
    this.addressHi = this.ipaHi
    if (!need.isMetBy(walker.rights)) {
      // Only with both stages' answers is there an entry to keep.
      if (this.#tlb.denials && stageTwo === null) this.#keep(stream, context, half, lo, hi, this.leafLg2)
      return this.#fault(EVENT.F_PERMISSION)
    }
    if (stageTwo === null) {
      this.#keep(stream, context, half, lo, hi, this.leafLg2)
      return OK
    }
    return this.#behind(stageTwo, stream, context, half, lo, hi, need)
  }

  /** Stage 2 for what stage 1 has put out. */
  #behind(
    stageTwo: StageTwo,
    stream: StreamConfig,
    context: ContextConfig,
    half: HalfConfig,
    lo: number,
    hi: number,
    need: Need,
  ): number {
    const spanLg2 = this.leafLg2
    if (!stageTwo.translate(this.ipaLo, this.ipaHi, need.askBehind(this.rights))) return OUTPUT
    this.addressLo = stageTwo.addressLo
    this.addressHi = stageTwo.addressHi
    this.leafLg2 = Math.min(spanLg2, stageTwo.leafLg2)
    this.outputRights = stageTwo.rights
    const isDenied = !need.isMetBy(stageTwo.rights)
    if (!isDenied || this.#tlb.denials) this.#keep(stream, context, half, lo, hi, spanLg2)
    return isDenied ? stageTwo.deny(this.ipaLo, this.ipaHi, OUTPUT) : OK
  }

  /**
   * Fills the TLB with the piece that both stages agree on.
   *
   * @param spanLg2 what software names with one entry of stage 1
   */
  #keep(stream: StreamConfig, context: ContextConfig, half: HalfConfig, lo: number, hi: number, spanLg2: number): void {
    const { rights, outputRights, leafLg2 } = this
    // What a refused access did not flag, and what a request left alone to which the stages grant nothing in common.
    // [Arm D8.5.1 The Access flag]
    if (((rights | outputRights) & UNACCESSED) !== 0) return
    const tlb = this.#tlb
    // The walk may have handed out tags of its own, and so started a new epoch.
    if (context.tagEpoch !== tlb.epoch) tlb.tagContext(context, stream.space)
    const tag = (rights & RIGHT.NOT_GLOBAL) !== 0 ? context.tag : context.globalTag
    const flags = rights | (outputRights << STAGE_2_SHIFT) | geometryFlags(half.granuleLg2, this.walker.level)
    tlb.va.fillAt(
      tag,
      context.group,
      pageLow(lo, hi),
      pageHigh(hi),
      leafLg2,
      downLow(this.addressLo, leafLg2),
      downHigh(this.addressHi, leafLg2),
      flags,
      downLow(this.ipaLo, leafLg2),
      downHigh(this.ipaHi, leafLg2),
      spanLg2,
    )
  }

  #fault(event: number): number {
    this.event = event
    return STAGE_1
  }
}

/** The high half with the top byte ignored where TBI says so. [Arm D8.8 Address tagging] */
export function effectiveHigh(hi: number, isHigh: boolean, tbi: boolean): number {
  if (!tbi) return hi | 0
  return isHigh ? hi | 0xff000000 : hi & 0x00ffffff
}

/** Whether bits [63:inputBits] are all equal to bit 55. */
function isInRange(lo: number, hi: number, inputBits: number, isHigh: boolean): boolean {
  const sign = isHigh ? -1 : 0
  if (inputBits >= 32) return hi >> (inputBits - 32) === sign
  return hi === sign && lo >> inputBits === sign
}
