/**
 * A device that has left a domain goes on using what it was granted until it has answered the invalidation. Until then
 * nobody is told that memory of that domain is out of its reach.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { AddressType, DmaOutcome, HwptFlag } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { FIRST, Holder, IOVA, PAGE, platformOf, UNIT_TYPES, Watched } from './ats-world.js'

/** Long enough for an answer that waits for nothing. */
const A_WHILE_MS = 50

describe.each(UNIT_TYPES)('a device behind a %s that has left its domain', (type) => {
  const folder = mkdtempSync(join(tmpdir(), 'iommud-leaves-'))
  let daemon: Daemon
  let holder: Holder
  let otherId: number
  beforeAll(async () => {
    const path = join(folder, 'platform.json')
    writeFileSync(path, JSON.stringify(platformOf(type)))
    daemon = await startDaemon({ seed: 6, args: ['--platform', path] })
  })
  afterAll(async () => {
    await daemon.stop()
    rmSync(folder, { recursive: true })
  })
  beforeEach(async () => {
    holder = await Holder.open(daemon.client, FIRST)
    const { client, deviceId, faultQueueId } = holder
    const { ioasId } = await client.createIoas()
    const flags = HwptFlag.PASID | HwptFlag.FAULT_ID_VALID
    otherId = (await client.createPagingDomain({ flags, deviceId, ioasId, faultQueueId })).domainId
  })
  afterEach(async () => {
    await holder.close()
  })

  const leave = {
    replaced: () => holder.client.replaceRid({ deviceId: holder.deviceId, ptId: otherId }),
    detached: () => holder.client.detachRid({ deviceId: holder.deviceId }),
  }

  it.each(['replaced', 'detached'] as const)('holds up who unmaps from it until it has forgotten: %s', async (how) => {
    expect(await holder.ask([IOVA])).toEqual([0n])
    const left = new Watched(leave[how]())
    const tags = await holder.poll(5000)
    expect(tags.length).toBeGreaterThan(0)
    const unmapped = new Watched(holder.unmap(IOVA, PAGE))
    await setTimeout(A_WHILE_MS)
    expect([left.isAnswered, unmapped.isAnswered]).toEqual([false, false])
    // What it was granted still counts where ATS stays on.
    if (how === 'replaced') expect(await holder.read(0n, AddressType.TRANSLATED)).toBe(DmaOutcome.OK)
    await holder.complete(tags)
    await Promise.all([left.done, unmapped.done])
    expect(await holder.read(0n, AddressType.TRANSLATED)).not.toBe(DmaOutcome.OK)
  })
})
