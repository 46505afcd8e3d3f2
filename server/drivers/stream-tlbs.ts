/**
 * Device TLBs of the streams in front of a raw unit, as its oracle sees them: what each stream was granted, until it says
 * that it has forgotten that. Whoever plays a stream keeps what he likes; what he was not asked to forget he may.
 */

import { highWord, lowWord } from '../../hw-model/bits/address.js'
import type { CacheGeometry } from '../../hw-model/cache/geometry.js'
import { highOf, lowOf } from '../../hw-model/oracle/watches.js'
import { Atc } from '../../hw-model/pci/atc.js'
import {
  ACCESS,
  AtcInvalidation,
  NO_PASID,
  Outcome,
  type RemappingUnit,
  STATUS,
  Transaction,
  type UnitOracle,
} from '../../hw-model/port.js'

/** Translations of a stream; one that makes room is compared no more. */
const GEOMETRY: CacheGeometry = { entries: 1024, ways: 4 }

/** Streams that are followed; of more, the one that came first is let go. */
const STREAMS = 256

/** Leaf sizes are below 2^64 bytes: a place is a frame of a size. */
const SIZES = 64

/** What a stream asked for. */
interface Asked {
  readonly pasid: number
  readonly access: number
  /** First byte of the leaf. */
  readonly lo: number
  readonly hi: number
}

/** One stream's. */
class StreamTlb extends Atc {
  /** What was asked last of what leads to a place: a translated request does not say. */
  readonly #byPlace = new Map<number, Asked>()
  readonly #sizes = new Set<number>()
  /** Invalidations that are not completed, by tag: what they reach may be used until they are. */
  readonly #asked = new Map<number, AtcInvalidation>()

  constructor() {
    super(GEOMETRY)
  }

  override lookUp(pasid: number, isPrivileged: boolean, lo: number, hi: number, outcome: Outcome): boolean {
    for (const asked of this.#asked.values()) if (reaches(asked, pasid, lo, hi)) return false
    return super.lookUp(pasid, isPrivileged, lo, hi, outcome)
  }

  /** It is asked to forget. */
  asked(invalidation: AtcInvalidation): void {
    this.#asked.set(invalidation.tag, Object.assign(new AtcInvalidation(), invalidation))
  }

  /** It says that it has, or that it did not in time. */
  answered(tag: number, timedOut: boolean): void {
    const asked = this.#asked.get(tag)
    this.#asked.delete(tag)
    if (asked !== undefined && !timedOut) this.invalidate(asked)
  }

  /** Keeps what a translation request was answered with. */
  keep({ pasid, lo, hi, access }: Transaction, outcome: Outcome): void {
    const { address, leafLg2 } = outcome
    this.fill(pasid, isPrivileged(pasid, access), lo, hi, outcome)
    this.#sizes.add(leafLg2)
    const place = placeOf(address, leafLg2)
    this.#byPlace.delete(place)
    const [oldest] = this.#byPlace.keys()
    if (this.#byPlace.size === GEOMETRY.entries && oldest !== undefined) this.#byPlace.delete(oldest)
    this.#byPlace.set(place, { pasid, access, lo: lowOf(lo, leafLg2), hi: highOf(hi, leafLg2) })
  }

  /** The IOVA with which a stream got to an address, in `into`. False where it keeps none. */
  trace(address: number, into: Transaction, found: Outcome): boolean {
    for (const leafLg2 of this.#sizes) {
      const asked = this.#byPlace.get(placeOf(address, leafLg2))
      if (asked === undefined) continue
      const { pasid, access, lo, hi } = asked
      const inLeaf = address % 2 ** leafLg2
      into.pasid = pasid
      into.lo = lo | lowWord(inLeaf)
      into.hi = hi | highWord(inLeaf)
      const isKept = this.lookUp(pasid, isPrivileged(pasid, access), into.lo, into.hi, found)
      if (isKept && found.address === address) return true
    }
    return false
  }
}

/** Those of all streams of one unit, while its oracle is on. */
export class StreamTlbs {
  readonly #unit: RemappingUnit
  #oracle: UnitOracle | null = null
  readonly #streams = new Map<number, StreamTlb>()
  readonly #use = new Transaction()
  readonly #found = new Outcome()

  constructor(unit: RemappingUnit) {
    this.#unit = unit
  }

  /** A translation request was answered. */
  got(request: Transaction, outcome: Outcome): void {
    const oracle = this.#now()
    const isGrant = outcome.status === STATUS.OK && outcome.rights !== 0 && outcome.untranslatedOnly === 0
    if (oracle === null || !isGrant) return
    const tlb = this.#streams.get(request.rid >>> 0) ?? this.#newStream(request.rid >>> 0)
    tlb.keep(request, outcome)
    oracle.used(request, tlb)
  }

  /** A stream uses a translated address. False where that is stale, and to end ABORTED. */
  mayUse({ rid, lo, hi, access }: Transaction): boolean {
    const oracle = this.#now()
    const tlb = this.#streams.get(rid >>> 0)
    if (oracle === null || tlb === undefined) return true
    const use = this.#use
    use.rid = rid
    if (!tlb.trace((hi >>> 0) * 2 ** 32 + (lo >>> 0), use, this.#found)) return true
    use.access = access
    return oracle.used(use, tlb)
  }

  /** A stream is asked to forget. */
  asked(invalidation: AtcInvalidation): void {
    if (this.#now() !== null) this.#streams.get(invalidation.rid >>> 0)?.asked(invalidation)
  }

  /** It says that it has, or that it did not in time. */
  answered(tag: number, timedOut: boolean): void {
    for (const tlb of this.#streams.values()) tlb.answered(tag, timedOut)
  }

  /** All is forgotten. */
  clear(): void {
    this.#streams.clear()
  }

  /** The oracle; one that was switched on since knows nothing of what came before. */
  #now(): UnitOracle | null {
    const { oracle } = this.#unit
    if (oracle !== this.#oracle) this.clear()
    this.#oracle = oracle
    return oracle
  }

  #newStream(rid: number): StreamTlb {
    const [first] = this.#streams.keys()
    if (this.#streams.size === STREAMS && first !== undefined) this.#streams.delete(first)
    const tlb = new StreamTlb()
    this.#streams.set(rid, tlb)
    return tlb
  }
}

function reaches(
  { pasid: wanted, allPasids, lo, hi, sizeLg2 }: AtcInvalidation,
  pasid: number,
  ...of: Halves
): boolean {
  const isIts = allPasids ? pasid !== NO_PASID : pasid === wanted
  return isIts && lowOf(of[0], sizeLg2) === lowOf(lo, sizeLg2) && highOf(of[1], sizeLg2) === highOf(hi, sizeLg2)
}

type Halves = readonly [lo: number, hi: number]

const placeOf = (address: number, leafLg2: number): number => Math.floor(address / 2 ** leafLg2) * SIZES + leafLg2

const isPrivileged = (pasid: number, access: number): boolean =>
  pasid !== NO_PASID && (access & ACCESS.PRIVILEGED) !== 0
