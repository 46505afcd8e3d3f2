/**
 * M12 on SMMUv3: a guest changes the STE of its device in its own memory, its VMM reads the new words and replaces the
 * user domain. Another process makes the device's DMA all the time: each ends at the old place or at the new one.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DmaProcess, reached } from './dma-process.js'
import { Explained } from './explained.js'
import { ARM64, contextDescriptor, GuestTree } from './guest-tables.js'
import { DEVICES, type Vmm, World } from './world.js'

const RAM = 0x4000_0000n
/** Where the guest has its STE, and two tables of CDs; the first in a table of L1CDs too. */
const STE = 0x4000_0800n
const TABLE_A = 0x4000_1000n
const TABLE_B = 0x4000_2000n
const LEVEL_1 = 0x4000_3000n
/** In RAM, so that it goes somewhere without stage 1 as well. */
const IOVA = 0x4030_0000n
const PASID = 1
/** CD 0 and CD 1 of each table, and where they map `IOVA`. */
const CDS = [
  { cd: TABLE_A, root: 0x4001_0000n, page: 0x4010_0000n, asid: 1n },
  { cd: TABLE_A + 64n, root: 0x4002_0000n, page: 0x4011_0000n, asid: 2n },
  { cd: TABLE_B, root: 0x4003_0000n, page: 0x4012_0000n, asid: 3n },
  { cd: TABLE_B + 64n, root: 0x4004_0000n, page: 0x4013_0000n, asid: 4n },
]

/** An STE's first two doublewords. [SMMU 5.2 Stream Table Entry] */
interface Words {
  readonly ste0: bigint
  readonly ste1: bigint
  /** What DMA without PASID, and with PASID 1, ends as. */
  readonly rid: string
  readonly pasid: string
}

const V = 1n
const BYPASS = 4n << 1n
const S1 = 5n << 1n
const S1DSS = { terminate: 0n, bypass: 1n, cd0: 2n }
const CACHED = (1n << 2n) | (1n << 4n) | (3n << 6n)
const table = (at: bigint, log2: bigint): bigint => V | S1 | at | (log2 << 59n)

let world: World
let vmm: Vmm
let deviceId: number
let viommu: number
let domain: number
let at: (address: bigint) => string
let device: DmaProcess

beforeAll(async () => {
  world = await World.start()
  for (const { cd, root, page, asid } of CDS) {
    await new GuestTree(world.guest, ARM64, root).map(IOVA, page)
    await world.guest.storeAll(cd, contextDescriptor(root, asid))
  }
  // An L1CD of a leaf of 4 KiB. [SMMU 5.3 Level 1 Context Descriptor]
  await world.guest.store(LEVEL_1, TABLE_A | 1n)
  vmm = await world.vmm()
  deviceId = await vmm.bind(DEVICES.smmuv3.first)
  viommu = await vmm.viommu(deviceId, await vmm.parent(deviceId))
  await vmm.vdevice(viommu, deviceId, 0x10n)
  at = (address) => reached(vmm.regionId, address - RAM)
  domain = await domainOfGuest(STATES.A())
  await vmm.client.attachRid({ deviceId, ptId: domain })
  const probe = { deviceId, iova: IOVA }
  device = await DmaProcess.start(world.daemon.socketPath, vmm.token, [probe, { ...probe, pasid: PASID }])
})

afterAll(async () => {
  device?.kill()
  await world.stop()
})

const BAD_SSID = 'C_BAD_SUBSTREAMID'
const on = (i: number) => at(CDS[i].page)
const ste = (ste0: bigint, ste1: bigint, rid: string, pasid: string): Words => ({ ste0, ste1, rid, pasid })

/** What the guest's STE may say, and what it means. */
const STATES = {
  A: () => ste(table(TABLE_A, 2n), S1DSS.cd0 | CACHED, on(0), on(1)),
  'A of more CDs': () => ste(table(TABLE_A, 4n), S1DSS.cd0 | CACHED, on(0), on(1)),
  'A of one CD': () => ste(table(TABLE_A, 0n), S1DSS.cd0 | CACHED, on(0), BAD_SSID),
  'A in two levels': () => ste(table(LEVEL_1, 7n) | (1n << 4n), S1DSS.cd0 | CACHED, on(0), on(1)),
  'A, its walks not cached': () => ste(table(TABLE_A, 2n), S1DSS.cd0, on(0), on(1)),
  'A, the RID past stage 1': () => ste(table(TABLE_A, 2n), S1DSS.bypass | CACHED, at(IOVA), on(1)),
  'A, the RID terminated': () => ste(table(TABLE_A, 2n), S1DSS.terminate | CACHED, 'F_STREAM_DISABLED', on(1)),
  B: () => ste(table(TABLE_B, 2n), S1DSS.cd0 | CACHED, on(2), on(3)),
  'B, the RID past stage 1': () => ste(table(TABLE_B, 2n), S1DSS.bypass | CACHED, at(IOVA), on(3)),
  'B, its walks not cached': () => ste(table(TABLE_B, 2n), S1DSS.cd0, on(2), on(3)),
  bypass: () => ste(V | BYPASS, 0n, at(IOVA), BAD_SSID),
  abort: () => ste(V, 0n, 'ABORTED', 'ABORTED'),
  'V=0': () => ste(0n, 0n, 'ABORTED', 'ABORTED'),
  'V=0 with a table': () => ste(table(TABLE_B, 2n) & ~V, S1DSS.cd0 | CACHED, 'ABORTED', 'ABORTED'),
} as const

type State = keyof typeof STATES

/** The guest stores its words, and the VMM makes a domain of what it finds there. */
async function domainOfGuest({ ste0, ste1 }: Words): Promise<number> {
  await world.guest.storeAll(STE, [ste0, ste1])
  const { data } = await vmm.client.readMemory({ slices: [{ regionId: vmm.regionId, offset: STE - RAM, length: 16 }] })
  const view = new DataView(data[0].buffer, data[0].byteOffset)
  return vmm.smmuDomain(deviceId, viommu, { ste0: view.getBigUint64(0, true), ste1: view.getBigUint64(8, true) })
}

/** Moves the device, whose DMA runs; answers whether it was hitless, and every end of DMA that was seen. */
async function move(to: State): Promise<{ hitless: boolean; seen: string[][] }> {
  const next = await domainOfGuest(STATES[to]())
  await device.take()
  await device.more(1)
  const { hitless } = await vmm.client.replaceRid({ deviceId, ptId: next })
  await vmm.client.destroy({ objectId: domain })
  domain = next
  await device.more(2)
  return { hitless, seen: (await device.take()).map((tally) => Object.keys(tally)) }
}

/** Changes of what hardware looks at in one doubleword alone, the rest being nothing to it before or after. */
const HITLESS: readonly (readonly [State, State])[] = [
  ['A', 'A of more CDs'],
  ['A', 'A of one CD'],
  ['A', 'A in two levels'],
  ['A', 'A, its walks not cached'],
  ['A', 'A, the RID past stage 1'],
  ['A', 'A, the RID terminated'],
  ['A, the RID terminated', 'A, the RID past stage 1'],
  ['A', 'B'],
  ['A', 'bypass'],
  ['A', 'abort'],
  ['A', 'V=0'],
  ['bypass', 'abort'],
  ['bypass', 'V=0 with a table'],
  ['bypass', 'B'],
  ['abort', 'V=0'],
  ['A, the RID past stage 1', 'bypass'],
]

/** What needs two doublewords to change at once. */
const BROKEN: readonly (readonly [State, State])[] = [
  ['A', 'B, the RID past stage 1'],
  ['A', 'B, its walks not cached'],
  ['A, the RID terminated', 'A of one CD'],
]

describe('M12 on smmuv3: replacing by the guest’s new STE, DMA running', () => {
  it.each(HITLESS)('from %s to %s and back is hitless: the old place or the new one', async (from, to) => {
    await move(from)
    for (const [old, next] of [
      [from, to],
      [to, from],
    ] as const) {
      const { hitless, seen } = await move(next)
      const ends = (['rid', 'pasid'] as const).map((slot) => new Set([STATES[old]()[slot], STATES[next]()[slot]]))
      expect(
        seen.map((keys) => new Set(keys)),
        `${old} to ${next}`,
      ).toEqual(ends)
      expect(hitless, `${old} to ${next}`).toBe(true)
    }
  })

  it.each(BROKEN)(
    'from %s to %s and back is not, and says so: C_BAD_STE is all that can come between',
    async (from, to) => {
      await move(from)
      for (const [old, next] of [
        [from, to],
        [to, from],
      ] as const) {
        const { hitless, seen } = await move(next)
        for (const [i, slot] of (['rid', 'pasid'] as const).entries()) {
          const ends = [STATES[old]()[slot], STATES[next]()[slot]]
          expect(seen[i]).toEqual(expect.arrayContaining(ends))
          expect([...ends, 'C_BAD_STE']).toEqual(expect.arrayContaining(seen[i]))
        }
        expect(hitless, `${old} to ${next}`).toBe(false)
      }
    },
  )

  it('merges what the guest says with the host’s stage 2: Config 111 and the guest’s pointer', async () => {
    await move('A in two levels')
    const walk = await Explained.of(vmm, deviceId, IOVA, PASID)
    const said = {
      Config: 7n,
      S1Fmt: 1n,
      S1CDMax: 7n,
      S1DSS: 2n,
      S1CIR: 1n,
      S1COR: 1n,
      S1CSH: 3n,
      S1ContextPtr: LEVEL_1,
    }
    expect(walk.fields('STE', ...Object.keys(said))).toEqual(said)
    expect(walk.step('CD')).toMatchObject({ space: 2, address: TABLE_A + 64n })
    await move('bypass')
    expect((await Explained.of(vmm, deviceId, IOVA)).field('STE', 'Config')).toBe(6n)
    await move('V=0')
    expect((await Explained.of(vmm, deviceId, IOVA)).field('STE', 'Config')).toBe(0n)
  })
})
