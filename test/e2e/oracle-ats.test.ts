/** The oracle and what devices of nested guests keep themselves: a guest that forgets its device TLBs is told so. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { AddressType, DmaOutcome, OracleMode, StaleReason } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { type Arch, NestedGuest, OLD, RAM, VIRTUAL_SID } from '../hostile/nested-guest.js'

const UNITS = { smmuv3: 'smmu0', vtd: 'vtd0' } as const
const DEVICES = { smmuv3: '0000:00:02.0', vtd: '0000:01:02.0' } as const
/** Where the leaf of IOVA 0 is. */
const LEAF = RAM + 0x4000n

let daemon: Daemon
let guest: NestedGuest

beforeAll(async () => {
  daemon = await startDaemon({ inProcess: true })
})
afterEach(async () => {
  await guest.close()
})
afterAll(() => daemon.stop())

describe.each(['smmuv3', 'vtd'] as const)('a device with ATS behind the platform’s %s', (arch) => {
  const unitName = UNITS[arch]

  /** The device holds a translation of IOVA 0 and has used it. */
  async function holding(mode: OracleMode, graceSyncs = 0): Promise<void> {
    guest = await NestedGuest.start(daemon.client, arch, DEVICES[arch])
    const { client, deviceId } = guest
    await client.setOracleMode({ unitName, mode, graceSyncs })
    await client.requestTranslations({ deviceId, iovas: [0n], access: 3 })
    expect(await use()).toEqual([DmaOutcome.OK, OLD])
  }

  async function use(): Promise<[DmaOutcome, bigint]> {
    const { client, deviceId } = guest
    const addressType = AddressType.THROUGH_ATC
    const { outcomes, offsets } = await client.translate({ deviceId, addressType, iovas: [0n] })
    return [outcomes[0] as DmaOutcome, RAM + offsets[0]]
  }

  /** The guest takes the page away, and tells the unit, but not the device: on VT-d neither, as one entry is for both. */
  async function forgets(): Promise<void> {
    await guest.store(LEAF, 0n)
    if (arch === 'smmuv3') await guest.forget()
    else expect(await guest.send(0x7000n, 1n)).toBe('')
  }

  /** Answers what the device is asked to forget, until a call is done. */
  async function answering(call: Promise<unknown>): Promise<void> {
    const { client, deviceId } = guest
    let isDone = false
    const done = call.then(() => {
      isDone = true
    })
    while (!isDone) {
      const { invalidations } = await client.pollInvalidations({ deviceId, waitMs: 50 })
      await client.completeInvalidations({ deviceId, tags: invalidations.map(({ tag }) => tag) })
    }
    await done
  }

  it('is reported to use what it keeps, with the command for devices; sent as it is, that makes it right', async () => {
    await holding(OracleMode.REPORT)
    const { client, regionId } = guest
    await forgets()
    expect(await use()).toEqual([DmaOutcome.OK, OLD])
    const { stale } = await client.listStaleTranslations({ unitName })
    expect(stale).toHaveLength(1)
    const [report] = stale
    expect(report).toMatchObject({
      cache: 'atc',
      deviceName: DEVICES[arch],
      iova: 0n,
      reason: StaleReason.SYNCED,
      cached: { outcome: DmaOutcome.OK, location: { regionId, offset: OLD - RAM } },
      fresh: { permissions: 0 },
      changed: { stage: 1, location: { regionId, offset: LEAF - RAM } },
    })
    expect(report.neededCommand).toMatch(
      arch === 'smmuv3' ? /^ATC_INV SID=0x10 G=0 Size=0 ADDR=0x0$/ : /, then DEV_IOTLB SID=\S+ S=0 ADDR=0x0$/,
    )
    const own =
      arch === 'smmuv3'
        ? `ATC_INV SID=0x${VIRTUAL_SID.toString(16)} G=0 Size=0 ADDR=0x0 on the vIOMMU`
        : 'P_IOTLB addr=0x0 npages=1 on the user domain'
    expect(report.ownCommand).toBe(own)
    await answering(client.invalidateIotlb(report.ownInvalidation ?? {}))
    expect((await use())[0]).toBe(DmaOutcome.FAULT)
    expect((await client.checkStale({ unitName })).stale).toEqual([])
  })

  it('is reported where it names the place that it was given, too', async () => {
    await holding(OracleMode.REPORT)
    const { client, deviceId, regionId } = guest
    await forgets()
    const read = async () => {
      const operations = [{ regionId, address: OLD - RAM + 8n, length: 4 }]
      const { results } = await client.dmaRead({ deviceId, addressType: AddressType.TRANSLATED, operations })
      return results[0]
    }
    expect((await read()).outcome).toBe(DmaOutcome.OK)
    const { stale } = await client.listStaleTranslations({ unitName })
    expect(stale).toMatchObject([{ cache: 'atc', iova: 0n, hits: 1n }])
    await client.setOracleMode({ unitName, mode: OracleMode.FAIL })
    // The oracle starts anew: nothing is known of the time before, and a check says what is stale.
    expect((await read()).outcome).toBe(DmaOutcome.OK)
    expect((await client.checkStale({ unitName })).stale).toMatchObject([{ cache: 'atc', iova: 0n }])
    expect(await read()).toMatchObject({ outcome: DmaOutcome.ABORTED, fault: { name: 'stale' } })
  })

  it('under FAIL gets an abort, with the reason in the reply', async () => {
    await holding(OracleMode.FAIL)
    const { client, deviceId } = guest
    await forgets()
    const addressType = AddressType.THROUGH_ATC
    const { outcomes, faults } = await client.translate({ deviceId, addressType, iovas: [0n] })
    expect([...outcomes]).toEqual([DmaOutcome.ABORTED])
    expect(faults).toMatchObject([{ name: 'stale', recorded: false }])
    expect(faults[0].reason).toMatch(/^oracle report 1: atc answers 0x0 with region \d+ \+ 0x8000, memory with /)
  })

  it('is found by a check, though nobody uses it', async () => {
    await holding(OracleMode.REPORT, 100)
    const { client } = guest
    await forgets()
    expect((await client.listStaleTranslations({ unitName })).stale).toEqual([])
    const { stale } = await client.checkStale({ unitName })
    expect(stale.map(({ cache, reason }) => [cache, reason])).toContainEqual(['atc', StaleReason.CHECKED])
  })

  it('is not accused while it has not answered an invalidation, nor when it has', async () => {
    await holding(OracleMode.REPORT)
    const { client, deviceId, regionId } = guest
    await guest.store(LEAF, 0n)
    const forgotten = guest.forget()
    if (arch === 'smmuv3') await forgotten
    const unmapped = arch === 'smmuv3' ? guest.send(0x40n | (VIRTUAL_SID << 32n), 52n) : forgotten
    const read = async () => {
      const operations = [{ regionId, address: OLD - RAM, length: 4 }]
      return (await client.dmaRead({ deviceId, addressType: AddressType.TRANSLATED, operations })).results[0].outcome
    }
    expect((await client.listStaleTranslations({ unitName })).stale).toEqual([])
    await answering(unmapped)
    expect(await read()).not.toBe(DmaOutcome.OK)
    expect((await client.listStaleTranslations({ unitName })).stale).toEqual([])
    expect((await client.checkStale({ unitName })).stale).toEqual([])
  })
})

describe('a device with ATS whose pages the daemon unmaps itself', () => {
  it.each(['smmuv3', 'vtd'] as Arch[])('is never accused: %s', async (arch) => {
    guest = await NestedGuest.start(daemon.client, arch, DEVICES[arch])
    const { client, deviceId, ioasId } = guest
    const unitName = UNITS[arch]
    await client.setOracleMode({ unitName, mode: OracleMode.REPORT })
    await client.replaceRid({ deviceId, ptId: ioasId })
    const IOVA = RAM + 0x5000n
    for (let round = 0; round < 3; round++) {
      await client.requestTranslations({ deviceId, iovas: [IOVA], access: 3 })
      const through = () => client.translate({ deviceId, addressType: AddressType.THROUGH_ATC, iovas: [IOVA] })
      expect([...(await through()).outcomes]).toEqual([DmaOutcome.OK])
      const unmapping = client.ioasUnmap({ ioasId, iova: RAM, length: 0x2_0000n })
      const { invalidations } = await client.pollInvalidations({ deviceId, waitMs: 5000 })
      expect(invalidations.length).toBeGreaterThan(0)
      await through()
      expect((await client.checkStale({ unitName })).stale).toEqual([])
      await client.completeInvalidations({ deviceId, tags: invalidations.map(({ tag }) => tag) })
      await unmapping
      await guest.map(RAM, 0x2_0000n)
    }
    expect((await client.listStaleTranslations({ unitName })).stale).toEqual([])
  })
})
