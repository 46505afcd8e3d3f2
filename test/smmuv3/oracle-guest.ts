/** A guest with one stream behind stage 1, watched by the oracle. Its tables and commands are spelled from the manual. */

import { expect } from 'vitest'
import type { Invalidation, StaleReport, UnitOracle } from '../../hw-model/port.js'
import { type CacheOptions, CONFIG, type IdOverrides } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, S1 } from './bench.js'

/** Streams, addresses and numbers of the guest. */
export const SID = 3
export const OTHER = 4
export const VA = 0x5000n
export const FRAME = 0x300000n
export const SECOND = 0x400000n
export const ASID = 7
const CACHES: CacheOptions = {
  tlb: { entries: 64, ways: 4 },
  ipa: { entries: 64, ways: 4 },
  walk1: { entries: 64, ways: 4 },
  walk2: { entries: 64, ways: 4 },
  configEntries: 16,
}

export type Command = readonly [bigint, bigint]
/** Commands, spelled by hand: two words each. */
export const SYNC: Command = [0x46n, 0n]
export const tlbiVa = (va: bigint, { asid = ASID, vmid = 0, leaf = 0 } = {}): Command => [
  0x12n | (BigInt(vmid) << 32n) | (BigInt(asid) << 48n),
  va | BigInt(leaf),
]
/** 4 KiB granule, any level, `pages` of them. */
export const tlbiRange = (va: bigint, pages: number): Command => [
  0x12n | (BigInt(pages - 1) << 12n) | (BigInt(ASID) << 48n),
  va | (1n << 10n),
]
export const tlbiAsid = (asid: number): Command => [0x11n | (BigInt(asid) << 48n), 0n]
export const tlbiIpa = (ipa: bigint, vmid: number): Command => [0x2an | (BigInt(vmid) << 32n), ipa]
export const nhAll = (vmid: number): Command => [0x10n | (BigInt(vmid) << 32n), 0n]
export const cfgiSte = (sid: number): Command => [0x03n | (BigInt(sid) << 32n), 1n]
export const cfgiCd = (sid: number, ssid = 0): Command => [0x05n | (BigInt(ssid) << 12n) | (BigInt(sid) << 32n), 1n]

/** A guest with one stream behind stage 1. */
export class Guest {
  readonly bench: Bench
  readonly root: number
  readonly cd: number
  readonly leaf: (va?: bigint) => number
  readonly oracle: UnitOracle

  constructor(options: { caches?: CacheOptions; fails?: boolean; graceSyncs?: number; id?: IdOverrides } = {}) {
    const { fails = false, graceSyncs = 0, caches = {}, id = {} } = options
    this.bench = new Bench({ preset: 'full', id, caches: { ...CACHES, ...caches } })
    this.root = this.bench.alloc()
    this.cd = this.bench.alloc()
    this.bench.map(this.root, VA, FRAME | S1.RW)
    this.bench.cd(this.cd, contextFields(ASID, this.root))
    this.bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: this.cd })
    this.leaf = (va = VA) => this.table(va, 3)
    this.bench.unit.setOracle({ fails, graceSyncs, reportLimit: 100 })
    this.oracle = this.bench.unit.oracle as UnitOracle
  }

  /** Where the entry of a level stands. */
  table(va: bigint, level: number, root = this.root): number {
    let table = root
    for (let at = 0; at < level; at++) {
      table = Number(this.bench.peek(table + Number((va >> BigInt(39 - 9 * at)) & 0x1ffn) * 8) & 0xfffffffff000n)
    }
    return table + Number((va >> BigInt(39 - 9 * level)) & 0x1ffn) * 8
  }

  /** The reports, as commands in words. */
  get missing(): string[] {
    return this.oracle.reports.map(({ missing }) => missing.map(spell).join(' + '))
  }

  get only(): StaleReport {
    expect(this.oracle.reports).toHaveLength(1)
    return this.oracle.reports[0]
  }

  /** Unmaps the page without a word. */
  unmap(va = VA): void {
    this.bench.poke(this.leaf(va), 0n)
  }
}

/** A command in words. */
export const spell = ({ name, operands, page }: Invalidation): string =>
  [
    name,
    ...Object.entries(operands).map(([operand, value]) => `${operand}=${value}`),
    ...(page === undefined ? [] : [`ADDR=${(page[1] * 2 ** 32 + page[0]).toString(16)}`]),
  ].join(' ')
