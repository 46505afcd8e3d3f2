/**
 * What drops an entry that was found in a cache: descriptors by the tags of the entry itself, and not by those that its
 * requester has now. [VTD 6.2.1 T17 Cache Tagging, 6.5.3.3 Guidance to Software for Invalidations]
 */

import { highWord, joinWord, lowWord } from '../bits/address.js'
import type { Invalidation, Transaction } from '../port.js'
import { GRANULARITY, PASID_CACHE_GRANULARITY, PASID_IOTLB_GRANULARITY } from './descriptors.js'
import type { ContextConfig, DmaConfig } from './dma-config.js'
import type { Find, Parts } from './explain.js'
import { RIGHT } from './formats.js'
import type { HptCache } from './hpt-cache.js'
import type { Invalidator } from './invalidate.js'
import { GRANT } from './iotlb.js'
import { PGTT } from './records.js'
import type { Translator } from './translate.js'

const PAGE_BYTES = 4096

/** An entry of a cache. */
export interface Stale {
  readonly cache: Find['in']
  /** The PASID that a translation is tagged with. */
  readonly pasid: number
  /** Tells it from others. */
  readonly entry: string
}

/** One descriptor. */
export interface Remedy {
  readonly names: Invalidation
  /** The entry that it is for. */
  readonly stale: Stale
  /** Carries it out. */
  readonly drop: (invalidator: Invalidator) => void
  /** Hardware takes context before PASID cache before IOTLB, or a stale entry fills the next cache again. */
  readonly order: 0 | 1 | 2
  /** The same with IH. */
  readonly gentler?: Remedy
}

/** What helps against the entries that one transaction finds. */
export class WaysOut {
  readonly #parts: Parts
  readonly #tx: Transaction
  readonly #fresh: Translator

  /** @param fresh has walked the transaction from memory alone */
  constructor(parts: Parts, tx: Transaction, fresh: Translator) {
    this.#parts = parts
    this.#tx = tx
    this.#fresh = fresh
  }

  /** What drops an entry, the gentlest first. */
  out(find: Find): readonly Remedy[] {
    const { config } = this.#parts
    switch (find.in) {
      case 'context':
        return [contextCache(find.entry, config.isScalable)]
      case 'pasid':
        return [pasidCache(find.entry, this.#tx.rid)]
      case 'iotlb':
        return this.#forTranslation(find.slot, find.page)
      case 'walk1':
        return this.#forFirstTable(find.slot, find.page)
      case 'hpt':
        return [this.#permissions(find.slot, find.page)]
      default:
        return [this.#forSecondTable(find.slot, find.page)]
    }
  }

  /** By the stage whose tables have changed, if that can be told: by the first if not. */
  #forTranslation(slot: number, page: number): readonly Remedy[] {
    const { iotlb } = this.#parts.caches
    const { did, pgtt, pasid } = iotlb.sourceOf(slot)
    const { rid, pasid: asked, lo, hi } = this.#tx
    const { cache } = iotlb
    const stale = {
      cache: 'iotlb',
      pasid,
      entry: `iotlb ${rid} ${asked} ${startOf(page, cache.leafLg2Of(slot))}`,
    } as const
    if (pgtt === PGTT.SECOND || pgtt === PGTT.PASS_THROUGH) {
      const address = joinWord(lo & -PAGE_BYTES, hi)
      return [this.#iotlb(stale, did, address, true), this.#iotlb(stale, did, address, false)]
    }
    const byFirst = [this.#pasidIotlb(stale, did, true), this.#pasidIotlb(stale, did, false)]
    if (pgtt === PGTT.FIRST) return byFirst
    const { guest, first } = this.#fresh.walk
    const kept = cache.extraOf(slot) + (page % 2 ** (cache.leafLg2Of(slot) - 12)) * PAGE_BYTES
    const wasWritable = (cache.flagsOf(slot) & GRANT.FIRST_WRITE) !== 0
    const isFirstSame = kept === guest && wasWritable === ((first.rights & RIGHT.WRITE) !== 0)
    const address = guest >= 0 ? guest : Math.max(kept, 0)
    const bySecond = [this.#iotlb(stale, did, address, true), this.#iotlb(stale, did, address, false)]
    return isFirstSame ? [...bySecond, ...byFirst] : [...byFirst, ...bySecond]
  }

  /** Of a guest's table: by the second stage where that has moved it. */
  #forFirstTable(slot: number, page: number): readonly Remedy[] {
    const { tables } = this.#parts.caches
    const { did, pasid } = tables.firstOwner(slot)
    const guest = tables.first.addressOf(slot)
    const { walk } = this.#fresh
    const span = tables.first.leafLg2Of(slot)
    const stale = { cache: 'walk1', pasid, entry: `walk1 ${did} ${pasid} ${startOf(page, span)} ${span}` } as const
    const byFirst = this.#pasidIotlb(stale, did, false)
    if (!walk.isNested) return [byFirst]
    const host = walk.whereIs(guest)
    const bySecond = [this.#iotlb(stale, did, guest, true), this.#iotlb(stale, did, guest, false)]
    return host === tables.first.extraOf(slot) ? [byFirst, ...bySecond] : [...bySecond, byFirst]
  }

  #forSecondTable(slot: number, page: number): Remedy {
    const { tables } = this.#parts.caches
    const did = tables.secondOwner(slot)
    const span = tables.second.leafLg2Of(slot)
    const entry = `walk2 ${did} ${startOf(page, span)} ${span}`
    return this.#iotlb({ cache: 'walk2', pasid: 0, entry }, did, page * PAGE_BYTES, false)
  }

  /** By second-stage address, or where the unit knows no such form, by domain. [VTD 6.5.2.3 IOTLB Invalidate Descriptor] */
  #iotlb(stale: Stale, DID: number, address: number, isHint: boolean): Remedy {
    const lo = lowWord(address)
    const hi = highWord(address)
    if (this.#parts.caps.cap.PSI === 0) {
      return {
        names: { name: 'IOTLB', operands: { DID } },
        stale,
        drop: (invalidator) => invalidator.dropIotlb(GRANULARITY.DOMAIN, DID, 0, 0, 0, false),
        order: 2,
      }
    }
    return {
      names: { name: 'IOTLB', operands: { DID, IH: isHint ? 1 : 0 }, page: [lo >>> 0, hi >>> 0] },
      stale,
      drop: (invalidator) => invalidator.dropIotlb(GRANULARITY.SELECTIVE, DID, 0, lo, hi, isHint),
      order: 2,
      ...(isHint ? {} : { gentler: this.#iotlb(stale, DID, address, true) }),
    }
  }

  /** [VTD 6.5.2.7 HPT Cache Invalidate Descriptor] IH says which levels it reaches. */
  #permissions(slot: number, page: number): Remedy {
    const { did: HPTDID, level } = (this.#parts.caches.permissions as HptCache).sourceOf(slot)
    const { lo, hi } = this.#tx
    const operands: Record<string, number> = level === 0 ? { HPTDID } : { HPTDID, IH: level }
    return {
      names: { name: 'HPT cache', operands, page: [(lo & -PAGE_BYTES) >>> 0, hi >>> 0] },
      stale: { cache: 'hpt', pasid: 0, entry: `hpt ${HPTDID} ${page} ${level}` },
      drop: (invalidator) => invalidator.dropPermissions(HPTDID, page, level),
      order: 2,
    }
  }

  /** By first-stage address. [VTD 6.5.2.4 PASID-based-IOTLB Invalidate Descriptor] */
  #pasidIotlb(stale: Stale, DID: number, isHint: boolean): Remedy {
    const { lo, hi } = this.#tx
    const low = lo & -PAGE_BYTES
    const PASID = stale.pasid
    return {
      names: { name: 'P_IOTLB', operands: { DID, PASID, IH: isHint ? 1 : 0 }, page: [low >>> 0, hi >>> 0] },
      stale,
      drop: (invalidator) => invalidator.dropPasidIotlb(PASID_IOTLB_GRANULARITY.PAGE, DID, PASID, 0, low, hi, isHint),
      order: 2,
      ...(isHint ? {} : { gentler: this.#pasidIotlb(stale, DID, true) }),
    }
  }
}

const startOf = (page: number, leafLg2: number): number => page - (page % 2 ** (leafLg2 - 12))

/** [VTD 6.5.2.1 Context-cache Invalidate Descriptor] */
function contextCache({ sid: SID, did: DID }: ContextConfig, isScalable: boolean): Remedy {
  return {
    names: { name: 'context cache', operands: isScalable ? { SID } : { SID, DID } },
    stale: { cache: 'context', pasid: 0, entry: `context ${SID}` },
    drop: (invalidator) => invalidator.dropContexts(GRANULARITY.SELECTIVE, DID, SID, 0),
    order: 0,
  }
}

/** [VTD 6.5.2.2 PASID-cache Invalidate Descriptor] The domain-id is the cached entry's. */
function pasidCache({ did: DID, pasid: PASID }: DmaConfig, sid: number): Remedy {
  return {
    names: { name: 'PASID cache', operands: { DID, PASID } },
    stale: { cache: 'pasid', pasid: PASID, entry: `pasid ${sid} ${PASID}` },
    drop: (invalidator) => invalidator.dropPasids(PASID_CACHE_GRANULARITY.PASID, DID, PASID),
    order: 1,
  }
}
