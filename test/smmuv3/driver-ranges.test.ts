/**
 * Ranges of a guest whose tables have another granule than the host's: what the guest names is what the unit forgets,
 * whether stage 2 maps its memory in blocks or in pages. [SMMU 4.4.1.1 Range-based invalidation and level hint]
 */

import { describe, expect, it } from 'vitest'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import { givenData, type ViommuOps } from '../../server/core/driver.js'
import { invalidateCommands } from '../given.js'
import { GUEST_RAM, PARENT, RW, World } from './world.js'

const IPA = 0x4000_0000n
const VSID = 77n
const PAGES = 12
/** In the upper half of 30 bits, so that no index of the first table is 0. */
const VA = 1n << 29n
const [CD, ROOT, LEAVES] = [0x10_0000, 0x20_0000, 0x30_0000]

/** Granules with CD.TG0, and TG as commands have it, which is another code. [SMMU 5.4 TG0] [SMMU 4.4.1.1] */
const GRANULES = [
  { name: '4 KiB', lg2: 12, tg0: 0n, tg: 1n },
  { name: '16 KiB', lg2: 14, tg0: 2n, tg: 2n },
  { name: '64 KiB', lg2: 16, tg0: 1n, tg: 3n },
] as const
const STAGE_2 = [
  { stage2: 'in blocks', inPages: false },
  { stage2: 'in pages', inPages: true },
] as const

/** A guest with one CD; its pages lead to `before` first, and to `after` once it has changed its mind. */
class Guest {
  readonly world: World
  readonly viommu: ViommuOps
  readonly #lg2: number

  constructor({ lg2, tg0 }: (typeof GRANULES)[number], inPages: boolean, ids: object = {}) {
    const world = new World(ids)
    this.world = world
    this.#lg2 = lg2
    const parent = world.driver.createPaging(world.a, PARENT)
    parent.map(IPA, GUEST_RAM, 0x400_0000n, RW, inPages)
    this.viommu = world.driver.createViommu(world.a, parent)
    this.viommu.addVdevice(world.a, VSID)
    // T0SZ 34, TG0; 30 bits are two levels of each granule. ASID 1.
    world.poke(GUEST_RAM + CD, 0x0001_e205_c000_3522n | (tg0 << 6n))
    world.poke(GUEST_RAM + CD + 8, IPA + BigInt(ROOT))
    const index = Number(VA >> BigInt(2 * lg2 - 3))
    world.poke(GUEST_RAM + ROOT + index * 8, IPA + BigInt(LEAVES) + 3n)
    this.point(0x100_0000n)
    const ste = givenData('smmuv3_ste', { ste0: (IPA + BigInt(CD)) | 0xbn, ste1: 0n })
    world.a.set(0, this.viommu.createUserDomain(world.a, ste, { pasid: false }), null)
  }

  /** Has page k lead to byte `at` of the guest's RAM and k pages. */
  point(at: bigint): void {
    for (let k = 0; k < PAGES; k++) {
      const address = IPA + at + (BigInt(k) << BigInt(this.#lg2))
      this.world.poke(GUEST_RAM + LEAVES + k * 8, address | 0xf43n)
    }
  }

  /** Pages that lead to `at`; every 4 KiB of a page must agree. */
  leadingTo(at: bigint): number[] {
    const out: number[] = []
    for (let k = 0; k < PAGES; k++) {
      const parts = 2 ** (this.#lg2 - 12)
      let count = 0
      for (let part = 0; part < parts; part++) {
        const offset = (BigInt(k) << BigInt(this.#lg2)) + BigInt(part * 4096)
        const expected = (BigInt(GUEST_RAM) + at + offset).toString(16)
        if (this.world.dma(this.world.a, VA + offset) === `ok ${expected}`) count++
      }
      expect([k, count === 0 || count === parts]).toEqual([k, true])
      if (count === parts) out.push(k)
    }
    return out
  }

  /** Caches every page, changes all of them, gives a command, and tells which are seen anew. */
  forgottenBy(dw0: bigint, dw1: bigint): number[] {
    const [before, after] = [0x100_0000n, 0x200_0000n]
    this.point(before)
    invalidateCommands(this.viommu, [{ dw0: 0x10n, dw1: 0n }])
    const all = Array.from({ length: PAGES }, (_, k) => k)
    expect(this.leadingTo(before)).toEqual(all)
    this.point(after)
    expect(this.leadingTo(before)).toEqual(all)
    expect(invalidateCommands(this.viommu, [{ dw0, dw1 }]).done).toBe(1)
    return this.leadingTo(after)
  }
}

/** TLBI_NH_VA of ASID 1, or TLBI_NH_VAA. */
const OPCODES = [0x12n | (1n << 48n), 0x13n]
const pages = (first: number, count: number): number[] => Array.from({ length: count }, (_, i) => first + i)

describe.each(GRANULES)('ranges of a guest with granules of $name', (granule) => {
  const { tg, lg2 } = granule
  const vaOf = (page: number): bigint => VA + (BigInt(page) << BigInt(lg2))

  it.each(STAGE_2)('are forgotten as named, stage 2 $stage2', ({ inPages }) => {
    const guest = new Guest(granule, inPages)
    // NUM, SCALE, TTL: (NUM + 1) << SCALE granules, at any level or at level 3.
    const ranges = [
      { num: 0n, scale: 0n, ttl: 3n, count: 1 },
      { num: 1n, scale: 0n, ttl: 0n, count: 2 },
      { num: 6n, scale: 0n, ttl: 3n, count: 7 },
      { num: 0n, scale: 2n, ttl: 0n, count: 4 },
      { num: 2n, scale: 1n, ttl: 3n, count: 6 },
      { num: 31n, scale: 31n, ttl: 0n, count: PAGES - 3 },
    ]
    for (const opcode of OPCODES) {
      for (const { num, scale, ttl, count } of ranges) {
        const fields = (num << 12n) | (scale << 20n)
        const dw1 = vaOf(3) | (tg << 10n) | (ttl << 8n) | 1n
        expect([num, scale, guest.forgottenBy(opcode | fields, dw1)]).toEqual([num, scale, pages(3, count)])
      }
      // Without a granule it is one address, wherever in the page, and NUM, SCALE and TTL say nothing.
      const inside = vaOf(5) + (1n << BigInt(lg2)) - 0x1000n
      expect(guest.forgottenBy(opcode | (7n << 12n) | (3n << 20n), inside | 0x201n)).toEqual([5])
    }
  })

  it('say nothing about tables of the other granules, nor about leaves of other levels', () => {
    const guest = new Guest(granule, false)
    for (const other of [1n, 2n, 3n].filter((code) => code !== tg)) {
      expect(guest.forgottenBy(0x13n | (31n << 12n) | (20n << 20n), vaOf(0) | (other << 10n) | 1n)).toEqual([])
    }
    expect(guest.forgottenBy(0x13n | (31n << 12n) | (20n << 20n), VA | (tg << 10n) | (2n << 8n) | 1n)).toEqual([])
  })

  it('are single addresses on a unit without IDR3.RIL', () => {
    const guest = new Guest(granule, false, { IDR3: PRESETS.default.IDR3 & ~(1 << 10) })
    expect(guest.forgottenBy(0x13n | (31n << 12n) | (20n << 20n), vaOf(4) | (tg << 10n) | 1n)).toEqual([4])
    expect(guest.forgottenBy(0x13n, vaOf(4) | (tg << 10n) | 1n)).toEqual([4])
  })

  it('of another ASID, or of another guest, are not this one’s', () => {
    const guest = new Guest(granule, true)
    const range = (5n << 12n) | (1n << 20n)
    expect(guest.forgottenBy(0x12n | (2n << 48n) | range, vaOf(0) | (tg << 10n) | 1n)).toEqual([])
    const { world } = guest
    const vmid = world.ste(world.a)[2] & 0xffffn
    const parent = world.driver.createPaging(world.b, PARENT)
    const stranger = world.driver.createViommu(world.b, parent)
    guest.point(0x100_0000n)
    invalidateCommands(guest.viommu, [{ dw0: 0x10n, dw1: 0n }])
    expect(guest.leadingTo(0x100_0000n)).toEqual(pages(0, PAGES))
    guest.point(0x200_0000n)
    // The VMID that the command names is the first guest's.
    for (const opcode of [...OPCODES, 0x10n, 0x11n | (1n << 48n), 0x30n]) {
      invalidateCommands(stranger, [{ dw0: opcode | range | (vmid << 32n), dw1: vaOf(0) | (tg << 10n) }])
    }
    expect(guest.leadingTo(0x100_0000n)).toEqual(pages(0, PAGES))
  })
})
