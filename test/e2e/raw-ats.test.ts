/** A stream of a raw SMMUv3 that keeps translations of its own and asks for pages; the guest's driver beside it. */

import { describe, expect, it } from 'vitest'
import { AtsStatus, DmaOutcome, PageRequestResponse, RequestType, UnitType } from '../../clients/node/index.js'
import { IOVA, rawWorld, SID } from './raw-world.js'
import { type Attachment, SmmuDomain } from './smmu-domain.js'
import { REG, SmmuGuest } from './smmu-guest.js'
import { READ, refusal, WRITE } from './world.js'

const world = rawWorld()

/** A stream that may ask for translations, with one page of each kind. */
async function withAts(attachment: Attachment = { ats: true }) {
  const guest = await SmmuGuest.start(world.client, world.ram, 'full')
  const domain = await SmmuDomain.attach(guest, SID, attachment)
  domain.map(IOVA, world.page)
  domain.map(IOVA + 0x1000n, world.page, true)
  return { guest, domain, stream: { unitId: guest.unitId, sourceId: SID } }
}

describe('a stream with ATS', () => {
  it('is granted what the page allows of what it asks for; a page that is not there grants nothing', async () => {
    const { guest, stream } = await withAts()
    const iovas = [IOVA + 0x123n, IOVA + 0x1000n, IOVA + 0x2000n]
    const reply = await world.client.requestTranslations({ stream, iovas, access: READ | WRITE })
    expect([...reply.statuses]).toEqual([AtsStatus.SUCCESS, AtsStatus.SUCCESS, AtsStatus.SUCCESS])
    expect([...reply.permissions]).toEqual([READ | WRITE, READ, 0])
    expect([...reply.addresses]).toEqual([world.page, world.page, 0n])
    expect([...reply.pageSizeLog2s]).toEqual([12, 12, 12])
    expect(await guest.takeEvents()).toEqual([])
    const reading = await world.client.requestTranslations({ stream, iovas: [IOVA] })
    expect([...reading.permissions]).toEqual([READ])
  })

  it('does DMA with what it was granted, past tables and TLB', async () => {
    const { guest, domain } = await withAts()
    await domain.unmap(IOVA)
    const reached = await world.dma(guest, world.page + 0x40n, WRITE, { translated: true })
    expect(reached).toMatchObject({ outcome: DmaOutcome.OK, address: world.page + 0x40n })
  })

  it('is an Unsupported Request, with a record, where its entry says no ATS, and its translated DMA is forbidden', async () => {
    const { guest, stream } = await withAts({ ats: false })
    const { statuses, faults } = await world.client.requestTranslations({ stream, iovas: [IOVA] })
    expect([...statuses]).toEqual([AtsStatus.UNSUPPORTED_REQUEST])
    expect(faults).toMatchObject([{ index: 0, code: 0x05, name: 'F_BAD_ATS_TREQ', iova: IOVA }])
    expect(faults[0].reason).toMatch(/^STE: /)
    expect((await world.dma(guest, world.page, READ, { translated: true })).fault).toBe('F_TRANSL_FORBIDDEN')
    const records = await guest.takeEvents()
    expect(records.map(([dw0]) => dw0)).toEqual([0x108_0000_0005n, 0x108_0000_0007n])
  })

  it('is a Completer Abort where its entry is broken', async () => {
    const { guest, stream } = await withAts()
    world.ram.store(await guest.streamEntry(SID), 0n)
    await guest.run([0x3n | (BigInt(SID) << 32n), 1n])
    const { statuses, faults } = await world.client.requestTranslations({ stream, iovas: [IOVA] })
    expect([[...statuses], faults]).toEqual([[AtsStatus.COMPLETER_ABORT], []])
  })

  it('is explained whatever it sends', async () => {
    const { guest, stream } = await withAts()
    const explain = async (iova: bigint, requestType: RequestType) =>
      (await world.client.explainUnit({ ...stream, iova, requestType })).explanation
    const asked = await explain(IOVA, RequestType.TRANSLATION)
    expect(asked?.fresh).toMatchObject({ outcome: DmaOutcome.OK, address: world.page, atsStatus: AtsStatus.SUCCESS })
    expect(asked?.steps.map(({ structure }) => structure)).toContain('STE')
    const nothing = await explain(0n, RequestType.TRANSLATION)
    expect(nothing?.fresh).toMatchObject({ outcome: DmaOutcome.OK, permissions: 0, address: undefined })
    const translated = await explain(world.page, RequestType.TRANSLATED)
    expect(translated?.fresh).toMatchObject({ outcome: DmaOutcome.OK, address: world.page })
    expect(await guest.takeEvents()).toEqual([])
  })
})

describe('an invalidation of a device TLB', () => {
  /** A page that is mapped, translated by the device, and unmapped: the SYNC after ATC_INV waits. */
  async function invalidated(count = 1) {
    const { guest, domain, stream } = await withAts()
    await world.client.requestTranslations({ stream, iovas: [IOVA] })
    const command = await domain.unmap(IOVA)
    const sync = await guest.issue(...Array<typeof command>(count).fill(command))
    const poll = async (waitMs = 0) => (await world.client.pollInvalidations({ stream, waitMs })).invalidations
    return { guest, domain, stream, sync, poll }
  }

  it('keeps the queue at its SYNC until the device has forgotten, and registers answer meanwhile', async () => {
    const { guest, stream, sync, poll } = await invalidated()
    expect(await guest.isDone(sync)).toBe(false)
    const [invalidation, ...others] = await poll()
    expect([invalidation, others]).toMatchObject([{ iova: IOVA, sizeLog2: 12, allPasids: false }, []])
    expect(invalidation.pasid).toBeUndefined()
    expect(await poll()).toEqual([])
    const later = await guest.issue()
    expect([await guest.isDone(sync), await guest.isDone(later), await guest.read(REG.GERROR)]).toEqual([
      false,
      false,
      0,
    ])
    // What the device still holds it may use, until it says that it does not.
    const used = await world.dma(guest, world.page, READ, { translated: true })
    expect(used.outcome).toBe(DmaOutcome.OK)
    expect(await world.client.completeInvalidations({ stream, tags: [invalidation.tag] })).toMatchObject({
      doneCount: 1,
    })
    expect([await guest.isDone(sync), await guest.isDone(later)]).toEqual([true, true])
  })

  it('is waited for by whoever asks, and completed from another connection', async () => {
    const { guest, domain, stream } = await withAts()
    const other = world.daemon.connect()
    const polled = other.inContext(world.client.token).pollInvalidations({ stream, waitMs: 20_000 })
    const sync = await guest.issue(domain.atcInvalidation(IOVA))
    const { invalidations } = await polled
    await other.inContext(world.client.token).completeInvalidations({ stream, tags: [invalidations[0].tag] })
    other.close()
    expect(await guest.isDone(sync)).toBe(true)
  })

  it('that the device does not answer in time stops the queue, and the driver goes on', async () => {
    const { guest, stream, sync, poll } = await invalidated(2)
    await guest.takeInterrupts()
    const [first, second] = await poll()
    await world.client.completeInvalidations({ stream, tags: [first.tag], timedOut: true })
    expect([await guest.isDone(sync), await guest.read(REG.GERROR)]).toEqual([false, 0])
    await world.client.completeInvalidations({ stream, tags: [second.tag] })
    expect(await guest.takeInterrupts()).toEqual(['GERROR'])
    expect(((await guest.read(REG.CMDQ_CONS)) >>> 24) & 0x7f).toBe(3)
    expect((await guest.read(REG.GERROR)) & 1).toBe(1)
    expect(await guest.isDone(sync)).toBe(false)
    expect(await guest.recoverCommandQueue()).toBe(3)
    expect(await guest.isDone(sync)).toBe(true)
  })

  it('has a tag that is good once, for its own stream', async () => {
    const { guest, stream, sync, poll } = await invalidated()
    const [{ tag }] = await poll()
    const complete = (of: typeof stream, tags: bigint[]) => world.client.completeInvalidations({ stream: of, tags })
    expect((await refusal(complete({ ...stream, sourceId: SID + 1 }, [tag]))).errnoName).toBe('ENOENT')
    expect((await refusal(complete(stream, [tag + 1n]))).errnoName).toBe('ENOENT')
    expect(await guest.isDone(sync)).toBe(false)
    await complete(stream, [tag])
    expect((await refusal(complete(stream, [tag]))).errnoName).toBe('ENOENT')
  })

  it('goes with a reset of the unit', async () => {
    const { guest, stream, poll } = await invalidated()
    const [{ tag }] = await poll()
    await world.client.resetUnit({ unitId: guest.unitId })
    const late = world.client.completeInvalidations({ stream, tags: [tag] })
    expect((await refusal(late)).errnoName).toBe('ENOENT')
    await guest.reset()
    expect(await guest.read(REG.GERROR)).toBe(0)
  })
})

describe('a page request', () => {
  const PASID = 5

  /** A stream with PASIDs whose page is not there; it asked for it. */
  async function asked() {
    const { guest, domain, stream } = await withAts({ ats: true, pasids: 8 })
    await guest.takeInterrupts()
    const requests = [{ iova: IOVA + 0x2000n, access: READ | WRITE, groupIndex: 3, last: true }]
    const { transactionIds } = await world.client.requestPages({ stream, pasid: PASID, requests })
    return { guest, domain, stream, id: transactionIds[0] }
  }

  it('is told to software by a record and an interrupt, and pends', async () => {
    const { guest, id } = await asked()
    expect(await guest.takeInterrupts()).toEqual(['PRIQ'])
    // SSV, Last, W, R, SubstreamID, StreamID; address, group.
    expect(await guest.takePageRequests()).toEqual([[0xf000_0005_0000_0108n, (IOVA + 0x2000n) | 3n]])
    expect((await world.endOf(id)).outcome).toBe(DmaOutcome.PENDING)
  })

  it.each([
    ['success', 2n, PageRequestResponse.SUCCESS],
    ['an invalid request', 1n, PageRequestResponse.INVALID_REQUEST],
    ['a failure', 0n, PageRequestResponse.FAILURE],
  ])('is answered by software: %s', async (_, code, pageResponse) => {
    const { guest, domain, stream, id } = await asked()
    domain.map(IOVA + 0x2000n, world.page)
    await guest.run(domain.respond(BigInt(PASID), 3n, code))
    expect(await world.endOf(id)).toMatchObject({ outcome: DmaOutcome.OK, pageResponse })
    const again = await world.client.requestTranslations({ stream, pasid: PASID, iovas: [IOVA + 0x2000n] })
    expect([...again.permissions]).toEqual([READ])
  })

  it('that the queue has no room for is answered by the unit, in groups', async () => {
    const { guest, stream } = await withAts()
    const groups = Array.from({ length: 300 }, (_, groupIndex) => ({ iova: 0n, access: READ, groupIndex, last: true }))
    const { transactionIds } = await world.client.requestPages({ stream, requests: groups })
    const { results } = await world.client.awaitDma({ transactionIds })
    const answered = results.map(({ pageResponse }) => pageResponse)
    expect(answered.indexOf(PageRequestResponse.SUCCESS)).toBe(256)
    expect(answered.slice(256).every((code) => code === PageRequestResponse.SUCCESS)).toBe(true)
    expect((await guest.takePageRequests()).length).toBe(256)
  })

  it('fails at once while translation is off', async () => {
    const { guest, stream } = await withAts()
    await guest.disable()
    const requests = [{ iova: 0n, access: READ, groupIndex: 1, last: true }]
    const { transactionIds } = await world.client.requestPages({ stream, requests })
    expect((await world.endOf(transactionIds[0])).pageResponse).toBe(PageRequestResponse.FAILURE)
  })
})

describe('a unit without ATS', () => {
  const ALWAYS = { iovas: [IOVA], access: READ }

  it('of type SMMUv3 blocks what a stream with ATS sends, and tells it by records', async () => {
    const guest = await SmmuGuest.start(world.client, world.ram, 'default')
    await SmmuDomain.attach(guest, SID)
    const stream = { unitId: guest.unitId, sourceId: SID }
    expect([...(await world.client.requestTranslations({ stream, ...ALWAYS })).statuses]).toEqual([
      AtsStatus.UNSUPPORTED_REQUEST,
    ])
    expect((await world.dma(guest, world.page, READ, { translated: true })).fault).toBe('F_TRANSL_FORBIDDEN')
    expect((await guest.takeEvents()).map(([dw0]) => dw0 & 0xffn)).toEqual([0x05n, 0x07n])
    const sync = await guest.issue([0x40n, 0x34n])
    expect(await guest.recoverCommandQueue()).toBe(1)
    expect(await guest.isDone(sync)).toBe(true)
  })

  it('of type VT-d does so too, and neither takes page requests', async () => {
    const { unitId } = await world.client.createUnit({ type: UnitType.VTD })
    const stream = { unitId, sourceId: 8 }
    expect([...(await world.client.requestTranslations({ stream, ...ALWAYS })).statuses]).toEqual([
      AtsStatus.UNSUPPORTED_REQUEST,
    ])
    const requests = [{ iova: 0n, access: READ, groupIndex: 1, last: true }]
    const no = await refusal(world.client.requestPages({ stream, requests }))
    expect([no.errnoName, no.reason]).toEqual(['EINVAL', expect.stringContaining('ECAP.PRS')])
    expect((await world.client.pollInvalidations({ stream })).invalidations).toEqual([])
  })
})
