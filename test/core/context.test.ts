import { describe, expect, it } from 'vitest'
import { Connection, type CoreEvent } from '../../server/core/ambient.js'
import { HANDLERS } from '../../server/core/index.js'
import { DEFAULT_LIMITS, type Limits, type QuotaName } from '../../server/core/limits.js'
import { Refusal } from '../../server/core/refusal.js'
import { Unavailable } from '../../server/core/unavailable.js'
import { READABLE, RW, World } from './world.js'

const LEASE = 2
const EXPLICIT = 3
const NEST = 1
const PASID = 8

const withLimit = (scope: 'context' | 'uid', name: QuotaName, value: number): Limits => ({
  ...DEFAULT_LIMITS,
  [scope]: { ...DEFAULT_LIMITS[scope], [name]: value },
})

/** A bit of everything, on both architectures. */
function build(world: World, token = world.token): void {
  const arm = world.do('BindDevice', { deviceName: 'arm' }, token).deviceId
  const { ioasId } = world.do('CreateIoas', {}, token)
  const { regionId } = world.do('CreateMemoryRegion', { anonymous: { bytes: 65536n }, busAddress: 0n }, token)
  world.do('IoasMap', { ioasId, region: { regionId, offset: 0n }, length: 4096n, flags: RW }, token)
  const parent = world.do('CreatePagingDomain', { deviceId: arm, ioasId, flags: NEST }, token).domainId
  const { viommuId } = world.do('CreateViommu', { type: 1, deviceId: arm, parentDomainId: parent }, token)
  world.do('CreateVdevice', { viommuId, deviceId: arm, virtId: 9n }, token)
  const smmuv3Ste = { ste0: 1n, ste1: 0n }
  const user = world.do('CreateUserDomain', { deviceId: arm, viommuId, smmuv3Ste }, token).domainId
  world.do('AttachRid', { deviceId: arm, ptId: user }, token)
  const intel = world.do('BindDevice', { deviceName: 'intel' }, token).deviceId
  const flat = world.do('CreatePagingDomain', { deviceId: intel, ioasId, flags: PASID }, token).domainId
  world.do('AttachRid', { deviceId: intel, ptId: flat }, token)
  world.do('AttachPasid', { deviceId: intel, pasid: 7, ptId: flat }, token)
  world.do('AttachPasid', { deviceId: intel, pasid: 3, ptId: flat }, token)
  world.do('CreateUnit', { type: 1 }, token)
}

describe('the end of a context', () => {
  it('unbinds devices, PASIDs first, then destroys what nobody holds, until nothing is left', () => {
    const world = new World()
    build(world)
    world.machine.log.length = 0
    world.do('CloseContext')
    expect(world.machine.log).toEqual([
      'clear 0:0',
      'clear 24:3',
      'clear 24:7',
      'clear 24:0',
      'destroy user smmuv3_ste',
      'destroy paging',
      'destroy paging',
    ])
    expect(world.leftovers()).toEqual([])
    expect(world.no('CreateIoas')).toBe('EBADF')
  })

  it('waits for the calls that run, and answers when all is gone', async () => {
    const world = new World()
    const ioas = world.ioas()
    const device = world.bind('arm')
    world.machine.deferred = []
    const attached = world.begin('AttachRid', { deviceId: device, ptId: ioas })
    const closed = world.begin('CloseContext')
    expect(world.no('CreateIoas')).toBe('EBADF')
    await world.machine.finish()
    expect(await attached).toEqual({ domainId: 3 })
    await world.machine.finish()
    await closed
    expect(world.leftovers()).toEqual([])
  })

  it('waits for every running call when another asks for it', async () => {
    const world = new World()
    const ioas = world.ioas()
    const device = world.bind('arm')
    world.machine.deferred = []
    const attached = world.begin('AttachRid', { deviceId: device, ptId: ioas })
    const ended = world.core.shutDown()
    expect(world.machine.log).not.toContain('clear 0:0')
    await world.machine.finish()
    await Promise.all([attached, ended])
    expect(world.machine.log).toContain('clear 0:0')
    expect(world.leftovers()).toEqual([])
  })

  it('is told once, with its reason', async () => {
    const events: CoreEvent[] = []
    const world = new World({ eventSink: (event) => events.push(event) })
    build(world)
    world.do('CloseContext')
    expect(events.map((event) => (event.kind === 'context-ended' ? event.why : event.kind))).toEqual([
      'context-opened',
      'closed',
    ])
  })
})

describe('a token', () => {
  it('names the boot and 128 random bits, and is one user’s', () => {
    const world = new World()
    expect(world.token).toMatch(/^[0-9a-f]{32}-[0-9a-f]{32}$/)
    expect(world.token.startsWith(world.core.bootId)).toBe(true)
    const stranger = { uid: 1001 }
    expect(() => world.core.contextOf(world.token, stranger)).toThrow('no context of yours')
    expect(world.core.contextOf(world.token, { ...world.peer }).token).toBe(world.token)
    expect(world.no('CreateIoas', {}, 'nonsense')).toBe('EBADF')
    expect(world.no('CreateIoas', {}, '')).toBe('EBADF')
  })

  it('that is empty is told to be missing', () => {
    const world = new World()
    expect(() => world.do('CreateIoas', {}, '')).toThrow('the request names no context')
  })

  it('whose lease ran out is told so to its user, with its number and when; one that was closed is not', async () => {
    const world = new World()
    const { context, contextNumber } = world.open({ lifetime: LEASE, leaseMs: 100 })
    const closed = world.open({ lifetime: LEASE, leaseMs: 100 }).context
    world.do('CloseContext', {}, closed)
    await world.clock.advance(150)
    const told = world.refusal('CreateIoas', {}, context)
    expect(told.message).toContain(
      `the lease of context ${contextNumber} ran out 50 ms ago, 100 ms after its last call`,
    )
    expect(told).toMatchObject({ name: 'EBADF', context: { context_number: contextNumber, ended_ms_ago: 50 } })
    expect(() => world.core.contextOf(context, { uid: 1001 })).toThrow('no context of yours')
    expect(() => world.do('CreateIoas', {}, closed)).toThrow('no context of yours')
  })

  it('whose lease ran out is forgotten when a thousand more have', async () => {
    let tokens = 0
    const random = {
      bytes: (count: number) => new Uint8Array(Uint32Array.of(++tokens, 0, 0, 0).buffer).slice(0, count),
    }
    const world = new World({ random })
    const first = world.open({ lifetime: LEASE, leaseMs: 1 }).context
    await world.clock.advance(1)
    for (let round = 0; round < 5; round++) {
      const { context } = world.open({ lifetime: LEASE, leaseMs: 1 })
      for (let i = 0; i < 210; i++) world.open({ lifetime: LEASE, leaseMs: 1 })
      await world.clock.advance(1)
      expect(() => world.do('CreateIoas', {}, context)).toThrow('ran out')
    }
    expect(() => world.do('CreateIoas', {}, first)).toThrow('no context of yours')
  })

  it('of an earlier boot is unavailable, not wrong', () => {
    const world = new World()
    const earlier = `${'0'.repeat(32)}${world.token.slice(32)}`
    expect(() => world.do('CreateIoas', {}, earlier)).toThrow(Unavailable)
    expect(() => world.do('CreateIoas', {}, earlier)).toThrow('the daemon restarted, your objects are gone')
  })
})

describe('lifetimes', () => {
  it('a lease ends when no call renews it', async () => {
    const world = new World()
    const { context, leaseMs } = world.open({ lifetime: LEASE })
    build(world, context)
    expect(leaseMs).toBe(30_000)
    await world.clock.advance(29_999)
    expect(world.do('GetContext', {}, context).leaseLeftMs).toBe(30_000)
    await world.clock.advance(29_999)
    world.do('RenewLease', { leaseMs: 100 }, context)
    await world.clock.advance(99)
    world.do('RenewLease', {}, context)
    await world.clock.advance(100)
    expect(world.no('CreateIoas', {}, context)).toBe('EBADF')
    expect(world.leftovers()).toEqual([])
  })

  it('a lease does not end while a call waits', async () => {
    const world = new World()
    const { context } = world.open({ lifetime: LEASE, leaseMs: 1000 })
    const { unitId } = world.do('CreateUnit', { type: 1 }, context)
    const polled = world.begin('PollUnitInterrupts', { unitId, waitMs: 5000 }, context)
    await world.clock.advance(3000)
    world.do('WriteUnitRegisters', { unitId, writes: [{ offset: 8, width: 4, value: 1n }] }, context)
    expect(await polled).toEqual({ interrupts: [{ source: 'cmdq-sync', msiAddress: undefined, msiData: 0 }] })
    const idle = world.begin('PollUnitInterrupts', { unitId, waitMs: 500 }, context)
    await world.clock.advance(500)
    expect(await idle).toEqual({ interrupts: [] })
  })

  it('a connection takes its contexts along, and has one of its own for empty tokens', () => {
    const world = new World()
    const connection = new Connection()
    const peer = { uid: 5, connection }
    const opened = world.open({ lifetime: 0 }, peer)
    expect(opened.lifetime).toBe(1)
    const own = world.core.contextOf('', peer)
    expect(world.core.contextOf('', peer)).toBe(own)
    world.core.run(peer, own, HANDLERS.CreateIoas, { flags: 0 })
    expect(world.core.contexts).toHaveLength(3)
    world.core.connectionEnded(connection)
    expect(world.core.contexts).toHaveLength(1)
    expect(connection.contexts.size).toBe(0)
  })

  it('refuses what a transport or a limit cannot give', () => {
    const world = new World()
    expect(() => world.open({ lifetime: 1 })).toThrow('take a lease')
    expect(() => world.open({ lifetime: LEASE, leaseMs: 4_000_000 })).toThrow('the limit lease_ms is 3600000')
    expect(() => world.open({ lifetime: EXPLICIT, leaseMs: 5 })).toThrow('for contexts with a lease')
    expect(() => world.open({ lifetime: 9 })).toThrow('not known')
    expect(() => world.open({ label: 'x'.repeat(65) })).toThrow('at most 64')
    expect(world.no('RenewLease', { leaseMs: 5 })).toBe('EINVAL')
    expect(world.do('RenewLease')).toEqual({ leaseMs: 0 })
  })

  it('is ended by the administrator alone', async () => {
    const world = new World()
    const { contextNumber } = world.open({ label: 'other' })
    const admin = { uid: 0, admin: true }
    const end = (peer: object) =>
      world.core.run(peer as typeof admin, undefined, HANDLERS.EndContext, { contextNumber })
    expect(() => end(world.peer)).toThrow('administrator')
    const { contexts } = await world.core.run(admin, undefined, HANDLERS.ListContexts, {})
    expect(contexts.map(({ label }) => label)).toEqual(['', 'other'])
    end(admin)
    expect(() => end(admin)).toThrow('no open context has the number')
  })
})

describe('quotas', () => {
  it('of a context name the limit and its number', () => {
    const world = new World({ limits: withLimit('context', 'objects', 2) })
    world.ioas()
    world.ioas()
    const refusal = world.refusal('CreateIoas')
    expect([refusal.name, refusal.context['limit'], refusal.context['value']]).toEqual(['EDQUOT', 'objects', 2])
    world.do('Destroy', { objectId: 1 })
    expect(world.ioas()).toBe(1)
  })

  it('of a user count over all contexts, and come back when one ends', () => {
    const world = new World({ limits: withLimit('uid', 'region_bytes', 8192) })
    const other = world.open().context
    world.region(4096n)
    world.do('CreateMemoryRegion', { anonymous: { bytes: 4096n } }, other)
    expect(world.no('CreateMemoryRegion', { anonymous: { bytes: 4096n } })).toBe('EDQUOT')
    world.do('CloseContext', {}, other)
    world.region(4096n)
  })

  it('of contexts, areas, tables and units are kept', () => {
    const contexts = new World({ limits: withLimit('uid', 'contexts', 2) })
    contexts.open()
    expect(() => contexts.open()).toThrow('the limit contexts')
    const areas = new World({ limits: withLimit('context', 'areas', 1) })
    const [ioas, region] = [areas.ioas(), areas.region()]
    areas.map(ioas, region, 4096n)
    const another = { ioasId: ioas, region: { regionId: region, offset: 0n }, length: 4096n, flags: READABLE }
    expect(areas.no('IoasMap', another)).toBe('EDQUOT')
    const tables = new World({ limits: withLimit('context', 'table_bytes', 8192) })
    const mapped = tables.ioas()
    tables.do('AttachRid', { deviceId: tables.bind('arm'), ptId: mapped })
    const source = tables.region()
    tables.map(mapped, source, 4096n)
    const more = { ioasId: mapped, region: { regionId: source, offset: 0n }, length: 4096n, flags: RW }
    expect(tables.no('IoasMap', more)).toBe('EDQUOT')
    expect(tables.do('GetContext').quotas.find(({ name }) => name === 'table_bytes')?.used).toBe(8192n)
    const wide = { anonymous: { bytes: 2n ** 40n } }
    const big = new World()
    const { regionId } = big.do('CreateMemoryRegion', wide)
    const space = big.ioas()
    big.do('AttachRid', { deviceId: big.bind('arm2'), ptId: space })
    const shifted = { ioasId: space, region: { regionId, offset: 0n }, length: 2n ** 40n, iova: 4096n, flags: RW | 1 }
    big.machine.log.length = 0
    expect(big.refusal('IoasMap', shifted).context['limit']).toBe('table_bytes')
    big.do('IoasMap', { ...shifted, iova: 2n ** 21n })
    const units = new World({ limits: withLimit('context', 'units', 1) })
    units.do('CreateUnit', { type: 2 })
    expect(units.no('CreateUnit', { type: 2 })).toBe('EDQUOT')
  })

  it('cover numbers of a unit that all share: kernel-owned domains, made by hand or for an attach', () => {
    const world = new World({ limits: withLimit('context', 'domains', 1) })
    const [deviceId, ioasId] = [world.bind('arm2'), world.ioas()]
    const made = world.paging(deviceId, ioasId)
    expect(world.refusal('CreatePagingDomain', { deviceId, ioasId }).context['limit']).toBe('domains')
    expect(world.no('AttachRid', { deviceId, ptId: ioasId })).toBe('EDQUOT')
    world.do('Destroy', { objectId: made })
    world.do('AttachRid', { deviceId, ptId: ioasId })
    world.do('DetachRid', { deviceId })
    expect(world.do('GetContext').quotas.find(({ name }) => name === 'domains')?.used ?? 0n).toBe(0n)
  })

  it('are told by GetServerInfo', () => {
    const { limits, units } = new World().do('GetServerInfo')
    expect(limits.find(({ name, scope }) => name === 'region_bytes' && scope === 2)).toMatchObject({
      value: 2n ** 40n,
      unit: 'bytes',
    })
    expect(units.map(({ name, type }) => [name, type])).toEqual([
      ['smmu0', 1],
      ['vtd0', 2],
      ['tiny0', 1],
    ])
  })
})

describe('a story whose n-th allocation is refused', () => {
  const stories: Record<string, (world: World) => void> = {
    'builds a bit of everything': build,
    'attaches, maps, copies, replaces and unmaps': (world) => {
      const [ioas, other, region] = [world.ioas(), world.ioas(), world.region()]
      const device = world.bind('arm')
      world.map(ioas, region, 0x3000n, 0x1000n)
      world.do('AttachRid', { deviceId: device, ptId: ioas })
      world.map(ioas, region, 0x2000n, 0x8000n)
      world.do('ReplaceRid', { deviceId: device, ptId: other })
      const copy = { srcIoasId: ioas, dstIoasId: other, srcIova: 0x2000n, length: 0x2000n, flags: RW }
      world.do('IoasCopy', copy)
      world.do('IoasUnmap', { ioasId: ioas, iova: 0n, length: 2n ** 64n - 1n })
      world.do('DetachRid', { deviceId: device })
    },
  }
  for (const [name, story] of Object.entries(stories)) {
    it(`${name}: each failure is a refusal, and nothing leaks`, () => {
      let failAt = 1
      for (; ; failAt++) {
        let asked = 0
        let built = false
        const failPoint = (): void => {
          if (++asked === failAt) throw new Refusal('ENOMEM', 'injected')
        }
        const world = new World({
          failPoint: () => {
            if (built) failPoint()
          },
        })
        world.machine.failPoint = failPoint
        built = true
        let refused: unknown
        try {
          story(world)
        } catch (error) {
          refused = error
        }
        world.do('CloseContext')
        expect(world.leftovers()).toEqual([])
        if (asked < failAt) {
          expect(refused).toBeUndefined()
          break
        }
        expect(refused).toMatchObject({ name: 'ENOMEM' })
      }
      expect(failAt).toBeGreaterThan(10)
    })

    it(`${name}: the refused call alone can be told again`, () => {
      for (let failAt = 1; failAt < 12; failAt++) {
        const world = new World()
        let asked = 0
        world.machine.failPoint = () => {
          if (++asked === failAt) throw new Refusal('ENOMEM', 'injected')
        }
        const again = retrying(world)
        story(again)
        world.do('CloseContext')
        expect(world.leftovers()).toEqual([])
      }
    })
  }
})

/** The same world, whose calls are told again when they are refused once. */
function retrying(world: World): World {
  const tell = world.do.bind(world)
  world.do = ((...args: Parameters<typeof tell>) => {
    const before = world.machine.live
    try {
      return tell(...args)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      expect(world.machine.live).toBe(before)
      return tell(...args)
    }
  }) as typeof world.do
  return world
}
