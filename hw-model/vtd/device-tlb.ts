/**
 * Invalidations of device TLBs: what each descriptor asks of a device, and which were not answered yet.
 * [VTD 4.3 Handling of Device-TLB Invalidations, 6.5.2.5, 6.5.2.6, 6.5.2.11]
 */

import type { Field } from '../bits/layout.js'
import { AtcInvalidation, type DevicePort, NO_PASID } from '../port.js'
import { DESCRIPTOR_TYPE, DEVICE_TLB_INVALIDATE, PASID_DEVICE_TLB_INVALIDATE } from './descriptors.js'
import type { FaultRecorder } from './faults.js'
import { FSTS, IQERCD, REGISTER } from './registers.js'

const { SID, S, ADDR } = DEVICE_TLB_INVALIDATE
const PASID_FORM = PASID_DEVICE_TLB_INVALIDATE

/** Invalidation tags (ITags): 5 bits. An invalidation for which none is free waits in the queue. */
const TAGS = 32

const PAGE_LG2 = 12
const WORD_LG2 = 32

const FSTS_WORD = REGISTER.FSTS >>> 2
const IQERCD_WORD = REGISTER.IQERCD >>> 2

/** What one unit has asked of its devices' TLBs. */
export class DeviceTlbs {
  readonly #words: Int32Array
  readonly #faults: FaultRecorder
  readonly #devices: DevicePort
  readonly #invalidation = new AtcInvalidation()
  /** Source-ids of the outstanding ones, by tag. */
  readonly #outstanding = new Map<number, number>()
  /** Source-id of the last invalidation that each ITag named. */
  readonly #holders = new Int32Array(TAGS)
  #lastTag = 0

  /** @param words the register file */
  constructor(words: Int32Array, faults: FaultRecorder, devices: DevicePort) {
    this.#words = words
    this.#faults = faults
    this.#devices = devices
  }

  /** A wait descriptor cannot complete now. */
  get isOutstanding(): boolean {
    return this.#outstanding.size !== 0
  }

  /** No ITag is free. [VTD 4.3] */
  get isFull(): boolean {
    return this.#outstanding.size >= TAGS
  }

  /** Carries out a device-TLB descriptor of either type. A device may answer from inside the call. */
  invalidate(type: number, words: Int32Array): void {
    const invalidation = this.#invalidation
    const hasPasid = type === DESCRIPTOR_TYPE.PASID_DEVICE_TLB
    const tag = ++this.#lastTag
    invalidation.tag = tag
    invalidation.rid = (hasPasid ? PASID_FORM.SID : SID).get(words, 0)
    invalidation.pasid = hasPasid ? PASID_FORM.PASID.get(words, 0) : NO_PASID
    invalidation.allPasids = hasPasid && PASID_FORM.GI.get(words, 0) !== 0
    this.#range((hasPasid ? PASID_FORM.S : S).get(words, 0) !== 0, ADDR.lo(words, 0), ADDR.hi(words, 0))
    this.#outstanding.set(tag, invalidation.rid)
    this.#holders[tag % TAGS] = invalidation.rid
    if (this.#devices.invalidateAtc(invalidation)) this.#outstanding.delete(tag)
  }

  /**
   * A device answered. An answer that nobody waits for, or from another than was asked, is an Invalidation Completion
   * Error, and false. [VTD 6.5.2.11 Invalid Device-TLB Invalidation Response]
   */
  complete(tag: number, rid: number | undefined): boolean {
    const asked = this.#outstanding.get(tag)
    if (asked !== undefined && (rid === undefined || rid === asked)) return this.#outstanding.delete(tag)
    // Who sent it is not always known; its ITag says who last had a reason to.
    const sender = rid ?? this.#holders[tag % TAGS]
    this.#report(FSTS.ICE, IQERCD.ICESID, sender)
    return false
  }

  /**
   * A device did not answer: its ITag is free again. False where none of that tag is outstanding.
   *
   * @param abort called before software can hear of it
   */
  timeOut(tag: number, abort: () => void): boolean {
    const asked = this.#outstanding.get(tag)
    if (asked === undefined) return false
    this.#outstanding.delete(tag)
    abort()
    this.#report(FSTS.ITE, IQERCD.ITESID, asked)
    return true
  }

  /** An error that is not told yet names its device; then the event. [VTD 11.4.9.9 ITESID, ICESID] */
  #report(error: Field, who: Field, rid: number): void {
    if (error.get(this.#words, FSTS_WORD) === 0) who.set(this.#words, IQERCD_WORD, rid)
    this.#faults.report(error)
  }

  /** Forgets what is outstanding. */
  reset(): void {
    this.#outstanding.clear()
  }

  /**
   * With S the lowest 0 bit of the address, at or above bit 12, is half of the size; without any the whole space is
   * meant, as it is by a 0 in bit 63 alone. [VTD 4.2.3 Size, as ATS encodes it]
   */
  #range(isLarge: boolean, lo: number, hi: number): void {
    const invalidation = this.#invalidation
    let sizeLg2 = PAGE_LG2
    if (isLarge) {
      const inLow = lowestZero(lo | ((1 << PAGE_LG2) - 1))
      sizeLg2 = 1 + (inLow < WORD_LG2 ? inLow : Math.min(WORD_LG2 + lowestZero(hi), 63))
    }
    invalidation.sizeLg2 = sizeLg2
    invalidation.lo = sizeLg2 < WORD_LG2 ? lo - (lo % 2 ** sizeLg2) : 0
    invalidation.hi = sizeLg2 <= WORD_LG2 ? hi : hi - (hi % 2 ** (sizeLg2 - WORD_LG2))
  }
}

/** Number of the lowest bit that is 0, or 32. */
function lowestZero(word: number): number {
  const zeros = ~word
  return zeros === 0 ? WORD_LG2 : 31 - Math.clz32(zeros & -zeros)
}
