/**
 * What a host driver does to its unit, in order: each 64-bit store into an entry, each descriptor that it queues. Entries
 * are found by following the tables from RTADDR with the manual's numbers, not with the driver's.
 */

import { REGISTER } from '../../hw-model/vtd/index.js'
import type { makeHost } from './host.js'

type Host = ReturnType<typeof makeHost>

interface Stored {
  readonly address: number
  readonly value: bigint
}

/** A recorder of one host. */
export class Tape {
  readonly #host: Host
  #stores: Stored[] = []
  readonly #queue: number
  readonly #slotBytes: number
  /** Called after each store into an entry, before the driver goes on. */
  onEntry: (() => void) | null = null

  constructor(host: Host) {
    this.#host = host
    const [lo, hi] = host.driver.unit.readRegister(REGISTER.IQA, 8)
    this.#queue = address(BigInt(lo >>> 0) | (BigInt(hi >>> 0) << 32n))
    // DW, bit 11: descriptors of 256 bits. [VTD 11.4.9.3]
    this.#slotBytes = (lo & 0x800) !== 0 ? 32 : 16
    const { memory } = host
    const store = memory.storeWord.bind(memory)
    memory.storeWord = (at, lower, upper) => {
      const status = store(at, lower, upper)
      this.#stores.push({ address: at, value: (BigInt(upper >>> 0) << 32n) | BigInt(lower >>> 0) })
      if (this.onEntry !== null && !this.#isQueue(at)) this.onEntry()
      return status
    }
  }

  /** Forgets what was recorded. */
  clear(): void {
    this.#stores = []
  }

  /**
   * What was recorded since the last `clear`: `q0 <- 0x49` for a 64-bit word of the entry, `0x500020017 0x0` for a
   * descriptor, `wait` for one that waits. Stores elsewhere are left out.
   *
   * @param entry physical address of the entry to be watched
   * @param bytes of the entry
   */
  lines(entry: number, bytes = 64): string[] {
    const out: string[] = []
    for (let i = 0; i < this.#stores.length; i++) {
      const { address: at, value } = this.#stores[i]
      if (at >= entry && at < entry + bytes) out.push(`q${(at - entry) / 8} <- ${hex(value)}`)
      if (!this.#isQueue(at)) continue
      const second = this.#stores[++i]
      if (second.address !== at + 8) throw new Error('the halves of a descriptor are stored together')
      out.push(this.#descriptor(at, value, second.value))
    }
    return out
  }

  /** The descriptors alone, without waits. */
  descriptors(): string[] {
    return this.lines(0, 0).filter((line) => line !== 'wait')
  }

  /** Address of a scalable-mode PASID table entry, or 0 while there is no table. [VTD 9.2, 9.4, 9.5, 9.6] */
  pasidEntry(rid: number, pasid: number): number {
    const directory = address(this.#load(this.scalableContext(rid)))
    const table = this.#load(directory + (pasid >>> 6) * 8)
    return (table & 1n) === 0n ? 0 : address(table) + (pasid & 63) * 64
  }

  /** Address of a scalable-mode context entry. */
  scalableContext(rid: number): number {
    const half = (rid & 0x80) !== 0 ? 8 : 0
    return address(this.#load(this.#root() + (rid >>> 8) * 16 + half)) + (rid & 0x7f) * 32
  }

  /** Address of a legacy context entry. [VTD 9.1, 9.3] */
  legacyContext(rid: number): number {
    return address(this.#load(this.#root() + (rid >>> 8) * 16)) + (rid & 0xff) * 16
  }

  /** The 64-bit words that stand at an address. */
  words(at: number, count: number): string[] {
    return Array.from({ length: count }, (_, i) => hex(this.#load(at + i * 8)))
  }

  #root(): number {
    const [lo, hi] = this.#host.driver.unit.readRegister(REGISTER.RTADDR, 8)
    return address((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0))
  }

  #load(at: number): bigint {
    const { memory } = this.#host
    memory.loadWord(at)
    return (BigInt(memory.hi >>> 0) << 32n) | BigInt(memory.lo >>> 0)
  }

  #isQueue(at: number): boolean {
    return at >= this.#queue && at < this.#queue + 256 * this.#slotBytes
  }

  /** A wait writes 2 into the status word of its own slot. [VTD 6.5.2.9] */
  #descriptor(at: number, low: bigint, high: bigint): string {
    if (low !== 0x2_0000_0025n) return `${hex(low)} ${hex(high)}`
    const slot = (at - this.#queue) / this.#slotBytes
    if (Number(high) % 4096 !== slot * 4) throw new Error('each slot has a status word of its own')
    return 'wait'
  }
}

const hex = (value: bigint): string => `0x${value.toString(16)}`

/** Bits 63:12, as a number. */
const address = (word: bigint): number => Number(word & ~0xfffn)
