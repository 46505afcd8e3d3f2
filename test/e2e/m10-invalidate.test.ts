/** M10: InvalidateIotlb of a root in a window: {addr, npages, LEAF}, as on VT-d; the ASID is the daemon's. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { InvalidateFlag, type InvalidateIotlbResponse } from '../../clients/node/index.js'
import { GRANULES, GranuleTree } from './granule-tree.js'
import { type Fields, RAM, WindowGuest } from './window-guest.js'
import { DEVICES, READ, refusal, World } from './world.js'

/** Two trees, the second of another domain. */
const ROOTS = [RAM + 0x10_0000n, RAM + 0x18_0000n]
const OLD = RAM + 0x28_0000n
const NEW = RAM + 0x30_0000n
const BASE = 0x5000_0000n
const PAGES = 4
const PASIDS = [1, 2]
const ALL = { addr: 0n, npages: 0xffff_ffff_ffff_ffffn, flags: 0 }
const { LEAF } = InvalidateFlag

let world: World
beforeAll(async () => {
  world = await World.start()
})
afterEach(() => world.sweep())
afterAll(() => world.stop())

/** Four pages of two domains, looked up from OLD and then moved to NEW: the RID and PASID 1 are on the first, PASID 2 on the second. */
async function stale(fields: Fields = {}, lg2 = 12n, pages = PAGES) {
  const guest = await WindowGuest.attached(world, await world.vmm())
  const { vmm, deviceId } = guest
  const domains: number[] = []
  const iovas = Array.from({ length: pages }, (_, i) => BASE + (BigInt(i) << lg2))
  const move: (() => Promise<unknown>)[] = []
  for (const root of ROOTS) {
    const tree = new GranuleTree(world.guest, root, lg2, 48n)
    for (const [i, iova] of iovas.entries()) {
      await tree.map(iova, OLD + (BigInt(i) << lg2))
      move.push(() => tree.map(iova, NEW + (BigInt(i) << lg2)))
    }
    domains.push(await guest.pgd(root, fields))
  }
  await guest.attachPasid(0, domains[0])
  for (const [i, pasid] of PASIDS.entries()) await guest.attachPasid(pasid, domains[i])
  const slots = [undefined, ...PASIDS]
  const fresh = async (pasid: number | undefined): Promise<string> => {
    const { offsets } = await vmm.client.translate({ deviceId, iovas, access: READ, pasid })
    return [...offsets].map((offset) => (offset >= NEW - RAM ? 'n' : 'o')).join('')
  }
  for (const pasid of slots) await fresh(pasid)
  for (const step of move) await step()
  const invalidate = (entries: { addr: bigint; npages: bigint; flags: number }[], userDomainId = domains[0]) =>
    vmm.client.invalidateIotlb({ userDomainId, smmuv3Pgd: { entries } })
  /** What the RID, PASID 1 and PASID 2 see of each page. */
  const seen = async () => [await fresh(undefined), await fresh(1), await fresh(2)]
  return { guest, vmm, domains, invalidate, seen }
}

describe('M10: InvalidateIotlb of a root', () => {
  it('forgets exactly the range, on every slot of the domain, and nothing of another', async () => {
    const { invalidate, seen } = await stale()
    expect(await seen()).toEqual(['oooo', 'oooo', 'oooo'])
    expect(await invalidate([{ addr: BASE + 0x1000n, npages: 1n, flags: LEAF }])).toMatchObject({ doneCount: 1 })
    expect(await seen()).toEqual(['onoo', 'onoo', 'oooo'])
    expect(
      await invalidate([
        { addr: BASE, npages: 1n, flags: 0 },
        { addr: BASE + 0x2000n, npages: 2n, flags: LEAF },
      ]),
    ).toMatchObject({ doneCount: 2 })
    expect(await seen()).toEqual(['nnnn', 'nnnn', 'oooo'])
  })

  it('of address 0 and all ones is everything of the domain, and nothing of another', async () => {
    const { invalidate, seen, domains } = await stale()
    await invalidate([ALL])
    expect(await seen()).toEqual(['nnnn', 'nnnn', 'oooo'])
    await invalidate([ALL], domains[1])
    expect(await seen()).toEqual(['nnnn', 'nnnn', 'nnnn'])
  })

  it.each(GRANULES)('goes by pages of 4 KiB whatever the granule: of $name here', async ({ tg0, lg2 }) => {
    const { invalidate, seen } = await stale({ tg0 }, lg2, 2)
    expect(await seen()).toEqual(['oo', 'oo', 'oo'])
    // One granule, from its first byte.
    await invalidate([{ addr: BASE + (1n << lg2), npages: 1n << (lg2 - 12n), flags: LEAF }])
    expect(await seen()).toEqual(['on', 'on', 'oo'])
    // Its last 4 KiB alone are enough to name the first.
    await invalidate([{ addr: BASE + (1n << lg2) - 0x1000n, npages: 1n, flags: LEAF }])
    expect(await seen()).toEqual(['nn', 'nn', 'oo'])
  })

  it('without LEAF forgets what is cached of tables too', async () => {
    const { guest, invalidate } = await stale()
    const elsewhere = RAM + 0x38_0000n
    const other = new GranuleTree(world.guest, ROOTS[0] + 0x4_0000n, 12n, 48n)
    await other.map(BASE, elsewhere)
    // The fourth table of each tree is its last; the third's entry moves from one to the other.
    await world.guest.store(ROOTS[0] + 0x2000n + ((BASE >> 21n) & 511n) * 8n, (other.root + 0x3000n) | 3n)
    const reached = async (pasid?: number) => (await guest.vmm.dma(guest.deviceId, BASE, READ, pasid)).address
    expect([await reached(), await reached(1)]).toEqual([OLD, OLD])
    await invalidate([{ addr: BASE, npages: 1n, flags: 0 }])
    expect([await reached(), await reached(1), await reached(2)]).toEqual([elsewhere, elsewhere, OLD])
  })

  it('stops at the first entry that is refused, named by its index, with those before it done', async () => {
    const { invalidate, seen } = await stale()
    const good = { addr: BASE, npages: 1n, flags: LEAF }
    const last = { addr: BASE + 0x3000n, npages: 1n, flags: LEAF }
    for (const [bad, errno] of [
      [{ addr: BASE + 0x801n, npages: 1n, flags: 0 }, 'EINVAL'],
      [{ addr: BASE, npages: 0xffff_ffff_ffff_ffffn, flags: 0 }, 'EINVAL'],
      [{ addr: BASE, npages: 1n, flags: 2 }, 'EOPNOTSUPP'],
      [{ addr: BASE, npages: 1n, flags: 0x8000_0000 }, 'EOPNOTSUPP'],
    ] as const) {
      const no = await refusal(invalidate([good, bad, last]))
      expect([no.errnoName, (no.partial as InvalidateIotlbResponse).doneCount, no.context['index']]).toEqual([
        errno,
        1,
        '1',
      ])
    }
    expect(await seen()).toEqual(['nooo', 'nooo', 'oooo'])
  })

  it('of more entries than a queue holds does them all', async () => {
    const { invalidate, seen } = await stale()
    const entries = Array.from({ length: 1000 }, (_, i) => ({
      addr: BASE + 0x3000n - BigInt(i % 4) * 0x1000n,
      npages: 1n,
      flags: LEAF,
    }))
    expect(await invalidate(entries)).toMatchObject({ doneCount: 1000 })
    expect(await seen()).toEqual(['nnnn', 'nnnn', 'oooo'])
  })

  it('is for roots in windows, and they take nothing else: EINVAL in every other pairing', async () => {
    const { vmm, domains, guest } = await stale()
    const { client } = vmm
    const entries = [ALL]
    const errno = async (call: Promise<unknown>) => (await refusal(call)).errnoName
    for (const list of [entries, []]) {
      expect(await errno(client.invalidateIotlb({ userDomainId: domains[0], vtdS1: { entries: list } }))).toBe('EINVAL')
    }
    const commands = { entries: [{ dw0: 0x10n, dw1: 0n }] }
    expect(await errno(client.invalidateIotlb({ userDomainId: domains[0], smmuv3: commands }))).toBe('EINVAL')
    const viommuId = await vmm.viommu(guest.deviceId, guest.parent)
    expect(await errno(client.invalidateIotlb({ viommuId, smmuv3Pgd: { entries } }))).toBe('EINVAL')
    const abort = await vmm.smmuDomain(guest.deviceId, viommuId, { ste0: 0n, ste1: 0n })
    expect(await errno(client.invalidateIotlb({ userDomainId: abort, smmuv3Pgd: { entries } }))).toMatch(
      /EINVAL|EOPNOTSUPP/,
    )
    for (const userDomainId of [guest.windowId, guest.parent]) {
      expect(await errno(client.invalidateIotlb({ userDomainId, smmuv3Pgd: { entries } }))).toMatch(/EINVAL|ENOENT/)
    }
    expect(await errno(client.invalidateIotlb({ userDomainId: 9999, smmuv3Pgd: { entries } }))).toBe('ENOENT')
    const vtd = await vmm.bind(DEVICES.vtd.first)
    const domain = await vmm.vtdDomain(vtd, await vmm.parent(vtd), ROOTS[0])
    expect(await errno(client.invalidateIotlb({ userDomainId: domain, smmuv3Pgd: { entries } }))).toBe('EINVAL')
  })

  it('of a domain that is on no slot is done, and finds nothing', async () => {
    const guest = await WindowGuest.make(world, await world.vmm())
    const userDomainId = await guest.pgd(ROOTS[0])
    const reply = await guest.vmm.client.invalidateIotlb({ userDomainId, smmuv3Pgd: { entries: [ALL] } })
    expect(reply).toMatchObject({ doneCount: 1 })
    // An empty list asks for the type.
    expect(await guest.vmm.client.invalidateIotlb({ userDomainId, smmuv3Pgd: { entries: [] } })).toMatchObject({
      doneCount: 0,
    })
  })

  it('is due when a domain goes and another gets its ASID: the daemon sees to that itself', async () => {
    const { guest, vmm, domains, seen } = await stale()
    expect((await seen())[1]).toBe('oooo')
    for (const pasid of [0, 1]) await vmm.client.detachPasid({ deviceId: guest.deviceId, pasid })
    await vmm.client.destroy({ objectId: domains[0] })
    const again = await guest.pgd(ROOTS[0])
    await guest.attachPasid(1, again)
    expect((await vmm.dma(guest.deviceId, BASE, READ, 1)).address).toBe(NEW)
  })
})
