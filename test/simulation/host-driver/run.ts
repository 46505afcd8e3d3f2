/**
 * Plays random operations on random machines. A machine lives for some hundred operations, and every third has no caches:
 * there each DMA is the reference walker's answer to the very memory of that moment.
 */

import { Rng } from '../rng.js'
import { type Counts, noCounts } from './counts.js'
import { collectDirty } from './dirty-operations.js'
import { guestEdit } from './guest-operations.js'
import { Machine } from './machine.js'
import { createPaging, destroyPaging, flush, makeForeign, map, unmap } from './paging-operations.js'
import { attach, detach, devicesOf, probeDevice, reset } from './slot-operations.js'
import { type Operation, World } from './story.js'
import { chooseMachine } from './units.js'
import { createUser, createViommu, destroyGuest, nameDevice } from './viommu-operations.js'
import { WatchedMemory } from './watched-memory.js'
import { createRoot, createWindow, destroyWindow, growWindow } from './window-operations.js'

const LIFETIME = 1000

type Maker = (world: World) => Operation | undefined

type Makers = readonly (readonly [Maker, number])[]

/** How often each is tried, on machines for guests. */
const GUESTS: Makers = [
  [map, 14],
  [unmap, 8],
  [flush, 1],
  [attach, 14],
  [detach, 3],
  [createPaging, 4],
  [destroyPaging, 1],
  [createViommu, 5],
  [nameDevice, 6],
  [createUser, 8],
  [destroyGuest, 1],
  [guestEdit, 30],
  [createWindow, 4],
  [growWindow, 3],
  [createRoot, 6],
  [destroyWindow, 1],
  [reset, 1],
  [collectDirty, 3],
  [probeDevice, 1],
]

/** The same on others. */
const HOSTS: Makers = [
  [map, 22],
  [unmap, 16],
  [flush, 2],
  [attach, 22],
  [detach, 9],
  [createPaging, 4],
  [destroyPaging, 2],
  [createViommu, 2],
  [nameDevice, 3],
  [createUser, 4],
  [destroyGuest, 2],
  [guestEdit, 9],
  [createWindow, 1],
  [growWindow, 1],
  [createRoot, 2],
  [destroyWindow, 1],
  [reset, 1],
  [collectDirty, 3],
  [probeDevice, 1],
]

/** What went wrong, and how to see it again. */
export interface Finding {
  readonly machine: number
  readonly operation: number
  readonly what: string
}

/** What to play, and how to tamper with it. */
export interface Plan {
  readonly seed: number
  readonly operations: number
  /** The first machine's number. */
  readonly from?: number
  /** Operations on one machine. */
  readonly lifetime?: number
  /** Disagreements that are enough. */
  readonly most?: number
  /** The memory of a machine, where it is not to be trusted. */
  readonly memory?: () => WatchedMemory
  /** Changes a machine before anything happens on it. */
  readonly tamper?: (world: World) => void
}

/** Plays until so many operations were made; answers what was counted. */
export function run(
  { seed, operations, from = 0, lifetime = LIFETIME, most = Number.POSITIVE_INFINITY, memory, tamper }: Plan,
  onFinding: (finding: Finding) => void,
  onProgress: (counts: Counts) => void = () => {},
): Counts {
  const counts = noCounts()
  for (let number = from; counts.operations < operations && counts.disagreements < most; number++) {
    const rng = new Rng(seed, number)
    const machine = new Machine(chooseMachine(rng, number % 3 !== 0), memory?.() ?? new WatchedMemory())
    const world = new World(machine, rng, counts)
    makeForeign(world)
    devicesOf(world)
    tamper?.(world)
    counts.machines++
    live(world, Math.min(lifetime, operations - counts.operations), (operation, what) => {
      counts.disagreements++
      onFinding({ machine: number, operation, what })
    })
    counts.walks += machine.oracle.walks
    onProgress(counts)
  }
  return counts
}

/** Plays on one machine, until something is wrong. */
function live(world: World, operations: number, onWrong: (operation: number, what: string) => void): void {
  const from = world.counts.operations
  const told: string[] = []
  while (world.counts.operations - from < operations) {
    const operation = choose(world)
    if (operation === undefined) continue
    told.push(`${operation.name}: ${operation.text()}`)
    if (told.length > 6) told.shift()
    const wrong = world.play(operation)
    if (wrong === undefined) continue
    onWrong(world.counts.operations - from, report(world, operation, wrong, told))
    return
  }
}

function choose(world: World): Operation | undefined {
  const makers = world.likesGuests ? GUESTS : HOSTS
  let roll = world.rng.int(makers.reduce((sum, [, weight]) => sum + weight, 0))
  for (const [maker, weight] of makers) {
    if (roll < weight) return maker(world)
    roll -= weight
  }
  return undefined
}

function report({ machine }: World, { moment }: Operation, wrong: string, told: readonly string[]): string {
  const { choice } = machine
  const lines = [
    wrong,
    `unit: ${choice.traits.join(', ')}; caches ${JSON.stringify(choice.caches)}`,
    ...told.map((text) => `  ${text}`),
  ]
  const { device } = moment
  for (const one of machine.devices) {
    if (device !== undefined && one !== device) continue
    const words = machine.steWords(one.facts.rid).map((word) => word.toString(16))
    const slots = [...one.slots.now].map(([slot, { name }]) => `${slot}: ${name}`)
    lines.push(
      `  device ${one.index} (0x${one.facts.rid.toString(16)}), slots ${slots.join(', ')}, STE ${words.join(' ')}`,
    )
  }
  return lines.join('\n')
}
