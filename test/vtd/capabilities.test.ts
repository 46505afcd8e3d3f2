/** [VTD 11.4.2 Capability Register, 11.4.3 Extended Capability Register]: what a unit may say of itself. */

import { describe, expect, it } from 'vitest'
import { decodeCapabilities, type IdRegisters, PRESETS } from '../../hw-model/vtd/index.js'
import { Guest, MODE, REG, SID, SS } from './guest.js'

/** Bits of ECAP by the manual's names. */
const BIT = {
  QI: 1,
  DT: 2,
  MTS: 25,
  NEST: 26,
  PRS: 29,
  ERS: 30,
  SRS: 31,
  NWFS: 33,
  EAFS: 34,
  PSS: 35,
  PASID: 40,
  DIT: 41,
  PDS: 42,
  SMTS: 43,
  VCS: 44,
  SSADS: 45,
  SSTS: 46,
  FSTS: 47,
  SMPWCS: 48,
  RPS: 49,
  TDXCS: 50,
  PMS: 51,
  RPRIVS: 53,
  HPTS: 55,
  PTRS: 56,
  SSIRWS: 57,
  SMS: 58,
  HPT1GPS: 59,
  RDTS: 60,
} as const

type Name = keyof typeof BIT

/** "Hardware implementations reporting … as Clear also report this field as Clear." */
const RULES: readonly (readonly [Name, readonly Name[]])[] = [
  ['DT', ['QI']],
  ['NEST', ['SMTS', 'FSTS', 'SSTS']],
  ['PRS', ['DT', 'SMTS']],
  ['SRS', ['SMTS']],
  ['NWFS', ['DT']],
  ['EAFS', ['FSTS', 'SMPWCS']],
  ['PSS', ['SMTS']],
  ['PASID', ['SMTS']],
  ['DIT', ['DT']],
  ['PDS', ['DT']],
  ['SMTS', ['QI']],
  ['SSADS', ['SMPWCS']],
  ['FSTS', ['SMTS']],
  ['SMPWCS', ['SMTS']],
  ['RPS', ['SMTS']],
  ['RPRIVS', ['SRS']],
  ['PTRS', ['DT', 'PASID']],
  ['SSIRWS', ['SSTS']],
  ['SMS', ['PRS']],
]

const IRO = 0xf00n
const halves = (word: bigint): readonly [number, number] => [Number(word & 0xffff_ffffn), Number(word >> 32n)]
const legacy = PRESETS['vtd-legacy']
const decode = (ids: Partial<IdRegisters>) => decodeCapabilities({ ...legacy, ...ids })
const withEcap = (word: bigint, cap: readonly [number, number] = legacy.CAP) => decode({ ECAP: halves(word), CAP: cap })

/** The bit of a name and of everything that it needs, but for one name and what needs that one alone. */
function closure(name: Name, but?: Name): bigint {
  const needed = RULES.find(([one]) => one === name)?.[1] ?? []
  let word = 1n << BigInt(BIT[name])
  for (const other of needed) if (other !== but) word |= closure(other, but)
  return word
}

describe('a field of ECAP that depends on others', () => {
  const cases = RULES.flatMap(([name, needed]) => needed.map((other) => [name, other] as const))

  it.each(cases)('%s is refused without %s', (name, other) => {
    expect(() => withEcap(IRO | closure(name, other))).toThrow(`needs ECAP.${other}`)
  })

  it.each(RULES.map(([name]) => name))('%s is taken with all that it needs', (name) => {
    expect(withEcap(IRO | closure(name)).ecap[name]).toBe(1)
  })

  it('is not SSTS: a unit of version 6 without scalable mode says by it that legacy mode has widths', () => {
    expect(decode({ VER: 0x60, ECAP: halves(IRO | (1n << 46n)) }).cap.SAGAW).toBe(6)
  })
})

describe('a field that the model lacks', () => {
  it.each(['MTS', 'ERS', 'VCS', 'TDXCS', 'PMS', 'RDTS'] as const)('is refused by name: ECAP.%s', (name) => {
    const scalable = PRESETS['vtd-full'].ECAP
    const word = ((BigInt(scalable[1]) << 32n) | BigInt(scalable[0]) | (1n << BigInt(BIT[name]))) & ~(1n << 63n)
    expect(() => decodeCapabilities({ ...PRESETS['vtd-full'], ECAP: halves(word) })).toThrow(
      `ECAP.${name} is not offered`,
    )
  })

  it('is refused by name: CAP.ECMDS', () => {
    expect(() => decode({ CAP: [legacy.CAP[0], (legacy.CAP[1] | (1 << 29)) >>> 0] })).toThrow(
      'CAP.ECMDS is not offered',
    )
  })
})

describe('a value that no unit may have', () => {
  const cap = (lo: number, clearLo: number, hi = 0, clearHi = 0): Partial<IdRegisters> => ({
    CAP: [((legacy.CAP[0] & ~clearLo) | lo) >>> 0, ((legacy.CAP[1] & ~clearHi) | hi) >>> 0],
  })

  it.each([
    ['ND 7', cap(7, 7), 'CAP.ND'],
    ['SAGAW bit 0', cap(0x100, 0), 'CAP.SAGAW has only'],
    ['SAGAW bit 4', cap(0x1000, 0), 'CAP.SAGAW has only'],
    ['no SAGAW and no first stage', cap(0, 0x1f00), 'CAP.SAGAW names no width'],
    ['SSLPS 2: 1 GiB without 2 MiB', cap(0, 0, 8, 0x3c), 'CAP.SSLPS'],
    ['SSLPS 4', cap(0, 0, 0x10, 0x3c), 'CAP.SSLPS'],
    ['FS1GP without a first stage', cap(0, 0, 1 << 24), 'CAP.FS1GP'],
    ['FS5LP without a first stage', cap(0, 0, 1 << 28), 'CAP.FS5LP'],
    ['MGAW of 38 bits', cap(37 << 16, 0x3f << 16), 'CAP.MGAW'],
    ['MGAW of 58 bits', cap(57 << 16, 0x3f << 16), 'CAP.MGAW'],
    ['a host width of 38 bits', { hawBits: 38 }, 'host address width'],
    ['a host width of 53 bits', { hawBits: 53 }, 'host address width'],
    ['PASIDs of 21 bits', { ECAP: halves(IRO | 2n | (1n << 43n) | (20n << 35n)) }, 'ECAP.PSS'],
  ] as const)('is refused: %s', (_name, ids, message) => {
    expect(() => decode(ids)).toThrow(message)
  })

  it('is not one of these', () => {
    expect(decode(cap(0, 7)).didBits).toBe(4)
    expect(decode(cap(0, 0, 0, 0x3c)).cap.SSLPS).toBe(0)
    expect(decode(cap(0, 0, 4, 0x3c)).cap.SSLPS).toBe(1)
    expect(decode(cap(0x200, 0x1f00)).agawBits).toBe(39)
    expect(decode(cap(38 << 16, 0x3f << 16)).hawBits).toBe(39)
    const firstStage = PRESETS['qemu-first-stage']
    const wide = [firstStage.CAP[0] & ~0x1f00, (firstStage.CAP[1] | (1 << 28)) >>> 0] as const
    expect(decodeCapabilities({ ...firstStage, CAP: wide }).agawBits).toBe(57)
  })
})

describe('[VTD 11.4.4.1 TE] translation that goes off', () => {
  it.each([
    ['keeps the caches without scalable mode', 'vtd-legacy', '0x300000'],
    ['empties the caches with scalable mode', 'vtd-scalable', '0x500000'],
  ] as const)('%s', (_name, preset, answer) => {
    const guest = new Guest({ preset })
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, 0x110001n, 0x302n)
    guest.path(0x110000, 0x40_0000n, 0x30_0000n | SS.RW, SS.RW)
    guest.start(MODE.LEGACY)
    expect(guest.dma(0x40_0000n)).toBe('0x300000')
    guest.store(0x113000, 0x50_0000n | SS.RW)
    guest.stop()
    guest.write(REG.GCMD, 1n << 31n)
    expect(guest.dma(0x40_0000n)).toBe(answer)
  })
})

describe('a message beyond what memory can have', () => {
  it('is its owner’s alone', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.write(REG.FEADDR, 0x1000n)
    guest.write(REG.FEADDR + 4, 0x10_0000n)
    guest.write(REG.FECTL, 0n)
    guest.dma(0x7000n)
    expect(guest.messages).toEqual([[2 ** 52 + 0x1000, 0]])
    expect(guest.load(0x1000) & 1n).toBe(1n)
  })
})
