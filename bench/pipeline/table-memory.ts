/**
 * Tables of four levels, 512 entries each, in a mapped file, as a region of kind `file` has them. The formats that the
 * rows need have one geometry and differ in a few bits of an entry.
 */

import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FlatBacking, Memory } from '../../hw-model/memory/index.js'
import { bufferAt, mapShared } from '../../server/ops/native.js'

const PAGE_BYTES = 4096
const TWO32 = 2 ** 32

/** Low bits of entries. */
export interface EntryBits {
  readonly table: number
  readonly leaf: number
}

/** Flags set already, so that nothing is stored during a walk; readable and writable; for one address space. */
export const SMMU_STAGE_1: EntryBits = { table: 0b11, leaf: 0xf43 }
export const SMMU_STAGE_2: EntryBits = { table: 0b11, leaf: 0x7ff }
export const VTD_FIRST: EntryBits = { table: 0x27, leaf: 0x67 }
export const VTD_SECOND: EntryBits = { table: 3, leaf: 3 }

/** Physical memory that ends where nothing was taken any more. */
export class TableMemory {
  readonly memory = new Memory()
  readonly words: Int32Array
  #next = PAGE_BYTES

  constructor(bytes: number) {
    const buffer = mappedFile(Math.ceil(bytes / 65536) * 65536)
    this.words = new Int32Array(buffer)
    this.memory.place(0, new FlatBacking(buffer, true))
  }

  /** Zeroed memory, aligned to its size or to a page. */
  take(bytes = PAGE_BYTES): number {
    const size = Math.max(PAGE_BYTES, 2 ** Math.ceil(Math.log2(bytes)))
    const at = Math.ceil(this.#next / size) * size
    this.#next = at + size
    if (this.#next > this.words.length * 4) throw new RangeError('the memory for tables is too small')
    return at
  }

  /** Stores one entry. */
  store(at: number, address: number, bits: number): void {
    this.words[at / 4] = ((address % TWO32) | bits) >>> 0
    this.words[at / 4 + 1] = Math.floor(address / TWO32)
  }

  /** Maps pages from `iova` on, `frames(i)` being the address behind the i-th. Answers the root. */
  map(root: number, iova: number, pages: number, bits: EntryBits, frame: (page: number) => number): void {
    for (let page = 0; page < pages; page++) {
      const at = iova + page * PAGE_BYTES
      let table = root
      for (let level = 3; level > 0; level--) {
        const slot = table + (Math.floor(at / 2 ** (12 + 9 * level)) % 512) * 8
        if (this.words[slot / 4] === 0) this.store(slot, this.take(), bits.table)
        table = (this.words[slot / 4 + 1] & 0xfffff) * TWO32 + ((this.words[slot / 4] & ~0xfff) >>> 0)
      }
      this.store(table + (Math.floor(at / PAGE_BYTES) % 512) * 8, frame(page), bits.leaf)
    }
  }
}

/** A new file, mapped as the server maps those of its clients, and without a name. */
function mappedFile(bytes: number): ArrayBuffer {
  const folder = mkdtempSync(join(tmpdir(), 'tables-'))
  const file = openSync(join(folder, 'ram'), 'w+')
  ftruncateSync(file, bytes)
  const buffer = bufferAt(mapShared(file, 0, bytes, true), bytes)
  closeSync(file)
  rmSync(folder, { recursive: true })
  return buffer
}
