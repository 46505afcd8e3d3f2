/** M10: how windows and their roots end, in which order, and with whom; and a daemon that offers no extensions. */

import { spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DmaOutcome } from '../../clients/node/index.js'
import { matching, no } from './refusals.js'
import { FIELDS, IOVA, makeWindow, PAGE, pageOf, RAM, rootOf, WINDOW, WindowGuest } from './window-guest.js'
import { DEVICES, READ, type Vmm, World } from './world.js'

let world: World
beforeAll(async () => {
  world = await World.start()
})
afterEach(() => world.sweep())
afterAll(() => world.stop())

describe('M10: destroying', () => {
  it('goes from the slots inwards: each object is EBUSY while another holds it, and says who', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { vmm, deviceId, windowId, parent } = guest
    const [one, two] = await guest.trees(2)
    const destroy = (objectId: number) => vmm.client.destroy({ objectId })
    const spare = await guest.pgd(rootOf(1))
    await guest.attachPasid(1, one)
    await guest.attachPasid(2, one)
    await guest.attachPasid(0, two)
    for (const id of [one, two])
      expect(await no(destroy(id))).toEqual(matching('EBUSY', new RegExp(`device ${deviceId}`)))
    expect(await no(destroy(windowId))).toEqual(matching('EBUSY', /user domain|device/))
    expect(await no(destroy(parent))).toEqual(matching('EBUSY', new RegExp(`window ${windowId}`)))
    expect(await no(destroy(vmm.ioasId))).toEqual(matching('EBUSY', /./))
    await vmm.client.detachPasid({ deviceId, pasid: 1 })
    expect((await no(destroy(one)))[0]).toBe('EBUSY')
    await vmm.client.detachPasid({ deviceId, pasid: 2 })
    await destroy(one)
    await destroy(spare)
    await vmm.client.detachRid({ deviceId })
    expect((await no(destroy(windowId)))[0]).toBe('EBUSY')
    await destroy(two)
    await destroy(windowId)
    await destroy(parent)
    expect(await guest.reach()).toBe('outcome 3')
  })

  it('a window that is attached, with no root, is EBUSY until it is detached', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { vmm, deviceId, windowId } = guest
    expect(await no(vmm.client.destroy({ objectId: windowId }))).toEqual(
      matching('EBUSY', new RegExp(`device ${deviceId}`)),
    )
    await vmm.client.detachRid({ deviceId })
    await vmm.client.destroy({ objectId: windowId })
    expect((await no(vmm.client.attachRid({ deviceId, ptId: windowId })))[0]).toBe('ENOENT')
  })

  it('gives the addresses back, all that were grown too, for mappings, for ranges and for the next window', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { vmm, deviceId, windowId, parent } = guest
    const { client, ioasId, regionId } = vmm
    const grown = WINDOW + 0x10_0000n
    const [one] = await guest.trees(1)
    await client.growWindow({ windowId, first: grown, last: grown + 4n * PAGE - 1n })
    await guest.attachPasid(64, one)
    await client.detachPasid({ deviceId, pasid: 64 })
    await client.detachRid({ deviceId })
    await client.destroy({ objectId: one })
    const map = (iova: bigint) =>
      client.ioasMap({ ioasId, flags: 7, region: { regionId, offset: 0n }, length: PAGE, iova })
    for (const iova of [WINDOW, grown]) expect((await no(map(iova)))[0]).toBe('EINVAL')
    await client.destroy({ objectId: windowId })
    for (const iova of [WINDOW, grown]) await map(iova)
    await client.attachRid({ deviceId, ptId: parent })
    expect((await vmm.dma(deviceId, WINDOW + 8n)).address).toBe(RAM + 8n)
    await client.ioasUnmap({ ioasId, iova: WINDOW, length: PAGE })
    expect(await vmm.dma(deviceId, WINDOW)).toMatchObject({ fault: 'F_TRANSLATION' })
    expect(await makeWindow(vmm, parent, WINDOW, 1n)).toBeGreaterThan(0)
  })

  it('and making anew, many times, leaves nothing behind: no ASID, VMID, page or CD of the last', async () => {
    const guest = await WindowGuest.make(world, await world.vmm())
    const { vmm, deviceId, parent } = guest
    await guest.trees(1)
    await vmm.client.destroy({ objectId: await guest.pgd(rootOf(0)) })
    for (let round = 0; round < 20; round++) {
      const first = WINDOW + 0x100_0000n
      const windowId = await makeWindow(vmm, parent, first, 3n)
      const smmuv3Pgd = { ...FIELDS, ttb0: rootOf(0) }
      const { domainId } = await vmm.client.createUserDomain({ deviceId, windowId, smmuv3Pgd })
      await vmm.client.attachRid({ deviceId, ptId: windowId })
      for (const pasid of [1, 64]) {
        // The pages were the last window's, and its CDs were valid.
        expect(await guest.reach(pasid)).toMatch(/^C_BAD_(CD|SUBSTREAMID)$/)
        await guest.attachPasid(pasid, domainId)
        expect(await guest.reach(pasid)).toBe(pageOf(0))
        await vmm.client.detachPasid({ deviceId, pasid })
      }
      await vmm.client.detachRid({ deviceId })
      await vmm.client.destroy({ objectId: domainId })
      await vmm.client.destroy({ objectId: windowId })
    }
  })
})

describe('M10: unbinding and dying', () => {
  it('an unbound device leaves its window and PASIDs, which another may then have', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { vmm, deviceId, windowId } = guest
    const [one] = await guest.trees(1)
    await guest.attachPasid(9, one)
    await vmm.client.unbindDevice({ deviceId })
    const second = await vmm.bind(DEVICES.smmuv3.second)
    await vmm.client.attachRid({ deviceId: second, ptId: windowId })
    expect([await guest.reach(undefined, second), await guest.reach(9, second)]).toEqual([IOVA, 'C_BAD_CD'])
    const again = await vmm.bind(DEVICES.smmuv3.first)
    expect([await guest.reach(undefined, again), await guest.reach(9, again)]).toEqual(['outcome 3', 'outcome 3'])
  })

  it('a context that ends with everything in use takes all of it along', async () => {
    for (let round = 0; round < 3; round++) {
      const guest = await WindowGuest.attached(world, await world.vmm(), { pages: 8n })
      const [one, two] = await guest.trees(2)
      for (const pasid of [0, 1, 64, 300]) await guest.attachPasid(pasid, pasid % 2 === 0 ? one : two)
      expect([await guest.reach(), await guest.reach(1), await guest.reach(300)]).toEqual([0, 1, 0].map(pageOf))
      if (round < 2) await guest.vmm.client.detachRid({ deviceId: guest.deviceId })
      await guest.vmm.close()
      const after = await world.vmm()
      const deviceId = await after.bind(DEVICES.smmuv3.first)
      for (const pasid of [undefined, 1, 64, 300]) {
        expect((await after.dma(deviceId, IOVA, READ, pasid)).outcome).toBe(DmaOutcome.ABORTED)
      }
      await after.close()
    }
  })

  it('a client that is killed in the middle of it gives the device back', async () => {
    const sdk = pathToFileURL(join(resolve(import.meta.dirname, '../../dist/clients/node'), 'index.js')).href
    const program = `
      import { connect } from '${sdk}'
      const client = connect({ socketPath: process.argv[1] })
      const { context } = await client.openContext({ lifetime: 1 })
      const vmm = client.inContext(context)
      const { regionId } = await vmm.createMemoryRegion({ anonymous: { bytes: 0x400000n } })
      const { ioasId } = await vmm.createIoas()
      await vmm.ioasMap({ ioasId, flags: 7, region: { regionId, offset: 0n }, length: 0x400000n, iova: 0x40000000n })
      const { deviceId } = await vmm.bindDevice({ deviceName: '${DEVICES.smmuv3.first}' })
      const { domainId: parentDomainId } = await vmm.createPagingDomain({ flags: 1, deviceId, ioasId })
      const { windowId } = await vmm.createWindow({ parentDomainId, first: 0x80000000n, last: 0x80001fffn })
      await vmm.attachRid({ deviceId, ptId: windowId })
      const smmuv3Pgd = { ttb0: 0x40010000n, t0sz: 16, ips: 5 }
      const { domainId } = await vmm.createUserDomain({ deviceId, windowId, smmuv3Pgd })
      for (let pasid = 1; ; pasid = pasid % 63 + 1) {
        await vmm.attachPasid({ deviceId, pasid, ptId: domainId })
        if (pasid === 40) console.log('busy')
        await vmm.detachPasid({ deviceId, pasid })
      }`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, world.daemon.socketPath], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await new Promise<void>((busy) => child.stdout.once('data', () => busy()))
    const vmm = await world.vmm()
    expect((await no(vmm.bind(DEVICES.smmuv3.first)))[0]).toBe('EBUSY')
    child.kill('SIGKILL')
    await new Promise<void>((gone) => child.once('close', () => gone()))
    const bind = async (vmm: Vmm): Promise<number> => {
      for (let i = 0; i < 100; i++) {
        const id = await vmm.bind(DEVICES.smmuv3.first).catch(() => 0)
        if (id !== 0) return id
        await new Promise((later) => setTimeout(later, 20))
      }
      throw new Error('the device is not given back')
    }
    const deviceId = await bind(vmm)
    expect((await vmm.dma(deviceId, IOVA, READ, 1)).outcome).toBe(DmaOutcome.ABORTED)
    expect(await makeWindow(vmm, await vmm.parent(deviceId), WINDOW, 1n)).toBeGreaterThan(0)
  })
})

describe('M10: a daemon with --strict', () => {
  it('has no windows, and no call that would take one: EOPNOTSUPP', async () => {
    const strict = await World.start(undefined, ['--strict'])
    try {
      const vmm = await strict.vmm()
      const deviceId = await vmm.bind(DEVICES.smmuv3.first)
      const parent = await vmm.parent(deviceId)
      const range = { first: WINDOW, last: WINDOW + PAGE - 1n }
      const smmuv3Pgd = { ...FIELDS, ttb0: rootOf(0) }
      const viommuId = await vmm.viommu(deviceId, parent)
      const abort = await vmm.smmuDomain(deviceId, viommuId, { ste0: 0n, ste1: 0n })
      const entries = [{ addr: 0n, npages: 1n, flags: 0 }]
      const calls = [
        vmm.client.createWindow({ parentDomainId: parent, ...range }),
        vmm.client.growWindow({ windowId: parent, ...range }),
        vmm.client.createUserDomain({ deviceId, windowId: parent, smmuv3Pgd }),
        vmm.client.createUserDomain({ deviceId, viommuId, smmuv3Pgd }),
        vmm.client.invalidateIotlb({ userDomainId: abort, smmuv3Pgd: { entries } }),
      ]
      const noes = await Promise.all(calls.map(no))
      expect(noes).toEqual(calls.map(() => matching('EOPNOTSUPP', /strict/)))
    } finally {
      await strict.stop()
    }
  })
})
