/**
 * Invalidations of our caches beside those of IOTLBs built QEMU's way; rows P5 and P6. Only the invalidation is timed;
 * what it forgot is looked for afterwards, none of it may be there, and then it is filled again, which is timed apart:
 * a cache that forgets in one store pays for it where later fills meet what is dead.
 */

import { cpuNs } from './clock.js'
import { type Contender, nsOf, type Turn } from './measure.js'
import type { Ours } from './ours.js'
import type { Peer } from './peer.js'
import { type Bench, Missing } from './row.js'
import type { Work } from './work.js'

/** One kind of invalidation. */
export interface Drop {
  readonly name: string
  readonly ours: Ours
  readonly work: Work
  /** Invalidations that can be given one after the other before anything has to be filled again. */
  readonly batch: number
  /** Ours, a turn. */
  readonly rounds: number
  /** Gives the nth invalidation. */
  drop(n: number): void
  /** Calls back with each translation that the nth forgets. */
  each(n: number, forgotten: (entry: number) => void): void
}

/** What a fill costs behind an invalidation, and where the same translation is there still; nanoseconds. */
export interface Refill {
  readonly afterNs: number
  readonly inPlaceNs: number
}

/** Ours, as one of a race. */
export class Dropper {
  readonly contender: Contender
  readonly #drop: Drop
  #at = 0
  #fills = 0
  #afterNs = 0
  #inPlaceNs = 0

  constructor(drop: Drop) {
    this.#drop = drop
    warm(drop)
    this.contender = { name: drop.name, operations: 1, rounds: drop.rounds, run: (rounds) => this.#run(rounds) }
  }

  get refill(): Refill {
    return { afterNs: this.#afterNs / this.#fills, inPlaceNs: this.#inPlaceNs / this.#fills }
  }

  #run(rounds: number): Turn {
    const { batch, drop } = this.#drop
    let ns = 0
    let sum = 0
    for (let round = 0; round < rounds; round += batch) {
      const many = Math.min(batch, rounds - round)
      const began = cpuNs()
      for (let i = 0; i < many; i++) drop(this.#at + i)
      ns += cpuNs() - began - CLOCK_NS
      sum += this.#restore(many)
      this.#at += many
    }
    return { ns: Math.max(ns, 1), sum }
  }

  /** Looks for what is gone, and fills it again. Answers how much that was. */
  #restore(many: number): number {
    const { each, ours } = this.#drop
    const gone: number[] = []
    for (let i = 0; i < many; i++) each(this.#at + i, (entry) => gone.push(entry))
    for (const entry of gone)
      if (ours.has(entry)) throw new Error(`${this.#drop.name}: translation ${entry} is still there`)
    const began = cpuNs()
    for (const entry of gone) ours.fill(entry)
    const filled = cpuNs()
    for (const entry of gone) ours.fill(entry)
    this.#afterNs += filled - began
    this.#inPlaceNs += cpuNs() - filled
    this.#fills += gone.length
    return gone.length
  }
}

/** A daemon has run for days: what is timed once is code that the engine has compiled long ago. */
function warm({ drop, ours, work }: Drop): void {
  const until = cpuNs() + WARM_NS
  for (let n = 0; n < WARM_MOST && (n % 64 !== 0 || cpuNs() < until); n++) {
    // There is something to drop now and then, or the code that does it is not what is compiled.
    if (n % 4 === 0) ours.fill(work.order[(n >> 2) % work.order.length])
    drop(n)
  }
  for (const entry of work.order) ours.fill(entry)
}

const WARM_NS = 3e7
const WARM_MOST = 50_000

/** What two looks at the clock cost. */
const CLOCK_NS = (() => {
  const samples: number[] = []
  for (let i = 0; i < 1001; i++) {
    const began = cpuNs()
    samples.push(cpuNs() - began)
  }
  return samples.sort((a, b) => a - b)[500]
})()

/** What one kind of invalidation costs, beside a peer's sweep; null where there is no peer. */
export interface DropTimes {
  readonly name: string
  readonly oursNs: number
  readonly sweepNs: number | null
  readonly refill: Refill
  readonly missing?: string
}

/** How a peer is asked for the same. */
export interface Sweep {
  readonly source: string
  readonly words: readonly string[]
  readonly what: string
  readonly rounds: number
}

/** Times both in turns. */
export async function timeDrop(bench: Bench, drop: Drop, sweep: Sweep): Promise<DropTimes> {
  const dropper = new Dropper(drop)
  let peer: Peer | null = null
  let missing: string | undefined
  try {
    peer = await bench.peer(sweep.source, sweep.words)
  } catch (error) {
    if (!(error instanceof Missing)) throw error
    missing = error.message
  }
  const theirs = peer?.contender('sweep', 1, sweep.what, sweep.rounds)
  const timings = await bench.race(theirs === undefined ? [dropper.contender] : [dropper.contender, theirs], {
    turns: 5,
  })
  peer?.stop()
  const oursNs = nsOf(timings, drop.name)
  const sweepNs = theirs === undefined ? null : nsOf(timings, 'sweep')
  const { refill } = dropper
  bench.say(
    `${drop.name}: ${oursNs.toFixed(0)} ns, sweep ${sweepNs?.toFixed(0) ?? '?'} ns; a fill behind it ` +
      `${refill.afterNs.toFixed(0)} ns, in place ${refill.inPlaceNs.toFixed(0)} ns`,
  )
  return { name: drop.name, oursNs, sweepNs, refill, missing }
}
