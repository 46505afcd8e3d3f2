/** The calls that take a daemon longest: each with what must be there before it, and what must go after it. */

import {
  type ContextClient,
  ContextLifetime,
  type Init,
  IoasMapFlag,
  type IoasOperation,
  UnitType,
  ViommuType,
} from '../clients/node/index.js'
import type { Daemon } from '../clients/node/testing.js'

/** One call to measure beside. */
export interface LargeCall {
  readonly name: string
  prepare(): Promise<{ run: () => Promise<unknown>; clear: () => Promise<unknown> }>
}

const ARM = '0000:00:01.0'
const INTEL = '0000:01:01.0'
const MAP = IoasMapFlag.FIXED_IOVA | IoasMapFlag.READABLE | IoasMapFlag.WRITEABLE
const HUGE_PAGES = 2
const NEST_PARENT = 1
const GIB = 2n ** 30n
const PAGE = 4096n
/** What a batch may hold. */
const MANY = 65_536
/** Operations of a batch of maps, and areas of the context that is ended. */
const MAPS = 20_000
const AREAS = 100_000

/** Every call, in the order of the table that `bench` prints. */
export function largeCalls(daemon: Daemon): readonly LargeCall[] {
  const open = async (): Promise<ContextClient> => {
    const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
    return daemon.client.inContext(context)
  }
  const call = (
    name: string,
    prepare: (client: ContextClient) => Promise<() => Promise<unknown>>,
    closes = false,
  ): LargeCall => ({
    name,
    async prepare() {
      const client = await open()
      const run = await prepare(client)
      return { run, clear: async () => (closes ? undefined : client.closeContext({})) }
    },
  })
  return [
    call('map-64g-4k', async (client) => (await mapper(client, 0n)).map),
    call('map-64g-misaligned', async (client) => (await mapper(client, PAGE)).map),
    call('unmap-64g-4k', async (client) => {
      const { map, ioasId } = await mapper(client, 0n)
      await map()
      return () => client.ioasUnmap({ ioasId, iova: 0x1_0000_0000n, length: 64n * GIB })
    }),
    call(
      'close-64g-4k',
      async (client) => {
        await (await mapper(client, 0n)).map()
        return () => client.closeContext({})
      },
      true,
    ),
    call('invalidate-smmuv3', async (client) => {
      const { viommuId, deviceId } = await nestedArm(client)
      await (await translation(client, deviceId))()
      const entries = Array.from({ length: 60_000 }, (_, i) => ({ dw0: 0x0007_0000_0000_0012n, dw1: BigInt(i) << 12n }))
      return () => client.invalidateIotlb({ viommuId, smmuv3: { entries } })
    }),
    call('invalidate-vtd', async (client) => {
      const { domainId, deviceId } = await nestedIntel(client)
      await (await translation(client, deviceId))()
      const entries = Array.from({ length: 60_000 }, (_, i) => ({ addr: BigInt(i) << 12n, npages: 1n }))
      return () => client.invalidateIotlb({ userDomainId: domainId, vtdS1: { entries } })
    }),
    call('translate-smmuv3', async (client) => translation(client, (await nestedArm(client)).deviceId)),
    call('translate-vtd', async (client) => translation(client, (await nestedIntel(client)).deviceId)),
    call('batch-20k-maps', async (client) => {
      const { ioasId, regionId } = await attached(client)
      return () => client.ioasBatch({ operations: maps(ioasId, regionId, 0, MAPS) })
    }),
    call('join-100k-areas', async (client) => {
      const { ioasId } = await manyAreas(client)
      const { deviceId } = await client.bindDevice({ deviceName: ARM })
      return () => client.attachRid({ deviceId, ptId: ioasId })
    }),
    call('unmap-100k-areas', async (client) => {
      const { ioasId } = await manyAreas(client, ARM)
      return () => client.ioasUnmap({ ioasId, iova: 0n, length: 2n ** 64n - 1n })
    }),
    call(
      'close-100k-areas',
      async (client) => {
        await manyAreas(client, ARM)
        return () => client.closeContext({})
      },
      true,
    ),
    call('unit-smmuv3-queue', async (client) => fullCommandQueue(client)),
    call('unit-vtd-queue', async (client) => fullInvalidationQueue(client)),
  ]
}

/** 64 GiB of memory that nobody touches, in the smallest leaves: switched so, or `skew` bytes beside larger ones. */
async function mapper(client: ContextClient, skew: bigint) {
  const { ioasId } = await client.createIoas()
  if (skew === 0n) await client.setOption({ option: HUGE_PAGES, objectId: ioasId, value: 0n })
  const { deviceId } = await client.bindDevice({ deviceName: ARM })
  await client.attachRid({ deviceId, ptId: ioasId })
  const { regionId } = await client.createMemoryRegion({ anonymous: { bytes: 65n * GIB } })
  const request = { ioasId, flags: MAP, region: { regionId, offset: skew }, length: 64n * GIB, iova: 0x1_0000_0000n }
  return { ioasId, map: () => client.ioasMap(request) }
}

async function attached(client: ContextClient, deviceName = ARM) {
  const { ioasId } = await client.createIoas()
  const { regionId } = await client.createMemoryRegion({ anonymous: { bytes: GIB } })
  const { deviceId } = await client.bindDevice({ deviceName })
  await client.attachRid({ deviceId, ptId: ioasId })
  return { ioasId, regionId, deviceId }
}

/** Areas of one page with a page between each two. */
const maps = (ioasId: number, regionId: number, from: number, count: number): Init<IoasOperation>[] =>
  Array.from({ length: count }, (_, i) => {
    const iova = (2n * BigInt(from + i) + 0x10_0000n) * PAGE
    return { map: { ioasId, flags: MAP, region: { regionId, offset: 0n }, length: PAGE, iova } }
  })

/** 100,000 areas, in the tables of a device's domain if one is named. */
export async function manyAreas(client: ContextClient, deviceName = '') {
  const { ioasId } = await client.createIoas()
  const { regionId } = await client.createMemoryRegion({ anonymous: { bytes: GIB } })
  for (let from = 0; from < AREAS; from += MAPS) {
    await client.ioasBatch({ operations: maps(ioasId, regionId, from, MAPS) })
  }
  if (deviceName === '') return { ioasId }
  const { deviceId } = await client.bindDevice({ deviceName })
  await client.attachRid({ deviceId, ptId: ioasId })
  return { ioasId }
}

/** Guest RAM at its guest-physical address, with four levels of tables that map 65,536 pages, as either guest spells them. */
const RAM = 0x4000_0000n
const ROOT = RAM + 0x1_0000n
const CONTEXT = RAM + 0x1000n
const IOVA = 0x5000_0000n

async function guest(client: ContextClient, deviceName: string, table: bigint, page: bigint) {
  const { ioasId } = await client.createIoas()
  const { regionId } = await client.createMemoryRegion({ anonymous: { bytes: GIB } })
  // Leaves of 4 KiB behind stage 2 too: the longest walk there is.
  await client.setOption({ option: HUGE_PAGES, objectId: ioasId, value: 0n })
  const region = { regionId, offset: 0n }
  await client.ioasMap({ ioasId, flags: MAP, region, length: 512n * 2n ** 20n, iova: RAM })
  const { deviceId } = await client.bindDevice({ deviceName })
  const { domainId: parentDomainId } = await client.createPagingDomain({ flags: NEST_PARENT, deviceId, ioasId })
  const at = (address: bigint, entries: readonly bigint[]) => ({
    regionId,
    offset: address - RAM,
    data: new Uint8Array(BigUint64Array.from(entries).buffer),
  })
  const leaves = MANY / 512
  const first = Number((IOVA >> 21n) & 511n)
  const level1 = new Array<bigint>(512).fill(0n)
  for (let i = 0; i < leaves; i++) level1[first + i] = (ROOT + BigInt(3 + i) * PAGE) | table
  const patches = [
    at(ROOT, [(ROOT + PAGE) | table]),
    at(ROOT + PAGE + ((IOVA >> 30n) & 511n) * 8n, [(ROOT + 2n * PAGE) | table]),
    at(ROOT + 2n * PAGE, level1),
  ]
  for (let i = 0; i < leaves; i++) {
    const entries = Array.from({ length: 512 }, (_, at) => (RAM + 0x100_0000n + BigInt(i * 512 + at) * PAGE) | page)
    patches.push(at(ROOT + BigInt(3 + i) * PAGE, entries))
  }
  await client.writeMemory({ patches })
  return { deviceId, parentDomainId, at }
}

/** [ARM D8.3 Translation table descriptor formats] [SMMU 5.2, 5.4] */
async function nestedArm(client: ContextClient) {
  const { deviceId, parentDomainId, at } = await guest(client, ARM, 0x3n, 0xf47n)
  const cd = [0x0007_e205_c000_3510n, ROOT, 0n, 0xf404_ff44n, 0n, 0n, 0n, 0n]
  await client.writeMemory({ patches: [at(CONTEXT, cd)] })
  const { viommuId } = await client.createViommu({ type: ViommuType.ARM_SMMUV3, deviceId, parentDomainId })
  await client.createVdevice({ viommuId, deviceId, virtId: 1n })
  const smmuv3Ste = { ste0: CONTEXT | 0xbn, ste1: 0xd4n }
  const { domainId } = await client.createUserDomain({ deviceId, viommuId, smmuv3Ste })
  await client.attachRid({ deviceId, ptId: domainId })
  return { deviceId, viommuId }
}

/** [VTD 9.7 First-Stage Paging Entries] */
async function nestedIntel(client: ContextClient) {
  const { deviceId, parentDomainId } = await guest(client, INTEL, 0x27n, 0x67n)
  const vtdS1 = { pgtblAddr: ROOT, addrWidth: 48 }
  const { domainId } = await client.createUserDomain({ deviceId, parentDomainId, vtdS1 })
  await client.attachRid({ deviceId, ptId: domainId })
  return { deviceId, domainId }
}

async function translation(client: ContextClient, deviceId: number) {
  const iovas = BigUint64Array.from({ length: MANY }, (_, i) => IOVA + BigInt(i) * PAGE)
  const one = await client.translate({ deviceId, iovas: iovas.subarray(0, 1) })
  if (one.outcomes[0] !== 1) throw new Error('the guest of the bench does not translate')
  return async () => {
    const { doneCount } = await client.translate({ deviceId, iovas })
    if (doneCount !== MANY) throw new Error(`${doneCount} of ${MANY} translated`)
  }
}

/** Full queues that one register write starts, several times in one call. */
const QUEUE_AT = 0x1000_0000
const WRITES = 16

async function queue(client: ContextClient, bytes: number, entry: readonly bigint[]): Promise<void> {
  const { regionId } = await client.createMemoryRegion({
    anonymous: { bytes: BigInt(bytes) },
    busAddress: BigInt(QUEUE_AT),
  })
  const piece = Math.min(bytes, 2 ** 21)
  const data = new Uint8Array(BigUint64Array.from({ length: piece / 8 }, (_, i) => entry[i % entry.length]).buffer)
  for (let at = 0; at < bytes; at += piece) {
    await client.writeMemory({ patches: [{ regionId, offset: BigInt(at), data }] })
  }
}

/** 2^19 commands. [SMMU 6.3 SMMU_CMDQ_BASE, SMMU_CMDQ_PROD] */
async function fullCommandQueue(client: ContextClient) {
  await queue(client, 2 ** 23, [0x12n, 0x1001n])
  const { unitId } = await client.createUnit({ type: UnitType.SMMUV3 })
  const writes = [
    { offset: 0x90, width: 8, value: BigInt(QUEUE_AT) | 19n },
    { offset: 0x20, width: 4, value: 8n },
  ]
  await client.writeUnitRegisters({ unitId, writes })
  const full = Array.from({ length: WRITES }, (_, i) => ({
    offset: 0x98,
    width: 4,
    value: i % 2 === 0 ? 2n ** 19n : 0n,
  }))
  return () => client.writeUnitRegisters({ unitId, writes: full })
}

/** 32,767 descriptors. [VTD 11.4.9 Invalidation Queue] */
async function fullInvalidationQueue(client: ContextClient) {
  await queue(client, 2 ** 19, [0x12n, 0n])
  const { unitId } = await client.createUnit({ type: UnitType.VTD })
  const writes = [
    { offset: 0x90, width: 8, value: BigInt(QUEUE_AT) | 7n },
    { offset: 0x18, width: 4, value: 2n ** 26n },
  ]
  await client.writeUnitRegisters({ unitId, writes })
  const full = Array.from({ length: WRITES }, (_, i) => ({
    offset: 0x88,
    width: 8,
    value: i % 2 === 0 ? 2n ** 19n - 16n : 2n ** 19n - 32n,
  }))
  return () => client.writeUnitRegisters({ unitId, writes: full })
}
