/**
 * M6 and ATS: EATS of a guest's STE says whether its device may keep translations, and a guest's ATC_INV asks the device
 * to forget them, by the guest's name for it and field by field. [SMMU 5.2 EATS] [SMMU 4.5.1 CMD_ATC_INV]
 */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { AtsStatus, ViommuType } from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree } from './guest-tables.js'
import { type Vmm, World } from './world.js'

const DEVICE = '0000:00:01.0'
const PLATFORM = {
  units: [{ name: 'smmu0', type: 'smmuv3', preset: 'ats' }],
  devices: [{ name: DEVICE, iommu: 'smmu0', pasidBits: 20, ats: true }],
}
const VSID = 0x77n
const CDS = 0x4000_1000n
const ROOTS = [0x4001_0000n, 0x4002_0000n]
const PAGES = [0x4010_0000n, 0x4011_0000n]
/** In both trees, and an IPA, too. */
const IOVA = 0x4020_5000n
/** V, Config 101, four CDs; S1DSS 10 and EATS. */
const STE = CDS | 0xbn | (2n << 59n)
const EATS = 1n << 28n
const { SUCCESS, UNSUPPORTED_REQUEST, COMPLETER_ABORT } = AtsStatus

let world: World

beforeAll(async () => {
  world = await World.start(PLATFORM)
  for (const [i, root] of ROOTS.entries()) {
    await new GuestTree(world.guest, ARM64, root).map(IOVA, PAGES[i])
    await world.guest.storeAll(CDS + BigInt(i * 64), contextDescriptor(root, BigInt(i + 1)))
  }
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

/** A device of a guest, with an STE of the guest's. */
async function machine(vmm: Vmm, ste0: bigint, ste1: bigint) {
  const deviceId = await vmm.bind(DEVICE)
  const viommuId = await vmm.viommu(deviceId, await vmm.parent(deviceId))
  await vmm.vdevice(viommuId, deviceId, VSID)
  const { veventqId } = await vmm.client.createVeventq({ viommuId, type: ViommuType.ARM_SMMUV3, depth: 8 })
  await vmm.client.attachRid({ deviceId, ptId: await vmm.smmuDomain(deviceId, viommuId, { ste0, ste1 }) })
  /** What a translation request is answered with: where the page is, or the status of one that failed. */
  const ask = async (pasid?: number): Promise<bigint | number> => {
    const { statuses, addresses } = await vmm.client.requestTranslations({ deviceId, pasid, iovas: [IOVA] })
    return statuses[0] === SUCCESS ? 0x4000_0000n + addresses[0] : statuses[0]
  }
  const heard = async (): Promise<number> => (await vmm.client.pollEvents({ veventqId })).events.length
  return { deviceId, viommuId, ask, heard }
}

describe('M6: EATS of a guest’s STE', () => {
  it.each([
    ['0 is off', STE, 2n, [UNSUPPORTED_REQUEST, UNSUPPORTED_REQUEST, UNSUPPORTED_REQUEST]],
    ['1 with S1DSS 10', STE, EATS | 2n, [PAGES[0], COMPLETER_ABORT, PAGES[1]]],
    ['1 with S1DSS 00', STE, EATS, [COMPLETER_ABORT, PAGES[0], PAGES[1]]],
    ['1 with S1DSS 01', STE, EATS | 1n, [IOVA, PAGES[0], PAGES[1]]],
    ['1 with one CD', CDS | 0xbn, EATS, [PAGES[0], COMPLETER_ABORT, COMPLETER_ABORT]],
    ['0 with bypass is the host’s to choose', 9n, 0n, [IOVA, COMPLETER_ABORT, COMPLETER_ABORT]],
    ['1 with bypass', 9n, EATS, [IOVA, COMPLETER_ABORT, COMPLETER_ABORT]],
    ['1 with abort', 1n, EATS, [UNSUPPORTED_REQUEST, UNSUPPORTED_REQUEST, UNSUPPORTED_REQUEST]],
  ])('%s', async (_name, ste0, ste1, expected) => {
    const vmm = await world.vmm()
    const { ask, heard } = await machine(vmm, ste0, ste1)
    const met: unknown[] = []
    for (const pasid of [undefined, 0, 1]) met.push(await ask(pasid))
    expect(met).toEqual(expected)
    // Requests for translations are told to nobody, but F_BAD_ATS_TREQ, and that to the host. [SMMU 7.3.6]
    expect(await heard()).toBe(0)
  })
})

describe('M6: a request without EATS', () => {
  it('is told what blocked it by its reason, where plain DMA passes', async () => {
    const vmm = await world.vmm()
    const { deviceId, ask } = await machine(vmm, STE, 2n)
    const { faults } = await vmm.client.requestTranslations({ deviceId, iovas: [IOVA] })
    expect(faults).toMatchObject([{ name: 'F_BAD_ATS_TREQ', reason: expect.stringMatching(/STE|EATS/) }])
    expect(faults[0].reason).not.toMatch(/cache/)
    expect([await ask(), (await vmm.dma(deviceId, IOVA)).address]).toEqual([UNSUPPORTED_REQUEST, PAGES[0]])
  })
})

describe('M6: a guest’s ATC_INV', () => {
  const SSV = 1n << 11n
  const [NONE, ALL] = [undefined, true]
  /** Bits of word 0 beside opcode and StreamID, word 1, and what the device is asked: PASID, all of them, IOVA, log2. */
  it.each([
    ['of one page without PASID', 0n, IOVA, { pasid: NONE, allPasids: false, iova: IOVA, sizeLog2: 12 }],
    ['of a PASID', SSV | (1n << 12n), IOVA, { pasid: 1, allPasids: false, iova: IOVA, sizeLog2: 12 }],
    ['of 2^3 pages', SSV | (1n << 12n), IOVA | 3n, { pasid: 1, allPasids: false, iova: 0x4020_0000n, sizeLog2: 15 }],
    ['of all PASIDs', SSV | (1n << 12n) | (1n << 9n), IOVA, { allPasids: ALL, iova: IOVA, sizeLog2: 12 }],
    ['of G without SSV, which says nothing', 1n << 9n, IOVA, { pasid: NONE, allPasids: false, iova: IOVA }],
    ['of everything', 0n, 52n, { pasid: NONE, allPasids: false, iova: 0n, sizeLog2: 64 }],
    ['of 2^40 bytes', 0n, IOVA | 28n, { pasid: NONE, allPasids: false, iova: 0n, sizeLog2: 40 }],
  ])('%s reaches the device, and is done when the device has answered', async (_name, bits, dw1, expected) => {
    const vmm = await world.vmm()
    const { deviceId, viommuId, ask } = await machine(vmm, STE, EATS | 2n)
    expect([await ask(), await ask(1)]).toEqual([PAGES[0], PAGES[1]])
    const entries = [{ dw0: 0x40n | bits | (VSID << 32n), dw1 }]
    let isDone = false
    const call = vmm.client.invalidateIotlb({ viommuId, smmuv3: { entries } }).then((reply) => {
      isDone = true
      return reply
    })
    const { invalidations } = await vmm.client.pollInvalidations({ deviceId, waitMs: 5000 })
    expect(invalidations).toHaveLength(1)
    expect(invalidations[0]).toMatchObject(expected)
    expect(isDone).toBe(false)
    await vmm.client.completeInvalidations({ deviceId, tags: [invalidations[0].tag] })
    expect((await call).doneCount).toBe(1)
  })

  it('of a PASID under which nothing is kept waits for nobody', async () => {
    const vmm = await world.vmm()
    const { deviceId, viommuId, ask } = await machine(vmm, STE, EATS | 2n)
    expect(await ask(1)).toBe(PAGES[1])
    const entries = [{ dw0: 0x40n | SSV | (9n << 12n) | (VSID << 32n), dw1: IOVA }]
    expect((await vmm.client.invalidateIotlb({ viommuId, smmuv3: { entries } })).doneCount).toBe(1)
    expect((await vmm.client.pollInvalidations({ deviceId })).invalidations).toEqual([])
  })
})
