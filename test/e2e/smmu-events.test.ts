/**
 * A guest that writes its tables wrong, in every way there is: what it hears of it in its own queue, and what only the
 * operator hears, in the log. Who floods the one or the other takes nothing from anybody else.
 */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { ViommuType } from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree, steCdTable, steOneCd } from './guest-tables.js'
import { READ, type Vmm, World, WRITE } from './world.js'

const [FIRST, SECOND] = ['0000:00:01.0', '0000:00:02.0']
const PLATFORM = {
  units: [{ name: 'smmu0', type: 'smmuv3', preset: 'full' }],
  devices: [
    { name: FIRST, iommu: 'smmu0', pasidBits: 20, ats: true, pri: true },
    { name: SECOND, iommu: 'smmu0', pasidBits: 20, ats: false, pri: false },
  ],
}
/** Guest-physical addresses; RAM begins at 1 GiB. */
const [CD, LEVEL_1, ROOT, DATA] = [0x4000_1000n, 0x4000_2000n, 0x4001_0000n, 0x4010_0000n]
/** Where the parent maps nothing. */
const NOWHERE = 0x2_0000_0000n
const IOVA = 0x1000_0000n
const VSID = 0x10n

let world: World
beforeAll(async () => {
  world = await World.start(PLATFORM)
})
afterEach(() => world.sweep())
afterAll(() => world.stop())

interface Line {
  readonly msg: string
  readonly event?: string
  readonly device?: string
  readonly stage?: string
  readonly class?: string
  readonly heldBack?: number
}

/** What the operator was told of units since a place in the log. */
function told(from: number): Line[] {
  const lines = world.daemon.log().slice(from).split('\n')
  const parsed = lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Line)
  return parsed.filter(({ event, heldBack }) => event !== undefined || heldBack !== undefined)
}

/** A guest's vIOMMU with a queue, its device and its name. */
async function nested(name = FIRST, depth = 8) {
  const vmm = await world.vmm()
  const deviceId = await vmm.bind(name)
  const viommuId = await vmm.viommu(deviceId, await vmm.parent(deviceId))
  const { veventqId } = await vmm.client.createVeventq({ viommuId, type: ViommuType.ARM_SMMUV3, depth })
  await vmm.vdevice(viommuId, deviceId, VSID)
  const attach = async (ste: { ste0: bigint; ste1: bigint }): Promise<void> => {
    await vmm.client.attachRid({ deviceId, ptId: await vmm.smmuDomain(deviceId, viommuId, ste) })
  }
  return { vmm, deviceId, viommuId, veventqId, attach }
}

const events = async (vmm: Vmm, veventqId: number) => (await vmm.client.pollEvents({ veventqId })).events

/** A table with one page at IOVA. */
async function tree(): Promise<GuestTree> {
  const made = new GuestTree(world.guest, ARM64, ROOT)
  await made.map(IOVA, DATA)
  return made
}

/** V of a CD is bit 31 of its first word. */
const invalid = ([first, ...rest]: bigint[]): bigint[] => [first & ~(1n << 31n), ...rest]

interface Mistake {
  readonly name: string
  /** Writes the tables; answers the STE. */
  readonly write: () => Promise<{ ste0: bigint; ste1: bigint }>
  readonly iova?: bigint
  readonly access?: number
  readonly pasid?: number
  /** The event that the guest hears, or that the operator does, with the stage and class that it names. */
  readonly guest?: string
  readonly operator?: readonly [event: string, stage?: string, klass?: string]
}

async function withCd(words: bigint[]): Promise<{ ste0: bigint; ste1: bigint }> {
  await world.guest.storeAll(CD, words)
  return steOneCd(CD)
}

async function withLeaf(entry: bigint): Promise<{ ste0: bigint; ste1: bigint }> {
  const at = await (await tree()).map(IOVA, DATA)
  await world.guest.store(at, entry)
  return withCd(contextDescriptor(ROOT, 7n))
}

const MISTAKES: readonly Mistake[] = [
  {
    name: 'an STE with more CDs than the unit has SubstreamIDs for',
    guest: 'C_BAD_STE',
    write: async () => steCdTable(CD, 31n),
  },
  { name: 'a CD that is not valid', guest: 'C_BAD_CD', write: () => withCd(invalid(contextDescriptor(ROOT, 7n))) },
  {
    name: 'a PASID beyond the table',
    guest: 'C_BAD_SUBSTREAMID',
    pasid: 2,
    write: async () => {
      await withCd(contextDescriptor(ROOT, 7n))
      return steCdTable(CD, 1n)
    },
  },
  {
    name: 'a level 1 entry that is not valid',
    guest: 'C_BAD_SUBSTREAMID',
    pasid: 70,
    write: async () => {
      await world.guest.storeAll(LEVEL_1, [CD | 1n, 0n])
      // S1Fmt, bits 5:4, is 1: leaves of 4 KiB.
      const { ste0, ste1 } = steCdTable(LEVEL_1, 8n)
      return { ste0: ste0 | (1n << 4n), ste1 }
    },
  },
  {
    name: 'S1DSS that terminates what has no PASID',
    guest: 'F_STREAM_DISABLED',
    write: async () => {
      await withCd(contextDescriptor(ROOT, 7n))
      return { ste0: steCdTable(CD, 1n).ste0, ste1: 0xd4n }
    },
  },
  { name: 'a table entry that is not there', guest: 'F_TRANSLATION', write: () => withLeaf(0n) },
  {
    name: 'a leaf without its access flag',
    guest: 'F_ACCESS',
    write: () => withLeaf(ARM64.page(DATA) & ~(1n << 10n)),
    access: READ,
  },
  {
    name: 'a leaf that may not be written',
    guest: 'F_PERMISSION',
    access: WRITE,
    write: () => withLeaf(ARM64.readOnlyPage(DATA)),
  },
  {
    name: 'a leaf beyond the size of its output addresses',
    guest: 'F_ADDR_SIZE',
    write: async () => {
      await withLeaf(ARM64.page(1n << 40n))
      // IPS, bits 34:32, of 0 is 32 bits.
      const [first, ...rest] = contextDescriptor(ROOT, 7n)
      return withCd([first & ~(7n << 32n), ...rest])
    },
  },
  {
    name: 'a CD where the guest has no memory',
    operator: ['F_TRANSLATION', '2', 'CD'],
    write: async () => steOneCd(NOWHERE),
  },
  {
    name: 'a table where the guest has no memory',
    operator: ['F_TRANSLATION', '2', 'TTD'],
    write: () => withCd(contextDescriptor(NOWHERE, 7n)),
  },
  {
    name: 'a page where the guest has no memory',
    operator: ['F_TRANSLATION', '2', 'IN'],
    write: () => withLeaf(ARM64.page(NOWHERE)),
  },
]

describe('a guest that has written', () => {
  it.each(MISTAKES)('$name is told of it, or the operator is', async (mistake) => {
    const { vmm, deviceId, veventqId, attach } = await nested()
    await attach(await mistake.write())
    const from = world.daemon.log().length
    const { iova = IOVA, access = READ, pasid } = mistake
    const { fault } = await vmm.dma(deviceId, iova, access, pasid)
    const heard = await events(vmm, veventqId)
    expect(fault).toBe(mistake.guest ?? mistake.operator?.[0])
    expect(heard.map(({ name, sequence }) => [name, sequence])).toEqual(mistake.guest ? [[mistake.guest, 0]] : [])
    // Its own name of the device, in the record's upper half.
    for (const { words } of heard) expect(words[0] >> 32n).toBe(VSID)
    const [event, stage, klass] = mistake.operator ?? []
    const line = { unit: 'smmu0', device: FIRST, event, stage, class: klass }
    // The log comes by a pipe of its own.
    await expect.poll(() => told(from)).toMatchObject(event === undefined ? [] : [line])
    await vmm.close()
  })
})

describe('the operator', () => {
  it('hears of a guest that has no queue', async () => {
    const { vmm, deviceId, veventqId, attach } = await nested()
    await attach(await withCd(invalid(contextDescriptor(ROOT, 7n))))
    await vmm.client.destroy({ objectId: veventqId })
    const from = world.daemon.log().length
    await vmm.dma(deviceId, IOVA)
    await expect.poll(() => told(from)).toMatchObject([{ device: FIRST, event: 'C_BAD_CD' }])
    await vmm.close()
  })

  it('has a few lines of a device that floods and then a count, and every line of another', async () => {
    const [loud, quiet] = [await world.vmm(), await world.vmm()]
    const devices = await Promise.all([loud.bind(SECOND), quiet.bind(FIRST)])
    for (const [i, vmm] of [loud, quiet].entries()) {
      await vmm.client.attachRid({ deviceId: devices[i], ptId: await vmm.paging(devices[i]) })
    }
    const from = world.daemon.log().length
    const iovas = Array.from({ length: 500 }, (_, i) => NOWHERE + BigInt(i) * 4096n)
    await loud.client.translate({ deviceId: devices[0], iovas, access: READ })
    await quiet.dma(devices[1], NOWHERE)
    const of = (name: string): Line[] => told(from).filter(({ device }) => device === name)
    await expect.poll(() => of(FIRST)).toMatchObject([{ event: 'F_TRANSLATION', stage: '1' }])
    expect(of(SECOND).length).toBeLessThanOrEqual(10)
    await Promise.all([loud.close(), quiet.close()])
  })
})

describe('a guest that floods its own queue', () => {
  it('loses its own events, is told so, and takes none of another guest’s', async () => {
    const [loud, quiet] = [await nested(SECOND, 4), await nested(FIRST, 4)]
    const ste = await withCd(invalid(contextDescriptor(ROOT, 7n)))
    await Promise.all([loud.attach(ste), quiet.attach(ste)])
    const iovas = Array.from({ length: 500 }, (_, i) => BigInt(i) * 4096n)
    await loud.vmm.client.translate({ deviceId: loud.deviceId, iovas, access: READ })
    await quiet.vmm.dma(quiet.deviceId, IOVA)
    const heard = await events(loud.vmm, loud.veventqId)
    expect(heard.map(({ flags, sequence }) => [flags, sequence])).toEqual([
      [0, 0],
      [0, 1],
      [0, 2],
      [0, 3],
      [1, 499],
    ])
    expect((await events(quiet.vmm, quiet.veventqId)).map(({ name }) => name)).toEqual(['C_BAD_CD'])
    await Promise.all([loud.vmm.close(), quiet.vmm.close()])
  })
})
