/**
 * How a transaction ends when it is not translated: which event is recorded, if any, and what the device sees.
 * [SMMU 5.5 Fault configuration (A, R, S bits)] [SMMU 7.3 Event records]
 */

import { NO_PASID, type Outcome, STATUS, type Transaction, type WalkTrace } from '../port.js'
import type { Configurations } from './config.js'
import type { ContextConfig } from './decode-cd.js'
import type { StreamConfig } from './decode-ste.js'
import { CLASS, EVENT, eventName } from './event-records.js'
import { type EventSink, FaultInfo } from './events.js'
import type { RegisterFile } from './register-file.js'
import type { StageTwo } from './stage-two.js'

/** Events of a stage's tables. */
const STAGE_EVENTS: readonly number[] = [
  EVENT.F_WALK_EABT,
  EVENT.F_TRANSLATION,
  EVENT.F_ADDR_SIZE,
  EVENT.F_ACCESS,
  EVENT.F_PERMISSION,
]

const CLASS_TEXTS: readonly string[] = ['for a CD', 'for a stage 1 table', 'for the output of stage 1']

/** The ends of one pipeline; `info` is what a record would say of the present transaction. */
export class Verdicts {
  faults = 0
  /** Where decisions are shown, if anybody looks. */
  trace: WalkTrace | null = null
  readonly info = new FaultInfo()
  readonly #registers: RegisterFile
  readonly #sink: EventSink

  constructor(registers: RegisterFile, sink: EventSink) {
    this.#registers = registers
    this.#sink = sink
  }

  /** Notes what a fault record would say, before any override. */
  begin(transaction: Transaction, sid: number): void {
    const { info } = this
    info.sid = sid
    info.ssv = transaction.pasid === NO_PASID ? 0 : 1
    info.ssid = info.ssv === 1 ? transaction.pasid : 0
    info.lo = transaction.lo | 0
    info.hi = transaction.hi | 0
    info.describe(transaction.access)
    info.s2 = 0
    info.class = CLASS.IN
    info.ipa = 0
    info.stall = 0
    info.stag = 0
    info.mev = 0
  }

  /** Blocked, and no event exists for it. */
  abort(outcome: Outcome, why: string): void {
    outcome.status = STATUS.ABORTED
    if (this.trace !== null) this.trace.step({ what: 'transaction', verdict: why })
  }

  /** Aborted and recorded. */
  report(outcome: Outcome, event: number): void {
    this.faults++
    outcome.status = STATUS.FAULT
    outcome.fault = event
    this.#sink.record(event, this.info)
    if (this.trace !== null) this.#show(event, '')
  }

  /** An STE or CD could not be had. */
  configFault(outcome: Outcome, configs: Configurations): void {
    const { event } = configs
    // Records of unknown streams are wanted or not; the access aborts in any case. [SMMU 6.3.12 SMMU_CR2]
    if (event === EVENT.C_BAD_STREAMID && !this.#registers.wantsUnknownStreams) {
      this.abort(outcome, 'C_BAD_STREAMID, and CR2.RECINVSID = 0 wants no record')
      return
    }
    if (event === EVENT.C_BAD_SUBSTREAMID) this.info.ssid = configs.ssid
    this.info.fetchAddress = configs.fetchAddress
    this.report(outcome, event)
  }

  /** A fault of stage 1 obeys CD.S, CD.R and CD.A. */
  stageOne(outcome: Outcome, context: ContextConfig, event: number): void {
    if (context.stalls) {
      this.#hold(outcome, event)
      return
    }
    if (context.records) this.report(outcome, event)
    else this.#silent(outcome, event)
    if (context.aborts) return
    outcome.status = STATUS.RAZ_WI
    outcome.fault = event
  }

  /** A stage 1 entry could not be read: always recorded, with the class of a table access. [SMMU 7.3.12 F_WALK_EABT] */
  stageOneFetch(outcome: Outcome, address: number): void {
    this.info.class = CLASS.TT
    this.info.fetchAddress = address
    this.report(outcome, EVENT.F_WALK_EABT)
  }

  /** Stage 2 refused what it was asked for; `cls` says what that was. */
  stageTwo(outcome: Outcome, stream: StreamConfig, stage: StageTwo, cls: number): void {
    const { event } = stage
    this.describeStageTwo(stage, cls)
    // Only the four translation faults may stall or be kept quiet; what ends at stage 2 always aborts.
    if (event === EVENT.F_WALK_EABT) this.report(outcome, event)
    else if (stream.stageTwo?.stalls === true) this.#hold(outcome, event)
    else if (stream.stageTwo?.records === true) this.report(outcome, event)
    else this.#silent(outcome, event)
  }

  /** Notes what a record would say of a refusal by stage 2. */
  describeStageTwo(stage: StageTwo, cls: number): void {
    const { info } = this
    info.s2 = 1
    info.class = cls
    info.ipa = stage.ipa
    info.ttrnw = stage.ttrnw
    info.fetchAddress = stage.fetchAddress
  }

  /** Stalled, and recorded whatever R says. */
  #hold(outcome: Outcome, event: number): void {
    this.faults++
    this.#sink.hold(event, this.info, outcome)
    if (this.trace !== null) this.#show(event, ', stalls')
  }

  /** A translated access met a broken STE; the record does not depend on RECINVSID. [SMMU 3.9.1.3] */
  translatedConfigFault(outcome: Outcome, event: number): void {
    if (this.#registers.wantsAtsRecords) this.report(outcome, event)
    else this.#silent(outcome, event)
  }

  /** Unsupported Request: ATS is off for the stream. `event` is recorded, unless it is 0. [SMMU 3.9.1.2] */
  unsupported(outcome: Outcome, event: number): void {
    if (event === 0) this.abort(outcome, 'STE.Config aborts silently')
    else this.report(outcome, event)
    outcome.status = STATUS.UNSUPPORTED
  }

  /** Completer Abort: a translation request met a broken configuration. [SMMU 3.9.1.2] */
  completerAbort(outcome: Outcome, event: number): void {
    const isUnwanted = event === EVENT.C_BAD_STREAMID && !this.#registers.wantsUnknownStreams
    if (this.#registers.wantsAtsRecords && !isUnwanted) this.report(outcome, event)
    else this.#silent(outcome, event)
    outcome.status = STATUS.COMPLETER_ABORT
  }

  /** Success without any permission; what denies it is never recorded. [SMMU 3.9.1.2] */
  nothingGranted(outcome: Outcome, event: number): void {
    outcome.status = STATUS.OK
    outcome.address = 0
    outcome.rights = 0
    if (this.trace !== null) this.#show(event, ': nothing is granted')
  }

  /** Aborted without a record. */
  #silent(outcome: Outcome, event: number): void {
    this.faults++
    outcome.status = STATUS.ABORTED
    if (this.trace !== null) this.#show(event, ', not recorded')
  }

  #show(event: number, ending: string): void {
    const { s2, class: cls, pnu, ind, rnw, ipa } = this.info
    const stage = s2 === 1 ? 2 : STAGE_EVENTS.includes(event) ? 1 : undefined
    this.trace?.step({
      what: 'fault',
      ...(stage === undefined ? {} : { stage }),
      ...(s2 === 1 ? { guestAddress: ipa } : {}),
      fields: { S2: s2, CLASS: cls, PnU: pnu, InD: ind, RnW: rnw },
      texts: s2 === 1 ? { CLASS: CLASS_TEXTS[cls] } : {},
      verdict: eventName(event) + ending,
      citation: '[SMMU 7.3 Event records]',
    })
  }
}
