/**
 * What a device with ATS sends: translation requests, and DMA with addresses that they obtained.
 * [SMMU 3.9.1 ATS Interface] [SMMU 13.6, 13.7 PCIe and ATS attribute and permissions handling]
 *
 * A request never stalls and makes no fault record: what a page does not allow is not granted. What the configuration
 * forbids is Unsupported Request (UR), what is broken in it is Completer Abort (CA).
 */

import { TWO32 } from '../bits/address.js'
import { ACCESS, NO_PASID, type Outcome, STATUS, type Transaction } from '../port.js'
import type { Configurations } from './config.js'
import type { ContextConfig } from './decode-cd.js'
import type { StreamConfig } from './decode-ste.js'
import { CLASS, EVENT } from './event-records.js'
import type { Features } from './features.js'
import type { Need } from './need.js'
import { EATS } from './records.js'
import type { RegisterFile } from './register-file.js'
import { CR0 } from './registers.js'
import { END, type StageOne } from './stage-one.js'
import type { StageTwo } from './stage-two.js'
import { chooseContext, STAGE_1_OFF } from './substreams.js'
import type { Tlb } from './tlb.js'
import type { Verdicts } from './verdicts.js'

/** How `admit` sends a translated access on. */
export const ADMISSION = {
  /** It has ended. */
  ENDED: 0,
  /** Its address is physical. */
  BYPASS: 1,
  /** Its address is an IPA of `stream`. */
  STAGE_2: 2,
} as const

/** The ATS traffic of one pipeline. */
export class Ats {
  /** 1 when a translation cache answered the last request. */
  hit = 0
  /** 1 when tables were walked for it. */
  walked = 0
  /** The last request was answered with an IPA. */
  isSplit = false
  /** The stream of the access that `admit` sent to stage 2. */
  stream: StreamConfig | null = null

  readonly #registers: RegisterFile
  readonly #features: Features
  readonly #configs: Configurations
  readonly #tlb: Tlb
  readonly #stageOne: StageOne
  readonly #stageTwo: StageTwo
  readonly #need: Need
  readonly #verdicts: Verdicts

  constructor(
    registers: RegisterFile,
    features: Features,
    configs: Configurations,
    tlb: Tlb,
    stageOne: StageOne,
    stageTwo: StageTwo,
    need: Need,
    verdicts: Verdicts,
  ) {
    this.#registers = registers
    this.#features = features
    this.#configs = configs
    this.#tlb = tlb
    this.#stageOne = stageOne
    this.#stageTwo = stageTwo
    this.#need = need
    this.#verdicts = verdicts
  }

  /** Answers a translation request. [SMMU 3.9.1.2 Responses to ATS Translation Requests] */
  serve(transaction: Transaction, sid: number, outcome: Outcome): void {
    const verdicts = this.#verdicts
    const configs = this.#configs
    const access = this.#begin(transaction)
    // A failed unit answers PCIe with CA. [SMMU 12.3 Service Failure Mode]
    if (this.#registers.hasFailed) {
      verdicts.abort(outcome, 'the unit is in Service Failure Mode')
      outcome.status = STATUS.COMPLETER_ABORT
      return
    }
    if (!this.#registers.enabled) {
      verdicts.unsupported(outcome, EVENT.F_BAD_ATS_TREQ)
      return
    }
    const stream = configs.stream(sid)
    if (stream === null || stream.event !== 0) {
      verdicts.info.fetchAddress = configs.fetchAddress
      verdicts.completerAbort(outcome, stream === null ? configs.event : stream.event)
      return
    }
    if (stream.aborts) {
      verdicts.unsupported(outcome, 0)
      return
    }
    const eats = this.#effectiveEats(stream)
    if (eats === EATS.OFF) {
      verdicts.unsupported(outcome, EVENT.F_BAD_ATS_TREQ)
      return
    }
    this.isSplit = eats === EATS.SPLIT
    const index = chooseContext(stream, transaction.pasid)
    if (index < STAGE_1_OFF) {
      verdicts.completerAbort(outcome, -index)
      return
    }
    this.#need.settleRequest(stream, access, verdicts.info)
    if (stream.stageTwo !== null) this.#stageTwo.use(stream.stageTwo)
    if (index === STAGE_1_OFF) {
      this.#withoutStageOne(stream, transaction, outcome)
      return
    }
    const context = configs.context(stream, index, stream.stageTwo === null ? null : this.#stageTwo)
    if (context !== null && context.event === 0) this.#withStageOne(stream, context, transaction, outcome)
    else this.#withoutContext(context, outcome)
  }

  /**
   * Checks a translated access; answers one of ADMISSION. Without a PASID of its own it is unprivileged data.
   * [SMMU 3.9.1.3 Handling of ATS Translated transactions]
   */
  admit(sid: number, outcome: Outcome): number {
    const verdicts = this.#verdicts
    const { info } = verdicts
    info.ssv = 0
    info.ssid = 0
    info.pnu = 0
    info.ind = 0
    if (this.#registers.hasFailed) {
      verdicts.abort(outcome, 'the unit is in Service Failure Mode')
      return ADMISSION.ENDED
    }
    if (!this.#registers.enabled) {
      verdicts.report(outcome, EVENT.F_TRANSL_FORBIDDEN)
      return ADMISSION.ENDED
    }
    if (!this.#registers.isOn(CR0.ATSCHK)) return ADMISSION.BYPASS
    const configs = this.#configs
    const stream = configs.stream(sid)
    this.stream = stream
    if (stream === null || stream.event !== 0) {
      info.fetchAddress = configs.fetchAddress
      verdicts.translatedConfigFault(outcome, stream === null ? configs.event : stream.event)
      return ADMISSION.ENDED
    }
    if (stream.aborts) {
      verdicts.abort(outcome, 'STE.Config aborts silently')
      return ADMISSION.ENDED
    }
    info.mev = stream.mev
    const eats = this.#effectiveEats(stream)
    if (eats !== EATS.OFF) return eats === EATS.SPLIT ? ADMISSION.STAGE_2 : ADMISSION.BYPASS
    verdicts.report(outcome, EVENT.F_TRANSL_FORBIDDEN)
    return ADMISSION.ENDED
  }

  /** What is asked: always to read; to execute and with privilege only under a PASID. [SMMU 13.7] */
  #begin(transaction: Transaction): number {
    this.hit = 0
    this.walked = 0
    this.isSplit = false
    const { info } = this.#verdicts
    const tells = transaction.pasid === NO_PASID ? ACCESS.WRITE : ACCESS.WRITE | ACCESS.EXECUTE | ACCESS.PRIVILEGED
    const access = ACCESS.READ | (transaction.access & tells)
    info.rnw = 1
    info.ind = (access & ACCESS.EXECUTE) === 0 ? 0 : 1
    info.pnu = (access & ACCESS.PRIVILEGED) === 0 ? 0 : 1
    return access
  }

  /** Split-stage ATS is off unless translated accesses are checked. [SMMU 5.2 EATS] */
  #effectiveEats(stream: StreamConfig): number {
    return stream.eats === EATS.SPLIT && !this.#registers.isOn(CR0.ATSCHK) ? EATS.OFF : stream.eats
  }

  /** The CD could not be had, or is ILLEGAL. */
  #withoutContext(context: ContextConfig | null, outcome: Outcome): void {
    const configs = this.#configs
    const { info } = this.#verdicts
    if (context !== null) {
      this.#verdicts.completerAbort(outcome, context.event)
    } else if (configs.event !== 0) {
      if (configs.event === EVENT.C_BAD_SUBSTREAMID) info.ssid = configs.ssid
      info.fetchAddress = configs.fetchAddress
      this.#verdicts.completerAbort(outcome, configs.event)
    } else {
      this.#stageTwoFault(outcome, CLASS.CD)
    }
  }

  /** The VA through stage 1, and what it puts out through stage 2. */
  #withStageOne(stream: StreamConfig, context: ContextConfig, transaction: Transaction, outcome: Outcome): void {
    const stageOne = this.#stageOne
    const verdicts = this.#verdicts
    const end = stageOne.translate(stream, context, transaction.lo, transaction.hi, this.#need)
    this.hit = stageOne.hit
    this.walked = stageOne.walked
    switch (end) {
      case END.OK: {
        const address = this.isSplit ? stageOne.ipa : stageOne.address
        this.#grant(outcome, address, stageOne.leafLg2, stageOne.rights & stageOne.outputRights)
        return
      }
      case END.STAGE_1:
        this.#grantNothing(outcome, stageOne.event)
        return
      case END.FETCH:
        verdicts.info.class = CLASS.TT
        verdicts.info.fetchAddress = stageOne.fetchAddress
        verdicts.completerAbort(outcome, EVENT.F_WALK_EABT)
        return
      case END.TABLE:
        this.#stageTwoFault(outcome, CLASS.TT)
        return
      default:
        this.#stageTwoFault(outcome, CLASS.IN)
        return
    }
  }

  /** S1DSS or Config skips stage 1. [SMMU 13.6.4 Full ATS skipping stage 1] [SMMU 13.6.5 Split-stage ATS skipping …] */
  #withoutStageOne(stream: StreamConfig, { lo, hi }: Transaction, outcome: Outcome): void {
    if (hi >>> 0 >= 2 ** (this.#features.oasBits - 32)) {
      this.#grantNothing(outcome, EVENT.F_ADDR_SIZE)
      return
    }
    const input = (hi >>> 0) * TWO32 + (lo >>> 0)
    if (stream.stageTwo === null) {
      // Nothing translates, and nothing denies: an identity may be granted in any size.
      outcome.status = STATUS.OK
      outcome.address = input
      outcome.leafLg2 = this.#features.smallestGranuleLg2
      outcome.rights = ACCESS.READ | ACCESS.WRITE
      return
    }
    const stageTwo = this.#stageTwo
    const hitsBefore = this.#tlb.ipa.hits
    if (!stageTwo.translate(lo | 0, hi | 0, this.#need.ask)) {
      this.#stageTwoFault(outcome, CLASS.IN)
      return
    }
    this.hit = this.#tlb.ipa.hits - hitsBefore
    this.walked = 1 - this.hit
    this.#grant(outcome, this.isSplit ? input : stageTwo.address, stageTwo.leafLg2, stageTwo.rights)
  }

  /** Success, with what is left of what was asked for. [SMMU 13.7.1 Permission attributes granted] */
  #grant(outcome: Outcome, address: number, leafLg2: number, rights: number): void {
    const granted = this.#need.granted(rights)
    if (granted === 0) {
      this.#grantNothing(outcome, EVENT.F_PERMISSION)
      return
    }
    outcome.status = STATUS.OK
    outcome.address = address
    outcome.leafLg2 = leafLg2
    outcome.rights = granted
    outcome.hit = this.hit
  }

  /** Success, with no permission at all. */
  #grantNothing(outcome: Outcome, event: number): void {
    outcome.leafLg2 = this.#features.smallestGranuleLg2
    this.#verdicts.nothingGranted(outcome, event)
  }

  /** Stage 2 refused an address: broken, or not mapped or allowed. */
  #stageTwoFault(outcome: Outcome, cls: number): void {
    this.#verdicts.describeStageTwo(this.#stageTwo, cls)
    const { event } = this.#stageTwo
    if (event === EVENT.F_WALK_EABT) this.#verdicts.completerAbort(outcome, event)
    else this.#grantNothing(outcome, event)
  }
}
