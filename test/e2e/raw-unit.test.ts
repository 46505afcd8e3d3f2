/**
 * A raw SMMUv3 over the socket, driven by a guest's driver: registers and RAM alone on its side, and on the other a
 * device that does DMA. What a VMM needs to put the unit behind its own MMIO trap.
 */

import { describe, expect, it } from 'vitest'
import { CachePolicy, DmaOutcome } from '../../clients/node/index.js'
import { IOVA, RAM_BASE, rawWorld, SID } from './raw-world.js'
import { SmmuDomain } from './smmu-domain.js'
import { REG, SmmuGuest } from './smmu-guest.js'
import { READ, refusal, WRITE } from './world.js'

const world = rawWorld()

/** Those with two-level stream tables, as Linux's driver wants them for so many streams. */
const PRESETS = ['default', 'full', 'qemu', 'mmu-600', 'arm-fvp'] as const

describe.each(PRESETS)('a guest’s driver on a raw unit like %s', (preset) => {
  it('resets it as Linux does, maps a page, and its device reaches it', async () => {
    const guest = await SmmuGuest.start(world.client, world.ram, preset)
    const domain = await SmmuDomain.attach(guest, SID)
    domain.map(IOVA, world.page)
    expect(await world.dma(guest, IOVA + 0x67n)).toMatchObject({ outcome: DmaOutcome.OK, address: world.page + 0x67n })
    expect(await guest.takeEvents()).toEqual([])
    expect(await guest.read(REG.GERROR)).toBe(0)
  })

  it('is told of a fault by a record and an interrupt, once while the queue is not empty', async () => {
    const guest = await SmmuGuest.start(world.client, world.ram, preset)
    const domain = await SmmuDomain.attach(guest, SID)
    domain.map(IOVA, world.page, true)
    await guest.takeInterrupts()
    expect(await world.dma(guest, IOVA + 8n, WRITE)).toMatchObject({ outcome: DmaOutcome.FAULT, fault: 'F_PERMISSION' })
    expect(await world.dma(guest, 0x1000n)).toMatchObject({ outcome: DmaOutcome.FAULT, fault: 'F_TRANSLATION' })
    expect(await guest.takeInterrupts()).toEqual(['EVENTQ'])
    expect(await guest.takeEvents()).toEqual([
      [0x108_0000_0013n, 0x200_0000_0000n, IOVA + 8n, 0n],
      [0x108_0000_0010n, 0x208_0000_0000n, 0x1000n, 0n],
    ])
    await world.dma(guest, 0x1000n)
    expect(await guest.takeInterrupts()).toEqual(['EVENTQ'])
  })

  it('unmaps a page, which stays in the TLB until it is forgotten there', async () => {
    const guest = await SmmuGuest.start(world.client, world.ram, preset)
    const domain = await SmmuDomain.attach(guest, SID)
    domain.map(IOVA, world.page)
    await world.dma(guest, IOVA)
    domain.map(IOVA, world.page + 0x1000n)
    expect((await world.dma(guest, IOVA)).address).toBe(world.page)
    const { explanation } = await world.client.explainUnit({ unitId: guest.unitId, sourceId: SID, iova: IOVA })
    expect([explanation?.cached?.address, explanation?.fresh?.address]).toEqual([world.page, world.page + 0x1000n])
    await guest.run(domain.invalidation(IOVA))
    expect((await world.dma(guest, IOVA)).address).toBe(world.page + 0x1000n)
    await domain.unmap(IOVA)
    expect((await world.dma(guest, IOVA)).fault).toBe('F_TRANSLATION')
  })

  it('recovers from a command that it got wrong', async () => {
    const guest = await SmmuGuest.start(world.client, world.ram, preset)
    await guest.takeInterrupts()
    const sync = await guest.issue([0xffn, 0n], [0x30n, 0n])
    expect(await guest.isDone(sync)).toBe(false)
    expect(await guest.takeInterrupts()).toEqual(['GERROR'])
    expect(await guest.recoverCommandQueue()).toBe(1)
    expect(await guest.isDone(sync)).toBe(true)
    expect(await guest.read(REG.CMDQ_CONS)).toBe((await guest.read(REG.CMDQ_PROD)) | (1 << 24))
  })
})

describe('the caches of a raw unit', () => {
  it.each([
    ['OFF', CachePolicy.OFF, [0, 0, 0], false],
    ['MINIMAL', CachePolicy.MINIMAL, [0, 1, 0], false],
    ['HARDWARE', CachePolicy.HARDWARE, [0, 1, 1], false],
    ['GREEDY', CachePolicy.GREEDY, [0, 1, 1], true],
  ])('keep what their policy says: %s', async (_, policy, hits, keepsDenials) => {
    const guest = await SmmuGuest.start(world.client, world.ram, 'full', policy)
    const { unitId } = guest
    expect((await world.client.getUnit({ unitId })).cachePolicy).toBe(policy)
    const domain = await SmmuDomain.attach(guest, SID)
    domain.map(IOVA, world.page)
    domain.map(IOVA + 0x1000n, world.page, true)
    await world.dma(guest, IOVA + 0x1000n)
    const iovas = [IOVA, IOVA, IOVA + 0x1000n]
    const { cacheHits } = await world.client.translateUnit({ unitId, sourceIds: [SID], iovas, access: READ })
    expect([...cacheHits]).toEqual(hits)
    // A page that may not be written, until it may; nothing needs to be told where denials are not kept.
    const other = IOVA + 0x20_0000n
    domain.map(other, world.page, true)
    expect((await world.dma(guest, other, WRITE)).fault).toBe('F_PERMISSION')
    domain.map(other, world.page)
    expect((await world.dma(guest, other, WRITE)).fault).toBe(keepsDenials ? 'F_PERMISSION' : undefined)
    await guest.run(domain.invalidation(other))
    expect((await world.dma(guest, other, WRITE)).outcome).toBe(DmaOutcome.OK)
  })
})

describe('a queue that is longer than what a unit takes at once', () => {
  it('is consumed before the next write of the call, and other clients are answered meanwhile', async () => {
    const guest = await SmmuGuest.start(world.client, world.ram, 'full')
    const { unitId } = guest
    const before = await guest.read(REG.CMDQ_PROD)
    // 255 commands from here to one before a full queue; then, in the same call, the queue is switched off.
    for (let i = 0; i < 255; i++) guest.push([0x30n, 0n])
    const prod = (before + 255) & 0x1ff
    const writes = [
      { offset: REG.CMDQ_PROD, width: 4, value: BigInt(prod) },
      { offset: REG.CR0, width: 4, value: 0n },
    ]
    const other = world.daemon.connect()
    const [written] = await Promise.all([
      world.client.writeUnitRegisters({ unitId, writes }),
      other.inContext(world.client.token).getUnit({ unitId }),
    ])
    other.close()
    expect(written.doneCount).toBe(2)
    expect([await guest.read(REG.CMDQ_CONS), await guest.read(REG.CR0ACK)]).toEqual([prod, 0])
  })
})

describe('a stalled access', () => {
  /** A stream whose accesses stall, and one access that does. */
  async function stalled() {
    const guest = await SmmuGuest.start(world.client, world.ram, 'full')
    const domain = await SmmuDomain.attach(guest, SID, { stalls: true })
    await guest.takeInterrupts()
    const { outcome, id } = await world.dma(guest, IOVA + 0x18n, WRITE)
    expect(outcome).toBe(DmaOutcome.PENDING)
    const [record, ...others] = await guest.takeEvents()
    expect(others).toEqual([])
    return { guest, domain, id, record, stag: record[1] & 0xffffn }
  }

  it('is told to software by a record with its STAG, and to its device by an id', async () => {
    const { guest, id, record, stag } = await stalled()
    expect(record).toEqual([0x108_0000_0010n, 0x200_8000_0000n | stag, IOVA + 0x18n, 0n])
    expect(await guest.takeInterrupts()).toEqual(['EVENTQ'])
    expect(await world.endOf(id)).toMatchObject({ outcome: DmaOutcome.PENDING })
  })

  it('goes on where the tables lead when it is resumed, and wakes the one who waits for it', async () => {
    const { guest, domain, id, stag } = await stalled()
    const waiter = world.daemon.connect()
    const ended = waiter.inContext(world.client.token).awaitDma({ transactionIds: [id], waitMs: 20_000 })
    domain.map(IOVA, world.page)
    await guest.run(domain.resume(stag, 'retry'))
    const { results } = await ended
    waiter.close()
    expect(results[0]).toMatchObject({
      outcome: DmaOutcome.OK,
      translation: {
        address: world.page + 0x18n,
        pageSizeLog2: 12,
        location: { offset: world.page + 0x18n - RAM_BASE },
      },
    })
    expect((await refusal(world.client.awaitDma({ transactionIds: [id] }))).errnoName).toBe('ENOENT')
  })

  it('stalls again under its id when nothing was mapped', async () => {
    const { guest, domain, id, stag } = await stalled()
    await guest.run(domain.resume(stag, 'retry'))
    expect((await world.endOf(id)).outcome).toBe(DmaOutcome.PENDING)
    const [again] = await guest.takeEvents()
    expect(again[2]).toBe(IOVA + 0x18n)
    await guest.run(domain.resume(again[1] & 0xffffn, 'abort'))
    expect((await world.endOf(id)).outcome).toBe(DmaOutcome.ABORTED)
  })

  it('is aborted, or reads as zero, as software says; another’s token does nothing', async () => {
    const { guest, domain, id, stag } = await stalled()
    await guest.run([0x2044n | (9n << 32n), stag], domain.resume(stag + 1n, 'abort'))
    expect((await world.endOf(id)).outcome).toBe(DmaOutcome.PENDING)
    await guest.run(domain.resume(stag, 'razwi'))
    expect((await world.endOf(id)).outcome).toBe(DmaOutcome.RAZ_WI)
  })

  it('ends with its stream’s stalls, with translation, with a reset, and with the unit', async () => {
    const { guest, domain, id } = await stalled()
    const { unitId } = guest
    await guest.run(domain.endStalls())
    expect((await world.endOf(id)).outcome).toBe(DmaOutcome.ABORTED)
    const second = await world.dma(guest, IOVA)
    await guest.disable()
    expect((await world.endOf(second.id)).outcome).toBe(DmaOutcome.ABORTED)
    await guest.reset()
    const third = await world.dma(guest, IOVA)
    expect(await world.client.resetUnit({ unitId })).toEqual({ abortedCount: 1 })
    expect((await world.endOf(third.id)).outcome).toBe(DmaOutcome.ABORTED)
    await guest.reset()
    const fourth = await world.dma(guest, IOVA)
    await world.client.destroy({ objectId: unitId })
    expect((await world.endOf(fourth.id)).outcome).toBe(DmaOutcome.ABORTED)
    const { quotas } = await world.client.getContext({})
    expect(quotas.find(({ name }) => name === 'pending_dma')?.used).toBe(0n)
  })
})
