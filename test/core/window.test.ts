/** Windows: what they reserve, what is behind them, and what a refused call leaves. */

import { beforeEach, describe, expect, it } from 'vitest'
import { Refusal } from '../../server/core/refusal.js'
import { FakeMachine } from './fake-machine.js'
import { ROOT } from './roots.js'
import { FIXED, READABLE, World } from './world.js'

const NEST_PARENT = 1
const PAGE = 4096n
const MIB2 = 0x20_0000n

let world: World
let device: number
let ioas: number
let parent: number

beforeEach(() => {
  world = new World()
  device = world.bind('arm')
  ioas = world.ioas()
  parent = world.paging(device, ioas, NEST_PARENT)
})

const create = (first = 0x10_0000n, last = first + PAGE - 1n, parentDomainId = parent) => ({
  parentDomainId,
  first,
  last,
})

const window = (first?: bigint, last?: bigint): number => world.do('CreateWindow', create(first, last)).windowId

const domain = (windowId: number): number =>
  world.do('CreateUserDomain', { deviceId: device, windowId, smmuv3Pgd: ROOT }).domainId

const reserved = (): readonly string[] => {
  const { ranges } = world.do('IoasIovaRanges', { ioasId: ioas })
  return ranges.map(({ first, last }) => `${first.toString(16)}-${last.toString(16)}`)
}

const tableBytes = (): number => world.core.contexts[0].quota.used('table_bytes')

describe('a window', () => {
  it('is an object that holds its parent, and tells where it is', () => {
    const windowId = window(0x10_0000n, 0x10_1fffn)
    const [told] = world.do('ListObjects', { type: 11 }).objects
    expect(told).toMatchObject({ id: windowId, type: 11, users: 0, holds: Uint32Array.of(parent) })
    expect(told.facts).toEqual({
      unit: 'smmu0',
      parent: String(parent),
      ranges: '[0x100000, 0x101fff]',
      free_bytes: '8192',
      table_bytes: '8192',
    })
    expect(world.no('Destroy', { objectId: parent })).toBe('EBUSY')
    world.do('Destroy', { objectId: windowId })
    world.do('Destroy', { objectId: parent })
  })

  it('takes its range out of the IOAS: nothing is mapped, chosen, allowed or reserved there', () => {
    const region = world.region(0x40_0000n)
    window(0x10_0000n, 0x1f_ffffn)
    expect(reserved()).toEqual(['0-fffff', '200000-ffffffffffff'])
    expect(world.no('IoasMap', mapAt(region, 0x1f_f000n, 0x2000n))).toBe('EINVAL')
    expect(world.map(ioas, region, 0x10_0000n)).toBe(0x20_0000n)
    expect(world.refusal('IoasMap', mapAt(region, 0x10_0000n)).context).toMatchObject({ owner: `window ${parent + 1}` })
    const allowed = world.do('IoasAllowIovas', { ioasId: ioas, ranges: [{ first: 0n, last: 0x10_0000n }] })
    expect(allowed.refusal?.name).toBe('EADDRINUSE')
    expect(world.no('CreateWindow', create(0x1f_f000n))).toBe('EADDRINUSE')
  })

  it('is not made where a mapping, an allowed range or another reservation is', () => {
    const region = world.region()
    world.map(ioas, region, 0x1000n, 0x10_1000n)
    const inTheWay = (...of: Parameters<typeof create>) => {
      const { name, message } = world.refusal('CreateWindow', create(...of))
      return `${name} ${message}`
    }
    expect(inTheWay(0x10_0000n, 0x10_1fffn)).toMatch(/^EADDRINUSE .*a mapping of IOAS/)
    world.do('IoasAllowIovas', { ioasId: ioas, ranges: [{ first: 0x20_0000n, last: 0x20_0fffn }] })
    expect(inTheWay(0x20_0000n)).toMatch(/^EADDRINUSE .*an allowed range of IOAS/)
    world.do('AttachRid', { deviceId: device, ptId: parent })
    expect(inTheWay(0x80f_f000n)).toMatch(/^EADDRINUSE .*reserved by device/)
    expect(inTheWay(0x10_1000n)).toMatch(/^EADDRINUSE /)
    window(0x10_2000n)
  })

  it('stands in the way of a device that reserves its range, and of a domain that cannot map it', () => {
    const windowId = window(0x800_0000n)
    const { name, message } = world.refusal('AttachRid', { deviceId: device, ptId: parent })
    expect(`${name} ${message}`).toMatch(new RegExp(`^EADDRINUSE .*window ${windowId} of IOAS ${ioas} is there`))
    const mock = world.bind('mock')
    const inside = world.paging(mock, ioas)
    expect(world.no('CreateWindow', create(0x10_0000n))).toBe('EADDRINUSE')
    world.do('Destroy', { objectId: inside })
    window(0x10_0000n)
    expect(world.no('CreatePagingDomain', { deviceId: mock, ioasId: ioas })).toBe('EADDRINUSE')
  })

  it('is the daemon’s memory: it is charged, and given back with the window', () => {
    const before = tableBytes()
    const windowId = window(0x10_0000n, 0x10_3fffn)
    // Four pages, and the four entries that the fake table counts as pages.
    expect(tableBytes() - before).toBe(8 * 4096)
    world.do('Destroy', { objectId: windowId })
    expect(tableBytes()).toBe(before)
    expect(reserved()).toEqual(['0-ffffffffffff'])
    window(0x10_0000n)
  })

  it('goes with its context, whatever is on it', () => {
    const windowId = window()
    world.do('AttachRid', { deviceId: device, ptId: windowId })
    world.do('AttachPasid', { deviceId: device, pasid: 0, ptId: domain(windowId) })
    world.do('AttachPasid', { deviceId: device, pasid: 7, ptId: domain(windowId) })
    world.do('CloseContext')
    expect(world.leftovers()).toEqual([])
  })

  it('is another context’s to nobody else', () => {
    const windowId = window()
    const other = world.open().context
    const own = world.do('BindDevice', { deviceName: 'arm2', grant: 0 }, other).deviceId
    while (world.do('CreateIoas', {}, other).ioasId < windowId - 1);
    const at = create(0n, 4095n, parent)
    expect(world.no('CreateWindow', at, other)).toBe('EINVAL')
    expect(world.no('GrowWindow', { windowId, first: 0n, last: 4095n }, other)).toBe('ENOENT')
    expect(world.no('AttachRid', { deviceId: own, ptId: windowId }, other)).toBe('ENOENT')
    expect(world.no('Destroy', { objectId: windowId }, other)).toBe('ENOENT')
    const root = { deviceId: own, windowId, smmuv3Pgd: ROOT }
    expect(world.no('CreateUserDomain', root, other)).toBe('EINVAL')
  })
})

const mapAt = (regionId: number, iova: bigint, length = PAGE) => ({
  ioasId: ioas,
  region: { regionId, offset: 0n },
  length,
  iova,
  flags: FIXED | READABLE,
})

describe('CreateWindow', () => {
  it('wants a nesting parent behind an SMMUv3', () => {
    const no = (parentDomainId: number) => world.no('CreateWindow', create(0n, 4095n, parentDomainId))
    expect(no(99)).toBe('ENOENT')
    expect(no(ioas)).toBe('EINVAL')
    expect(no(world.paging(device, ioas))).toBe('EINVAL')
    expect(no(world.paging(world.bind('intel'), ioas, NEST_PARENT))).toBe('EOPNOTSUPP')
    const { domainId } = world.do('AttachRid', { deviceId: device, ptId: world.ioas() })
    expect(no(domainId)).toBe('EINVAL')
  })

  it('is EOPNOTSUPP where the unit lacks what a window needs', () => {
    const units = [{ name: 'small0', kind: 'smmuv3', isWindowless: true }] as const
    world = new World({ machine: new FakeMachine(units, [{ name: 'a', unit: 'small0' }]) })
    const parentDomainId = world.paging(world.bind('a'), world.ioas(), NEST_PARENT)
    expect(world.no('CreateWindow', create(0n, 4095n, parentDomainId))).toBe('EOPNOTSUPP')
    expect(world.objects()).toHaveLength(3)
  })

  it('takes whole pages that the parent can map', () => {
    const no = (first: bigint, last: bigint) => world.no('CreateWindow', create(first, last))
    expect(no(0x1000n, 0xfffn)).toBe('EINVAL')
    expect(no(0x1001n, 0x1fffn)).toBe('EINVAL')
    expect(no(0x1000n, 0x1ffen)).toBe('EINVAL')
    expect(no(2n ** 48n, 2n ** 48n + 4095n)).toBe('EINVAL')
    expect(no(2n ** 48n - PAGE, 2n ** 48n + 4095n)).toBe('EINVAL')
    expect(no(2n ** 64n - PAGE, 2n ** 64n - 1n)).toBe('EINVAL')
    window(2n ** 48n - PAGE)
    window(0n)
  })

  it('is EDQUOT before anything is made, where its memory breaks a limit', () => {
    const bytes = BigInt(world.core.limits.context.table_bytes)
    const refusal = world.refusal('CreateWindow', create(0n, bytes - 1n))
    expect([refusal.name, refusal.context.limit]).toEqual(['EDQUOT', 'table_bytes'])
    expect(world.machine.log).not.toContain('window memory')
    expect(reserved()).toEqual(['0-ffffffffffff'])
  })
})

describe('GrowWindow', () => {
  it('adds ranges, also while the window is attached, and tells what is free', () => {
    const windowId = window()
    world.do('AttachRid', { deviceId: device, ptId: windowId })
    const grown = world.do('GrowWindow', { windowId, first: 0x20_0000n, last: 0x20_2fffn })
    expect(grown.freeBytes).toBe(0x4000n)
    expect(reserved()[1]).toBe('101000-1fffff')
    expect(world.no('GrowWindow', { windowId, first: 0x20_2000n, last: 0x20_3fffn })).toBe('EADDRINUSE')
    expect(world.no('GrowWindow', { windowId: parent, first: 0n, last: 4095n })).toBe('ENOENT')
    expect(world.no('GrowWindow', { windowId, first: 0n, last: 4096n })).toBe('EINVAL')
  })
})

describe('ranges of windows', () => {
  it('count against allowed_ranges but the first of each, and are given back', () => {
    const used = (): number => world.core.contexts[0].quota.used('allowed_ranges')
    const limit = world.core.limits.context.allowed_ranges
    const small = { ...world.core.limits, context: { ...world.core.limits.context, allowed_ranges: 2 } }
    expect([limit, used()]).toEqual([4096, 0])
    const limited = new World({ limits: small })
    device = limited.bind('arm')
    parent = limited.paging(device, limited.ioas(), NEST_PARENT)
    const windowId = limited.do('CreateWindow', create(0n, 4095n)).windowId
    limited.do('CreateWindow', create(0x1_0000n))
    const grow = (page: bigint) => ({ windowId, first: page * PAGE, last: page * PAGE + 4095n })
    limited.do('GrowWindow', grow(2n))
    expect(limited.no('GrowWindow', grow(2n))).toBe('EADDRINUSE')
    limited.do('GrowWindow', grow(4n))
    const refusal = limited.refusal('GrowWindow', grow(6n))
    expect([refusal.name, refusal.context.limit]).toEqual(['EDQUOT', 'allowed_ranges'])
    limited.do('Destroy', { objectId: windowId })
    expect(limited.core.contexts[0].quota.used('allowed_ranges')).toBe(0)
    limited.do('CreateWindow', create(6n * PAGE))
  })
})

describe('a refused call', () => {
  it.each(['window', 'window memory', 'object'])('leaves nothing when %s is refused', (what) => {
    let left = 1
    world = refusing(what, () => left-- > 0)
    const before = [world.machine.live, tableBytes(), reserved()]
    expect(world.no('CreateWindow', create(0n, 2n * MIB2 - 1n))).toBe('ENOMEM')
    expect([world.machine.live, tableBytes(), reserved()]).toEqual(before)
    window(0n, 2n * MIB2 - 1n)
  })

  it('gives back the pieces that it had, and only those', () => {
    let left = Number.POSITIVE_INFINITY
    world = refusing('window memory', () => --left === 0)
    const windowId = window()
    const before = [world.machine.live, tableBytes(), reserved()]
    const grow = { windowId, first: MIB2, last: 4n * MIB2 - 1n }
    left = 5
    expect(world.no('GrowWindow', grow)).toBe('ENOMEM')
    expect([world.machine.live, tableBytes(), reserved()]).toEqual(before)
    left = Number.POSITIVE_INFINITY
    expect(world.do('GrowWindow', grow).freeBytes).toBe(3n * MIB2 + PAGE)
  })
})

/** The same world, in which something is refused. */
function refusing(what: string, isNow: () => boolean): World {
  const failPoint = (name: string): void => {
    if (name === what && isArmed && isNow()) throw new Refusal('ENOMEM', `the test refuses this ${name}`)
  }
  let isArmed = false
  const made = new World({ failPoint })
  made.machine.failPoint = failPoint
  device = made.bind('arm')
  ioas = made.ioas()
  parent = made.paging(device, ioas, NEST_PARENT)
  isArmed = true
  return made
}

describe('CreateUserDomain in a window', () => {
  it('takes one root, and its domain holds the window', () => {
    const windowId = window()
    const domainId = domain(windowId)
    const [told] = world.do('ListObjects', { type: 3 }).objects
    expect(told).toMatchObject({ id: domainId, holds: Uint32Array.of(windowId) })
    expect(told.facts).toEqual({
      unit: 'smmu0',
      parent: String(parent),
      binds: 'rid-or-pasid',
      window: String(windowId),
    })
    expect(world.no('Destroy', { objectId: windowId })).toBe('EBUSY')
    world.do('Destroy', { objectId: domainId })
    world.do('Destroy', { objectId: windowId })
  })

  it('is refused with other data, on other things, and with what makes a CD illegal', () => {
    const windowId = window()
    const no = (request: object) => world.no('CreateUserDomain', { deviceId: device, ...request })
    const { viommuId } = world.do('CreateViommu', { type: 1, deviceId: device, parentDomainId: parent })
    const root = { smmuv3Pgd: ROOT }
    expect(no({ windowId, smmuv3Ste: { ste0: 1n, ste1: 0n } })).toBe('EINVAL')
    expect(no({ windowId, vtdS1: { flags: 0n, pgtblAddr: 0n, addrWidth: 48 } })).toBe('EINVAL')
    expect(no({ windowId })).toBe('EINVAL')
    expect(no({ windowId: parent, ...root })).toBe('EINVAL')
    expect(no({ windowId: 99, ...root })).toBe('EINVAL')
    expect(no({ viommuId, ...root })).toBe('EINVAL')
    expect(no({ parentDomainId: parent, ...root })).toBe('EINVAL')
    expect(no({ ...root })).toBe('EINVAL')
    expect(no({ windowId, smmuv3Pgd: { ...ROOT, t0sz: 63 } })).toBe('EINVAL')
    expect(no({ windowId, ...root, flags: 2 })).toBe('EOPNOTSUPP')
    expect(no({ windowId, ...root, flags: 4, faultQueueId: 99 })).toBe('ENOENT')
    expect(world.no('CreateUserDomain', { deviceId: world.bind('intel'), windowId, ...root })).toBe('EINVAL')
    expect(world.no('CreateUserDomain', { deviceId: 99, windowId, ...root })).toBe('ENOENT')
    expect(world.no('CreateUserDomain', { deviceId: device, windowId: 99, ...root })).toBe('EINVAL')
  })

  it('is an extension, which --strict refuses', () => {
    const windowId = window()
    const domainId = domain(windowId)
    const strict = { ...world.core.facts, strict: true }
    Object.assign(world.core, { facts: strict })
    expect(world.no('CreateUserDomain', { deviceId: device, windowId, smmuv3Pgd: ROOT })).toBe('EOPNOTSUPP')
    const entries = { smmuv3Pgd: { entries: [] } }
    expect(world.do('InvalidateIotlb', { userDomainId: domainId, ...entries }).refusal?.name).toBe('EOPNOTSUPP')
  })
})

describe('InvalidateIotlb with smmuv3_pgd', () => {
  const some = { entries: [{ addr: 0x1000n, npages: 1n, flags: 1 }] }
  const invalidate = (request: object): string => {
    const { doneCount, refusal } = world.do('InvalidateIotlb', request)
    return refusal === undefined ? `${doneCount} done` : refusal.name
  }

  it('is for domains made in a window, and they take nothing else', () => {
    const windowId = window()
    const domainId = domain(windowId)
    expect(invalidate({ userDomainId: domainId, smmuv3Pgd: some })).toBe('1 done')
    expect(invalidate({ userDomainId: domainId, smmuv3Pgd: { entries: [] } })).toBe('0 done')
    expect(invalidate({ userDomainId: domainId, vtdS1: some })).toBe('EINVAL')
    expect(invalidate({ userDomainId: domainId, smmuv3: { entries: [] } })).toBe('EINVAL')
    const { viommuId } = world.do('CreateViommu', { type: 1, deviceId: device, parentDomainId: parent })
    const smmuv3Ste = { ste0: 1n, ste1: 0n }
    const { domainId: whole } = world.do('CreateUserDomain', { deviceId: device, viommuId, smmuv3Ste })
    expect(invalidate({ userDomainId: whole, smmuv3Pgd: some })).toBe('EINVAL')
    expect(invalidate({ viommuId, smmuv3Pgd: some })).toBe('EINVAL')
    expect(invalidate({ userDomainId: windowId, smmuv3Pgd: some })).toBe('EINVAL')
    expect(invalidate({ userDomainId: parent, smmuv3Pgd: some })).toBe('EINVAL')
    expect(invalidate({ userDomainId: 99, smmuv3Pgd: some })).toBe('ENOENT')
  })
})
