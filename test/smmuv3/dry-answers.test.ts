/** What a unit says without doing anything: what its caches answer, and which command was forgotten. */

import { describe, expect, it } from 'vitest'
import { ACCESS, type Invalidation, NO_PASID, Outcome, REQUEST, type WalkStep } from '../../hw-model/port.js'
import { CONFIG, OFFSET } from '../../hw-model/smmuv3/index.js'
import { VA as ATS_VA, AtsBench, SID as STREAM } from './ats-bench.js'
import { Bench, contextFields, S1 } from './bench.js'

const SID = 5
const LOW = 0x5000n
const HIGH = 0xffff_8000_0000_5000n
const FRAME = 0x80000000n
const OTHER = 0x90000000n

/** A stream with eight CDs, each with tables of its own for both halves; TBI is on in those of odd index. */
function planted(): { bench: Bench; cds: number; roots: number[] } {
  const bench = new Bench()
  const cds = bench.alloc()
  const roots = Array.from({ length: 8 }, (_, index) => {
    const root = bench.alloc()
    const tags = { TBI0: index & 1, TBI1: index & 1 }
    const halves = { T1SZ: 16, TG1: 2, EPD1: 0, TTB1: root }
    bench.cd(cds + index * 64, { ...contextFields(index + 1, root), ...halves, ...tags })
    bench.map(root, LOW, FRAME | S1.RW)
    bench.map(root, HIGH & 0xffff_ffff_ffffn, FRAME | S1.RW)
    return root
  })
  bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cds, S1CDMax: 3, S1DSS: 2, S2VMID: 9 })
  return { bench, cds, roots }
}

describe('what the caches alone answer', () => {
  const peek = (bench: Bench, sid: number, pasid = NO_PASID): string => {
    const outcome = new Outcome()
    return bench.unit.peek(bench.transaction(sid, LOW, { pasid }), outcome) ? bench.describe(outcome) : 'not cached'
  }

  it('is nothing before an access, and all that the access needed after it', () => {
    const { bench } = planted()
    expect(peek(bench, SID, 1)).toBe('not cached')
    bench.dma(SID, LOW, { pasid: 1 })
    expect(peek(bench, SID, 1)).toBe('ok 80000000')
    expect(peek(bench, SID, 2)).toBe('not cached')
  })

  it('is nothing for a stream that cannot be found', () => {
    const { bench } = planted()
    expect([bench.dma(64, LOW), peek(bench, 64)]).toEqual(['C_BAD_STREAMID', 'not cached'])
  })

  it('is a cached STE that is ILLEGAL or aborts', () => {
    const { bench } = planted()
    bench.ste(6, { V: 1, Config: CONFIG.ABORT })
    expect([bench.dma(6, LOW), bench.dma(7, LOW)]).toEqual(['aborted', 'C_BAD_STE'])
    expect([peek(bench, 6), peek(bench, 7)]).toEqual(['aborted', 'C_BAD_STE'])
  })

  it('is nothing while SMMUEN is 0, when no cache is asked', () => {
    const { bench } = planted()
    bench.dma(SID, LOW, { pasid: 1 })
    bench.write(OFFSET.CR0, 0b1100)
    expect([bench.dma(SID, LOW, { pasid: 1 }), peek(bench, SID, 1)]).toEqual(['ok 5000', 'not cached'])
  })
})

describe('the command that was forgotten', () => {
  const missing = (bench: Bench, address: bigint, pasid = NO_PASID): readonly Invalidation[] =>
    bench.unit.missing(bench.transaction(SID, address, { pasid }))

  it('is none where caches and memory agree, or nothing is cached', () => {
    const { bench, roots } = planted()
    bench.dma(SID, LOW, { pasid: 1 })
    bench.map(roots[2], LOW, OTHER | S1.RW)
    expect([missing(bench, LOW, 1), missing(bench, LOW, 2)]).toEqual([[], []])
  })

  it.each([
    ['the SSID', 3, 3],
    ['SSID 0 of a transaction without one', NO_PASID, 0],
  ])('of a CD names %s', (_, pasid, SSID) => {
    const { bench, cds, roots } = planted()
    const index = pasid === NO_PASID ? 0 : pasid
    expect(bench.dma(SID, LOW, { pasid })).toBe('ok 80000000')
    bench.map(roots[7], LOW, OTHER | S1.RW)
    // Other tables and another ASID: only the CD is stale.
    bench.cd(cds + index * 64, contextFields(77, roots[7]))
    expect(missing(bench, LOW, pasid)).toMatchObject([{ name: 'CFGI_CD', operands: { SID, SSID } }])
    bench.commands([(BigInt(SID) << 32n) | (BigInt(SSID) << 12n) | 0x05n, 1n])
    expect([missing(bench, LOW, pasid), bench.dma(SID, LOW, { pasid })]).toEqual([[], 'ok 90000000'])
  })

  // The address that the TLB knows has no tag: bits 63:56 are those of bit 55. [Arm D8.8 Address tagging]
  it.each([
    ['the low half', 2, LOW, 0x5000, 0],
    ['the high half', 2, HIGH, 0x5000, 0xffff_8000],
    ['the low half with a tag', 3, LOW | (0x5an << 56n), 0x5000, 0],
    ['the high half with a tag', 3, (HIGH & ~(0xffn << 56n)) | (0x5an << 56n), 0x5000, 0xffff_8000],
  ])('of an entry in %s names its page', (_, pasid, address, lo, hi) => {
    const { bench, roots } = planted()
    expect(bench.dma(SID, address, { pasid })).toBe('ok 80000000')
    bench.map(roots[pasid], address & 0xffff_ffff_ffffn, OTHER | S1.RW)
    expect(missing(bench, address + 0x123n, pasid)).toMatchObject([
      { name: 'TLBI_NH_VA', operands: { VMID: 9, ASID: pasid + 1 }, page: [lo, hi] },
    ])
    const page = (BigInt(hi) << 32n) | BigInt(lo)
    bench.commands([(BigInt(pasid + 1) << 48n) | (9n << 32n) | 0x12n, page])
    expect([missing(bench, address, pasid), bench.dma(SID, address, { pasid })]).toEqual([[], 'ok 90000000'])
  })
})

describe('a stream whose STE changes while it is looked at', () => {
  /** Nothing of the configuration is cached; the STE bypasses on some reads and aborts on all others. */
  function missingWith(bypasses: (read: number) => boolean): readonly string[] {
    const bench = new Bench({ caches: { configEntries: 0 } })
    const { memory } = bench
    const at = bench.streamTable + SID * 64
    const load = memory.loadRecord.bind(memory)
    let reads = 0
    memory.loadRecord = (pa, into, index, words) => {
      if (pa === at) bench.ste(SID, { V: 1, Config: bypasses(reads++) ? CONFIG.BYPASS : CONFIG.ABORT })
      return load(pa, into, index, words)
    }
    const commands = bench.unit.missing(bench.transaction(SID, LOW))
    expect(reads).toBeGreaterThan(1)
    return commands.map(({ name }) => name)
  }

  it('misses nothing where no command brings back what was seen first', () => {
    expect(missingWith((read) => read === 0)).toEqual([])
  })

  it('is never told to drop translations: it has none', () => {
    for (let moment = 2; moment < 24; moment++) {
      const commands = missingWith((read) => read === 0 || read === moment || read === moment + 1)
      expect([moment, commands.filter((name) => !name.startsWith('CFGI'))]).toEqual([moment, []])
    }
  })
})

describe('an explained translation request under a PASID', () => {
  // Execution is granted to whoever asks for it under a PASID. [SMMU 13.7.1 Permission attributes granted]
  it.each([
    [ACCESS.READ, 'granted: 4 KiB, read-only'],
    [ACCESS.READ | ACCESS.WRITE, 'granted: 4 KiB, read-write'],
    [ACCESS.READ | ACCESS.EXECUTE, 'granted: 4 KiB, read-only, to execute too'],
  ])('for access %i is %s', (access, verdict) => {
    const bench = new AtsBench().stageOne({ S1CDMax: 1 })
    const steps: WalkStep[] = []
    const transaction = bench.transaction(STREAM, ATS_VA, { pasid: 0, access })
    transaction.type = REQUEST.TRANSLATION
    bench.unit.explain(transaction, new Outcome(), { step: (step) => steps.push(step) })
    expect(steps.at(-1)).toMatchObject({ what: 'completion', verdict })
  })
})
