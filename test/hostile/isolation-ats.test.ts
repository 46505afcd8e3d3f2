/**
 * Two clients behind one unit, whose devices keep translations and wait for pages: what one was granted, holds up or
 * asks for is nothing to the other.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  AddressType,
  type Client,
  DmaOutcome,
  HwptFlag,
  PageRequestResponse,
  PageResponseCode,
  ViommuType,
} from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { refusal } from '../e2e/world.js'
import {
  CHILD,
  FIRST,
  Holder,
  IOVA,
  PAGE,
  PARENT,
  PLAIN,
  platformOf,
  REGION_BYTES,
  SECOND,
  UNIT_TYPES,
  Watched,
} from './ats-world.js'
import { bugLines } from './process-facts.js'

const { OK, FAULT, ABORTED } = DmaOutcome
const { THROUGH_ATC, TRANSLATED } = AddressType

describe.each(UNIT_TYPES)('two clients behind one %s', (type) => {
  const folder = mkdtempSync(join(tmpdir(), 'iommud-ats-'))
  /** What hardware answers to a translated access that it must not honour. */
  const FORBIDDEN = type === 'vtd' ? ABORTED : FAULT
  let daemon: Daemon
  let others: Client
  let first: Holder
  let second: Holder
  beforeAll(async () => {
    const path = join(folder, 'platform.json')
    writeFileSync(path, JSON.stringify(platformOf(type)))
    daemon = await startDaemon({ seed: 5, clock: 'manual', args: ['--platform', path] })
    others = daemon.connect()
  })
  afterAll(async () => {
    expect(bugLines(daemon.log())).toEqual([])
    others.close()
    await daemon.stop()
    rmSync(folder, { recursive: true })
  })
  beforeEach(async () => {
    first = await Holder.open(daemon.client, FIRST)
    second = await Holder.open(others, SECOND)
  })
  afterEach(async () => {
    await Promise.all([first.close(), second.close()])
  })

  it('have the same ids, and not a page of each other’s', async () => {
    expect([second.regionId, second.deviceId]).toEqual([first.regionId, first.deviceId])
    expect(await first.ask([IOVA, IOVA + PAGE])).toEqual([0n, PAGE])
    expect(await first.read(PAGE, TRANSLATED)).toBe(OK)
    for (const offset of [0n, PAGE]) expect(await second.read(offset, TRANSLATED)).toBe(FORBIDDEN)
  })

  it('read nothing by an address that was never granted', async () => {
    await first.ask([IOVA])
    const never = [2n * PAGE, REGION_BYTES - 8n, REGION_BYTES, 2n ** 32n, 2n ** 40n, 2n ** 52n, 2n ** 64n - 8n]
    for (const offset of never) expect([offset, await first.read(offset, TRANSLATED)]).toEqual([offset, FORBIDDEN])
    for (const regionId of [0, first.regionId + 1, 2 ** 32 - 1]) {
      expect(await first.read(0n, TRANSLATED, regionId)).toBe(FORBIDDEN)
    }
    const { regionId } = await first.client.createMemoryRegion({ anonymous: { bytes: REGION_BYTES } })
    expect(await first.read(0n, TRANSLATED, regionId)).toBe(FORBIDDEN)
  })

  it('use a grant by the device and the PASID that it was made to', async () => {
    const { client, domainId, deviceId } = first
    await client.attachPasid({ deviceId, ptId: domainId, pasid: 4 })
    await first.ask([IOVA], 4)
    expect(await first.read(0n, TRANSLATED, undefined, 4)).toBe(OK)
    expect(await first.read(0n, TRANSLATED)).toBe(FORBIDDEN)
    expect(await first.read(0n, TRANSLATED, undefined, 5)).toBe(FORBIDDEN)
    const other = await client.bindDevice({ deviceName: PARENT })
    await client.attachRid({ deviceId: other.deviceId, ptId: domainId })
    const operations = [{ address: 0n, length: 8, regionId: first.regionId }]
    const forged = await client.dmaRead({ deviceId: other.deviceId, addressType: TRANSLATED, operations })
    expect(forged.results[0].outcome).toBe(FORBIDDEN)
  })

  it('lose what is taken back, and hold it until they say so', async () => {
    await first.ask([IOVA])
    const unmapped = new Watched(first.unmap())
    const tags = await first.poll(1000)
    expect([tags.length, unmapped.isAnswered]).toEqual([1, false])
    expect(await first.read(0n, TRANSLATED)).toBe(OK)
    await first.complete(tags)
    await unmapped.done
    expect(await first.read(0n, TRANSLATED)).toBe(FORBIDDEN)
    expect(await first.read(IOVA, THROUGH_ATC)).not.toBe(OK)
  })

  it.each(['replaceRid', 'detachRid'] as const)('lose with %s what the domain before granted', async (how) => {
    const { client, deviceId, ioasId } = first
    await first.ask([IOVA])
    const { domainId } = await client.createPagingDomain({ deviceId, ioasId })
    const changed = new Watched(client[how]({ deviceId, ...(how === 'replaceRid' ? { ptId: domainId } : {}) }))
    const tags = await first.poll(1000)
    expect([tags.length, changed.isAnswered]).toEqual([1, false])
    expect(await second.read(IOVA)).toBe(OK)
    await first.complete(tags)
    await changed.done
    expect(await first.read(0n, TRANSLATED)).toBe(FORBIDDEN)
    expect((await first.read(IOVA)) === OK).toBe(how === 'replaceRid')
  })

  it('inherit nothing with a device', async () => {
    await first.ask([IOVA])
    await first.close()
    first = await Holder.open(daemon.client, FIRST)
    expect(await first.read(0n, TRANSLATED)).toBe(FORBIDDEN)
    expect(await first.poll()).toEqual([])
  })

  it('do not wait for each other: one that answers nothing delays its own call alone', async () => {
    await first.ask([IOVA])
    await second.ask([IOVA])
    const stuck = new Watched(first.unmap())
    expect(await first.poll(1000)).toHaveLength(1)
    for (let round = 0n; round < 4n; round++) {
      const own = new Watched(second.unmap(IOVA + round * PAGE))
      if (round === 0n) await second.complete(await second.poll(1000))
      await own.done
      expect(await second.read(IOVA + 5n * PAGE)).toBe(OK)
    }
    const plain = await Holder.open(others, PLAIN)
    await plain.unmap(IOVA, REGION_BYTES)
    await plain.close()
    expect(stuck.isAnswered).toBe(false)
  })

  it('time out alone: the device that did not answer is blocked until its owner resets it', async () => {
    await first.ask([IOVA])
    await second.ask([IOVA])
    const stuck = new Watched(first.unmap())
    await first.poll(1000)
    await daemon.client.advanceClock({ advanceMs: 10_000n })
    await stuck.done
    expect(await first.read(IOVA + PAGE)).toBe(ABORTED)
    expect([await second.read(IOVA), await second.read(0n, TRANSLATED)]).toEqual([OK, OK])
    await first.client.resetDevice({ deviceId: first.deviceId })
    expect(await first.read(IOVA + PAGE)).toBe(OK)
    const unmapped = new Watched(second.unmap())
    await second.complete(await second.poll(1000))
    await unmapped.done
  })

  it('complete no invalidation of the other, whatever tag they name', async () => {
    await first.ask([IOVA])
    const stuck = new Watched(first.unmap())
    const [tag] = await first.poll(1000)
    for (const forged of [tag, 0n, tag + 1n, 2n ** 64n - 1n]) {
      const { errnoName } = await refusal(second.complete([forged]))
      expect(errnoName).toBe('ENOENT')
    }
    expect(await second.poll()).toEqual([])
    expect(stuck.isAnswered).toBe(false)
    await first.complete([tag])
    await stuck.done
  })

  it('hear of their own page requests, and answer no other’s', async () => {
    const requests = [{ iova: 0x9000n, access: 1, groupIndex: 3, last: true }]
    const { transactionIds } = await first.client.requestPages({ deviceId: first.deviceId, requests })
    const taken = await second.client.pollFaults({ faultQueueId: second.faultQueueId })
    expect(taken.faults).toEqual([])
    const ids = { transactionIds: [...transactionIds] }
    expect((await refusal(second.client.awaitDma(ids))).errnoName).toBe('ENOENT')
    const { faults } = await first.client.pollFaults({ faultQueueId: first.faultQueueId })
    expect(faults).toMatchObject([{ deviceId: first.deviceId, addr: 0x9000n }])
    const responses = [{ cookie: faults[0].cookie, code: PageResponseCode.SUCCESS }]
    const forged = await refusal(second.client.respondFaults({ faultQueueId: second.faultQueueId, responses }))
    expect(forged.errnoName).toBe('EINVAL')
    await first.client.respondFaults({ faultQueueId: first.faultQueueId, responses })
    const { results } = await first.client.awaitDma(ids)
    expect(results).toMatchObject([{ outcome: OK, pageResponse: PageRequestResponse.SUCCESS }])
  })

  it('are told places, and no physical address', async () => {
    const { deviceId, regionId } = first
    const iovas = Array.from({ length: 16 }, (_, page) => IOVA + BigInt(page) * PAGE)
    const reply = await first.client.requestTranslations({ deviceId, iovas, access: 3 })
    expect([...reply.regionIds]).toEqual(iovas.map(() => regionId))
    expect([...reply.addresses]).toEqual(iovas.map((iova) => iova - IOVA))
    const operations = [{ address: 5n * PAGE, length: 8, regionId: 9 }]
    const { results } = await first.client.dmaRead({ deviceId, addressType: TRANSLATED, operations })
    expect(results[0].fault?.reason ?? '').not.toMatch(/0x[0-9a-f]{5,}/)
  })

  it('take no device of the other, and no call of theirs finds it', async () => {
    expect((await refusal(second.client.bindDevice({ deviceName: FIRST }))).errnoName).toBe('EBUSY')
    const other = first.deviceId + 40
    const { client } = second
    const iovas = [IOVA]
    for (const call of [
      client.requestTranslations({ deviceId: other, iovas }),
      client.requestPages({ deviceId: other, requests: [] }),
      client.pollInvalidations({ deviceId: other }),
      client.completeInvalidations({ deviceId: other, tags: [1n] }),
    ]) {
      expect((await refusal(call)).errnoName).toBe('ENOENT')
    }
  })
})

describe.each(UNIT_TYPES)('a mediated device and its parent behind one %s', (type) => {
  const folder = mkdtempSync(join(tmpdir(), 'iommud-mdev-'))
  const FORBIDDEN = type === 'vtd' ? ABORTED : FAULT
  let daemon: Daemon
  let parent: Holder
  let child: Holder
  beforeAll(async () => {
    const path = join(folder, 'platform.json')
    writeFileSync(path, JSON.stringify(platformOf(type)))
    daemon = await startDaemon({ seed: 6, clock: 'manual', args: ['--platform', path] })
    child = await Holder.open(daemon.client, CHILD, 7)
    parent = await Holder.openPasid(daemon.client, PARENT, 4)
  })
  afterAll(async () => {
    expect(bugLines(daemon.log())).toEqual([])
    await daemon.stop()
    rmSync(folder, { recursive: true })
  })

  it('have PASIDs of their own: none of the other’s is attached, translated or asked for', async () => {
    const { client, deviceId, domainId } = parent
    const iovas = [IOVA]
    for (const call of [
      client.attachPasid({ deviceId, ptId: domainId, pasid: 7 }),
      client.translate({ deviceId, pasid: 7, iovas }),
      client.dmaRead({ deviceId, pasid: 7, operations: [{ address: IOVA, length: 1 }] }),
      client.requestTranslations({ deviceId, pasid: 7, iovas }),
      client.requestPages({ deviceId, pasid: 7, requests: [] }),
    ]) {
      expect((await refusal(call)).errnoName).toBe('EBUSY')
    }
    for (const pasid of [4, 7, 0]) {
      const asked = child.client.requestTranslations({ deviceId: child.deviceId, pasid, iovas })
      expect((await refusal(asked)).errnoName).toBe('EINVAL')
    }
  })

  it('keep what they were granted through a reset of the other', async () => {
    await parent.ask([IOVA], 4)
    await child.ask([IOVA])
    await parent.client.resetDevice({ deviceId: parent.deviceId })
    expect(await parent.read(0n, TRANSLATED, undefined, 4)).toBe(FORBIDDEN)
    expect(await child.read(0n, TRANSLATED)).toBe(OK)
    await parent.ask([IOVA], 4)
    await child.client.resetDevice({ deviceId: child.deviceId })
    expect(await child.read(0n, TRANSLATED)).toBe(FORBIDDEN)
    expect(await parent.read(0n, TRANSLATED, undefined, 4)).toBe(OK)
  })

  it('are asked to forget their own, and wait for no other', async () => {
    await parent.ask([IOVA + PAGE], 4)
    await child.ask([IOVA + PAGE])
    const stuck = new Watched(parent.unmap(IOVA + PAGE))
    const tags = await parent.poll(1000)
    expect([tags.length, await child.poll()]).toEqual([1, []])
    const own = new Watched(child.unmap(IOVA + PAGE))
    await child.complete(await child.poll(1000))
    await own.done
    expect(stuck.isAnswered).toBe(false)
    await parent.complete(tags)
    await stuck.done
  })

  it('take back nothing of each other’s by a guest’s commands, though both have a name for the function', async () => {
    await parent.ask([IOVA + 2n * PAGE], 4)
    await child.ask([IOVA + 2n * PAGE])
    for (const [holder, other, pasid] of [
      [child, parent, 4n],
      [parent, child, 7n],
    ] as const) {
      const { client, deviceId, ioasId } = holder
      const parentDomainId = (await client.createPagingDomain({ flags: HwptFlag.NEST_PARENT, deviceId, ioasId }))
        .domainId
      const viommu = client.createViommu({ type: ViommuType.ARM_SMMUV3, deviceId, parentDomainId })
      if (type === 'vtd') {
        expect((await refusal(viommu)).errnoName).toBe('EOPNOTSUPP')
        continue
      }
      const { viommuId } = await viommu
      await client.createVdevice({ viommuId, deviceId, virtId: 0x42n })
      const all = { dw0: 0x40n | (1n << 11n) | (pasid << 12n) | (0x42n << 32n), dw1: 52n }
      const { doneCount } = await client.invalidateIotlb({ viommuId, smmuv3: { entries: [all] } })
      expect([doneCount, await other.poll()]).toEqual([1, []])
      const tail = other === child ? [] : [Number(pasid)]
      expect(await other.read(2n * PAGE, TRANSLATED, undefined, ...tail)).toBe(OK)
    }
  })

  it('ask for pages in groups of their own, though the indices are the function’s', async () => {
    const requests = [{ iova: 0x9000n, access: 1, groupIndex: 3, last: true }]
    const ofParent = await parent.client.requestPages({ deviceId: parent.deviceId, pasid: 4, requests })
    const ofChild = await child.client.requestPages({ deviceId: child.deviceId, requests })
    const { faults } = await child.client.pollFaults({ faultQueueId: child.faultQueueId })
    expect(faults).toMatchObject([{ deviceId: child.deviceId, pasid: 7, addr: 0x9000n }])
    const responses = [{ cookie: faults[0].cookie, code: PageResponseCode.INVALID }]
    await child.client.respondFaults({ faultQueueId: child.faultQueueId, responses })
    const answer = async (holder: Holder, { transactionIds }: { transactionIds: Iterable<bigint> }) =>
      (await holder.client.awaitDma({ transactionIds: [...transactionIds] })).results[0]
    expect(await answer(child, ofChild)).toMatchObject({ pageResponse: PageRequestResponse.INVALID_REQUEST })
    expect(await answer(parent, ofParent)).toMatchObject({ outcome: DmaOutcome.PENDING })
  })
})
