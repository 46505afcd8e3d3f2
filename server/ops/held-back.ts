/** How often a line may be written about one and the same: some in a window, then a count of what was held back. */

import type { Clock } from '../core/ambient.js'

/** What is let through. */
export interface HoldBackLimits {
  /** Lines about one in a window; the rest is counted. */
  readonly perWindow: number
  /** Lines about all together in a window. */
  readonly inAll: number
  /** Those whose held-back lines are counted apart. */
  readonly kept: number
  readonly windowMs: number
}

interface Kept {
  readonly who: object
  written: number
  held: number
}

/** All share one window, one timer and one bounded table, so nobody has more lines by having more names. */
export class HeldBack {
  readonly #clock: Clock
  readonly #limits: HoldBackLimits
  readonly #tell: (who: object, heldBack: number) => void
  readonly #kept = new Map<string, Kept>()
  #endsAt = 0
  #written = 0
  /** Held back of those for whom the table had no place. */
  #others = 0

  /** @param tell is told of what was held back, when a window ends */
  constructor(clock: Clock, limits: HoldBackLimits, tell: (who: object, heldBack: number) => void) {
    this.#clock = clock
    this.#limits = limits
    this.#tell = tell
  }

  /** Whether a line may be written now; if not it is counted. */
  allows(key: string, who: object): boolean {
    this.#turnWindow()
    const kept = this.#keptOf(key, who)
    if (kept === undefined) {
      this.#others++
      return false
    }
    if (kept.written === this.#limits.perWindow || this.#written === this.#limits.inAll) {
      kept.held++
      return false
    }
    kept.written++
    this.#written++
    return true
  }

  /** Tells the counts. */
  flush(): void {
    for (const { who, held } of this.#kept.values()) if (held > 0) this.#tell(who, held)
    if (this.#others > 0) this.#tell({ others: true }, this.#others)
    this.#kept.clear()
    this.#written = 0
    this.#others = 0
  }

  #keptOf(key: string, who: object): Kept | undefined {
    const known = this.#kept.get(key)
    if (known !== undefined || this.#kept.size === this.#limits.kept) return known
    const kept = { who, written: 0, held: 0 }
    this.#kept.set(key, kept)
    return kept
  }

  /** A window begins with its first line; its counts are told when it is over. */
  #turnWindow(): void {
    if (this.#kept.size > 0 && this.#clock.now() < this.#endsAt) return
    this.flush()
    const endsAt = this.#clock.now() + this.#limits.windowMs
    this.#endsAt = endsAt
    this.#clock.after(this.#limits.windowMs, () => {
      if (this.#endsAt === endsAt) this.flush()
    })
  }
}
