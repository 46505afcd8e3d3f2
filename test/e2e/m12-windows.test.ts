/** M12 behind a window: a guest gives a PASID another root, and its VMM replaces the domain; other PASIDs and the RID never notice. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DmaProcess, type Probe, reached } from './dma-process.js'
import { IOVA, pageOf, RAM, rootOf, WindowGuest } from './window-guest.js'
import { World } from './world.js'

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

/** A window whose RID and PASIDs 1, 2 and 70 make DMA; the ends of DMA by slot, since the last look. */
async function running(...pasids: (number | undefined)[]) {
  const guest = await WindowGuest.attached(world, await world.vmm(), { pages: 4n })
  const domains = await guest.trees(3)
  for (const pasid of [1, 2, 70]) await guest.attachPasid(pasid, domains[0])
  const { vmm, deviceId } = guest
  const probes: Probe[] = pasids.map((pasid) => ({ deviceId, pasid, iova: IOVA }))
  const process = await DmaProcess.start(world.daemon.socketPath, vmm.token, probes)
  device = process
  const at = (address: bigint) => reached(vmm.regionId, address - RAM)
  /** Does something with DMA before, meanwhile and after. */
  const during = async <T>(step: () => Promise<T>) => {
    await process.take()
    await process.more(1)
    const reply = await step()
    await process.more(2)
    return { reply, seen: (await process.take()).map((tally) => Object.keys(tally).sort()) }
  }
  return { guest, vmm, deviceId, domains, at, during }
}

describe('M12 on smmuv3: replacing the root of a PASID in a window, DMA running', () => {
  it('is seen by that PASID alone, which ends at the old place, at the new one, or finds its CD not valid', async () => {
    const { vmm, deviceId, domains, at, during } = await running(1, 2, 70, undefined)
    const still = [[at(pageOf(0))], [at(pageOf(0))], [at(IOVA)]]
    for (const [from, to] of [
      [0, 1],
      [1, 2],
      [2, 0],
    ]) {
      const { reply, seen } = await during(() => vmm.client.replacePasid({ deviceId, pasid: 1, ptId: domains[to] }))
      expect(seen.slice(1)).toEqual(still)
      const ends = [at(pageOf(from)), at(pageOf(to))]
      expect(seen[0]).toEqual(expect.arrayContaining(ends))
      expect([...ends, 'C_BAD_CD']).toEqual(expect.arrayContaining(seen[0]))
      // Another ASID and another TTB0 are two doublewords of the CD, so it cannot be said to be hitless.
      expect(reply).toEqual({ domainId: domains[to], hitless: false })
    }
    await device?.stop()
  })

  it('by itself is hitless, and seen by nobody', async () => {
    const { vmm, deviceId, domains, at, during } = await running(1, 2)
    const { reply, seen } = await during(() => vmm.client.replacePasid({ deviceId, pasid: 1, ptId: domains[0] }))
    expect([reply.hitless, seen]).toEqual([true, [[at(pageOf(0))], [at(pageOf(0))]]])
  })

  it('of the RID: stage 1 on and off is one store, hitless; from root to root is not; PASIDs see nothing', async () => {
    const { vmm, deviceId, domains, guest, at, during } = await running(undefined, 1, 70)
    const replace = (ptId: number) => () => vmm.client.replaceRid({ deviceId, ptId })
    const still = [[at(pageOf(0))], [at(pageOf(0))]]
    for (let round = 0; round < 3; round++) {
      const on = await during(replace(domains[1]))
      expect(on).toEqual({
        reply: { domainId: domains[1], hitless: true },
        seen: [[at(IOVA), at(pageOf(1))].sort(), ...still],
      })
      const off = await during(replace(guest.windowId))
      expect(off.reply.hitless).toBe(true)
      expect(off.seen).toEqual([[at(IOVA), at(pageOf(1))].sort(), ...still])
    }
    await vmm.client.replaceRid({ deviceId, ptId: domains[1] })
    const { reply, seen } = await during(replace(domains[2]))
    expect([reply.hitless, seen.slice(1)]).toEqual([false, still])
    expect([at(pageOf(1)), at(pageOf(2)), 'C_BAD_CD']).toEqual(expect.arrayContaining(seen[0]))
  })

  it('and detaching the RID, PASIDs coming and going and windows growing leave the others in peace', async () => {
    const { vmm, deviceId, domains, guest, at, during } = await running(1, 2, 70)
    const still = [[at(pageOf(0))], [at(pageOf(0))], [at(pageOf(0))]]
    const steps: (() => Promise<unknown>)[] = [
      () => vmm.client.detachRid({ deviceId }),
      () => vmm.client.attachRid({ deviceId, ptId: guest.windowId }),
      () => guest.attachPasid(3, domains[1]),
      () => vmm.client.detachPasid({ deviceId, pasid: 3 }),
      () => guest.attachPasid(500, domains[1]),
      () => vmm.client.growWindow({ windowId: guest.windowId, first: 0x9000_0000n, last: 0x9000_ffffn }),
      () => guest.attachPasid(100_000, domains[1]),
      () => vmm.client.detachPasid({ deviceId, pasid: 500 }),
      async () => vmm.client.destroy({ objectId: await guest.pgd(rootOf(2)) }),
      () =>
        vmm.client.invalidateIotlb({
          userDomainId: domains[0],
          smmuv3Pgd: { entries: [{ addr: 0n, npages: 0xffff_ffff_ffff_ffffn, flags: 0 }] },
        }),
      () =>
        vmm.client
          .attachRid({ deviceId, ptId: domains[2] })
          .catch(() => vmm.client.replaceRid({ deviceId, ptId: domains[2] })),
      () => vmm.client.detachRid({ deviceId }),
    ]
    for (const [i, step] of steps.entries()) expect((await during(step)).seen, `step ${i}`).toEqual(still)
  })
})
