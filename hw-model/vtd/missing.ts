/**
 * Which descriptors software has forgotten, as far as one transaction can tell. Whatever a cache answers wrongly it
 * answers from entries that were found on the way, so that one of these has to go: each descriptor that drops one of
 * them is carried out on views of the caches, alone and then with others, until the answer is memory's.
 * [VTD 6.5.3.3 Guidance to Software for Invalidations]
 */

import { highWord, joinWord, lowWord } from '../bits/address.js'
import { type Invalidation, Outcome, STATUS, type Transaction } from '../port.js'
import { NO_CACHES } from './caches.js'
import { GRANULARITY, PASID_CACHE_GRANULARITY, PASID_IOTLB_GRANULARITY } from './descriptors.js'
import type { ContextConfig, DmaConfig } from './dma-config.js'
import { dry, type Find, type Parts, watch } from './explain.js'
import { RIGHT } from './formats.js'
import type { HptCache } from './hpt-cache.js'
import { Invalidator } from './invalidate.js'
import { GRANT } from './iotlb.js'
import { PGTT } from './records.js'
import type { Translator } from './translate.js'

/** One descriptor. */
interface Remedy {
  readonly names: Invalidation
  /** Carries it out. */
  readonly drop: (invalidator: Invalidator) => void
  /** Hardware takes context before PASID cache before IOTLB, or a stale entry fills the next cache again. */
  readonly order: 0 | 1 | 2
  /** The same with IH. */
  readonly gentler?: Remedy
}

/** Larger sets are not searched through: what helps is found, and then what is not needed is left out. */
const SEARCHED = 2

/** More entries than a walk can find. */
const MOST = 64

const PAGE_BYTES = 4096

/** The fewest descriptors after which the unit answers what memory says. What is named does help. */
export function missing(parts: Parts, tx: Transaction): readonly Invalidation[] {
  const search = new Search(parts, tx)
  for (let size = 0; size <= SEARCHED; size++) {
    const found = search.find([], size)
    if (found !== null) return found.toSorted((one, other) => one.order - other.order).map(({ names }) => names)
  }
  return search
    .reduce()
    .toSorted((one, other) => one.order - other.order)
    .map(({ names }) => names)
}

/** Tries sets of descriptors for one transaction. */
class Search {
  readonly #parts: Parts
  readonly #tx: Transaction
  readonly #fresh: Translator
  readonly #wanted = new Outcome()

  constructor(parts: Parts, tx: Transaction) {
    this.#parts = parts
    this.#tx = tx
    this.#fresh = dry(parts, NO_CACHES)
    this.#fresh.translate(tx, this.#wanted)
  }

  /** What helps, of what was chosen already and at most `more`; null for nothing. */
  find(chosen: readonly Remedy[], more: number): readonly Remedy[] | null {
    const remedies = this.#after(chosen)
    if (remedies === null) return chosen
    if (more === 0) return null
    for (const remedy of remedies) {
      const found = this.find([...chosen, remedy], more - 1)
      if (found !== null) return found
    }
    return null
  }

  /** All that was found, one by one, without those that are not needed. */
  reduce(): readonly Remedy[] {
    let chosen: readonly Remedy[] = []
    for (let step = 0; ; step++) {
      const remedies = this.#after(chosen)
      if (remedies === null) break
      // Nothing is left that could be wrong: the tables have changed in between.
      if (remedies.length === 0 || step === MOST) return []
      chosen = [...chosen, remedies[remedies.length - 1]]
    }
    for (const remedy of chosen) {
      const fewer = chosen.filter((each) => each !== remedy)
      if (this.#after(fewer) === null) chosen = fewer
      // Less may do: nothing but leaves.
      else if (remedy.gentler !== undefined) {
        const gentler = [...fewer, remedy.gentler]
        if (this.#after(gentler) === null) chosen = gentler
      }
    }
    return chosen
  }

  /** What would drop an entry that was found after all these; null where the answer is memory's. */
  #after(chosen: readonly Remedy[]): readonly Remedy[] | null {
    const { caps, config } = this.#parts
    const caches = this.#parts.caches.view()
    const translator = dry(this.#parts, caches)
    const invalidator = new Invalidator(caps, config, caches)
    for (const { drop } of chosen) drop(invalidator)
    const finds: Find[] = []
    watch(translator, (find) => finds.push(find))
    const outcome = new Outcome()
    translator.translate(this.#tx, outcome)
    return isSame(outcome, this.#wanted) ? null : finds.flatMap((find) => this.#remediesFor(find))
  }

  #remediesFor(find: Find): readonly Remedy[] {
    const { caches, config } = this.#parts
    switch (find.in) {
      case 'context':
        return [contextCache(find.entry, config.isScalable)]
      case 'pasid':
        return [pasidCache(find.entry)]
      case 'iotlb':
        return this.#forTranslation(find.slot, find.page)
      case 'walk1':
        return this.#forFirstTable(find.slot)
      case 'hpt':
        return [this.#permissions(find.slot, find.page)]
      default:
        return [this.#iotlb(caches.tables.secondOwner(find.slot), find.page * PAGE_BYTES, false)]
    }
  }

  /** By the stage whose tables have changed, if that can be told: by the first if not. */
  #forTranslation(slot: number, page: number): readonly Remedy[] {
    const { iotlb } = this.#parts.caches
    const { did, pgtt, pasid } = iotlb.sourceOf(slot)
    const { lo, hi } = this.#tx
    if (pgtt === PGTT.SECOND || pgtt === PGTT.PASS_THROUGH) {
      const address = joinWord(lo & -PAGE_BYTES, hi)
      return [this.#iotlb(did, address, true), this.#iotlb(did, address, false)]
    }
    const byFirst = [this.#pasidIotlb(did, pasid, true), this.#pasidIotlb(did, pasid, false)]
    if (pgtt === PGTT.FIRST) return byFirst
    const { cache } = iotlb
    const { guest, first } = this.#fresh.walk
    const kept = cache.extraOf(slot) + (page % 2 ** (cache.leafLg2Of(slot) - 12)) * PAGE_BYTES
    const wasWritable = (cache.flagsOf(slot) & GRANT.FIRST_WRITE) !== 0
    const isFirstSame = kept === guest && wasWritable === ((first.rights & RIGHT.WRITE) !== 0)
    const address = guest >= 0 ? guest : Math.max(kept, 0)
    const bySecond = [this.#iotlb(did, address, true), this.#iotlb(did, address, false)]
    return isFirstSame ? [...bySecond, ...byFirst] : [...byFirst, ...bySecond]
  }

  /** Of a guest's table: by the second stage where that has moved it. */
  #forFirstTable(slot: number): readonly Remedy[] {
    const { tables } = this.#parts.caches
    const { did, pasid } = tables.firstOwner(slot)
    const guest = tables.first.addressOf(slot)
    const { walk } = this.#fresh
    const byFirst = this.#pasidIotlb(did, pasid, false)
    if (!walk.isNested) return [byFirst]
    const host = walk.whereIs(guest)
    const bySecond = [this.#iotlb(did, guest, true), this.#iotlb(did, guest, false)]
    return host === tables.first.extraOf(slot) ? [byFirst, ...bySecond] : [...bySecond, byFirst]
  }

  /** By second-stage address, or where the unit knows no such form, by domain. [VTD 6.5.2.3 IOTLB Invalidate Descriptor] */
  #iotlb(DID: number, address: number, isHint: boolean): Remedy {
    const lo = lowWord(address)
    const hi = highWord(address)
    if (this.#parts.caps.cap.PSI === 0) {
      return {
        names: { name: 'IOTLB', operands: { DID } },
        drop: (invalidator) => invalidator.dropIotlb(GRANULARITY.DOMAIN, DID, 0, 0, 0, false),
        order: 2,
      }
    }
    return {
      names: { name: 'IOTLB', operands: { DID, IH: isHint ? 1 : 0 }, page: [lo >>> 0, hi >>> 0] },
      drop: (invalidator) => invalidator.dropIotlb(GRANULARITY.SELECTIVE, DID, 0, lo, hi, isHint),
      order: 2,
      ...(isHint ? {} : { gentler: this.#iotlb(DID, address, true) }),
    }
  }

  /** [VTD 6.5.2.7 HPT Cache Invalidate Descriptor] IH says which levels it reaches. */
  #permissions(slot: number, page: number): Remedy {
    const { did: HPTDID, level } = (this.#parts.caches.permissions as HptCache).sourceOf(slot)
    const { lo, hi } = this.#tx
    const operands: Record<string, number> = level === 0 ? { HPTDID } : { HPTDID, IH: level }
    return {
      names: { name: 'HPT cache', operands, page: [(lo & -PAGE_BYTES) >>> 0, hi >>> 0] },
      drop: (invalidator) => invalidator.dropPermissions(HPTDID, page, level),
      order: 2,
    }
  }

  /** By first-stage address. [VTD 6.5.2.4 PASID-based-IOTLB Invalidate Descriptor] */
  #pasidIotlb(DID: number, PASID: number, isHint: boolean): Remedy {
    const { lo, hi } = this.#tx
    const low = lo & -PAGE_BYTES
    return {
      names: { name: 'P_IOTLB', operands: { DID, PASID, IH: isHint ? 1 : 0 }, page: [low >>> 0, hi >>> 0] },
      drop: (invalidator) => invalidator.dropPasidIotlb(PASID_IOTLB_GRANULARITY.PAGE, DID, PASID, 0, low, hi, isHint),
      order: 2,
      ...(isHint ? {} : { gentler: this.#pasidIotlb(DID, PASID, true) }),
    }
  }
}

/** [VTD 6.5.2.1 Context-cache Invalidate Descriptor] */
function contextCache({ sid: SID, did: DID }: ContextConfig, isScalable: boolean): Remedy {
  return {
    names: { name: 'context cache', operands: isScalable ? { SID } : { SID, DID } },
    drop: (invalidator) => invalidator.dropContexts(GRANULARITY.SELECTIVE, DID, SID, 0),
    order: 0,
  }
}

/** [VTD 6.5.2.2 PASID-cache Invalidate Descriptor] The domain-id is the cached entry's. */
function pasidCache({ did: DID, pasid: PASID }: DmaConfig): Remedy {
  return {
    names: { name: 'PASID cache', operands: { DID, PASID } },
    drop: (invalidator) => invalidator.dropPasids(PASID_CACHE_GRANULARITY.PASID, DID, PASID),
    order: 1,
  }
}

function isSame(one: Outcome, other: Outcome): boolean {
  if (one.status !== other.status) return false
  if (one.status !== STATUS.OK) return one.fault === other.fault
  return one.address === other.address && one.rights === other.rights
}
