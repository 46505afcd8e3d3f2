/** Who may see and change the caches of a unit, and how long a change holds. */

import { describe, expect, it } from 'vitest'
import { HANDLERS } from '../../server/core/index.js'
import type { FakeCaches } from './fake-parts.js'
import { World } from './world.js'

const GREEDY = 4
const RANDOM = 5

const cachesOf = (world: World, name: string): FakeCaches =>
  world.machine.units.find(({ driver }) => driver.name === name)?.caches as FakeCaches

/** A call on the admin socket, which names no context. */
const asAdmin = (world: World, unitName: string, policy: number): object =>
  world.core.run({ uid: 0, admin: true }, undefined, HANDLERS.SetCachePolicy, { unitName, policy, seed: 0 })

describe('the caches of a platform’s unit', () => {
  it('are told to its only user, with the policy', () => {
    const world = new World()
    world.bind('arm')
    expect(world.do('GetCacheStats', { unitName: 'smmu0' })).toEqual({
      caches: [
        { cache: 'tlb', entries: 1n, capacity: 8n, hits: 2n, misses: 3n, evictions: 4n, fills: 5n, invalidated: 6n },
      ],
      policy: 3,
    })
  })

  it('are set by its only user, the mediated devices of a function being no further ones', () => {
    const world = new World()
    world.bind('arm')
    world.bind('arm2')
    world.do('SetCachePolicy', { unitName: 'smmu0', policy: RANDOM, seed: 7 })
    expect([cachesOf(world, 'smmu0').mode, cachesOf(world, 'smmu0').seed]).toEqual(['random', 7])
    expect(world.do('GetCacheStats', { unitName: 'smmu0' }).policy).toBe(RANDOM)
    expect(cachesOf(world, 'vtd0').mode).toBe('hardware')
  })

  it('are nobody’s who has no device there, and the reason says how to have one', () => {
    const world = new World()
    world.bind('intel')
    const asked = { unitName: 'smmu0', policy: GREEDY }
    for (const refusal of [world.refusal('GetCacheStats', asked), world.refusal('SetCachePolicy', asked)]) {
      expect(refusal.name).toBe('EPERM')
      expect(refusal.message).toContain('BindDevice makes it a user')
    }
  })

  it('are nobody’s who shares it: the reason names the user’s own other contexts, and of strangers only that they are', () => {
    const world = new World()
    world.bind('arm')
    const second = world.open({ label: 'second' }).context
    world.do('BindDevice', { deviceName: 'arm2' }, second)
    const refusal = world.refusal('SetCachePolicy', { unitName: 'smmu0', policy: GREEDY })
    expect([refusal.name, refusal.context.context_numbers]).toEqual(['EPERM', [2n]])
    expect(refusal.message).toContain('context 2 ("second")')
    const stranger = { uid: 2000 }
    const { context } = world.open({ label: 'secret' }, stranger)
    world.core.call(stranger, HANDLERS.BindDevice, { context, deviceName: 'arm/ats', grant: 0 } as never)
    const shared = world.refusal('GetCacheStats', { unitName: 'smmu0' })
    expect(shared.message).toContain('context 2 ("second"), contexts of other users too')
    expect(shared.message).not.toContain('secret')
  })

  it('are as the platform says again when somebody else comes, or their user goes', () => {
    const world = new World()
    const device = world.bind('arm')
    world.do('SetCachePolicy', { unitName: 'smmu0', policy: GREEDY })
    const second = world.open().context
    world.do('BindDevice', { deviceName: 'arm2' }, second)
    expect(cachesOf(world, 'smmu0').mode).toBe('hardware')
    world.do('CloseContext', {}, second)
    world.do('SetCachePolicy', { unitName: 'smmu0', policy: GREEDY })
    world.do('UnbindDevice', { deviceId: device })
    expect(cachesOf(world, 'smmu0').mode).toBe('hardware')
  })

  it('stay as the administrator has set them, whoever comes and goes, and whoever set them before', () => {
    const world = new World()
    const device = world.bind('arm')
    world.do('SetCachePolicy', { unitName: 'smmu0', policy: RANDOM })
    asAdmin(world, 'smmu0', GREEDY)
    world.do('UnbindDevice', { deviceId: device })
    expect(cachesOf(world, 'smmu0').mode).toBe('greedy')
  })

  it.each([
    ['no unit', {}, 'EINVAL'],
    ['a unit that the platform has not', { unitName: 'smmu9' }, 'ENOENT'],
    ['a raw unit that is not there', { unitId: 77 }, 'ENOENT'],
    ['a policy that is not known', { unitName: 'smmu0', policy: 6 }, 'EOPNOTSUPP'],
    ['a seed for a policy that draws no lots', { unitName: 'smmu0', policy: GREEDY, seed: 1 }, 'EINVAL'],
  ])('refuse %s, and nothing changes', (_, request, errno) => {
    const world = new World()
    world.bind('arm')
    expect(world.no('SetCachePolicy', request)).toBe(errno)
    expect(cachesOf(world, 'smmu0').mode).toBe('hardware')
  })
})

describe('the caches of a raw unit', () => {
  it('are its owner’s, and made as CreateUnit was asked', () => {
    const world = new World()
    const { unitId } = world.do('CreateUnit', { type: 1, cachePolicy: RANDOM, cacheSeed: 9 })
    const [raw] = world.machine.rawUnits
    expect([raw.caches.mode, raw.caches.seed]).toEqual(['random', 9])
    world.do('SetCachePolicy', { unitId, policy: GREEDY })
    expect(world.do('GetUnit', { unitId }).cachePolicy).toBe(GREEDY)
    expect(world.do('GetCacheStats', { unitId }).caches).toHaveLength(1)
  })

  it('are not there for another context', () => {
    const world = new World()
    const { unitId } = world.do('CreateUnit', { type: 1 })
    expect(world.no('GetCacheStats', { unitId }, world.open().context)).toBe('ENOENT')
  })

  it('cannot be named by the administrator, who has no ids', () => {
    const world = new World()
    const { unitId } = world.do('CreateUnit', { type: 1 })
    const call = () => world.core.run({ uid: 0, admin: true }, undefined, HANDLERS.GetCacheStats, { unitId })
    expect(call).toThrow(expect.objectContaining({ name: 'EBADF' }))
  })
})
