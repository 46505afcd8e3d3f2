/** The oracle over the socket, on nested guests behind the platform's units: it speaks of commands in the guest's terms. */

import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import {
  type Client,
  createClient,
  DmaOutcome,
  httpTransport,
  OracleMode,
  StaleReason,
  watchStale,
} from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { type Arch, NEW, NestedGuest, OLD, RAM } from '../hostile/nested-guest.js'
import { refusal } from './world.js'

const UNITS = { smmuv3: 'smmu0', vtd: 'vtd0' } as const
const DEVICES = { smmuv3: '0000:00:01.0', vtd: '0000:01:01.0' } as const
const OTHERS = { smmuv3: '0000:00:03.0', vtd: '0000:01:03.0' } as const
/** Where the leaf of IOVA 0 is in the region. */
const LEAF = 0x4000n

let daemon: Daemon
let admin: Client
const guests: NestedGuest[] = []

beforeAll(async () => {
  daemon = await startDaemon({ args: ['--oracle', 'report', '--log-level', 'info'] })
  admin = createClient(httpTransport({ socketPath: join(dirname(daemon.socketPath), 'admin.sock') }))
})
afterEach(async () => {
  for (const guest of guests.splice(0)) await guest.close()
})
afterAll(async () => {
  admin.close()
  await daemon.stop()
})

async function guestOf(arch: Arch, device: string = DEVICES[arch]): Promise<NestedGuest> {
  const guest = await NestedGuest.start(daemon.client, arch, device)
  guests.push(guest)
  return guest
}

/** The guest changes its leaf and says so of another page alone: the SYNC makes the old one wrong. */
async function forgets(guest: NestedGuest): Promise<void> {
  await guest.look()
  await guest.pointTo(NEW)
  const done = guest.arch === 'vtd' ? guest.send(0x7000n, 1n) : guest.send(0x12n | (1n << 48n), 0x7001n)
  expect(await done).toBe('')
}

describe.each(['smmuv3', 'vtd'] as const)('a guest behind the platform’s %s that forgets an invalidation', (arch) => {
  const unitName = UNITS[arch]

  it('is told the command in its own terms, and sending that makes it right', async () => {
    const guest = await guestOf(arch)
    const { client, regionId } = guest
    await client.setOracleMode({ unitName, mode: OracleMode.REPORT })
    await forgets(guest)
    expect((await guest.look()).page).toBe(OLD)
    const { stale, totalCount, counts } = await client.listStaleTranslations({ unitName })
    expect([totalCount, counts?.reports]).toEqual([1n, 1n])
    const [report] = stale
    expect(report).toMatchObject({
      deviceName: DEVICES[arch],
      iova: 0n,
      reason: StaleReason.SYNCED,
      cached: { outcome: DmaOutcome.OK, location: { regionId, offset: OLD - RAM } },
      fresh: { outcome: DmaOutcome.OK, location: { regionId, offset: NEW - RAM } },
      changed: { stage: 1, location: { regionId, offset: LEAF } },
      contextNumber: 0n,
    })
    const terms =
      arch === 'vtd' ? /^P_IOTLB addr=0x0 npages=1 on the user domain$/ : /^TLBI_NH_VA ASID=1 .*on the vIOMMU$/
    expect(report.ownCommand).toMatch(terms)
    expect(report.neededCommand).toMatch(arch === 'vtd' ? /^P_IOTLB DID=\d+ / : /^TLBI_NH_VA VMID=\d+ ASID=1 /)
    expect(report.sent.length).toBeGreaterThan(0)
    await client.invalidateIotlb(report.ownInvalidation ?? {})
    expect((await guest.look()).page).toBe(NEW)
    expect((await client.checkStale({ unitName })).stale).toEqual([])
    expect((await client.listStaleTranslations({ unitName })).totalCount).toBe(1n)
  })

  it('is not accused before a SYNC could have told, nor where it forgets nothing', async () => {
    const guest = await guestOf(arch)
    const { client } = guest
    await client.setOracleMode({ unitName, mode: OracleMode.REPORT })
    for (const page of [NEW, OLD, NEW]) {
      await guest.look()
      await guest.pointTo(page)
      await guest.forget()
      expect((await guest.look()).page).toBe(page)
    }
    expect((await client.listStaleTranslations({ unitName })).stale).toEqual([])
  })

  it('under FAIL gets an abort, with the reason in the reply', async () => {
    const guest = await guestOf(arch)
    const { client, deviceId } = guest
    await client.setOracleMode({ unitName, mode: OracleMode.FAIL })
    await forgets(guest)
    for (let again = 0; again < 2; again++) {
      const { outcomes, faults } = await client.translate({ deviceId, iovas: [0n] })
      expect([...outcomes]).toEqual([DmaOutcome.ABORTED])
      expect(faults).toMatchObject([{ index: 0, code: 0, name: 'stale', recorded: false }])
      expect(faults[0].reason).toMatch(/^oracle report 1: .* answers 0x0 with region \d+ \+ 0x8000, .*; forgotten: /)
    }
    const { results } = await client.dmaRead({ deviceId, operations: [{ address: 0n, length: 8 }] })
    expect(results[0]).toMatchObject({ outcome: DmaOutcome.ABORTED, fault: { name: 'stale' } })
    await guest.forget()
    expect((await guest.look()).page).toBe(NEW)
  })

  it('is checked when asked: what is still cached counts then', async () => {
    const guest = await guestOf(arch)
    const { client } = guest
    await client.setOracleMode({ unitName, mode: OracleMode.REPORT, graceSyncs: 100 })
    await guest.look()
    await guest.store(RAM + LEAF, 0n)
    await guest.send(arch === 'vtd' ? 0x7000n : 0x12n | (1n << 48n), arch === 'vtd' ? 1n : 0x7001n)
    await guest.look()
    expect((await client.listStaleTranslations({ unitName })).stale).toEqual([])
    const { stale, checkedCount } = await client.checkStale({ unitName })
    expect([stale.length, stale[0]?.reason]).toEqual([1, StaleReason.CHECKED])
    expect(checkedCount).toBeGreaterThan(0n)
  })

  it('is told so alone: another on the same unit sees nothing, and the administrator all', async () => {
    const guest = await guestOf(arch)
    const other = await guestOf(arch, OTHERS[arch])
    await admin.setOracleMode({ unitName, mode: OracleMode.REPORT })
    await forgets(guest)
    await guest.look()
    expect((await other.client.listStaleTranslations({ unitName })).totalCount).toBe(0n)
    const [own] = (await guest.client.listStaleTranslations({ unitName })).stale
    expect([own.reportedOperation, own.changed?.address]).toEqual([0n, undefined])
    const all = await admin.listStaleTranslations({ unitName })
    expect(all.stale).toMatchObject([{ deviceName: DEVICES[arch] }])
    expect(all.stale[0].contextNumber).toBeGreaterThan(0n)
    expect(all.stale[0].cached?.address).toBeGreaterThan(0n)
    expect((await refusal(other.client.checkStale({ unitName }))).errnoName).toBe('EPERM')
    expect((await refusal(other.client.setOracleMode({ unitName, mode: OracleMode.OFF }))).errnoName).toBe('EPERM')
  })

  it('is in the log, and followed as it comes', async () => {
    const guest = await guestOf(arch)
    const { client } = guest
    await client.setOracleMode({ unitName, mode: OracleMode.REPORT })
    const reports = watchStale(client, { unitName }, { pollMs: 10 })
    const first = reports.next()
    await forgets(guest)
    await guest.look()
    const { value } = await first
    expect(value?.deviceName).toBe(DEVICES[arch])
    await reports.return()
    const line = daemon
      .log()
      .split('\n')
      .findLast((each) => each.includes('a stale translation'))
    expect(JSON.parse(line ?? '{}')).toMatchObject({
      unit: unitName,
      device: DEVICES[arch],
      report: 1,
      reason: 'synced',
    })
  })
})
