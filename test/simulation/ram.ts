/** The machine's memory as a guest program uses it: allocation, 64-bit stores, and the references' window on it. */

import { MEMORY, type Memory } from '../../hw-model/memory/index.js'
import type { ReferenceMemory } from './reference/memory.js'

/** Physical memory with a bump allocator on one of its placements. */
export class Ram {
  #next: bigint

  constructor(
    readonly memory: Memory,
    base: bigint,
    readonly end: bigint,
  ) {
    this.#next = base
  }

  /** Zeroed memory of this many bytes, aligned to `alignment` (a power of two). */
  allocate(bytes: bigint, alignment = bytes): bigint {
    const at = (this.#next + alignment - 1n) & ~(alignment - 1n)
    this.#next = at + bytes
    if (this.#next > this.end) throw new Error('the guest has used up its memory')
    return at
  }

  read(pa: bigint): bigint {
    if (this.memory.loadWord(Number(pa)) !== MEMORY.OK) throw new Error(`no memory at ${pa.toString(16)}`)
    return join(this.memory)
  }

  write(pa: bigint, value: bigint): void {
    const lo = Number(BigInt.asIntN(32, value))
    const hi = Number(BigInt.asIntN(32, value >> 32n))
    if (this.memory.storeWord(Number(pa), lo, hi) !== MEMORY.OK) throw new Error(`no memory at ${pa.toString(16)}`)
  }
}

const alignUp = (value: bigint, to: bigint): bigint => (value + to - 1n) & ~(to - 1n)

const join = (memory: Memory): bigint => (BigInt(memory.hi >>> 0) << 32n) | BigInt(memory.lo >>> 0)

/** What a reference sees; its own stores stay aside, to be compared with the model's. */
export class Overlay implements ReferenceMemory {
  readonly stores = new Map<bigint, bigint>()

  constructor(readonly memory: Memory) {}

  read64(pa: bigint): bigint | undefined {
    const stored = this.stores.get(pa)
    if (stored !== undefined) return stored
    if (pa >> 52n !== 0n || this.memory.loadWord(Number(pa)) !== MEMORY.OK) return undefined
    return join(this.memory)
  }

  write64(pa: bigint, value: bigint): boolean {
    const placement = this.memory.find(Number(pa))
    if (placement === undefined || !placement.backing.writable) return false
    this.stores.set(pa, value)
    return true
  }
}

/** A place for tables whose addresses mean what they say, or something behind another stage. */
export interface Space {
  /** Zeroed memory for a table, as the space names it. */
  allocate(bytes: bigint, alignment?: bigint): bigint
  read(address: bigint): bigint
  write(address: bigint, value: bigint): void
}

/** A guest-physical space: each 4 KiB page stands where the owner put it. */
export class GuestSpace implements Space {
  readonly #pages = new Map<bigint, bigint>()
  #next: bigint

  /** @param map makes the page real in the stage below; pages are 4 KiB */
  constructor(
    readonly ram: Ram,
    start: bigint,
    readonly pageBytes: bigint,
    readonly map: (address: bigint, pa: bigint) => void,
  ) {
    this.#next = start
  }

  allocate(bytes: bigint, alignment = bytes): bigint {
    const unit = alignUp(bytes, this.pageBytes)
    const align = alignUp(alignment, this.pageBytes)
    const at = (this.#next + align - 1n) & ~(align - 1n)
    this.#next = at + unit
    for (let page = at; page < at + unit; page += this.pageBytes) {
      const pa = this.ram.allocate(this.pageBytes)
      for (let i = 0n; i < this.pageBytes; i += 4096n) this.#pages.set(page + i, pa + i)
      this.map(page, pa)
    }
    return at
  }

  read(address: bigint): bigint {
    return this.ram.read(this.physical(address))
  }

  write(address: bigint, value: bigint): void {
    this.ram.write(this.physical(address), value)
  }

  /** Where an address of an allocated page really is. */
  physical(address: bigint): bigint {
    const page = this.#pages.get(address & ~0xfffn)
    if (page === undefined) throw new Error(`nothing at guest address ${address.toString(16)}`)
    return page | (address & 0xfffn)
  }
}
