/**
 * The unit as its driver reaches it: registers, the command protocol, the invalidation queue and the fault records;
 * nothing of the model is called but register reads and writes. [VTD 11.4, 6.5.2 Queued Invalidation Interface]
 */

import { MEMORY, type Memory } from '../../../hw-model/memory/index.js'
import type { RemappingUnit } from '../../../hw-model/port.js'
import { CAP, ECAP, FAULT_RECORD, FRCD_BYTES, FSTS, GSTS, IQA, PMEN, REGISTER } from '../../../hw-model/vtd/index.js'
import { assert } from '../../core/driver.js'
import type { HostRam } from '../host-ram.js'
import { type Descriptor, DONE, type Drains, waitFor } from './descriptors.js'

/** One fault, as the unit recorded it. */
export interface VtdFault {
  /** Source-id: bus << 8 | devfn. */
  readonly rid: number
  /** The PASID that the request carried, or -1. */
  readonly pasid: number
  /** Fault reason. [VTD 7.1.3] */
  readonly reason: number
  /** Low half of the faulting page's address. */
  readonly lo: number
  readonly hi: number
  readonly isWrite: boolean
  readonly isPrivileged: boolean
}

/** Descriptors between two waits. */
const BATCH = 16

/** Slots of the queue: 8 KiB of 32-byte ones or 4 KiB of 16-byte ones. */
const QUEUE_SLOTS = 256

const QIE = 1 << 26
const WBF = 1 << 27
const SRTP = 1 << 30
const TE = 1 << 31

/** Where fault messages go: a message address that no memory stands at. */
const FAULT_MESSAGE_ADDRESS = 0xfee00000

/** Registers, queue and fault records of one unit. */
export class VtdHardware {
  readonly cap: Readonly<Record<string, number>>
  readonly ecap: Readonly<Record<string, number>>
  readonly capWord: bigint
  readonly ecapWord: bigint
  readonly drains: Drains
  readonly #unit: RemappingUnit
  readonly #memory: Memory
  readonly #queue: number
  /** Physical address of a word for each slot, where a wait there says that it is done. */
  readonly #status: number
  readonly #slotBytes: number
  /** The commands that stay on: GCMD is never read back. */
  #persistent = 0
  #tail = 0

  constructor(unit: RemappingUnit, memory: Memory, ram: HostRam) {
    this.#unit = unit
    this.#memory = memory
    const cap = this.#read64(REGISTER.CAP)
    const ecap = this.#read64(REGISTER.ECAP)
    this.capWord = wordOf(cap)
    this.ecapWord = wordOf(ecap)
    this.cap = fieldsOf(CAP, cap)
    this.ecap = fieldsOf(ECAP, ecap)
    this.drains = { DR: this.cap['DRD'], DW: this.cap['DWD'] }
    assert(this.ecap['QI'] === 1, 'the driver of a VT-d unit needs its invalidation queue')
    this.#slotBytes = this.ecap['SMTS'] ? 32 : 16
    this.#queue = ram.alloc(QUEUE_SLOTS * this.#slotBytes)
    this.#status = ram.alloc(QUEUE_SLOTS * 4)
  }

  /**
   * Quiet, then the queue, the root table, page requests, faults, translation; then memory that firmware protected.
   *
   * @param startPages sets up the queue of page requests
   */
  boot(rootTable: number, mode: number, flushAll: readonly Descriptor[], startPages: () => void): void {
    this.#write32(REGISTER.FSTS, -1)
    this.#command(0)
    this.#write64(REGISTER.IQT, 0)
    this.#write64(REGISTER.IQA, this.#queue | iqaBits(this.#slotBytes), high(this.#queue))
    this.#persistent |= QIE
    this.#command(0)
    this.flushWriteBuffer()
    this.#write64(REGISTER.RTADDR, rootTable | (mode << 10), high(rootTable))
    this.#command(SRTP)
    // A unit with ESRTPS has dropped everything by itself.
    if (!this.cap['ESRTPS']) this.submitEach(flushAll)
    startPages()
    this.#write32(REGISTER.FEDATA, 0)
    this.#write32(REGISTER.FEADDR, FAULT_MESSAGE_ADDRESS)
    this.#write32(REGISTER.FEUADDR, 0)
    this.#write32(REGISTER.FECTL, 0)
    this.#persistent |= TE
    this.#command(0)
    const [status] = this.#unit.readRegister(REGISTER.GSTS, 4)
    assert(GSTS.TES.get(Int32Array.of(status), 0) === 1, 'translation is on when the unit says so')
    if (this.cap['PLMR'] || this.cap['PHMR']) this.#openProtectedMemory()
  }

  /** Queues descriptors, each batch with a wait behind it, and sees them done. */
  submit(descriptors: readonly Descriptor[]): void {
    for (let from = 0; from < descriptors.length; from += BATCH) {
      for (const descriptor of descriptors.slice(from, from + BATCH)) this.#put(descriptor)
      this.#waitForDone()
    }
  }

  /** Queues descriptors with a wait that also sees every page request in its queue. [VTD 6.5.2.9 PD, 7.10] */
  submitDraining(descriptors: readonly Descriptor[]): void {
    for (const descriptor of descriptors) this.#put(descriptor)
    this.#waitForDone(true)
  }

  /** Queues descriptors that must be carried out one after another: each is seen done before the next. */
  submitEach(descriptors: readonly Descriptor[]): void {
    for (const descriptor of descriptors) this.submit([descriptor])
  }

  /**
   * Queues an invalidation that its device does not answer: the wait behind it never completes, and nothing is fetched
   * until software clears ITE. A device that does not answer is gone for Linux, which does not try again then.
   * [VTD 6.5.2.11 Device-TLB Invalidation Response Time-out]
   *
   * @param expire runs what starts the queue, and then tells the unit of the time-out
   */
  submitUnanswered(descriptor: Descriptor, expire: (start: () => void) => void): void {
    this.#put(descriptor)
    const status = this.#putWait()
    expire(() => this.#start())
    const [fault] = this.#unit.readRegister(REGISTER.FSTS, 4)
    const isTimeOut = FSTS.ITE.get(Int32Array.of(fault), 0) === 1
    assert(isTimeOut && this.#isPending(status), 'a wait that a time-out ended does not complete')
    this.#write32(REGISTER.FSTS, 1 << FSTS.ITE.low)
  }

  /** Makes stores of the processor visible to a unit that does not see them by itself. [VTD 6.8 Write Buffer Flushing] */
  flushWriteBuffer(): void {
    if (this.cap['RWBF']) this.#command(WBF)
  }

  /** Reads the fault records as Linux's handler does, from FRI on, and clears each and the overflow. */
  drainFaults(onFault: (fault: VtdFault) => void): void {
    const [status] = this.#unit.readRegister(REGISTER.FSTS, 4)
    const words = Int32Array.of(status)
    let index = FSTS.FRI.get(words, 0)
    if (FSTS.PPF.get(words, 0) !== 0) {
      for (let read = 0; read <= this.cap['NFR']; read++) {
        const fault = this.#takeFault(this.cap['FRO'] * 16 + index * FRCD_BYTES)
        if (fault === undefined) break
        onFault(fault)
        index = (index + 1) % (this.cap['NFR'] + 1)
      }
    }
    this.#write32(REGISTER.FSTS, status & 1)
  }

  #takeFault(offset: number): VtdFault | undefined {
    const record = Int32Array.of(...this.#read64(offset), ...this.#read64(offset + 8))
    if (FAULT_RECORD.F.get(record, 0) === 0) return undefined
    this.#write32(offset + 12, 1 << 31)
    const hasPasid = FAULT_RECORD.PP.get(record, 0) !== 0
    return {
      rid: FAULT_RECORD.SID.get(record, 0),
      pasid: hasPasid ? FAULT_RECORD.PV.get(record, 0) : -1,
      reason: FAULT_RECORD.FR.get(record, 0),
      lo: record[0] >>> 0,
      hi: record[1] >>> 0,
      isWrite: FAULT_RECORD.T1.get(record, 0) === 0,
      isPrivileged: hasPasid && FAULT_RECORD.PRIV.get(record, 0) !== 0,
    }
  }

  #waitForDone(drainsPages = false): void {
    const status = this.#putWait(drainsPages)
    this.#start()
    assert(!this.#isPending(status), 'the unit carries out what its driver queues')
  }

  /** Queues a wait, and answers where it will say that it is done. */
  #putWait(drainsPages = false): number {
    const status = this.#status + this.#tail * 4
    this.#memory.store32(status, 0)
    this.#put(waitFor(status, drainsPages))
    return status
  }

  #start(): void {
    this.#write64(REGISTER.IQT, this.#tail * this.#slotBytes)
    while (this.#unit.hasWork) this.#unit.run()
  }

  #isPending(status: number): boolean {
    const loaded = this.#memory.loadWord(status)
    assert(loaded === MEMORY.OK, 'a status word stands in host RAM')
    return this.#memory.lo !== DONE
  }

  #put(descriptor: Descriptor): void {
    const at = this.#queue + this.#tail * this.#slotBytes
    this.#memory.storeRecord(at, descriptor, 0, 4)
    this.#tail = (this.#tail + 1) % QUEUE_SLOTS
  }

  /** What firmware protects before there is translation is protected by it from now on. [VTD 11.4.8.1] */
  #openProtectedMemory(): void {
    this.#write32(REGISTER.PMEN, 0)
    const [status] = this.#unit.readRegister(REGISTER.PMEN, 4)
    assert(PMEN.PRS.get(Int32Array.of(status), 0) === 0, 'protected memory is open when the unit says so')
  }

  #command(oneShot: number): void {
    this.#write32(REGISTER.GCMD, this.#persistent | oneShot)
  }

  #read64(offset: number): readonly [number, number] {
    return this.#unit.readRegister(offset, 8)
  }

  #write32(offset: number, value: number): void {
    this.#unit.writeRegister(offset, 4, value, 0)
  }

  #write64(offset: number, lo: number, hi = 0): void {
    this.#unit.writeRegister(offset, 8, lo, hi)
  }
}

const high = (address: number): number => Math.floor(address / 4294967296)

/** DW and QS of a queue of 256 slots. */
const iqaBits = (slotBytes: number): number => (slotBytes === 32 ? (1 << IQA.DW.low) | 1 : 0)

const wordOf = ([lo, hi]: readonly [number, number]): bigint => (BigInt(hi) << 32n) | BigInt(lo)

function fieldsOf(
  record: { readonly $: (typeof CAP)['$'] },
  [lo, hi]: readonly [number, number],
): Readonly<Record<string, number>> {
  const words = Int32Array.of(lo, hi)
  return Object.fromEntries([...record.$.fields].map(([name, field]) => [name, field.get(words, 0)]))
}
