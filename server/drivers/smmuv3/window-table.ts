/**
 * The CD table in a window: at first one page of 64 CDs, later two levels of which that page is leaf 0. Its addresses
 * are IPAs. What hardware could reach before it reaches after, at each store of 8 bytes.
 * [SMMU 3.3.2 StreamIDs to Context Descriptors]
 */

import { CD, L1CD, S1FMT } from '../../../hw-model/smmuv3/index.js'
import { assert, Refusal } from '../../core/driver.js'
import { INVALID_CD, syncCd, updateCd } from './cd-update.js'
import { type CdTableShape, leafPointer } from './entries.js'
import { ENTRY_WORDS } from './entry-update.js'
import type { Host } from './host.js'
import type { IpaPages } from './ipa-pages.js'
import type { WindowMemory } from './window-memory.js'

const PAGE_BYTES = 4096

/** log2 of the CDs in a page, and of the descriptors in one. */
const LEAF_LG2 = 6
const ROOT_PAGE_LG2 = 9

const ZERO_PAGE = new Uint8Array(PAGE_BYTES)

/** The stream whose CDs these are. */
export interface TableOwner {
  readonly rid: number
  /** Brings its STE to the table's new shape. */
  writeShape(): void
}

/** CDs by PASID. */
export class WindowTable {
  readonly #host: Host
  readonly #free: IpaPages
  readonly #memory: WindowMemory
  /** Pages of CDs, by PASID >> 6. */
  readonly #leaves = new Map<number, number>()
  /** First of the pages of level 1, and their number: 0 while the table is linear. */
  #root = 0
  #rootPages = 0

  constructor(host: Host, free: IpaPages, memory: WindowMemory) {
    this.#host = host
    this.#free = free
    this.#memory = memory
  }

  /** What an STE says of it. */
  get shape(): CdTableShape {
    const { ssidSize } = this.#host.features
    if (this.#rootPages === 0) {
      const first = this.#leaves.get(0)
      assert(first !== undefined, 'a window has a page before anything is attached to it')
      return { address: first * PAGE_BYTES, format: S1FMT.LINEAR, maxLg2: Math.min(LEAF_LG2, ssidSize) }
    }
    const maxLg2 = Math.min(LEAF_LG2 + ROOT_PAGE_LG2 + Math.log2(this.#rootPages), ssidSize)
    return { address: this.#root * PAGE_BYTES, format: S1FMT.TWO_LEVEL_4K, maxLg2 }
  }

  /** The lowest page becomes leaf 0, once there is one. */
  begin(): void {
    if (this.#leaves.size === 0 && this.#free.has(1)) this.#leaves.set(0, this.#takeLeaf())
  }

  /**
   * Writes a CD; answers whether that was hitless.
   *
   * @throws Refusal ENOSPC when the window has no room for its page, EINVAL when there can be none; nothing has changed
   */
  write(owner: TableOwner, index: number, cd: Int32Array): boolean {
    const slot = index >>> LEAF_LG2
    const leaf = this.#leaves.get(slot)
    if (leaf !== undefined) return this.#update(owner, this.#addressOf(leaf, index), index, cd)
    this.#host.ram.failPoint?.('window page')
    const rootPages = this.#rootPagesFor(slot, index)
    this.#checkRoom(rootPages)
    const root = rootPages > 0 ? this.#takeZeroed(rootPages) : this.#root
    const page = this.#takeLeaf()
    this.#leaves.set(slot, page)
    // Nothing leads to the page yet: the CD is complete before one store makes it reachable.
    this.#host.memory.storeRecord(this.#addressOf(page, index), cd, 0, ENTRY_WORDS)
    if (rootPages > 0) {
      this.#moveTo(owner, root, rootPages)
    } else {
      this.#storePointer(root, slot, page)
      syncCd(this.#host.commands, { sid: owner.rid, index }, false)
    }
    return true
  }

  /** Makes a CD invalid. */
  clear(owner: { readonly rid: number }, index: number): void {
    const leaf = this.#leaves.get(index >>> LEAF_LG2)
    assert(leaf !== undefined, 'leaf 0 is there, and every other that had a CD')
    this.#update(owner, this.#addressOf(leaf, index), index, INVALID_CD)
  }

  /** Level 1 in other pages, with the same leaves and the new one. The store of the STE's first word is the change. */
  #moveTo(owner: TableOwner, root: number, rootPages: number): void {
    for (const [slot, page] of this.#leaves) this.#storePointer(root, slot, page)
    const old = { first: this.#root, pages: this.#rootPages }
    this.#root = root
    this.#rootPages = rootPages
    owner.writeShape()
    // The unit has let go of the old level with CFGI_STE and SYNC.
    if (old.pages > 0) this.#free.give(old)
  }

  /** Pages of the level 1 that has to be made, 0 for none. */
  #rootPagesFor(slot: number, pasid: number): number {
    const { cd2l } = this.#host.features
    if (!cd2l) {
      const why = 'beyond 64 CDs a table in a window has two levels, which IDR0.CD2L denies; use a PASID below 64'
      throw new Refusal('EINVAL', why, { pasid })
    }
    const pages = 2 ** Math.max(0, Math.ceil(Math.log2((slot + 1) / 2 ** ROOT_PAGE_LG2)))
    return pages > this.#rootPages ? pages : 0
  }

  /** A page for the leaf, beside those of a new level 1, which follow each other. */
  #checkRoom(rootPages: number): void {
    const { count } = this.#free
    const hasRoot = rootPages === 0 || this.#free.has(rootPages)
    const missing = hasRoot ? rootPages + 1 - count : rootPages + (count === 0 ? 1 : 0)
    if (missing <= 0) return
    const needed = { bytes_needed: missing * PAGE_BYTES, free_bytes: count * PAGE_BYTES }
    if (hasRoot || rootPages === 1) {
      throw new Refusal('ENOSPC', 'the window has no room for the CD of that PASID; GrowWindow adds a range', needed)
    }
    const alignment = rootPages * PAGE_BYTES
    const why = `the window has no ${alignment} aligned bytes for level 1 of its CD table; GrowWindow adds a range`
    throw new Refusal('ENOSPC', why, { ...needed, alignment })
  }

  #takeLeaf(): number {
    return this.#takeZeroed(1)
  }

  #takeZeroed(pages: number): number {
    const first = this.#free.take(pages)
    for (let i = 0; i < pages; i++) this.#host.memory.writeBytes(this.#memory.address(first + i), ZERO_PAGE)
    return first
  }

  #storePointer(root: number, slot: number, leaf: number): void {
    const page = this.#memory.address(root + (slot >>> ROOT_PAGE_LG2))
    const at = page + (slot % 2 ** ROOT_PAGE_LG2) * L1CD.$.bytes
    const pointer = leafPointer(leaf * PAGE_BYTES)
    this.#host.memory.storeWord(at, pointer[0], pointer[1])
  }

  #addressOf(leaf: number, index: number): number {
    return this.#memory.address(leaf) + (index % 2 ** LEAF_LG2) * CD.$.bytes
  }

  #update({ rid }: { readonly rid: number }, at: number, index: number, target: Int32Array): boolean {
    const { memory, commands } = this.#host
    return updateCd(memory, commands, at, { sid: rid, index }, target)
  }
}
