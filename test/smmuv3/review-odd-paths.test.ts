import { describe, expect, it } from 'vitest'
import { PageRequest } from '../../hw-model/port.js'
import { idRegisters, OFFSET, PRESETS } from '../../hw-model/smmuv3/index.js'
import { AtsBench, CR0, SID } from './ats-bench.js'
import { Bench } from './bench.js'

/** IDR0.MSI */
const MSI = 1 << 13

describe('[SMMU 7.3.4 F_STE_FETCH]', () => {
  it('has zeros above the output size, whatever the level 1 descriptor says', () => {
    const bench = new Bench()
    const table = bench.alloc()
    // Two levels, SPLIT 6; Span 7 and L2Ptr 0x4_0000_1234_5000 in bits 55:6, of which OAS, 48 bits, leaves 0x1234_5000.
    bench.poke(table, (1n << 50n) | 0x1234_5000n | 7n)
    bench.write(OFFSET.CR0, 0b1100)
    bench.write64(OFFSET.STRTAB_BASE, table)
    bench.write(OFFSET.STRTAB_BASE_CFG, (1 << 16) | (6 << 6) | 8)
    bench.write(OFFSET.CR0, 0b1101)
    expect(bench.dma(2, 0x1000n)).toBe('F_STE_FETCH')
    expect(bench.events()).toEqual([[0x0000_0002_0000_0003n, 0n, 0n, 0x1234_5080n]])
  })
})

describe('[SMMU 6.3.36 SMMU_PRIQ_IRQ_CFG2]', () => {
  it('has LO where there are no MSIs: the wire obeys it too, and the rest is reserved', () => {
    const id = { IDR0: PRESETS.full.IDR0 & ~MSI }
    expect(idRegisters('full', id).IDR0 & MSI).toBe(0)
    const bench = new AtsBench({ id })
    bench.write(OFFSET.PRIQ_IRQ_CFG0, 0x1000)
    bench.write(OFFSET.PRIQ_IRQ_CFG1, 0x1000)
    bench.write(OFFSET.PRIQ_IRQ_CFG2, 0xffffffff)
    expect([OFFSET.PRIQ_IRQ_CFG0, OFFSET.PRIQ_IRQ_CFG1].map((at) => bench.read(at))).toEqual([0, 0])
    expect(bench.read(OFFSET.PRIQ_IRQ_CFG2)).toBe(0x80000000)
    bench.write64(OFFSET.PRIQ_BASE, bench.alloc() + 3)
    bench.write(OFFSET.IRQ_CTRL, 0b111)
    bench.write(OFFSET.CR0, CR0.ON | CR0.PRIQEN)
    for (const isLast of [false, true]) {
      bench.unit.ats?.requestPage(Object.assign(new PageRequest(), { rid: SID, isLast }))
      expect(bench.interrupts).toEqual(isLast ? ['priq'] : [])
    }
  })
})
