/** Who pays for pinned memory, how often, and when no more. [uAPI IOMMU_OPTION_RLIMIT_MODE, IOMMU_IOAS_CHANGE_PROCESS] */

import { describe, expect, it } from 'vitest'
import type { Peer } from '../../server/core/ambient.js'
import { HANDLERS } from '../../server/core/index.js'
import { DEFAULT_LIMITS } from '../../server/core/limits.js'
import { ACCOUNT_MODE } from '../../server/core/locked.js'
import { Refusal } from '../../server/core/refusal.js'
import { PAGE, SpentTurn } from './paused.js'
import { ALL, FIXED, RW, World } from './world.js'

const RLIMIT_MODE = 1
const PROCESS = 1n

const limits = (uid: number, context = uid) => ({
  ...DEFAULT_LIMITS,
  uid: { ...DEFAULT_LIMITS.uid, locked_bytes: uid },
  context: { ...DEFAULT_LIMITS.context, locked_bytes: context },
})

/** What the caller has locked, bytes. */
const locked = (world: World): bigint | undefined =>
  world.do('GetContext').quotas.find(({ name }) => name === 'locked_bytes')?.used

/** A call as another process, or another user. */
function callAs<N extends keyof typeof HANDLERS>(world: World, peer: Peer, name: N, request: object): unknown {
  try {
    return world.core.call(peer, HANDLERS[name] as never, { ...request, context: world.token } as never)
  } catch (error) {
    if (error instanceof Refusal) return error.name
    throw error
  }
}

function scene(options: ConstructorParameters<typeof World>[0] = {}) {
  const world = new World(options)
  const ioasId = world.ioas()
  return { world, ioasId, regionId: world.region(64n * PAGE), deviceId: world.bind('arm2') }
}

describe('pinned memory', () => {
  it('is charged when a domain is there, and no more when the last is gone', () => {
    const { world, ioasId, regionId, deviceId } = scene()
    world.map(ioasId, regionId, 4n * PAGE)
    expect(locked(world)).toBe(0n)
    world.do('AttachRid', { deviceId, ptId: ioasId })
    expect(locked(world)).toBe(4n * PAGE)
    world.map(ioasId, regionId, 2n * PAGE)
    expect(locked(world)).toBe(6n * PAGE)
    world.do('DetachRid', { deviceId })
    expect(locked(world)).toBe(0n)
    expect(world.core.locked.isEmpty).toBe(true)
  })

  it('is charged once for all domains, and for copies of the same pages in any IOAS', () => {
    const { world, ioasId, regionId, deviceId } = scene()
    const other = world.ioas()
    const srcIova = world.map(ioasId, regionId, 4n * PAGE)
    world.do('AttachRid', { deviceId, ptId: ioasId })
    world.paging(deviceId, ioasId)
    world.paging(world.bind('arm'), other)
    expect(locked(world)).toBe(4n * PAGE)
    world.do('IoasCopy', { dstIoasId: other, srcIoasId: ioasId, srcIova, length: 4n * PAGE, flags: RW })
    world.do('IoasCopy', { dstIoasId: other, srcIoasId: ioasId, srcIova: srcIova + PAGE, length: PAGE, flags: RW })
    expect(locked(world)).toBe(4n * PAGE)
    world.do('IoasUnmap', { ioasId, iova: 0n, length: ALL })
    expect(locked(world)).toBe(4n * PAGE)
    world.do('IoasUnmap', { ioasId: other, iova: 0n, length: ALL })
    expect(locked(world)).toBe(0n)
  })

  it('counts the pages that some area pins, not those of the whole mapping', () => {
    const { world, ioasId, regionId, deviceId } = scene()
    const other = world.ioas()
    const srcIova = world.map(ioasId, regionId, 16n * PAGE)
    world.paging(deviceId, other)
    const copy = (page: bigint, pages: bigint) =>
      world.do('IoasCopy', {
        dstIoasId: other,
        srcIoasId: ioasId,
        srcIova: srcIova + page * PAGE,
        length: pages * PAGE,
        flags: RW,
      }).dstIova
    const first = copy(2n, 4n)
    expect(locked(world)).toBe(4n * PAGE)
    copy(4n, 4n)
    expect(locked(world)).toBe(6n * PAGE)
    world.do('IoasUnmap', { ioasId: other, iova: first, length: 4n * PAGE })
    expect(locked(world)).toBe(4n * PAGE)
  })

  it('beyond the user’s limit is refused with ENOMEM that names the limit, and nothing stays', () => {
    const { world, ioasId, regionId, deviceId } = scene({ limits: limits(4 * 4096, 1) })
    world.do('AttachRid', { deviceId, ptId: ioasId })
    const iova = world.map(ioasId, regionId, 3n * PAGE)
    const request = { ioasId, region: { regionId, offset: 0n }, length: 2n * PAGE, iova: 0n, flags: RW }
    const refusal = world.refusal('IoasMap', request)
    expect([refusal.name, refusal.message]).toEqual([
      'ENOMEM',
      'the limit locked_bytes of user 1000 is 16384, 12288 are pinned and 8192 more are needed',
    ])
    expect(locked(world)).toBe(3n * PAGE)
    world.map(ioasId, regionId, PAGE)
    world.do('IoasUnmap', { ioasId, iova, length: 3n * PAGE })
    world.do('IoasMap', request)
    expect(locked(world)).toBe(3n * PAGE)
  })

  it('beyond the limit keeps a domain from joining', () => {
    const { world, ioasId, regionId, deviceId } = scene({ limits: limits(4 * 4096) })
    for (let area = 0; area < 3; area++) world.map(ioasId, regionId, 2n * PAGE)
    expect(world.no('AttachRid', { deviceId, ptId: ioasId })).toBe('ENOMEM')
    expect(world.no('CreatePagingDomain', { deviceId, ioasId })).toBe('ENOMEM')
    expect(locked(world)).toBe(0n)
  })

  it('of all contexts of a user counts together', () => {
    const { world, ioasId, regionId, deviceId } = scene({ limits: limits(4 * 4096) })
    world.do('AttachRid', { deviceId, ptId: ioasId })
    world.map(ioasId, regionId, 3n * PAGE)
    world.token = world.open().context
    const second = { ioasId: world.ioas(), regionId: world.region(), deviceId: world.bind('arm') }
    world.do('AttachRid', { deviceId: second.deviceId, ptId: second.ioasId })
    const request = { ioasId: second.ioasId, length: 2n * PAGE, flags: RW }
    expect(world.no('IoasMap', { ...request, region: { regionId: second.regionId, offset: 0n } })).toBe('ENOMEM')
    world.map(second.ioasId, second.regionId, PAGE)
  })

  it('costs root nothing, nor whoever comes through the administrator’s socket', () => {
    const { world, ioasId, regionId, deviceId } = scene({ limits: limits(0) })
    world.do('AttachRid', { deviceId, ptId: ioasId })
    const request = { ioasId, region: { regionId, offset: 0n }, length: PAGE, iova: 0n, flags: RW }
    expect(callAs(world, { uid: 1000 }, 'IoasMap', request)).toBe('ENOMEM')
    expect(callAs(world, { uid: 1000, admin: true }, 'IoasMap', request)).toEqual({ iova: PAGE })
    expect(locked(world)).toBe(0n)
  })

  it('goes with its context', async () => {
    const { world, ioasId, regionId, deviceId } = scene()
    world.do('AttachRid', { deviceId, ptId: ioasId })
    world.map(ioasId, regionId, 3n * PAGE)
    await world.do('CloseContext')
    expect(world.core.locked.isEmpty).toBe(true)
  })
})

describe('the option RLIMIT_MODE', () => {
  const option = { option: RLIMIT_MODE, objectId: 0 }
  const admin = { uid: 1000, admin: true }

  it('is refused in the kernel’s order', () => {
    const world = new World()
    expect(world.do('GetOption', option)).toEqual({ value: 0n })
    expect(world.no('SetOption', { ...option, objectId: 7, value: PROCESS })).toBe('EOPNOTSUPP')
    expect(world.no('SetOption', { ...option, value: 7n })).toBe('EPERM')
    expect(callAs(world, admin, 'SetOption', { ...option, value: 7n })).toBe('EINVAL')
    const ioasId = world.ioas()
    expect(callAs(world, admin, 'SetOption', { ...option, value: 7n })).toBe('EBUSY')
    world.do('Destroy', { objectId: ioasId })
    expect(callAs(world, admin, 'SetOption', { ...option, value: PROCESS })).toEqual({})
    expect(world.do('GetOption', option)).toEqual({ value: 1n })
  })

  it('is refused for ever once there is a tombstone', () => {
    const world = new World()
    const ioasId = world.ioas()
    const deviceId = world.bind('arm2')
    const parentDomainId = world.paging(deviceId, ioasId, 1)
    const { viommuId } = world.do('CreateViommu', { deviceId, parentDomainId, type: 1 })
    world.do('CreateVdevice', { viommuId, deviceId, virtId: 1n })
    world.do('UnbindDevice', { deviceId })
    for (const objectId of [viommuId, parentDomainId, ioasId]) world.do('Destroy', { objectId })
    expect(world.objects()).toEqual([])
    expect(callAs(world, admin, 'SetOption', { ...option, value: PROCESS })).toBe('EBUSY')
  })

  it('1 gives each process its own limit', () => {
    const world = new World({ limits: limits(0, 2 * 4096) })
    callAs(world, admin, 'SetOption', { ...option, value: PROCESS })
    const ioasId = world.ioas()
    const regionId = world.region()
    world.do('AttachRid', { deviceId: world.bind('arm2'), ptId: ioasId })
    const request = { ioasId, region: { regionId, offset: 0n }, length: 2n * PAGE, iova: 0n, flags: RW }
    world.map(ioasId, regionId, 2n * PAGE)
    const refusal = world.refusal('IoasMap', request)
    expect([refusal.name, refusal.context.scope]).toEqual(['ENOMEM', 'context'])
    expect(callAs(world, { uid: 1000, pid: 7 }, 'IoasMap', request)).toEqual({ iova: 3n * PAGE })
    expect(callAs(world, { uid: 1000, pid: 7 }, 'IoasMap', request)).toBe('ENOMEM')
    expect(locked(world)).toBe(2n * PAGE)
  })
})

describe('IoasChangeProcess', () => {
  const child = { uid: 1000, pid: 7 }
  const used = (world: World, mode: 0 | 1) =>
    [{}, child].map((peer) => world.core.locked.used(payer(world, { uid: 1000, ...peer }), mode))
  const payer = (world: World, peer: Peer) => ({
    uid: 1000,
    process: peer.pid === undefined ? `context ${world.core.contexts[0].number}` : 'process 7 of user 1000',
  })

  /** Two IOASes with files’ memory, each with a domain, and a copy between them. */
  function files(mode: bigint, bytes = 2 ** 40) {
    const world = new World({ limits: limits(bytes) })
    if (mode === PROCESS) {
      callAs(world, { uid: 1000, admin: true }, 'SetOption', { option: RLIMIT_MODE, objectId: 0, value: mode })
    }
    const [one, two] = [world.ioas(), world.ioas()]
    const regionId = world.region(64n * PAGE)
    world.do('AttachRid', { deviceId: world.bind('arm2'), ptId: one })
    world.do('AttachRid', { deviceId: world.bind('arm'), ptId: two })
    const mapFile = (ioasId: number, pages: bigint) =>
      world.do('IoasMapFile', { ioasId, regionId, start: 0n, length: pages * PAGE, iova: 0n, flags: RW }).iova
    const srcIova = mapFile(one, 3n)
    mapFile(two, 2n)
    world.do('IoasCopy', { dstIoasId: two, srcIoasId: one, srcIova, length: 3n * PAGE, flags: RW })
    return { world, one, two, regionId }
  }

  it('moves what each process pays, pages of several areas once', () => {
    const { world } = files(PROCESS)
    expect(used(world, ACCOUNT_MODE.PROCESS)).toEqual([5 * 4096, 0])
    expect(callAs(world, child, 'IoasChangeProcess', {})).toEqual({})
    expect(used(world, ACCOUNT_MODE.PROCESS)).toEqual([0, 5 * 4096])
    world.do('IoasChangeProcess')
    expect(used(world, ACCOUNT_MODE.PROCESS)).toEqual([5 * 4096, 0])
  })

  it('leaves what a user pays as it is', () => {
    const { world, two } = files(0n)
    expect(callAs(world, child, 'IoasChangeProcess', {})).toEqual({})
    expect(locked(world)).toBe(5n * PAGE)
    world.do('IoasUnmap', { ioasId: two, iova: 0n, length: ALL })
    expect(locked(world)).toBe(3n * PAGE)
  })

  it('is refused with EINVAL when any mapping of any IOAS is not a file’s, and changes nothing', () => {
    const { world, two, regionId } = files(PROCESS)
    world.map(two, regionId, PAGE)
    expect(callAs(world, child, 'IoasChangeProcess', {})).toBe('EINVAL')
    expect(used(world, ACCOUNT_MODE.PROCESS)).toEqual([6 * 4096, 0])
  })

  it('is refused with ENOMEM when the caller may not lock as much, and changes nothing', () => {
    const { world } = files(PROCESS, 7 * 4096)
    // The child has pages in another context of the same user already.
    const second = world.open().context
    const first = world.token
    world.token = second
    callAs(world, { uid: 1000, admin: true }, 'SetOption', { option: RLIMIT_MODE, objectId: 0, value: PROCESS })
    const there = world.ioas()
    const regionId = world.region()
    world.do('AttachRid', { deviceId: world.bind('intel'), ptId: there })
    const request = { ioasId: there, region: { regionId, offset: 0n }, length: 3n * PAGE, iova: 0n, flags: RW }
    callAs(world, child, 'IoasMap', request)
    world.token = first
    expect(used(world, ACCOUNT_MODE.PROCESS)).toEqual([5 * 4096, 3 * 4096])
    expect(callAs(world, child, 'IoasChangeProcess', {})).toBe('ENOMEM')
    expect(used(world, ACCOUNT_MODE.PROCESS)).toEqual([5 * 4096, 3 * 4096])
  })

  it('of nothing succeeds', () => {
    expect(new World().do('IoasChangeProcess')).toEqual({})
  })

  it('in slices meets others with EBUSY, and pays for what goes meanwhile', async () => {
    const turn = new SpentTurn()
    const world = new World({ turn })
    const call = (name: keyof typeof HANDLERS, request: object) => turn.finish(world.begin(name, request as never))
    const ioasId = world.ioas()
    const regionId = world.region(64n * PAGE)
    const deviceId = world.bind('arm2')
    await call('AttachRid', { deviceId, ptId: ioasId })
    const file = { ioasId, regionId, start: 0n, length: PAGE, flags: RW | FIXED }
    for (let at = 0n; at < 4n; at++) await call('IoasMapFile', { ...file, iova: at * PAGE })
    const moving = callAs(world, child, 'IoasChangeProcess', {}) as Promise<unknown>
    await turn.step(6)
    expect(world.no('IoasUnmap', { ioasId, iova: 0n, length: PAGE })).toBe('EBUSY')
    expect(locked(world)).toBeGreaterThan(4n * PAGE)
    const detached = world.begin('DetachRid', { deviceId })
    await turn.finish(detached)
    expect(await turn.finish(moving)).toEqual({})
    expect(world.core.locked.isEmpty).toBe(true)
  })
})
