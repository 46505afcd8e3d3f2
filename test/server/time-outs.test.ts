/** What an operator sees of clients that do not answer: gauges while they may, counters and facts when they did not. */

import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, connect, IommudError } from '../../clients/node/index.js'
import { AddressType, ContextLifetime, HwptFlag } from '../../proto/generated/types.js'
import { checkConfig } from '../../server/ops/config.js'
import { type RunningServer, startServer } from '../../server/start.js'
import { ask } from './shell.js'

const folder = mkdtempSync(join(tmpdir(), 'iommud-late-'))
let server: RunningServer
let admin: Client

beforeAll(async () => {
  server = await startServer(checkConfig({ socket: join(folder, 's'), logLevel: 'silent', clock: 'manual' }))
  admin = await connect({ socketPath: join(folder, 'admin.sock') })
})
afterAll(async () => {
  admin.close()
  await server.stop()
})

/** Values of a metric by the value of its label. */
async function metric(name: string): Promise<Record<string, number>> {
  const text = (await ask(join(folder, 'diagnostics.sock'), { path: '/metrics', method: 'GET' })).body.toString()
  const lines = [...text.matchAll(new RegExp(`^${name}\\{[a-z]+="([^"]+)"\\} (\\d+)$`, 'gm'))]
  return Object.fromEntries(lines.map(([, label, value]) => [label, Number(value)]))
}

/** A device with ATS and PRI on a domain that takes faults, and a page at 0x5000 that it was granted. */
async function device(client: Client) {
  const { context } = await client.openContext({ lifetime: ContextLifetime.EXPLICIT })
  const vmm = client.inContext(context)
  const { regionId } = await vmm.createMemoryRegion({ anonymous: { bytes: 65_536n } })
  const { deviceId } = await vmm.bindDevice({ deviceName: '0000:01:02.0' })
  const { ioasId } = await vmm.createIoas()
  const { faultQueueId } = await vmm.createFaultQueue()
  const flags = HwptFlag.FAULT_ID_VALID
  const { domainId } = await vmm.createPagingDomain({ flags, deviceId, ioasId, faultQueueId })
  await vmm.attachRid({ deviceId, ptId: domainId })
  await vmm.ioasMap({ ioasId, flags: 7, region: { regionId }, iova: 0x5000n, length: 4096n })
  const { regionIds } = await vmm.requestTranslations({ deviceId, access: 3, iovas: [0x5000n] })
  expect(regionIds).toEqual(Uint32Array.of(regionId))
  return { vmm, deviceId, ioasId, faultQueueId, regionId }
}

describe('a client that does not answer', () => {
  it('is seen in the metrics while it may still answer, and counted when it did not', async () => {
    const client = await connect({ socketPath: join(folder, 's') })
    const { vmm, deviceId, ioasId, faultQueueId, regionId } = await device(client)
    await vmm.openHandle({ objectId: faultQueueId })
    await vmm.requestPages({ deviceId, requests: [{ iova: 0x9000n, access: 3, groupIndex: 1, last: true }] })
    const other = await connect({ socketPath: join(folder, 's') })
    const unmapping = other.call('IoasUnmap', { context: vmm.token, ioasId, iova: 0x5000n, length: 4096n })
    await vmm.pollInvalidations({ deviceId, waitMs: 1000 })
    expect(await metric('iommud_objects')).toMatchObject({
      bound_devices: 1,
      blocked_devices: 0,
      handles: 1,
      queued_records: 1,
      pending_dma: 1,
      unanswered_fault_groups: 1,
      unanswered_invalidations: 1,
    })
    expect(await metric('iommud_timeouts_total')).toEqual({ fault_groups: 0, device_invalidations: 0 })

    await admin.advanceClock({ advanceMs: 60_000n })
    await unmapping
    expect(await metric('iommud_timeouts_total')).toEqual({ fault_groups: 1, device_invalidations: 1 })
    expect(await metric('iommud_objects')).toMatchObject({
      blocked_devices: 1,
      queued_records: 0,
      unanswered_fault_groups: 0,
      unanswered_invalidations: 0,
    })
    const write = { regionId, address: 0n, data: Uint8Array.of(1) }
    const addressType = AddressType.TRANSLATED
    const { results } = await vmm.dmaWrite({ deviceId, addressType, operations: [write] })
    expect(results[0].doneBytes).toBe(0)
    await vmm.resetDevice({ deviceId })
    expect(await metric('iommud_objects')).toMatchObject({ blocked_devices: 0 })
    await vmm.closeContext()
    for (const each of [client, other]) each.close()
  })

  it('has its reader told, who comes too late, that the group is gone', async () => {
    const client = await connect({ socketPath: join(folder, 's') })
    const { vmm, deviceId, faultQueueId } = await device(client)
    await vmm.requestPages({ deviceId, requests: [{ iova: 0x9000n, access: 3, groupIndex: 1, last: true }] })
    const [{ cookie }] = (await vmm.pollFaults({ faultQueueId })).faults
    await admin.advanceClock({ advanceMs: 60_000n })
    const late = vmm.respondFaults({ faultQueueId, responses: [{ cookie, code: 1 }] })
    await expect(late).rejects.toThrow(IommudError)
    await vmm.closeContext()
    client.close()
  })
})
