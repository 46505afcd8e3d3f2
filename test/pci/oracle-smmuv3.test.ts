/** Device TLBs that were not told to forget, in front of an SMMUv3. [SMMU 3.9.1 ATS Interface, 4.5.1 CMD_ATC_INV] */

import { beforeEach, describe, expect, it } from 'vitest'
import { Endpoint } from '../../hw-model/pci/endpoint.js'
import { Functions } from '../../hw-model/pci/functions.js'
import { ACCESS, type Invalidation, NO_PASID, Outcome, Transaction, type UnitOracle } from '../../hw-model/port.js'
import { AtsBench, CR0, PA, SID, VA } from '../smmuv3/ats-bench.js'
import { contextFields, S1 } from '../smmuv3/bench.js'
import { text } from '../vtd/oracle-guest.js'

type Command = [bigint, bigint]

const SYNC: Command = [0x46n, 0n]
const TLBI: Command = [0x30n, 0n]
/** One page of SID 3, without a SubstreamID, and with SubstreamID 5. */
const ATC_INV: Command = [0x0000000300000040n, VA]
const OF_SSID: Command = [0x0000000300005840n, VA]

let functions: Functions
let bench: AtsBench
let endpoint: Endpoint

beforeEach(() => {
  functions = new Functions()
  bench = new AtsBench({ devices: functions })
  bench.switch(CR0.ON).stageOne()
  endpoint = new Endpoint(bench.unit, { rid: SID })
  functions.add(endpoint)
  bench.unit.setOracle({ fails: false, graceSyncs: 0, reportLimit: 16 })
})

const oracle = (): UnitOracle => bench.unit.oracle as UnitOracle
const told = (): string[] =>
  oracle().reports.map(
    ({ cache, missing }) => `${cache}: ${missing.map((each: Invalidation) => text(each)).join(' + ')}`,
  )

function dma(access: number = ACCESS.READ, pasid = NO_PASID): string {
  const transaction = new Transaction()
  Object.assign(transaction, { lo: Number(VA & 0xffffffffn), hi: Number(VA >> 32n), access, pasid })
  const outcome = new Outcome()
  endpoint.access(transaction, outcome)
  return bench.describe(outcome)
}

describe('a device TLB that was forgotten', () => {
  it('is reported with the command that was missing, after a SYNC', () => {
    expect([dma(), dma()]).toEqual(['ok 80000000', 'ok 80000000'])
    bench.map(bench.s1, VA, 0n)
    expect(dma()).toBe('ok 80000000')
    expect([told(), oracle().counts.inWindow]).toEqual([[], 1])
    bench.commands(TLBI, SYNC)
    expect(dma()).toBe('ok 80000000')
    expect(told()).toEqual(['atc: ATC_INV SID=3 G=0 Size=0 ADDR=0x7654321000'])
    bench.map(bench.s1, VA, (PA + 0x100000n) | S1.RW)
    bench.commands(ATC_INV, SYNC)
    expect(dma()).toBe('ok 80100000')
    expect(oracle().reports).toHaveLength(1)
  })

  it('whose page became another one in one step is a break before make', () => {
    dma()
    bench.map(bench.s1, VA, (PA + 0x100000n) | S1.RW)
    dma()
    expect(oracle().reports.map(({ reason }) => reason)).toEqual(['break-before-make'])
  })

  it('is told again what the TLB keeps, which goes first', () => {
    dma()
    bench.map(bench.s1, VA, 0n)
    bench.commands(SYNC)
    dma()
    const [line] = told()
    expect(line).toMatch(/^atc: TLBI_NH_VAA? .* \+ ATC_INV SID=3 G=0 Size=0 ADDR=0x7654321000$/)
  })

  it('is told of with why what was sent to devices did not reach it', () => {
    dma()
    bench.map(bench.s1, VA, 0n)
    const other: Command = [0x0000000400000040n, VA]
    const beside: Command = [0x0000000300000040n, VA + 0x2000n]
    bench.commands(TLBI, OF_SSID, other, beside, SYNC)
    dma()
    expect(oracle().reports[0].sent.map(({ command, why }) => `${text(command)}: ${why}`)).toEqual([
      'ATC_INV SID=3 G=0 Size=0 ADDR=0x7654323000: range starts at 0x7654323000',
      'ATC_INV SID=4 G=0 Size=0 ADDR=0x7654321000: wrong SID (4, needed 3)',
      'ATC_INV SID=3 SSID=5 G=0 Size=0 ADDR=0x7654321000: reaches what was got with a SubstreamID alone',
      'TLBI_NSNH_ALL: drops what the unit keeps, not the device',
    ])
  })
})

describe('what a function got with a SubstreamID', () => {
  /** The same tables for SubstreamIDs 0 and 5. */
  function withSubstreams(): void {
    const cds = bench.alloc()
    for (const ssid of [0, 5]) bench.cd(cds + ssid * 64, contextFields(7, bench.s1))
    bench.stageOne({ S1ContextPtr: cds, S1CDMax: 3, S1DSS: 2 })
    bench.commands([0x04n, 31n], SYNC)
  }

  it('is forgotten by its SubstreamID, or by G with any', () => {
    withSubstreams()
    dma(ACCESS.READ, 5)
    bench.map(bench.s1, VA, 0n)
    const four: Command = [0x0000000300004840n, VA]
    // Size 52 is everything, here of another stream. G is bit 9; one page beside it.
    const everything: Command = [0x0000000400005840n, 52n]
    const global: Command = [0x0000000300004a40n, VA - 0x1000n]
    bench.commands(TLBI, ATC_INV, four, everything, global, SYNC)
    expect(dma(ACCESS.READ, 5)).toBe('ok 80000000')
    expect(told()).toEqual(['atc: ATC_INV SID=3 SSID=5 G=0 Size=0 ADDR=0x7654321000'])
    const why = oracle().reports[0].sent.map(({ command, why }) => `${text(command)}: ${why}`)
    expect(why).toEqual([
      'ATC_INV SID=3 SSID=4 G=1 Size=0 ADDR=0x7654320000: range ends at 0x7654320fff',
      'ATC_INV SID=4 SSID=5 G=0 Size=52 ADDR=0x0: wrong SID (4, needed 3)',
      'ATC_INV SID=3 SSID=4 G=0 Size=0 ADDR=0x7654321000: wrong SSID (4, needed 5)',
      'ATC_INV SID=3 G=0 Size=0 ADDR=0x7654321000: reaches what was got without a SubstreamID alone',
    ])
    bench.commands(OF_SSID, SYNC)
    expect([dma(ACCESS.READ, 5), oracle().reports.length]).toEqual(['aborted', 1])
  })
})

describe('a large page in a device TLB', () => {
  it.each([
    ['2 MiB', 21, 2, 0x80000000n, 0x7654200000n],
    ['1 GiB', 30, 1, 0x80000000n, 0x7640000000n],
  ] as const)('of %s is one command of its size to most software', (_, lg2, level, frame, first) => {
    const root = bench.alloc()
    bench.map(root, VA, frame | S1.BLOCK_RW, level)
    bench.cd(bench.cdTable, contextFields(8, root))
    bench.commands([0x04n, 31n], SYNC)
    dma()
    bench.map(root, VA, 0n, level)
    bench.commands(TLBI, SYNC)
    expect(dma()).toMatch(/^ok /)
    expect(told()).toEqual(['atc: ATC_INV SID=3 G=0 Size=0 ADDR=0x7654321000'])
    const { usual } = oracle().reports[0]
    expect(text(usual as Invalidation)).toBe(`ATC_INV SID=3 G=0 Size=${lg2 - 12} ADDR=0x${first.toString(16)}`)
  })
})

describe('a device TLB that was told everything', () => {
  it('is no difference', () => {
    dma()
    dma(ACCESS.WRITE)
    bench.map(bench.s1, VA, 0n)
    bench.commands(TLBI, ATC_INV, SYNC)
    dma()
    expect(oracle().counts).toMatchObject({ stale: 0, reports: 0 })
  })
})
