/** Whose TLB entries are whose: the EL2 worlds beside NS-EL1, and what each command drops. Commands are spelled by hand. */

import { describe, expect, it } from 'vitest'
import { Transaction } from '../../hw-model/port.js'
import { CONFIG, type IdOverrides, idRegisters, OFFSET } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, S1 } from './bench.js'

const VA = 0x10000000n
const OTHER = 0x10001000n
const GLOBAL = 0x10002000n

/** CR2 of this unit: RECINVSID, and E2H where it is on. [SMMU 6.3.12 SMMU_CR2] */
const CR2 = { EL2: 0b10, E2H: 0b11 } as const

function program(bench: Bench, cr2: number): void {
  bench.write(OFFSET.CR0, 0b1100)
  bench.write(OFFSET.CR2, cr2)
  bench.write(OFFSET.CR0, 0b1101)
}

function bench(cr2: number, id: IdOverrides = {}): Bench {
  const made = new Bench({ preset: 'full', id })
  program(made, cr2)
  return made
}

/** A stream on stage 1; STRW is spelled into bits [31:30] of the STE's second doubleword. */
function stream(bench: Bench, sid: number, strw: bigint, asid = 1) {
  const root = bench.alloc()
  const cd = bench.alloc()
  bench.cd(cd, contextFields(asid, root))
  bench.ste(sid, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
  const dw1 = bench.streamTable + sid * 64 + 8
  bench.poke(dw1, bench.peek(dw1) | (strw << 30n))
  return { root, cd }
}

/** A unit that has no EL2 worlds. */
const WITHOUT: IdOverrides = { IDR0: idRegisters('full').IDR0 & ~(1 << 9), AIDR: 1 }

/**
 * Streams of every world at the same addresses, each with a table of its own. Streams 3 and 4 are of the E2H world, which
 * CR2.E2H selects after stream 2 was planted; the STE of stream 2 stays cached as it was.
 */
const PLANTED: readonly (readonly [name: string, sid: number, va: bigint])[] = [
  ['EL1 asid1', 1, VA],
  ['EL1 global', 1, GLOBAL],
  ['EL2', 2, VA],
  ['EL2 other', 2, OTHER],
  ['E2H asid1', 3, VA],
  ['E2H asid1 other', 3, OTHER],
  ['E2H global', 3, GLOBAL],
  ['E2H asid2', 4, VA],
]
const ALL = PLANTED.map(([name]) => name)

function planted(cr2: number): Bench {
  const unit = bench(CR2.EL2)
  const roots = [1, 2, 3, 4].map((sid) => {
    const { root } = stream(unit, sid, sid === 1 ? 0b00n : 0b10n, sid === 4 ? 2 : 1)
    const frame = BigInt(sid) << 32n
    unit.map(root, VA, frame | S1.RW)
    unit.map(root, OTHER, frame | 0x1000n | S1.RW)
    unit.map(root, GLOBAL, frame | 0x2000n | S1.GLOBAL)
    return root
  })
  const plant = (sids: readonly number[]): void => {
    for (const [name, sid, va] of PLANTED) {
      if (!sids.includes(sid)) continue
      expect(unit.dma(sid, va), name).toBe(`ok ${((BigInt(sid) << 32n) | ((va - VA) & 0xffffn)).toString(16)}`)
    }
  }
  plant([1, 2])
  program(unit, CR2.E2H)
  plant([3, 4])
  program(unit, cr2)
  for (const root of roots) for (let i = 0; i < 512; i++) unit.poke(root + i * 8, 0n)
  return unit
}

const survivors = (unit: Bench): string[] =>
  PLANTED.filter(([, sid, va]) => unit.dma(sid, va).startsWith('ok')).map(([name]) => name)

const EL1 = ALL.filter((name) => name.startsWith('EL1'))
const EL2 = ALL.filter((name) => name.startsWith('EL2'))
const E2H = ALL.filter((name) => name.startsWith('E2H'))

describe('[SMMU 3.17 TLB tagging] keeps the worlds apart', () => {
  const rows: [name: string, cr2: number, command: [bigint, bigint], gone: string[]][] = [
    ['nothing at all', CR2.E2H, [0x46n, 0n], []],
    ['EL2_ALL', CR2.EL2, [0x20n, 0n], [...EL2, ...E2H]],
    ['EL2_ALL under E2H', CR2.E2H, [0x20n, 0n], [...EL2, ...E2H]],
    ['EL2_ASID spares global entries', CR2.E2H, [0x0001_0000_0000_0021n, 0n], ['E2H asid1', 'E2H asid1 other']],
    ['EL2_ASID without E2H', CR2.EL2, [0x0002_0000_0000_0021n, 0n], ['E2H asid2']],
    ['EL2_VA under E2H', CR2.E2H, [0x0001_0000_0000_0022n, VA | 1n], ['E2H asid1']],
    ['EL2_VA under E2H takes global entries of any ASID', CR2.E2H, [0x0009_0000_0000_0022n, GLOBAL], ['E2H global']],
    ['EL2_VA without E2H ignores the ASID', CR2.EL2, [0x0009_0000_0000_0022n, VA], ['EL2']],
    ['EL2_VA without E2H, by range', CR2.EL2, [0x0000_0000_0000_1022n, VA | 0x400n], EL2],
    ['EL2_VA of another level', CR2.EL2, [0x0000_0000_0000_0022n, VA | 0x600n], []],
    ['EL2_VAA under E2H', CR2.E2H, [0x0009_0000_0000_0023n, VA], ['E2H asid1', 'E2H asid2']],
    ['EL2_VAA without E2H', CR2.EL2, [0x23n, OTHER], ['EL2 other']],
    ['NH_ALL of VMID 0', CR2.E2H, [0x10n, 0n], EL1],
    ['NH_ASID', CR2.E2H, [0x0001_0000_0000_0011n, 0n], ['EL1 asid1']],
    ['NH_VA', CR2.E2H, [0x0001_0000_0000_0012n, VA], ['EL1 asid1']],
    ['NH_VAA', CR2.E2H, [0x13n, GLOBAL], ['EL1 global']],
    ['S12_VMALL', CR2.E2H, [0x28n, 0n], EL1],
    ['NSNH_ALL', CR2.E2H, [0x30n, 0n], EL1],
  ]
  it.each(rows)('%s (CR2 %i)', (_name, cr2, command, gone) => {
    const unit = planted(cr2)
    unit.commands(command)
    expect(survivors(unit)).toEqual(ALL.filter((name) => !gone.includes(name)))
  })

  it('and lets streams of one world share what has no ASID', () => {
    const unit = planted(CR2.E2H)
    // Another stream of ASID 2 finds the global entry of its ASID set, and nothing else of ASID 1.
    expect(unit.dma(4, GLOBAL)).toBe('ok 300002000')
    expect(unit.dma(4, OTHER)).toBe('F_TRANSLATION')
    program(unit, CR2.EL2)
    stream(unit, 5, 0b10n, 77)
    expect(unit.dma(5, VA)).toBe('ok 200000000')
  })
})

describe('the EL2 commands', () => {
  it.each([
    ['EL2_ALL', [0x20n, 0n]],
    ['EL2_ASID', [0x21n, 0n]],
    ['EL2_VA', [0x22n, 0n]],
    ['EL2_VAA', [0x23n, 0n]],
  ] as [string, [bigint, bigint]][])('%s is CERROR_ILL without IDR0.Hyp', (_name, command) => {
    const without = bench(CR2.EL2, WITHOUT)
    without.commands(command)
    expect(without.read(OFFSET.CMDQ_CONS)).toBe(1 << 24)
    const having = bench(CR2.EL2)
    having.commands(command)
    expect(having.read(OFFSET.CMDQ_CONS)).toBe(1)
  })

  it.each([0x22n, 0x23n])('%i with a granule and no NUM, SCALE or TTL is CERROR_ILL', (opcode) => {
    const unit = bench(CR2.EL2)
    unit.commands([opcode, 0x400n])
    expect(unit.read(OFFSET.CMDQ_CONS)).toBe(1 << 24)
  })

  it('of EL3 and of the Secure worlds are CERROR_ILL', () => {
    for (const opcode of [0x18n, 0x1an, 0x50n, 0x51n, 0x52n, 0x53n, 0x55n]) {
      const unit = bench(CR2.EL2)
      unit.commands([opcode, 0n])
      expect(unit.read(OFFSET.CMDQ_CONS)).toBe(1 << 24)
    }
  })
})

describe('what is said of a stale entry', () => {
  function missing(unit: Bench, sid: number) {
    const transaction = new Transaction()
    transaction.rid = sid
    transaction.lo = Number(VA)
    return unit.unit.missing(transaction)
  }
  const page = [Number(VA), 0] as const

  it('names the command of its world', () => {
    const before = planted(CR2.E2H)
    expect(missing(before, 1)).toMatchObject([{ name: 'TLBI_NH_VA', operands: { VMID: 0, ASID: 1 }, page }])
    expect(missing(before, 3)).toMatchObject([{ name: 'TLBI_EL2_VA', operands: { ASID: 1 }, page }])
    expect(missing(planted(CR2.EL2), 2)).toMatchObject([{ name: 'TLBI_EL2_VA', page }])
  })

  it('names all of EL2 where CR2.E2H has moved on', () => {
    const unit = planted(CR2.E2H)
    // The STE of stream 2 is cached from the time before, and so is its world.
    expect(missing(unit, 2)).toEqual([{ name: 'TLBI_EL2_ALL', operands: {} }])
    unit.commands([0x20n, 0n])
    expect(missing(unit, 2)).toEqual([])
  })
})
