/**
 * M6: long lists of a guest's commands. They are done in order and in slices, up to the first one that is refused; what
 * is behind it is never given to the unit. Which were is seen in which of many cached pages are still stale.
 */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { InvalidateIotlbResponse } from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree, steOneCd } from './guest-tables.js'
import { refusal, type Vmm, World } from './world.js'

const COUNT = 320
const DEVICE = '0000:00:01.0'
const OTHER = '0000:00:02.0'
const PLATFORM = {
  units: [{ name: 'smmu0', type: 'smmuv3', cache: { entries: 16384, ways: 64 } }],
  devices: [
    { name: DEVICE, iommu: 'smmu0' },
    { name: OTHER, iommu: 'smmu0' },
  ],
}
const [CD, OTHER_CD] = [0x4000_1000n, 0x4000_2000n]
const [ROOT, OTHER_ROOT] = [0x4001_0000n, 0x4002_0000n]
const ASID = 7n
const IOVA = 0x5000_0000n
const [BEFORE, AFTER] = [0x4010_0000n, 0x4028_0000n]
/** The guest's names of its two devices. */
const [VSID, OTHER_VSID] = [0x11n, 0xffff_ffffn]

interface Command {
  readonly dw0: bigint
  readonly dw1: bigint
}
/** TLBI_NH_VA of one page; its VMID field names somebody else. [SMMU 4.4.2.4 CMD_TLBI_NH_VA] */
const tlbi = (page: number): Command => ({
  dw0: 0x12n | (ASID << 48n) | (0x55n << 32n),
  dw1: (IOVA + BigInt(page) * 0x1000n) | 1n,
})

let world: World
/** Where the leaf entries of the pages are. */
let leaves: bigint[]

beforeAll(async () => {
  world = await World.start(PLATFORM)
  leaves = []
  const tree = new GuestTree(world.guest, ARM64, ROOT)
  for (let i = 0; i < COUNT; i++) leaves.push(await tree.map(IOVA + BigInt(i) * 0x1000n, BEFORE))
  await new GuestTree(world.guest, ARM64, OTHER_ROOT).map(IOVA, AFTER)
  await world.guest.storeAll(CD, contextDescriptor(ROOT, ASID))
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

/** A guest whose pages are all cached, and have then been moved. */
async function stale(vmm: Vmm) {
  const point = (to: bigint) =>
    world.guest.storeMany(leaves.map((leaf, i) => [leaf, ARM64.page(to + BigInt(i) * 0x1000n)] as const))
  await point(BEFORE)
  const deviceId = await vmm.bind(DEVICE)
  const viommuId = await vmm.viommu(deviceId, await vmm.parent(deviceId))
  await vmm.vdevice(viommuId, deviceId, VSID)
  await vmm.client.attachRid({ deviceId, ptId: await vmm.smmuDomain(deviceId, viommuId, steOneCd(CD)) })
  const iovas = leaves.map((_, i) => IOVA + BigInt(i) * 0x1000n)
  const fresh = async (): Promise<number[]> => {
    const { offsets } = await vmm.client.translate({ deviceId, iovas })
    return [...offsets].flatMap((offset, i) => (offset + 0x4000_0000n >= AFTER ? [i] : []))
  }
  expect(await fresh()).toEqual([])
  await point(AFTER)
  expect(await fresh()).toEqual([])
  const send = (entries: readonly Command[]) =>
    vmm.client.invalidateIotlb({ viommuId, smmuv3: { entries: [...entries] } })
  return { deviceId, viommuId, fresh, send }
}
const pages = Array.from({ length: COUNT }, (_, i) => i)

describe('M6: a long list of a guest’s commands', () => {
  it('is done whole, and in the guest’s VMID, whatever the commands say', async () => {
    const { fresh, send } = await stale(await world.vmm())
    expect((await send(pages.map(tlbi))).doneCount).toBe(COUNT)
    expect(await fresh()).toEqual(pages)
  })

  it.each([0, 1, 15, 16, 17, 63, 64, 255, 319])('is done up to the bad one, at %i, and not beyond', async (bad) => {
    const { fresh, send } = await stale(await world.vmm())
    const entries = pages.map(tlbi)
    // TLBI_S12_VMALL, which is the host's. [SMMU 4.4.3.2]
    entries[bad] = { dw0: 0x28n, dw1: 0n }
    const no = await refusal(send(entries))
    expect([no.errnoName, no.context['index'], no.context['opcode']]).toEqual(['EIO', String(bad), '40'])
    expect((no.partial as InvalidateIotlbResponse).doneCount).toBe(bad)
    expect(await fresh()).toEqual(pages.slice(0, bad))
  })

  it('that is bad for another reason says which, and where', async () => {
    const { fresh, send } = await stale(await world.vmm())
    const reasons: readonly (readonly [Command, RegExp])[] = [
      [{ dw0: 0x46n, dw1: 0n }, /SYNC/],
      [{ dw0: 0x5n | (OTHER_VSID << 32n), dw1: 1n }, /vDEVICE/],
      [{ dw0: 0x5n | (VSID << 32n) | (1n << 10n), dw1: 1n }, /CERROR_ILL/],
      [{ dw0: 0x12n, dw1: 1n << 10n }, /CERROR_ILL/],
      [{ dw0: 0x3n | (VSID << 32n), dw1: 1n }, /0x03/],
    ]
    let at = 20
    for (const [command, reason] of reasons) {
      const no = await refusal(send([...pages.slice(0, at).map(tlbi), command, ...pages.map(tlbi)]))
      expect([no.errnoName, no.context['index']]).toEqual(['EIO', String(at)])
      expect(no.reason).toMatch(reason)
      expect(await fresh()).toEqual(pages.slice(0, at))
      at += 20
    }
  })

  it('reaches every device of its vIOMMU by the guest’s name, and no other', async () => {
    const vmm = await world.vmm()
    const { deviceId, viommuId, send } = await stale(vmm)
    await world.guest.storeAll(OTHER_CD, contextDescriptor(ROOT, ASID))
    const other = await vmm.bind(OTHER)
    await vmm.vdevice(viommuId, other, OTHER_VSID)
    await vmm.client.attachRid({ deviceId: other, ptId: await vmm.smmuDomain(other, viommuId, steOneCd(OTHER_CD)) })
    expect(await vmm.dma(other, IOVA)).toMatchObject({ address: BEFORE })
    // The CD of each is another one now. One ASID, so one page for both; only the CDs tell them apart.
    await world.guest.storeAll(OTHER_CD, contextDescriptor(OTHER_ROOT, ASID + 1n))
    await world.guest.storeAll(CD, contextDescriptor(OTHER_ROOT, ASID + 1n))
    await send([{ dw0: 0x5n | (OTHER_VSID << 32n), dw1: 1n }])
    expect(await vmm.dma(other, IOVA)).toMatchObject({ address: AFTER })
    expect(await vmm.dma(deviceId, IOVA)).toMatchObject({ address: BEFORE })
    await send([{ dw0: 0x6n | (VSID << 32n), dw1: 0n }])
    expect(await vmm.dma(deviceId, IOVA)).toMatchObject({ address: AFTER })
    await world.guest.storeAll(CD, contextDescriptor(ROOT, ASID))
  })

  it('cannot name a device whose name is wider than a StreamID', async () => {
    const vmm = await world.vmm()
    const { viommuId, send } = await stale(vmm)
    const other = await vmm.bind(OTHER)
    await vmm.vdevice(viommuId, other, (1n << 32n) | 0x22n)
    expect((await refusal(send([{ dw0: 0x5n | (0x22n << 32n), dw1: 1n }]))).errnoName).toBe('EIO')
    expect((await send([{ dw0: 0x5n | (VSID << 32n), dw1: 1n }])).doneCount).toBe(1)
  })

  it('is nobody’s when it is empty: EINVAL', async () => {
    const { send } = await stale(await world.vmm())
    expect((await refusal(send([]))).errnoName).toBe('EINVAL')
  })
})
