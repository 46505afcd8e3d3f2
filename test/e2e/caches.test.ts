/** The caches of units over the socket: their numbers, their policy, and who may change it. */

import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { CachePolicy, type Client, createClient, httpTransport, UnitType } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { Watched } from '../hostile/ats-world.js'
import { type Arch, NEW, NestedGuest, OLD, VIRTUAL_SID } from '../hostile/nested-guest.js'
import { refusal } from './world.js'

const UNITS = { smmuv3: 'smmu0', vtd: 'vtd0' } as const
const PLAIN = { smmuv3: '0000:00:01.0', vtd: '0000:01:01.0' } as const
const WITH_ATS = { smmuv3: '0000:00:02.0', vtd: '0000:01:02.0' } as const
const CACHES = {
  smmuv3: ['ste', 'l1std', 'cd', 'l1cd', 'tlb', 'ipa', 'walk1', 'walk2'],
  vtd: ['context', 'pasid', 'iotlb', 'walk1', 'walk2'],
} as const
const LEAVES = { smmuv3: 'tlb', vtd: 'iotlb' } as const

let daemon: Daemon
let admin: Client
const guests: NestedGuest[] = []

beforeAll(async () => {
  daemon = await startDaemon()
  admin = createClient(httpTransport({ socketPath: join(dirname(daemon.socketPath), 'admin.sock') }))
})
afterEach(async () => {
  for (const guest of guests.splice(0)) await guest.close()
})
afterAll(async () => {
  admin.close()
  await daemon.stop()
})

async function guestOf(arch: Arch, device: string): Promise<NestedGuest> {
  const guest = await NestedGuest.start(daemon.client, arch, device)
  guests.push(guest)
  return guest
}

describe.each(['smmuv3', 'vtd'] as const)('the caches of a platform’s %s', (arch) => {
  const unitName = UNITS[arch]

  it('have numbers, from when their policy was set', async () => {
    const guest = await guestOf(arch, PLAIN[arch])
    await guest.client.setCachePolicy({ unitName, policy: CachePolicy.HARDWARE })
    for (let i = 0; i < 3; i++) await guest.look()
    const { caches, policy } = await guest.client.getCacheStats({ unitName })
    expect([policy, caches.map(({ cache }) => cache)]).toEqual([CachePolicy.HARDWARE, CACHES[arch]])
    const leaves = caches.find(({ cache }) => cache === LEAVES[arch])
    expect(leaves).toMatchObject({ entries: 1n, capacity: 4096n, hits: 2n, misses: 1n, evictions: 0n })
  })

  it('keep what a guest has not invalidated until a policy is set, and nothing under OFF', async () => {
    const guest = await guestOf(arch, PLAIN[arch])
    await guest.look()
    await guest.pointTo(NEW)
    expect(await guest.look()).toEqual({ page: OLD, isCached: true })
    await guest.client.setCachePolicy({ unitName, policy: CachePolicy.RANDOM, seed: 5 })
    expect(await guest.look()).toEqual({ page: NEW, isCached: false })
    expect(await guest.look()).toEqual({ page: NEW, isCached: true })
    await guest.client.setCachePolicy({ unitName, policy: CachePolicy.OFF })
    await guest.pointTo(OLD)
    expect([await guest.look(), await guest.look()]).toEqual(Array(2).fill({ page: OLD, isCached: false }))
    const { caches, policy } = await guest.client.getCacheStats({ unitName })
    expect([policy, caches.map(({ capacity }) => capacity)]).toEqual([CachePolicy.OFF, caches.map(() => 0n)])
  })

  it('are as the platform says for the next user', async () => {
    const first = await guestOf(arch, PLAIN[arch])
    await first.client.setCachePolicy({ unitName, policy: CachePolicy.OFF })
    await guests.pop()?.close()
    const second = await guestOf(arch, PLAIN[arch])
    expect((await second.client.getCacheStats({ unitName })).policy).toBe(CachePolicy.HARDWARE)
  })

  it('are the administrator’s where several use the unit, whose token he needs not', async () => {
    const guest = await guestOf(arch, PLAIN[arch])
    await guestOf(arch, WITH_ATS[arch])
    const no = await refusal(guest.client.setCachePolicy({ unitName, policy: CachePolicy.OFF }))
    expect([no.errnoName, no.reason]).toEqual(['EPERM', expect.stringMatching(/is used by context \d+ too/)])
    expect((await refusal(guest.client.getCacheStats({ unitName }))).errnoName).toBe('EPERM')
    await admin.setCachePolicy({ unitName, policy: CachePolicy.OFF })
    expect([await guest.look(), await guest.look()].map(({ isCached }) => isCached)).toEqual([false, false])
    await admin.setCachePolicy({ unitName, policy: CachePolicy.HARDWARE })
    expect((await admin.getCacheStats({ unitName })).policy).toBe(CachePolicy.HARDWARE)
  })

  it('can be set while a device has not answered an invalidation, which goes on', async () => {
    const guest = await guestOf(arch, WITH_ATS[arch])
    const { client, deviceId } = guest
    await client.requestTranslations({ deviceId, iovas: [0n], access: 3 })
    await guest.pointTo(NEW)
    if (arch === 'smmuv3') await guest.forget()
    const sent = new Watched(arch === 'vtd' ? guest.forget() : guest.send(0x40n | (VIRTUAL_SID << 32n), 52n))
    const { invalidations } = await client.pollInvalidations({ deviceId, waitMs: 5000 })
    await client.setCachePolicy({ unitName, policy: CachePolicy.MINIMAL })
    expect([invalidations.length, sent.isAnswered]).toEqual([1, false])
    await client.completeInvalidations({ deviceId, tags: invalidations.map(({ tag }) => tag) })
    await sent.done
    expect((await guest.look()).page).toBe(NEW)
    await guest.works()
  })
})

describe('the caches of a raw unit', () => {
  it('are its owner’s to look at and to set', async () => {
    const { context } = await daemon.client.openContext()
    const client = daemon.client.inContext(context)
    const made = { type: UnitType.VTD, cachePolicy: CachePolicy.RANDOM, cacheSeed: 3 }
    const { unitId } = await client.createUnit(made)
    expect((await client.getCacheStats({ unitId })).policy).toBe(CachePolicy.RANDOM)
    await client.setCachePolicy({ unitId, policy: CachePolicy.GREEDY })
    expect((await client.getUnit({ unitId })).cachePolicy).toBe(CachePolicy.GREEDY)
    const { caches } = await client.getCacheStats({ unitId })
    expect(caches.find(({ cache }) => cache === 'iotlb')?.capacity).toBe(16384n)
    await client.closeContext({})
  })
})
