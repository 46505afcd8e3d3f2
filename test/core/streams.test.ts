/** Requests that a raw unit holds: how they end, and that each end is told once. */

import { describe, expect, it } from 'vitest'
import { DEFAULT_LIMITS } from '../../server/core/index.js'
import { FAKE_REGISTER, HELD } from './fake-parts.js'
import { ABORTED, FAULT, OK, PENDING, READ, STREAM, scene, WRITE, withPending } from './streams.js'

describe('a request that the unit holds', () => {
  it('is PENDING under an id of its own; replies without one have no ids', () => {
    const { translate, ask, used } = scene()
    const { outcomes, transactionIds, doneCount } = translate(0x1000n, HELD, 0x2000n, HELD + 0x1000n)
    expect([[...outcomes], [...transactionIds], doneCount]).toEqual([[OK, PENDING, OK, PENDING], [0n, 1n, 0n, 2n], 4])
    expect(translate(0x1000n).transactionIds).toHaveLength(0)
    expect([...translate(HELD).transactionIds]).toEqual([3n])
    const { results, doneCount: told, refusal } = ask(3n, 1n)
    expect(results.map(({ transactionId, outcome }) => [transactionId, outcome])).toEqual([
      [3n, PENDING],
      [1n, PENDING],
    ])
    expect([told, refusal, used()]).toEqual([2, undefined, 3])
  })

  it('is told once how it ended: translated, with the place in the client’s memory', () => {
    const { world, translate, ask, write, used } = scene()
    const { regionId } = world.do('CreateMemoryRegion', { anonymous: { bytes: 0x10000n }, busAddress: 0x0n })
    const [id] = translate(HELD).transactionIds
    write(FAKE_REGISTER.RESUME, 1)
    const [result] = ask(id).results
    expect(result).toMatchObject({ transactionId: id, outcome: OK, pageResponse: 0 })
    expect(result.translation).toEqual({
      outcome: OK,
      location: { regionId, offset: 0x1234n },
      address: 0x1234n,
      pageSizeLog2: 21,
      permissions: 3,
    })
    expect(used()).toBe(0)
    const again = ask(id)
    expect([again.doneCount, again.refusal?.name, again.refusal?.context]).toEqual([
      0,
      'ENOENT',
      { index: '0', id: `${id}` },
    ])
  })

  it('is told with its fault, or that it was aborted', () => {
    const { world, unitId, write, ask } = scene()
    const batch = { unitId, sourceIds: Uint32Array.of(STREAM, 9), iovas: BigUint64Array.of(HELD + 8n, HELD) }
    world.do('TranslateUnit', { ...batch, access: WRITE, pasid: 4 })
    write(FAKE_REGISTER.FAULT, 1)
    write(FAKE_REGISTER.ABORT, 2)
    const [first, second] = ask(1n, 2n).results
    expect(first).toMatchObject({
      outcome: FAULT,
      fault: { index: 0, code: 0x13, name: 'FAULT_19', iova: HELD + 8n, access: WRITE, recorded: true },
    })
    expect(first.fault?.reason).toBe('STE at level 3: not valid')
    expect(first.translation).toBeUndefined()
    expect(second).toEqual({ transactionId: 2n, outcome: ABORTED, fault: undefined, pageResponse: 0 })
  })

  it('is told up to the first id that names nothing, and at once', () => {
    const { translate, ask, world } = scene()
    translate(HELD, HELD)
    const reply = world.do('AwaitDma', { transactionIds: BigUint64Array.of(2n, 7n, 1n), waitMs: 1000 })
    expect([reply.results.map(({ transactionId }) => transactionId), reply.refusal?.context['index']]).toEqual([
      [2n],
      '1',
    ])
    expect(ask(0n).refusal?.name).toBe('ENOENT')
    expect(ask(2n ** 64n - 1n).refusal?.name).toBe('ENOENT')
  })

  it('needs room, which is there again when its end was told', () => {
    const { translate, ask, write, used } = scene({ limits: withPending(2) })
    const first = translate(HELD, 0x1000n, HELD, 0x2000n, HELD)
    expect([first.doneCount, first.refusal?.name, first.refusal?.context['limit']]).toEqual([
      3,
      'EDQUOT',
      'pending_dma',
    ])
    expect([[...first.outcomes], [...first.transactionIds], used()]).toEqual([[PENDING, OK, PENDING], [1n, 0n, 2n], 2])
    // What would not be held needs room as well: nobody can tell before.
    expect(translate(0x1000n).refusal?.name).toBe('EDQUOT')
    write(FAKE_REGISTER.ABORT, 2)
    expect(translate(0x1000n).refusal?.name).toBe('EDQUOT')
    ask(2n)
    expect([translate(0x1000n, 0x2000n).doneCount, used()]).toEqual([2, 1])
  })

  it('counts for its user over all contexts', () => {
    const limits = { ...DEFAULT_LIMITS, uid: { ...DEFAULT_LIMITS.uid, pending_dma: 1 } }
    const { world, translate } = scene({ limits })
    translate(HELD)
    const other = world.open().context
    const { unitId } = world.do('CreateUnit', { type: 1 }, other)
    const batch = { unitId, sourceIds: Uint32Array.of(1), iovas: BigUint64Array.of(HELD) }
    expect(world.do('TranslateUnit', batch, other).refusal?.context['scope']).toBe('uid')
    world.do('CloseContext')
    expect([...world.do('TranslateUnit', batch, other).outcomes]).toEqual([PENDING])
  })

  it('ends ABORTED when its unit is reset, which says how many, or destroyed', () => {
    const { world, unitId, translate, stream, ask, used } = scene()
    translate(HELD, HELD)
    const requests = [{ iova: 0n, access: READ, groupIndex: 1, last: true }]
    world.do('RequestPages', { stream, requests })
    expect(world.do('ResetUnit', { unitId })).toEqual({ abortedCount: 2 })
    expect(ask(1n, 2n, 3n).results.map(({ outcome, pageResponse }) => [outcome, pageResponse])).toEqual([
      [ABORTED, 0],
      [ABORTED, 0],
      [ABORTED, 0],
    ])
    expect(world.do('ResetUnit', { unitId })).toEqual({ abortedCount: 0 })
    translate(HELD)
    world.do('Destroy', { objectId: unitId })
    expect(used()).toBe(1)
    expect(ask(4n).results[0].outcome).toBe(ABORTED)
    expect([used(), world.leftovers()]).toEqual([0, []])
  })

  it('is gone with its context', () => {
    const { world, translate, write, stream } = scene()
    translate(HELD, HELD)
    write(FAKE_REGISTER.RESUME, 1)
    write(FAKE_REGISTER.INVALIDATE, STREAM)
    world.do('RequestPages', { stream, requests: [{ iova: 0n, access: READ, groupIndex: 1, last: true }] })
    world.do('CloseContext')
    expect(world.leftovers()).toEqual([])
    expect(world.core.contexts).toEqual([])
  })
})

describe('AwaitDma', () => {
  const begin = ({ world }: ReturnType<typeof scene>, ids: bigint[], waitMs: number) =>
    world.begin('AwaitDma', { transactionIds: BigUint64Array.from(ids), waitMs })

  it('waits until all have ended', async () => {
    const told = scene()
    told.translate(HELD, HELD)
    const reply = begin(told, [1n, 2n], 500)
    told.write(FAKE_REGISTER.RESUME, 2)
    await told.world.clock.advance(499)
    told.write(FAKE_REGISTER.ABORT, 1)
    expect((await reply).results.map(({ outcome }) => outcome)).toEqual([ABORTED, OK])
  })

  it('waits no longer than it was asked to, and then tells what there is', async () => {
    const told = scene()
    told.translate(HELD, HELD)
    const reply = begin(told, [1n, 2n], 500)
    told.write(FAKE_REGISTER.RESUME, 2)
    await told.world.clock.advance(500)
    expect((await reply).results.map(({ outcome }) => outcome)).toEqual([PENDING, OK])
    expect(told.ask(1n).results[0].outcome).toBe(PENDING)
    expect(told.ask(2n).refusal?.name).toBe('ENOENT')
  })

  it('does not tell what another call told meanwhile', async () => {
    const told = scene()
    told.translate(HELD, HELD)
    const reply = begin(told, [1n, 2n], 500)
    told.write(FAKE_REGISTER.RESUME, 1)
    expect(told.ask(1n).results[0].outcome).toBe(OK)
    told.write(FAKE_REGISTER.RESUME, 2)
    expect(await reply).toMatchObject({ results: [], doneCount: 0, refusal: { name: 'ENOENT' } })
    expect(told.ask(2n).results[0].outcome).toBe(OK)
  })

  it('ends with its context', async () => {
    const told = scene()
    told.translate(HELD)
    const reply = begin(told, [1n], 50_000)
    const ended = told.world.begin('CloseContext')
    expect((await reply).results[0].outcome).toBe(PENDING)
    await ended
    expect(told.world.leftovers()).toEqual([])
  })

  it('refuses more ids than a batch has', () => {
    const { ask } = scene({ limits: { ...DEFAULT_LIMITS, call: { ...DEFAULT_LIMITS.call, batch_elements: 1 } } })
    expect(ask(1n, 2n).refusal?.name).toBe('E2BIG')
  })
})

describe('a raw unit', () => {
  it('tells its cache policy; one that is not known is refused', () => {
    const { world, unitId } = scene()
    expect(world.do('GetUnit', { unitId }).cachePolicy).toBe(3)
    const { unitId: off } = world.do('CreateUnit', { type: 1, cachePolicy: 1 })
    expect(world.do('GetUnit', { unitId: off }).cachePolicy).toBe(1)
    expect(world.no('CreateUnit', { type: 1, cachePolicy: 6 })).toBe('EOPNOTSUPP')
  })

  it('explains each kind of request, and refuses kinds that it does not know', () => {
    const { world, unitId } = scene()
    const fresh = (iova: bigint, requestType: number) =>
      world.do('ExplainUnit', { unitId, sourceId: STREAM, iova, requestType }).explanation.fresh
    expect(fresh(0x4000n, 0)).toMatchObject({ outcome: OK, address: 0x4003n, permissions: READ })
    expect(fresh(0x4000n, 0).atsStatus).toBeUndefined()
    expect(fresh(0x4000n, 1)).toMatchObject({ outcome: OK, address: 0x4003n, atsStatus: 1 })
    expect(fresh(0x1_0000_4000n, 1)).toEqual({ outcome: OK, pageSizeLog2: 12, permissions: 0, atsStatus: 1 })
    expect(fresh(0x1000n, 1)).toEqual({ outcome: ABORTED, pageSizeLog2: 0, permissions: 0, atsStatus: 3 })
    expect(fresh(0x2000n, 1)).toMatchObject({ outcome: FAULT, atsStatus: 2, fault: { code: 5, recorded: false } })
    expect(fresh(0x2000n, 2)).toMatchObject({ outcome: OK, address: 0x2003n })
    expect(world.no('ExplainUnit', { unitId, sourceId: 1, iova: 0n, requestType: 3 })).toBe('EOPNOTSUPP')
    expect(world.no('ExplainUnit', { unitId, sourceId: 1, iova: 0n, pasid: 2 ** 20 })).toBe('EINVAL')
  })
})
