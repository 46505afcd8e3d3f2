/** A guest behind a window: its RAM and its roots, spelled from the manual, for the driver's tests. */

import type { IdOverrides } from '../../hw-model/smmuv3/index.js'
import {
  type DeviceFacts,
  givenData,
  givenEntries,
  type InvalidateResult,
  type PagingOps,
  type SmmuRoot,
  type UserOps,
  type VtdInvalidation,
  type WindowOps,
} from '../../server/core/driver.js'
import { GUEST_RAM, PARENT, RW, World } from './world.js'

/** Where the guest's RAM and the window are in the parent. */
export const RAM_IPA = 0x4000_0000n
export const WINDOW_IPA = 0x8_0000_0000n
/** The address that each root maps, to the page of its number. */
export const VA = 0x1000n

/** 39 bits of input in three levels of 4 KiB, write-back. */
export const PLAIN_ROOT: SmmuRoot = {
  ttb0: 0n,
  t0sz: 25,
  tg0: 0,
  ir0: 1,
  or0: 1,
  sh0: 3,
  ips: 4,
  mair: 0xffn,
  ha: false,
  hd: false,
}

/** A world with a parent, a window on it and roots in guest RAM. */
export class WindowWorld extends World {
  readonly parent: PagingOps
  readonly window: WindowOps

  constructor(overrides: IdOverrides = {}, facts: Partial<DeviceFacts> = {}, pages = 1n) {
    super(overrides, facts)
    this.parent = this.driver.createPaging(this.a, PARENT)
    this.parent.map(RAM_IPA, GUEST_RAM, 0x4000_0000n, RW)
    this.window = this.makeWindow(WINDOW_IPA, pages)
  }

  makeWindow(ipa: bigint, pages: bigint): WindowOps {
    const window = (this.parent as { createWindow(): WindowOps }).createWindow()
    this.grow(window, ipa, pages)
    return window
  }

  grow(window: WindowOps, ipa: bigint, pages: bigint): void {
    window.back({ start: ipa, last: ipa + pages * 4096n - 1n })
    window.offer()
  }

  /** Root number `k` maps VA to page 0x10000 + k of the guest's RAM. */
  rootData(k: number, changes: Partial<SmmuRoot> = {}): SmmuRoot {
    const tables = 0x100_0000 + k * 0x3000
    this.poke(GUEST_RAM + tables, (RAM_IPA + BigInt(tables + 0x1000)) | 3n)
    this.poke(GUEST_RAM + tables + 0x1000, (RAM_IPA + BigInt(tables + 0x2000)) | 3n)
    this.pointTo(k, 0x10000 + k)
    return { ...PLAIN_ROOT, ttb0: RAM_IPA + BigInt(tables), ...changes }
  }

  /** What root `k` maps at VA, or at another page of its last table: non-global, accessed, inner shareable. */
  pointTo(k: number, frame: number, va = VA): void {
    const leaf = 0x100_0000 + k * 0x3000 + 0x2000 + Number(va >> 12n) * 8
    this.poke(GUEST_RAM + leaf, (RAM_IPA + BigInt(frame) * 4096n) | 0xf43n)
  }

  root(k: number, changes: Partial<SmmuRoot> = {}, window = this.window): UserOps {
    return window.createUserDomain(this.a, givenData('smmuv3_pgd', this.rootData(k, changes)))
  }

  /** Where a read of VA through root `k` arrives. */
  page(k: number): string {
    return `ok ${(GUEST_RAM + (0x10000 + k) * 4096).toString(16)}`
  }

  invalidate(root: UserOps, ...entries: VtdInvalidation[]): InvalidateResult {
    if (root.invalidate === undefined) throw new Error('it has no invalidations')
    return root.invalidate(givenEntries('smmuv3_pgd', entries), 0, entries.length)
  }

  /** Where an address of the window is in physical memory. */
  behind(ipa: bigint): number {
    const table = this.ste(this.a)[3] & 0xf_ffff_ffff_fff0n
    // Stage 2 of 44 bits in 4 KiB granules: a root of concatenated or four levels, walked as the manual has it.
    let at = Number(table)
    const sl0 = Number((this.ste(this.a)[2] >> 38n) & 3n)
    for (let level = 2 - sl0; level < 3; level++) {
      const shift = BigInt(39 - level * 9)
      const index = level === 2 - sl0 ? ipa >> shift : (ipa >> shift) & 511n
      at = Number(this.peek(at + Number(index) * 8) & 0xffff_ffff_f000n)
    }
    const leaf = this.peek(at + Number((ipa >> 12n) & 511n) * 8)
    return Number(leaf & 0xffff_ffff_f000n) + Number(ipa & 0xfffn)
  }
}
