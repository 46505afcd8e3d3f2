/**
 * The host permission table: which physical addresses a device may use that says it has translated them.
 * [VTD 4.2.4 Host Permission Table]
 */

import { type Page, pageOf } from '../bits/address.js'
import { anySet, type Field, type FieldSpec, type Layout, maskOutside } from '../bits/layout.js'
import { MISS } from '../cache/translation-cache.js'
import type { Memory } from '../memory/memory.js'
import { ACCESS, type Transaction, type WalkTrace } from '../port.js'
import { indexAt } from '../walk/walker.js'
import type { Capabilities } from './capabilities.js'
import type { DmaConfig } from './dma-config.js'
import { EntryReader, type RecordReads } from './entry-reader.js'
import { REASON } from './faults.js'
import type { HptCache } from './hpt-cache.js'
import { HPTL1E, HPTL2E, HPTL3E, HPTL4E } from './hpt-records.js'

/** The next table stands in the same bits of every entry that has one. */
const { AV, ADDR } = HPTL4E

const { READ, WRITE } = ACCESS

/** One level: how an address chooses the entry, and in it the page. [VTD 4.2.4 T11] */
interface Level {
  readonly record: Layout<Record<never, never>>
  readonly reserved: Int32Array
  /** log2 of the bytes that an entry is about, and of the entries of a table. */
  readonly entryLg2: number
  readonly indexBits: number
  /** log2 of a page's bytes, and of the pages of an entry; its permissions. */
  readonly pageLg2: number
  readonly pageBits: number
  readonly permissions: readonly Field[]
}

/** Index of the level whose entries lead nowhere. */
const LAST = 3

/** Sees what is found in the cache. */
export interface PermissionTrace {
  foundPermission(slot: number, page: Page): void
}

/** The table of one unit, walked. Its fields hold the last walk's result. */
export class HostPermissions {
  /** Bits of ACCESS; 0 where the walk ended without permission. */
  rights = 0
  leafLg2 = 12
  /** Level of the permission: 0 for 4 KiB. */
  level = 0
  /** Shows every entry that is found. */
  found: PermissionTrace | null = null
  readonly cache: HptCache

  readonly #memory: Memory
  readonly #caps: Capabilities
  readonly #entry: EntryReader
  readonly #levels: readonly Level[]
  readonly #hasProbes: boolean

  constructor(memory: Memory, caps: Capabilities, cache: HptCache) {
    this.#memory = memory
    this.#caps = caps
    this.cache = cache
    this.#entry = new EntryReader(memory)
    this.#levels = levelsOf(caps)
    this.#hasProbes = caps.cap.ZLR !== 0
  }

  /** Shows every entry that is read. */
  set trace(trace: WalkTrace) {
    this.#entry.trace = trace
  }

  /** Is given the words of every entry that is read. */
  set onRecord(reads: RecordReads) {
    this.#entry.reads = reads
  }

  /** The same, over another cache. */
  over(cache: HptCache): HostPermissions {
    return new HostPermissions(this.#memory, this.#caps, cache)
  }

  /** Whether the cache permits a translated request. What is not permitted there is walked for. */
  isKnown(tx: Transaction): boolean {
    const slot = this.cache.find(tx)
    if (slot === MISS || this.#permission(this.cache.rightsOf(slot), tx.access) !== REASON.NONE) return false
    if (this.found !== null) this.found.foundPermission(slot, pageOf(tx.lo, tx.hi))
    return true
  }

  /** Walks for a translated request, whose address fits the host width. Answers REASON.NONE, or why it is blocked. */
  check(config: DmaConfig, tx: Transaction): number {
    // [VTD 7.1.3 SPT.9]
    if (tx.hi >>> 0 >= 2 ** (config.hostBits - 32)) return REASON.SPT_9
    const fault = this.#walk(config.hostTable, tx)
    if (fault !== REASON.NONE) return fault
    if (this.rights !== 0) this.cache.fill(config.hostDid, tx, this.leafLg2, this.rights, this.level)
    return this.#permission(this.rights, tx.access)
  }

  #walk(root: number, { lo, hi }: Transaction): number {
    const { words } = this.#entry
    this.rights = 0
    let table = root
    for (let step = 0; step <= LAST; step++) {
      const { record, reserved, entryLg2, indexBits, pageLg2, pageBits, permissions } = this.#levels[step]
      const at = table + indexAt(lo, hi, entryLg2, indexBits) * record.$.bytes
      if (!this.#entry.load(record, at)) return this.#fail(step === 0 ? REASON.HPT_3 : REASON.HPT_1)
      if (anySet(words, 0, reserved)) return this.#fail(REASON.HPT_2)
      if (permissions.length !== 0) this.rights = permissions[indexAt(lo, hi, pageLg2, pageBits)].get(words, 0)
      this.leafLg2 = pageLg2
      this.level = LAST - step
      if (this.rights !== 0 || step === LAST || AV.get(words, 0) === 0) break
      table = ADDR.get(words, 0)
      this.#entry.show('the next table of permissions', table)
    }
    this.#entry.show(this.rights === 0 ? 'no permission' : 'permissions of the page', undefined)
    return REASON.NONE
  }

  /** [VTD 4.2.4.1 Access Rights, 7.1.3 HPT.4, HPT.5, HPT.6] */
  #permission(rights: number, access: number): number {
    if ((access & WRITE) !== 0 && (rights & WRITE) === 0) return REASON.HPT_5
    const isProbe = (access & (READ | WRITE)) === 0
    // A read of no bytes may go wherever anything may.
    if (isProbe && this.#hasProbes) return rights === 0 ? REASON.HPT_4 : REASON.NONE
    return (isProbe || (access & READ) !== 0) && (rights & READ) === 0 ? REASON.HPT_6 : REASON.NONE
  }

  #fail(reason: number): number {
    this.#entry.showFailure(reason)
    return reason
  }
}

/** From the root to the pages. Permissions of 1 GiB are reserved on a unit without them. [VTD 11.4.3 HPT1GPS] */
function levelsOf({ ecap, hawBits }: Capabilities): readonly Level[] {
  const gigabytes = ecap.HPT1GPS !== 0
  return [
    levelOf(HPTL4E, hawBits, 41, 11, 41, 0),
    levelOf(HPTL3E, hawBits, 33, 8, 30, 3, gigabytes),
    levelOf(HPTL2E, hawBits, 25, 8, 21, 4),
    levelOf(HPTL1E, hawBits, 17, 8, 12, 5),
  ]
}

function levelOf<F extends Record<string, FieldSpec>>(
  record: Layout<F>,
  hawBits: number,
  entryLg2: number,
  indexBits: number,
  pageLg2: number,
  pageBits: number,
  hasPermissions = true,
): Level {
  const names = [...record.$.fields.keys()]
  const isPermission = (name: string): boolean => name.startsWith('PP')
  const kept = hasPermissions ? names : names.filter((name) => !isPermission(name))
  const reserved = maskOutside(record, kept)
  // Address bits above the host width, where there is an address. [VTD 9.12.1]
  const next = record.$.fields.get('ADDR')
  if (next !== undefined) for (let b = 64 + hawBits; b <= next.high; b++) reserved[b >>> 5] |= 1 << (b & 31)
  const permissions = kept.filter(isPermission).map((name) => record.$.fields.get(name) as Field)
  return { record, reserved, entryLg2, indexBits, pageLg2, pageBits, permissions }
}
