/** The machine's memory as the generator and our unit see it, and where the generator puts what into it. */

import { FlatBacking, Memory } from '../../../hw-model/memory/index.js'

/** Below it stand the machine's devices, which no walk and no DMA of ours may touch. */
export const RAM_BASE = 0x40000000
export const RAM_BYTES = 64 << 20
const RAM_END = RAM_BASE + RAM_BYTES

/** What stands where. Regions that hold tables are never the target of a write. */
export const PLACE = {
  COMMANDS: RAM_BASE + 0x10000,
  EVENTS: RAM_BASE + 0x14000,
  /** Aligned for 2^12 STEs. */
  STREAMS: RAM_BASE + 0x40000,
  STREAM_LEAVES: RAM_BASE + 0x80000,
  CONTEXTS: RAM_BASE + 0xc0000,
  STAGE_1: RAM_BASE + 0x400000,
  STAGE_2: RAM_BASE + 0xc00000,
  DATA: RAM_BASE + 0x1800000,
  END: RAM_END,
} as const

const PAGE_LG2 = 12
const PAGE_BYTES = 1 << PAGE_LG2

/** Pages of a memory, to be put into another. */
export interface Image {
  readonly pages: readonly number[]
  readonly bytes: Uint8Array
}

/** 64 MiB, with the pages known that were ever written. */
export class Ram {
  readonly memory = new Memory()
  readonly #bytes = new Uint8Array(RAM_BYTES)
  readonly #words = new BigUint64Array(this.#bytes.buffer)
  readonly #halves = new Int32Array(this.#bytes.buffer)
  readonly #isTouched = new Uint8Array(RAM_BYTES >> PAGE_LG2)
  readonly #touched: number[] = []

  constructor() {
    this.memory.place(RAM_BASE, new FlatBacking(this.#bytes.buffer, true))
  }

  /** Whether memory is there; addresses are exact. */
  has(address: number): boolean {
    return address >= RAM_BASE && address < RAM_END
  }

  get(address: number): bigint {
    return this.#words[(address - RAM_BASE) / 8]
  }

  set(address: number, value: bigint): void {
    this.touch(address)
    this.#words[(address - RAM_BASE) / 8] = value
  }

  /** Stores words one after the other. */
  setAll(address: number, values: readonly bigint[]): void {
    for (const [i, value] of values.entries()) this.set(address + 8 * i, value)
  }

  /** Stores four bytes, as a DMA does. */
  set32(address: number, value: number): void {
    this.touch(address)
    this.#halves[(address - RAM_BASE) / 4] = value
  }

  /** The words of a record. */
  words(address: number, count: number): Int32Array {
    const at = (address - RAM_BASE) / 4
    return this.#halves.slice(at, at + count)
  }

  /** Notes that a page is or will be written. */
  touch(address: number): void {
    const page = (address - RAM_BASE) >> PAGE_LG2
    if (this.#isTouched[page] === 1) return
    this.#isTouched[page] = 1
    this.#touched.push(page)
  }

  /** A copy of every page that was written. */
  image(): Image {
    const pages = [...this.#touched]
    const bytes = new Uint8Array(pages.length * PAGE_BYTES)
    pages.forEach((page, i) => {
      bytes.set(this.#bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES), i * PAGE_BYTES)
    })
    return { pages, bytes }
  }

  /** Which pages were written so far. */
  get touched(): readonly number[] {
    return [...this.#touched]
  }

  /** All zeroes again. */
  clear(): void {
    clearPages(this.#bytes, this.#touched)
    for (const page of this.#touched) this.#isTouched[page] = 0
    this.#touched.length = 0
  }
}

/** Zeroes pages of a memory. */
export function clearPages(memory: Uint8Array, pages: readonly number[]): void {
  for (const page of pages) memory.fill(0, page * PAGE_BYTES, (page + 1) * PAGE_BYTES)
}

/** Puts an image into a memory. */
export function putImage(memory: Uint8Array, { pages, bytes }: Image): void {
  pages.forEach((page, i) => {
    memory.set(bytes.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES), page * PAGE_BYTES)
  })
}
