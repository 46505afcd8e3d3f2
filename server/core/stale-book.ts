/**
 * What the oracle of a unit has reported, each with whose it was: what a report says in the terms of its owner is found
 * out when it comes, since regions and domains may be gone when somebody reads it.
 */

import type { Context } from './context.js'
import { LIMITS_OF_ORACLE } from './limits.js'
import type { StaleFacts, UnitOracle } from './unit-oracle.js'
import type { Place } from './walk-step.js'

/** Whom a report concerns. */
export interface StaleOwner {
  readonly context?: Context
  /** Empty for a raw unit. */
  readonly deviceName: string
  /** Others use the unit too: their operations are not told, nor their commands. */
  readonly isShared: boolean
  /** A physical address as the owner's own memory. */
  locate(physical: number): Place | undefined
  /** The object to which the owner gives what is missing. */
  readonly ownTarget?: OwnTarget
}

/** What InvalidateIotlb names, and in which terms. */
export interface OwnTarget {
  readonly userDomainId?: number
  readonly viommuId?: number
  readonly kind: 'smmuv3' | 'vtdS1' | 'smmuv3Pgd'
}

/** A report that is kept. */
export interface KeptStale extends StaleOwner {
  readonly facts: StaleFacts
  /** Where its addresses are in the owner's memory. */
  readonly cachedPlace?: Place
  readonly freshPlace?: Place
  readonly changedPlace?: Place
}

/** The reports of one unit. */
export class StaleBook {
  readonly oracle: UnitOracle
  /** Reports that found no room, since the oracle was switched on. */
  dropped = 0
  readonly #most: number
  readonly #kept: KeptStale[] = []
  readonly #of = new Map<Context | undefined, number>()

  /**
   * @param most reports kept of one context
   * @param ownerOf whom a report concerns
   * @param told is told of each report that is new
   */
  constructor(
    oracle: UnitOracle,
    most: number,
    ownerOf: (facts: StaleFacts) => StaleOwner,
    told: (report: KeptStale) => void,
  ) {
    this.oracle = oracle
    this.#most = most
    oracle.onReport = (facts) => {
      const report = keptOf(facts, ownerOf(facts))
      this.#keep(report)
      told(report)
    }
  }

  /** Oldest first. @param context whose; undefined: everybody's */
  reportsOf(context: Context | undefined): readonly KeptStale[] {
    return context === undefined ? this.#kept : this.#kept.filter((report) => report.context === context)
  }

  /** The reports of some numbers. */
  numbered(numbers: ReadonlySet<number>): readonly KeptStale[] {
    return this.#kept.filter(({ facts }) => numbers.has(facts.number))
  }

  /** The report of a number, where it has found room. */
  find(number: number): KeptStale | undefined {
    return this.#kept.findLast(({ facts }) => facts.number === number)
  }

  /** The oracle starts anew. */
  clear(): void {
    this.#kept.length = 0
    this.#of.clear()
    this.dropped = 0
  }

  #keep(report: KeptStale): void {
    const { context } = report
    const before = this.#of.get(context) ?? 0
    if (before === this.#most || this.#kept.length === LIMITS_OF_ORACLE.REPORTS_A_UNIT) {
      this.dropped++
      return
    }
    this.#of.set(context, before + 1)
    this.#kept.push(report)
  }
}

function keptOf(facts: StaleFacts, owner: StaleOwner): KeptStale {
  const { cached, fresh, changed } = facts
  return {
    ...owner,
    facts,
    cachedPlace: owner.locate(cached.address),
    freshPlace: owner.locate(fresh.address),
    changedPlace: changed === null ? undefined : owner.locate(changed.address),
  }
}
