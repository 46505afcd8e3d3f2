/** Where a device's DMA enters its VT-d unit. */

import {
  type Invalidation,
  NO_PASID,
  Outcome,
  REQUEST,
  type RemappingUnit,
  Transaction,
} from '../../../hw-model/port.js'
import {
  type DmaOutcome,
  type DmaPort,
  type DmaRun,
  type ExplainStep,
  type KeptTranslations,
  type OwnInvalidation,
  RID_SLOT,
} from '../../core/driver.js'
import { addressOf, addressText } from '../invalidation-text.js'
import { sendRun } from '../translate-run.js'
import type { VtdDriver } from './driver.js'

const NOTHING: Invalidation = { name: '', operands: {} }

/** What makes a device forget, without a PASID and with one. */
const DEVICE_TLBS: readonly string[] = ['DEV_IOTLB', 'P_DEV_IOTLB']

/** The requester's side of the unit. What it records is read out after each request that may have made a record. */
export class UnitPort implements DmaPort {
  readonly #unit: RemappingUnit
  readonly #driver: VtdDriver
  readonly #transaction = new Transaction()
  readonly #rids: Uint32Array
  readonly #isUsers: (slot: number) => boolean

  /** @param isUsers whether a user domain is in a slot */
  constructor(unit: RemappingUnit, driver: VtdDriver, rid: number, isUsers: (slot: number) => boolean) {
    this.#unit = unit
    this.#isUsers = isUsers
    this.#driver = driver
    this.#transaction.rid = rid
    this.#rids = Uint32Array.of(rid)
  }

  translate(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void {
    this.send(REQUEST.UNTRANSLATED, pasid, lo, hi, access, out)
  }

  translateRun(pasid: number, run: DmaRun, from: number, end: number, out: DmaOutcome): number {
    const transaction = this.#fill(pasid, 0, 0, 0)
    const stopped = sendRun(this.#unit, transaction, this.#rids, run, from, end, out)
    this.#driver.drain()
    return stopped
  }

  /** Sends a request of any type. @param type one of REQUEST */
  send(type: number, pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void {
    this.#unit.translate(this.#fill(pasid, lo, hi, access, type), out)
    this.#driver.drain()
  }

  /** The oracle's word on what the device keeps. See `AtsDoor.used`. */
  used(pasid: number, lo: number, hi: number, access: number, kept: KeptTranslations): boolean {
    const { oracle } = this.#unit
    return oracle === null || oracle.used(this.#fill(pasid, lo, hi, access), kept)
  }

  explain(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): readonly ExplainStep[] {
    return this.explainOf(REQUEST.UNTRANSLATED, pasid, lo, hi, access, out)
  }

  /** Explains a request of any type. @param type one of REQUEST */
  explainOf(
    type: number,
    pasid: number,
    lo: number,
    hi: number,
    access: number,
    out: DmaOutcome,
  ): readonly ExplainStep[] {
    const steps: ExplainStep[] = []
    this.#unit.explain(this.#fill(pasid, lo, hi, access, type), out, { step: (step) => steps.push(step) })
    return steps
  }

  peek(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): boolean {
    return this.#unit.peek(this.#fill(pasid, lo, hi, access), out)
  }

  missing(pasid: number, lo: number, hi: number, access: number): string {
    return this.ownTerms(pasid, this.#unit.missing(this.#fill(pasid, lo, hi, access)))?.text ?? ''
  }

  /** Descriptors as the owner of the tables gives them; undefined where the host has to. */
  ownTerms(pasid: number, descriptors: readonly Invalidation[]): OwnInvalidation | undefined {
    // All but a user domain's pages is the host's own to invalidate.
    if (!this.#isUsers(pasid < 0 ? RID_SLOT : pasid)) return undefined
    // A range is forgotten by the unit, and by the device.
    const ofUnit = descriptors.filter(({ name }) => name === 'P_IOTLB')
    if (descriptors.some((one) => !ofUnit.includes(one) && !DEVICE_TLBS.includes(one.name))) return undefined
    const [{ page, operands } = NOTHING, ...more] = ofUnit.length > 0 ? ofUnit : descriptors
    if (more.length > 0 || page === undefined) return undefined
    const npages = 2n ** BigInt(operands['AM'] ?? 0)
    const text = `P_IOTLB addr=${addressText(page)} npages=${npages} on the user domain`
    return { text, ranges: [{ addr: addressOf(page), npages, flags: 0 }] }
  }

  newOutcome(): DmaOutcome {
    return new Outcome()
  }

  faultName(fault: number): string {
    return this.#unit.faultName(fault)
  }

  #fill(pasid: number, lo: number, hi: number, access: number, type: number = REQUEST.UNTRANSLATED): Transaction {
    const transaction = this.#transaction
    transaction.type = type
    transaction.pasid = pasid < 0 ? NO_PASID : pasid
    transaction.lo = lo | 0
    transaction.hi = hi | 0
    transaction.access = access
    return transaction
  }
}
