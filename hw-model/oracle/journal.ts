/** What a unit was told: its operations are counted, and the last invalidations are remembered. */

import type { Invalidation, SentInvalidation } from '../port.js'
import type { Subject } from './subject.js'

/** Invalidations remembered. */
const REMEMBERED = 256

/** Sent ones that a report names at most. */
const NAMED = 4

interface Entry {
  readonly command: Invalidation
  readonly at: number
  /** SYNCs that had completed before it. */
  readonly syncs: number
}

/** Operations, SYNCs and invalidations of one unit. */
export class Journal {
  /** Number of the last operation. */
  operation = 0
  /** SYNCs or waits completed. */
  syncs = 0
  readonly #ring: Entry[] = []
  #turn = 0

  /** An invalidation was consumed. */
  sent(command: Invalidation): void {
    this.operation++
    this.#ring[this.#turn] = { command, at: this.operation, syncs: this.syncs }
    this.#turn = (this.#turn + 1) % REMEMBERED
  }

  /**
   * The operation after which all that is missing had been sent, where no SYNC has completed since; 0 where it was not.
   *
   * @param rightAt what came before it was for something else
   */
  pendingSince(subject: Subject, missing: readonly Invalidation[], rightAt: number): number {
    let since = 0
    for (const each of missing) {
      const entry = this.#ring.find(
        ({ command, at, syncs }) =>
          at > rightAt && syncs === this.syncs && subject.shortfalls(command, each)?.length === 0,
      )
      if (entry === undefined) return 0
      since = Math.max(since, entry.at)
    }
    return since
  }

  /** Whether any was sent after an operation. */
  sentSince(operation: number): boolean {
    return this.#ring.some(({ at }) => at > operation)
  }

  /** The nearest commands that were sent in place of the missing ones, nearest first. */
  nearest(subject: Subject, missing: readonly Invalidation[], rightAt: number): readonly SentInvalidation[] {
    const near: { readonly entry: Entry; readonly short: readonly string[] }[] = []
    for (const entry of this.#ring) {
      let best: readonly string[] | null = null
      for (const each of missing) {
        const short = subject.shortfalls(entry.command, each)
        if (short !== null && (best === null || short.length < best.length)) best = short
      }
      if (best !== null) near.push({ entry, short: best })
    }
    // A command that comes after the change is nearer than one before it, and of two alike the later one is.
    const cost = ({ entry, short }: (typeof near)[number]): number => short.length + (entry.at > rightAt ? 0 : 2)
    near.sort((one, other) => cost(one) - cost(other) || other.entry.at - one.entry.at)
    return near.slice(0, NAMED).map(({ entry, short }) => ({
      command: entry.command,
      at: entry.at,
      why: [...short, ...this.#timing(entry, short.length === 0, rightAt)].join('; '),
    }))
  }

  #timing({ at, syncs }: Entry, covers: boolean, rightAt: number): readonly string[] {
    if (at <= rightAt) return [`before the change: the entry was right at operation ${rightAt}`]
    if (syncs === this.syncs) return covers ? ['no SYNC since'] : []
    return covers ? ['it came before the change, or something has filled the entry again from what was stale'] : []
  }
}
