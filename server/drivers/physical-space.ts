/**
 * The platform's physical address space: host RAM for the drivers' own tables, then clients' memory regions, placed
 * so that stage 2 can map them with 2 MiB and 1 GiB blocks.
 */

import { type Backing, CHUNK_BYTES, Memory } from '../../hw-model/memory/index.js'
import { Refusal } from '../core/driver.js'
import { HostRam } from './host-ram.js'

/** Host RAM starts above the 4 GiB that hold the units' own special ranges, such as 0xFEE0_0000. */
const HOST_RAM_BASE = 2 ** 33

/** Host RAM is sparse; this bounds the tables of all clients together. */
const HOST_RAM_BYTES = 2 ** 36

/** First address of clients' regions. */
const REGION_BASE = 2 ** 40

/** The same where a unit does not reach all of the other regions: behind host RAM. */
const LOW_REGION_BASE = 2 ** 37

/** Regions end below it: the narrowest output size of the default units is 44 bits. [SMMU 6.3.6 IDR5.OAS] */
const REGION_BITS = 44

const MIB2 = 2 ** 21
const GIB = 2 ** 30

/** Physical memory with its host RAM and its placed regions. */
export class PhysicalSpace {
  readonly memory = new Memory()
  readonly hostRam: HostRam
  /** Bits of an address that every unit has. */
  #bits = REGION_BITS
  /** Placed regions by ascending address: where each starts and ends. */
  readonly #placed: { readonly start: number; readonly end: number }[] = []

  /** @param failPoint as of `MachineOptions` */
  constructor(failPoint?: (what: string) => void) {
    this.hostRam = new HostRam(this.memory, HOST_RAM_BASE, HOST_RAM_BYTES, failPoint)
  }

  /** There is a unit that reaches no further. It comes before the first region. */
  limitTo(addressBits: number): void {
    this.#bits = Math.min(this.#bits, addressBits)
  }

  /**
   * Places a client's region and answers its physical address.
   *
   * @throws Refusal ENOMEM when no gap is large enough
   */
  place(backing: Backing): number {
    const align = backing.lengthBytes >= GIB ? GIB : backing.lengthBytes >= MIB2 ? MIB2 : CHUNK_BYTES
    let start = this.#bits < REGION_BITS ? LOW_REGION_BASE : REGION_BASE
    let index = 0
    for (; index < this.#placed.length; index++) {
      const next = this.#placed[index]
      if (start + backing.lengthBytes <= next.start) break
      start = Math.ceil(next.end / align) * align
    }
    const end = start + backing.lengthBytes
    if (end > 2 ** this.#bits) {
      throw new Refusal('ENOMEM', 'no physical addresses are left for a region of this length', {
        lengthBytes: backing.lengthBytes,
      })
    }
    this.memory.place(start, backing)
    this.#placed.splice(index, 0, { start, end })
    return start
  }

  /** Takes a region away. */
  remove(start: number): void {
    const index = this.#placed.findIndex((placed) => placed.start === start)
    this.#placed.splice(index, 1)
    this.memory.remove(start)
  }
}
