/** Which bits of the registers there are, and what guards them. Those that are reserved read as zero. [SMMU 6.2 Register overview] */

import { pack } from '../bits/layout.js'
import type { Features } from './features.js'
import type { RegisterFile } from './register-file.js'
import {
  CMDQ_CONS,
  CR0,
  CR2,
  EVENTQ_CONS,
  EVENTQ_PROD,
  ID_REGS,
  IIDR,
  IRQ_CFG0,
  IRQ_CFG2,
  IRQ_CTRL,
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

/** Registers that say how a walk begins, or that there is none. */
const LEADING: ReadonlySet<number> = new Set([
  OFFSET.CR0,
  OFFSET.CR2,
  OFFSET.GBPA,
  OFFSET.STRTAB_BASE,
  OFFSET.STRTAB_BASE + 4,
  OFFSET.STRTAB_BASE_CFG,
])

/** Whether what is written to an offset may lead walks elsewhere. */
export const leadsWalks = (offset: number): boolean => LEADING.has(offset)

/** A word that keeps what software writes into it. */
export interface StoredWord {
  /** Which bits it has. */
  readonly bits: number
  /** Where its guard stands, and the guard's bit: the word changes only while that is 0. No bit guards nothing. */
  readonly guardAt: number
  readonly guardBit: number
}

type Guard = Pick<StoredWord, 'guardAt' | 'guardBit'>

const by = (offset: number, field: Bits): Guard => ({ guardAt: offset, guardBit: mask(field) })
const UNGUARDED: Guard = { guardAt: OFFSET.CR0, guardBit: 0 }
const SMMUEN = by(OFFSET.CR0, CR0.SMMUEN)

/** Where the registers of a queue that the unit writes stand. */
interface OutputQueue {
  readonly base: number
  readonly prod: number
  readonly cons: number
  readonly guard: Guard
}

const EVENT_QUEUE: OutputQueue = {
  base: OFFSET.EVENTQ_BASE,
  prod: OFFSET.EVENTQ_PROD,
  cons: OFFSET.EVENTQ_CONS,
  guard: by(OFFSET.CR0, CR0.EVENTQEN),
}
/** Its guard is what PRIQEN says itself, whatever SMMUEN does. [SMMU 6.3.9.5 PRIQEN] */
const PRI_QUEUE: OutputQueue = {
  base: OFFSET.PRIQ_BASE,
  prod: OFFSET.PRIQ_PROD,
  cons: OFFSET.PRIQ_CONS,
  guard: by(OFFSET.CR0, CR0.PRIQEN),
}

/** Where the first of the MSI registers of a source stands, and what switches the source on. */
const MSI_SOURCES: readonly (readonly [cfg0: number, guard: Guard])[] = [
  [OFFSET.GERROR_IRQ_CFG0, by(OFFSET.IRQ_CTRL, IRQ_CTRL.GERROR_IRQEN)],
  [OFFSET.EVENTQ_IRQ_CFG0, by(OFFSET.IRQ_CTRL, IRQ_CTRL.EVENTQ_IRQEN)],
  [OFFSET.PRIQ_IRQ_CFG0, by(OFFSET.IRQ_CTRL, IRQ_CTRL.PRIQ_IRQEN)],
]
/** CFG1 and CFG2 stand this far behind CFG0. */
const CFG1 = 8
const CFG2 = 12

/**
 * The words that keep what is written, by offset: those of tables, queues and interrupts. An address has no bits above
 * the output size. [SMMU 6.2 Register overview] [SMMU 6.3.24 SMMU_STRTAB_BASE] [SMMU 6.3.21 SMMU_GERROR_IRQ_CFG0]
 */
export function storedWords(features: Features): ReadonlyMap<number, StoredWord> {
  const { twoLevelStreams, hyp, atsRecordsErrors, msi, pri, oasBits } = features
  const stored = new Map<number, StoredWord>()
  const physical = ({ high, low }: Bits): Bits => ({ high: Math.min(high, oasBits - 1), low })
  const word = (offset: number, guard: Guard, ...fields: readonly Bits[]): void => {
    stored.set(offset, { bits: maskOf(0, fields), ...guard })
  }
  const wide = (offset: number, guard: Guard, ...fields: readonly Bits[]): void => {
    word(offset, guard, ...fields)
    stored.set(offset + 4, { bits: maskOf(1, fields), ...guard })
  }
  const queueBase = (offset: number, guard: Guard): void =>
    wide(offset, guard, QUEUE_BASE.LOG2SIZE, physical(QUEUE_BASE.ADDR), QUEUE_BASE.RA)

  // PTM is reserved where nothing is broadcast: IDR0.BTM is 0.
  word(OFFSET.CR2, SMMUEN, CR2.RECINVSID, ...(hyp ? [CR2.E2H] : []), ...(atsRecordsErrors ? [CR2.REC_CFG_ATS] : []))
  wide(OFFSET.STRTAB_BASE, SMMUEN, physical(STRTAB_BASE.ADDR), STRTAB_BASE.RA)
  const { LOG2SIZE, SPLIT, FMT } = STRTAB_BASE_CFG
  word(OFFSET.STRTAB_BASE_CFG, SMMUEN, LOG2SIZE, ...(twoLevelStreams ? [SPLIT, FMT] : []))

  queueBase(OFFSET.CMDQ_BASE, by(OFFSET.CR0, CR0.CMDQEN))
  word(OFFSET.CMDQ_PROD, UNGUARDED, CMDQ_CONS.RD)
  word(OFFSET.CMDQ_CONS, by(OFFSET.CR0, CR0.CMDQEN), CMDQ_CONS.RD)
  for (const { base, prod, cons, guard } of pri ? [EVENT_QUEUE, PRI_QUEUE] : [EVENT_QUEUE]) {
    queueBase(base, guard)
    word(prod, guard, EVENTQ_PROD.WR, EVENTQ_PROD.OVFLG)
    word(cons, UNGUARDED, EVENTQ_CONS.RD, EVENTQ_CONS.OVACKFLG)
  }

  for (const [cfg0, guard] of MSI_SOURCES) {
    const hasLastOnly = cfg0 === OFFSET.PRIQ_IRQ_CFG0
    if (hasLastOnly && !pri) continue
    // LO is not about MSIs. [SMMU 6.3.1 SMMU_IDR0 MSI]
    const lastOnly = hasLastOnly ? [IRQ_CFG2.LO] : []
    word(cfg0 + CFG2, guard, ...lastOnly, ...(msi ? [IRQ_CFG2.MemAttr, IRQ_CFG2.SH] : []))
    if (!msi) continue
    wide(cfg0, guard, physical(IRQ_CFG0.ADDR))
    stored.set(cfg0 + CFG1, { bits: -1, ...guard })
  }
  return stored
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
