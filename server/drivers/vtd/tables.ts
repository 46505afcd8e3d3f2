/**
 * Root, context and PASID tables of one unit, and the order in which their entries change: a present entry is never
 * overwritten in place, and P is written last and cleared first. [VTD 6.2.2.1, 6.2.3.1 Programming Considerations]
 */

import { pack } from '../../../hw-model/bits/layout.js'
import type { Memory } from '../../../hw-model/memory/index.js'
import {
  CONTEXT_ENTRY,
  PASID_DIRECTORY_ENTRY,
  PASID_TABLE_ENTRY,
  PGTT,
  ROOT_ENTRY,
  SCALABLE_CONTEXT_ENTRY,
  SCALABLE_ROOT_ENTRY,
  TT,
} from '../../../hw-model/vtd/index.js'
import { assert } from '../../core/driver.js'
import type { HostRam } from '../host-ram.js'
import type { PagingDomain } from './paging.js'
import { type UserDomain, VTD_S1_FLAG } from './user.js'

const PAGE_BYTES = 4096

/** A domain that an entry can point to. */
export type VtdDomain = PagingDomain | UserDomain

/** Writes entries into memory. */
export class VtdTables {
  /** Physical address of the root table. */
  readonly root: number
  readonly #memory: Memory
  readonly #ram: HostRam
  readonly #isScalable: boolean
  readonly #snoops: boolean
  /** Context tables by bus, and in scalable mode by half of a bus. */
  readonly #contextTables = new Map<number, number>()
  /** PASID tables by the address of their directory entry. */
  readonly #pasidTables = new Map<number, number>()

  constructor(memory: Memory, ram: HostRam, isScalable: boolean, snoops: boolean) {
    this.#memory = memory
    this.#ram = ram
    this.#isScalable = isScalable
    this.#snoops = snoops
    this.root = ram.alloc(PAGE_BYTES)
  }

  /**
   * Gives a device an empty PASID directory: all of its DMA is blocked by absent PASID entries.
   *
   * @param pasids PASIDs it can use, a power of two; 0 for none
   * @returns physical address of the directory
   */
  addScalableDevice(rid: number, pasids: number): number {
    const entry = this.#contextSlot(rid)
    const entries = Math.max(MIN_DIRECTORY, pasids / PASIDS_PER_TABLE)
    const directory = this.#ram.alloc(entries * PASID_DIRECTORY_ENTRY.$.bytes)
    const words = pack(SCALABLE_CONTEXT_ENTRY, {
      P: 1,
      PASIDE: pasids > 0 ? 1 : 0,
      PDTS: Math.log2(entries / MIN_DIRECTORY),
      PASIDDIRPTR: directory,
      RID_PASID: 0,
    })
    this.#storePresentLast(entry, words)
    return directory
  }

  /** Makes room for a legacy device; its context entry stays absent, so its DMA is blocked. */
  addLegacyDevice(rid: number): void {
    this.#contextSlot(rid)
  }

  /**
   * The PASID table entry's address; its table is made now if it is the first of 64.
   *
   * @throws Refusal ENOMEM
   */
  pasidSlot(directory: number, pasid: number): number {
    const slot = directory + Math.floor(pasid / PASIDS_PER_TABLE) * PASID_DIRECTORY_ENTRY.$.bytes
    let table = this.#pasidTables.get(slot)
    if (table === undefined) {
      table = this.#ram.alloc(PAGE_BYTES)
      this.#pasidTables.set(slot, table)
      this.#storePresentLast(slot, pack(PASID_DIRECTORY_ENTRY, { P: 1, SMPTBLPTR: table }))
    }
    return table + (pasid % PASIDS_PER_TABLE) * PASID_TABLE_ENTRY.$.bytes
  }

  /** Fills an absent PASID table entry. */
  setPasidEntry(slot: number, domain: VtdDomain, did: number): void {
    this.#assertAbsent(slot)
    this.#storePresentLast(slot, domain.kind === 'user' ? this.#nestedEntry(domain, did) : this.#entry(domain, did))
  }

  /** Fills an absent legacy context entry. */
  setContextEntry(rid: number, domain: PagingDomain, did: number): void {
    const slot = this.#contextSlot(rid)
    this.#assertAbsent(slot)
    const words = pack(CONTEXT_ENTRY, {
      P: 1,
      TT: TT.UNTRANSLATED,
      SSPTPTR: domain.root,
      AW: domain.levels - 2,
      DID: did,
    })
    this.#storePresentLast(slot, words)
  }

  /** Address of a legacy context entry. */
  contextEntry(rid: number): number {
    return this.#contextSlot(rid)
  }

  /** Clears P alone: what is cached is still tagged by the rest. */
  clearPresent(slot: number): void {
    this.#memory.loadWord(slot)
    this.#memory.store32(slot, this.#memory.lo & ~1)
  }

  /** Zeroes an entry that is absent and flushed. */
  zero(slot: number, bytes: number): void {
    for (let at = 0; at < bytes; at += 8) this.#memory.storeWord(slot + at, 0, 0)
  }

  #entry(domain: PagingDomain, did: number): Int32Array {
    const common = { P: 1, DID: did, PWSNP: this.#snoops ? 1 : 0 }
    if (domain.stage === 'first') {
      const values = { ...common, PGTT: PGTT.FIRST, FSPM: domain.levels - 4, FSPTPTR: domain.root }
      return pack(PASID_TABLE_ENTRY, values)
    }
    return pack(PASID_TABLE_ENTRY, { ...common, PGTT: PGTT.SECOND, AW: domain.levels - 2, SSPTPTR: domain.root })
  }

  /** WPE counts only beside SRE. [uAPI IOMMU_VTD_S1_WPE] */
  #nestedEntry(domain: UserDomain, did: number): Int32Array {
    const { flags, addrWidth } = domain.data
    const sre = (flags & VTD_S1_FLAG.SRE) !== 0n
    return pack(PASID_TABLE_ENTRY, {
      P: 1,
      DID: did,
      PWSNP: this.#snoops ? 1 : 0,
      PGTT: PGTT.NESTED,
      AW: domain.parent.levels - 2,
      SSPTPTR: domain.parent.root,
      FSPM: addrWidth === 57 ? 1 : 0,
      FSPTPTR: domain.root,
      SRE: sre ? 1 : 0,
      WPE: sre && (flags & VTD_S1_FLAG.WPE) !== 0n ? 1 : 0,
      EAFE: (flags & VTD_S1_FLAG.EAFE) !== 0n ? 1 : 0,
    })
  }

  /** Address of a device's context entry; its table is made now if it is the first there. */
  #contextSlot(rid: number): number {
    const bus = rid >>> 8
    const devfn = rid & 0xff
    const perTable = this.#isScalable ? 128 : 256
    const isUpper = devfn >= perTable
    const key = bus * 2 + (isUpper ? 1 : 0)
    let table = this.#contextTables.get(key)
    if (table === undefined) {
      table = this.#ram.alloc(PAGE_BYTES)
      this.#contextTables.set(key, table)
      const half = isUpper ? 8 : 0
      const words = this.#isScalable
        ? pack(SCALABLE_ROOT_ENTRY, { LP: 1, LCTP: table })
        : pack(ROOT_ENTRY, { P: 1, CTP: table })
      this.#memory.storeWord(this.root + bus * ROOT_ENTRY.$.bytes + half, words[0], words[1])
    }
    const entry = this.#isScalable ? SCALABLE_CONTEXT_ENTRY : CONTEXT_ENTRY
    return table + (devfn % perTable) * entry.$.bytes
  }

  /** The word that holds P goes last. */
  #storePresentLast(slot: number, words: Int32Array): void {
    for (let at = words.length - 2; at >= 0; at -= 2) this.#memory.storeWord(slot + at * 4, words[at], words[at + 1])
  }

  #assertAbsent(slot: number): void {
    this.#memory.loadWord(slot)
    assert((this.#memory.lo & 1) === 0, 'an entry is torn down before it is set up')
  }
}

/** Entries of the smallest directory, PDTS 0. [VTD 9.4 PDTS] */
const MIN_DIRECTORY = 128

/** Entries of a PASID table. [VTD 9.6] */
const PASIDS_PER_TABLE = 64
