/** The descriptors of a VT-d unit that invalidate something. [VTD 6.5.2 Queued Invalidation Interface] */

import type { Invalidation } from '../../../hw-model/port.js'
import type { Command } from '../../simulation/step.js'
import { bitsOf, type Dialect, type Mistake, operandOf, operandOr0, pageOf, withBits } from './dialect.js'

/** Bits 3:0 of a descriptor; the types in use here have nothing in bits 11:9. */
const TYPE = { CONTEXT: 1n, IOTLB: 2n, PASID_IOTLB: 6n, PASID_CACHE: 7n } as const

/** Granularity, bits 5:4: of context and IOTLB descriptors global, domain, selective; of the others as named. */
const G = { GLOBAL: 1n, DOMAIN: 2n, SELECTIVE: 3n } as const
const PASID_G = { DOMAIN: 0n, PASID: 1n, GLOBAL: 3n } as const
const PASID_IOTLB_G = { ALL: 2n, PAGES: 3n } as const

const IH = 1n << 6n

/** Invalidation wait without status write, fenced. */
const WAIT: Command = [0x5n | (1n << 6n), 0n]

/** What is sent to a VT-d unit. */
export const VTD: Dialect = { mistakes, words, narrower, sync: WAIT }

function mistakes([low, high]: Command): readonly Mistake[] {
  if (bitsOf(low, 11, 9) !== 0n) return []
  const type = low & 0xfn
  const granularity = bitsOf(low, 5, 4)
  const found: Mistake[] = []
  const add = (what: string, ...instead: Command[]): void => void found.push({ what, instead })
  const hasDid = type === TYPE.PASID_CACHE ? granularity !== PASID_G.GLOBAL : granularity !== G.GLOBAL
  switch (type) {
    case TYPE.CONTEXT:
      add('dropped')
      if (granularity === G.SELECTIVE) add('wrong source-id', [low ^ (1n << 35n), high])
      if (granularity === G.GLOBAL) add('one device of all', [withBits(low, 5, 4, G.SELECTIVE), high])
      break
    case TYPE.IOTLB:
      add('dropped')
      if (granularity === G.SELECTIVE) found.push(...elsewhere(low, high))
      if (granularity === G.GLOBAL) add('one domain of all', [withBits(low, 5, 4, G.DOMAIN), high])
      break
    case TYPE.PASID_IOTLB:
      add('dropped')
      add('wrong PASID', [low ^ (1n << 32n), high])
      if (granularity === PASID_IOTLB_G.PAGES) found.push(...elsewhere(low, high))
      break
    case TYPE.PASID_CACHE:
      add('dropped')
      if (granularity === PASID_G.PASID) add('wrong PASID', [low ^ (1n << 32n), high])
      if (granularity === PASID_G.GLOBAL) add('one domain of all', [withBits(low, 5, 4, PASID_G.DOMAIN), high])
      break
    default:
      return []
  }
  if (hasDid) add('wrong DID', [low ^ (1n << 16n), high])
  return found
}

/** Another address, fewer pages, or leaves alone. [VTD 6.5.2.3 IOTLB Invalidate Descriptor] */
function elsewhere(low: bigint, high: bigint): Mistake[] {
  const am = bitsOf(high, 5, 0)
  const found: Mistake[] = [{ what: 'wrong address', instead: [[low, high ^ (0x1000n << am)]] }]
  if (am > 0n) found.push({ what: 'AM too small', instead: [[low, high - 1n]] })
  if ((high & IH) === 0n) found.push({ what: 'leaf only', instead: [[low, high | IH]] })
  return found
}

function words(invalidation: Invalidation): Command {
  const { name, page } = invalidation
  const did = operandOr0(invalidation, 'DID') << 16n
  switch (name) {
    case 'context cache':
      return [TYPE.CONTEXT | (G.SELECTIVE << 4n) | did | (operandOf(invalidation, 'SID') << 32n), 0n]
    case 'PASID cache': {
      const isOne = invalidation.operands['PASID'] !== undefined
      const granularity = isOne ? PASID_G.PASID : PASID_G.DOMAIN
      return [TYPE.PASID_CACHE | (granularity << 4n) | did | (operandOr0(invalidation, 'PASID') << 32n), 0n]
    }
    case 'IOTLB':
      if (page === undefined) return [TYPE.IOTLB | (G.DOMAIN << 4n) | did, 0n]
      return [TYPE.IOTLB | (G.SELECTIVE << 4n) | did, pagesOf(invalidation)]
    case 'P_IOTLB': {
      const low = TYPE.PASID_IOTLB | did | (operandOf(invalidation, 'PASID') << 32n)
      if (page === undefined) return [low | (PASID_IOTLB_G.ALL << 4n), 0n]
      return [low | (PASID_IOTLB_G.PAGES << 4n), pagesOf(invalidation)]
    }
    default:
      throw new Error(`no descriptor is called ${name}`)
  }
}

const pagesOf = (invalidation: Invalidation): bigint =>
  pageOf(invalidation) | (operandOr0(invalidation, 'IH') << 6n) | operandOr0(invalidation, 'AM')

/** Of each descriptor the next smaller ones that this invalidation has the operands for. */
function narrower({ name, operands, page }: Invalidation): readonly Invalidation[] {
  const { DID = 0, PASID, IH: hint, AM = 0 } = operands
  const found: Invalidation[] = []
  if (page !== undefined && (hint ?? 0) === 0) found.push({ name, operands: { ...operands, IH: 1 }, page })
  if (page !== undefined && AM > 0) found.push({ name, operands: { ...operands, AM: AM - 1 }, page })
  if (name === 'PASID cache' && PASID === undefined && operands['of'] !== undefined)
    found.push({ name, operands: { DID, PASID: operands['of'] } })
  return found
}
