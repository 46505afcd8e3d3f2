/**
 * Root, context and PASID tables of one unit, and the order in which their entries change: an entry is filled while it is
 * absent and its P goes last; P is cleared first, and the rest only when the unit has forgotten it.
 * [VTD 6.2.2.1, 6.2.3.1 Programming Considerations]
 */

import { pack } from '../../../hw-model/bits/layout.js'
import { MEMORY, type Memory } from '../../../hw-model/memory/index.js'
import {
  CONTEXT_ENTRY,
  PASID_DIRECTORY_ENTRY,
  PASID_TABLE_ENTRY,
  ROOT_ENTRY,
  SCALABLE_CONTEXT_ENTRY,
  SCALABLE_ROOT_ENTRY,
} from '../../../hw-model/vtd/index.js'
import { assert } from '../../core/driver.js'
import type { HostRam } from '../host-ram.js'
import { type FunctionFacts, scalableContextEntry } from './entries.js'

const PAGE_BYTES = 4096

/** P of every kind of entry. */
const PRESENT = 1

/** Writes entries into memory, one 64-bit store at a time. */
export class VtdTables {
  /** Physical address of the root table. */
  readonly root: number
  readonly #memory: Memory
  readonly #ram: HostRam
  readonly #isScalable: boolean
  /** Context tables by bus, and in scalable mode by half of a bus. */
  readonly #contextTables = new Map<number, number>()
  /** PASID tables by the address of their directory entry. */
  readonly #pasidTables = new Map<number, number>()

  constructor(memory: Memory, ram: HostRam, isScalable: boolean) {
    this.#memory = memory
    this.#ram = ram
    this.#isScalable = isScalable
    this.root = ram.alloc(PAGE_BYTES)
  }

  /**
   * Gives a device an empty PASID directory: all of its DMA is blocked by absent PASID entries.
   *
   * @returns physical address of the directory
   */
  addScalableDevice(rid: number, facts: FunctionFacts): number {
    const entry = this.contextEntry(rid)
    // Whole pages, as Linux does: a small directory is never seen from it.
    const bytes = Math.max(PAGE_BYTES, (facts.pasids / PASIDS_PER_TABLE) * PASID_DIRECTORY_ENTRY.$.bytes)
    const directory = this.#ram.alloc(bytes)
    const entries = bytes / PASID_DIRECTORY_ENTRY.$.bytes
    this.fill(entry, scalableContextEntry(directory, entries, facts))
    return directory
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
      const [lo, hi] = pack(PASID_DIRECTORY_ENTRY, { P: 1, SMPTBLPTR: table })
      this.store(slot, lo, hi)
    }
    return table + (pasid % PASIDS_PER_TABLE) * PASID_TABLE_ENTRY.$.bytes
  }

  /**
   * Address of a device's context entry; its table is made now if it is the first there.
   *
   * @throws Refusal ENOMEM
   */
  contextEntry(rid: number): number {
    const bus = rid >>> 8
    const devfn = rid & 0xff
    const perTable = this.#isScalable ? 128 : 256
    const isUpper = devfn >= perTable
    const key = bus * 2 + (isUpper ? 1 : 0)
    let table = this.#contextTables.get(key)
    if (table === undefined) {
      table = this.#ram.alloc(PAGE_BYTES)
      this.#contextTables.set(key, table)
      const [lo, hi] = this.#isScalable
        ? pack(SCALABLE_ROOT_ENTRY, { LP: 1, LCTP: table })
        : pack(ROOT_ENTRY, { P: 1, CTP: table })
      this.store(this.root + bus * ROOT_ENTRY.$.bytes + (isUpper ? 8 : 0), lo, hi)
    }
    const entry = this.#isScalable ? SCALABLE_CONTEXT_ENTRY : CONTEXT_ENTRY
    return table + (devfn % perTable) * entry.$.bytes
  }

  /** Fills an absent entry: everything is zeroed, then written from its end, and P is set last. */
  fill(entry: number, words: Int32Array): void {
    assert(!this.isPresent(entry), 'an entry is torn down before it is set up')
    this.zero(entry, words.length * 4)
    for (let at = words.length - 2; at >= 2; at -= 2) {
      if (words[at] !== 0 || words[at + 1] !== 0) this.store(entry + at * 4, words[at], words[at + 1])
    }
    this.store(entry, words[0] & ~PRESENT, words[1])
    this.store(entry, words[0], words[1])
  }

  /** Clears P alone: what the unit has cached is still tagged by the rest. */
  clearPresent(entry: number): void {
    const status = this.#memory.loadWord(entry)
    assert(status === MEMORY.OK, 'an entry stands in host RAM')
    this.store(entry, this.#memory.lo & ~PRESENT, this.#memory.hi)
  }

  /** Changes SSADE of a present PASID table entry: one bit, one store. [VTD 9.6] */
  setLogging(entry: number, isOn: boolean): void {
    const words = new Int32Array(2)
    const status = this.#memory.loadRecord(entry, words, 0, 2)
    assert(status === MEMORY.OK, 'an entry stands in host RAM')
    PASID_TABLE_ENTRY.SSADE.set(words, 0, isOn ? 1 : 0)
    this.store(entry, words[0], words[1])
  }

  /** Zeroes an entry that is absent and forgotten. */
  zero(entry: number, bytes: number): void {
    for (let at = 0; at < bytes; at += 8) this.store(entry + at, 0, 0)
  }

  /** One 64-bit store. */
  store(address: number, lo: number, hi: number): void {
    const status = this.#memory.storeWord(address, lo, hi)
    assert(status === MEMORY.OK, 'an entry stands in host RAM')
  }

  /** Whether the unit may use it. */
  isPresent(entry: number): boolean {
    const status = this.#memory.loadWord(entry)
    assert(status === MEMORY.OK, 'an entry stands in host RAM')
    return (this.#memory.lo & PRESENT) !== 0
  }
}

/** Entries of a PASID table. [VTD 9.6] */
const PASIDS_PER_TABLE = 64
