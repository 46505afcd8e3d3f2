/** Reports of the oracle: whom they are told to, in which terms, and how many are kept. */

import { describe, expect, it } from 'vitest'
import type { CoreEvent } from '../../server/core/ambient.js'
import { HANDLERS } from '../../server/core/index.js'
import { DEFAULT_LIMITS } from '../../server/core/limits.js'
import type { FakeOracle } from './fake-parts.js'
import { World } from './world.js'

const REPORT = 2
const FAIL = 3

const oracleOf = (world: World, name: string): FakeOracle =>
  world.machine.units.find(({ driver }) => driver.name === name)?.oracle as FakeOracle

const deviceOf = (world: World, name: string) => world.machine.devices.find((one) => one.name === name)?.device

/** What the administrator is told. */
const asAdmin = (world: World, start = 0) =>
  world.core.run({ uid: 0, admin: true }, undefined, HANDLERS.ListStaleTranslations, {
    unitName: 'smmu0',
    start,
    maxReports: 0,
  }) as ReturnType<typeof HANDLERS.ListStaleTranslations>

const list = (world: World, token?: string) => world.do('ListStaleTranslations', { unitName: 'smmu0' }, token)

describe('the mode of the oracle', () => {
  it('is set by the only user of a unit, told in the list, and goes back when he is not alone', () => {
    const world = new World()
    world.bind('arm')
    world.do('SetOracleMode', { unitName: 'smmu0', mode: FAIL, graceSyncs: 2 })
    expect(oracleOf(world, 'smmu0').setting).toEqual({ mode: 'fail', graceSyncs: 2 })
    expect(list(world)).toMatchObject({
      mode: FAIL,
      graceSyncs: 2,
      counts: { compared: 5n, inWindow: 3n, needless: 1n },
    })
    world.do('BindDevice', { deviceName: 'arm2' }, world.open().context)
    expect(oracleOf(world, 'smmu0').setting.mode).toBe('off')
  })

  it.each([
    ['no mode', { unitName: 'smmu0' }, 'EINVAL'],
    ['a mode that is not known', { unitName: 'smmu0', mode: 4 }, 'EOPNOTSUPP'],
    ['a unit that nobody has', { unitName: 'smmu9', mode: REPORT }, 'ENOENT'],
    ['a unit of others', { unitName: 'vtd0', mode: REPORT }, 'EPERM'],
  ])('is refused: %s', (_, request, errno) => {
    const world = new World()
    world.bind('arm')
    expect(world.no('SetOracleMode', request)).toBe(errno)
  })

  it('that is set anew starts with no reports', () => {
    const world = new World()
    world.bind('arm')
    oracleOf(world, 'smmu0').find({ device: deviceOf(world, 'arm') })
    expect(list(world).totalCount).toBe(1n)
    world.do('SetOracleMode', { unitName: 'smmu0', mode: REPORT })
    expect(list(world)).toMatchObject({ totalCount: 0n, stale: [] })
  })
})

describe('a report', () => {
  it('names places in the memory of whose device it is, and nothing physical', () => {
    const world = new World()
    world.bind('arm')
    const regionId = world.region()
    const [{ address }] = world.machine.memories
    const end = { status: 1, fault: 0, leafLg2: 12, rights: 3 }
    oracleOf(world, 'smmu0').find({
      device: deviceOf(world, 'arm'),
      cached: { ...end, address: address + 0x1000 },
      changed: {
        what: 'stage-1 table entry',
        stage: 1,
        level: 3,
        address: address + 0x3008,
        before: [1, 2],
        after: [3, 4],
      },
    })
    const [report] = list(world).stale
    expect(report).toMatchObject({
      deviceName: 'arm',
      number: 1n,
      iova: 0x1_0000_5000n,
      cached: { outcome: 1, location: { regionId, offset: 0x1000n }, address: undefined, permissions: 3 },
      // Where the daemon's own memory is, is not told.
      fresh: { outcome: 1, location: undefined, address: undefined },
      changed: { structure: 'stage-1 table entry', stage: 1, level: 3, location: { regionId, offset: 0x3008n } },
      summary: expect.stringContaining(`tlb answers 0x100005000 with region ${regionId} + 0x1000`),
    })
    expect([report.changed?.before, report.changed?.after]).toEqual([0x2_0000_0001n, 0x4_0000_0003n])
    expect(report.changed?.address).toBeUndefined()
    const [whole] = asAdmin(world).stale
    expect(whole).toMatchObject({ contextNumber: 1n, changed: { address: BigInt(address + 0x3008) } })
  })

  it('of an entry of the host’s tells neither place nor words', () => {
    const world = new World()
    world.bind('arm')
    oracleOf(world, 'smmu0').find({ device: deviceOf(world, 'arm') })
    const [{ changed }] = list(world).stale
    expect(changed).toMatchObject({ structure: 'stage-1 table entry', location: undefined, before: 0n, after: 0n })
  })

  it('is told to nobody but whose device it is, and to the administrator', () => {
    const world = new World()
    world.bind('arm')
    const second = world.open().context
    world.do('BindDevice', { deviceName: 'arm2' }, second)
    oracleOf(world, 'smmu0').find({ device: deviceOf(world, 'arm') })
    expect(list(world).totalCount).toBe(1n)
    expect(list(world, second)).toMatchObject({ totalCount: 0n, stale: [], counts: undefined })
    expect(asAdmin(world).totalCount).toBe(1n)
  })

  it('of a PASID that is a mediated device is its owner’s', () => {
    const world = new World()
    world.bind('arm', 2)
    const second = world.open().context
    world.do('BindDevice', { deviceName: 'arm/mdev5' }, second)
    oracleOf(world, 'smmu0').find({ device: deviceOf(world, 'arm'), pasid: 5 })
    expect([list(world).totalCount, list(world, second).totalCount]).toEqual([0n, 1n])
    expect(list(world, second).stale[0].deviceName).toBe('arm/mdev5')
  })

  it('says nothing of others’ operations and commands where the unit is shared', () => {
    const world = new World()
    world.bind('arm')
    oracleOf(world, 'smmu0').find({ device: deviceOf(world, 'arm') })
    const [alone] = list(world).stale
    expect([alone.filledOperation, alone.firstSeenOperation, alone.sent.length]).toEqual([1n, 4n, 2])
    world.do('BindDevice', { deviceName: 'arm2' }, world.open().context)
    oracleOf(world, 'smmu0').find({ device: deviceOf(world, 'arm') })
    const [, shared] = list(world).stale
    expect([shared.filledOperation, shared.firstSeenOperation, shared.reportedOperation]).toEqual([0n, 0n, 0n])
    expect(shared.sent).toEqual([{ command: 'TLBI_NH_ASID VMID=1 ASID=3', operation: 0n, why: 'ASID 3, needed 2' }])
    expect(asAdmin(world).stale[1]).toMatchObject({ filledOperation: 1n, sent: [{ operation: 3n }, { operation: 3n }] })
  })

  it('is not the next user’s when the device changes hands', () => {
    const world = new World()
    const deviceId = world.bind('arm')
    oracleOf(world, 'smmu0').find({ device: deviceOf(world, 'arm') })
    world.do('UnbindDevice', { deviceId })
    const second = world.open().context
    world.do('BindDevice', { deviceName: 'arm' }, second)
    expect([list(world).totalCount, list(world, second).totalCount]).toEqual([1n, 0n])
  })

  it('is an event, and counted, of raw units too', () => {
    const events: CoreEvent[] = []
    const world = new World({ eventSink: (event) => events.push(event) })
    world.bind('arm')
    world.do('CreateUnit', { type: 1 })
    oracleOf(world, 'smmu0').find({ device: deviceOf(world, 'arm') })
    world.machine.rawUnits[0].oracle.find()
    const stale = events.filter((event) => event.kind === 'stale-translation')
    expect(stale.map(({ unit, deviceName }) => [unit, deviceName])).toEqual([
      ['smmu0', 'arm'],
      ['raw', ''],
    ])
    expect(world.core.staleCounts).toEqual(new Map([...world.core.staleCounts, ['smmu0', 1], ['raw', 1]]))
  })
})

describe('reports that are kept', () => {
  const few = { ...DEFAULT_LIMITS, call: { ...DEFAULT_LIMITS.call, oracle_reports: 3 } }

  it('of one context are no more than its limit, and leave room for another’s', () => {
    const world = new World({ limits: few })
    world.bind('arm')
    const second = world.open().context
    world.do('BindDevice', { deviceName: 'arm2' }, second)
    for (let i = 0; i < 5; i++) oracleOf(world, 'smmu0').find({ device: deviceOf(world, 'arm') })
    oracleOf(world, 'smmu0').find({ device: deviceOf(world, 'arm2') })
    expect([list(world).totalCount, list(world, second).totalCount]).toEqual([3n, 1n])
    expect(asAdmin(world).totalCount).toBe(4n)
    world.do('CloseContext', {}, second)
    expect(list(world).stale.map(({ number }) => number)).toEqual([1n, 2n, 3n])
  })

  it('are read in pieces', () => {
    const world = new World()
    world.bind('arm')
    for (let i = 0; i < 5; i++) oracleOf(world, 'smmu0').find({ device: deviceOf(world, 'arm') })
    const piece = world.do('ListStaleTranslations', { unitName: 'smmu0', start: 3, maxReports: 1 })
    expect([piece.totalCount, piece.stale.map(({ number }) => number)]).toEqual([5n, [4n]])
  })
})

describe('CheckStale', () => {
  it('is refused while the oracle is off', () => {
    const world = new World()
    const { unitId } = world.do('CreateUnit', { type: 1 })
    expect(world.no('CheckStale', { unitId })).toBe('ENODEV')
  })

  it('looks at all that is watched, and tells what it has found', () => {
    const world = new World()
    const { unitId } = world.do('CreateUnit', { type: 1 })
    world.do('SetOracleMode', { unitId, mode: REPORT })
    world.machine.rawUnits[0].oracle.watched = 7
    expect(world.do('CheckStale', { unitId })).toMatchObject({ checkedCount: 7n, stale: [{ reason: 3, number: 1n }] })
  })

  it('is the administrator’s where several use the unit: what it finds is reported to its owner', () => {
    const world = new World()
    world.bind('arm')
    world.do('BindDevice', { deviceName: 'arm2' }, world.open().context)
    oracleOf(world, 'smmu0').set({ mode: 'report', graceSyncs: 0 })
    expect(world.no('CheckStale', { unitName: 'smmu0' })).toBe('EPERM')
  })
})
