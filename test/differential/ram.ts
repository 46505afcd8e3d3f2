/** A machine's memory as a generator and our unit see it. */

import { FlatBacking, Memory } from '../../hw-model/memory/index.js'

const PAGE_LG2 = 12
const PAGE_BYTES = 1 << PAGE_LG2

/** Pages of a memory, to be put into another. */
export interface Image {
  readonly pages: readonly number[]
  readonly bytes: Uint8Array
}

/** One range of memory, with the pages known that were ever written. */
export class Ram {
  readonly memory = new Memory()
  readonly #base: number
  readonly #end: number
  readonly #bytes: Uint8Array
  readonly #words: BigUint64Array
  readonly #halves: Int32Array
  readonly #isTouched: Uint8Array
  readonly #touched: number[] = []

  constructor(base: number, bytes: number) {
    this.#base = base
    this.#end = base + bytes
    const buffer = new ArrayBuffer(bytes)
    this.#bytes = new Uint8Array(buffer)
    this.#words = new BigUint64Array(buffer)
    this.#halves = new Int32Array(buffer)
    this.#isTouched = new Uint8Array(bytes >> PAGE_LG2)
    this.memory.place(base, new FlatBacking(buffer, true))
  }

  /** Whether memory is there; addresses are exact. */
  has(address: number): boolean {
    return address >= this.#base && address < this.#end
  }

  get(address: number): bigint {
    return this.#words[(address - this.#base) / 8]
  }

  set(address: number, value: bigint): void {
    this.touch(address)
    this.#words[(address - this.#base) / 8] = value
  }

  /** Stores words one after the other. */
  setAll(address: number, values: readonly bigint[]): void {
    for (const [i, value] of values.entries()) this.set(address + 8 * i, value)
  }

  /** Stores four bytes, as a DMA does. */
  set32(address: number, value: number): void {
    this.touch(address)
    this.#halves[(address - this.#base) / 4] = value
  }

  /** The words of a record. */
  words(address: number, count: number): Int32Array {
    const at = (address - this.#base) / 4
    return this.#halves.slice(at, at + count)
  }

  /** Notes that a page is or will be written. */
  touch(address: number): void {
    const page = (address - this.#base) >> PAGE_LG2
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
