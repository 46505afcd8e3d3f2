/** Counts what a run found, and says whether it shows what a run of its size must show. */

import { QUIRK_SHARE } from './quirks.js'

/** A run of so many cases must have the whole mix; a shorter one may miss what is rare. */
export const FULL_RUN = 100_000

/** Shares of all cases. */
const TRANSLATED_SHARE = 0.3
const CHANGED_SHARE = 0.1
const OUTCOME_SHARE = 0.001

/** The line that ends a report. */
export interface Report {
  readonly arch: string
  readonly seed: number
  readonly qemu: string
  readonly cases: number
  readonly agreed: number
  readonly excused: number
  readonly disagreed: number
  /** Cases by how they end, and by what had been done to what they hit. */
  readonly mix: Readonly<Record<string, number>>
  /** Cases covered by each excuse; one may be covered by several. */
  readonly excusedBy: Readonly<Record<string, number>>
  /** Quirks that the reference no longer shows; their excuses were off. */
  readonly gone: readonly string[]
  /** Probes that ours does not answer as the manual. */
  readonly wrong: readonly string[]
  /** Accesses that were not made, since they would reach devices or end the reference. */
  readonly withheld: number
  /** How often the reference ended itself; the cases of such an epoch do not count. */
  readonly crashes: number
  readonly seconds: number
  /** What a run of this size must show and this one does not. */
  readonly missing: readonly string[]
}

/** What became of one case, for counting. */
export interface Counted {
  readonly ends: string
  readonly change: string
  readonly excuses: readonly string[]
  readonly hasDifferences: boolean
}

/** The sums of a run. */
export class Tally {
  cases = 0
  agreed = 0
  excused = 0
  disagreed = 0
  withheld = 0
  crashes = 0
  readonly gone: string[] = []
  readonly wrong: string[] = []
  readonly mix: Record<string, number> = {}
  readonly excusedBy: Record<string, number> = {}
  readonly #outcomes: readonly string[]

  /** @param outcomes every end that the reference can produce */
  constructor(outcomes: readonly string[]) {
    this.#outcomes = outcomes
    for (const name of [...outcomes, 'stale', 'rewalked']) this.mix[name] = 0
  }

  count({ ends, change, excuses, hasDifferences }: Counted): void {
    this.cases++
    this.mix[ends] = (this.mix[ends] ?? 0) + 1
    if (change !== '') this.mix[change]++
    for (const name of excuses) this.excusedBy[name] = (this.excusedBy[name] ?? 0) + 1
    if (hasDifferences) this.disagreed++
    else if (excuses.length > 0) this.excused++
    else this.agreed++
  }

  /** What is too rare or too common for a run of this size. */
  missing(): string[] {
    const share = (count: number): number => count / Math.max(1, this.cases)
    const found: string[] = []
    if (this.cases >= FULL_RUN) {
      if (share(this.mix['translated'] ?? 0) < TRANSLATED_SHARE) found.push('fewer than 30 % translate')
      const changed = this.mix['stale'] + this.mix['rewalked']
      if (share(changed) < CHANGED_SHARE) found.push('fewer than 10 % hit an entry whose table changed')
      for (const name of this.#outcomes) {
        if (share(this.mix[name]) < OUTCOME_SHARE) found.push(`${name} is rarer than 0.1 %`)
      }
      for (const [name, count] of Object.entries(this.excusedBy)) {
        if (share(count) > QUIRK_SHARE) found.push(`the excuse ${name} covers more than 2 %`)
      }
    }
    return found
  }

  /** For people. */
  summary(): string {
    const percent = (count: number): string => `${((100 * count) / Math.max(1, this.cases)).toFixed(2)} %`
    const list = (counts: Readonly<Record<string, number>>): string =>
      Object.entries(counts)
        .map(([name, count]) => `  ${name.padEnd(20)} ${percent(count)}`)
        .join('\n')
    const { cases, agreed, excused, disagreed, withheld } = this
    const head = `${cases} cases: ${agreed} agreed, ${excused} excused, ${disagreed} disagreed; ${withheld} not made`
    return `${head}\n${list(this.mix)}\nexcused by\n${list(this.excusedBy)}`
  }

  report(arch: string, seed: number, qemu: string, seconds: number): Report {
    const { cases, agreed, excused, disagreed, mix, excusedBy, gone, wrong, withheld, crashes } = this
    const counts = { cases, agreed, excused, disagreed, mix, excusedBy }
    return { arch, seed, qemu, ...counts, gone, wrong, withheld, crashes, seconds, missing: this.missing() }
  }
}
