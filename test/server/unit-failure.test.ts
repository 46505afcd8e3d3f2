/** What clients and operators see, over the socket, when an SMMUv3 fails or a device behind it is silent. */

import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  AddressType,
  type Client,
  connect,
  DmaOutcome,
  HwptFlag,
  IommudError,
  ViommuType,
} from '../../clients/node/index.js'
import { ContextLifetime } from '../../proto/generated/types.js'
import type { SmmuV3Driver } from '../../server/drivers/smmuv3/index.js'
import { checkConfig } from '../../server/ops/config.js'
import { type RunningServer, startServer } from '../../server/start.js'
import { ask } from './shell.js'

const [SILENT, STALLS, OTHER_UNIT] = ['0000:00:01.0', '0000:00:02.0', '0000:01:01.0']
const PLATFORM = {
  units: [
    { name: 'smmu0', type: 'smmuv3' as const, preset: 'full' },
    { name: 'smmu1', type: 'smmuv3' as const, preset: 'full' },
  ],
  devices: [
    { name: SILENT, iommu: 'smmu0', pasidBits: 8, ats: true, pri: true },
    { name: STALLS, iommu: 'smmu0', pasidBits: 8, ats: false, pri: false, stalls: true },
    { name: OTHER_UNIT, iommu: 'smmu1', pasidBits: 8, ats: false, pri: false },
  ],
}
const IOVA = 0x4000_0000n
const VSID = 0x10n

let folder: string
let server: RunningServer
let admin: Client
const clients: Client[] = []

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'iommud-fails-'))
  const platform = PLATFORM
  server = await startServer(checkConfig({ socket: join(folder, 's'), logLevel: 'silent', clock: 'manual', platform }))
  admin = await connect({ socketPath: join(folder, 'admin.sock') })
})
afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  admin.close()
  await server.stop()
})

/** Counters of a unit, by name. */
async function counters(unit: string): Promise<Record<string, number>> {
  const { body } = await ask(join(folder, 'diagnostics.sock'), { path: '/metrics', method: 'GET' })
  const pattern = new RegExp(`^iommud_unit_events_total\\{unit="${unit}",event="([^"]+)"\\} (\\d+)$`, 'gm')
  return Object.fromEntries([...body.toString().matchAll(pattern)].map(([, name, value]) => [name, Number(value)]))
}

/** A context with a region that is mapped at IOVA; its device is bound. */
async function vmm(deviceName: string) {
  const client = await connect({ socketPath: join(folder, 's') })
  clients.push(client)
  const { context } = await client.openContext({ lifetime: ContextLifetime.EXPLICIT })
  const own = client.inContext(context)
  const { regionId } = await own.createMemoryRegion({ anonymous: { bytes: 65_536n } })
  const { deviceId } = await own.bindDevice({ deviceName })
  const { ioasId } = await own.createIoas()
  await own.ioasMap({ ioasId, flags: 7, region: { regionId }, iova: IOVA, length: 65_536n })
  const outcome = async (address = IOVA): Promise<DmaOutcome> =>
    (await own.dmaRead({ deviceId, operations: [{ address, length: 8 }] })).results[0].outcome
  const facts = async (): Promise<Record<string, string>> => {
    const { objects } = await own.listObjects({})
    return objects.find(({ id }) => id === deviceId)?.facts ?? {}
  }
  return { own, regionId, deviceId, ioasId, outcome, facts }
}

async function refused(call: Promise<unknown>): Promise<IommudError> {
  try {
    await call
  } catch (error) {
    if (error instanceof IommudError) return error
  }
  throw new Error('the call was not refused')
}

describe('a unit in Service Failure Mode', () => {
  const fail = (): void => {
    const unit = server.core.machine.units.find(({ driver }) => driver.name === 'smmu0')
    const { driver } = unit as unknown as { readonly driver: SmmuV3Driver }
    driver.unit.fail()
  }

  it('ends what waits, lets nothing through, refuses what is new by its name, and is seen in facts and metrics', async () => {
    const { own, deviceId, ioasId, outcome, facts } = await vmm(STALLS)
    const { faultQueueId } = await own.createFaultQueue()
    const flags = HwptFlag.FAULT_ID_VALID
    const { domainId } = await own.createPagingDomain({ flags, deviceId, ioasId, faultQueueId })
    await own.attachRid({ deviceId, ptId: domainId })
    const held = await own.dmaRead({ deviceId, operations: [{ address: 0x9000_0000n, length: 8 }] })
    expect([held.results[0].outcome, await outcome()]).toEqual([DmaOutcome.PENDING, DmaOutcome.OK])
    fail()
    const transactionIds = [held.results[0].transactionId]
    const { results } = await own.awaitDma({ transactionIds, waitMs: 1000 })
    expect([results[0].outcome, await outcome()]).toEqual([DmaOutcome.ABORTED, DmaOutcome.ABORTED])
    const { domainId: next } = await own.createPagingDomain({ deviceId, ioasId })
    const refusal = await refused(own.replaceRid({ deviceId, ptId: next }))
    expect([refusal.errnoName, refusal.message]).toEqual(['EIO', expect.stringMatching(/smmu0.*Service Failure Mode/)])
    expect((await facts())['unit_failed']).toMatch(/Service Failure Mode/)
    expect(await counters('smmu0')).toMatchObject({ failed: 1, SFM_ERR: 1 })
    // Everything can be given back.
    await own.detachRid({ deviceId })
    await own.ioasUnmap({ ioasId, iova: IOVA, length: 65_536n })
    await own.resetDevice({ deviceId })
    await own.closeContext({})
  })

  it('leaves the others of the platform alone', async () => {
    const { own, deviceId, ioasId, outcome, facts } = await vmm(OTHER_UNIT)
    fail()
    await own.attachRid({ deviceId, ptId: ioasId })
    expect([await outcome(), 'unit_failed' in (await facts())]).toEqual([DmaOutcome.OK, false])
    expect(await counters('smmu1')).toMatchObject({ failed: 0 })
  })
})

describe('a device that does not complete an invalidation', () => {
  /** The guest's STE bypasses stage 1, with ATS on; the device holds a translation. */
  async function silent() {
    const made = await vmm(SILENT)
    const { own, deviceId, ioasId } = made
    const parent = await own.createPagingDomain({ flags: HwptFlag.NEST_PARENT, deviceId, ioasId })
    const type = ViommuType.ARM_SMMUV3
    const { viommuId } = await own.createViommu({ type, deviceId, parentDomainId: parent.domainId })
    await own.createVdevice({ viommuId, deviceId, virtId: VSID })
    const { domainId } = await own.createUserDomain({ deviceId, viommuId, smmuv3Ste: { ste0: 9n, ste1: 0n } })
    await own.attachRid({ deviceId, ptId: domainId })
    await own.requestTranslations({ deviceId, access: 3, iovas: [IOVA] })
    /** One CFGI_CD_ALL and one CMD_ATC_INV of everything. */
    const entries = [
      { dw0: 0x06n | (VSID << 32n), dw1: 0n },
      { dw0: 0x40n | (VSID << 32n), dw1: 52n },
    ]
    /** How many were done, and why not the next one. */
    const invalidate = () =>
      own.invalidateIotlb({ viommuId, smmuv3: { entries } }).then(
        ({ doneCount }) => ({ doneCount, errno: '' }),
        (error: IommudError) => ({
          doneCount: (error.partial as { readonly doneCount: number }).doneCount,
          errno: error.errnoName,
        }),
      )
    return { ...made, viommuId, domainId, invalidate }
  }

  it('makes its guest’s call ETIMEDOUT, is blocked until ResetDevice, and holds up nobody else', async () => {
    const { own, deviceId, regionId, outcome, facts, invalidate } = await silent()
    const other = await vmm(STALLS)
    await other.own.attachRid({ deviceId: other.deviceId, ptId: other.ioasId })
    const waiting = invalidate()
    const answered = watched(waiting)
    await own.pollInvalidations({ deviceId, waitMs: 1000 })
    expect([await other.outcome(), await outcome(), answered()]).toEqual([DmaOutcome.OK, DmaOutcome.OK, false])
    await admin.advanceClock({ advanceMs: 10_000n })
    expect(await waiting).toEqual({ doneCount: 1, errno: 'ETIMEDOUT' })
    expect((await facts())['blocked']).toMatch(/ResetDevice/)
    expect(await counters('smmu0')).toMatchObject({ CERROR_ATC_INV_SYNC: 1, atcTimeouts: 1, failed: 0 })
    const operations = [{ regionId, address: 0n, length: 8 }]
    const translated = await own.dmaRead({ deviceId, addressType: AddressType.TRANSLATED, operations })
    expect([translated.results[0].outcome, await outcome(), await other.outcome()]).toEqual([
      DmaOutcome.ABORTED,
      DmaOutcome.ABORTED,
      DmaOutcome.OK,
    ])
    // A device that is asked nothing answers at once.
    expect(await invalidate()).toEqual({ doneCount: 2, errno: '' })
    await own.resetDevice({ deviceId })
    expect([await outcome(), 'blocked' in (await facts())]).toEqual([DmaOutcome.OK, false])
  })

  it('may be attached elsewhere meanwhile; what is attached then holds after the reset', async () => {
    const { own, deviceId, ioasId, outcome, invalidate } = await silent()
    const waiting = invalidate()
    await own.pollInvalidations({ deviceId, waitMs: 1000 })
    await admin.advanceClock({ advanceMs: 10_000n })
    await waiting
    await own.replaceRid({ deviceId, ptId: ioasId })
    expect(await outcome()).toBe(DmaOutcome.ABORTED)
    await own.detachRid({ deviceId })
    await own.attachRid({ deviceId, ptId: ioasId })
    expect(await outcome()).toBe(DmaOutcome.ABORTED)
    await own.resetDevice({ deviceId })
    expect(await outcome()).toBe(DmaOutcome.OK)
  })

  it('is whole again for whoever binds it next', async () => {
    const { own, deviceId, invalidate } = await silent()
    const waiting = invalidate()
    await own.pollInvalidations({ deviceId, waitMs: 1000 })
    await admin.advanceClock({ advanceMs: 10_000n })
    await waiting
    await own.closeContext({})
    const next = await vmm(SILENT)
    await next.own.attachRid({ deviceId: next.deviceId, ptId: next.ioasId })
    expect(await next.outcome()).toBe(DmaOutcome.OK)
  })

  it('lets the unmap that waited for it go on: Linux’s unmap knows no failure', async () => {
    const { own, deviceId, ioasId, outcome } = await silent()
    const unmapping = own.ioasUnmap({ ioasId, iova: IOVA, length: 65_536n })
    await own.pollInvalidations({ deviceId, waitMs: 1000 })
    await admin.advanceClock({ advanceMs: 10_000n })
    expect([(await unmapping).length, await outcome()]).toEqual([65_536n, DmaOutcome.ABORTED])
  })
})

/** Whether a call has been answered yet. */
function watched(call: Promise<unknown>): () => boolean {
  let isDone = false
  void call.finally(() => {
    isDone = true
  })
  return () => isDone
}
