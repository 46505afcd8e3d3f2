/** What a context and its user have in use. Charged before a thing is made, released when it is gone. */

import type { Limits, QuotaName } from './limits.js'
import { assert, Refusal } from './refusal.js'

/** One account; a context's has its user's behind it, and both must have room. */
export class Quota {
  readonly #scope: 'context' | 'uid'
  readonly #limits: Limits
  readonly #behind: Quota | undefined
  readonly #used = new Map<QuotaName, number>()
  readonly #failPoint: ((what: string) => void) | undefined

  /** @param failPoint called before anything is charged; for tests that let the n-th allocation fail */
  constructor(scope: 'context' | 'uid', limits: Limits, behind?: Quota, failPoint?: (what: string) => void) {
    this.#scope = scope
    this.#limits = limits
    this.#behind = behind
    this.#failPoint = failPoint
  }

  /** How much is in use. */
  used(name: QuotaName): number {
    return this.#used.get(name) ?? 0
  }

  /** How much is allowed. */
  limit(name: QuotaName): number {
    return this.#limits[this.#scope][name]
  }

  /**
   * Refuses what could not be charged, before it is made.
   *
   * @throws Refusal EDQUOT, with the limit's name and number
   */
  check(name: QuotaName, amount: number): void {
    this.charge(name, amount)
    this.release(name, amount)
  }

  /** @throws Refusal EDQUOT, with the limit's name and number; nothing is charged then */
  charge(name: QuotaName, amount = 1): void {
    if (amount === 0) return
    this.#failPoint?.(name)
    const limit = this.limit(name)
    const used = this.used(name)
    if (used + amount > limit) {
      const whose = this.#scope === 'uid' ? 'all contexts of this user' : 'this context'
      const reason = `the limit ${name} of ${whose} is ${limit}, ${used} are in use and ${amount} more are asked for`
      throw new Refusal('EDQUOT', reason, { limit: name, scope: this.#scope, value: limit, used, asked: amount })
    }
    this.#behind?.charge(name, amount)
    this.#used.set(name, used + amount)
  }

  /** Gives back what was charged. */
  release(name: QuotaName, amount = 1): void {
    if (amount === 0) return
    const left = this.used(name) - amount
    assert(left >= 0, `the quota ${name} is charged before it is released`)
    if (left === 0) this.#used.delete(name)
    else this.#used.set(name, left)
    this.#behind?.release(name, amount)
  }

  /** Everything in use, for tests that nothing leaks. */
  get inUse(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#used)
  }
}
