/** Writes event records and keeps the event queue. [SMMU 7.2 Event queue] [SMMU 7.3 Event records] */

import { MEMORY, type Memory } from '../memory/memory.js'
import { ACCESS, type Outcome } from '../port.js'
import {
  C_BAD_SUBSTREAMID,
  EVENT,
  EVENT_RECORD,
  F_BAD_ATS_TREQ,
  F_PERMISSION,
  F_STE_FETCH,
  F_TRANSLATION,
  F_WALK_EABT,
} from './event-records.js'
import type { Features } from './features.js'
import type { Interrupts } from './interrupts.js'
import { QueueShape } from './queue.js'
import type { RegisterFile } from './register-file.js'
import { CR0, EVENTQ_CONS, EVENTQ_PROD, GERROR, OFFSET } from './registers.js'

const { ID, SID } = EVENT_RECORD
const { SSV, SSID, STAG, Stall, PnU, InD, RnW, S2, CLASS, IPA } = F_TRANSLATION
const { TTRnW } = F_PERMISSION
/** The word that InputAddr starts at; both halves are stored as they came. */
const INPUT = F_TRANSLATION.InputAddr.low >>> 5
const WORDS = EVENT_RECORD.$.words
const PROD = OFFSET.EVENTQ_PROD >>> 2
const CONS = OFFSET.EVENTQ_CONS >>> 2

/** Events that may repeat the record before them whatever STE.MEV says. [SMMU 7.3.1 Event record merging] */
const BEFORE_STE: ReadonlySet<number> = new Set([EVENT.C_BAD_STREAMID, EVENT.F_STE_FETCH, EVENT.C_BAD_STE])
/** Events that differ for merging only by the page of their input address. [SMMU 7.3 Event records] */
const BY_PAGE: ReadonlySet<number> = new Set([
  EVENT.F_TRANSL_FORBIDDEN,
  EVENT.F_WALK_EABT,
  EVENT.F_TRANSLATION,
  EVENT.F_ADDR_SIZE,
  EVENT.F_ACCESS,
  EVENT.F_PERMISSION,
])

/** What is known of a faulting transaction; one struct per unit, reused. */
export class FaultInfo {
  sid = 0
  /** SubstreamID; meaningless when `ssv` is 0. */
  ssid = 0
  ssv = 0
  lo = 0
  hi = 0
  /** What came in, before any override; bits of ACCESS. */
  access = 0
  pnu = 0
  ind = 0
  rnw = 0
  s2 = 0
  /** One of CLASS. */
  class = 0
  /** 1 when a table entry was being read, 0 when it was being written. */
  ttrnw = 0
  ipa = 0
  fetchAddress = 0
  /** 1 when the transaction is held; `stag` then names it to software. */
  stall = 0
  stag = 0
  /** STE.MEV of a stream with a valid STE. */
  mev = 0

  /** Notes what an access is, before any override. */
  describe(access: number): void {
    this.access = access
    this.rnw = (access & ACCESS.WRITE) === 0 ? 1 : 0
    this.pnu = (access & ACCESS.PRIVILEGED) === 0 ? 0 : 1
    this.ind = this.rnw === 1 && (access & ACCESS.EXECUTE) !== 0 ? 1 : 0
  }
}

/** Where faults go. */
export interface EventSink {
  /** Records why a transaction ended. */
  record(event: number, info: FaultInfo): void
  /** Holds the transaction that `info` describes instead of ending it, and fills its outcome. */
  hold(event: number, info: FaultInfo, outcome: Outcome): void
}

/** The event queue. */
export class EventQueue {
  /** Records written. */
  written = 0
  /** Records dropped because the queue was full, disabled or in error. */
  dropped = 0
  /** Records that would have said what the one before them says. */
  merged = 0

  readonly #memory: Memory
  readonly #registers: RegisterFile
  readonly #interrupts: Interrupts
  readonly #shape: QueueShape
  readonly #merges: boolean
  readonly #words = new Int32Array(WORDS)
  /** The record written last, and PROD after it. */
  readonly #last = new Int32Array(WORDS)
  #lastProd = -1

  /** @param merges records that repeat the one before them are left out, as the manual allows */
  constructor(memory: Memory, registers: RegisterFile, features: Features, interrupts: Interrupts, merges = false) {
    this.#memory = memory
    this.#registers = registers
    this.#interrupts = interrupts
    this.#merges = merges
    this.#shape = new QueueShape(registers, OFFSET.EVENTQ_BASE, EVENT_RECORD.$.bytes, features.eventQueueLg2)
  }

  /** Enabled, not full, and without an abort to be acknowledged. [SMMU 7.2.1 Recording of events] */
  get isWritable(): boolean {
    const { words } = this.#registers
    return this.#isOpen && !this.#shape.isFull(EVENTQ_PROD.WR.get(words, PROD), EVENTQ_CONS.RD.get(words, CONS))
  }

  /** Writes a record, or drops it. Only a queue that is enabled and full overflows. */
  record(event: number, info: FaultInfo): void {
    if (this.#merges && this.#repeats(event, info)) {
      this.merged++
      return
    }
    if (!this.isWritable) {
      this.dropped++
      if (this.#isOpen) this.#overflow()
    } else if (!this.#write(event, info)) this.dropped++
  }

  /** Writes the record of a stall, or answers false: such a one is never dropped. */
  recordStall(event: number, info: FaultInfo): boolean {
    return this.isWritable && this.#write(event, info)
  }

  get #isOpen(): boolean {
    const registers = this.#registers
    return registers.isOn(CR0.EVENTQEN) && !registers.isActive(GERROR.EVENTQ_ABT_ERR) && !registers.hasFailed
  }

  /** The record, then PROD, then the interrupt. [SMMU 3.5.2 Queue entry visibility semantics] */
  #write(event: number, info: FaultInfo): boolean {
    const { words } = this.#registers
    const prod = EVENTQ_PROD.WR.get(words, PROD)
    const wasEmpty = this.#shape.isEmpty(prod, EVENTQ_CONS.RD.get(words, CONS))
    compose(this.#words, event, info)
    if (this.#memory.storeRecord(this.#shape.slotAddress(prod), this.#words, 0, WORDS) !== MEMORY.OK) {
      this.#interrupts.raiseError(GERROR.EVENTQ_ABT_ERR)
      return false
    }
    this.written++
    EVENTQ_PROD.WR.set(words, PROD, this.#shape.next(prod))
    if (this.#merges) this.#remember()
    if (wasEmpty) this.#interrupts.eventQueue()
    return true
  }

  #remember(): void {
    this.#last.set(this.#words)
    this.#lastProd = this.#registers.words[PROD]
  }

  /**
   * Whether an event says what the last record says, which software has not consumed: without a clock, that is how soon
   * it must follow. The record of a stall is neither merged nor merged into. [SMMU 7.3.1 Event record merging]
   */
  #repeats(event: number, info: FaultInfo): boolean {
    if (info.mev === 0 && !BEFORE_STE.has(event)) return false
    const { words } = this.#registers
    if (!this.#isOpen || words[PROD] !== this.#lastProd || this.#shape.isEmpty(words[PROD], words[CONS])) return false
    const record = this.#words
    compose(record, event, info)
    for (let i = 0; i < WORDS; i++) {
      const ignored = i === INPUT && BY_PAGE.has(event) ? 12 : 0
      if ((record[i] ^ this.#last[i]) >>> ignored !== 0) return false
    }
    return true
  }

  /** Toggles OVFLG unless an overflow is waiting to be acknowledged. [SMMU 7.4 Event queue overflow] */
  #overflow(): void {
    const { words } = this.#registers
    const flag = EVENTQ_PROD.OVFLG.get(words, PROD)
    if (flag === EVENTQ_CONS.OVACKFLG.get(words, CONS)) EVENTQ_PROD.OVFLG.set(words, PROD, flag ^ 1)
  }
}

/** Fills in what the event's own record has; everything else is zero. [SMMU 7.3 Event records] */
export function compose(record: Int32Array, event: number, info: FaultInfo): void {
  record.fill(0)
  ID.set(record, 0, event)
  SID.set(record, 0, info.sid)
  if (event === EVENT.F_STREAM_DISABLED) return
  if (event === EVENT.C_BAD_SUBSTREAMID) {
    C_BAD_SUBSTREAMID.SSID.set(record, 0, info.ssid)
    return
  }
  if (event === EVENT.F_TRANSL_FORBIDDEN) {
    RnW.set(record, 0, info.rnw)
    setInput(record, info)
    return
  }
  SSV.set(record, 0, info.ssv)
  if (info.ssv === 1) SSID.set(record, 0, info.ssid)
  if (event === EVENT.F_STE_FETCH || event === EVENT.F_CD_FETCH) {
    F_STE_FETCH.FetchAddr.set(record, 0, info.fetchAddress)
    return
  }
  if (event === EVENT.C_BAD_STREAMID || event === EVENT.C_BAD_STE || event === EVENT.C_BAD_CD) return
  if (event === EVENT.F_BAD_ATS_TREQ) {
    setRequest(record, info)
    return
  }
  setInput(record, info)
  PnU.set(record, 0, info.pnu)
  InD.set(record, 0, info.ind)
  RnW.set(record, 0, info.rnw)
  S2.set(record, 0, info.s2)
  CLASS.set(record, 0, info.class)
  if (event === EVENT.F_WALK_EABT) {
    F_WALK_EABT.FetchAddr.set(record, 0, info.fetchAddress)
    return
  }
  STAG.set(record, 0, info.stag)
  Stall.set(record, 0, info.stall)
  if (info.s2 === 1) IPA.set(record, 0, info.ipa)
  if (event === EVENT.F_PERMISSION && info.class === 1) TTRnW.set(record, 0, info.ttrnw)
}

/**
 * A request for one translation unit, which always asks to read; only a PASID brings the wish to execute and privilege.
 * [SMMU 7.3.6 F_BAD_ATS_TREQ]
 */
function setRequest(record: Int32Array, { ssv, access, lo, hi }: FaultInfo): void {
  const { R, W, X, P, Span } = F_BAD_ATS_TREQ
  R.set(record, 0, 1)
  W.set(record, 0, (access & ACCESS.WRITE) === 0 ? 0 : 1)
  X.set(record, 0, ssv === 0 || (access & ACCESS.EXECUTE) === 0 ? 0 : 1)
  P.set(record, 0, ssv === 0 || (access & ACCESS.PRIVILEGED) === 0 ? 0 : 1)
  Span.set(record, 0, 1)
  record[INPUT] = lo & -4096
  record[INPUT + 1] = hi
}

function setInput(record: Int32Array, info: FaultInfo): void {
  record[INPUT] = info.lo
  record[INPUT + 1] = info.hi
}
