/**
 * The data path and the heap: a translation that hits leaves nothing behind, not even garbage, in either architecture and
 * in a device's own cache; one that misses leaves nothing that stays. Ten million of them altogether.
 */

import { setTimeout } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { Atc } from '../../hw-model/pci/atc.js'
import { ACCESS, NO_PASID, Outcome, type RemappingUnit, STATUS, Transaction } from '../../hw-model/port.js'
import { CONFIG } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, S1 } from '../smmuv3/bench.js'
import { FS, Guest, SID } from '../vtd/guest.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const MILLION = 1_000_000
/** So that an address is no small integer to the engine, and would have to be boxed wherever it is passed on. */
const FRAME = 0x12_3456_0000n
const IOVA = 0x7f_8000_0000n
/** What the engine and the test itself may keep meanwhile. */
const SLACK_BYTES = MILLION
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
async function expectNothing(run: (count: number) => void, count: number): Promise<void> {
  for (let round = 0; round < 10; round++) {
    run(MILLION / 10)
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

function expectNothingKept(run: (count: number) => void, count: number): void {
  run(MILLION / 10)
  collect()
  const before = process.memoryUsage().heapUsed
  run(count)
  collect()
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(SLACK_BYTES)
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

  it('leave nothing behind where an SMMUv3 walks for them and evicts others', () => {
    const asker = streams(64)
    expectNothingKept((count) => ask(asker, PAGES, count), MILLION)
    expect(asker.unit.counters.misses).toBeGreaterThan(MILLION)
  })

  it('leave nothing behind where a VT-d unit walks for them and evicts others', () => {
    const asker = pasids(64)
    expectNothingKept((count) => ask(asker, PAGES, count), MILLION)
    expect(asker.unit.counters.misses).toBeGreaterThan(MILLION)
  })
})
