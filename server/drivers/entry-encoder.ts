/** How a format of page tables spells its entries: what `TableBuilder` must be told of it. */

import type { Protection } from '../core/driver.js'

/** One entry as two 32-bit halves. */
export interface EntryWords {
  lo: number
  hi: number
}

/** How a format spells its entries. Level 0 holds 4 KiB leaves, level 1 2 MiB, level 2 1 GiB. */
export interface EntryEncoder {
  /** Fills `out` with a pointer to the table at `address`. */
  table(address: number, out: EntryWords): void
  /** Fills `out` with a leaf. The address stands in it as it is, and changes nothing else of it. */
  leaf(address: number, level: number, protection: Protection, out: EntryWords): void
  /** Highest level that may hold a leaf. */
  readonly topLeafLevel: number
  /** How a leaf says that it was written through; absent where hardware keeps no log of that in them. */
  readonly dirty?: DirtyMark
}

/** Where leaves keep that they were written through. */
export interface DirtyMark {
  has(leaf: Readonly<EntryWords>): boolean
  /** Makes a dirty leaf clean: writable, and marked again by the next write. */
  remove(leaf: EntryWords): void
}

/** All of a leaf but its address. */
export interface LeafFlags extends EntryWords {
  /** It is dirty from the start. */
  readonly isDirty: boolean
}

const RIGHTS = 4

/** Leaves of an encoder, each kind asked for once: what is left to do for a page is to put its address in. */
export class LeafKinds {
  readonly #encoder: EntryEncoder
  readonly #kinds: (LeafFlags | undefined)[]

  constructor(encoder: EntryEncoder) {
    this.#encoder = encoder
    this.#kinds = new Array<LeafFlags | undefined>((encoder.topLeafLevel + 1) * RIGHTS).fill(undefined)
  }

  /** Leaves of a level with some rights. */
  of(level: number, protection: Protection): LeafFlags {
    const kind = level * RIGHTS + (protection.read ? 1 : 0) + (protection.write ? 2 : 0)
    return this.#kinds[kind] ?? this.#make(kind, level, protection)
  }

  #make(kind: number, level: number, protection: Protection): LeafFlags {
    const words = { lo: 0, hi: 0 }
    this.#encoder.leaf(0, level, protection, words)
    const flags = { lo: words.lo, hi: words.hi, isDirty: this.#encoder.dirty?.has(words) === true }
    this.#kinds[kind] = flags
    return flags
  }
}
