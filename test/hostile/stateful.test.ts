/**
 * A client that knows its objects and uses them wildly: 500 calls a seed, real ids mixed with junk. What is refused has
 * changed nothing, and when the context is closed nothing of it is left.
 */

import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { type Client, type ContextClient, createClient, IommudError } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { httpTransport } from '../../clients/node/transport.js'
import { METHODS, type Method, type MethodName } from '../../proto/generated/methods.js'
import { type Pool, randomMessage } from './messages.js'
import { bugLines, residentMib } from './process-facts.js'
import { Random } from './random.js'
import { DEVICE_PAIRS, GUEST_BASE, makeVictim, poolOf, REGION_BYTES, type Victim, WINDOW_BASE } from './victim.js'

const SEEDS = Array.from({ length: process.env.IOMMUD_TEST_LONG === '1' ? 200 : 12 }, (_, i) => i + 1)
const CALLS = 500

/** A refused call in so many is checked for traces. */
const SAMPLE = 3

/** Longest time that a call which may wait is asked to wait, milliseconds. */
const WAIT_MS = 3

/** Calls that end the context, or make others that this test would have to find again. */
const LEFT_OUT: readonly MethodName[] = ['OpenContext', 'CloseContext', 'RenewLease', 'EndContext', 'AdvanceClock']

/** What each run of seeds must have got done at least once: they need several fields to fit, so they are tried more often. */
const USUAL: readonly MethodName[] = [
  'IoasMap',
  'IoasUnmap',
  'Translate',
  'CreatePagingDomain',
  'ReplaceRid',
  'Destroy',
]

/** Calls that the daemon offers, those that make and change things more often than those that look; and one it has not. */
async function callable(client: Client): Promise<readonly Method[]> {
  const { methods } = await client.listMethods()
  const offered = new Set(methods.filter((each) => each.offered).map(({ method }) => method))
  const all: readonly Method[] = Object.values(METHODS)
  return all
    .filter(({ name }) => !LEFT_OUT.includes(name as MethodName) && (offered.has(name) || name === 'InjectFault'))
    .flatMap((method) => Array<Method>(timesOf(method)).fill(method))
}

const timesOf = ({ name, noSideEffects }: Method): number =>
  USUAL.includes(name as MethodName) ? 9 : noSideEffects ? 1 : 3

/** Real ids and addresses of a victim, for the fields that want them. */
function knowing(victim: Victim, pool: Pool): Pool {
  const v = victim
  const domains = [v.smmuParent, v.vtdParent, v.smmuDomain, v.vtdDomain, v.smmuRoot]
  return {
    ...pool,
    idsByField: {
      ioasId: [v.ioasId, v.ioasId, 1, 2, 3],
      dstIoasId: [v.ioasId],
      srcIoasId: [v.ioasId],
      deviceId: [v.smmuDevice, v.vtdDevice],
      ptId: [...domains, v.windowId, v.ioasId],
      windowId: [v.windowId],
      parentDomainId: [v.smmuParent, v.vtdParent],
      domainId: domains,
      userDomainId: [v.smmuDomain, v.vtdDomain, v.smmuRoot],
      viommuId: [v.viommuId],
      unitId: [v.smmuUnit, v.vtdUnit],
      regionId: [v.regionId, v.busRegionId],
      pasid: [0, 1, 2, 3, 5, 64, 0xfffff],
      sourceId: [0, 1, 8],
      groupIndex: [0, 1, 511],
      flags: [0, 0, 1, 2, 4, 6, 7, 8],
      cmd: Array.from({ length: 0x15 }, (_, nr) => 0x3b80 + nr),
      handle: [0, 1, 2],
    },
    valuesByField: {
      iova: [GUEST_BASE, GUEST_BASE + 0x1000n, GUEST_BASE + REGION_BYTES, 0x8000_0000n],
      iovas: [GUEST_BASE, GUEST_BASE + 0x2345n, 0n],
      address: [GUEST_BASE, GUEST_BASE + 0xff8n, 0n],
      offset: [0n, 0x1000n, 0x20_0000n],
      length: [0x1000n, 0x20_0000n, REGION_BYTES, 2n ** 64n - 1n],
      pgtblAddr: [GUEST_BASE, GUEST_BASE + 0x8000n],
      addrWidth: [48n],
      first: [WINDOW_BASE + 0x2000n, WINDOW_BASE + 0x10_0000n, 0n],
      last: [WINDOW_BASE + 0x2fffn, WINDOW_BASE + 0x11_ffffn, 2n ** 64n - 1n],
      ttb0: [GUEST_BASE, GUEST_BASE + 0x8000n],
      t0sz: [16n, 25n, 34n],
      ips: [4n, 5n],
      ste0: [GUEST_BASE | 0xbn, 0n, 1n, 9n],
      ste1: [0xd4n, 0xd6n, 0n],
      bytes: [0x1000n, 0x10_0000n],
      busAddress: [0x100_0000n, 0x200_0000n],
      dw0: [0x11n, 0x12n, 0x13n, 0x5n | (5n << 32n), 0x6n, 0x46n],
      addr: [0n, GUEST_BASE],
      npages: [1n, 2n ** 64n - 1n],
      virtId: [5n, 6n],
      transactionIds: [1n, 2n, 3n],
      tags: [1n, 2n],
    },
  }
}

/** Everything of a context that a refused call must leave alone. */
async function contents(inside: ContextClient): Promise<object> {
  const [objects, regions, context, devices] = await Promise.all([
    inside.listObjects({}),
    inside.listMemoryRegions({}),
    inside.getContext({}),
    inside.listDevices({}),
  ])
  return { objects: objects.objects, regions: regions.regions, quotas: context.quotas, devices: devices.devices }
}

/** What a run of calls came to. */
interface Tally {
  done: number
  refused: number
  readonly methodsDone: Set<string>
}

async function runWild(client: Client, victim: Victim, pool: Pool, random: Random, tally: Tally): Promise<void> {
  const inside = victim.client
  const methods = await callable(client)
  for (let i = 0; i < CALLS; i++) {
    const { name, request } = random.pick(methods)
    const message = randomMessage(random, request, pool)
    if ('context' in message) message.context = inside.token
    if ('waitMs' in message) message.waitMs = random.below(WAIT_MS)
    const sampled = random.oneIn(SAMPLE)
    const before = sampled ? await contents(inside) : undefined
    try {
      await client.call(name as MethodName, message as never)
      tally.done++
      tally.methodsDone.add(name)
    } catch (error) {
      if (!(error instanceof IommudError)) throw error
      tally.refused++
      expect(['internal', 'unknown'], `call ${i}: ${error.message}`).not.toContain(error.code)
      // An array's elements before the refused one are done.
      if (before === undefined || error.code === 'partial') continue
      // IoasUnmap takes areas away up to the one it may not, as the kernel does, and says how much.
      if (name === 'IoasUnmap') continue
      expect(await contents(inside), `call ${i}, ${name} was refused: ${error.message}`).toEqual(before)
    }
  }
}

describe(`a client that makes ${CALLS} wild calls in a context of its own`, () => {
  const adminPath = join(tmpdir(), `iommud-wild-${process.pid}.sock`)
  const started: Promise<Daemon> = startDaemon({ seed: 7, args: ['--admin', adminPath] })
  const admin = createClient(httpTransport({ socketPath: adminPath }))
  const tally: Tally = { done: 0, refused: 0, methodsDone: new Set() }
  afterAll(async () => {
    admin.close()
    await (await started).stop()
    rmSync(adminPath, { force: true })
  })

  it.each(SEEDS)('leaves no trace of what was refused, and nothing at its end (seed %i)', async (seed) => {
    const daemon = await started
    const random = new Random(seed, 99)
    const devices = DEVICE_PAIRS[seed % 2]
    const victim = await makeVictim(daemon.client, devices, random)
    const { bootId } = await daemon.client.getServerInfo()
    const pool = knowing(victim, poolOf(victim, bootId, devices, ['/etc/passwd', '/']))
    try {
      await runWild(daemon.client, victim, pool, random, tally)
    } finally {
      await victim.client.closeContext({})
    }

    expect((await admin.listContexts({})).contexts).toEqual([])
    const { context } = await daemon.client.openContext({})
    const fresh = daemon.client.inContext(context)
    expect((await fresh.listDevices({})).devices.filter(({ bound }) => bound)).toEqual([])
    expect((await fresh.listObjects({})).objects).toEqual([])
    expect((await fresh.getContext({})).quotas.filter(({ used }) => used > 0n)).toEqual([])
    await fresh.closeContext({})
    expect(bugLines(daemon.log())).toEqual([])
    expect(residentMib(daemon.pid)).toBeLessThan(700)
  })

  it('had many calls done and many refused', () => {
    expect(tally.done).toBeGreaterThan(SEEDS.length * 60)
    expect(tally.refused).toBeGreaterThan(SEEDS.length * 60)
    for (const name of USUAL) expect(tally.methodsDone).toContain(name)
  })
})
