/** Devices of the platform that keep translations: the daemon's book, and who waits for whom. */

import { describe, expect, it } from 'vitest'
import { KeptGrants } from '../../server/core/kept-grants.js'
import { DEFAULT_LIMITS } from '../../server/core/limits.js'
import {
  ABORTED,
  FAULT,
  hasEnded,
  IOVA,
  OFFSET,
  OK,
  READ,
  scene,
  THROUGH_ATC,
  TRANSLATED,
  WRITE,
} from './device-scene.js'
import { type FakeAts, NO_OUTCOME } from './fake-ats.js'
import type { FakeDevice } from './fake-device.js'
import type { FakeOracle } from './fake-parts.js'
import { World } from './world.js'

const FORBIDDEN = 7

describe('translation requests of a device', () => {
  it('are answered with a region and an offset; what is not there is a success without rights', () => {
    const { ask, region } = scene()
    const { statuses, regionIds, addresses, pageSizeLog2s, permissions, doneCount } = ask([IOVA + 0x123n, 0x9000n])
    expect([[...statuses], [...regionIds], [...addresses]]).toEqual([
      [1, 1],
      [region, 0],
      [OFFSET, 0n],
    ])
    expect([[...pageSizeLog2s], [...permissions], doneCount]).toEqual([[12, 12], [READ, 0], 2])
  })

  it('are Unsupported Requests where nothing is attached', () => {
    const { ask, world, deviceId } = scene()
    world.do('DetachRid', { deviceId })
    expect([...ask([IOVA]).statuses]).toEqual([2])
  })

  it('are refused of a device without ATS, of an unknown one, with a PASID that it has not, and of a child’s', () => {
    const { ask, world } = scene()
    expect(ask([IOVA], 0, 256).refusal?.name).toBe('EINVAL')
    const other = world.bind('arm2')
    const refusal = (deviceId: number) =>
      world.do('RequestTranslations', { deviceId, iovas: BigUint64Array.of(0n) }).refusal
    expect(refusal(other)).toMatchObject({ name: 'EINVAL', reason: expect.stringContaining('has no ATS') })
    expect(refusal(99)?.name).toBe('ENOENT')
    expect(world.no('BindDevice', { deviceName: 'arm/ats5' })).toBe('EBUSY')
  })
})

describe('a translated access', () => {
  it('moves data where the device was granted a page, and needs its rights', () => {
    const { ask, read, write, world, region } = scene()
    world.do('WriteMemory', { patches: [{ regionId: region, offset: OFFSET + 8n, data: Uint8Array.of(9, 8, 7, 6) }] })
    ask([IOVA])
    expect(read(OFFSET + 8n, TRANSLATED)).toMatchObject({ outcome: OK, data: Uint8Array.of(9, 8, 7, 6) })
    expect(write(OFFSET, TRANSLATED)).toMatchObject({ outcome: FAULT, doneBytes: 0 })
    ask([IOVA], WRITE)
    expect(write(OFFSET, TRANSLATED)).toMatchObject({ outcome: OK, doneBytes: 1 })
  })

  it('ends as F_TRANSL_FORBIDDEN for what was never granted, and no unit hears of it', () => {
    const { ask, read, hardware, region, world } = scene()
    ask([IOVA])
    const forged: [bigint, number][] = [
      [OFFSET + 0x1000n, region],
      [0n, region],
      [0x100000n, region],
      [2n ** 63n, region],
      [OFFSET, region + 1],
      [OFFSET, 0],
    ]
    for (const [offset, regionId] of forged) {
      const { outcome, fault, data } = read(offset, TRANSLATED, regionId)
      expect([outcome, fault?.code, fault?.recorded, data.length]).toEqual([FAULT, FORBIDDEN, false, 0])
      expect(fault?.reason).toMatch(/never granted/)
    }
    const other = world.region()
    expect(read(OFFSET, TRANSLATED, other).outcome).toBe(FAULT)
    expect(hardware.ats?.translatedTo).toEqual([])
  })

  it('ends half way where the grant ends', () => {
    const { ask, read } = scene()
    ask([IOVA])
    const { outcome, data } = read(OFFSET + 0xffcn, TRANSLATED, undefined, undefined, 8)
    expect([outcome, data.length]).toEqual([FAULT, 4])
  })

  it('is an Unsupported Request on VT-d', () => {
    const { ask, read } = scene('intel/ats')
    ask([IOVA])
    expect(read(OFFSET, TRANSLATED).outcome).toBe(OK)
    expect(read(OFFSET + 0x1000n, TRANSLATED)).toMatchObject({ outcome: ABORTED, fault: undefined })
  })

  it('is of the PASID that it was granted to', () => {
    const { ask, read, world, deviceId, domain } = scene()
    world.do('AttachPasid', { deviceId, pasid: 3, ptId: domain })
    ask([IOVA], 0, 3)
    expect(read(OFFSET, TRANSLATED, undefined, 3).outcome).toBe(OK)
    expect(read(OFFSET, TRANSLATED).outcome).toBe(FAULT)
    expect(read(OFFSET, TRANSLATED, undefined, 4).outcome).toBe(FAULT)
  })

  it('is of the device that it was granted to, and of the context', () => {
    const told = scene()
    const world = told.world
    told.ask([IOVA])
    const intel = scene('intel/ats', world)
    expect(intel.read(OFFSET, TRANSLATED, told.region).outcome).toBe(ABORTED)
    const other = world.open().context
    const operations = [{ address: OFFSET, length: 4, regionId: told.region }]
    const forged = world.do('DmaRead', { deviceId: told.deviceId, addressType: TRANSLATED, operations }, other)
    expect(forged.refusal?.name).toBe('ENOENT')
  })

  it('asked for untranslated use alone is never honoured', () => {
    const { ask, read, hardware } = scene()
    if (hardware.ats !== undefined) hardware.ats.isUntranslatedOnly = true
    expect([...ask([IOVA]).permissions]).toEqual([READ | 16])
    expect(read(OFFSET, TRANSLATED).outcome).toBe(FAULT)
  })

  it('is refused without ATS, and by Translate', () => {
    const { world, deviceId } = scene()
    const iovas = BigUint64Array.of(0n)
    const refused = (id: number, addressType: number) =>
      world.do('Translate', { deviceId: id, iovas, addressType }).refusal?.name
    expect([refused(deviceId, TRANSLATED), refused(deviceId, 3)]).toEqual(['EINVAL', 'EOPNOTSUPP'])
    expect(refused(world.bind('arm2'), THROUGH_ATC)).toBe('EINVAL')
  })

  it('names a region that was destroyed no more, whoever has its id now', () => {
    const { ask, read, world, region } = scene()
    ask([IOVA])
    world.do('DestroyMemoryRegion', { regionId: region })
    expect(world.region()).toBe(region)
    expect(read(OFFSET, TRANSLATED).outcome).toBe(FAULT)
    expect(read(IOVA, THROUGH_ATC).outcome).toBe(OK)
  })
})

describe('an access through the ATC', () => {
  it('goes out translated where the device holds a translation with the rights, else untranslated', () => {
    const { ask, read, write, hardware, world, deviceId } = scene()
    expect(read(IOVA, THROUGH_ATC).outcome).toBe(OK)
    expect(hardware.ats?.translatedTo).toHaveLength(0)
    ask([IOVA])
    expect([read(IOVA + 4n, THROUGH_ATC).outcome, write(IOVA, THROUGH_ATC).outcome]).toEqual([OK, OK])
    expect(hardware.ats?.translatedTo).toHaveLength(1)
    const iovas = BigUint64Array.of(IOVA + 5n, IOVA + 0x1000n, 0x9000n)
    const { outcomes, cacheHits, offsets } = world.do('Translate', { deviceId, iovas, addressType: THROUGH_ATC })
    expect([[...outcomes], [...cacheHits]]).toEqual([
      [OK, OK, FAULT],
      [1, 0, 0],
    ])
    expect(offsets[0]).toBe(OFFSET + 5n)
  })
})

describe('unmapping what a device holds', () => {
  it('waits until it has forgotten it; what it holds is honoured until then', async () => {
    const { ask, unmap, read, poll, complete, world, ioas, region } = scene()
    const second = 0x10000n
    world.map(ioas, region, 0x1000n, second, 0n)
    ask([IOVA, IOVA + 0x1000n, second], WRITE)
    const unmapped = unmap(0n, 0x1000000n)
    expect(await hasEnded(unmapped)).toBe(false)
    expect(read(OFFSET, TRANSLATED).outcome).toBe(OK)
    expect(read(IOVA, THROUGH_ATC).outcome).toBe(FAULT)
    const asked = poll()
    expect(asked.map(({ iova, sizeLog2, pasid, allPasids }) => [iova, sizeLog2, pasid, allPasids])).toEqual([
      [IOVA, 14, undefined, false],
      [second, 12, undefined, false],
    ])
    expect(poll()).toEqual([])
    expect(complete(asked[0].tag)).toEqual({ doneCount: 1 })
    const held = () => [0n, OFFSET, OFFSET + 0x1000n].map((offset) => read(offset, TRANSLATED).outcome)
    expect(held()).toEqual([OK, FAULT, FAULT])
    expect(await hasEnded(unmapped)).toBe(false)
    expect(complete(asked[0].tag, asked[1].tag).refusal?.name).toBe('ENOENT')
    complete(asked[1].tag)
    expect(await unmapped).toMatchObject({ length: 0x5000n })
    expect(held()).toEqual([FAULT, FAULT, FAULT])
  })

  it('delays nobody who holds none of it', () => {
    const { ask, unmap, world } = scene()
    expect(unmap(IOVA, 0x4000n)).toMatchObject({ length: 0x4000n })
    ask([IOVA])
    const { ioas, region } = scene('intel/ats', world)
    world.map(ioas, region, 0x1000n, 0x100000n)
    expect(world.do('IoasUnmap', { ioasId: ioas, iova: 0x100000n, length: 0x1000n })).toMatchObject({ length: 0x1000n })
  })

  it('is answered after a time-out, and the device does nothing until it is reset', async () => {
    const { ask, unmap, read, world, deviceId, poll, hardware, ioas, region } = scene()
    ask([IOVA])
    const unmapped = unmap()
    await world.clock.advance(DEFAULT_LIMITS.call.ats_completion_ms - 1)
    expect(await hasEnded(unmapped)).toBe(false)
    await world.clock.advance(1)
    expect(await unmapped).toMatchObject({ length: 0x4000n })
    expect(world.machine.log).toContain('ATC_INV failed')
    world.map(ioas, region, 0x1000n, IOVA)
    expect([read(IOVA, 0).outcome, read(OFFSET, TRANSLATED).outcome, poll()]).toEqual([ABORTED, ABORTED, []])
    expect([...ask([IOVA]).statuses]).toEqual([2])
    const facts = () => world.do('ListObjects').objects.find(({ id }) => id === deviceId)?.facts
    expect(facts()?.['blocked']).toMatch(/ResetDevice/)
    world.do('ResetDevice', { deviceId })
    expect(facts()).not.toHaveProperty('blocked')
    expect([read(IOVA, 0).outcome, [...ask([IOVA]).statuses]]).toEqual([OK, [1]])
    expect(hardware.slots.size).toBe(1)
  })

  it('is answered at once by a reset, an unbind and the end of the context', async () => {
    for (const end of ['ResetDevice', 'UnbindDevice', 'CloseContext'] as const) {
      const { ask, unmap, world, deviceId } = scene()
      ask([IOVA])
      const unmapped = unmap()
      expect(await hasEnded(unmapped)).toBe(false)
      await world.begin(end, { deviceId } as never)
      expect(await hasEnded(unmapped)).toBe(true)
      if (end === 'CloseContext') expect(world.leftovers()).toEqual([])
    }
  })

  it('waits no longer for who is told of it in a wait', async () => {
    const { ask, unmap, world, deviceId, complete } = scene()
    ask([IOVA])
    const polled = world.begin('PollInvalidations', { deviceId, waitMs: 1000 })
    expect(await hasEnded(polled)).toBe(false)
    const unmapped = unmap()
    complete(...(await polled).invalidations.map(({ tag }) => tag))
    expect(await hasEnded(unmapped)).toBe(true)
  })
})

describe('detaching a device', () => {
  it('waits for its translations, and lets those of another PASID be', async () => {
    const { ask, world, deviceId, domain, poll, complete, read } = scene()
    world.do('AttachPasid', { deviceId, pasid: 3, ptId: domain })
    ask([IOVA])
    ask([IOVA], 0, 3)
    const detached = world.begin('DetachPasid', { deviceId, pasid: 3 })
    expect(await hasEnded(detached)).toBe(false)
    expect(world.no('DetachPasid', { deviceId, pasid: 3 })).toBe('EBUSY')
    const [{ tag, pasid, sizeLog2 }] = poll()
    expect([pasid, sizeLog2]).toEqual([3, 64])
    complete(tag)
    expect(await hasEnded(detached)).toBe(true)
    expect([read(OFFSET, TRANSLATED).outcome, read(OFFSET, TRANSLATED, undefined, 3).outcome]).toEqual([OK, FAULT])
  })
})

describe('the book', () => {
  it('is empty after a reset and an unbind, and the next context inherits nothing', () => {
    const { ask, read, world, deviceId } = scene()
    ask([IOVA])
    world.do('ResetDevice', { deviceId })
    expect(read(OFFSET, TRANSLATED).outcome).toBe(FAULT)
    ask([IOVA])
    world.do('UnbindDevice', { deviceId })
    world.token = world.open().context
    const next = scene('arm/ats', world)
    expect(next.read(OFFSET, TRANSLATED).outcome).toBe(FAULT)
  })

  it('keeps so many and takes the oldest back', () => {
    const limits = { ...DEFAULT_LIMITS, call: { ...DEFAULT_LIMITS.call, atc_entries: 2 } }
    const { ask, read } = scene('arm/ats', new World({ limits }))
    ask([IOVA, IOVA + 0x1000n, IOVA + 0x1000n, IOVA + 0x2000n])
    const at = (page: bigint) => read(OFFSET + page * 0x1000n, TRANSLATED).outcome
    expect([at(0n), at(1n), at(2n)]).toEqual([FAULT, OK, OK])
  })
})

describe('a mediated device', () => {
  it('holds translations of its PASID, which its parent cannot use, drop or hear of', async () => {
    const world = new World()
    const parent = world.bind('arm/ats', 2)
    const own = world.token
    world.token = world.open().context
    const ioasId = world.ioas()
    const region = world.region()
    const deviceId = world.bind('arm/ats5')
    world.map(ioasId, region, 0x1000n, IOVA)
    world.do('AttachPasid', { deviceId, pasid: 5, ptId: world.paging(deviceId, ioasId, 8) })
    const iovas = BigUint64Array.of(IOVA)
    expect([...world.do('RequestTranslations', { deviceId, iovas }).permissions]).toEqual([READ])
    const asParent = { deviceId: parent, pasid: 5, iovas }
    expect(world.do('RequestTranslations', asParent, own).refusal?.name).toBe('EBUSY')
    world.do('ResetDevice', { deviceId: parent }, own)
    expect(world.machine.log.at(-1)).toMatch(/^reset \d+:$/)
    const operations = [{ address: 0n, length: 4, regionId: region }]
    const read = () => world.do('DmaRead', { deviceId, addressType: TRANSLATED, operations }).results[0].outcome
    expect(read()).toBe(OK)
    const unmapped = world.begin('IoasUnmap', { ioasId, iova: IOVA, length: 0x1000n })
    expect(await hasEnded(unmapped)).toBe(false)
    expect(world.do('PollInvalidations', { deviceId: parent }, own).invalidations).toEqual([])
    const tags = BigUint64Array.of(1n)
    expect(world.do('CompleteInvalidations', { deviceId: parent, tags }, own).refusal?.name).toBe('ENOENT')
    expect(world.do('PollInvalidations', { deviceId }).invalidations).toMatchObject([{ tag: 1n, pasid: 5 }])
    world.do('CompleteInvalidations', { deviceId, tags })
    expect(await hasEnded(unmapped)).toBe(true)
    expect(read()).toBe(FAULT)
  })
})

describe('the oracle of a unit', () => {
  const doorOf = ({ hardware }: ReturnType<typeof scene>): FakeAts => hardware.ats as FakeAts

  it('hears of each translation that a device gets or uses, with where it leads', () => {
    const told = scene()
    const { ask, read } = told
    ask([IOVA + 0x1123n])
    read(OFFSET + 0x1008n, TRANSLATED)
    read(IOVA + 0x1ffcn, THROUGH_ATC)
    const { memories } = told.world.machine
    const at = memories[0].address + Number(OFFSET) + 0x1000
    expect(doorOf(told).uses).toMatchObject([
      { lo: 0x5000, access: READ, address: at },
      { lo: 0x5000, access: READ, address: at },
      { lo: 0x5000, access: READ, address: at },
    ])
  })

  it('is not asked of what a device was told to forget and has not, nor of what it never got', async () => {
    const told = scene()
    const { ask, read, unmap, poll, complete } = told
    ask([IOVA])
    const unmapped = unmap()
    expect(read(OFFSET, TRANSLATED).outcome).toBe(OK)
    expect(doorOf(told).uses).toHaveLength(1)
    complete(...poll().map(({ tag }) => tag))
    await unmapped
    read(OFFSET, TRANSLATED)
    read(IOVA, THROUGH_ATC)
    expect(doorOf(told).uses).toHaveLength(1)
  })

  it('is asked what is stale of a device that ends, of tables of its own: of what it keeps before it forgets that', () => {
    const { world, deviceId } = scene()
    const oracle = world.machine.units.find(({ driver }) => driver.name === 'smmu0')?.oracle as FakeOracle
    oracle.cached = [
      [world.machine.devices.find(({ name }) => name === 'arm/ats')?.device.rid ?? 0, -1, true],
      [999, -1, false],
    ]
    oracle.watched = 2
    world.do('UnbindDevice', { deviceId })
    // The host invalidates what it maps itself.
    expect(oracle.lookedAt).toEqual([])
  })

  it('that refuses a use ends it ABORTED', () => {
    const told = scene()
    const { ask, read } = told
    ask([IOVA])
    doorOf(told).refusesUses = true
    expect(read(OFFSET, TRANSLATED).outcome).toBe(ABORTED)
    expect(read(IOVA, THROUGH_ATC).outcome).toBe(ABORTED)
    expect(doorOf(told).translatedTo).toEqual([])
  })

  it('finds what a mediated device keeps by its PASID, and nothing where nobody has bound it', () => {
    const world = new World()
    const ioasId = world.ioas()
    const region = world.region()
    const deviceId = world.bind('arm/ats5')
    world.map(ioasId, region, 0x1000n, IOVA)
    world.do('AttachPasid', { deviceId, pasid: 5, ptId: world.paging(deviceId, ioasId, 8) })
    world.do('RequestTranslations', { deviceId, iovas: BigUint64Array.of(IOVA), access: READ | 8 })
    const { core, machine } = world
    const hardware = machine.devices.find(({ name }) => name === 'arm/ats5')?.device as FakeDevice
    const kept = new KeptGrants(core, hardware)
    const find = (pasid: number, isPrivileged: boolean, lo = Number(IOVA)) =>
      kept.lookUp(pasid, isPrivileged, lo, 0, { ...NO_OUTCOME })
    expect([find(5, true), find(5, false), find(6, true), find(-1, false), find(5, true, 0)]).toEqual([
      true,
      false,
      false,
      false,
      false,
    ])
    world.do('UnbindDevice', { deviceId })
    expect(find(5, true)).toBe(false)
  })
})
