/**
 * Descriptors by name and operands, and why one that was sent does not reach what another would have: the wrong domain,
 * the wrong addresses, leaves alone, another cache. [VTD 6.5.2, 6.5.3.3 Guidance to Software for Invalidations, T28]
 */

import { pageOf } from '../bits/address.js'
import type { Invalidation } from '../port.js'
import {
  CONTEXT_CACHE_INVALIDATE,
  DESCRIPTOR_TYPE,
  DEVICE_TLB_INVALIDATE,
  GRANULARITY,
  HPT_CACHE_INVALIDATE,
  IOTLB_INVALIDATE,
  PASID_CACHE_GRANULARITY,
  PASID_CACHE_INVALIDATE,
  PASID_DEVICE_TLB_INVALIDATE,
  PASID_IOTLB_GRANULARITY,
  PASID_IOTLB_INVALIDATE,
} from './descriptors.js'

/** Their names. */
export const COMMAND = {
  CONTEXT: 'context cache',
  PASID: 'PASID cache',
  IOTLB: 'IOTLB',
  PASID_IOTLB: 'P_IOTLB',
  DEVICE: 'DEV_IOTLB',
  PASID_DEVICE: 'P_DEV_IOTLB',
  PERMISSIONS: 'HPT cache',
  WAIT: 'wait',
} as const

/** No descriptor: everything is forgotten. [VTD 6.6, 11.4.4.1] */
export const EVERYTHING: Invalidation = { name: 'everything', operands: {} }

/** A descriptor that was carried out; operands that its granularity ignores are left out. */
export function commandOf(type: number, words: Int32Array): Invalidation {
  switch (type) {
    case DESCRIPTOR_TYPE.CONTEXT_CACHE:
      return contextCommand(words)
    case DESCRIPTOR_TYPE.PASID_CACHE:
      return pasidCommand(words)
    case DESCRIPTOR_TYPE.IOTLB:
      return iotlbCommand(words)
    case DESCRIPTOR_TYPE.PASID_IOTLB:
      return pasidIotlbCommand(words)
    case DESCRIPTOR_TYPE.DEVICE_TLB: {
      const { SID, S, ADDR } = DEVICE_TLB_INVALIDATE
      const operands = { SID: SID.get(words, 0), S: S.get(words, 0) }
      return { name: COMMAND.DEVICE, operands, page: [ADDR.lo(words, 0) >>> 0, ADDR.hi(words, 0) >>> 0] }
    }
    case DESCRIPTOR_TYPE.PASID_DEVICE_TLB: {
      const { SID, PASID, GI, S, ADDR } = PASID_DEVICE_TLB_INVALIDATE
      const whose: Record<string, number> = GI.get(words, 0) === 0 ? { PASID: PASID.get(words, 0) } : { GI: 1 }
      const operands = { SID: SID.get(words, 0), ...whose, S: S.get(words, 0) }
      return { name: COMMAND.PASID_DEVICE, operands, page: [ADDR.lo(words, 0) >>> 0, ADDR.hi(words, 0) >>> 0] }
    }
    default:
      return permissionCommand(words)
  }
}

function contextCommand(words: Int32Array): Invalidation {
  const { G, DID, SID, FM } = CONTEXT_CACHE_INVALIDATE
  const granularity = G.get(words, 0)
  if (granularity === GRANULARITY.GLOBAL) return { name: COMMAND.CONTEXT, operands: {} }
  const did = { DID: DID.get(words, 0) }
  if (granularity === GRANULARITY.DOMAIN) return { name: COMMAND.CONTEXT, operands: did }
  const fm = FM.get(words, 0)
  return { name: COMMAND.CONTEXT, operands: { SID: SID.get(words, 0), ...did, ...(fm === 0 ? {} : { FM: fm }) } }
}

function pasidCommand(words: Int32Array): Invalidation {
  const { G, DID, PASID } = PASID_CACHE_INVALIDATE
  const granularity = G.get(words, 0)
  if (granularity === PASID_CACHE_GRANULARITY.GLOBAL) return { name: COMMAND.PASID, operands: {} }
  const did = { DID: DID.get(words, 0) }
  const isDomain = granularity === PASID_CACHE_GRANULARITY.DOMAIN
  return { name: COMMAND.PASID, operands: isDomain ? did : { ...did, PASID: PASID.get(words, 0) } }
}

function iotlbCommand(words: Int32Array): Invalidation {
  const { G, DID, AM, IH, ADDR } = IOTLB_INVALIDATE
  const granularity = G.get(words, 0)
  if (granularity === GRANULARITY.GLOBAL) return { name: COMMAND.IOTLB, operands: {} }
  const did = { DID: DID.get(words, 0) }
  if (granularity === GRANULARITY.DOMAIN) return { name: COMMAND.IOTLB, operands: did }
  const operands = { ...did, AM: AM.get(words, 0), IH: IH.get(words, 0) }
  return { name: COMMAND.IOTLB, operands, page: [ADDR.lo(words, 0) >>> 0, ADDR.hi(words, 0) >>> 0] }
}

function pasidIotlbCommand(words: Int32Array): Invalidation {
  const { G, DID, PASID, AM, IH, ADDR } = PASID_IOTLB_INVALIDATE
  const whose = { DID: DID.get(words, 0), PASID: PASID.get(words, 0) }
  if (G.get(words, 0) === PASID_IOTLB_GRANULARITY.PASID) return { name: COMMAND.PASID_IOTLB, operands: whose }
  const operands = { ...whose, AM: AM.get(words, 0), IH: IH.get(words, 0) }
  return { name: COMMAND.PASID_IOTLB, operands, page: [ADDR.lo(words, 0) >>> 0, ADDR.hi(words, 0) >>> 0] }
}

function permissionCommand(words: Int32Array): Invalidation {
  const { G, HPTDID, AM, IH, ADDR } = HPT_CACHE_INVALIDATE
  const granularity = G.get(words, 0)
  if (granularity === GRANULARITY.GLOBAL) return { name: COMMAND.PERMISSIONS, operands: {} }
  const operands = { HPTDID: HPTDID.get(words, 0), IH: IH.get(words, 0) }
  if (granularity === GRANULARITY.DOMAIN) return { name: COMMAND.PERMISSIONS, operands }
  const page = [ADDR.lo(words, 0) >>> 0, ADDR.hi(words, 0) >>> 0] as const
  return { name: COMMAND.PERMISSIONS, operands: { ...operands, AM: AM.get(words, 0) }, page }
}

/** What is stale, as far as the descriptors that drop it differ. */
export interface Target {
  readonly needed: Invalidation
  /** PASID that the translation is tagged with. */
  readonly pasid: number
  /** The context cache has no domain tag. */
  readonly isScalable: boolean
  /** Bits of a domain-id that the unit looks at. */
  readonly didMask: number
}

/**
 * What keeps `sent` from dropping what `target.needed` would have, each in a few words; null where it has nothing to do
 * with it.
 */
export function shortfalls(sent: Invalidation, target: Target): readonly string[] | null {
  const { needed } = target
  if (sent.name === EVERYTHING.name) return []
  if (FAMILY[sent.name] === FAMILY[needed.name]) {
    return FAMILY[needed.name] === 'translations' ? wrongTranslations(sent, target) : wrongOperands(sent, target)
  }
  // Another cache of the same domain: it was meant well.
  const isOfIt = sent.operands['DID'] !== undefined && sent.operands['DID'] === needed.operands['DID']
  return isOfIt && sent.name in ELSEWHERE ? [ELSEWHERE[sent.name]] : null
}

/** Descriptors that can stand for each other. */
const FAMILY: Readonly<Record<string, string>> = {
  [COMMAND.CONTEXT]: 'contexts',
  [COMMAND.PASID]: 'pasids',
  [COMMAND.IOTLB]: 'translations',
  [COMMAND.PASID_IOTLB]: 'translations',
  [COMMAND.DEVICE]: 'devices',
  [COMMAND.PASID_DEVICE]: 'devices',
  [COMMAND.PERMISSIONS]: 'permissions',
}

const ELSEWHERE: Readonly<Record<string, string>> = {
  [COMMAND.CONTEXT]: 'drops context entries alone',
  [COMMAND.PASID]: 'drops PASID-cache entries alone',
  [COMMAND.IOTLB]: 'drops translations and table entries alone',
  [COMMAND.PASID_IOTLB]: 'drops translations and table entries alone',
}

/** Those of context, PASID and host permission entries. */
function wrongOperands(command: Invalidation, target: Target): string[] {
  const { name, operands: sent } = command
  const { operands: needed } = target.needed
  const wrongs: string[] = []
  // In scalable mode the domain form of a context-cache invalidation is the global one. [VTD 6.5.2.1]
  const isByDomain = name !== COMMAND.CONTEXT || !target.isScalable
  if (isByDomain) wrongs.push(...wrong('DID', sent['DID'], needed['DID'], target.didMask))
  wrongs.push(...wrong('SID', sent['SID'], needed['SID'], ~(FM_BITS[sent['FM'] ?? 0] ?? 0)))
  wrongs.push(...wrong('PASID', sent['PASID'], needed['PASID']))
  wrongs.push(...wrong('HPTDID', sent['HPTDID'], needed['HPTDID'], target.didMask))
  if (name === COMMAND.PERMISSIONS && (sent['IH'] ?? 0) < (needed['IH'] ?? 0))
    wrongs.push('entries of lower levels alone')
  return [...wrongs, ...wrongRange(command, target.needed)]
}

/** Source-id bits that are ignored. [VTD 6.5.2.1 FM] */
const FM_BITS: readonly number[] = [0, 4, 6, 7]

/** [VTD 6.5.2.3 T23, 6.5.2.4 T24] */
function wrongTranslations(sent: Invalidation, target: Target): string[] {
  const { needed } = target
  const { DID, PASID, AM, IH } = sent.operands
  const wrongs = wrong('DID', DID, needed.operands['DID'], target.didMask)
  const isByPage = AM !== undefined
  const isOfSecond = needed.name === COMMAND.IOTLB
  const isOfTable = needed.operands['IH'] === 0
  if (sent.name === COMMAND.IOTLB) {
    // Pages are the second stage's: of the first all entries of the domain go.
    if (!isByPage || !isOfSecond) return wrongs
    wrongs.push(...wrongRange(sent, needed))
    if (isOfTable && IH === 1) wrongs.push('leaf-only (IH=1) over a table change')
    return wrongs
  }
  // Second-stage table entries are of no PASID.
  if (!isOfSecond || !isOfTable) wrongs.push(...wrong('PASID', PASID, target.pasid))
  if (isOfSecond && isOfTable) wrongs.push('drops no second-stage table entries')
  else if (isOfSecond && isByPage) wrongs.push('its page form drops no second-stage translations')
  if (!isByPage || isOfSecond) return wrongs
  wrongs.push(...wrongRange(sent, needed))
  if (isOfTable && IH === 1) wrongs.push('leaf-only (IH=1) over a table change')
  return wrongs
}

function wrong(name: string, sent: number | undefined, needed: number | undefined, mask = -1): string[] {
  if (sent === undefined || needed === undefined || ((sent ^ needed) & mask) === 0) return []
  return [`wrong ${name} (${sent}, needed ${needed})`]
}

function wrongRange({ page: from, operands }: Invalidation, { page: to }: Invalidation): string[] {
  if (from === undefined || to === undefined) return []
  const pages = 2 ** (operands['AM'] ?? 0)
  const start = pageOf(from[0], from[1])
  const first = start - (start % pages)
  const page = pageOf(to[0], to[1])
  if (page < first) return [`range starts at 0x${first.toString(16)}000`]
  return page >= first + pages ? [`range ends at 0x${(first + pages - 1).toString(16)}fff`] : []
}
