/**
 * Fault reasons, and primary fault logging: which faults are recorded, where, and when software is told.
 * [VTD 7.1.3 Fault Conditions and Remapping Hardware Behavior for Various Requests, 7.2.1 Primary Fault Logging]
 */

import type { Field } from '../bits/layout.js'
import { ACCESS, NO_PASID, REQUEST, type Transaction } from '../port.js'
import type { Capabilities } from './capabilities.js'
import type { EventBlock } from './events.js'
import { FAULT_RECORD } from './records.js'
import { FRCD_BYTES, FSTS, REGISTER } from './registers.js'

/** Fault reasons by the manual's label. [VTD 7.1.3 T30] */
export const REASON = {
  NONE: 0,
  LRT_2: 0x01,
  LCT_2: 0x02,
  LCT_4: 0x03,
  LGN_1: 0x04,
  LGN_2: 0x05,
  LGN_3: 0x06,
  LSS_1: 0x07,
  LRT_1: 0x08,
  LCT_1: 0x09,
  LRT_3: 0x0a,
  LCT_3: 0x0b,
  LSS_2: 0x0c,
  LCT_5: 0x0d,
  LGN_4: 0x0e,
  INTERRUPT_REQUEST: 0x29,
  RTA_1: 0x30,
  RTA_2: 0x31,
  RTA_3: 0x32,
  RTA_4: 0x33,
  RTA_5: 0x34,
  SRT_1: 0x38,
  SRT_2: 0x39,
  SRT_3: 0x3a,
  SCT_1: 0x40,
  SCT_2: 0x41,
  SCT_3: 0x42,
  SCT_4: 0x43,
  SCT_5: 0x44,
  SCT_6: 0x45,
  SCT_7: 0x46,
  SCT_8: 0x47,
  SCT_9: 0x48,
  SCT_10: 0x49,
  SPD_1: 0x50,
  SPD_2: 0x51,
  SPD_3: 0x52,
  SPT_1: 0x58,
  SPT_2: 0x59,
  SPT_3: 0x5a,
  SPT_4: 0x5b,
  SPT_5: 0x5c,
  SPT_6: 0x5d,
  SPT_9: 0x60,
  SFS_1: 0x70,
  SFS_2: 0x71,
  SFS_3: 0x72,
  SFS_4: 0x73,
  SFS_5: 0x74,
  SFS_6: 0x75,
  SFS_7: 0x76,
  SFS_8: 0x77,
  SSS_1: 0x78,
  SSS_2: 0x79,
  SSS_3: 0x7a,
  SSS_4: 0x7b,
  SSS_5: 0x7c,
  SSS_6: 0x7d,
  SGN_1: 0x80,
  SGN_2: 0x81,
  SGN_4: 0x83,
  SGN_5: 0x84,
  SGN_6: 0x85,
  SGN_7: 0x86,
  SGN_8: 0x87,
  SGN_10: 0x89,
  SFS_9: 0x90,
  SFS_10: 0x91,
  HPT_1: 0xa0,
  HPT_2: 0xa1,
  HPT_3: 0xa2,
  HPT_4: 0xa3,
  HPT_5: 0xa4,
  HPT_6: 0xa5,
} as const

/** Reasons that are recorded whatever FPD says. [VTD 7.1.1, 7.1.3 T30] */
const UNQUALIFIED: readonly number[] = [
  REASON.LRT_2,
  REASON.LRT_1,
  REASON.LCT_1,
  REASON.LRT_3,
  REASON.INTERRUPT_REQUEST,
  REASON.RTA_1,
  REASON.RTA_2,
  REASON.RTA_3,
  REASON.RTA_4,
  REASON.RTA_5,
  REASON.SRT_1,
  REASON.SRT_2,
  REASON.SRT_3,
  REASON.SCT_1,
  REASON.SPD_1,
  REASON.SPT_1,
]

const { SID, FR, T1, T2, PP, PV, PRIV, EXE, AT, F } = FAULT_RECORD

const FSTS_WORD = REGISTER.FSTS >>> 2

/** PFO, IQE, ICE, ITE. */
const W1C = 0x71

const isUnqualified = new Uint8Array(256)
for (const reason of UNQUALIFIED) isUnqualified[reason] = 1

/** Whether software has asked not to be told of a fault. [VTD 7.2.1, 9.3 FPD] */
export const isSilenced = (reason: number, fpd: number): boolean => fpd !== 0 && isUnqualified[reason] === 0

const LABELS: ReadonlyMap<number, string> = new Map(
  Object.entries(REASON).map(([label, reason]) => [reason, label.replace('_', '.')]),
)

/** A fault reason as people read it: `0x71 SFS.2`. */
export function faultName(reason: number): string {
  const code = `0x${reason.toString(16).padStart(2, '0')}`
  const label = LABELS.get(reason)
  return label === undefined ? code : `${code} ${label}`
}

/** Causes of a fault event in FSTS: PFO, PPF, IQE, ICE, ITE. [VTD 7.3 Non-Recoverable Fault Event] */
const CAUSES = 0x73

/** FSTS and the fault recording registers. */
export class FaultRecorder {
  /** Faults written into a record. */
  recorded = 0
  readonly #words: Int32Array
  readonly #caps: Capabilities
  readonly #event: EventBlock
  /** Bits of FI's high half that the unit keeps. */
  readonly #fiHighMask: number
  #next = 0

  /** @param words the register file */
  constructor(words: Int32Array, caps: Capabilities, event: EventBlock) {
    this.#words = words
    this.#caps = caps
    this.#event = event
    this.#fiHighMask = (1 << (caps.agawBits - 32)) - 1
  }

  /** Logs a blocked request, if it is to be logged at all. */
  record(reason: number, fpd: number, transaction: Transaction): void {
    this.#log(reason, fpd, transaction, false)
  }

  /** Logs a page request that met a table error; `transaction` has what it has in common with one. */
  recordPageRequest(reason: number, fpd: number, transaction: Transaction): void {
    this.#log(reason, fpd, transaction, true)
  }

  #log(reason: number, fpd: number, transaction: Transaction, isPageRequest: boolean): void {
    const words = this.#words
    // 1. Software asked for silence.
    if (isSilenced(reason, fpd)) return
    // 2. After an overflow nothing is recorded until software clears it.
    if (FSTS.PFO.get(words, FSTS_WORD) !== 0) return
    const before = words[FSTS_WORD] & CAUSES
    const at = this.#wordOf(this.#next)
    // 3. The next record is still unread. No new event: PPF is set already.
    if (F.get(words, at) !== 0) {
      FSTS.PFO.set(words, FSTS_WORD, 1)
      return
    }
    this.#fill(at, reason, transaction, isPageRequest)
    this.recorded++
    // 4. The first pending record is the one software starts at.
    if (FSTS.PPF.get(words, FSTS_WORD) === 0) FSTS.FRI.set(words, FSTS_WORD, this.#next)
    FSTS.PPF.set(words, FSTS_WORD, 1)
    this.#next = (this.#next + 1) % this.#caps.frcdCount
    if (before === 0) this.#event.trigger()
  }

  /** Sets IQE, ICE or ITE, which are causes of the same event. */
  report(error: Field): void {
    const before = this.#words[FSTS_WORD] & CAUSES
    error.set(this.#words, FSTS_WORD, 1)
    if (before === 0) this.#event.trigger()
  }

  /** A write to FSTS: PFO, IQE, ICE and ITE are cleared by writing 1. */
  writeStatus(value: number): void {
    this.#words[FSTS_WORD] &= ~(value & W1C)
    this.#settle()
  }

  /** A write to the last word of a record: F is cleared by writing 1. */
  writeRecord(index: number, value: number): void {
    if (value >= 0) return
    F.set(this.#words, this.#wordOf(index), 0)
    this.#settle()
  }

  /** The next record is the first again once translation and remapping are both off. [VTD 7.2.1] */
  restart(): void {
    this.#next = 0
  }

  /**
   * PPF is the OR of every F, and the event stops pending when its last cause is gone. FRI stays where PPF was set:
   * software that clears records in another order than the ring's loses its place. [VTD 11.4.7.1 FRI]
   */
  #settle(): void {
    const words = this.#words
    let pending = 0
    for (let i = 0; i < this.#caps.frcdCount; i++) pending |= F.get(words, this.#wordOf(i))
    FSTS.PPF.set(words, FSTS_WORD, pending)
    if (pending === 0) FSTS.FRI.set(words, FSTS_WORD, 0)
    if ((words[FSTS_WORD] & CAUSES) === 0) this.#event.withdraw()
  }

  /** Low half first, F last. */
  #fill(at: number, reason: number, transaction: Transaction, isPageRequest: boolean): void {
    const { lo, hi, rid, pasid, access, type } = transaction
    const words = this.#words
    // A translation request is a read, whatever rights it asks for. [choice]
    const isWrite = (access & ACCESS.WRITE) !== 0 && type !== REQUEST.TRANSLATION
    const isRead = (access & ACCESS.READ) !== 0 || !isWrite
    const { ecap } = this.#caps
    const withPasid = pasid !== NO_PASID && ecap.PASID !== 0
    words[at] = lo & ~0xfff
    words[at + 1] = hi & this.#fiHighMask
    words[at + 2] = 0
    words[at + 3] = 0
    SID.set(words, at, rid)
    FR.set(words, at, reason)
    // Write 0,0; page request 0,1; read 1,0; AtomicOp 1,1.
    T1.set(words, at, isRead && !isPageRequest ? 1 : 0)
    T2.set(words, at, isPageRequest || (isRead && isWrite) ? 1 : 0)
    if (ecap.DT !== 0) AT.set(words, at, type)
    if (withPasid) {
      PP.set(words, at, 1)
      PV.set(words, at, pasid)
      PRIV.set(words, at, access & ACCESS.PRIVILEGED ? 1 : 0)
      // Only a read asks for execute. [VTD 11.4.7.6 EXE]
      EXE.set(words, at, access & ACCESS.EXECUTE && !isWrite && !isPageRequest ? 1 : 0)
    }
    F.set(words, at, 1)
  }

  #wordOf(index: number): number {
    return (this.#caps.frcdOffset + index * FRCD_BYTES) >>> 2
  }
}
