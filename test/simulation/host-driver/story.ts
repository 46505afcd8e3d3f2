/** Makes random operations and plays them: to the plain model, and to the driver while somebody looks on. */

import type { Rng } from '../rng.js'
import { Aim } from './aim.js'
import { bump, type Counts } from './counts.js'
import type { GuestMemory } from './guest.js'
import { type Machine, OutOfMemory } from './machine.js'
import type { Changing, Device, Paging, Root, User, Viommu, Window } from './model.js'
import { type Moment, Onlooker } from './onlooker.js'
import type { Probe } from './oracle.js'

/** One operation, ready to be played. */
export interface Operation {
  readonly name: string
  /** In words, for who has to find out what went wrong. */
  text(): string
  /** What the rules say to it. */
  readonly errno: string | undefined
  /** What it may be refused with as well. */
  readonly mayBe?: string | undefined
  readonly probes: readonly Probe[]
  readonly moment: Moment
  /** Entries are stored, and not tables. */
  readonly isEntry: boolean
  /** Changes what is `now` in the model, and names what it changed. */
  apply(): readonly Changing<unknown>[]
  /** Has the driver do it. */
  act(): unknown
  /** Afterwards, when it was done. */
  done?(): string | undefined
}

/** Everything there is on one machine. */
export class World {
  readonly pagings: Paging[] = []
  readonly viommus: Viommu[] = []
  readonly users: User[] = []
  readonly windows: Window[] = []
  readonly roots: Root[] = []
  readonly guests = new Map<Paging, GuestMemory>()
  readonly aim: Aim
  readonly onlooker: Onlooker
  /** The domain of another unit. */
  foreign: Paging | undefined
  /** Most of what happens is a guest's. */
  likesGuests: boolean
  #named = 0

  constructor(
    readonly machine: Machine,
    readonly rng: Rng,
    readonly counts: Counts,
  ) {
    const { stage1, stage2 } = machine.facts
    this.likesGuests = stage1 && stage2 && rng.chance(0.5)
    this.aim = new Aim(rng)
    this.onlooker = new Onlooker(machine, counts)
    machine.memory.listener = this.onlooker
  }

  get found(): Device[] {
    return this.machine.devices.filter(({ ops }) => ops !== undefined)
  }

  name(kind: string): string {
    return `${kind}${++this.#named}`
  }

  /** Plays an operation; answers what is wrong, in words. */
  play(operation: Operation): string | undefined {
    const { onlooker, counts } = this
    counts.operations++
    this.#lookForLingering()
    onlooker.before(operation.probes, operation.moment, operation.isEntry)
    const changed = operation.errno === undefined ? operation.apply() : []
    this.#lookForLingering()
    onlooker.begin()
    const got = this.#act(operation)
    const isRight = got === operation.errno || got === 'ENOMEM' || (got !== undefined && got === operation.mayBe)
    if (got === undefined && isRight) for (const one of changed) one.settle()
    else for (const one of changed) one.revert()
    if (!isRight) return `the rules say ${operation.errno ?? 'yes'}, and the driver ${got ?? 'yes'}`
    if (got !== undefined) counts.refused++
    else bump(counts.done, operation.name)
    const wrong = got === undefined ? operation.done?.() : undefined
    this.#lookForLingering()
    onlooker.end(got === undefined)
    if (onlooker.found !== undefined) return onlooker.found
    const { device } = operation.moment
    if (onlooker.sawInvalid !== undefined && operation.moment.hasSte && device?.ops?.lastSetWasHitless === true) {
      return `${onlooker.sawInvalid}, and the driver says that the change was hitless`
    }
    return wrong
  }

  #lookForLingering(): void {
    this.machine.lingers = this.pagings.some(({ lingering }) => lingering.length > 0)
  }

  #act(operation: Operation): string | undefined {
    try {
      const completion = operation.act()
      return completion === undefined ? undefined : 'a promise'
    } catch (error) {
      if (!(error instanceof Error)) throw error
      if (error instanceof OutOfMemory) return 'ENOMEM'
      return error.name === 'Error' || error.name === 'TypeError' ? `bug: ${error.stack}` : error.name
    } finally {
      this.machine.failAfter = Number.POSITIVE_INFINITY
    }
  }
}
