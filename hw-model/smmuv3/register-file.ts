/**
 * The registers as words, at their offsets on page 0. What a write may change, and what it starts, is the unit's
 * business; this holds the bits and answers the questions that other parts ask of them on every access.
 */

import type { IdRegisters } from './features.js'
import { componentIds } from './register-bits.js'
import { type CR0, CR2, type GERROR, OFFSET, PAGE_1 } from './registers.js'

/** Words kept: the first 4 KiB of page 0. */
const WORDS = 1024

/** Backing words of the register window. */
export class RegisterFile {
  readonly words = new Int32Array(WORDS)
  /** CR0.SMMUEN, lifted because every transaction asks. */
  enabled = false
  /** Service Failure Mode: nothing passes and no queue is touched until the unit is reset. [SMMU 12.3] */
  hasFailed = false
  readonly #id: IdRegisters

  constructor(id: IdRegisters) {
    this.#id = id
    this.reset()
  }

  /** Power-on values. GBPA lets transactions through with incoming shareability. */
  reset(): void {
    this.words.fill(0)
    this.enabled = false
    this.hasFailed = false
    for (const name of ['IDR0', 'IDR1', 'IDR2', 'IDR3', 'IDR4', 'IDR5', 'IIDR', 'AIDR'] as const) {
      this.set(OFFSET[name], this.#id[name])
    }
    this.words.set(componentIds(this.#id.IIDR), OFFSET.ID_REGS >>> 2)
    this.set(OFFSET.GBPA, 1 << 12)
  }

  /** The word at a byte offset of page 0. */
  get(offset: number): number {
    return this.words[offset >>> 2] >>> 0
  }

  set(offset: number, value: number): void {
    this.words[offset >>> 2] = value
  }

  /** A one-bit field of CR0 as acknowledged. */
  isOn(field: (typeof CR0)['CMDQEN']): boolean {
    return field.get(this.words, OFFSET.CR0ACK >>> 2) === 1
  }

  /** Errors that ATS and PRI meet in the configuration are recorded. [SMMU 6.3.12 SMMU_CR2 REC_CFG_ATS] */
  get wantsAtsRecords(): boolean {
    return CR2.REC_CFG_ATS.get(this.words, OFFSET.CR2 >>> 2) === 1
  }

  /** Streams that do not exist are recorded. [SMMU 6.3.12 SMMU_CR2 RECINVSID] */
  get wantsUnknownStreams(): boolean {
    return CR2.RECINVSID.get(this.words, OFFSET.CR2 >>> 2) === 1
  }

  /** Whether a global error is active: GERROR and GERRORN differ. [SMMU 6.3.19 SMMU_GERROR] */
  isActive(error: (typeof GERROR)['CMDQ_ERR']): boolean {
    return error.get(this.words, OFFSET.GERROR >>> 2) !== error.get(this.words, OFFSET.GERRORN >>> 2)
  }
}

const PAGE_1_REGISTERS: readonly number[] = [OFFSET.EVENTQ_PROD, OFFSET.EVENTQ_CONS, OFFSET.PRIQ_PROD, OFFSET.PRIQ_CONS]

/** Page 1's queue registers are those of page 0; everything else on page 1 is reserved. Answers -1 for nothing. */
export function foldOffset(offset: number): number {
  if (offset < PAGE_1) return offset < WORDS * 4 ? offset : -1
  const folded = offset - PAGE_1
  return PAGE_1_REGISTERS.includes(folded) ? folded : -1
}
