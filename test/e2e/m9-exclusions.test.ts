/** M9: one device has the daemon's CD table or a guest's, never both; in every order, by attach and by replace. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DmaOutcome, HwptFlag } from '../../clients/node/index.js'
import { everyKind, type Kinds, PORTS, platformFor, USER_IOVA, USER_PAGE } from './every-kind.js'
import { Explained } from './explained.js'
import { READ, refusal, type Vmm, World } from './world.js'

const MAPPED = 0x4000_0000n
const PASID = 9
/** What covers a RID and all its PASIDs: the second stage, and what a guest says in an STE. */
const COVERING = ['parent', 'translate', 'bypass', 'abort'] as const

let world: World
let vmm: Vmm
let deviceId: number
let kinds: Kinds

beforeAll(async () => {
  world = await World.start(platformFor('smmuv3'))
  vmm = await world.vmm()
  deviceId = await vmm.bind(PORTS.plain)
  kinds = await everyKind(world, vmm, 'smmuv3', deviceId)
})

afterEach(async () => {
  for (const pasid of [PASID, PASID + 1]) await vmm.client.detachPasid({ deviceId, pasid })
  await vmm.client.detachRid({ deviceId })
})

afterAll(() => world.stop())

const attachPasid = (pasid = PASID, ptId = kinds['pasid']) => vmm.client.attachPasid({ deviceId, pasid, ptId })
const slots = async () =>
  (await vmm.client.getDevice({ deviceId })).attachments.map(({ pasid, domainId }) => [pasid, domainId])
const errno = async (call: Promise<unknown>) => (await refusal(call)).errnoName

/** What DMA without PASID, and with one, finds when only the PASID is attached. */
async function expectPasidAlone(): Promise<void> {
  expect(await slots()).toEqual([[PASID, kinds['pasid']]])
  expect((await vmm.dma(deviceId, MAPPED, READ, PASID)).address).toBe(MAPPED)
  expect((await vmm.dma(deviceId, MAPPED)).outcome).not.toBe(DmaOutcome.OK)
  expect((await Explained.of(vmm, deviceId, MAPPED, PASID)).field('STE', 'Config')).toBe(5n)
}

describe('M9 on smmuv3: what covers the whole RID', () => {
  it.each(COVERING)('(%s) is EINVAL to attach while a PASID is in use, and leaves all as it was', async (kind) => {
    await attachPasid()
    expect(await errno(vmm.client.attachRid({ deviceId, ptId: kinds[kind] }))).toBe('EINVAL')
    await expectPasidAlone()
    // With the PASID out of the way it goes in, and then the PASID does not.
    await vmm.client.detachPasid({ deviceId, pasid: PASID })
    await vmm.client.attachRid({ deviceId, ptId: kinds[kind] })
    expect(await errno(attachPasid())).toBe('EINVAL')
    expect(await slots()).toEqual([[0, kinds[kind]]])
    await vmm.client.detachRid({ deviceId })
    await attachPasid()
    await expectPasidAlone()
  })

  it.each(COVERING)('(%s) is EINVAL to move the RID to while a PASID is in use, and the RID stays', async (kind) => {
    await vmm.client.attachRid({ deviceId, ptId: kinds['dirtyPasid'] })
    await attachPasid()
    expect(await errno(vmm.client.replaceRid({ deviceId, ptId: kinds[kind] }))).toBe('EINVAL')
    expect(await slots()).toEqual([
      [0, kinds['dirtyPasid']],
      [PASID, kinds['pasid']],
    ])
    for (const pasid of [undefined, PASID]) expect((await vmm.dma(deviceId, MAPPED, READ, pasid)).address).toBe(MAPPED)
    await vmm.client.detachPasid({ deviceId, pasid: PASID })
    await vmm.client.replaceRid({ deviceId, ptId: kinds[kind] })
    expect(await slots()).toEqual([[0, kinds[kind]]])
  })

  it('is reached from a kernel-owned stage 1 and left for it by replace, with no PASID in use', async () => {
    await vmm.client.attachRid({ deviceId, ptId: kinds['pasid'] })
    const configs: bigint[] = []
    for (const kind of ['translate', 'pasid', 'bypass', 'pasid', 'parent', 'translate', 'parent', 'pasid']) {
      await vmm.client.replaceRid({ deviceId, ptId: kinds[kind] })
      configs.push((await Explained.of(vmm, deviceId, MAPPED)).field('STE', 'Config'))
      const [iova, address] = kind === 'translate' ? [USER_IOVA, USER_PAGE] : [MAPPED, MAPPED]
      expect((await vmm.dma(deviceId, iova)).address, kind).toBe(address)
    }
    // Nested 111, stage 1 alone 101, stage 2 alone 110. [SMMU 5.2 Stream Table Entry]
    expect(configs).toEqual([7n, 5n, 6n, 5n, 6n, 7n, 6n, 5n])
    await attachPasid()
    expect((await vmm.dma(deviceId, MAPPED, READ, PASID)).address).toBe(MAPPED)
  })
})

describe('M9 on smmuv3: detaching the RID', () => {
  it('is always allowed; its PASIDs go on, and it may come back to any domain that lets them be', async () => {
    await vmm.client.attachRid({ deviceId, ptId: kinds['pasid'] })
    await attachPasid()
    await attachPasid(PASID + 1, kinds['dirtyPasid'])
    await vmm.client.detachRid({ deviceId })
    expect(await vmm.dma(deviceId, MAPPED)).toMatchObject({ fault: 'F_STREAM_DISABLED' })
    for (const pasid of [PASID, PASID + 1]) expect((await vmm.dma(deviceId, MAPPED, READ, pasid)).address).toBe(MAPPED)
    expect(await errno(vmm.client.attachRid({ deviceId, ptId: kinds['translate'] }))).toBe('EINVAL')
    await vmm.client.detachPasid({ deviceId, pasid: PASID })
    expect(await errno(vmm.client.attachRid({ deviceId, ptId: kinds['translate'] }))).toBe('EINVAL')
    await vmm.client.attachRid({ deviceId, ptId: kinds['dirtyPasid'] })
    expect((await vmm.dma(deviceId, MAPPED)).address).toBe(MAPPED)
    expect(await slots()).toEqual([
      [0, kinds['dirtyPasid']],
      [PASID + 1, kinds['dirtyPasid']],
    ])
  })

  it('with everything gone leaves a device that a guest can have whole', async () => {
    await vmm.client.attachRid({ deviceId, ptId: kinds['pasid'] })
    for (const pasid of [1, 1024, 2 ** 20 - 1]) await attachPasid(pasid)
    await vmm.client.detachRid({ deviceId })
    for (const pasid of [1, 1024, 2 ** 20 - 1]) {
      expect(await errno(vmm.client.attachRid({ deviceId, ptId: kinds['translate'] }))).toBe('EINVAL')
      await vmm.client.detachPasid({ deviceId, pasid })
    }
    await vmm.client.attachRid({ deviceId, ptId: kinds['translate'] })
    expect((await vmm.dma(deviceId, USER_IOVA)).address).toBe(USER_PAGE)
    // One CD: PASIDs are switched off. [SMMU 5.2 Stream Table Entry, S1CDMax]
    expect(await vmm.dma(deviceId, USER_IOVA, READ, 1)).toMatchObject({ fault: 'C_BAD_SUBSTREAMID' })
  })
})

describe('M9 on smmuv3: the CD table', () => {
  it('has one level where the device has at most 1,024 PASIDs', async () => {
    const few = await vmm.bind(PORTS.fewPasids)
    const ptId = await vmm.paging(few, HwptFlag.PASID)
    await vmm.client.attachPasid({ deviceId: few, pasid: 15, ptId })
    const walk = await Explained.of(vmm, few, MAPPED, 15)
    expect(walk.fields('STE', 'Config', 'S1CDMax')).toEqual({ Config: 5n, S1CDMax: 4n })
    expect(walk.steps.map(({ structure }) => structure)).not.toContain('L1CD')
    expect((await vmm.dma(few, MAPPED, READ, 15)).address).toBe(MAPPED)
    // Beyond what the table has, whatever the device sends: refused before it is sent. [SMMU 7.3.9 C_BAD_SUBSTREAMID]
    expect(await errno(vmm.dma(few, MAPPED, READ, 16))).toBe('EINVAL')
    await vmm.client.unbindDevice({ deviceId: few })
  })

  it('goes with the device: when it is unbound in use and bound again, nothing is left', async () => {
    const few = await vmm.bind(PORTS.fewPasids)
    const ptId = await vmm.paging(few, HwptFlag.PASID)
    await vmm.client.attachPasid({ deviceId: few, pasid: 3, ptId })
    await vmm.client.unbindDevice({ deviceId: few })
    const again = await vmm.bind(PORTS.fewPasids)
    expect((await vmm.dma(again, MAPPED, READ, 3)).outcome).not.toBe(DmaOutcome.OK)
    await vmm.client.destroy({ objectId: ptId })
    await vmm.client.unbindDevice({ deviceId: again })
  })
})
