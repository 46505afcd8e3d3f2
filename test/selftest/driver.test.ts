/** The self-test unit behind the typed methods, and its own data and caches. [uAPI IOMMU_TEST_CMD] */

import { beforeEach, describe, expect, it } from 'vitest'
import {
  type DeviceDriver,
  DMA_ACCESS,
  DMA_STATUS,
  givenData,
  givenEntries,
  type IommuDriver,
  type PageFault,
  type PagingOps,
  refusalOf,
} from '../../server/core/driver.js'
import type { PlatformDevice } from '../../server/core/machine.js'
import { READABLE } from '../core/world.js'
import { SelftestWorld } from './world.js'

const APERTURE = 0x100_0000n
const NO_DIRTY = 1
const PASID = 4
const TYPE = 0xdeadbeef
const PLAIN = { nestParent: false, dirtyTracking: false, pasid: false }
const PARENT = { ...PLAIN, nestParent: true }

let world: SelftestWorld
let device: PlatformDevice
let driver: IommuDriver

beforeEach(() => {
  world = new SelftestWorld()
  device = world.selftest.addDevice(0)
  driver = device.driver
})

const nameOf = (run: () => unknown): string | undefined => refusalOf(run)?.name

describe('test devices', () => {
  it('have the lowest free number in their name', () => {
    expect([device, world.selftest.addDevice(0)].map(({ name }) => name)).toEqual(['iommufd_mock0', 'iommufd_mock1'])
    world.selftest.removeDevice(device)
    expect(world.selftest.addDevice(0).name).toBe('iommufd_mock0')
    expect(world.machine.devices.map(({ name }) => name).sort()).toEqual(['iommufd_mock0', 'iommufd_mock1'])
  })

  it('have no other flags than NO_DIRTY and PASID', () => {
    for (let bit = 0; bit < 32; bit++) {
      const flag = (1 << bit) >>> 0
      const expected = flag === NO_DIRTY || flag === PASID ? undefined : 'EINVAL'
      expect(nameOf(() => world.selftest.addDevice(flag))).toBe(expected)
    }
  })

  it('tell dirty tracking and PASIDs as their flags say, and never ATS', () => {
    const of = (flags: number) => world.selftest.addDevice(flags).device
    expect([0, NO_DIRTY].map((flags) => of(flags).capabilities)).toEqual([9, 8])
    expect([0, PASID].map((flags) => of(flags).maxPasids)).toEqual([1, 2 ** 20])
    expect(of(0).hwInfo).toEqual({ kind: 'selftest', flags: 0, testReg: 0xdeadbeef })
  })
})

describe('DMA of a test device', () => {
  let deviceId: number

  beforeEach(() => {
    deviceId = world.bind(device.name)
    const ioasId = world.ioas()
    const region = world.region(0x200000n)
    world.do('AttachRid', { deviceId, ptId: ioasId })
    world.map(ioasId, region, 0x1000n, APERTURE, 0x800n)
    world.map(ioasId, region, 0x800n, APERTURE + 0x1000n, 0x800n, READABLE)
  })

  it('writes through pages of 2 KiB to memory, and reads it back', () => {
    const data = Uint8Array.from({ length: 0x900 }, (_, at) => at)
    const operations = [{ address: APERTURE + 0x700n, data }]
    expect(world.do('DmaWrite', { deviceId, operations }).results).toMatchObject([{ outcome: 1, doneBytes: 0x900 }])
    const regionId = 1
    const read = world.do('ReadMemory', { slices: [{ regionId, offset: 0xf00n, length: 0x900 }] })
    expect(read.data[0]).toEqual(data)
    const back = world.do('DmaRead', { deviceId, operations: [{ address: APERTURE + 0x700n, length: 0x900 }] })
    expect(back.results[0].data).toEqual(data)
  })

  it('is refused where nothing is mapped, where the right is missing, and when nothing is attached', () => {
    const faultsOf = (iova: bigint, access: number) => {
      const request = { deviceId, iovas: BigUint64Array.of(iova), accesses: Uint32Array.of(access), access }
      return world.do('Translate', request).faults.map(({ name, reason }) => [name, reason])
    }
    expect(faultsOf(APERTURE + 0x1800n, DMA_ACCESS.READ)).toEqual([
      ['NOT_MAPPED', expect.stringContaining('nothing is mapped')],
    ])
    expect(faultsOf(2n ** 63n, DMA_ACCESS.READ)).toEqual([['NOT_MAPPED', expect.anything()]])
    expect(faultsOf(APERTURE + 0x1000n, DMA_ACCESS.WRITE)).toEqual([
      ['NO_RIGHT', expect.stringContaining('does not give')],
    ])
    expect(faultsOf(APERTURE + 0x1000n, DMA_ACCESS.READ)).toEqual([])
    world.do('DetachRid', { deviceId })
    expect(faultsOf(APERTURE, DMA_ACCESS.READ)).toEqual([['BLOCKED', expect.stringContaining('no domain')]])
  })

  it('is explained without an effect', () => {
    const { explanation } = world.do('Explain', { deviceId, iova: APERTURE + 0x801n, access: DMA_ACCESS.WRITE })
    expect(explanation.fresh).toMatchObject({ outcome: DMA_STATUS.OK, pageSizeLog2: 11, permissions: 3 })
    expect(explanation.fresh.location).toEqual({ regionId: 1, offset: 0x1001n })
  })
})

describe('paging domains of the self-test unit', () => {
  it('have pages from 2 KiB on and an aperture from 16 MiB, or with data pages of 1 MiB and an aperture from 0', () => {
    const plain = driver.createPaging(device.device, PLAIN)
    expect(plain.pageSizes & -plain.pageSizes).toBe(2048n)
    expect(plain.aperture).toEqual({ start: 0x100_0000n, last: 0x7fff_ffffn })
    const huge = driver.createPaging(device.device, PLAIN, givenData('selftest', { iotlb: 0, pagetableType: 1 }))
    expect(huge.pageSizes).toBe(0x10_1000n)
    expect(huge.aperture).toEqual({ start: 0n, last: 2n ** 38n - 1n })
  })

  it('are refused with data of another type, another format, or a log that the device cannot keep', () => {
    const vtd = givenData('vtd_s1', { flags: 0n, pgtblAddr: 0n, addrWidth: 48 })
    const third = givenData('selftest', { iotlb: 0, pagetableType: 2 })
    const quiet = world.selftest.addDevice(NO_DIRTY).device
    expect(nameOf(() => driver.createPaging(device.device, PLAIN, vtd))).toBe('EOPNOTSUPP')
    expect(nameOf(() => driver.createPaging(device.device, PLAIN, third))).toBe('EOPNOTSUPP')
    expect(nameOf(() => driver.createPaging(quiet, { ...PLAIN, dirtyTracking: true }))).toBe('EOPNOTSUPP')
  })

  it('keep a log of writes while it is asked for, and only with the flag', () => {
    expect(driver.createPaging(device.device, PLAIN).dirty).toBeUndefined()
    const domain = driver.createPaging(device.device, { ...PLAIN, dirtyTracking: true })
    domain.map(APERTURE, 0x10000, 0x1000n, { read: true, write: true })
    device.device.set(0, domain, null)
    const found: bigint[] = []
    const collect = () => domain.dirty!.collect(APERTURE, APERTURE + 0xfffn, true, (iova) => found.push(BigInt(iova)))
    const out = { status: 0, address: 0, leafLg2: 0, rights: 0, fault: 0, hit: 0, tag: 0, untranslatedOnly: 0 }
    const access = (low: number, kind: number) => device.device.port.translate(-1, low, 0, kind, out)
    access(0x1000800, DMA_ACCESS.WRITE)
    domain.dirty!.setTracking(true)
    access(0x1000000, DMA_ACCESS.READ)
    expect(collect()).toBeUndefined()
    expect(found).toEqual([])
    access(0x1000800, DMA_ACCESS.WRITE)
    device.device.port.explain(-1, 0x1000000, 0, DMA_ACCESS.WRITE, out)
    collect()
    expect(found).toEqual([0x1000800n])
  })

  it('with a log are refused by a device without one; a user domain on them is not', () => {
    const quiet = world.selftest.addDevice(NO_DIRTY).device
    const domain = driver.createPaging(device.device, { ...PARENT, dirtyTracking: true })
    expect(nameOf(() => quiet.set(0, domain, null))).toBe('EINVAL')
    const user = driver.createUserDomain(quiet, domain, givenData('selftest', { iotlb: 1, pagetableType: 0 }), {
      pasid: false,
    })
    expect(quiet.set(0, user, null)).toBeUndefined()
  })
})

describe('user domains of the self-test unit', () => {
  const word = givenData('selftest', { iotlb: 0xabc, pagetableType: 0 })
  let parent: PagingOps

  beforeEach(() => {
    parent = driver.createPaging(device.device, PARENT)
  })

  it('take data of their own type alone', () => {
    const vtd = givenData('vtd_s1', { flags: 0n, pgtblAddr: 0n, addrWidth: 48 })
    expect(nameOf(() => driver.createUserDomain(device.device, parent, vtd, { pasid: false }))).toBe('EOPNOTSUPP')
  })

  it('forget entries of their cache up to the first that is wrong', () => {
    const user = driver.createUserDomain(device.device, parent, word, { pasid: false })
    const words = () => [0, 1, 2, 3, 4].map((index) => world.selftest.iotlbEntry(user, index))
    expect(words()).toEqual([0xabc, 0xabc, 0xabc, 0xabc, undefined])
    const entries = givenEntries('selftest', [
      { flags: 0, iotlbId: 1 },
      { flags: 0, iotlbId: 4 },
      { flags: 0, iotlbId: 2 },
    ])
    const result = user.invalidate!(entries, 0, 3)
    expect([result.done, result.refusal?.name]).toEqual([1, 'EINVAL'])
    expect(words()).toEqual([0xabc, 0, 0xabc, 0xabc, undefined])
    const unknown = givenEntries('selftest', [{ flags: 2, iotlbId: 4 }])
    expect(user.invalidate!(unknown, 0, 1)).toMatchObject({ done: 0, refusal: { name: 'EOPNOTSUPP' } })
    const outside = givenEntries('selftest', [{ flags: 1, iotlbId: 4 }])
    expect(user.invalidate!(outside, 0, 1)).toMatchObject({ done: 0, refusal: { name: 'EINVAL' } })
    expect(user.invalidate!(givenEntries('selftest', [{ flags: 1, iotlbId: 3 }]), 0, 1)).toMatchObject({ done: 1 })
    expect(words()).toEqual([0, 0, 0, 0, undefined])
  })

  it('refuse entries of another type, also none', () => {
    const user = driver.createUserDomain(device.device, parent, word, { pasid: false })
    expect(nameOf(() => user.invalidate!(givenEntries('vtd_s1', []), 0, 0))).toBe('EINVAL')
    expect(user.invalidate!(givenEntries('selftest', []), 0, 0)).toEqual({ done: 0, completion: undefined })
  })

  it('lead a device to its parent’s mappings', () => {
    parent.map(APERTURE, 0x10000, 0x800n, { read: true, write: false })
    device.device.set(0, driver.createUserDomain(device.device, parent, word, { pasid: false }), null)
    const out = { status: 0, address: 0, leafLg2: 0, rights: 0, fault: 0, hit: 0, tag: 0, untranslatedOnly: 0 }
    device.device.port.translate(-1, 0x1000004, 0, DMA_ACCESS.READ, out)
    expect(out).toMatchObject({ status: DMA_STATUS.OK, address: 0x10004, leafLg2: 11, rights: 1 })
  })
})

describe('a vIOMMU of the self-test unit', () => {
  const word = givenData('selftest', { iotlb: 7, pagetableType: 0 })
  let parent: PagingOps

  beforeEach(() => {
    parent = driver.createPaging(device.device, PARENT)
  })

  const make = () => driver.createViommu(device.device, parent, TYPE)

  it('has one type', () => {
    expect(nameOf(() => driver.checkViommu(device.device, 1))).toBe('EOPNOTSUPP')
    expect(nameOf(() => driver.checkViommu(device.device, TYPE))).toBeUndefined()
  })

  it('with data has a page of 8 KiB whose first word is the data’s', () => {
    expect(make().page).toBeUndefined()
    const viommu = driver.createViommu(
      device.device,
      parent,
      TYPE,
      givenData('selftest_viommu', { inData: 0x81020304 }),
    )
    const bytes = new Uint8Array(5)
    viommu.page!.read(0, bytes)
    expect([...bytes]).toEqual([4, 3, 2, 0x81, 0])
    expect(viommu.page!.lengthBytes).toBe(8192)
    expect(viommu.reply).toEqual({ out_data: 0x81020304 })
    viommu.destroy()
  })

  it('wants a vDEVICE before a user domain of it is attached to a RID, and not for a PASID', () => {
    const viommu = make()
    const user = viommu.createUserDomain(device.device, word, { pasid: true })
    expect(nameOf(() => device.device.set(0, user, null))).toBe('ENOENT')
    expect(nameOf(() => device.device.set(5, user, null))).toBeUndefined()
    viommu.addVdevice(device.device, 0x99n)
    expect(nameOf(() => device.device.set(0, user, null))).toBeUndefined()
    viommu.removeVdevice(device.device)
    expect(nameOf(() => device.device.set(0, user, user))).toBe('ENOENT')
  })

  it('is remembered by the device until its RID is attached elsewhere, with the name at the first attach', () => {
    const viommu = make()
    const user = viommu.createUserDomain(device.device, word, { pasid: false })
    const event = () => world.selftest.eventOf(device.device)
    viommu.addVdevice(device.device, 0n)
    device.device.set(0, user, null)
    expect(event()).toBeUndefined()
    device.device.clear(0, user)
    viommu.removeVdevice(device.device)
    viommu.addVdevice(device.device, 0x1_0000_0099n)
    device.device.set(0, user, null)
    expect(event()).toEqual({ viommu, virtId: 0x1_0000_0099n })
    viommu.removeVdevice(device.device)
    viommu.addVdevice(device.device, 5n)
    device.device.set(0, user, user)
    expect(event()?.virtId).toBe(0x1_0000_0099n)
    device.device.set(0, parent, user)
    expect(event()).toBeUndefined()
  })

  it('reports events with the low word of the name', () => {
    const told: unknown[] = []
    driver.listener = { ...driver.listener!, viommuEvent: (...event) => told.push(event) > 0 }
    const viommu = make()
    world.selftest.report({ viommu, virtId: 0x1_0000_0099n })
    expect(told).toEqual([[viommu, 0xbeefbeef, [0x99], 'SELFTEST']])
  })

  it('forgets entries of devices’ caches by the devices’ names', () => {
    const viommu = make()
    viommu.addVdevice(device.device, 3n)
    const cache = () => [0, 1, 2, 3, 4].map((index) => world.selftest.cacheEntry(device.device, index))
    const D = 0xbaddad
    expect(cache()).toEqual([D, D, D, D, undefined])
    const entries = givenEntries('selftest_viommu', [
      { flags: 0, vdevId: 3, cacheId: 2 },
      { flags: 0, vdevId: 4, cacheId: 1 },
    ])
    expect(viommu.invalidate!(entries, 0, 2)).toMatchObject({ done: 1, refusal: { name: 'EINVAL' } })
    expect(cache()).toEqual([D, D, 0, D, undefined])
    const bad = [
      [{ flags: 2, vdevId: 4, cacheId: 4 }, 'EOPNOTSUPP'],
      [{ flags: 0, vdevId: 3, cacheId: 4 }, 'EINVAL'],
    ] as const
    for (const [entry, name] of bad) {
      const one = givenEntries('selftest_viommu', [entry])
      expect(viommu.invalidate!(one, 0, 1)).toMatchObject({ done: 0, refusal: { name } })
    }
    const all = givenEntries('selftest_viommu', [{ flags: 1, vdevId: 3, cacheId: 0 }])
    expect(viommu.invalidate!(all, 0, 1)).toMatchObject({ done: 1 })
    expect(cache()).toEqual([0, 0, 0, 0, undefined])
    expect(nameOf(() => viommu.invalidate!(givenEntries('smmuv3', []), 0, 0))).toBe('EINVAL')
    expect(viommu.invalidate!(givenEntries('selftest_viommu', []), 0, 0)).toMatchObject({ done: 0 })
  })

  it('has two hardware queues, which come and go in order', () => {
    const viommu = make()
    const queue = (index: number) => nameOf(() => viommu.createHwQueue!(index, 0, 4096n))
    expect([viommu.hasHwQueues!(TYPE), viommu.hasHwQueues!(1)]).toEqual([true, false])
    expect(queue(1)).toBe('EIO')
    const first = viommu.createHwQueue!(0, 0, 4096n)
    expect([queue(0), queue(2)]).toEqual(['EEXIST', 'EINVAL'])
    const second = viommu.createHwQueue!(1, 0, 4096n)
    expect([first.previous, second.previous]).toEqual([undefined, first])
    second.destroy()
    expect(queue(1)).toBeUndefined()
  })
})

describe('PASID 1024', () => {
  it('fails every second time it is set, and starts anew when it is cleared', () => {
    const pasids = world.selftest.addDevice(PASID).device
    const domain = driver.createPaging(pasids, { ...PLAIN, pasid: true })
    const set = (slot: number) => nameOf(() => pasids.set(slot, domain, null))
    expect([1024, 1024, 1024, 1024].map(set)).toEqual([undefined, 'ENOMEM', undefined, 'ENOMEM'])
    set(1024)
    pasids.clear(1024, domain)
    expect([1024, 1023, 1023].map(set)).toEqual([undefined, undefined, undefined])
  })
})

describe('a page request of a test device', () => {
  it('goes to whoever listens', () => {
    const told: [DeviceDriver, PageFault][] = []
    const pageFault = (...request: [DeviceDriver, PageFault]): boolean => told.push(request) > 0
    driver.listener = { ...driver.listener!, pageFault }
    const fault = { pasid: -1, group: 3, isLast: true, access: 1, address: 0x1000n }
    world.selftest.requestPage(device.device, fault)
    expect(told).toEqual([[device.device, fault]])
    expect(device.device.respond?.(fault, true)).toBeUndefined()
  })
})
