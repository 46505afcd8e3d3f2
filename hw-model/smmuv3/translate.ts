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
 *
 * What steps 2 to 5 came to for a StreamID and SubstreamID is kept in a line of words while no configuration is dropped
 * (`known-paths.ts`). An access that finds its line and an entry of the TLB that lets it pass is done (`known-hits.ts`); any other goes
 * through the steps in their order, so that nothing is decided in two places but that an access may pass.
 */

import { isBeyond, TWO32 } from '../bits/address.js'
import type { Memory } from '../memory/memory.js'
import { type Outcome, REQUEST, STATUS, type Transaction } from '../port.js'
import { ADMISSION, Ats } from './ats.js'
import type { Configurations } from './config.js'
import type { ContextConfig } from './decode-cd.js'
import type { StageTwoConfig, StreamConfig } from './decode-ste.js'
import { CLASS, EVENT } from './event-records.js'
import type { EventSink } from './events.js'
import type { Features } from './features.js'
import { FOLLOWED, KnownHits } from './known-hits.js'
import { KnownPaths, NEEDED, neededAt, PATH } from './known-paths.js'
import { Need } from './need.js'
import type { RegisterFile } from './register-file.js'
import { GBPA, OFFSET } from './registers.js'
import { RIGHT, settledRights } from './rights.js'
import { END, StageOne } from './stage-one.js'
import { StageTwo } from './stage-two.js'
import { chooseContext, STAGE_1_OFF } from './substreams.js'
import type { Tlb } from './tlb.js'
import { Verdicts } from './verdicts.js'

const { UNTRANSLATED } = REQUEST
const { DONE, WALK } = FOLLOWED

/** The pipeline of one unit, or of one dry run. */
export class Translator {
  translations = 0
  hits = 0
  misses = 0
  readonly stageOne: StageOne
  readonly stageTwo: StageTwo
  readonly verdicts: Verdicts
  readonly ats: Ats
  readonly #registers: RegisterFile
  readonly #features: Features
  readonly #configs: Configurations
  readonly #tlb: Tlb
  #paths: KnownPaths
  readonly #known: KnownHits
  readonly need = new Need()

  constructor(
    memory: Memory,
    registers: RegisterFile,
    features: Features,
    configs: Configurations,
    tlb: Tlb,
    sink: EventSink,
  ) {
    this.stageTwo = new StageTwo(memory, tlb)
    this.stageOne = new StageOne(memory, this.stageTwo, tlb)
    this.#registers = registers
    this.#features = features
    this.#configs = configs
    this.#tlb = tlb
    this.#paths = new KnownPaths(configs.paths)
    this.#known = new KnownHits(tlb, this.#paths)
    this.verdicts = new Verdicts(registers, sink)
    const { stageOne, stageTwo, need, verdicts } = this
    this.ats = new Ats(registers, features, configs, tlb, stageOne, stageTwo, need, verdicts)
  }

  /** The TLB has other caches than before. */
  replan(): void {
    this.stageOne.replan()
    this.stageTwo.replan()
    this.#paths = new KnownPaths(this.#configs.paths)
    this.#known.paths = this.#paths
  }

  /** Of all that a known path is made from. Neither number ever falls, so that their sum changes with each. */
  get #version(): number {
    return (this.#configs.generation + this.#tlb.epoch) | 0
  }

  /** Ends a transaction in `outcome`. */
  translate(transaction: Transaction, outcome: Outcome): void {
    outcome.hit = 0
    outcome.fault = 0
    if (transaction.type === UNTRANSLATED && this.#registers.enabled) {
      const version = (this.#configs.generation + this.#tlb.epoch) | 0
      const end = this.#known.follow(transaction, outcome, version)
      if (end === DONE) return
      if (end === WALK) {
        this.#walkOn(transaction, outcome)
        return
      }
    }
    this.translations++
    this.#inOrder(transaction, outcome)
  }

  /** Counts what known paths have led to, before anybody reads a counter. */
  settle(): void {
    const { all, byVa } = this.#known.settle()
    this.translations += all
    this.hits += all
    this.#configs.sparedStreams += all
    this.#configs.sparedContexts += byVa
  }

  /** Nothing in the TLB: the tables, with the STE and the CD that the path has led to. */
  #walkOn(transaction: Transaction, outcome: Outcome): void {
    const { path } = this.#known
    const stream = this.#paths.streamOf(path)
    const context = this.#paths.contextOf(path)
    this.translations++
    this.#configs.sparedStreams++
    this.#configs.sparedContexts++
    this.need.take(NEEDED[neededAt(this.#paths.words[path | PATH.SHAPE], transaction.access)])
    if (stream.stageTwo !== null) this.stageTwo.use(stream.stageTwo)
    const end = this.stageOne.walk(stream, context, transaction.lo | 0, this.#known.high, this.need)
    // What a record would say is of interest where there is to be one.
    if (end !== END.OK) {
      this.verdicts.begin(transaction, transaction.rid >>> 0)
      this.verdicts.info.mev = stream.mev
      this.need.settle(stream, transaction.access, this.verdicts.info)
    }
    this.#endStageOne(end, stream, context, outcome)
  }

  /** All steps in their order. */
  #inOrder(transaction: Transaction, outcome: Outcome): void {
    const sid = transaction.rid >>> 0
    this.verdicts.begin(transaction, sid)
    if (transaction.type !== REQUEST.UNTRANSLATED) {
      if (this.#features.ats) this.#serveAts(transaction, sid, outcome)
      else this.#refuseAts(transaction.type, sid, outcome)
      return
    }
    if (!this.#registers.enabled) {
      if (this.#registers.hasFailed) this.verdicts.abort(outcome, 'the unit is in Service Failure Mode')
      else this.#globalBypass(transaction, outcome)
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
    this.verdicts.info.mev = stream.mev
    const index = chooseContext(stream, transaction.pasid)
    if (index < STAGE_1_OFF) {
      this.verdicts.report(outcome, -index)
      return
    }
    this.need.settle(stream, transaction.access, this.verdicts.info)
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

  /** A device with ATS asks for a translation, or uses one. */
  #serveAts(transaction: Transaction, sid: number, outcome: Outcome): void {
    const { ats } = this
    if (transaction.type === REQUEST.TRANSLATION) {
      ats.serve(transaction, sid, outcome)
      this.hits += ats.hit
      this.misses += ats.walked
      return
    }
    const admission = ats.admit(sid, outcome)
    if (admission === ADMISSION.ENDED) return
    if (admission === ADMISSION.STAGE_2) {
      this.#behindStageOne(ats.stream as StreamConfig, transaction, outcome)
    } else if (isBeyond(transaction.hi, this.#features.oasBits)) {
      this.verdicts.abort(outcome, 'a translated address is beyond IDR5.OAS')
    } else {
      this.#passThrough(transaction, outcome)
    }
  }

  /** A translated access with an IPA: the stream has both stages. [SMMU 13.6.3 Split-stage ATS behavior and responses] */
  #behindStageOne(stream: StreamConfig, transaction: Transaction, outcome: Outcome): void {
    const access = transaction.access & (RIGHT.READ | RIGHT.WRITE)
    this.need.settle(stream, access, this.verdicts.info)
    this.stageTwo.use(stream.stageTwo as StageTwoConfig)
    this.#withoutStageOne(stream, transaction, outcome)
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
    if (isAbort || isBeyond(transaction.hi, this.#features.oasBits)) {
      this.verdicts.abort(outcome, 'SMMUEN = 0 and GBPA aborts')
      return
    }
    this.#passThrough(transaction, outcome)
  }

  /** Stage 1 is bypassed: the input is an IPA, or already the output. */
  #withoutStageOne(stream: StreamConfig, transaction: Transaction, outcome: Outcome): void {
    // IAS is OAS where only VMSAv8-64 tables are supported. Such a fault has no CD: it aborts and is recorded.
    if (isBeyond(transaction.hi, this.#features.oasBits)) {
      this.verdicts.report(outcome, EVENT.F_ADDR_SIZE)
      return
    }
    if (stream.stageTwo === null) {
      this.#passThrough(transaction, outcome)
      return
    }
    const { stageTwo } = this
    const hitsBefore = this.#tlb.ipa.hits
    if (!stageTwo.translate(transaction.lo | 0, transaction.hi | 0, this.need.ask)) {
      this.verdicts.stageTwo(outcome, stream, this.stageTwo, CLASS.IN)
      return
    }
    outcome.hit = this.#tlb.ipa.hits - hitsBefore
    if (outcome.hit === 1) this.hits++
    else this.misses++
    if (!this.need.isMetBy(stageTwo.rights)) {
      this.#noteMissing()
      stageTwo.deny(stageTwo.ipaLo, stageTwo.ipaHi, END.OUTPUT)
      this.verdicts.stageTwo(outcome, stream, stageTwo, CLASS.IN)
      return
    }
    this.#finish(outcome, stageTwo.address, stageTwo.leafLg2, settledRights(stageTwo.rights))
    if (transaction.type !== REQUEST.UNTRANSLATED) return
    // The number first: to hand it out may change the version.
    const tag = this.#tlb.ipaTag(stream.stageTwo)
    const bits = Math.min(stream.stageTwo.inputBits, this.#features.oasBits)
    this.#paths.learnIpa(stream, transaction.pasid, this.#version, tag, bits)
  }

  /** The VA through stage 1, and what it puts out through stage 2. */
  #withStageOne(stream: StreamConfig, context: ContextConfig, transaction: Transaction, outcome: Outcome): void {
    const end = this.stageOne.translate(stream, context, transaction.lo, transaction.hi, this.need)
    this.#endStageOne(end, stream, context, outcome)
    if (end !== END.OK) return
    // Only with numbers of the present version.
    if (context.tagEpoch !== this.#tlb.epoch) return
    this.#paths.learn(stream, transaction.pasid, this.#version, context)
  }

  /** What comes of an end of stage 1. */
  #endStageOne(end: number, stream: StreamConfig, context: ContextConfig, outcome: Outcome): void {
    const { stageOne } = this
    outcome.hit = stageOne.hit
    this.hits += stageOne.hit
    this.misses += stageOne.walked
    switch (end) {
      case END.OK: {
        const rights = settledRights(stageOne.rights) & settledRights(stageOne.outputRights)
        this.#finish(outcome, stageOne.address, stageOne.leafLg2, rights)
        return
      }
      case END.STAGE_1:
        if (stageOne.event === EVENT.F_PERMISSION) this.#noteMissing()
        this.verdicts.stageOne(outcome, context, stageOne.event)
        return
      case END.FETCH:
        this.verdicts.stageOneFetch(outcome, stageOne.fetchAddress)
        return
      case END.TABLE:
        this.verdicts.stageTwo(outcome, stream, this.stageTwo, CLASS.TT)
        return
      default:
        if (this.stageTwo.event === EVENT.F_PERMISSION) this.#noteMissing()
        this.verdicts.stageTwo(outcome, stream, this.stageTwo, CLASS.IN)
        return
    }
  }

  /** An access that reads and writes, and may only write, is recorded as a read. [SMMU 13.1.1 Attribute definitions] */
  #noteMissing(): void {
    if (this.need.missing === RIGHT.READ) this.verdicts.info.rnw = 1
  }

  #finish(outcome: Outcome, address: number, leafLg2: number, rights: number): void {
    outcome.status = STATUS.OK
    outcome.address = address
    outcome.leafLg2 = leafLg2
    outcome.rights = (rights >>> this.need.shift) & RIGHT.USER
  }

  /** Identity. The whole of the smallest piece is granted, since bypass has no leaves. */
  #passThrough(transaction: Transaction, outcome: Outcome): void {
    outcome.status = STATUS.OK
    outcome.address = (transaction.hi >>> 0) * TWO32 + (transaction.lo >>> 0)
    outcome.leafLg2 = 12
    outcome.rights = RIGHT.USER
  }
}
