/**
 * The data path and the heap: a translation that hits leaves nothing behind, not even garbage, in either architecture and
 * in a device's own cache, nor does one that misses and walks, of one stage or of two, whether table entries are kept or
 * not. Ten million of them altogether.
 */

import { setTimeout } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { NO_CACHE } from '../../hw-model/cache/geometry.js'
import { Atc } from '../../hw-model/pci/atc.js'
import { ACCESS, NO_PASID, Outcome, type RemappingUnit, STATUS, Transaction } from '../../hw-model/port.js'
import { CONFIG } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, GUEST, S1, S2, stageTwoFields } from '../smmuv3/bench.js'
import { FS, Guest, SID, SS } from '../vtd/guest.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const MILLION = 1_000_000
/** So that an address is no small integer to the engine, and would have to be boxed wherever it is passed on. */
const FRAME = 0x12_3456_0000n
const IOVA = 0x7f_8000_0000n
const PAGES = 512
const SLICES = 15

/** Who asks, and for how many pages in turn. */
interface Asker {
  readonly unit: RemappingUnit
  readonly rid: number
  readonly pasid: number
}

function streams(entries: number): Asker {
  const bench = new Bench({ caches: { tlb: { entries, ways: 4 } } })
  const [root, cd] = [bench.alloc(), bench.alloc()]
  for (let page = 0n; page < PAGES; page++) bench.map(root, IOVA + page * 4096n, (FRAME + page * 4096n) | S1.RW)
  bench.cd(cd, contextFields(1, root))
  bench.ste(3, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
  return { unit: bench.unit, rid: 3, pasid: NO_PASID }
}

function pasids(entries: number): Asker {
  const guest = new Guest({ caches: { iotlb: { entries, ways: 4 } } })
  guest.startScalable()
  for (let page = 0n; page < PAGES; page++) {
    guest.path(0x100000, IOVA + page * 4096n, (FRAME + page * 4096n) | FS.PAGE, FS.TABLE)
  }
  guest.firstStage(5, 2, 0x100000)
  return { unit: guest.unit, rid: SID, pasid: 5 }
}

/** What misses: of one stage or two, with caches for table entries or without. */
interface Walks {
  readonly isNested: boolean
  readonly areKept: boolean
}

/** Guest-physical address of the first page, of those whose tables stand below it. */
const IPA = 0x21_0000_0000n
/** More than any TLB here has room for, and no more than leave room for the tables in a table of 512 pages. */
const MANY = 256
const FEW = { entries: 64, ways: 4 } as const

function walkingStreams({ isNested, areKept }: Walks): Asker {
  const kept = areKept ? FEW : NO_CACHE
  const bench = new Bench({ caches: { tlb: FEW, ipa: kept, walk1: kept, walk2: kept } })
  const [first, second, cd] = [bench.alloc(), bench.alloc(), bench.alloc()]
  const [base, offset] = isNested ? [IPA, GUEST] : [FRAME, 0]
  for (let page = 0n; page < MANY; page++) {
    bench.map(first, IOVA + page * 4096n, (base + page * 4096n) | S1.RW, 3, offset)
    bench.map(second, IPA + page * 4096n, (FRAME + page * 4096n) | S2.RW)
  }
  for (let pa = 0; pa < 2 ** 24; pa += 4096) bench.map(second, BigInt(GUEST + pa), BigInt(pa) | S2.RW)
  bench.cd(cd, contextFields(1, offset + first))
  const stages = isNested ? { ...stageTwoFields(2, second), Config: CONFIG.NESTED } : { Config: CONFIG.S1_TRANS }
  bench.ste(3, { ...stages, V: 1, S1ContextPtr: offset + cd })
  return { unit: bench.unit, rid: 3, pasid: NO_PASID }
}

function walkingPasids({ isNested, areKept }: Walks): Asker {
  const kept = areKept ? FEW : NO_CACHE
  const guest = new Guest({ caches: { iotlb: FEW, walk1: kept, walk2: kept } })
  const [first, second] = [0x100000, 0x300000]
  guest.startScalable()
  for (let page = 0n; page < MANY; page++) {
    guest.path(first, IOVA + page * 4096n, ((isNested ? IPA : FRAME) + page * 4096n) | FS.PAGE, FS.TABLE)
    guest.path(second, IPA + page * 4096n, (FRAME + page * 4096n) | SS.RW, SS.RW)
  }
  for (let pa = BigInt(first); pa < first + 0x4000; pa += 4096n) guest.path(second, pa, pa | SS.RW, SS.RW)
  if (isNested) guest.nested(5, 2, first, second)
  else guest.firstStage(5, 2, first)
  return { unit: guest.unit, rid: SID, pasid: 5 }
}

/** Translates `pages` pages in turn, `count` times altogether. */
function ask({ unit, rid, pasid }: Asker, pages: number, count: number): void {
  const transaction = new Transaction()
  const outcome = new Outcome()
  transaction.rid = rid
  transaction.pasid = pasid
  transaction.hi = Number(IOVA >> 32n)
  const low = Number(IOVA & 0xffff_ffffn)
  const frame = Number(FRAME)
  for (let i = 0; i < count; i++) {
    const page = i % pages
    transaction.lo = (low + page * 4096 + 8) | 0
    transaction.access = i % 3 === 0 ? ACCESS.WRITE : ACCESS.READ
    unit.translate(transaction, outcome)
    if (outcome.status !== STATUS.OK || outcome.address !== frame + page * 4096 + 8) throw new Error('blocked')
  }
}

/**
 * The engine compiles and forgets when it likes, which takes megabytes of its own now and then; so the run is cut into
 * slices, and the median slice must take nothing. A box of 16 bytes for each translation would show in most of them, and
 * a collection can hide it in one of three at most.
 */
async function expectNothing(run: (count: number) => void, count: number, warm = MILLION): Promise<void> {
  for (let round = 0; round < 10; round++) {
    run(warm / 10)
    // The compiler works beside this thread, and its work is taken over between turns.
    await setTimeout(5)
  }
  collect()
  const slice = count / SLICES
  const taken = Array.from({ length: SLICES }, () => {
    const before = process.memoryUsage().heapUsed
    run(slice)
    return process.memoryUsage().heapUsed - before
  })
  expect(taken.sort((a, b) => a - b)[SLICES >> 1]).toBeLessThan(slice)
}

describe('ten million translations', { timeout: 120_000 }, () => {
  it('allocate nothing where an SMMUv3 finds them in its TLB', async () => {
    const asker = streams(1024)
    await expectNothing((count) => ask(asker, 16, count), 3 * MILLION)
    expect(asker.unit.counters.misses).toBeLessThan(100)
  })

  it('allocate nothing where a VT-d unit finds them in its IOTLB', async () => {
    const asker = pasids(1024)
    await expectNothing((count) => ask(asker, 16, count), 3 * MILLION)
    expect(asker.unit.counters.misses).toBeLessThan(100)
  })

  it('allocate nothing where a device finds them in its own ATC', async () => {
    const atc = new Atc()
    const granted = new Outcome()
    granted.rights = ACCESS.READ | ACCESS.WRITE
    granted.address = Number(FRAME)
    atc.fill(5, false, 0x1000, 1, granted)
    await expectNothing((count) => {
      for (let i = 0; i < count; i++) if (!atc.find(5, false, 0x1008, 1)) throw new Error('lost')
    }, 2 * MILLION)
    expect(atc.address).toBe(Number(FRAME) + 8)
  })

  describe.each([
    ['of one stage, and keep no table entry', { isNested: false, areKept: false }],
    ['of one stage, and keep table entries', { isNested: false, areKept: true }],
    ['of two stages, and keep no table entry', { isNested: true, areKept: false }],
    ['of two stages, and keep table entries', { isNested: true, areKept: true }],
  ])('that walk tables %s', (_, walks) => {
    it.each([
      ['an SMMUv3', walkingStreams],
      ['a VT-d unit', walkingPasids],
    ])('allocate nothing in %s', async (_unit, unitOf) => {
      const asker = unitOf(walks)
      const before = asker.unit.counters.misses
      await expectNothing((count) => ask(asker, MANY, count), MILLION / 4, MILLION / 5)
      expect(asker.unit.counters.misses - before).toBeGreaterThan(MILLION / 4)
    })
  })
})
