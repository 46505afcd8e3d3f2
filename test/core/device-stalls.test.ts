/** Devices of the platform whose requests wait for software: stalls and page requests. */

import { describe, expect, it } from 'vitest'
import { DEFAULT_LIMITS } from '../../server/core/limits.js'
import { ABORTED, FAULT, hasEnded, IOVA, OK, PENDING, READ, scene, WRITE } from './device-scene.js'
import type { FakeAts } from './fake-ats.js'
import { World } from './world.js'

/** A page that is not there. */
const HOLE = 0x9000n

function stalling(world = new World()) {
  const told = scene('arm/ats', world)
  told.hardware.stalls = true
  const { ioas, region, deviceId } = told
  return {
    ...told,
    translate: (...iovas: bigint[]) => world.do('Translate', { deviceId, iovas: BigUint64Array.from(iovas) }),
    mapHole: () => world.map(ioas, region, 0x1000n, HOLE, 0x8000n),
    awaited: (...ids: bigint[]) => world.do('AwaitDma', { transactionIds: BigUint64Array.from(ids) }),
  }
}

describe('a translation that the unit holds', () => {
  it('is pending, and told once when it was tried again: as a place, never as a physical address', () => {
    const { translate, mapHole, hardware, awaited, region } = stalling()
    const { outcomes, transactionIds, doneCount } = translate(IOVA, HOLE + 4n, HOLE)
    expect([[...outcomes], [...transactionIds], doneCount]).toEqual([[OK, PENDING, PENDING], [0n, 1n, 2n], 3])
    expect(awaited(1n, 2n).results.map(({ outcome }) => outcome)).toEqual([PENDING, PENDING])
    mapHole()
    hardware.answer(1, true)
    const [{ outcome, translation }] = awaited(1n).results
    expect([outcome, translation]).toEqual([
      OK,
      { outcome: OK, location: { regionId: region, offset: 0x8004n }, pageSizeLog2: 12, permissions: 3 },
    ])
    expect(awaited(1n).refusal?.name).toBe('ENOENT')
    expect(awaited(2n).results[0].outcome).toBe(PENDING)
  })

  it('ends in a fault that is described, or without one', () => {
    const { translate, hardware, awaited } = stalling()
    translate(HOLE, HOLE)
    hardware.answer(1, true)
    hardware.answer(2, false)
    const [fault, abort] = awaited(1n, 2n).results
    expect(fault).toMatchObject({ outcome: FAULT, fault: { code: 0x10, name: 'FAULT_16', iova: HOLE, index: 0 } })
    expect(abort).toEqual({ transactionId: 2n, outcome: ABORTED, pageResponse: 0 })
  })

  it('that nobody answers has ended before its sender hears of it', () => {
    const { translate, hardware, world } = stalling()
    hardware.isAlone = true
    const { outcomes, transactionIds } = translate(HOLE)
    expect([[...outcomes], transactionIds.length]).toEqual([[ABORTED], 0])
    world.do('CloseContext')
    expect(world.leftovers()).toEqual([])
  })

  it('is awaited in a wait', async () => {
    const { translate, hardware, world, mapHole } = stalling()
    translate(HOLE)
    const reply = world.begin('AwaitDma', { transactionIds: BigUint64Array.of(1n), waitMs: 1000 })
    expect(await hasEnded(reply)).toBe(false)
    mapHole()
    hardware.answer(1, true)
    expect((await reply).results[0].outcome).toBe(OK)
  })

  it('needs room only where a request may be held', () => {
    const limits = { ...DEFAULT_LIMITS, context: { ...DEFAULT_LIMITS.context, pending_dma: 1 } }
    const { translate, hardware } = stalling(new World({ limits }))
    translate(HOLE)
    expect(translate(IOVA).refusal).toMatchObject({ name: 'EDQUOT' })
    hardware.stalls = false
    expect([...translate(IOVA, HOLE).outcomes]).toEqual([OK, FAULT])
  })
})

describe('a read or write that the unit holds', () => {
  it('goes on when it is answered, and may be held again', async () => {
    const { world, read, hardware, awaited, mapHole, ioas, region } = stalling()
    world.map(ioas, region, 0x1000n, HOLE - 0x1000n, 0x7000n)
    const patches = [{ regionId: region, offset: 0x7ffen, data: Uint8Array.of(1, 2, 3, 4) }]
    world.do('WriteMemory', { patches })
    const asked = read(HOLE - 2n, 0, 0, undefined, 0x1004)
    expect(asked).toMatchObject({ outcome: PENDING, transactionId: 1n, data: Uint8Array.of(1, 2) })
    mapHole()
    hardware.answer(1, true)
    const [halfWay] = awaited(1n).results
    expect(halfWay).toMatchObject({ outcome: PENDING })
    world.map(ioas, region, 0x1000n, HOLE + 0x1000n, 0x9000n)
    hardware.answer(2, true)
    const [{ outcome, data, doneBytes }] = awaited(1n).results
    expect([outcome, data?.length, doneBytes, [...(data?.slice(0, 4) ?? [])]]).toEqual([
      OK,
      0x1004,
      0x1004,
      [1, 2, 3, 4],
    ])
  })

  it('writes what it was given when it was sent, without anybody asking', async () => {
    const { world, write, hardware, mapHole, awaited, region } = stalling()
    const data = Uint8Array.of(5, 6)
    expect(write(HOLE, 0, 0, data)).toMatchObject({ outcome: PENDING, doneBytes: 0 })
    data.fill(0)
    mapHole()
    hardware.answer(1, true)
    await hasEnded(undefined)
    const slices = [{ regionId: region, offset: 0x8000n, length: 2 }]
    expect(world.do('ReadMemory', { slices }).data).toEqual([Uint8Array.of(5, 6)])
    expect(awaited(1n).results).toMatchObject([{ outcome: OK, doneBytes: 2 }])
  })

  it('has been written when the reply leaves to the call that had it answered', () => {
    const { world, write, hardware, mapHole, region, ioas } = stalling()
    world.map(ioas, region, 0x1000n, HOLE + 0x1000n, 0x9000n)
    write(HOLE + 0xffen, 0, 0, Uint8Array.of(5, 6, 7))
    mapHole()
    const answering = (): void => hardware.answer(1, true)
    world.core.run(world.peer, world.core.contexts[0], answering, undefined)
    const slices = [{ regionId: region, offset: 0x8ffen, length: 3 }]
    expect(world.do('ReadMemory', { slices }).data).toEqual([Uint8Array.of(5, 6, 7)])
  })

  it('goes where it was answered, whatever is unmapped before the rest of it goes on', async () => {
    const { world, write, hardware, mapHole, ioas, region } = stalling()
    mapHole()
    world.do('IoasUnmap', { ioasId: ioas, iova: HOLE, length: 0x1000n })
    write(HOLE, 0, 0, Uint8Array.of(5))
    write(HOLE, 0, 0, Uint8Array.of(6))
    mapHole()
    const { memory } = world.core.contexts[0].regions.get(region)
    hardware.answer(1, true)
    hardware.answer(2, true)
    world.do('IoasUnmap', { ioasId: ioas, iova: HOLE, length: 0x1000n })
    // Another's from now on.
    memory.write(0x8000, Uint8Array.of(9))
    await hasEnded(undefined)
    const after = new Uint8Array(1)
    memory.read(0x8000, after)
    expect(after).toEqual(Uint8Array.of(9))
  })

  it('tells a fault of a later page, and what was moved before', () => {
    const { write, hardware, mapHole, awaited } = stalling()
    expect(write(HOLE + 0xffen, 0, 0, Uint8Array.of(1, 2, 3))).toMatchObject({ outcome: PENDING })
    mapHole()
    hardware.stalls = false
    hardware.answer(1, true)
    const [{ outcome, doneBytes, fault }] = awaited(1n).results
    expect([outcome, doneBytes, fault?.iova]).toEqual([FAULT, 2, HOLE + 0x1000n])
  })

  it('counts as memory of its context until it is told', () => {
    const context = { ...DEFAULT_LIMITS.context, resident_bytes: 4096 }
    const { world, read, hardware, awaited, deviceId } = stalling(new World({ limits: { ...DEFAULT_LIMITS, context } }))
    expect(read(HOLE, 0, 0, undefined, 4000).outcome).toBe(PENDING)
    const operations = [{ address: HOLE, length: 100 }]
    const { refusal } = world.do('DmaRead', { deviceId, operations })
    expect(refusal).toMatchObject({ name: 'EDQUOT', context: { limit: 'resident_bytes' } })
    hardware.answer(1, false)
    awaited(1n)
    expect(world.do('DmaRead', { deviceId, operations }).results).toMatchObject([{ outcome: PENDING }])
  })
})

describe('what a device waits for', () => {
  it('is aborted by a reset, which counts it, by an unbind, and by the end of the context', () => {
    const { world, translate, read, awaited, deviceId, hardware } = stalling()
    translate(HOLE)
    read(HOLE, 0)
    expect(world.do('ResetDevice', { deviceId })).toEqual({ abortedCount: 2 })
    hardware.answer(1, true)
    expect(awaited(1n, 2n).results.map(({ outcome }) => outcome)).toEqual([ABORTED, ABORTED])
    expect(world.do('ResetDevice', { deviceId })).toEqual({ abortedCount: 0 })
    translate(HOLE)
    world.do('UnbindDevice', { deviceId })
    expect(awaited(3n).results[0].outcome).toBe(ABORTED)
    expect(world.machine.log.filter((line) => line.startsWith('reset'))).toHaveLength(3)
    world.do('CloseContext')
    expect(world.leftovers()).toEqual([])
  })

  it('is nothing where it never waited: its unbind resets nothing', () => {
    const { world, deviceId } = scene()
    world.do('UnbindDevice', { deviceId })
    expect(world.machine.log.filter((line) => line.startsWith('reset'))).toEqual([])
  })

  it('is its context’s alone', () => {
    const { world, translate } = stalling()
    translate(HOLE)
    const other = world.open().context
    const transactionIds = BigUint64Array.of(1n)
    expect(world.do('AwaitDma', { transactionIds }, other).refusal?.name).toBe('ENOENT')
  })
})

describe('page requests of a device', () => {
  const page = (groupIndex: number, last = true, access = READ) => ({ iova: 0x1234_5678n, access, groupIndex, last })

  it('are sent in order, and their groups’ answers are told', () => {
    const { world, deviceId, hardware } = scene()
    const ats = hardware.ats as FakeAts
    const requests = [page(1, false), page(1, true, WRITE), page(2), page(3), page(4)]
    const { transactionIds, doneCount } = world.do('RequestPages', { deviceId, requests })
    expect([[...transactionIds], doneCount]).toEqual([[0n, 1n, 2n, 3n, 4n], 5])
    expect(ats.requested[1]).toMatchObject({ pasid: -1, lo: 0x1234_5000, access: WRITE, group: 1, isLast: true })
    ats.respond(-1, 1, 0)
    ats.respond(-1, 2, 1)
    ats.respond(-1, 3, 7)
    const { results } = world.do('AwaitDma', { transactionIds: BigUint64Array.of(1n, 2n, 3n, 4n) })
    expect(results.map(({ outcome, pageResponse }) => [outcome, pageResponse])).toEqual([
      [OK, 1],
      [OK, 2],
      [OK, 3],
      [PENDING, 0],
    ])
    expect(world.do('ResetDevice', { deviceId })).toEqual({ abortedCount: 1 })
  })

  it('may be answered while they are sent', () => {
    const { world, deviceId, hardware } = scene()
    const ats = hardware.ats as FakeAts
    ats.answersAtOnce = true
    world.do('RequestPages', { deviceId, pasid: 3, requests: [page(9)] })
    const { results } = world.do('AwaitDma', { transactionIds: BigUint64Array.of(1n) })
    expect(results).toMatchObject([{ outcome: OK, pageResponse: 1 }])
  })

  it('are refused without PRI, for a bad group or access, and without room', () => {
    const limits = { ...DEFAULT_LIMITS, context: { ...DEFAULT_LIMITS.context, pending_dma: 1 } }
    const { world, deviceId } = scene('arm/ats', new World({ limits }))
    const send = (id: number, ...requests: ReturnType<typeof page>[]) =>
      world.do('RequestPages', { deviceId: id, requests })
    expect(send(world.bind('arm2'), page(1)).refusal?.name).toBe('EINVAL')
    expect(send(deviceId, page(512)).refusal?.name).toBe('EINVAL')
    expect(send(deviceId, page(1, true, 0)).refusal?.name).toBe('EINVAL')
    expect(send(deviceId, page(1), page(2))).toMatchObject({ doneCount: 1, refusal: { name: 'EDQUOT' } })
  })
})
