/** M9: the CD table that the daemon owns. S1ContextPtr is a PA, stage 2 is bypassed, and each PASID has its own domain. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DmaOutcome, HwptFlag } from '../../clients/node/index.js'
import { DmaProcess, reached } from './dma-process.js'
import { Explained, IPA } from './explained.js'
import { DEVICES, READ, type Vmm, World } from './world.js'

const MAPPED = 0x4000_0000n
const IOVA = 0x9000n
/** Both sides of 64 and of 1,024 CDs, one far off, and the last of 2^20. */
const PASIDS = [1, 63, 64, 1023, 1024, 70_000, 2 ** 20 - 1]

let world: World
beforeAll(async () => {
  world = await World.start()
})
afterEach(() => world.sweep())
afterAll(() => world.stop())

/** A domain whose `IOVA` is a page of the region that no other domain has. */
async function domainOf(vmm: Vmm, deviceId: number, page: number): Promise<number> {
  const { ioasId } = await vmm.client.createIoas()
  const region = { regionId: vmm.regionId, offset: BigInt(page) * 0x1000n }
  await vmm.client.ioasMap({ ioasId, flags: 7, region, length: 0x1000n, iova: IOVA })
  return (await vmm.client.createPagingDomain({ flags: HwptFlag.PASID, deviceId, ioasId })).domainId
}

const STE_FIELDS = ['Config', 'S1Fmt', 'S1CDMax', 'S1DSS', 'S1CIR', 'S1COR', 'S1CSH'] as const

describe('M9 on smmuv3: the STE of a device with kernel-owned domains', () => {
  it('is stage 1 alone: Config 101, S1ContextPtr no IPA, and no step of the walk is in stage 2', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.smmuv3.first)
    const ptId = await vmm.paging(deviceId, HwptFlag.PASID)
    await vmm.client.attachRid({ deviceId, ptId })
    await vmm.client.attachPasid({ deviceId, pasid: 70_000, ptId })
    for (const pasid of [undefined, 70_000]) {
      const walk = await Explained.of(vmm, deviceId, MAPPED, pasid)
      // Write-back, inner shareable; leaves of 64 KiB for the 2^20 CDs of 20-bit PASIDs. [SMMU 5.2 Stream Table Entry]
      const cached = { S1CIR: 1n, S1COR: 1n, S1CSH: 3n }
      const table = { Config: 5n, S1Fmt: 2n, S1CDMax: 20n, S1DSS: 2n }
      const { S1CDMax, ...said } = walk.fields('STE', ...STE_FIELDS)
      expect(said).toEqual({ Config: 5n, S1Fmt: 2n, S1DSS: 2n, ...cached })
      expect(walk.text('STE', 'S1CDMax')).toBe(`${2 ** Number(S1CDMax)} CDs`)
      expect(S1CDMax).toBe(table.S1CDMax)
      expect(walk.text('STE', 'S1ContextPtr')).toBe('not told')
      expect(walk.steps.map(({ space }) => space)).not.toContain(IPA)
      expect(walk.inStage(2)).toEqual([])
      expect(walk.steps.map(({ location, structure }) => [structure, location?.regionId]).at(-1)).toEqual([
        'output',
        vmm.regionId,
      ])
    }
    await vmm.close()
  })

  it('says by S1DSS what becomes of the RID: terminated without a domain, CD 0 with one; aborts when all is gone', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.smmuv3.first)
    const ptId = await vmm.paging(deviceId, HwptFlag.PASID)
    const rid = async () => {
      const { Config } = (await Explained.of(vmm, deviceId, MAPPED)).fields('STE', 'Config')
      const { outcome, fault } = await vmm.dma(deviceId, MAPPED)
      if (Config === 0n) return ['abort', outcome === DmaOutcome.ABORTED]
      const { S1DSS } = (await Explained.of(vmm, deviceId, MAPPED)).fields('STE', 'S1DSS')
      return [S1DSS, fault ?? outcome]
    }
    expect(await rid()).toEqual(['abort', true])
    await vmm.client.attachPasid({ deviceId, pasid: 5, ptId })
    expect(await rid()).toEqual([0n, 'F_STREAM_DISABLED'])
    await vmm.client.attachRid({ deviceId, ptId })
    expect(await rid()).toEqual([2n, DmaOutcome.OK])
    await vmm.client.detachRid({ deviceId })
    expect(await rid()).toEqual([0n, 'F_STREAM_DISABLED'])
    await vmm.client.detachPasid({ deviceId, pasid: 5 })
    expect(await rid()).toEqual(['abort', true])
    await vmm.client.attachRid({ deviceId, ptId })
    expect(await rid()).toEqual([2n, DmaOutcome.OK])
    // A request that names PASID 0 is not one without PASID. [SMMU 5.2 Stream Table Entry, S1DSS]
    expect(await vmm.dma(deviceId, MAPPED, READ, 0)).toMatchObject({ fault: 'F_STREAM_DISABLED' })
    await vmm.close()
  })
})

describe('M9 on smmuv3: kernel-owned domains on many PASIDs', () => {
  it('are CDs of one table of two levels, and each PASID reaches its own domain’s memory', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.smmuv3.first)
    for (const [i, pasid] of PASIDS.entries()) {
      await vmm.client.attachPasid({ deviceId, pasid, ptId: await domainOf(vmm, deviceId, i + 1) })
    }
    const all = async () =>
      Promise.all(PASIDS.map(async (pasid) => (await vmm.dma(deviceId, IOVA, READ, pasid)).address))
    const places = PASIDS.map((_, i) => MAPPED + BigInt(i + 1) * 0x1000n)
    expect(await all()).toEqual(places)
    for (const pasid of PASIDS) {
      expect((await Explained.of(vmm, deviceId, IOVA, pasid)).step('L1CD')).toMatchObject({ structure: 'L1CD' })
    }
    // Beside each of them: a leaf that is there has a CD that is not valid, one that is not there has none.
    expect(await vmm.dma(deviceId, IOVA, READ, 62)).toMatchObject({ fault: 'C_BAD_CD' })
    expect(await vmm.dma(deviceId, IOVA, READ, 500_000)).toMatchObject({ fault: 'C_BAD_SUBSTREAMID' })
    for (const [i, pasid] of PASIDS.entries()) {
      await vmm.client.detachPasid({ deviceId, pasid })
      expect(await all()).toEqual(places.map((place, at) => (at <= i ? undefined : place)))
    }
    await vmm.close()
  })

  it('share an ASID where they are one domain, and one unmapping reaches every PASID and the RID', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.smmuv3.first)
    const ptId = await domainOf(vmm, deviceId, 3)
    const other = await domainOf(vmm, deviceId, 9)
    const { ioasId } = await vmm.client.createIoas()
    const { domainId } = await vmm.client.createPagingDomain({ flags: HwptFlag.PASID, deviceId, ioasId })
    const region = { regionId: vmm.regionId, offset: 0x5000n }
    await vmm.client.ioasMap({ ioasId, flags: 7, region, length: 0x1000n, iova: IOVA })
    await vmm.client.attachRid({ deviceId, ptId: domainId })
    for (const pasid of PASIDS) await vmm.client.attachPasid({ deviceId, pasid, ptId: domainId })
    await vmm.client.replacePasid({ deviceId, pasid: 63, ptId: other })
    await vmm.client.attachPasid({ deviceId, pasid: 7, ptId })
    const shared = [undefined, ...PASIDS.filter((pasid) => pasid !== 63)]
    const asids = await Promise.all(
      shared.map(async (pasid) => (await Explained.of(vmm, deviceId, IOVA, pasid)).field('CD', 'ASID')),
    )
    expect(new Set(asids).size).toBe(1)
    expect((await Explained.of(vmm, deviceId, IOVA, 63)).field('CD', 'ASID')).not.toBe(asids[0])
    for (const _ of [1, 2]) {
      for (const pasid of shared) expect((await vmm.dma(deviceId, IOVA, READ, pasid)).address).toBe(MAPPED + 0x5000n)
    }
    expect((await vmm.dma(deviceId, IOVA, READ, 70_000)).hit).toBe(true)
    await vmm.client.ioasUnmap({ ioasId, iova: IOVA, length: 0x1000n })
    for (const pasid of shared) {
      expect(await vmm.dma(deviceId, IOVA, READ, pasid), `PASID ${pasid}`).toMatchObject({ fault: 'F_TRANSLATION' })
    }
    expect((await vmm.dma(deviceId, IOVA, READ, 7)).address).toBe(MAPPED + 0x3000n)
    expect((await vmm.dma(deviceId, IOVA, READ, 63)).address).toBe(MAPPED + 0x9000n)
    // And what is mapped anew there is seen by all of them.
    await vmm.client.ioasMap({ ioasId, flags: 7, region, length: 0x1000n, iova: IOVA })
    for (const pasid of shared) expect((await vmm.dma(deviceId, IOVA, READ, pasid)).address).toBe(MAPPED + 0x5000n)
    await vmm.close()
  })

  it('disturb no DMA when others come, move and go, nor when the RID does', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.smmuv3.first)
    const domains = [
      await domainOf(vmm, deviceId, 1),
      await domainOf(vmm, deviceId, 2),
      await domainOf(vmm, deviceId, 3),
    ]
    await vmm.client.attachPasid({ deviceId, pasid: 1, ptId: domains[0] })
    await vmm.client.attachPasid({ deviceId, pasid: 1024, ptId: domains[1] })
    const probes = [1, 1024].map((pasid) => ({ deviceId, pasid, iova: IOVA }))
    const device = await DmaProcess.start(world.daemon.socketPath, vmm.token, probes)
    for (let round = 0; round < 10; round++) {
      const pasid = PASIDS[1 + (round % 3)]
      await vmm.client.attachPasid({ deviceId, pasid, ptId: domains[2] })
      await vmm.client.attachRid({ deviceId, ptId: domains[2] })
      expect((await vmm.dma(deviceId, IOVA, READ, pasid)).address).toBe(MAPPED + 0x3000n)
      // ASID and TTB0 are in two doublewords: that one CD is not valid in between. [SMMU 5.4 Context Descriptor]
      expect(await vmm.client.replacePasid({ deviceId, pasid, ptId: domains[0] })).toMatchObject({ hitless: false })
      expect(await vmm.client.replacePasid({ deviceId, pasid, ptId: domains[0] })).toMatchObject({ hitless: true })
      expect(await vmm.client.replaceRid({ deviceId, ptId: domains[1] })).toMatchObject({ hitless: false })
      expect((await vmm.dma(deviceId, IOVA, READ, pasid)).address).toBe(MAPPED + 0x1000n)
      await device.more(1)
      await vmm.client.detachRid({ deviceId })
      await vmm.client.detachPasid({ deviceId, pasid })
    }
    const tallies = await device.stop()
    expect(tallies.map((tally) => Object.keys(tally))).toEqual([
      [reached(vmm.regionId, 0x1000n)],
      [reached(vmm.regionId, 0x2000n)],
    ])
    await vmm.close()
  })
})
