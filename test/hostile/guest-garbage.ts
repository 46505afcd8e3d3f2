/**
 * Guest memory as nobody should write it: noise, tables that are almost right, tables in a circle, tables at the end of
 * memory and beyond it; and units that were pointed at it.
 */

import { pack } from '../../hw-model/bits/layout.js'
import { Memory, SparseBacking } from '../../hw-model/memory/index.js'
import type { RemappingUnit, UnitOwner } from '../../hw-model/port.js'
import {
  CD,
  idRegisters,
  OFFSET,
  PRESETS as SMMU_PRESETS,
  type PresetName as SmmuPreset,
  SmmuV3,
  STE,
} from '../../hw-model/smmuv3/index.js'
import {
  DEFAULT_PRESET,
  PASID_TABLE_ENTRY,
  presetOptions,
  REGISTER,
  SCALABLE_CONTEXT_ENTRY,
  PRESETS as VTD_PRESETS,
  type PresetName as VtdPreset,
  VtdUnit,
} from '../../hw-model/vtd/index.js'
import type { Random } from './random.js'

/** Where the guest's RAM starts. */
export const RAM_BASE = 0x10_0000

/** Bytes of it: few, so that most random addresses in it meet something. */
export const RAM_BYTES = 0x10_0000

/** What stands in guest memory. */
export const GARBAGE = ['noise', 'almost tables', 'circles', 'tables at the end'] as const

/** One of them. */
export type Garbage = (typeof GARBAGE)[number]

/** Counts what a unit tells its owner, and keeps none of it. */
export class CountingOwner implements UnitOwner {
  count = 0
  message(): void {
    this.count++
  }
  interrupt(): void {
    this.count++
  }
}

/** RAM filled with garbage of one kind. */
export function garbageMemory(random: Random, garbage: Garbage, arch: RemappingUnit['kind']): Memory {
  const memory = new Memory()
  memory.place(RAM_BASE, new SparseBacking(RAM_BYTES))
  const write = (at: number, lo: number, hi: number): void => void memory.storeWord(RAM_BASE + at, lo, hi)
  for (let at = 0; at < RAM_BYTES; at += 64) {
    const record = garbage === 'noise' || random.oneIn(3) ? undefined : entryOf(random, arch, garbage)
    for (let word = 0; word < 8; word++) {
      if (record !== undefined) write(at + word * 8, record[word * 2], record[word * 2 + 1])
      else if (garbage === 'noise') write(at + word * 8, random.u32(), random.u32())
      else {
        // A circle: every table entry leads back to the page it stands on.
        const target = garbage === 'circles' ? RAM_BASE + (at & ~0xfff) : tableAddress(random, garbage)
        const [lo, hi] = split(target)
        write(at + word * 8, (lo | random.pick(ENTRY_BITS[arch])) >>> 0, hi)
      }
    }
  }
  return memory
}

/** Low bits of table entries: next tables, leaves of each size, and none. */
const ENTRY_BITS: Readonly<Record<RemappingUnit['kind'], readonly number[]>> = {
  smmuv3: [0x3, 0x3, 0x3, 0x403, 0x7c3, 0xf47, 0x441, 0x1, 0],
  vtd: [0x3, 0x7, 0x27, 0x27, 0x67, 0xe7, 0x87, 0x1, 0],
}

/** Addresses that a hostile table may hold. */
function tableAddress(random: Random, garbage: Garbage): number {
  if (garbage === 'tables at the end') return random.pick(AT_THE_END)
  if (random.oneIn(20)) return random.pick(BEYOND)
  return RAM_BASE + (random.below(RAM_BYTES) & ~0xfff)
}

/** The last page, the page after it, and places that no bus has. */
const AT_THE_END = [RAM_BASE + RAM_BYTES - 4096, RAM_BASE + RAM_BYTES, RAM_BASE, RAM_BASE - 4096]
const BEYOND = [0, 0xfee0_0000, 2 ** 32 - 4096, 2 ** 44, 2 ** 48 - 4096, 2 ** 52 - 4096]

function entryOf(random: Random, arch: RemappingUnit['kind'], garbage: Garbage): Int32Array {
  const table = (): number => tableAddress(random, garbage)
  const record = arch === 'smmuv3' ? smmuEntry(random, table) : vtdEntry(random, table)
  const words = new Int32Array(16)
  words.set(record)
  if (record.length < 16) words.set(record, record.length)
  if (random.oneIn(3)) words[random.below(16)] ^= 1 << random.below(32)
  return words
}

function smmuEntry(random: Random, table: () => number): Int32Array {
  if (random.oneIn(2)) {
    return pack(CD, {
      T0SZ: random.pick([16, 25, 32, 39, 40, 0, 63]),
      TG0: random.pick([0, 0, 1, 2, 3]),
      EPD1: random.below(2),
      T1SZ: random.pick([16, 25]),
      TG1: random.pick([2, 1, 0]),
      V: 1,
      IPS: random.below(8),
      AFFD: random.below(2),
      AA64: 1,
      R: random.below(2),
      A: random.below(2),
      ASID: random.below(4),
      TTB0: table(),
      TTB1: table(),
    })
  }
  return pack(STE, {
    V: 1,
    Config: random.pick([0b101, 0b110, 0b111, 0b111, 0b100, 0, 1]),
    S1Fmt: random.below(4),
    S1ContextPtr: table(),
    S1CDMax: random.pick([0, 0, 4, 6, 10, 20, 31]),
    S1DSS: random.below(4),
    SHCFG: random.below(4),
    S2VMID: random.below(4),
    S2T0SZ: random.pick([16, 24, 25, 32, 0, 63]),
    S2SL0: random.below(4),
    S2TG: random.pick([0, 0, 1, 2, 3]),
    S2PS: random.below(8),
    S2AA64: 1,
    S2AFFD: random.below(2),
    S2PTW: random.below(2),
    S2R: random.below(2),
    S2TTB: table(),
  })
}

function vtdEntry(random: Random, table: () => number): Int32Array {
  if (random.oneIn(2)) {
    return pack(SCALABLE_CONTEXT_ENTRY, {
      P: 1,
      FPD: random.below(2),
      PDTS: random.below(8),
      PASIDDIRPTR: table(),
      RID_PASID: random.oneIn(2) ? 0 : random.below(2 ** 20),
    })
  }
  return pack(PASID_TABLE_ENTRY, {
    P: 1,
    FPD: random.below(2),
    AW: random.below(8),
    PGTT: random.pick([1, 2, 3, 3, 4, 0, 7]),
    SSADE: random.below(2),
    SSPTPTR: table(),
    DID: random.below(4),
    SRE: random.below(2),
    FSPM: random.pick([0, 0, 1, 2]),
    WPE: random.below(2),
    EAFE: random.below(2),
    FSPTPTR: table(),
  })
}

/** A unit with a random preset, switched on over garbage. */
export function garbageUnit(
  random: Random,
  memory: Memory,
  arch: RemappingUnit['kind'],
  owner: UnitOwner,
): RemappingUnit {
  if (arch === 'smmuv3') {
    const preset = random.pick(Object.keys(SMMU_PRESETS)) as SmmuPreset
    return new SmmuV3({ memory, owner, id: idRegisters(preset) })
  }
  const preset = random.oneIn(2) ? DEFAULT_PRESET : (random.pick(Object.keys(VTD_PRESETS)) as VtdPreset)
  return new VtdUnit(memory, owner, presetOptions(preset))
}

/** Writes a unit's registers so that it reads garbage; sometimes only nearly. */
export function programUnit(random: Random, unit: RemappingUnit): void {
  const write = (offset: number, bytes: 4 | 8, address: number, low = 0): void => {
    const [lo, hi] = split(address)
    unit.writeRegister(offset, bytes, (lo | low) >>> 0, hi)
  }
  const somewhere = (): number =>
    random.oneIn(6) ? random.pick(BEYOND) : RAM_BASE + (random.below(RAM_BYTES) & ~0xfff)
  if (unit.kind === 'smmuv3') {
    write(OFFSET.CR0, 4, 0)
    write(OFFSET.STRTAB_BASE, 8, somewhere())
    unit.writeRegister(OFFSET.STRTAB_BASE_CFG, 4, random.pick([4, 8, 0x10186, 0x1018a, random.u32()]), 0)
    write(OFFSET.CMDQ_BASE, 8, somewhere(), random.pick([4, 8, 19, 31]))
    write(OFFSET.EVENTQ_BASE, 8, somewhere(), random.pick([0, 4, 19, 31]))
    unit.writeRegister(OFFSET.IRQ_CTRL, 4, random.below(8), 0)
    unit.writeRegister(OFFSET.CMDQ_PROD, 4, random.below(64), 0)
    unit.writeRegister(OFFSET.CR0, 4, 0xd, 0)
  } else {
    write(REGISTER.RTADDR, 8, somewhere(), random.pick([0, 0x400, 0x400, 0x400, 0xc00, 0x800]))
    write(REGISTER.IQA, 8, somewhere(), random.pick([0, 0x800, 0x801, 7, 0x807]))
    unit.writeRegister(REGISTER.GCMD, 4, 1 << 30, 0)
    unit.writeRegister(REGISTER.GCMD, 4, 0x8400_0000, 0)
    unit.writeRegister(REGISTER.IQT, 8, random.below(0x80) << 4, 0)
    unit.writeRegister(REGISTER.GCMD, 4, 0x8400_0000, 0)
  }
}

/** Offsets to write at random: registers, their upper halves, and what is beside them. */
export function registerOffset(random: Random, unit: RemappingUnit): number {
  if (random.oneIn(4)) return random.below(unit.registerBytes / 8) * 8
  return random.pick(unit.kind === 'smmuv3' ? SMMU_OFFSETS : VTD_OFFSETS)
}

const SMMU_OFFSETS = [...Object.values(OFFSET), 0x10098, 0x1009c, 0x100a8, 0x100ac].filter((offset) => offset > 0x1c)
const VTD_OFFSETS = [...Object.values(REGISTER), 0xf0, 0xf8, 0x220, 0x228].filter((offset) => offset > 0x10)

/** Two halves of an exact number. */
export const split = (value: number): [lo: number, hi: number] => [value % 2 ** 32, Math.floor(value / 2 ** 32)]
