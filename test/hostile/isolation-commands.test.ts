/**
 * Two guests behind one unit, whose invalidations go through the host's one queue: no command of one stops it, reaches
 * what the unit keeps for the other, or names a device of the other.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { type Arch, NEW, NestedGuest, OLD, VIRTUAL_SID } from './nested-guest.js'
import { bugLines } from './process-facts.js'
import { Random } from './random.js'

const DEVICES = {
  smmuv3: ['0000:00:01.0', '0000:00:03.0'],
  vtd: ['0000:01:01.0', '0000:01:03.0'],
} as const

describe.each(['smmuv3', 'vtd'] as const)('two guests behind one %s', (arch) => {
  let daemon: Daemon
  let connection: Client
  let hostile: NestedGuest
  let quiet: NestedGuest
  beforeAll(async () => {
    daemon = await startDaemon({ seed: 8 })
    connection = daemon.connect()
    hostile = await NestedGuest.start(daemon.client, arch, DEVICES[arch][0], VIRTUAL_SID)
    quiet = await NestedGuest.start(connection, arch, DEVICES[arch][1], VIRTUAL_SID + 1n)
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
    await quiet.forget()
    expect(await quiet.look()).toEqual({ page: NEW, isCached: false })
    await quiet.pointTo(OLD)
    await quiet.forget()
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
    const guest = await NestedGuest.start(daemon.client, 'smmuv3', DEVICES.smmuv3[0], VIRTUAL_SID)
    const other = await NestedGuest.start(daemon.client, 'smmuv3', DEVICES.smmuv3[1], VIRTUAL_SID + 1n)
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
