/** Streams of raw units that keep translations of their own and ask for pages. */

import { describe, expect, it } from 'vitest'
import { FAILING_GROUP, FAKE_REGISTER, HELD } from './fake-parts.js'
import { OK, PENDING, READ, response, STREAM, scene, WRITE, withPending } from './streams.js'

describe('translation requests', () => {
  const request = ({ world, stream }: ReturnType<typeof scene>, iovas: bigint[], access = 0, pasid?: number) =>
    world.do('RequestTranslations', { stream, iovas: BigUint64Array.from(iovas), access, pasid })

  it('are completed with success, UR or CA; what gives no right is no translation', () => {
    const told = scene()
    const { statuses, addresses, permissions, pageSizeLog2s, regionIds, faults, doneCount } = request(told, [
      0x4567n,
      0x1000n,
      0x2000n,
      0x1_0000_4000n,
      HELD,
    ])
    expect([[...statuses], doneCount]).toEqual([[1, 3, 2, 1, 1], 5])
    expect([...addresses]).toEqual([0x4003n, 0n, 0n, 0n, HELD + 3n])
    expect([...permissions]).toEqual([READ, 0, 0, 0, READ])
    expect([...pageSizeLog2s]).toEqual([12, 0, 0, 12, 12])
    expect(regionIds).toHaveLength(0)
    expect(faults).toMatchObject([{ index: 2, code: 5, name: 'FAULT_5', iova: 0x2000n }])
  })

  it('always ask for the right to read, and need no room', () => {
    const told = scene({ limits: withPending(0) })
    expect([...request(told, [0x4000n], WRITE).permissions]).toEqual([READ | WRITE])
  })

  it('are refused without a stream, with a PASID of 21 bits, and of a device with the reason', () => {
    const told = scene()
    const { world } = told
    expect(request(told, [0n], 0, 2 ** 20).refusal?.name).toBe('EINVAL')
    expect(request(told, [0n], 16).refusal?.name).toBe('EINVAL')
    const ask = (who: object) => world.do('RequestTranslations', { ...who, iovas: BigUint64Array.of(0n) }).refusal
    expect(ask({})).toMatchObject({ name: 'EINVAL' })
    expect(ask({ deviceId: 77 })).toMatchObject({ name: 'ENOENT' })
    expect(ask({ stream: { unitId: 77, sourceId: 0 } })).toMatchObject({ name: 'ENOENT' })
    const deviceId = world.bind('arm')
    expect(ask({ deviceId })).toMatchObject({ name: 'EINVAL', reason: /IDR0\.ATS/ })
    expect(ask({ stream: { unitId: deviceId, sourceId: 0 } })).toMatchObject({ name: 'ENOENT' })
    expect(world.do('RequestPages', { deviceId, requests: [] }).refusal).toMatchObject({ name: 'EINVAL' })
    expect(world.no('PollInvalidations', { deviceId })).toBe('EINVAL')
    const tags = BigUint64Array.of(1n)
    expect(world.do('CompleteInvalidations', { deviceId, tags }).refusal).toMatchObject({ name: 'EINVAL' })
  })
})

describe('page requests', () => {
  const page = (groupIndex: number, last = true, access = READ) => ({ iova: 0x1234_5678n, access, groupIndex, last })

  it('are sent in order; each group ends with one that can be waited for', () => {
    const { world, stream, unit } = scene()
    const requests = [page(1, false), page(1, true, WRITE), page(2), page(2, true, 0)]
    const reply = world.do('RequestPages', { stream, pasid: 9, requests })
    expect([[...reply.transactionIds], reply.doneCount, reply.refusal]).toEqual([[0n, 1n, 2n, 0n], 4, undefined])
    expect(unit.requested.map(({ access, group, isLast }) => [access, group, isLast])).toEqual([
      [READ, 1, false],
      [WRITE, 1, true],
      [READ, 2, true],
      [0, 2, true],
    ])
    expect(unit.requested[0]).toMatchObject({ sourceId: STREAM, pasid: 9, lo: 0x1234_5000, hi: 0 })
  })

  it('tell the response, also one that comes while they are sent', () => {
    const { world, stream, ask, write } = scene()
    world.do('RequestPages', { stream, requests: [page(1), page(2), page(3), page(4), page(FAILING_GROUP)] })
    write(FAKE_REGISTER.RESPOND, response(1, 0))
    write(FAKE_REGISTER.RESPOND, response(2, 1))
    write(FAKE_REGISTER.RESPOND, response(3, 7))
    const { results } = ask(1n, 2n, 3n, 4n, 5n)
    expect(results.map(({ outcome, pageResponse }) => [outcome, pageResponse])).toEqual([
      [OK, 1],
      [OK, 2],
      [OK, 3],
      [PENDING, 0],
      [OK, 3],
    ])
  })

  it('take the response of their PASID, or one without a PASID; others’ are nobody’s', () => {
    const { world, stream, ask, write } = scene()
    const outcomes = () => ask(1n, 2n).results.map(({ outcome }) => outcome)
    world.do('RequestPages', { stream, pasid: 5, requests: [page(1)] })
    world.do('RequestPages', { stream, pasid: 6, requests: [page(1)] })
    write(FAKE_REGISTER.RESPOND, response(1, 0, 7))
    write(FAKE_REGISTER.RESPOND, response(2, 0, 6))
    expect(outcomes()).toEqual([PENDING, PENDING])
    write(FAKE_REGISTER.RESPOND, response(1, 0, 6))
    expect(outcomes()).toEqual([PENDING, OK])
    write(FAKE_REGISTER.RESPOND, response(1, 0))
    expect(ask(1n).results).toMatchObject([{ outcome: OK, pageResponse: 1 }])
    write(FAKE_REGISTER.RESPOND, response(1, 0))
  })

  it('are refused when they are no requests, when there is no room, and where the unit takes none', () => {
    const told = scene({ limits: withPending(1) })
    const send = (requests: object[], pasid?: number) =>
      told.world.do('RequestPages', { stream: told.stream, pasid, requests: requests as never })
    expect(send([page(512)]).refusal?.name).toBe('EINVAL')
    expect(send([page(1, true, 16)]).refusal?.name).toBe('EINVAL')
    expect(send([page(1, false, 0)], 3).refusal?.name).toBe('EINVAL')
    expect(send([page(1, true, 0)]).refusal?.name).toBe('EINVAL')
    expect(told.unit.requested).toEqual([])
    const full = send([page(1), page(2, false), page(3)])
    expect([full.doneCount, full.refusal?.name, full.refusal?.context['index']]).toEqual([2, 'EDQUOT', '2'])
    expect([told.unit.requested.length, told.used()]).toEqual([2, 1])
    const none = scene({ preset: 'no pages' })
    const refused = none.world.do('RequestPages', { stream: none.stream, requests: [page(1)] })
    expect(refused.refusal).toMatchObject({ name: 'EINVAL', reason: /IDR0\.PRI/ })
  })
})

describe('invalidations', () => {
  it('are told once, oldest first, to the stream that they are for, and stay outstanding', () => {
    const { world, stream, write } = scene()
    for (const to of [STREAM, 8, STREAM, STREAM]) write(FAKE_REGISTER.INVALIDATE, to)
    const poll = (maxInvalidations = 0) => world.do('PollInvalidations', { stream, maxInvalidations }).invalidations
    expect(poll(2)).toEqual([
      { tag: 1n, iova: 0x1_0000_2000n, sizeLog2: 13, pasid: undefined, allPasids: false },
      { tag: 3n, iova: 0x1_0000_2000n, sizeLog2: 13, pasid: undefined, allPasids: false },
    ])
    expect(poll()).toMatchObject([{ tag: 4n, allPasids: true, pasid: undefined }])
    expect(poll()).toEqual([])
    const other = { ...stream, sourceId: 8 }
    expect(world.do('PollInvalidations', { stream: other }).invalidations).toMatchObject([{ tag: 2n, pasid: 5 }])
  })

  it('are waited for', async () => {
    const { world, stream, write } = scene()
    const polled = world.begin('PollInvalidations', { stream, waitMs: 500 })
    write(FAKE_REGISTER.INVALIDATE, 8)
    write(FAKE_REGISTER.INVALIDATE, STREAM)
    expect((await polled).invalidations).toMatchObject([{ tag: 2n }])
    const late = world.begin('PollInvalidations', { stream, waitMs: 500 })
    expect(world.no('Destroy', { objectId: stream.unitId })).toBe('EBUSY')
    await world.clock.advance(500)
    expect((await late).invalidations).toEqual([])
  })

  it('are completed, or time out, once, by the stream that they are for', () => {
    const { world, stream, write, unit } = scene()
    for (let i = 0; i < 4; i++) write(FAKE_REGISTER.INVALIDATE, STREAM)
    const complete = (tags: bigint[], more: object = {}) =>
      world.do('CompleteInvalidations', { stream, tags: BigUint64Array.from(tags), ...more })
    expect(complete([1n, 2n])).toEqual({ doneCount: 2 })
    expect(unit.work).toBe(0)
    expect(complete([3n], { timedOut: true })).toEqual({ doneCount: 1 })
    expect([[...unit.outstanding], unit.timedOut]).toEqual([[4], [3]])
    const again = complete([4n, 1n])
    expect([again.doneCount, again.refusal?.name, again.refusal?.context]).toEqual([
      1,
      'ENOENT',
      { index: '1', tag: '1' },
    ])
    // A completed one is not told any more.
    expect(world.do('PollInvalidations', { stream }).invalidations).toEqual([])
    write(FAKE_REGISTER.INVALIDATE, STREAM)
    const other = { stream: { ...stream, sourceId: 8 } }
    expect(complete([5n], other).refusal?.name).toBe('ENOENT')
    expect(complete([2n ** 64n - 1n]).refusal?.name).toBe('ENOENT')
    world.do('ResetUnit', { unitId: stream.unitId })
    expect(complete([5n]).refusal?.name).toBe('ENOENT')
    expect(world.do('PollInvalidations', { stream }).invalidations).toEqual([])
  })

  it('that the unit does not hear of stay outstanding, and time out', () => {
    const { world, stream, write, unit } = scene()
    write(FAKE_REGISTER.INVALIDATE, STREAM)
    unit.isDeaf = true
    const complete = (timedOut = false) =>
      world.do('CompleteInvalidations', { stream, tags: BigUint64Array.of(1n), timedOut })
    expect(complete().refusal?.name).toBe('ENOENT')
    expect(complete(true)).toEqual({ doneCount: 1 })
    expect([complete(true).refusal?.name, unit.timedOut]).toEqual(['ENOENT', [1]])
  })
})
