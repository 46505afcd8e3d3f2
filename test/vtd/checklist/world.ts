/**
 * A guest whose tables translate one function in one of the manual's ways, without any fault; tests then spoil a word.
 * Requests without PASID have RID_PASID 0x43; PASID 0x45 has an entry in the same page.
 */

import { Guest, type GuestOptions, SID } from './guest.js'

/** Ways of translating: [VTD 3.4.2, 3.4.3]; the first two are legacy mode. */
export type Kind = 'legacy' | 'legacy pass-through' | 'first' | 'second' | 'nested' | 'pass-through'

/** What every world maps, and where to: a page whose frame is RAM. */
export const VA = 0x1234_5678_9abcn
export const PA = 0x8765_4abcn
const FRAME = 0x8765_4000n

export const RID_PASID = 0x43
export const PASID = 0x45

/** Guest-physical addresses of a nested world: first-stage tables, and the page that VA leads to. */
export const GPA_OF_TABLES = 0x10_0000_0000n
export const GPA = 0x20_3456_7000n

/** Where the root table is. */
export const ROOT = 0x1000n

/** P, R/W, U/S, A of a first-stage table; D beside them in a page. R and W of the second stage. */
const FS_TABLE = 0x27n
const FS_PAGE = 0x67n
const SS_BOTH = 3n

/** Page tables of one stage; a level is counted from the page, 0, up. */
export class Tables {
  readonly root: bigint
  readonly #guest: Guest
  readonly #levels: number
  readonly #flags: bigint
  readonly #named: (hpa: bigint) => bigint

  /** @param named what an entry calls a table at a physical address */
  constructor(guest: Guest, levels: number, flags: bigint, named: (hpa: bigint) => bigint = (hpa) => hpa) {
    this.#guest = guest
    this.#levels = levels
    this.#flags = flags
    this.#named = named
    this.root = this.#table()
  }

  /** Puts an entry for an address at a level; tables above it are made. */
  map(va: bigint, entry: bigint, level = 0): void {
    this.#guest.store(this.at(va, level), entry)
  }

  /** Physical address of the entry that an address leads to at a level. */
  at(va: bigint, level = 0): bigint {
    let table = this.root
    for (let above = this.#levels - 1; ; above--) {
      const at = table + ((va >> BigInt(12 + 9 * above)) & 511n) * 8n
      if (above === level) return at
      const known = this.#made.get(at)
      table = known ?? this.#table()
      if (known === undefined) this.#guest.store(at, this.#named(table) | this.#flags)
      this.#made.set(at, table)
    }
  }

  readonly #made = new Map<bigint, bigint>()

  #table(): bigint {
    const table = this.#guest.alloc()
    this.#named(table)
    return table
  }
}

export interface WorldOptions extends GuestOptions {
  /** Levels of both stages, 4 unless said otherwise. */
  readonly levels?: number
  /** More bits of the context entry's first word, such as 4 for DTE. */
  readonly context?: bigint
  /** More bits of the PASID table entries' three words. */
  readonly entry?: readonly bigint[]
  readonly did?: bigint
  /** Whether the tables of VA are wanted; else they are empty. */
  readonly mapped?: boolean
}

export class World extends Guest {
  readonly kind: Kind
  readonly levels: number
  readonly rootEntry: bigint
  readonly contextTable = this.alloc()
  readonly context: bigint
  readonly directory = this.alloc()
  readonly pasidTable = this.alloc()
  readonly first: Tables
  readonly second: Tables
  /** What FSPTPTR says. */
  readonly firstPointer: bigint

  constructor(kind: Kind, options: WorldOptions = {}) {
    super(options)
    const { levels = 4, did = 7n, mapped = true } = options
    this.kind = kind
    this.levels = levels
    this.rootEntry = ROOT + BigInt(SID >> 8) * 16n
    const size = this.isLegacy ? 16n : 32n
    this.context = this.contextTable + BigInt(SID & 0x7f) * size
    this.second = new Tables(this, levels, SS_BOTH)
    const named = (hpa: bigint): bigint => {
      if (kind === 'nested') this.second.map(hpa + GPA_OF_TABLES, hpa | SS_BOTH)
      return kind === 'nested' ? hpa + GPA_OF_TABLES : hpa
    }
    this.first = new Tables(this, levels, FS_TABLE, named)
    this.firstPointer = this.first.root + (kind === 'nested' ? GPA_OF_TABLES : 0n)
    if (mapped) this.#mapVa()
    this.store(this.rootEntry, this.contextTable | 1n)
    if (this.isLegacy) {
      const translation = kind === 'legacy' ? this.second.root : 2n << 2n
      this.store(this.context, translation | 1n | (options.context ?? 0n), BigInt(levels - 2) | (did << 8n))
      return
    }
    // P and PASIDE; PDTS 0 is a directory for PASIDs below 2^13.
    this.store(this.context, this.directory | 9n | (options.context ?? 0n), BigInt(RID_PASID), 0n, 0n)
    this.store(this.directory + 8n, this.pasidTable | 1n)
    for (const pasid of [RID_PASID, PASID]) this.store(this.entry(pasid), ...this.words(did, options.entry))
  }

  get isLegacy(): boolean {
    return this.kind === 'legacy' || this.kind === 'legacy pass-through'
  }

  /** Address of the directory entry of both PASIDs. */
  get directoryEntry(): bigint {
    return this.directory + 8n
  }

  /** Address of a PASID table entry. */
  entry(pasid = RID_PASID): bigint {
    return this.pasidTable + BigInt(pasid & 63) * 64n
  }

  /** The three words of a PASID table entry of this world: PWSNP is set, so that flags may be. */
  words(did: bigint, more: readonly bigint[] = []): bigint[] {
    const aw = BigInt(this.levels - 2) << 2n
    const fspm = this.levels === 5 ? 4n : 0n
    const [second, first] = [this.second.root | aw, this.firstPointer | fspm]
    const word0 = { first: 0x41n, second: second | 0x81n, nested: second | 0xc1n }[this.kind as 'first'] ?? aw | 0x101n
    const word2 = this.kind === 'first' || this.kind === 'nested' ? first : 0n
    const words = [word0, did | (1n << 23n), word2]
    return words.map((word, i) => word | (more[i] ?? 0n))
  }

  /** Starts the mode of this world's tables; queue first. */
  go(rtaddr = ROOT | (this.isLegacy ? 0n : 0x400n)): this {
    this.startQueue(!this.isLegacy)
    this.start(rtaddr)
    return this
  }

  #mapVa(): void {
    if (this.kind === 'first') this.first.map(VA, FRAME | FS_PAGE)
    if (this.kind === 'second' || this.kind === 'legacy') this.second.map(VA, FRAME | SS_BOTH)
    if (this.kind !== 'nested') return
    this.first.map(VA, GPA | FS_PAGE)
    this.second.map(GPA, FRAME | SS_BOTH)
  }
}
