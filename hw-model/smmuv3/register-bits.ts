/** Which bits of the registers there are: those that are reserved read as zero. [SMMU 6.2 Register overview] */

import { pack } from '../bits/layout.js'
import type { Features } from './features.js'
import type { RegisterFile } from './register-file.js'
import {
  CMDQ_CONS,
  ID_REGS,
  IIDR,
  IRQ_CFG0,
  IRQ_CFG2,
  OFFSET,
  QUEUE_BASE,
  STRTAB_BASE,
  STRTAB_BASE_CFG,
} from './registers.js'

/** Where a field stands. */
interface Bits {
  readonly high: number
  readonly low: number
}

/** The bits of some fields in a word of 32. */
export function mask(...fields: readonly Bits[]): number {
  return maskOf(0, fields)
}

function maskOf(word: number, fields: readonly Bits[]): number {
  let bits = 0
  for (const { high, low } of fields) {
    for (let b = low; b <= high; b++) if (b >>> 5 === word) bits |= 1 << b
  }
  return bits
}

/**
 * What a write leaves of each word of the registers for tables, queues and interrupts, by offset. An address has no
 * bits above the output size. [SMMU 6.3.24 SMMU_STRTAB_BASE] [SMMU 6.3.21 SMMU_GERROR_IRQ_CFG0]
 */
export function keptBits(features: Features): ReadonlyMap<number, number> {
  const kept = new Map<number, number>()
  const physical = ({ high, low }: Bits): Bits => ({ high: Math.min(high, features.oasBits - 1), low })
  const wide = (offset: number, ...fields: readonly Bits[]): void => {
    kept.set(offset, maskOf(0, fields)).set(offset + 4, maskOf(1, fields))
  }
  const { LOG2SIZE, SPLIT, FMT } = STRTAB_BASE_CFG
  wide(OFFSET.STRTAB_BASE, physical(STRTAB_BASE.ADDR), STRTAB_BASE.RA)
  kept.set(OFFSET.STRTAB_BASE_CFG, features.twoLevelStreams ? mask(LOG2SIZE, SPLIT, FMT) : mask(LOG2SIZE))
  for (const offset of [OFFSET.CMDQ_BASE, OFFSET.EVENTQ_BASE, OFFSET.PRIQ_BASE]) {
    wide(offset, QUEUE_BASE.LOG2SIZE, physical(QUEUE_BASE.ADDR), QUEUE_BASE.RA)
  }
  for (const offset of [OFFSET.GERROR_IRQ_CFG0, OFFSET.EVENTQ_IRQ_CFG0, OFFSET.PRIQ_IRQ_CFG0]) {
    wide(offset, physical(IRQ_CFG0.ADDR))
  }
  const { MemAttr, SH, LO } = IRQ_CFG2
  kept.set(OFFSET.GERROR_IRQ_CFG2, mask(MemAttr, SH)).set(OFFSET.EVENTQ_IRQ_CFG2, mask(MemAttr, SH))
  // LO is not about MSIs. [SMMU 6.3.1 SMMU_IDR0 MSI]
  kept.set(OFFSET.PRIQ_IRQ_CFG2, features.msi ? mask(MemAttr, SH, LO) : mask(LO))
  return kept
}

/** An index of the unit shows nothing above the wrap flag of its queue's size. [SMMU 6.3.28 SMMU_CMDQ_CONS] */
export function shownBits(registers: RegisterFile, features: Features, offset: number): number {
  switch (offset) {
    case OFFSET.CMDQ_CONS:
      return indexBits(registers, OFFSET.CMDQ_BASE, features.commandQueueLg2)
    case OFFSET.EVENTQ_PROD:
      return indexBits(registers, OFFSET.EVENTQ_BASE, features.eventQueueLg2)
    case OFFSET.PRIQ_PROD:
      return indexBits(registers, OFFSET.PRIQ_BASE, features.priQueueLg2)
    default:
      return -1
  }
}

function indexBits(registers: RegisterFile, base: number, limitLg2: number): number {
  const sizeLg2 = Math.min(QUEUE_BASE.LOG2SIZE.get(registers.words, base >>> 2), limitLg2)
  return ~mask(CMDQ_CONS.RD) | (2 ** (sizeLg2 + 1) - 1)
}

/** The preamble of every component, around its class, 0xF. */
const COMPONENT = { CIDR0: 0x0d, CIDR1: 0xf0, CIDR2: 0x05, CIDR3: 0xb1 } as const

/** The identification registers that go with an IIDR. [SMMU 6.3.170 ID_REGS] [SMMU 6.3.7 SMMU_IIDR] */
export function componentIds(iidr: number): Int32Array {
  const words = Int32Array.of(iidr)
  const part = IIDR.ProductID.get(words, 0)
  // JEP106: a continuation code, and seven bits of identity.
  const designer = IIDR.Implementer.get(words, 0)
  return pack(ID_REGS, {
    ...COMPONENT,
    PART_0: part % 256,
    PART_1: Math.floor(part / 256),
    DES_0: designer % 16,
    DES_1: Math.floor(designer / 16) % 8,
    DES_2: Math.floor(designer / 256),
    JEDEC: 1,
    REVISION: IIDR.Variant.get(words, 0),
    REVAND: IIDR.Revision.get(words, 0),
  })
}
