/**
 * Two guests behind one unit, whose invalidations go through the host's one queue: no command of one stops it, reaches
 * what the unit keeps for the other, or names a device of the other.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type Client,
  type ContextClient,
  ContextLifetime,
  DmaOutcome,
  HwptFlag,
  IoasMapFlag,
  type IommudError,
  ViommuType,
} from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { bugLines } from './process-facts.js'
import { Random } from './random.js'

const RAM = 0x4000_0000n
const RAM_BYTES = 0x2_0000n
/** Pages of the guest's RAM. */
const CD = RAM
const ROOT = RAM + 0x1000n
const LEAVES = RAM + 0x4000n
const OLD = RAM + 0x8000n
const NEW = RAM + 0x9000n

/** The guest's name of its device; the other guest has another. */
const VIRTUAL_SID = 5n

type Arch = 'smmuv3' | 'vtd'
const DEVICES = {
  smmuv3: ['0000:00:01.0', '0000:00:03.0'],
  vtd: ['0000:01:01.0', '0000:01:03.0'],
} as const

/** One guest: IOVA 0 leads through its own tables to its page OLD. */
class Guest {
  readonly client: ContextClient
  readonly arch: Arch
  regionId = 0
  ioasId = 0
  deviceId = 0
  /** What invalidations name: a vIOMMU, or a user domain. */
  target: object = {}

  private constructor(client: ContextClient, arch: Arch) {
    this.client = client
    this.arch = arch
  }

  static async start(connection: Client, arch: Arch, deviceName: string, virtId: bigint): Promise<Guest> {
    const { context } = await connection.openContext({ lifetime: ContextLifetime.EXPLICIT })
    const guest = new Guest(connection.inContext(context), arch)
    const { client } = guest
    guest.regionId = (await client.createMemoryRegion({ anonymous: { bytes: RAM_BYTES } })).regionId
    guest.ioasId = (await client.createIoas()).ioasId
    await guest.map(RAM, RAM_BYTES)
    const { deviceId } = await client.bindDevice({ deviceName })
    guest.deviceId = deviceId
    const { ioasId } = guest
    const { domainId } = await client.createPagingDomain({ deviceId, ioasId, flags: HwptFlag.NEST_PARENT })
    const table = arch === 'vtd' ? 7n : 3n
    for (let level = 0n; level < 3n; level++)
      await guest.store(ROOT + level * 0x1000n, ROOT + (level + 1n) * 0x1000n + table)
    await guest.pointTo(OLD)
    const ptId = arch === 'vtd' ? await guest.#vtdDomain(domainId) : await guest.#smmuDomain(domainId, virtId)
    await client.attachRid({ deviceId, ptId })
    return guest
  }

  /** Maps a range of the IOAS that its name is the start of. */
  async map(iova: bigint, length: bigint): Promise<void> {
    const flags = IoasMapFlag.FIXED_IOVA | IoasMapFlag.READABLE | IoasMapFlag.WRITEABLE
    const region = { regionId: this.regionId, offset: 0n }
    await this.client.ioasMap({ ioasId: this.ioasId, flags, region, length, iova })
  }

  /** Changes the leaf of IOVA 0, and tells nobody. */
  pointTo(page: bigint): Promise<void> {
    return this.store(LEAVES, page | (this.arch === 'vtd' ? 7n : 0xf47n))
  }

  async store(address: bigint, ...words: readonly bigint[]): Promise<void> {
    const data = new Uint8Array(BigUint64Array.from(words).buffer)
    await this.client.writeMemory({ patches: [{ regionId: this.regionId, offset: address - RAM, data }] })
  }

  /** Where IOVA 0 leads, and whether a cache said so. */
  async look(): Promise<{ readonly page: bigint; readonly isCached: boolean }> {
    const { outcomes, offsets, cacheHits } = await this.client.translate({ deviceId: this.deviceId, iovas: [0n] })
    expect(outcomes[0]).toBe(DmaOutcome.OK)
    return { page: RAM + offsets[0], isCached: cacheHits[0] === 1 }
  }

  /** One invalidation, by two words; the name of its refusal, or empty. */
  async send(first: bigint, second: bigint): Promise<string> {
    const entries =
      this.arch === 'vtd'
        ? { vtdS1: { entries: [{ addr: first, npages: second, flags: Number(second & 3n) }] } }
        : { smmuv3: { entries: [{ dw0: first, dw1: second }] } }
    try {
      await this.client.invalidateIotlb({ ...this.target, ...entries })
      return ''
    } catch (error) {
      return (error as IommudError).errnoName ?? String(error)
    }
  }

  /** What the whole unit is needed for: each ends in a command that is waited for. */
  async works(): Promise<void> {
    await this.map(RAM + 0x100_0000n, 0x1000n)
    await this.client.ioasUnmap({ ioasId: this.ioasId, iova: RAM + 0x100_0000n, length: 0x1000n })
  }

  close(): Promise<unknown> {
    return this.client.closeContext({})
  }

  async #vtdDomain(parentDomainId: number): Promise<number> {
    const vtdS1 = { flags: 0n, pgtblAddr: ROOT, addrWidth: 48 }
    const { domainId } = await this.client.createUserDomain({ deviceId: this.deviceId, parentDomainId, vtdS1 })
    this.target = { userDomainId: domainId }
    return domainId
  }

  async #smmuDomain(parentDomainId: number, virtId: bigint): Promise<number> {
    const { client, deviceId } = this
    // T0SZ 16, 4 KiB, EPD1, V, IPS 48 bits, AA64, R, A, ASET; ASID 1; MAIR 1 is write-back.
    await this.store(CD, 0xe205_c000_3510n | (1n << 48n), ROOT, 0n, 0xf404_ff44n)
    const { viommuId } = await client.createViommu({ type: ViommuType.ARM_SMMUV3, deviceId, parentDomainId })
    await client.createVdevice({ viommuId, deviceId, virtId })
    const smmuv3Ste = { ste0: CD | 0xbn, ste1: 0xd6n }
    const { domainId } = await client.createUserDomain({ deviceId, viommuId, smmuv3Ste })
    this.target = { viommuId }
    return domainId
  }
}

describe.each(['smmuv3', 'vtd'] as const)('two guests behind one %s', (arch) => {
  let daemon: Daemon
  let connection: Client
  let hostile: Guest
  let quiet: Guest
  beforeAll(async () => {
    daemon = await startDaemon({ seed: 8 })
    connection = daemon.connect()
    hostile = await Guest.start(daemon.client, arch, DEVICES[arch][0], VIRTUAL_SID)
    quiet = await Guest.start(connection, arch, DEVICES[arch][1], VIRTUAL_SID + 1n)
  })
  afterAll(async () => {
    await Promise.all([hostile.close(), quiet.close()])
    expect(bugLines(daemon.log())).toEqual([])
    connection.close()
    await daemon.stop()
  })

  it('keep what the unit has cached for them, whatever the other has forgotten', async () => {
    await quiet.look()
    await quiet.pointTo(NEW)
    expect(await quiet.look()).toEqual({ page: OLD, isCached: true })
    for (const [first, second] of commands(arch)) await hostile.send(first, second)
    expect(await quiet.look()).toEqual({ page: OLD, isCached: true })
    await forgetAll(quiet)
    expect(await quiet.look()).toEqual({ page: NEW, isCached: false })
    await quiet.pointTo(OLD)
    await forgetAll(quiet)
  })

  it('never stop the queue: what it would answer with an error is refused before it is queued', async () => {
    const refused = new Set<string>()
    for (const [first, second] of commands(arch)) refused.add(await hostile.send(first, second))
    expect([...refused].sort()).toEqual(arch === 'vtd' ? ['', 'EINVAL', 'EOPNOTSUPP'] : ['', 'EIO'])
    await quiet.works()
    await hostile.works()
    expect((await quiet.look()).page).toBe(OLD)
  })

  it('go on beside 500 random commands', async () => {
    const random = new Random(21)
    const word = () => (BigInt(random.below(2 ** 32)) << 32n) | BigInt(random.below(2 ** 32))
    for (let sent = 0; sent < 500; sent++) {
      await hostile.send(word(), word())
      if (sent % 100 === 0) await quiet.works()
    }
    await quiet.works()
    expect((await quiet.look()).page).toBe(OLD)
  })
})

describe('a guest behind an SMMUv3', () => {
  it('names its own device alone: another’s name, the host’s and none are EIO', async () => {
    const daemon = await startDaemon({ seed: 9 })
    const guest = await Guest.start(daemon.client, 'smmuv3', DEVICES.smmuv3[0], VIRTUAL_SID)
    const other = await Guest.start(daemon.client, 'smmuv3', DEVICES.smmuv3[1], VIRTUAL_SID + 1n)
    const cfgi = (sid: bigint): readonly [bigint, bigint] => [0x5n | (sid << 32n), 1n]
    expect(await guest.send(...cfgi(VIRTUAL_SID))).toBe('')
    const others = [VIRTUAL_SID + 1n, 0x18n, 0x08n, 0n, 2n ** 32n - 1n]
    for (const sid of others) expect([sid, await guest.send(...cfgi(sid))]).toEqual([sid, 'EIO'])
    await guest.close()
    await other.close()
    await daemon.stop()
  })
})

/** Everything a guest may say, and much that it may not. */
function commands(arch: Arch): (readonly [bigint, bigint])[] {
  if (arch === 'vtd') return VTD_ENTRIES
  const every = Array.from({ length: 256 }, (_, opcode) => BigInt(opcode))
  return [
    ...every.map((opcode) => [opcode, 0n] as const),
    // Every VMID and ASID field at once, SSEC, SSV, and every stream.
    ...every.map((opcode) => [opcode | (0xffff_ffffn << 32n), 2n ** 64n - 1n] as const),
    // Reserved ranges: TG 0 with NUM, SCALE and TTL. [SMMU 4.4.1 Common TLB invalidation fields]
    ...[0x11n, 0x12n, 0x13n, 0x2an].map((opcode) => [opcode | (31n << 12n) | (31n << 20n), 0x3ffn] as const),
    // SYNC with an interrupt to anywhere, RESUME of every stall, PRI_RESP to any device.
    [0x46n | (1n << 12n), 0xffff_fffcn],
    [0x44n | (VIRTUAL_SID << 32n) | (1n << 13n), 0n],
    [0x41n | ((VIRTUAL_SID + 1n) << 32n), 0n],
  ]
}

/** Address, and pages whose low bits are the flags too. */
const VTD_ENTRIES: (readonly [bigint, bigint])[] = [
  [0n, 2n ** 64n - 1n],
  [0n, 0n],
  [0n, 1n],
  [0x1000n, 1n],
  [0x1000n, 4n],
  [0x1001n, 4n],
  [0n, 4n],
  [1n, 2n ** 64n - 4n],
  [2n ** 64n - 0x1000n, 2n ** 52n],
  [2n ** 63n, 2n ** 40n],
  [0n, 2n ** 52n],
  [0x1000n, 2n ** 64n - 4n],
  [0n, 2n],
]

async function forgetAll(guest: Guest): Promise<void> {
  const { client, target, arch } = guest
  const entries =
    arch === 'vtd'
      ? { vtdS1: { entries: [{ addr: 0n, npages: 2n ** 64n - 1n, flags: 0 }] } }
      : { smmuv3: { entries: [{ dw0: 0x10n, dw1: 0n }] } }
  await client.invalidateIotlb({ ...target, ...entries })
}
