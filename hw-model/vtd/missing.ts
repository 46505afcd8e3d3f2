/**
 * Which descriptors software has forgotten, as far as one transaction can tell. Whatever a cache answers wrongly it
 * answers from entries that were found on the way, so that one of these has to go: each descriptor that drops one of
 * them is carried out on views of the caches, alone and then with others, until the answer is memory's.
 * [VTD 6.5.3.3 Guidance to Software for Invalidations]
 */

import { type Invalidation, Outcome, STATUS, type Transaction } from '../port.js'
import { NO_CACHES } from './caches.js'
import { dry, type Find, type Parts, watch } from './explain.js'
import { Invalidator } from './invalidate.js'
import { type Remedy, WaysOut } from './remedies.js'

/** Larger sets are not searched through: what helps is found, and then what is not needed is left out. */
const SEARCHED = 2

/** More entries than a walk can find. */
const MOST = 64

/** Whether an answer of the caches is as good as memory's; each with FPD of the entries that led to it. */
export type Judge = (cached: Outcome, cachedFpd: number, fresh: Outcome, freshFpd: number) => boolean

/** What is to be sent, in order. */
export interface Remedies {
  readonly chosen: readonly Remedy[]
  /** The narrowest against the entry that answers, where it is one alone; else the first of all. Null for none. */
  readonly nearest: Remedy | null
}

/** The fewest descriptors after which the unit answers what memory says. What is named does help. */
export function missing(parts: Parts, tx: Transaction): readonly Invalidation[] {
  return remedies(parts, tx, (cached, _, fresh) => isSame(cached, fresh)).chosen.map(({ names }) => names)
}

/**
 * The same, with what the search knows of each.
 *
 * @param isRight whether an answer will do
 * @param before carried out first: what was sent and has no effect yet
 */
export function remedies(
  parts: Parts,
  tx: Transaction,
  isRight: Judge,
  before: (invalidator: Invalidator) => void = () => undefined,
): Remedies {
  const search = new Search(parts, tx, isRight, before)
  let chosen: readonly Remedy[] | null = null
  for (let size = 0; size <= SEARCHED && chosen === null; size++) chosen = search.find([], size)
  const ordered = (chosen ?? search.reduce()).toSorted((one, other) => one.order - other.order)
  return { chosen: ordered, nearest: search.against ?? gentlest(ordered[0]) ?? null }
}

/** First-stage table entries go with any page of their domain, whatever else is left of the second stage. [VTD 6.5.2.3 T23] */
const gentlest = (remedy: Remedy | undefined): Remedy | undefined =>
  remedy?.stale.cache === 'walk1' && remedy.names.name === 'IOTLB' ? (remedy.gentler ?? remedy) : remedy

/** Tries sets of descriptors for one transaction. */
class Search {
  readonly #parts: Parts
  readonly #tx: Transaction
  readonly #ways: WaysOut
  readonly #wanted = new Outcome()
  readonly #wantedFpd: number
  readonly #isRight: Judge
  readonly #before: (invalidator: Invalidator) => void
  /** Drops the entry that answers while nothing is sent; null where several lead to the answer. */
  against: Remedy | null = null

  constructor(parts: Parts, tx: Transaction, isRight: Judge, before: (invalidator: Invalidator) => void) {
    this.#parts = parts
    this.#tx = tx
    this.#isRight = isRight
    this.#before = before
    const fresh = dry(parts, NO_CACHES)
    fresh.translate(tx, this.#wanted)
    this.#wantedFpd = fresh.config.fpd
    this.#ways = new WaysOut(parts, tx, fresh)
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
    this.#before(invalidator)
    for (const { drop } of chosen) drop(invalidator)
    const finds: Find[] = []
    watch(translator, (find) => finds.push(find))
    const outcome = new Outcome()
    translator.translate(this.#tx, outcome)
    const isRight = this.#isRight(outcome, translator.config.fpd, this.#wanted, this.#wantedFpd)
    if (isRight) return null
    if (chosen.length === 0 && finds.length === 1) this.against = this.#ways.out(finds[0])[0]
    return finds.flatMap((find) => this.#ways.out(find))
  }
}

function isSame(one: Outcome, other: Outcome): boolean {
  if (one.status !== other.status) return false
  if (one.status !== STATUS.OK) return one.fault === other.fault
  return one.address === other.address && one.rights === other.rights
}
