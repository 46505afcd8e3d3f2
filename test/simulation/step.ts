/** One step of a simulation: a machine of its own, made from two numbers, driven and judged to its end. */

import type { RemappingUnit } from '../../hw-model/port.js'
import type { Rng } from './rng.js'

/** A command or descriptor: its two 64-bit words, low first. */
export type Command = readonly [low: bigint, high: bigint]

/** Looks on while a step is played, and may change what software says to the unit. */
export interface Onlooker {
  /** The unit is made, and nothing was sent to it. */
  unit(unit: RemappingUnit): void
  /** What is sent instead of a command; all of them are counted from 0. */
  instead(number: number, command: Command): readonly Command[]
  /** Access `number` comes next; answers what software says before it. */
  before(number: number): readonly Command[]
  /** All is done, or something went wrong; answers what software says then. */
  after(): readonly Command[]
}

/** How the unit under test is made. */
export interface StepOptions {
  /** Whether the unit keeps translations and configuration. */
  readonly cached: boolean
  readonly onlooker?: Onlooker
  /**
   * The guest comes back to what it has changed, and its unit has room: so what was not invalidated is met. It does fewer
   * other things, and takes no table for another.
   */
  readonly insists?: boolean
}

/** What a step did. */
export interface StepReport {
  readonly accesses: number
  /** Accesses that reached an address. */
  readonly translated: number
  /** Accesses that were blocked. */
  readonly blocked: number
  /** Translations answered from the cache. */
  readonly hits: number
  /** Commands or descriptors consumed. */
  readonly commands: number
  /** Accesses by what they had to do with, where the guest counts that. */
  readonly mix?: Readonly<Record<string, number>>
  /** Where unit and reference disagree first, in words. */
  readonly disagreement: string | undefined
  /** They disagree about how that access ended, and not only about what is recorded of it. */
  readonly isMisled: boolean
  /** A command was refused: it is not this unit's. */
  readonly isRefused: boolean
}

/** Plays one step. */
export type Step = (rng: Rng, options: StepOptions) => StepReport

/** Thrown where the unit and the reference disagree. */
export class Disagreement extends Error {
  /** @param about how an access ended (its frame, its rights or its fault), or a command that was refused */
  constructor(
    message: string,
    readonly about: 'ending' | 'command' | 'other' = 'other',
  ) {
    super(message)
  }
}

/** What unit and reference disagree about while something is done, or undefined. */
export function troubleOf(act: () => void): Disagreement | undefined {
  try {
    act()
    return undefined
  } catch (error) {
    if (error instanceof Disagreement) return error
    throw error
  }
}

/** A 64-bit value in hex. */
export const hex = (value: bigint | number): string => `0x${value.toString(16)}`
