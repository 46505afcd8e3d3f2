/** A raw VT-d unit over the socket, driven by a guest's driver: PASIDs, device TLBs, page requests, what was forgotten. */

import { describe, expect, it } from 'vitest'
import { AccessFlag, AtsStatus, CachePolicy, DmaOutcome, PageRequestResponse } from '../../clients/node/index.js'
import { IOVA, rawWorld } from './raw-world.js'
import { VtdFunction } from './vtd-function.js'
import { MSI, REG, VtdGuest } from './vtd-guest.js'
import { READ, refusal, WRITE } from './world.js'

const world = rawWorld()

/** 01:02.0, in the upper half of no table. */
const SID = 0x110
const PASID = 5

/** A booted guest and a function that may do everything, with a page of each kind for requests without PASID. */
async function booted(options = { ats: true, pages: true }, policy?: CachePolicy) {
  const guest = await VtdGuest.start(world.client, world.ram, 'vtd-full', policy)
  const fn = VtdFunction.attach(guest, SID, options)
  fn.map(0, IOVA, world.page)
  fn.map(0, IOVA + 0x1000n, world.page, true)
  const dma = (iova: bigint, access = READ, more: { pasid?: number; translated?: boolean } = {}) => {
    const batch = { unitId: guest.unitId, sourceIds: [SID], iovas: [iova], access, ...more }
    return world.client.translateUnit(batch)
  }
  return { guest, fn, dma, stream: { unitId: guest.unitId, sourceId: SID } }
}

describe('a function behind a raw VT-d unit', () => {
  it('does DMA with and without PASID, each through tables of its own', async () => {
    const { fn, dma } = await booted()
    const other = world.ram.allocate(0x1000n)
    fn.enable(PASID)
    fn.map(PASID, IOVA, other)
    const plain = await dma(IOVA + 0x123n, WRITE)
    expect([plain.outcomes[0], plain.addresses[0]]).toEqual([DmaOutcome.OK, world.page + 0x123n])
    const tagged = await dma(IOVA + 0x123n, READ, { pasid: PASID })
    expect([tagged.outcomes[0], tagged.addresses[0]]).toEqual([DmaOutcome.OK, other + 0x123n])
  })

  it('that meets nothing is blocked, recorded to the last bit, and the guest is interrupted', async () => {
    const { guest, dma } = await booted()
    const reply = await dma(IOVA + 0x2000n, WRITE)
    expect(reply.faults[0].name).toBe('0x71 SFS.2')
    expect(await guest.takeMessages()).toEqual([MSI.fault])
    // F, T1 = 0 (a write), AT = 0, reason 0x71, source-id.
    expect(await guest.takeFaults()).toEqual([[IOVA + 0x2000n, (1n << 63n) | (0x71n << 32n) | BigInt(SID)]])
  })

  it('goes on with the old page until the guest flushes it, and an explanation names the descriptor', async () => {
    const { guest, fn, dma } = await booted({ ats: false, pages: false })
    await dma(IOVA)
    const [flush] = fn.unmap(0, IOVA)
    expect((await dma(IOVA)).outcomes[0]).toBe(DmaOutcome.OK)
    const request = { unitId: guest.unitId, sourceId: SID, iova: IOVA, access: READ }
    const { explanation } = await world.client.explainUnit(request)
    expect(explanation?.missingInvalidation).toMatch(/^P_IOTLB /)
    await guest.run(flush)
    expect((await dma(IOVA)).faults[0].name).toBe('0x71 SFS.2')
    expect((await world.client.explainUnit(request)).explanation?.missingInvalidation).toBe('')
  })

  it.each([
    ['off', CachePolicy.OFF, 0],
    ['minimal', CachePolicy.MINIMAL, 1],
  ])('finds caches that are %s', async (_name, policy, hits) => {
    const { dma } = await booted({ ats: false, pages: false }, policy)
    await dma(IOVA)
    expect([...(await dma(IOVA)).cacheHits]).toEqual([hits])
  })
})

describe('a device TLB behind a raw VT-d unit', () => {
  it('is granted what the page allows; a page that is not there grants nothing and is no fault', async () => {
    const { guest, stream } = await booted()
    const iovas = [IOVA + 0x123n, IOVA + 0x1000n, IOVA + 0x2000n]
    const reply = await world.client.requestTranslations({ stream, iovas, access: READ | WRITE })
    expect([...reply.statuses]).toEqual([AtsStatus.SUCCESS, AtsStatus.SUCCESS, AtsStatus.SUCCESS])
    expect([...reply.permissions]).toEqual([READ | WRITE, READ, 0])
    expect([...reply.addresses]).toEqual([world.page, world.page, 0n])
    expect(await guest.takeFaults()).toEqual([])
  })

  it('may write to the interrupt range, untranslated', async () => {
    const { stream } = await booted()
    const reply = await world.client.requestTranslations({ stream, iovas: [0xfee0_1000n], access: READ | WRITE })
    expect([[...reply.statuses], [...reply.permissions]]).toEqual([
      [AtsStatus.SUCCESS],
      [AccessFlag.WRITE | AccessFlag.UNTRANSLATED_ONLY],
    ])
  })

  it('does DMA with what it was granted', async () => {
    const { dma } = await booted()
    expect((await dma(world.page + 0x40n, WRITE, { translated: true })).addresses[0]).toBe(world.page + 0x40n)
  })

  it('is not let through without DTE, and software is told', async () => {
    const { guest, stream, dma } = await booted({ ats: false, pages: false })
    expect((await dma(world.page, WRITE, { translated: true })).faults[0].name).toBe('0x44 SCT.5')
    await guest.takeFaults()
    expect([...(await world.client.requestTranslations({ stream, iovas: [IOVA] })).statuses]).toEqual([
      AtsStatus.UNSUPPORTED_REQUEST,
    ])
    // A read, AT 01 (a translation request): SCT.5.
    expect(await guest.takeFaults()).toEqual([[IOVA, (0xd0n << 56n) | (0x44n << 32n) | BigInt(SID)]])
  })

  it.each([0, PASID])('keeps a wait pending until it has forgotten (PASID %i)', async (pasid) => {
    const { guest, fn, stream } = await booted()
    if (pasid !== 0) fn.enable(pasid)
    const wait = await guest.issue(...fn.unmap(pasid, IOVA))
    expect(guest.isDone(wait)).toBe(false)
    const { invalidations } = await world.client.pollInvalidations({ stream })
    expect(invalidations).toMatchObject([{ iova: IOVA, sizeLog2: 12, allPasids: false }])
    expect(invalidations[0].pasid).toBe(pasid === 0 ? undefined : pasid)
    await world.client.completeInvalidations({ stream, tags: [invalidations[0].tag] })
    expect(guest.isDone(wait)).toBe(true)
  })

  it('that does not answer in time stops the queue with ITE and its source-id, and the guest sends it all again', async () => {
    const { guest, fn, stream } = await booted()
    const descriptors = fn.unmap(0, IOVA)
    const wait = await guest.issue(...descriptors)
    const [{ tag }] = (await world.client.pollInvalidations({ stream })).invalidations
    await guest.takeMessages()
    await world.client.completeInvalidations({ stream, tags: [tag], timedOut: true })
    expect(await guest.takeMessages()).toEqual([MSI.fault])
    expect((await guest.read(REG.FSTS)) & 0x40n).toBe(0x40n)
    expect(((await guest.read(REG.IQERCD, 8)) >> 32n) & 0xffffn).toBe(BigInt(SID))
    expect(guest.isDone(wait)).toBe(false)
    await guest.write(REG.FSTS, 0x40n)
    const again = await guest.issue(...descriptors)
    const [retried] = (await world.client.pollInvalidations({ stream })).invalidations
    await world.client.completeInvalidations({ stream, tags: [retried.tag] })
    expect([guest.isDone(wait), guest.isDone(again)]).toEqual([false, true])
  })
})

describe('a page request to a raw VT-d unit', () => {
  async function asked() {
    const world_ = await booted()
    world_.fn.enable(PASID)
    const requests = [{ iova: IOVA + 0x2000n, access: READ | WRITE, groupIndex: 3, last: true }]
    const { transactionIds } = await world.client.requestPages({ stream: world_.stream, pasid: PASID, requests })
    return { ...world_, id: transactionIds[0] }
  }

  it('is told to the guest by a descriptor and a message, and pends', async () => {
    const { guest, id } = await asked()
    expect(await guest.takeMessages()).toEqual([MSI.page])
    // Type 1, PP, source-id, PASID; read, write, last, group 3, address.
    const expected = [[0x101n | (BigInt(SID) << 16n) | (5n << 32n), (IOVA + 0x2000n) | 7n | (3n << 3n)]]
    expect(await guest.takePageRequests()).toEqual(expected)
    expect((await world.endOf(id)).outcome).toBe(DmaOutcome.PENDING)
  })

  it.each([
    ['success', 0n, PageRequestResponse.SUCCESS],
    ['an invalid request', 1n, PageRequestResponse.INVALID_REQUEST],
    ['a failure', 15n, PageRequestResponse.FAILURE],
  ])('is answered by the guest: %s', async (_name, code, pageResponse) => {
    const { guest, fn, stream, id } = await asked()
    await guest.takePageRequests()
    fn.map(PASID, IOVA + 0x2000n, world.page)
    await guest.run(fn.response(PASID, 3n, code))
    expect(await world.endOf(id)).toMatchObject({ outcome: DmaOutcome.OK, pageResponse })
    const granted = await world.client.requestTranslations({ stream, pasid: PASID, iovas: [IOVA + 0x2000n] })
    expect([...granted.permissions]).toEqual([READ])
  })

  it('that the queue has no room for is answered with success by the unit', async () => {
    const { guest, stream } = await booted()
    const requests = Array.from({ length: 140 }, (_, groupIndex) => ({
      iova: 0n,
      access: READ,
      groupIndex,
      last: true,
    }))
    const { transactionIds } = await world.client.requestPages({ stream, requests })
    const { results } = await world.client.awaitDma({ transactionIds })
    const answered = results.map(({ pageResponse }) => pageResponse)
    // 128 slots hold one less.
    expect(answered.indexOf(PageRequestResponse.SUCCESS)).toBe(127)
    expect(answered.slice(127).every((code) => code === PageRequestResponse.SUCCESS)).toBe(true)
    expect((await guest.read(REG.PRS)) & 2n).toBe(2n)
    expect((await guest.takePageRequests()).length).toBe(127)
  })

  it('of a unit without PRS is refused, and says which bit denies it', async () => {
    const guest = await VtdGuest.start(world.client, world.ram, 'vtd-scalable')
    const stream = { unitId: guest.unitId, sourceId: SID }
    const no = await refusal(
      world.client.requestPages({ stream, requests: [{ iova: 0n, access: READ, groupIndex: 1, last: true }] }),
    )
    expect([no.errnoName, no.reason]).toEqual(['EINVAL', expect.stringContaining('ECAP.PRS')])
  })
})
