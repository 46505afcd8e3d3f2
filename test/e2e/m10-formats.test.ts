/** M10: tables of every granule and width that a guest may have, flags that hardware sets, and fields it may not say. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { GRANULES, GranuleTree } from './granule-tree.js'
import { type Fields, makeWindow, RAM, rootOf, WINDOW, WindowGuest } from './window-guest.js'
import { READ, refusal, World, WRITE } from './world.js'

/** Apart from the trees of other tests, and room for four tables of 64 KiB. */
const ROOT = RAM + 0x10_0000n
const TARGET = RAM + 0x30_0000n
const DEVICE = '0000:00:01.0'

/** Behind units that lack something. Bits of IDR0: HTTU 7:6, CD2L 19; of IDR5: GRAN16K 5. [SMMU 6.3 Registers] */
const LACKING = {
  default: {},
  'no-HTTU': { IDR0: 0x094d_741b },
  'no-dirty-state': { IDR0: 0x094d_745b },
  'no-16K': { IDR5: 0x55 },
  '40-bits': { IDR5: 0x72 },
} as const
type Unit = keyof typeof LACKING
const UNITS = Object.keys(LACKING) as Unit[]
const platform = {
  units: UNITS.map((name) => ({ name, type: 'smmuv3', preset: 'ats', registers: LACKING[name] })),
  devices: UNITS.map((iommu, i) => ({ name: `0000:0${i}:01.0`, iommu, pasidBits: 20 })),
}
const deviceOf = (unit: Unit): string => `0000:0${UNITS.indexOf(unit)}:01.0`

let world: World
beforeAll(async () => {
  world = await World.start(platform)
})
afterEach(() => world.sweep())
afterAll(() => world.stop())

const guestOf = async (unit: Unit = 'default') => {
  expect(deviceOf('default')).toBe(DEVICE)
  return WindowGuest.attached(world, await world.vmm(), { name: deviceOf(unit) })
}

describe.each(GRANULES)('M10: a root of tables of $name', ({ tg0, lg2 }) => {
  // The widest, one that begins a level lower, and the narrowest. [SMMU 5.4 Context Descriptor, T0SZ]
  it.each([16, 25, 32, 39])(
    'with T0SZ %d is walked from the level that the width asks for, and no wider',
    async (t0sz) => {
      const guest = await guestOf()
      const width = BigInt(64 - t0sz)
      const tree = new GranuleTree(world.guest, ROOT, lg2, width)
      const iova = (1n << width) - (3n << lg2)
      await tree.map(iova, TARGET)
      const domain = await guest.pgd(ROOT, { t0sz, tg0 })
      await guest.attachPasid(1, domain)
      const dma = await guest.vmm.dma(guest.deviceId, iova + 0x123n, WRITE, 1)
      expect(dma).toMatchObject({ address: TARGET + 0x123n })
      const walk = await guest.vmm.client.explain({ deviceId: guest.deviceId, iova, pasid: 1, access: 1 })
      const levels = walk.explanation?.steps.filter(({ stage }) => stage === 1).map(({ level }) => level)
      expect(levels).toEqual(Array.from({ length: tree.levels }, (_, i) => 4 - tree.levels + i))
      expect(await guest.vmm.dma(guest.deviceId, 1n << width, READ, 1)).toMatchObject({ fault: 'F_TRANSLATION' })
      const beside = await guest.vmm.dma(guest.deviceId, iova + (1n << lg2), READ, 1)
      expect(beside).toMatchObject({ fault: 'F_TRANSLATION' })
    },
  )
})

describe('M10: HA and HD of a root', () => {
  /** One page whose entry has the attributes, under a domain with the flags; its entry, as hardware left it. */
  async function page(attributes: bigint, fields: Fields) {
    await world.sweep()
    const guest = await guestOf()
    const tree = new GranuleTree(world.guest, ROOT, 12n, 48n)
    const iova = 0x7000n
    const entry = await tree.map(iova, TARGET, attributes)
    await guest.attachPasid(1, await guest.pgd(ROOT, fields))
    const dma = async (access: number) => {
      const { fault, address } = await guest.vmm.dma(guest.deviceId, iova, access, 1)
      return fault ?? (address === TARGET ? 'ok' : address)
    }
    const entryNow = async () => {
      const slice = { regionId: guest.vmm.regionId, offset: entry - RAM, length: 8 }
      const { data } = await guest.vmm.client.readMemory({ slices: [slice] })
      return new DataView(data[0].buffer, data[0].byteOffset).getBigUint64(0, true) & ~TARGET
    }
    return { dma, entryNow }
  }
  const NOT_ACCESSED = 0xb47n
  /** AP[2] read-only, DBM in bit 51. [ARM D8.5 Hardware management of the Access flag and dirty state] */
  const CLEAN = 0xfc7n | (1n << 51n)
  const DIRTY = 0xf47n | (1n << 51n)

  it('neither: an entry that is not accessed faults, one that is clean is read-only', async () => {
    const one = await page(NOT_ACCESSED, {})
    expect([await one.dma(READ), await one.entryNow()]).toEqual(['F_ACCESS', NOT_ACCESSED])
    const two = await page(CLEAN, {})
    expect([await two.dma(READ), await two.dma(WRITE), await two.entryNow()]).toEqual(['ok', 'F_PERMISSION', CLEAN])
  })

  it('HA: the access flag is set in the guest’s memory, and dirty state is not', async () => {
    const one = await page(NOT_ACCESSED, { ha: true })
    expect([await one.dma(READ), await one.entryNow()]).toEqual(['ok', NOT_ACCESSED | 0x400n])
    const two = await page(CLEAN, { ha: true })
    expect([await two.dma(WRITE), await two.entryNow()]).toEqual(['F_PERMISSION', CLEAN])
  })

  it('both: a write makes a clean entry dirty in the guest’s memory, a read does not', async () => {
    const one = await page(CLEAN & ~0x400n, { ha: true, hd: true })
    expect([await one.dma(READ), await one.entryNow()]).toEqual(['ok', CLEAN])
    expect([await one.dma(WRITE), await one.entryNow()]).toEqual(['ok', DIRTY])
  })

  it('of a unit without HTTU, or without dirty state, is EINVAL, and the field is named', async () => {
    const none = await guestOf('no-HTTU')
    await expectNo(none.pgd(ROOT, { ha: true }), 'ha')
    await expectNo(none.pgd(ROOT, { ha: true, hd: true }), 'ha')
    const half = await guestOf('no-dirty-state')
    expect(await half.pgd(ROOT, { ha: true })).toBeGreaterThan(0)
    await expectNo(half.pgd(ROOT, { ha: true, hd: true }), 'hd')
  })
})

/** The field is named as the contract does, in the facts and in the sentence. */
async function expectNo(call: Promise<unknown>, field: string): Promise<void> {
  const { errnoName, reason, context } = await refusal(call)
  expect([errnoName, context['field']]).toEqual(['EINVAL', field])
  expect(reason).toContain(field)
}

describe('M10: a root that would make an illegal CD', () => {
  it.each<[string, Fields & { ttb0?: bigint }, string]>([
    ['T0SZ below 16, without wider addresses', { t0sz: 15 }, 't0sz'],
    ['T0SZ 0', { t0sz: 0 }, 't0sz'],
    ['T0SZ above 39, without small tables', { t0sz: 40 }, 't0sz'],
    ['T0SZ wider than its field', { t0sz: 64 + 16 }, 't0sz'],
    ['TG0 11, which is reserved', { tg0: 3 }, 'tg0'],
    ['TG0 wider than its field', { tg0: 4 }, 'tg0'],
    ['IR0 wider than its field', { ir0: 4 }, 'ir0'],
    ['OR0 wider than its field', { or0: 4 }, 'or0'],
    ['SH0 wider than its field', { sh0: 4 }, 'sh0'],
    ['IPS wider than its field', { ips: 8 }, 'ips'],
    ['TTB0 inside its table', { ttb0: ROOT + 8n }, 'ttb0'],
    ['TTB0 in the middle of a table of 4 KiB', { ttb0: ROOT + 0x800n }, 'ttb0'],
    ['TTB0 beyond 48 bits', { ttb0: 1n << 48n }, 'ttb0'],
    ['TTB0 beyond IPS of 32 bits', { ips: 0, ttb0: 1n << 32n }, 'ttb0'],
  ])('is EINVAL and names the field: %s', async (_, { ttb0 = ROOT, ...fields }, field) => {
    const guest = await WindowGuest.make(world, await world.vmm())
    await expectNo(guest.pgd(ttb0, fields), field)
    // Nothing is left of it: the window can go.
    await guest.vmm.client.destroy({ objectId: guest.windowId })
  })

  it('is measured by the unit: a granule that it has not, TTB0 beyond its own addresses', async () => {
    const one = await guestOf('no-16K')
    await expectNo(one.pgd(ROOT, { tg0: 2 }), 'tg0')
    expect(await one.pgd(ROOT, { tg0: 1 })).toBeGreaterThan(0)
    const two = await guestOf('40-bits')
    await expectNo(two.pgd(1n << 40n), 'ttb0')
    expect(await two.pgd((1n << 40n) - 0x1000n)).toBeGreaterThan(0)
  })

  it('is taken where nothing is illegal: each cacheability, shareability and memory type, at the limits of each width', async () => {
    const guest = await guestOf()
    const tree = new GranuleTree(world.guest, rootOf(0), 12n, 48n)
    await tree.map(0x5000n, TARGET)
    for (const fields of [
      { ir0: 0, or0: 0, sh0: 0 },
      { ir0: 2, or0: 3, sh0: 2 },
      { mair: 0xffff_ffff_ffff_ffffn },
      { ips: 3 },
    ]) {
      const domain = await guest.pgd(rootOf(0), fields)
      await guest.attachPasid(1, domain)
      expect((await guest.vmm.dma(guest.deviceId, 0x5000n, READ, 1)).address).toBe(TARGET)
      await guest.vmm.client.detachPasid({ deviceId: guest.deviceId, pasid: 1 })
    }
    expect(await makeWindow(guest.vmm, guest.parent, WINDOW + 0x10_0000n, 1n)).toBeGreaterThan(0)
  })
})
