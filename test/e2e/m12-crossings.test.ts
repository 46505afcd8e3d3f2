/**
 * M12 where more than the guest's own words change: to and from kernel-owned domains, another second stage, and the
 * device's right to ask for translations; and VT-d's PASIDs. Another process makes the DMA all the time.
 */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { HwptFlag } from '../../clients/node/index.js'
import { DmaProcess, type Probe, reached } from './dma-process.js'
import { ARM64, contextDescriptor, GuestTree, INTEL } from './guest-tables.js'
import { DEVICES, type Vmm, World } from './world.js'

const RAM = 0x4000_0000n
const TABLE = 0x4000_1000n
const OTHER_TABLE = 0x4000_2000n
const ROOTS = [0x4001_0000n, 0x4002_0000n]
const PAGES = [0x4010_0000n, 0x4011_0000n]
/** In RAM, so that it goes somewhere without stage 1 as well. */
const IOVA = 0x4030_0000n

let world: World
let device: DmaProcess | undefined
beforeAll(async () => {
  world = await World.start()
})
afterEach(async () => {
  device?.kill()
  device = undefined
  await world.sweep()
})
afterAll(() => world.stop())

/** Moves with DMA running before, meanwhile and after; answers what was said and seen. */
async function move(running: DmaProcess, replace: () => Promise<{ hitless: boolean }>) {
  await running.take()
  await running.more(1)
  const { hitless } = await replace()
  await running.more(2)
  return { hitless, seen: (await running.take()).map((tally) => Object.keys(tally).sort()) }
}

const start = async (vmm: Vmm, ...probes: Probe[]): Promise<DmaProcess> => {
  device = await DmaProcess.start(world.daemon.socketPath, vmm.token, probes)
  return device
}

describe('M12 on smmuv3: replacing, DMA running', () => {
  /** Two guest tables, `vste` of either with EATS as told. */
  async function guest(vmm: Vmm, name: string = DEVICES.smmuv3.first) {
    for (const [i, table] of [TABLE, OTHER_TABLE].entries()) {
      await new GuestTree(world.guest, ARM64, ROOTS[i]).map(IOVA, PAGES[i])
      await world.guest.storeAll(table, contextDescriptor(ROOTS[i], BigInt(i + 1)))
    }
    const deviceId = await vmm.bind(name)
    const parent = await vmm.parent(deviceId)
    const viommu = await vmm.viommu(deviceId, parent)
    await vmm.vdevice(viommu, deviceId, 0x10n)
    // V, Config 101, 4 CDs; S1DSS 10, write-back, EATS in bits 29:28. [SMMU 5.2 Stream Table Entry]
    const vste = (table: bigint, eats = 0n) =>
      vmm.smmuDomain(deviceId, viommu, { ste0: table | 0xbn | (2n << 59n), ste1: 0xd6n | (eats << 28n) })
    const at = (address: bigint) => reached(vmm.regionId, address - RAM)
    const replace = (ptId: number) => () => vmm.client.replaceRid({ deviceId, ptId })
    return { deviceId, parent, viommu, vste, at, replace }
  }

  it('between the parent itself and the guest’s stage 1 is hitless: DW0 says all', async () => {
    const vmm = await world.vmm()
    const { deviceId, parent, viommu, vste, at, replace } = await guest(vmm)
    const nested = await vste(TABLE)
    const bypass = await vmm.smmuDomain(deviceId, viommu, { ste0: 9n, ste1: 0n })
    await vmm.client.attachRid({ deviceId, ptId: parent })
    const running = await start(vmm, { deviceId, iova: IOVA })
    const both = [at(IOVA), at(PAGES[0])].sort()
    for (const ptId of [nested, parent, nested]) {
      expect(await move(running, replace(ptId))).toEqual({ hitless: true, seen: [both] })
    }
    // A bypassing vSTE is the parent's own STE, word for word.
    await vmm.client.replaceRid({ deviceId, ptId: parent })
    for (const ptId of [bypass, parent]) {
      expect(await move(running, replace(ptId))).toEqual({ hitless: true, seen: [[at(IOVA)]] })
    }
    await running.stop()
    await vmm.close()
  })

  it('by the same words anew is hitless, and nothing is seen of it', async () => {
    const vmm = await world.vmm()
    const { deviceId, vste, at, replace } = await guest(vmm)
    await vmm.client.attachRid({ deviceId, ptId: await vste(TABLE) })
    const running = await start(vmm, { deviceId, iova: IOVA })
    expect(await move(running, replace(await vste(TABLE)))).toEqual({ hitless: true, seen: [[at(PAGES[0])]] })
    await running.stop()
    await vmm.close()
  })

  it('to the guest’s tables over another second stage is not hitless, and is not said to be', async () => {
    const vmm = await world.vmm()
    const { deviceId, vste, at } = await guest(vmm)
    await vmm.client.attachRid({ deviceId, ptId: await vste(TABLE) })
    const running = await start(vmm, { deviceId, iova: IOVA })
    const other = await vmm.viommu(deviceId, await vmm.parent(deviceId))
    const bypass = await vmm.smmuDomain(deviceId, other, { ste0: 9n, ste1: 0n })
    const { hitless, seen } = await move(running, () => vmm.client.replaceRid({ deviceId, ptId: bypass }))
    expect(hitless).toBe(false)
    expect(seen[0]).toEqual(expect.arrayContaining([at(PAGES[0]), at(IOVA)]))
    expect([at(PAGES[0]), at(IOVA), 'C_BAD_STE']).toEqual(expect.arrayContaining(seen[0]))
    await running.stop()
    await vmm.close()
  })

  it('between the daemon’s CD table and the guest’s is not hitless, in either direction', async () => {
    const vmm = await world.vmm()
    const { deviceId, vste, at, replace } = await guest(vmm)
    const [nested, own] = [await vste(TABLE), await vmm.paging(deviceId, HwptFlag.PASID)]
    await vmm.client.attachRid({ deviceId, ptId: own })
    const running = await start(vmm, { deviceId, iova: IOVA })
    for (const ptId of [nested, own, nested, own]) {
      const { hitless, seen } = await move(running, replace(ptId))
      expect(hitless).toBe(false)
      expect(seen[0]).toEqual(expect.arrayContaining([at(IOVA), at(PAGES[0])]))
      expect([at(IOVA), at(PAGES[0]), 'C_BAD_STE', 'C_BAD_CD']).toEqual(expect.arrayContaining(seen[0]))
    }
    await running.stop()
    await vmm.close()
  })

  it('by EATS on and off is hitless, alone and beside another table, for EATS may change early', async () => {
    const vmm = await world.vmm()
    const { deviceId, vste, at, replace } = await guest(vmm, DEVICES.smmuv3.second)
    await vmm.client.attachRid({ deviceId, ptId: await vste(TABLE) })
    const ask = async () => {
      const { statuses, addresses } = await vmm.client.requestTranslations({ deviceId, iovas: [IOVA] })
      return statuses[0] === 1 ? RAM + addresses[0] : undefined
    }
    const running = await start(vmm, { deviceId, iova: IOVA })
    expect(await ask()).toBeUndefined()
    expect(await move(running, replace(await vste(TABLE, 1n)))).toEqual({ hitless: true, seen: [[at(PAGES[0])]] })
    expect(await ask()).toBe(PAGES[0])
    // What the device was given is asked back before the call answers.
    const next = await vste(OTHER_TABLE, 0n)
    const moved = move(running, replace(next))
    const { invalidations } = await vmm.client.pollInvalidations({ deviceId, waitMs: 5000 })
    expect(invalidations.length).toBeGreaterThan(0)
    await vmm.client.completeInvalidations({ deviceId, tags: invalidations.map(({ tag }) => tag) })
    const both = [at(PAGES[0]), at(PAGES[1])].sort()
    expect(await moved).toEqual({ hitless: true, seen: [both] })
    expect(await ask()).toBeUndefined()
    expect(await move(running, replace(await vste(TABLE, 1n)))).toEqual({ hitless: true, seen: [both] })
    expect(await ask()).toBe(PAGES[0])
    await running.stop()
    await vmm.close()
  })
})

describe('M12 on vtd: replacing on one PASID, DMA running on it, on another and on the RID', () => {
  it('is hitless between user domains of one parent, and not to a kernel-owned domain; the others see nothing', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.vtd.first)
    const parent = await vmm.parent(deviceId)
    const domains: number[] = []
    for (const [i, root] of ROOTS.entries()) {
      await new GuestTree(world.guest, INTEL, root).map(IOVA, PAGES[i])
      domains.push(await vmm.vtdDomain(deviceId, parent, root, HwptFlag.PASID))
    }
    const paging = await vmm.paging(deviceId, HwptFlag.PASID)
    await vmm.client.attachRid({ deviceId, ptId: domains[0] })
    for (const pasid of [5, 6]) await vmm.client.attachPasid({ deviceId, pasid, ptId: domains[0] })
    const iova = IOVA
    const running = await start(vmm, { deviceId, iova, pasid: 5 }, { deviceId, iova, pasid: 6 }, { deviceId, iova })
    const at = (address: bigint) => reached(vmm.regionId, address - RAM)
    const replace = (ptId: number) => () => vmm.client.replacePasid({ deviceId, pasid: 5, ptId })
    const still = [[at(PAGES[0])], [at(PAGES[0])]]
    for (const i of [1, 0, 1]) {
      const both = [at(PAGES[0]), at(PAGES[1])].sort()
      expect(await move(running, replace(domains[i]))).toEqual({ hitless: true, seen: [both, ...still] })
    }
    const { hitless, seen } = await move(running, replace(paging))
    expect([hitless, ...seen.slice(1)]).toEqual([false, ...still])
    expect(seen[0]).toEqual(expect.arrayContaining([at(PAGES[1]), at(IOVA)]))
    await running.stop()
    await vmm.close()
  })
})
