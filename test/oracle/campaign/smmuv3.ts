/** The commands of an SMMUv3 that invalidate something. [SMMU 4.3 Configuration structure invalidation] [SMMU 4.4 TLB invalidation] */

import type { Invalidation } from '../../../hw-model/port.js'
import type { Command } from '../../simulation/step.js'
import { bitsOf, type Dialect, type Mistake, operandOf, operandOr0, pageOf, withBits } from './dialect.js'

const CODES = {
  CFGI_STE: 0x03,
  CFGI_STE_RANGE: 0x04,
  CFGI_CD: 0x05,
  CFGI_CD_ALL: 0x06,
  TLBI_NH_ALL: 0x10,
  TLBI_NH_ASID: 0x11,
  TLBI_NH_VA: 0x12,
  TLBI_NH_VAA: 0x13,
  TLBI_EL2_ALL: 0x20,
  TLBI_EL2_ASID: 0x21,
  TLBI_EL2_VA: 0x22,
  TLBI_EL2_VAA: 0x23,
  TLBI_S12_VMALL: 0x28,
  TLBI_S2_IPA: 0x2a,
  TLBI_NSNH_ALL: 0x30,
  ATC_INV: 0x40,
  SYNC: 0x46,
} as const

type Name = keyof typeof CODES

const NAMES = new Map(Object.entries(CODES).map(([name, code]) => [BigInt(code), name as Name]))

/** Range of CMD_CFGI_STE_RANGE that means every stream, and then the command is CMD_CFGI_ALL. */
const EVERY_STREAM = 31n
const PAGE = 0x1000n

const HAS_VMID: ReadonlySet<Name> = new Set([
  ...(['TLBI_NH_ALL', 'TLBI_NH_ASID', 'TLBI_NH_VA', 'TLBI_NH_VAA', 'TLBI_S12_VMALL', 'TLBI_S2_IPA'] as const),
])
const HAS_ASID: ReadonlySet<Name> = new Set(['TLBI_NH_ASID', 'TLBI_NH_VA', 'TLBI_EL2_ASID', 'TLBI_EL2_VA'])
const HAS_ADDRESS: ReadonlySet<Name> = new Set([
  ...(['TLBI_NH_VA', 'TLBI_NH_VAA', 'TLBI_EL2_VA', 'TLBI_EL2_VAA', 'TLBI_S2_IPA'] as const),
])
const HAS_SID: ReadonlySet<Name> = new Set(['CFGI_STE', 'CFGI_CD', 'CFGI_CD_ALL'])
const HAS_LEAF: ReadonlySet<Name> = new Set(['CFGI_STE', 'CFGI_CD', ...HAS_ADDRESS])

/** CMD_SYNC without a signal. */
const SYNC: Command = [0x46n, 0n]

/** What is sent to an SMMUv3. */
export const SMMUV3: Dialect = { mistakes, words, narrower, sync: SYNC }

function mistakes(command: Command): readonly Mistake[] {
  const [low, high] = command
  const name = NAMES.get(low & 0xffn)
  if (name === undefined || name === 'ATC_INV') return []
  const found: Mistake[] = [{ what: name === 'SYNC' ? 'no SYNC' : 'dropped', instead: [] }]
  const add = (what: string, ...instead: Command[]): void => void found.push({ what, instead })
  if (HAS_VMID.has(name)) add('wrong VMID', [low ^ (1n << 32n), high])
  if (HAS_ASID.has(name)) add('wrong ASID', [low ^ (1n << 48n), high])
  if (HAS_SID.has(name)) add('wrong StreamID', [low ^ (1n << 32n), high])
  if (name === 'CFGI_CD') add('wrong SubstreamID', [low ^ (1n << 12n), high])
  if (name === 'CFGI_CD_ALL') add('one CD of all', [withBits(low, 7, 0, 0x05n), 1n])
  if (name === 'CFGI_STE_RANGE') found.push(...shorterStreams(low, high))
  if (HAS_LEAF.has(name) && (high & 1n) === 0n) add('leaf only', [low, high | 1n])
  if (HAS_ADDRESS.has(name)) found.push(...elsewhere(low, high))
  return found
}

function shorterStreams(low: bigint, high: bigint): Mistake[] {
  const range = bitsOf(high, 4, 0)
  if (range === EVERY_STREAM) return [{ what: 'one stream of all', instead: [[0x03n, 0n]] }]
  return range === 0n ? [] : [{ what: 'range too short', instead: [[low, withBits(high, 4, 0, range - 1n)]] }]
}

/** Another address, or less of the range. NUM, SCALE, TTL and TG. [SMMU 4.4.1.1 Range-based invalidation and level hint] */
function elsewhere(low: bigint, high: bigint): Mistake[] {
  const hasRange = bitsOf(high, 11, 10) !== 0n
  const scale = bitsOf(low, 25, 20)
  const found: Mistake[] = [{ what: 'wrong address', instead: [[low, high ^ (PAGE << (hasRange ? scale + 4n : 0n))]] }]
  if (hasRange && scale > 1n)
    found.push({ what: 'range too short', instead: [[withBits(low, 25, 20, scale - 1n), high]] })
  return found
}

function words(invalidation: Invalidation): Command {
  const name = invalidation.name as Name
  const code = CODES[name]
  if (code === undefined) throw new Error(`no command is called ${name}`)
  const opcode = BigInt(code)
  const leaf = operandOr0(invalidation, 'Leaf')
  switch (name) {
    case 'CFGI_STE':
      return [opcode | (operandOf(invalidation, 'SID') << 32n), leaf]
    case 'CFGI_STE_RANGE':
      return [opcode | (operandOr0(invalidation, 'SID') << 32n), operandOf(invalidation, 'Range')]
    case 'CFGI_CD':
      return [opcode | (operandOf(invalidation, 'SID') << 32n) | (operandOf(invalidation, 'SSID') << 12n), leaf]
    case 'CFGI_CD_ALL':
      return [opcode | (operandOf(invalidation, 'SID') << 32n), 0n]
    default:
      return tlbi(name, opcode, leaf, invalidation)
  }
}

function tlbi(name: Name, opcode: bigint, leaf: bigint, invalidation: Invalidation): Command {
  let low = opcode
  if (HAS_VMID.has(name)) low |= operandOf(invalidation, 'VMID') << 32n
  if (HAS_ASID.has(name)) low |= operandOr0(invalidation, 'ASID') << 48n
  if (!HAS_ADDRESS.has(name)) return [low, 0n]
  for (const [field, at] of [
    ['NUM', 12n],
    ['SCALE', 20n],
  ] as const) {
    low |= operandOr0(invalidation, field) << at
  }
  const high = (operandOr0(invalidation, 'TTL') << 8n) | (operandOr0(invalidation, 'TG') << 10n) | leaf
  return [low, pageOf(invalidation) | high]
}

/** Of each command the next smaller ones that this invalidation has the operands for. */
function narrower(invalidation: Invalidation): readonly Invalidation[] {
  const { name, operands, page } = invalidation
  const { VMID = 0, ASID, SID = 0, SSID, Leaf } = operands
  const by = (other: Name, its: Readonly<Record<string, number>>): Invalidation => ({
    name: other,
    operands: its,
    ...(page === undefined || !HAS_ADDRESS.has(other) ? {} : { page }),
  })
  const found: Invalidation[] = []
  if (HAS_LEAF.has(name as Name) && (Leaf ?? 0) === 0) found.push(by(name as Name, { ...operands, Leaf: 1 }))
  switch (name as Name) {
    case 'TLBI_NH_VAA':
      if (ASID !== undefined) found.push(by('TLBI_NH_VA', { ...operands, ASID }))
      break
    case 'TLBI_NH_ASID':
      if (page !== undefined) found.push(by('TLBI_NH_VA', { VMID, ASID: ASID ?? 0, Leaf: 0 }))
      break
    case 'TLBI_NH_ALL':
      if (page !== undefined) found.push(by('TLBI_NH_VAA', { VMID, Leaf: 0 }))
      break
    case 'TLBI_S12_VMALL':
      found.push(by('TLBI_NH_ALL', { VMID }))
      if (page !== undefined) found.push(by('TLBI_S2_IPA', { VMID, Leaf: 0 }))
      break
    case 'TLBI_NSNH_ALL':
      found.push(by('TLBI_S12_VMALL', { VMID }))
      break
    case 'CFGI_STE':
      if (SSID !== undefined) found.push(by('CFGI_CD', { SID, SSID, Leaf: 0 }))
      else found.push(by('CFGI_CD_ALL', { SID }))
      break
    case 'CFGI_CD_ALL':
      if (SSID !== undefined) found.push(by('CFGI_CD', { SID, SSID, Leaf: 0 }))
      break
    case 'CFGI_STE_RANGE':
      found.push(by('CFGI_STE', { SID, Leaf: 0 }))
      break
    default:
      break
  }
  return found
}
