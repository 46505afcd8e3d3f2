/**
 * The queue of page requests, set up and read as Linux does. What cannot be handled is answered at once, and a stop
 * marker is dropped. [VTD 7.4 Recoverable Faults, 7.5, 11.4.11]
 */

import type { Memory } from '../../../hw-model/memory/index.js'
import { MEMORY } from '../../../hw-model/memory/index.js'
import { ACCESS, NO_PASID, type RemappingUnit } from '../../../hw-model/port.js'
import { PAGE_REQUEST, PRS, REGISTER } from '../../../hw-model/vtd/index.js'
import { assert } from '../../core/driver.js'
import type { HostRam } from '../host-ram.js'

/** One request, as the unit wrote it. */
export interface VtdPageRequest {
  /** Source-id. */
  readonly rid: number
  /** PASID, or -1. */
  readonly pasid: number
  readonly group: number
  readonly isLast: boolean
  /** Bits of DMA_ACCESS. */
  readonly access: number
  readonly address: bigint
}

/** 64 KiB: 2048 slots of 32 bytes. */
const PAGES_LG2 = 4
const BYTES = 4096 << PAGES_LG2
const SLOT_BYTES = PAGE_REQUEST.$.bytes

/** Bits of an offset into it, as PQH and PQT have them. */
const OFFSETS = BYTES - SLOT_BYTES

/** Where its messages go: a message address that no memory stands at. */
const PAGE_MESSAGE_ADDRESS = 0xfee00000

const PPR = 1 << PRS.PPR.low
const PRO = 1 << PRS.PRO.low

/** The ring of one unit. */
export class PageRequestRing {
  readonly #unit: RemappingUnit
  readonly #memory: Memory
  readonly #base: number
  readonly #words = new Int32Array(PAGE_REQUEST.$.words)

  constructor(unit: RemappingUnit, memory: Memory, ram: HostRam) {
    this.#unit = unit
    this.#memory = memory
    this.#base = ram.alloc(BYTES)
  }

  /** The interrupt, then an empty queue. */
  start(): void {
    this.#write32(REGISTER.PEDATA, 0)
    this.#write32(REGISTER.PEADDR, PAGE_MESSAGE_ADDRESS)
    this.#write32(REGISTER.PEUADDR, 0)
    this.#write32(REGISTER.PECTL, 0)
    this.#write64(REGISTER.PQH, 0)
    this.#write64(REGISTER.PQT, 0)
    this.#write64(REGISTER.PQA, this.#base | PAGES_LG2, Math.floor(this.#base / 2 ** 32))
  }

  /**
   * Reads what is there. PPR is cleared before the tail is read, so that a request that comes now makes another event;
   * an overflow is over when the queue is empty.
   */
  drain(onRequest: (request: VtdPageRequest) => void): void {
    this.#write32(REGISTER.PRS, PPR)
    const tail = this.#offset(REGISTER.PQT)
    for (let head = this.#offset(REGISTER.PQH); head !== tail; head = (head + SLOT_BYTES) & OFFSETS) {
      onRequest(this.#read(head))
    }
    this.#write64(REGISTER.PQH, tail)
    const [status] = this.#unit.readRegister(REGISTER.PRS, 4)
    const isEmpty = this.#offset(REGISTER.PQH) === this.#offset(REGISTER.PQT)
    if ((status & PRO) !== 0 && isEmpty) this.#write32(REGISTER.PRS, PRO)
  }

  #read(head: number): VtdPageRequest {
    const words = this.#words
    const status = this.#memory.loadRecord(this.#base + head, words, 0, words.length)
    assert(status === MEMORY.OK, 'the queue of page requests stands in host RAM')
    const { RID, PP, PASID, PRGI, LPIG, RDR, WRR, EXR, PMR, ADDR } = PAGE_REQUEST
    const has = (field: typeof RDR, access: number): number => (field.get(words, 0) === 0 ? 0 : access)
    return {
      rid: RID.get(words, 0),
      pasid: PP.get(words, 0) === 0 ? NO_PASID : PASID.get(words, 0),
      group: PRGI.get(words, 0),
      isLast: LPIG.get(words, 0) !== 0,
      access: has(RDR, ACCESS.READ) | has(WRR, ACCESS.WRITE) | has(EXR, ACCESS.EXECUTE) | has(PMR, ACCESS.PRIVILEGED),
      address: (BigInt(ADDR.hi(words, 0) >>> 0) << 32n) | BigInt(ADDR.lo(words, 0) >>> 0),
    }
  }

  #offset(register: number): number {
    return this.#unit.readRegister(register, 8)[0] & OFFSETS
  }

  #write32(offset: number, value: number): void {
    this.#unit.writeRegister(offset, 4, value, 0)
  }

  #write64(offset: number, lo: number, hi = 0): void {
    this.#unit.writeRegister(offset, 8, lo, hi)
  }
}

/** What a request asks for that no request may, in the order in which Linux looks. */
export function isBadRequest({ address, access }: VtdPageRequest, addressBits: number): boolean {
  if (BigInt.asUintN(64, BigInt.asIntN(addressBits, address)) !== address) return true
  const reads = (access & ACCESS.READ) !== 0
  const writes = (access & ACCESS.WRITE) !== 0
  if ((access & ACCESS.PRIVILEGED) !== 0 && (reads || writes)) return true
  return (access & ACCESS.EXECUTE) !== 0 && reads
}

/** A stop marker: the device has sent its last request of the PASID. Nobody answers it. */
export const isStopMarker = ({ access, isLast }: VtdPageRequest): boolean =>
  isLast && (access & (ACCESS.READ | ACCESS.WRITE)) === 0
