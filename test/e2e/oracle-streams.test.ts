/** The oracle and what streams of a raw unit keep themselves: until they say that they have forgotten, they may use it. */

import { describe, expect, it } from 'vitest'
import { DmaOutcome, OracleMode, StaleReason } from '../../clients/node/index.js'
import { IOVA, rawWorld, SID } from './raw-world.js'
import { SmmuDomain } from './smmu-domain.js'
import { SmmuGuest } from './smmu-guest.js'
import { VtdFunction } from './vtd-function.js'
import { VtdGuest } from './vtd-guest.js'
import { READ, WRITE } from './world.js'

const world = rawWorld()

/** A stream with ATS, and its driver's two halves of an unmap. */
async function smmuv3() {
  const guest = await SmmuGuest.start(world.client, world.ram, 'full')
  const domain = await SmmuDomain.attach(guest, SID, { ats: true })
  domain.map(IOVA, world.page)
  const forgetDevice = () => guest.issue(domain.atcInvalidation(IOVA))
  return { unitId: guest.unitId, unmap: () => domain.unmap(IOVA), forgetDevice, command: /^ATC_INV SID=0x108 / }
}

async function vtd() {
  const guest = await VtdGuest.start(world.client, world.ram, 'vtd-full')
  const fn = VtdFunction.attach(guest, SID, { ats: true, pages: true })
  fn.map(0, IOVA, world.page)
  let ofDevice: Parameters<typeof guest.issue> = []
  const unmap = async () => {
    const [ofUnit, ...others] = fn.unmap(0, IOVA)
    ofDevice = others
    await guest.run(ofUnit)
  }
  return { unitId: guest.unitId, unmap, forgetDevice: () => guest.issue(...ofDevice), command: /^DEV_IOTLB SID=0x108 / }
}

describe.each([
  ['an SMMUv3', smmuv3],
  ['a VT-d unit', vtd],
])('a stream of a raw unit, %s', (_, start) => {
  /** It was granted its page. */
  async function granted(mode: OracleMode) {
    const { unitId, ...guest } = await start()
    const { client } = world
    await client.setOracleMode({ unitId, mode })
    const stream = { unitId, sourceId: SID }
    const ask = () => client.requestTranslations({ stream, iovas: [IOVA], access: READ | WRITE })
    expect((await ask()).addresses[0]).toBe(world.page)
    const use = (offset = 0x40n) => {
      const sourceIds = [SID]
      return client.translateUnit({ unitId, sourceIds, iovas: [world.page + offset], translated: true })
    }
    const stale = async () => (await client.listStaleTranslations({ unitId })).stale
    return { ...guest, unitId, stream, ask, use, stale }
  }

  it('that uses a page after its unmap is reported, with what makes the device forget', async () => {
    const { use, stale, unmap, command } = await granted(OracleMode.REPORT)
    await use()
    await unmap()
    expect((await use()).outcomes[0]).toBe(DmaOutcome.OK)
    await use(0x80n)
    const found = await stale()
    expect(found).toMatchObject([{ cache: 'atc', iova: IOVA + 0x40n, reason: StaleReason.SYNCED, hits: 2n }])
    expect(found[0].neededCommand).toMatch(command)
    expect(found[0].sent.map(({ why }) => why)).toContain('drops what the unit keeps, not the device')
  })

  it('under FAIL ends ABORTED, and the reply says why', async () => {
    const { use, unmap } = await granted(OracleMode.FAIL)
    await unmap()
    const { outcomes, faults } = await use()
    expect([...outcomes]).toEqual([DmaOutcome.ABORTED])
    expect(faults).toMatchObject([
      { name: 'stale', reason: expect.stringContaining('with no translation; forgotten: ') },
    ])
  })

  it('is checked without a use, and is right again when it has forgotten', async () => {
    const { client } = world
    const { unitId, stream, unmap, forgetDevice, use, stale } = await granted(OracleMode.REPORT)
    await unmap()
    await forgetDevice()
    const [{ tag }] = (await client.pollInvalidations({ stream })).invalidations
    // The wait behind it is not over, and what the stream has not said it forgot it may use.
    await use()
    expect([await stale(), (await client.checkStale({ unitId })).stale]).toEqual([[], []])
    await client.completeInvalidations({ stream, tags: [tag] })
    expect((await client.checkStale({ unitId })).stale).toEqual([])
    await use()
    expect(await stale()).toEqual([])
  })

  it('is found by a check', async () => {
    const { unitId, unmap } = await granted(OracleMode.REPORT)
    await unmap()
    const { stale } = await world.client.checkStale({ unitId })
    expect(stale).toMatchObject([{ cache: 'atc', reason: StaleReason.CHECKED }])
  })

  it('keeps nothing over a reset of its unit, nor what it was granted while the oracle was off', async () => {
    const { unitId, unmap, use, stale } = await granted(OracleMode.OFF)
    await world.client.setOracleMode({ unitId, mode: OracleMode.REPORT })
    await unmap()
    await use()
    expect(await stale()).toEqual([])
    await world.client.resetUnit({ unitId })
    await use()
    expect([await stale(), (await world.client.checkStale({ unitId })).stale]).toEqual([[], []])
  })
})
