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
import { GUEST_RAM, PARENT, RW, World, type WorldOptions } from './world.js'

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
  /** Frames behind windows. */
  readonly #frames = new Set<number>()

  constructor(
    overrides: IdOverrides = {},
    facts: Partial<DeviceFacts> = {},
    { pages = 1n, ...options }: WorldOptions & { readonly pages?: bigint } = {},
  ) {
    super(overrides, facts, options)
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
    for (let at = ipa; at < ipa + pages * 4096n; at += 4096n) this.#frames.add(this.behind(at) / 4096)
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

  /** Calls `then` after each store into the window or the STE of the device `a`, while `act` runs. */
  watch(act: () => void, then: () => void): number {
    const { memory } = this
    const [storeWord, storeRecord] = [memory.storeWord.bind(memory), memory.storeRecord.bind(memory)]
    const ste = this.steAddress(this.a)
    let stores = 0
    let isWithin = false
    const tell = (pa: number): void => {
      const isSte = pa >= ste && pa < ste + 64
      if (isWithin || !(isSte || this.#frames.has(Math.floor(pa / 4096)))) return
      isWithin = true
      stores++
      then()
      isWithin = false
    }
    memory.storeWord = (pa, lo, hi) => {
      const status = storeWord(pa, lo, hi)
      tell(pa)
      return status
    }
    memory.storeRecord = (pa, words, at, count) => {
      const status = storeRecord(pa, words, at, count)
      tell(pa)
      return status
    }
    try {
      act()
    } finally {
      Object.assign(memory, { storeWord, storeRecord })
    }
    return stores
  }

  /** Commands that `act` gives, but SYNC (0x46), as the two 64-bit words of each. */
  commandsOf(act: () => void): string[] {
    const { memory } = this
    const storeRecord = memory.storeRecord.bind(memory)
    const commands: string[] = []
    memory.storeRecord = (pa, words, at, count) => {
      if (count === 4 && (words[at] & 0xff) !== 0x46) {
        const word = (i: number): bigint => (BigInt(words[at + i + 1] >>> 0) << 32n) | BigInt(words[at + i] >>> 0)
        commands.push(`${word(0).toString(16)} ${word(2).toString(16)}`)
      }
      return storeRecord(pa, words, at, count)
    }
    act()
    memory.storeRecord = storeRecord
    return commands
  }

  /** Where an address of a window is in physical memory, by a walk of the parent's tables of 4 KiB. */
  behind(ipa: bigint): number {
    // Four levels, or three below concatenated roots. [SMMU 5.2 S2SL0]
    const { table, sl0 } = (this.parent as unknown as { shape(): { table: number; sl0: number } }).shape()
    let at = table
    for (const shift of sl0 === 2 ? [39n, 30n, 21n, 12n] : [30n, 21n, 12n]) {
      const index = at === table ? ipa >> shift : (ipa >> shift) & 511n
      at = Number(this.peek(at + Number(index) * 8) & 0xffff_ffff_f000n)
    }
    return at + Number(ipa & 0xfffn)
  }
}
