/**
 * Tables of the self-test unit: two levels, kept as objects and not in memory, as nothing but this driver walks them. A
 * chunk of 1 MiB is one leaf, or a table of pages of 2 KiB.
 */

import { assert, type DirtyOps } from '../../core/driver.js'
import { TABLE_SPAN, UNIT_BYTES, UNITS_A_TABLE } from './formats.js'

/** Bits of an entry; the bits above are the number of the physical page of 2 KiB. They are DMA_ACCESS's. */
const RIGHTS = 3

/** Chunks that one step of reading the log looks at. */
const CHUNKS_A_STEP = 64

/** A table's worth of IOVAs. */
interface Chunk {
  /** The entry of the leaf; 0 where there is a table. */
  leaf: number
  /** One for each page; null where there is a leaf. */
  readonly entries: Float64Array | null
  /** Pages that are mapped. */
  count: number
  /** Pages that were written to; null until the first is. */
  dirty: Uint8Array | null
  dirtyCount: number
}

/** Mappings of one domain. */
export class SelftestTable {
  readonly #chunks = new Map<number, Chunk>()
  readonly #isDirtyByLeaf: boolean
  #tables = 0

  constructor(isDirtyByLeaf: boolean) {
    this.#isDirtyByLeaf = isDirtyByLeaf
  }

  /** Bytes that such tables would have: 8 an entry. */
  get tableBytes(): number {
    return this.#tables * UNITS_A_TABLE * 8
  }

  /** @param inPages no leaf of 1 MiB is made */
  map(iova: number, address: number, length: number, rights: number, inPages = false): void {
    for (let at = 0; at < length; ) {
      const entry = entryOf(address + at, rights)
      const index = Math.floor((iova + at) / TABLE_SPAN)
      const into = (iova + at) % TABLE_SPAN
      const bytes = Math.min(length - at, TABLE_SPAN - into)
      const fits = bytes === TABLE_SPAN && (address + at) % TABLE_SPAN === 0 && !this.#chunks.has(index)
      if (fits && !inPages) this.#chunks.set(index, newChunk(entry))
      else this.#fill(index, into / UNIT_BYTES, bytes / UNIT_BYTES, entry)
      at += bytes
    }
  }

  unmap(iova: number, length: number): void {
    for (let at = 0; at < length; ) {
      const index = Math.floor((iova + at) / TABLE_SPAN)
      const into = (iova + at) % TABLE_SPAN
      const bytes = Math.min(length - at, TABLE_SPAN - into)
      const chunk = this.#chunks.get(index)
      assert(chunk !== undefined, 'what is unmapped was mapped')
      if (chunk.entries === null) {
        assert(bytes === TABLE_SPAN, 'a leaf is unmapped as a whole')
        this.#chunks.delete(index)
      } else this.#empty(index, chunk, chunk.entries, into / UNIT_BYTES, bytes / UNIT_BYTES)
      at += bytes
    }
  }

  /** The physical address behind an IOVA, or -1. */
  addressOf(iova: number): number {
    const entry = this.#entryAt(iova)
    if (entry === 0) return -1
    const chunk = this.#chunks.get(Math.floor(iova / TABLE_SPAN))
    const bytes = chunk?.entries === null ? TABLE_SPAN : UNIT_BYTES
    return Math.floor(entry / (RIGHTS + 1)) * UNIT_BYTES + (iova % bytes)
  }

  /** What a device may do there: bits of DMA_ACCESS, 0 where nothing is mapped. */
  rightsAt(iova: number): number {
    return this.#entryAt(iova) % (RIGHTS + 1)
  }

  /** Whether a page is part of a leaf of 1 MiB. */
  isInLeaf(iova: number): boolean {
    return this.#chunks.get(Math.floor(iova / TABLE_SPAN))?.entries === null
  }

  /** Notes a write. Nothing where nothing is mapped. */
  markDirty(iova: number): void {
    const chunk = this.#chunks.get(Math.floor(iova / TABLE_SPAN))
    if (chunk === undefined || this.#entryAt(iova) === 0) return
    const unit = this.#isDirtyByLeaf && chunk.entries === null ? 0 : Math.floor((iova % TABLE_SPAN) / UNIT_BYTES)
    chunk.dirty ??= new Uint8Array(UNITS_A_TABLE)
    if (chunk.dirty[unit] === 0) chunk.dirtyCount++
    chunk.dirty[unit] = 1
  }

  /** Tells what was written to; see DirtyOps. */
  collect(...[start, last, clears, found]: Parameters<DirtyOps['collect']>): bigint | undefined {
    const end = Number(last) + 1
    let at = Number(start)
    for (let step = 0; step < CHUNKS_A_STEP; step++) {
      const index = Math.floor(at / TABLE_SPAN)
      const chunk = this.#chunks.get(index)
      if (chunk === undefined) return undefined
      const stop = Math.min(end, (index + 1) * TABLE_SPAN)
      if (!this.#collectChunk(chunk, at, stop, clears, found) || stop === end) return undefined
      at = stop
    }
    return BigInt(at)
  }

  /** @returns false where the range has a hole, which ends it */
  #collectChunk(
    chunk: Chunk,
    from: number,
    stop: number,
    clears: boolean,
    found?: (iova: number, length: number) => void,
  ): boolean {
    const { dirty, entries } = chunk
    const isWhole = entries === null || chunk.count === UNITS_A_TABLE
    if (chunk.dirtyCount === 0 && isWhole) return true
    if (entries === null && this.#isDirtyByLeaf) {
      found?.(from, stop - from)
      if (clears) clean(chunk, 0)
      return true
    }
    for (let at = from; at < stop; ) {
      const unit = Math.floor((at % TABLE_SPAN) / UNIT_BYTES)
      const next = Math.min(stop, (Math.floor(at / UNIT_BYTES) + 1) * UNIT_BYTES)
      if (entries?.[unit] === 0) return false
      if (dirty?.[unit] === 1) {
        found?.(at, next - at)
        if (clears) clean(chunk, unit)
      }
      at = next
    }
    return true
  }

  #entryAt(iova: number): number {
    const chunk = this.#chunks.get(Math.floor(iova / TABLE_SPAN))
    if (chunk === undefined) return 0
    return chunk.entries === null ? chunk.leaf : chunk.entries[Math.floor((iova % TABLE_SPAN) / UNIT_BYTES)]
  }

  #fill(index: number, first: number, units: number, entry: number): void {
    let chunk = this.#chunks.get(index)
    if (chunk === undefined) {
      chunk = newChunk(0)
      this.#chunks.set(index, chunk)
      this.#tables++
    }
    const { entries } = chunk
    assert(entries !== null, 'what is mapped was not mapped')
    for (let unit = 0; unit < units; unit++) entries[first + unit] = entry + unit * (RIGHTS + 1)
    chunk.count += units
  }

  #empty(index: number, chunk: Chunk, entries: Float64Array, first: number, units: number): void {
    entries.fill(0, first, first + units)
    for (let unit = first; chunk.dirtyCount > 0 && unit < first + units; unit++) clean(chunk, unit)
    chunk.count -= units
    if (chunk.count > 0) return
    this.#chunks.delete(index)
    this.#tables--
  }
}

const entryOf = (address: number, rights: number): number => (address / UNIT_BYTES) * (RIGHTS + 1) + rights

const newChunk = (leaf: number): Chunk => ({
  leaf,
  entries: leaf === 0 ? new Float64Array(UNITS_A_TABLE) : null,
  count: 0,
  dirty: null,
  dirtyCount: 0,
})

function clean(chunk: Chunk, unit: number): void {
  if (chunk.dirty === null || chunk.dirty[unit] === 0) return
  chunk.dirty[unit] = 0
  chunk.dirtyCount--
}
