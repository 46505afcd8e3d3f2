/**
 * What happens to an incoming transaction, in the manual's order. [SMMU 3.3.3 Configuration and Translation lookup]
 *
 * 1. SMMUEN = 0: global bypass or abort.       5. The CD.
 * 2. The STE.                                  6. Stage 1: range, TLB, walk, permission.
 * 3. Config: abort, bypass, stages.            7. Stage 2: the output of stage 1, or the input.
 * 4. Substreams: S1DSS, SSV, SSID, S1CDMax.    8. The physical address.
 *
 * Nothing here allocates: an outcome and a fault record are structs that are filled again and again. Decoded entries
 * are made when a configuration cache is filled, and only then.
 */

import { type Page, pageOf, TWO32 } from '../bits/address.js'
import { MISS } from '../cache/translation-cache.js'
import type { Memory } from '../memory/memory.js'
import { NO_PASID, type Outcome, REQUEST, STATUS, type Transaction } from '../port.js'
import { WALK } from '../walk/format.js'
import { topIndexAt, Walker } from '../walk/walker.js'
import type { Configurations } from './config.js'
import type { ContextConfig, HalfConfig } from './decode-cd.js'
import type { StreamConfig } from './decode-ste.js'
import { CLASS, EVENT } from './event-records.js'
import type { EventSink } from './events.js'
import type { Features } from './features.js'
import { PRIVILEGED_SHIFT, RIGHT } from './formats.js'
import { S1DSS } from './records.js'
import type { RegisterFile } from './register-file.js'
import { GBPA, OFFSET } from './registers.js'
import { StageTwo, WALK_EVENTS } from './stage-two.js'
import { geometryFlags, TLB_FLAGS, type Tlb } from './tlb.js'
import { Verdicts } from './verdicts.js'

/** STE.PRIVCFG and INSTCFG: the two values that override what came in. [SMMU 5.2 PRIVCFG] */
const OVERRIDE = { LOW: 2, HIGH: 3 } as const

/** How the substream rules send a transaction on. */
const STAGE_1_OFF = -1
const REFUSED = -2

/** The pipeline of one unit, or of one dry run. */
export class Translator {
  translations = 0
  hits = 0
  misses = 0

  readonly stageOne: Walker
  readonly stageTwo: StageTwo
  readonly verdicts: Verdicts
  readonly #registers: RegisterFile
  readonly #features: Features
  readonly #configs: Configurations
  readonly #tlb: Tlb
  /** Rights that the transaction needs, and how far the row for its privilege stands. */
  #needed = 0
  #shift = 0

  constructor(
    memory: Memory,
    registers: RegisterFile,
    features: Features,
    configs: Configurations,
    tlb: Tlb,
    sink: EventSink,
  ) {
    this.stageOne = new Walker(memory)
    this.stageTwo = new StageTwo(memory, tlb)
    this.#registers = registers
    this.#features = features
    this.#configs = configs
    this.#tlb = tlb
    this.verdicts = new Verdicts(registers, sink)
  }

  /** Ends a transaction in `outcome`. */
  translate(transaction: Transaction, outcome: Outcome): void {
    this.translations++
    outcome.hit = 0
    outcome.fault = 0
    const sid = transaction.rid >>> 0
    this.verdicts.begin(transaction, sid)
    if (transaction.type !== REQUEST.UNTRANSLATED) {
      this.#refuseAts(transaction.type, sid, outcome)
      return
    }
    if (!this.#registers.enabled) {
      this.#globalBypass(transaction, outcome)
      return
    }
    const stream = this.#configs.stream(sid)
    if (stream === null) {
      this.verdicts.configFault(outcome, this.#configs)
      return
    }
    if (stream.event !== 0) {
      this.verdicts.report(outcome, stream.event)
      return
    }
    if (stream.aborts) {
      this.verdicts.abort(outcome, 'STE.Config aborts silently')
      return
    }
    const index = this.#chooseContext(stream, transaction.pasid, outcome)
    if (index === REFUSED) return
    this.#override(stream, transaction.access)
    if (stream.stageTwo !== null) this.stageTwo.use(stream.stageTwo)
    if (index === STAGE_1_OFF) {
      this.#withoutStageOne(stream, transaction, outcome)
      return
    }
    const context = this.#configs.context(stream, index, stream.stageTwo === null ? null : this.stageTwo)
    if (context === null) {
      if (this.#configs.event !== 0) {
        this.verdicts.configFault(outcome, this.#configs)
        return
      }
      this.verdicts.stageTwo(outcome, stream, this.stageTwo, CLASS.CD)
      return
    }
    if (context.event !== 0) {
      this.verdicts.report(outcome, context.event)
      return
    }
    this.#withStageOne(stream, context, transaction, outcome)
  }

  /**
   * ATS is not offered, so every stream's effective EATS is 0b00. Without a valid STE, or where the stream aborts anyway,
   * there is no record. [SMMU 3.9.1.2 Responses to ATS Translation Requests] [SMMU 7.3.8 F_TRANSL_FORBIDDEN]
   */
  #refuseAts(type: number, sid: number, outcome: Outcome): void {
    if (this.#registers.enabled) {
      const stream = this.#configs.stream(sid)
      if (stream === null || stream.event !== 0 || stream.aborts) {
        this.verdicts.abort(outcome, 'ATS of a stream that has no valid STE or aborts')
        return
      }
    }
    this.verdicts.report(outcome, type === REQUEST.TRANSLATION ? EVENT.F_BAD_ATS_TREQ : EVENT.F_TRANSL_FORBIDDEN)
  }

  /** [SMMU 6.3.14 SMMU_GBPA] Neither the abort nor an address that is too wide makes an event. */
  #globalBypass(transaction: Transaction, outcome: Outcome): void {
    const isAbort = GBPA.ABORT.get(this.#registers.words, OFFSET.GBPA >>> 2) === 1
    if (isAbort || this.#exceeds(transaction.hi, this.#features.oasBits)) {
      this.verdicts.abort(outcome, 'SMMUEN = 0 and GBPA aborts')
      return
    }
    this.#passThrough(transaction, outcome)
  }

  /** Which CD serves the transaction. [SMMU 3.3.2 StreamIDs to Context Descriptors] [SMMU 5.2 S1DSS] */
  #chooseContext(stream: StreamConfig, pasid: number, outcome: Outcome): number {
    const hasSubstreams = stream.stage1 && stream.cdMaxLg2 !== 0
    if (pasid !== NO_PASID) {
      // SSIDSIZE = 0 leaves cdMaxLg2 at 0.
      if (!hasSubstreams || pasid >= 2 ** stream.cdMaxLg2) return this.#refuse(outcome, EVENT.C_BAD_SUBSTREAMID)
      if (pasid === 0 && stream.s1dss === S1DSS.SSID0) return this.#refuse(outcome, EVENT.F_STREAM_DISABLED)
      return pasid
    }
    if (!stream.stage1) return STAGE_1_OFF
    if (!hasSubstreams || stream.s1dss === S1DSS.SSID0) return 0
    if (stream.s1dss === S1DSS.BYPASS) return STAGE_1_OFF
    return this.#refuse(outcome, EVENT.F_STREAM_DISABLED)
  }

  /** Applies PRIVCFG and INSTCFG, and settles which right is needed. Writes are always data. [SMMU 5.2 INSTCFG] */
  #override(stream: StreamConfig, access: number): void {
    const info = this.verdicts.info
    if (stream.privcfg >= OVERRIDE.LOW) info.pnu = stream.privcfg & 1
    if (info.rnw === 1 && stream.instcfg >= OVERRIDE.LOW) info.ind = stream.instcfg & 1
    this.#needed = info.ind === 1 ? RIGHT.EXECUTE : info.rnw === 1 ? RIGHT.READ : access & (RIGHT.READ | RIGHT.WRITE)
    this.#shift = info.pnu === 1 ? PRIVILEGED_SHIFT : 0
  }

  /** Stage 1 is bypassed: the input is an IPA, or already the output. */
  #withoutStageOne(stream: StreamConfig, transaction: Transaction, outcome: Outcome): void {
    // IAS is OAS where only VMSAv8-64 tables are supported. Such a fault has no CD: it aborts and is recorded.
    if (this.#exceeds(transaction.hi, this.#features.oasBits)) {
      this.verdicts.report(outcome, EVENT.F_ADDR_SIZE)
      return
    }
    if (stream.stageTwo === null) {
      this.#passThrough(transaction, outcome)
      return
    }
    const { stageTwo } = this
    const hitsBefore = this.#tlb.ipa.hits
    if (!stageTwo.translate((transaction.hi >>> 0) * TWO32 + (transaction.lo >>> 0))) {
      this.verdicts.stageTwo(outcome, stream, this.stageTwo, CLASS.IN)
      return
    }
    outcome.hit = this.#tlb.ipa.hits - hitsBefore
    if (outcome.hit === 1) this.hits++
    else this.misses++
    if (!this.#grants(stageTwo.rights)) {
      this.verdicts.stageTwoDenial(outcome, stream, this.stageTwo)
      return
    }
    this.#finish(outcome, stageTwo.address, stageTwo.leafLg2, stageTwo.rights)
  }

  /** Range check, TLB, then the walk. [SMMU 3.4.1 Input address size and Virtual Address size] */
  #withStageOne(stream: StreamConfig, context: ContextConfig, transaction: Transaction, outcome: Outcome): void {
    const lo = transaction.lo | 0
    const isHigh = (transaction.hi & 0x00800000) !== 0
    const half = isHigh ? context.high : context.low
    if (half === null) {
      this.verdicts.stageOne(outcome, context, EVENT.F_TRANSLATION)
      return
    }
    const hi = effectiveHigh(transaction.hi, isHigh, isHigh ? context.tbi1 : context.tbi0)
    if (!isInRange(lo, hi, half.inputBits, isHigh)) {
      this.verdicts.stageOne(outcome, context, EVENT.F_TRANSLATION)
      return
    }
    const tlb = this.#tlb
    if (context.tagEpoch !== tlb.epoch) tlb.tagContext(context, stream.vmid)
    const slot = tlb.findVa(context, pageOf(lo, hi))
    if (slot === MISS) {
      this.#walk(stream, context, half, lo, hi, outcome)
      return
    }
    this.hits++
    outcome.hit = 1
    const flags = tlb.va.flags[slot]
    const leafLg2 = tlb.va.leafLg2[slot]
    const inLeaf = lo & ((1 << leafLg2) - 1)
    if (!this.#grants(flags)) {
      this.verdicts.stageOne(outcome, context, EVENT.F_PERMISSION)
      return
    }
    if (!this.#grants(flags >>> TLB_FLAGS.STAGE_2_SHIFT)) {
      this.stageTwo.ipa = tlb.va.extra[slot] + inLeaf
      this.verdicts.stageTwoDenial(outcome, stream, this.stageTwo)
      return
    }
    this.#finish(outcome, tlb.va.address[slot] + inLeaf, leafLg2, flags & (flags >>> TLB_FLAGS.STAGE_2_SHIFT))
  }

  /** Stage 1 tables, then stage 2 for what they answer; the TLB keeps both together. */
  #walk(
    stream: StreamConfig,
    context: ContextConfig,
    half: HalfConfig,
    lo: number,
    hi: number,
    outcome: Outcome,
  ): void {
    this.misses++
    const { stageOne, stageTwo } = this
    const { format, table, top, granuleLg2 } = half
    const isNested = stream.stageTwo !== null
    const index = topIndexAt(lo, hi, granuleLg2 + (granuleLg2 - 3) * top, half.inputBits)
    const end = stageOne.walk(
      format,
      isNested ? stageTwo : null,
      table,
      top,
      granuleLg2,
      index,
      lo,
      hi,
      this.#needed,
      RIGHT.ALL,
    )
    if (end === WALK.TABLE_STAGE) {
      this.verdicts.stageTwo(outcome, stream, this.stageTwo, CLASS.TT)
      return
    }
    if (end !== WALK.OK) {
      const event = WALK_EVENTS[end]
      if (event !== EVENT.F_WALK_EABT) this.verdicts.stageOne(outcome, context, event)
      else this.verdicts.stageOneFetch(outcome, isNested ? stageTwo.tableAddress : stageOne.entryAddress)
      return
    }
    if (!this.#grants(stageOne.rights)) {
      this.verdicts.stageOne(outcome, context, EVENT.F_PERMISSION)
      return
    }
    const inLeaf = lo & ((1 << stageOne.leafLg2) - 1)
    const ipa = stageOne.address + inLeaf
    let address = ipa
    let leafLg2 = stageOne.leafLg2
    let rights: number = RIGHT.ALL
    if (isNested) {
      if (!stageTwo.translate(ipa)) {
        this.verdicts.stageTwo(outcome, stream, this.stageTwo, CLASS.IN)
        return
      }
      if (!this.#grants(stageTwo.rights)) {
        this.verdicts.stageTwoDenial(outcome, stream, this.stageTwo)
        return
      }
      address = stageTwo.address
      leafLg2 = Math.min(leafLg2, stageTwo.leafLg2)
      rights = stageTwo.rights
    }
    this.#keep(stream, context, half, lo, hi, address, ipa, leafLg2, rights)
    this.#finish(outcome, address, leafLg2, stageOne.rights & rights)
  }

  /** Fills the TLB with the piece that both stages agree on. */
  #keep(
    stream: StreamConfig,
    context: ContextConfig,
    half: HalfConfig,
    lo: number,
    hi: number,
    address: number,
    ipa: number,
    leafLg2: number,
    rights: number,
  ): void {
    const tlb = this.#tlb
    // The walk may have handed out tags of its own, and so started a new epoch.
    if (context.tagEpoch !== tlb.epoch) tlb.tagContext(context, stream.vmid)
    const { rights: own, level, leafLg2: spanLg2 } = this.stageOne
    const tag = (own & RIGHT.NOT_GLOBAL) !== 0 ? context.tag : context.globalTag
    const inPiece = lo & ((1 << leafLg2) - 1)
    const page = pageOf(lo - inPiece, hi)
    const flags = own | (rights << TLB_FLAGS.STAGE_2_SHIFT) | geometryFlags(half.granuleLg2, level)
    tlb.va.fill(tag, context.group, page as Page, leafLg2, address - inPiece, flags, ipa - inPiece, spanLg2)
  }

  /**
   * Whether rights hold all that the transaction needs at its privilege. One that reads and writes, and may only write,
   * is recorded as a read. [SMMU 13.1.1 Attribute definitions]
   */
  #grants(rights: number): boolean {
    const missing = this.#needed & ~(rights >>> this.#shift)
    if (missing === 0) return true
    if (missing === RIGHT.READ) this.verdicts.info.rnw = 1
    return false
  }

  /** Whether an address has bits at or above `bits`, which is 32 or more. */
  #exceeds(hi: number, bits: number): boolean {
    return hi >>> 0 >= 2 ** (bits - 32)
  }

  #finish(outcome: Outcome, address: number, leafLg2: number, rights: number): void {
    outcome.status = STATUS.OK
    outcome.address = address
    outcome.leafLg2 = leafLg2
    outcome.rights = (rights >>> this.#shift) & RIGHT.USER
  }

  /** Identity. The whole of the smallest piece is granted, since bypass has no leaves. */
  #passThrough(transaction: Transaction, outcome: Outcome): void {
    outcome.status = STATUS.OK
    outcome.address = (transaction.hi >>> 0) * TWO32 + (transaction.lo >>> 0)
    outcome.leafLg2 = 12
    outcome.rights = RIGHT.USER
  }

  #refuse(outcome: Outcome, event: number): number {
    this.verdicts.report(outcome, event)
    return REFUSED
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
