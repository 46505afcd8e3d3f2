/**
 * A raw SMMUv3 over the socket, driven by a guest's driver: registers and RAM alone on its side, and on the other a
 * device that does DMA. What a VMM needs to put the unit behind its own MMIO trap.
 */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { AtsStatus, type ContextClient, DmaOutcome, RequestType } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { FileRam } from './file-ram.js'
import { SmmuDomain } from './smmu-domain.js'
import { REG, SmmuGuest } from './smmu-guest.js'
import { refusal } from './world.js'

const RAM_BASE = 0x8000_0000n
const RAM_BYTES = 0x40_0000n
const SID = 0x108
const IOVA = 0x7f00_1234_5000n
const READ = 1
const WRITE = 2

let daemon: Daemon
let ram: FileRam
let client: ContextClient
let page: bigint

beforeAll(async () => {
  daemon = await startDaemon({ fileRoots: [(await import('node:os')).tmpdir()] })
})

afterAll(() => daemon.stop())

beforeEach(async () => {
  ram = new FileRam(RAM_BASE, RAM_BYTES)
  client = daemon.client.inContext((await daemon.client.openContext({})).context)
  page = ram.allocate(0x1000n)
})

afterEach(async () => {
  await client.closeContext({})
  ram.remove()
})

/** One access of the stream. */
async function dma(guest: SmmuGuest, iova: bigint, access = READ, more: { pasid?: number; translated?: boolean } = {}) {
  const { unitId } = guest
  const reply = await client.translateUnit({ unitId, sourceIds: [SID], iovas: [iova], access, ...more })
  return {
    outcome: reply.outcomes[0],
    address: reply.addresses[0],
    fault: reply.faults[0]?.name,
    id: reply.transactionIds[0],
  }
}

/** How a pending access ended. */
async function endOf(id: bigint, waitMs = 0) {
  const { results } = await client.awaitDma({ transactionIds: [id], waitMs })
  return results[0]
}

const PRESETS = ['default', 'full'] as const

describe.each(PRESETS)('a guest’s driver on a raw unit like %s', (preset) => {
  it('resets it as Linux does, maps a page, and its device reaches it', async () => {
    const guest = await SmmuGuest.start(client, ram, preset)
    const domain = await SmmuDomain.attach(guest, SID)
    domain.map(IOVA, page)
    expect(await dma(guest, IOVA + 0x67n)).toMatchObject({ outcome: DmaOutcome.OK, address: page + 0x67n })
    expect(await guest.takeEvents()).toEqual([])
    expect(await guest.read(REG.GERROR)).toBe(0)
  })

  it('is told of a fault by a record and an interrupt, once while the queue is not empty', async () => {
    const guest = await SmmuGuest.start(client, ram, preset)
    const domain = await SmmuDomain.attach(guest, SID)
    domain.map(IOVA, page, true)
    await guest.takeInterrupts()
    expect(await dma(guest, IOVA + 8n, WRITE)).toMatchObject({ outcome: DmaOutcome.FAULT, fault: 'F_PERMISSION' })
    expect(await dma(guest, 0x1000n)).toMatchObject({ outcome: DmaOutcome.FAULT, fault: 'F_TRANSLATION' })
    expect(await guest.takeInterrupts()).toEqual(['EVENTQ'])
    expect(await guest.takeEvents()).toEqual([
      [0x108_0000_0013n, 0x200_0000_0000n, IOVA + 8n, 0n],
      [0x108_0000_0010n, 0x208_0000_0000n, 0x1000n, 0n],
    ])
    await dma(guest, 0x1000n)
    expect(await guest.takeInterrupts()).toEqual(['EVENTQ'])
  })

  it('unmaps a page, which stays in the TLB until it is forgotten there', async () => {
    const guest = await SmmuGuest.start(client, ram, preset)
    const domain = await SmmuDomain.attach(guest, SID)
    domain.map(IOVA, page)
    await dma(guest, IOVA)
    domain.map(IOVA, page + 0x1000n)
    expect((await dma(guest, IOVA)).address).toBe(page)
    const { explanation } = await client.explainUnit({ unitId: guest.unitId, sourceId: SID, iova: IOVA })
    expect([explanation?.cached?.address, explanation?.fresh?.address]).toEqual([page, page + 0x1000n])
    await guest.run(domain.invalidation(IOVA))
    expect((await dma(guest, IOVA)).address).toBe(page + 0x1000n)
    await domain.unmap(IOVA)
    expect((await dma(guest, IOVA)).fault).toBe('F_TRANSLATION')
  })

  it('recovers from a command that it got wrong', async () => {
    const guest = await SmmuGuest.start(client, ram, preset)
    await guest.takeInterrupts()
    const slot = await guest.issue([0xffn, 0n], [0x30n, 0n])
    expect(guest.isDone(slot)).toBe(false)
    expect(await guest.takeInterrupts()).toEqual(['GERROR'])
    expect(await guest.recoverCommandQueue()).toBe(1)
    expect(guest.isDone(slot)).toBe(true)
    expect(await guest.read(REG.CMDQ_CONS)).toBe((await guest.read(REG.CMDQ_PROD)) | (1 << 24))
  })
})

describe('a stalled access', () => {
  /** A stream whose accesses stall, and one access that does. */
  async function stalled() {
    const guest = await SmmuGuest.start(client, ram, 'full')
    const domain = await SmmuDomain.attach(guest, SID, { stalls: true })
    await guest.takeInterrupts()
    const { outcome, id } = await dma(guest, IOVA + 0x18n, WRITE)
    expect(outcome).toBe(DmaOutcome.PENDING)
    const [record, ...others] = await guest.takeEvents()
    expect(others).toEqual([])
    return { guest, domain, id, record, stag: record[1] & 0xffffn }
  }

  it('is told to software by a record with its STAG, and to its device by an id', async () => {
    const { guest, id, record, stag } = await stalled()
    expect(record).toEqual([0x108_0000_0010n, 0x200_8000_0000n | stag, IOVA + 0x18n, 0n])
    expect(await guest.takeInterrupts()).toEqual(['EVENTQ'])
    expect(await endOf(id)).toMatchObject({ outcome: DmaOutcome.PENDING })
  })

  it('goes on where the tables lead when it is resumed, and wakes the one who waits for it', async () => {
    const { guest, domain, id, stag } = await stalled()
    const waiter = daemon.connect()
    const ended = waiter.inContext(client.token).awaitDma({ transactionIds: [id], waitMs: 20_000 })
    domain.map(IOVA, page)
    await guest.run(domain.resume(stag, 'retry'))
    const { results } = await ended
    waiter.close()
    expect(results[0]).toMatchObject({
      outcome: DmaOutcome.OK,
      translation: { address: page + 0x18n, pageSizeLog2: 12, location: { offset: page + 0x18n - RAM_BASE } },
    })
    expect((await refusal(client.awaitDma({ transactionIds: [id] }))).errnoName).toBe('ENOENT')
  })

  it('stalls again under its id when nothing was mapped', async () => {
    const { guest, domain, id, stag } = await stalled()
    await guest.run(domain.resume(stag, 'retry'))
    expect((await endOf(id)).outcome).toBe(DmaOutcome.PENDING)
    const [again] = await guest.takeEvents()
    expect(again[2]).toBe(IOVA + 0x18n)
    await guest.run(domain.resume(again[1] & 0xffffn, 'abort'))
    expect((await endOf(id)).outcome).toBe(DmaOutcome.ABORTED)
  })

  it('is aborted, or reads as zero, as software says; another’s token does nothing', async () => {
    const { guest, domain, id, stag } = await stalled()
    await guest.run([0x2044n | (9n << 32n), stag], domain.resume(stag + 1n, 'abort'))
    expect((await endOf(id)).outcome).toBe(DmaOutcome.PENDING)
    await guest.run(domain.resume(stag, 'razwi'))
    expect((await endOf(id)).outcome).toBe(DmaOutcome.RAZ_WI)
  })

  it('ends with its stream’s stalls, with translation, with a reset, and with the unit', async () => {
    const { guest, domain, id } = await stalled()
    const { unitId } = guest
    await guest.run(domain.endStalls())
    expect((await endOf(id)).outcome).toBe(DmaOutcome.ABORTED)
    const second = await dma(guest, IOVA)
    await guest.disable()
    expect((await endOf(second.id)).outcome).toBe(DmaOutcome.ABORTED)
    await guest.reset()
    const third = await dma(guest, IOVA)
    expect(await client.resetUnit({ unitId })).toEqual({ abortedCount: 1 })
    expect((await endOf(third.id)).outcome).toBe(DmaOutcome.ABORTED)
    await guest.reset()
    const fourth = await dma(guest, IOVA)
    await client.destroy({ objectId: unitId })
    expect((await endOf(fourth.id)).outcome).toBe(DmaOutcome.ABORTED)
    const { quotas } = await client.getContext({})
    expect(quotas.find(({ name }) => name === 'pending_dma')?.used).toBe(0n)
  })
})

describe('a stream with ATS', () => {
  /** A stream that may ask for translations, with one page of each kind. */
  async function withAts(ats = true) {
    const guest = await SmmuGuest.start(client, ram, 'full')
    const domain = await SmmuDomain.attach(guest, SID, { ats })
    domain.map(IOVA, page)
    domain.map(IOVA + 0x1000n, page, true)
    const stream = { unitId: guest.unitId, sourceId: SID }
    return { guest, domain, stream }
  }

  it('is granted what the page allows of what it asks for; a page that is not there grants nothing', async () => {
    const { guest, stream } = await withAts()
    const iovas = [IOVA + 0x123n, IOVA + 0x1000n, IOVA + 0x2000n]
    const reply = await client.requestTranslations({ stream, iovas, access: READ | WRITE })
    expect([...reply.statuses]).toEqual([AtsStatus.SUCCESS, AtsStatus.SUCCESS, AtsStatus.SUCCESS])
    expect([...reply.permissions]).toEqual([READ | WRITE, READ, 0])
    expect([...reply.addresses]).toEqual([page, page, 0n])
    expect([...reply.pageSizeLog2s]).toEqual([12, 12, 12])
    expect(await guest.takeEvents()).toEqual([])
    const reading = await client.requestTranslations({ stream, iovas: [IOVA] })
    expect([...reading.permissions]).toEqual([READ])
  })

  it('does DMA with what it was granted, past tables and TLB', async () => {
    const { guest, domain } = await withAts()
    await domain.unmap(IOVA)
    const reached = await dma(guest, page + 0x40n, WRITE, { translated: true })
    expect(reached).toMatchObject({ outcome: DmaOutcome.OK, address: page + 0x40n })
  })

  it('is an Unsupported Request, with a record, where its entry says no ATS, and its translated DMA is forbidden', async () => {
    const { guest, stream } = await withAts(false)
    const { statuses, faults } = await client.requestTranslations({ stream, iovas: [IOVA] })
    expect([...statuses]).toEqual([AtsStatus.UNSUPPORTED_REQUEST])
    expect(faults).toMatchObject([{ index: 0, code: 0x05, name: 'F_BAD_ATS_TREQ', iova: IOVA }])
    expect(faults[0].reason).toMatch(/^STE: /)
    expect((await dma(guest, page, READ, { translated: true })).fault).toBe('F_TRANSL_FORBIDDEN')
    const records = await guest.takeEvents()
    expect(records.map(([dw0]) => dw0)).toEqual([0x108_0000_0005n, 0x108_0000_0007n])
  })

  it('is a Completer Abort where its entry is broken', async () => {
    const { guest, stream } = await withAts()
    ram.store(await guest.streamEntry(SID), 0n)
    await guest.run([0x3n | (BigInt(SID) << 32n), 1n])
    const { statuses, faults } = await client.requestTranslations({ stream, iovas: [IOVA] })
    expect([[...statuses], faults]).toEqual([[AtsStatus.COMPLETER_ABORT], []])
  })

  it('is explained whatever it sends', async () => {
    const { guest, stream } = await withAts()
    const explain = async (iova: bigint, requestType: RequestType) =>
      (await client.explainUnit({ ...stream, iova, requestType })).explanation
    const asked = await explain(IOVA, RequestType.TRANSLATION)
    expect(asked?.fresh).toMatchObject({ outcome: DmaOutcome.OK, address: page, atsStatus: AtsStatus.SUCCESS })
    expect(asked?.steps.map(({ structure }) => structure)).toContain('STE')
    const nothing = await explain(0n, RequestType.TRANSLATION)
    expect(nothing?.fresh).toMatchObject({ outcome: DmaOutcome.OK, permissions: 0, address: undefined })
    const translated = await explain(page, RequestType.TRANSLATED)
    expect(translated?.fresh).toMatchObject({ outcome: DmaOutcome.OK, address: page })
    expect(await guest.takeEvents()).toEqual([])
  })
})
