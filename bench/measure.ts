/** Side by side in one run: contenders take turns, and only the ratio of their medians is worth anything. */

import { cpuNs, wallNs } from './clock.js'

/** What one turn took, and the checksum of what it did. */
export interface Turn {
  readonly ns: number
  readonly sum: number
}

/**
 * Something to time. It does its work `rounds` times over and answers a checksum, so that nothing is optimized away: a
 * whole number, of N rounds N times that of one, modulo 2^32. A peer times itself.
 */
export interface Contender {
  readonly name: string
  /** Operations in one round. */
  readonly operations: number
  /** Rounds a turn, where what has to be prepared for each takes far longer than what counts. */
  readonly rounds?: number
  run(rounds: number): number | Turn | Promise<number | Turn>
}

/** Nanoseconds an operation took, each turn. */
export interface Timing {
  readonly name: string
  readonly medianNs: number
  readonly minNs: number
  readonly maxNs: number
}

/** How a race is held. */
export interface RaceOptions {
  readonly turns: number
  /** About how long each turn is. */
  readonly turnMs: number
  /** Whether all contenders do the same: their checksums must agree then. */
  readonly agree: boolean
  /**
   * By the clock on the wall, for what waits for others; without it what a turn cost its thread, since the machine may
   * have other work.
   */
  readonly isWall: boolean
}

/** Contenders that were to do the same did not. */
export class Disagreement extends Error {}

/** Times contenders in turns. Each gets as many rounds as fill about `turnMs`. @throws Disagreement */
export async function race(contenders: readonly Contender[], options: RaceOptions): Promise<Timing[]> {
  const { turns, turnMs, agree, isWall } = options
  const sums = new Map<string, number>()
  const rounds: number[] = []
  for (const contender of contenders) {
    sums.set(contender.name, (await time(contender, 1, isWall)).sum)
    rounds.push(contender.rounds ?? (await calibrate(contender, turnMs, isWall)))
  }
  if (agree) mustAgree(sums)
  const samples: number[][] = contenders.map(() => [])
  for (let turn = 0; turn < turns; turn++) {
    for (const [i, contender] of contenders.entries()) {
      const { ns, sum } = await time(contender, rounds[i], isWall)
      samples[i].push(ns / (rounds[i] * contender.operations))
      if (agree && sum >>> 0 !== Math.imul(sums.get(contender.name) as number, rounds[i]) >>> 0) {
        throw new Disagreement(
          `${contender.name}: the checksum of ${rounds[i]} rounds is not that of one, so many times`,
        )
      }
    }
  }
  return contenders.map(({ name }, i) => {
    const sorted = samples[i].sort((a, b) => a - b)
    return { name, medianNs: medianOf(sorted), minNs: sorted[0], maxNs: sorted[sorted.length - 1] }
  })
}

/** The middle one of sorted numbers. */
export const medianOf = (sorted: readonly number[]): number => sorted[sorted.length >> 1]

/** The median of a contender, in nanoseconds an operation. */
export function nsOf(timings: readonly Timing[], name: string): number {
  const timing = timings.find((timing) => timing.name === name)
  if (timing === undefined) throw new Error(`${name} took no part in the race`)
  return timing.medianNs
}

/** What gathers many ratios into one number. */
export const geometricMean = (values: readonly number[]): number =>
  Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length)

function mustAgree(sums: ReadonlyMap<string, number>): void {
  const all = [...sums].map(([name, sum]) => `${name} ${sum >>> 0}`)
  if (new Set([...sums.values()].map((sum) => sum >>> 0)).size > 1) {
    throw new Disagreement(`checksums of one round do not agree: ${all.join(', ')}`)
  }
}

async function calibrate(contender: Contender, turnMs: number, isWall: boolean): Promise<number> {
  let rounds = 1
  for (;;) {
    const { ns } = await time(contender, rounds, isWall)
    if (ns >= turnMs * 5e5) return Math.max(1, Math.round((rounds * turnMs * 1e6) / ns))
    rounds *= 2
  }
}

async function time(contender: Contender, rounds: number, isWall: boolean): Promise<Turn> {
  const clock = isWall ? wallNs : cpuNs
  const began = clock()
  const done = await contender.run(rounds)
  const turn = typeof done === 'number' ? { ns: clock() - began, sum: done } : done
  if (!Number.isFinite(turn.sum)) throw new Error(`${contender.name}: the checksum is no number`)
  return turn
}
