/** What is stale when somebody ends: the log says so, though nobody met it; what the end itself puts right is not told. */

import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { command, SmmuGuest } from '../../clients/examples/oracle/smmu-guest.js'
import {
  CachePolicy,
  type Client,
  ContextLifetime,
  createClient,
  httpTransport,
  OracleMode,
  UnitType,
} from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { NestedGuest, RAM } from '../hostile/nested-guest.js'

const UNITS = { smmuv3: 'smmu0', vtd: 'vtd0' } as const
const DEVICES = { smmuv3: '0000:00:02.0', vtd: '0000:01:02.0' } as const
/** Where the leaf of IOVA 0 is. */
const LEAF = RAM + 0x4000n

let daemon: Daemon
let admin: Client

beforeAll(async () => {
  daemon = await startDaemon({ args: ['--oracle', 'report', '--log-level', 'info'] })
  admin = createClient(httpTransport({ socketPath: join(dirname(daemon.socketPath), 'admin.sock') }))
})
afterAll(async () => {
  admin.close()
  await daemon.stop()
})

/** The log's lines of stale translations since the last time, all that were written when it is asked. */
let read = 0
let marks = 0
async function told(): Promise<Record<string, unknown>[]> {
  const label = `mark ${++marks}`
  const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT, label })
  await daemon.client.inContext(context).closeContext({})
  await vi.waitFor(() => expect(daemon.log()).toContain(`"label":"${label}"`), 5000)
  const log = daemon.log()
  const lines = log.slice(read).split('\n')
  read = log.length
  return lines.filter((line) => line.includes('a stale translation')).map((line) => JSON.parse(line))
}

describe.each(['smmuv3', 'vtd'] as const)('a guest behind the platform’s %s', (arch) => {
  const unit = UNITS[arch]

  /** It has met its page by DMA, and its device keeps it. */
  async function met(): Promise<NestedGuest> {
    const guest = await NestedGuest.start(daemon.client, arch, DEVICES[arch])
    await guest.client.requestTranslations({ deviceId: guest.deviceId, iovas: [0n] })
    await guest.look()
    await told()
    return guest
  }

  it('that ends with a page unmapped and kept is told of, by its device and its unit', async () => {
    const guest = await met()
    await guest.store(LEAF, 0n)
    await guest.close()
    const lines = await told()
    expect(lines.map(({ reason, device }) => [reason, device])).toEqual(lines.map(() => ['ended', DEVICES[arch]]))
    const summaries = lines.map(({ summary }) => summary as string)
    expect(summaries[0]).toMatch(/^atc answers 0x0 with region \d+ \+ 0x8000, memory with no translation; forgotten: /)
    expect(summaries[1]).toMatch(/^(io)?tlb answers 0x0 with region \d+ \+ 0x8000, /)
    const { stale } = await admin.listStaleTranslations({ unitName: unit })
    expect(stale.map(({ reason }) => reason).slice(-2)).toEqual([5, 5])
  })

  it('that lets its device go has ended for that device', async () => {
    const guest = await met()
    await guest.store(LEAF, 0n)
    await guest.client.unbindDevice({ deviceId: guest.deviceId })
    expect((await told()).length).toBeGreaterThan(0)
    await guest.close()
    expect(await told()).toEqual([])
  })

  it('that ends as it is, or has invalidated, or was detached, is told of nothing', async () => {
    const untouched = await met()
    await untouched.close()
    const detached = await met()
    await detached.store(LEAF, 0n)
    const gone = detached.client.detachRid({ deviceId: detached.deviceId })
    const { invalidations } = await detached.client.pollInvalidations({ deviceId: detached.deviceId, waitMs: 5000 })
    const tags = invalidations.map(({ tag }) => tag)
    await detached.client.completeInvalidations({ deviceId: detached.deviceId, tags })
    await gone
    await detached.close()
    expect(await told()).toEqual([])
  })

  it('is told of nothing that is another’s', async () => {
    const other = await met()
    const guest = await NestedGuest.start(daemon.client, arch, DEVICES[arch].replace('2.0', '1.0'))
    await guest.look()
    await other.store(LEAF, 0n)
    await guest.close()
    expect(await told()).toEqual([])
    await other.close()
    expect((await told()).map(({ device }) => device)).toContain(DEVICES[arch])
  })
})

describe('a raw unit', () => {
  /** A guest whose page was met and unmapped. */
  async function forgetful(): Promise<SmmuGuest> {
    const guest = await SmmuGuest.start(daemon.client)
    await guest.map(0x5000n, 0x8002_0000n)
    await guest.read(0x5123n)
    await guest.unmap(0x5000n)
    await told()
    return guest
  }

  it('that is destroyed with something stale is told of', async () => {
    const guest = await forgetful()
    await guest.memory.client.destroy({ objectId: guest.unitId })
    expect(await told()).toMatchObject([
      { unit: 'raw', reason: 'ended', needed: 'TLBI_NH_VA VMID=0 ASID=1 Leaf=1 ADDR=0x5000' },
    ])
    await guest.memory.client.closeContext({})
    expect(await told()).toEqual([])
  })

  it('whose context ends with something stale is told of', async () => {
    const guest = await forgetful()
    await guest.memory.client.closeContext({})
    expect(await told()).toMatchObject([{ unit: 'raw', reason: 'ended' }])
  })

  it('that was invalidated, or whose memory went first, is told of nothing', async () => {
    const right = await forgetful()
    await right.send(command.tlbiVa(0x5000n, 1n), command.sync())
    await right.memory.client.closeContext({})
    const bare = await forgetful()
    await bare.memory.client.destroyMemoryRegion({ regionId: 1 })
    await bare.memory.client.destroy({ objectId: bare.unitId })
    await bare.memory.client.closeContext({})
    expect(await told()).toEqual([])
  })

  it('is looked at when the daemon stops', async () => {
    const another = await startDaemon({ args: ['--oracle', 'report'] })
    const { context } = await another.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
    const client = another.client.inContext(context)
    const { unitId } = await client.createUnit({ type: UnitType.SMMUV3, cachePolicy: CachePolicy.HARDWARE })
    await client.setOracleMode({ unitId, mode: OracleMode.REPORT })
    const guest = await NestedGuest.start(another.client, 'vtd', DEVICES.vtd)
    await guest.look()
    await guest.store(LEAF, 0n)
    await another.stop()
    const lines = another.log().split('\n')
    expect(lines.some((line) => line.includes('"reason":"ended"'))).toBe(true)
  })
})
