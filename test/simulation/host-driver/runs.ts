/** Runs of pages by chance, as large and as crooked as blocks need them, and DMAs around them. */

import { placesOf } from './aim.js'
import { TABLES_PAGE, TABLES_PAGES } from './guest.js'
import { CLIENT_RAM } from './machine.js'
import type { Device, Paging, Run } from './model.js'
import type { Probe } from './oracle.js'
import type { World } from './story.js'

const RUNS = 10
const BLOCK = 512
const GIANT = 512 * 512
const CLIENT_FRAME = CLIENT_RAM / 4096

/** Pages of a parent that are for windows. */
export const WINDOWS_PAGE = 0x90000
export const WINDOWS_END = 0xa0000

/** A run that fits between the others, or undefined by chance. */
export function chooseRun(world: World, domain: Paging): Run | undefined {
  const { rng, machine, guests } = world
  const guest = guests.get(domain)
  const isFree = (page: number, pages: number): boolean =>
    [...domain.runs.now, ...domain.lingering].every((run) => page + pages <= run.page || page >= run.page + run.pages)
  const rights = { read: rng.chance(0.9), write: rng.chance(0.7) }
  if (guest !== undefined && isFree(TABLES_PAGE, TABLES_PAGES)) {
    return { page: TABLES_PAGE, pages: TABLES_PAGES, frame: guest.physical / 4096, read: true, write: true }
  }
  if (domain.runs.now.length >= RUNS) return undefined
  const end = 2 ** ((domain.stage === 1 ? 48 : machine.facts.oasBits) - 12)
  const [page, pages, align] = shapeOf(world, end)
  const isKept = domain.isParent && page < WINDOWS_END && page + pages > WINDOWS_PAGE
  if (isKept || page < 0 || page + pages > end || !isFree(page, pages)) return undefined
  if (!rights.read && !rights.write) return undefined
  // As far off the block as the page is, so that a block can stand there.
  const frame = CLIENT_FRAME + rng.int(4) * GIANT + rng.int(align === GIANT ? 1 : 400) * align + (page % align)
  return { page, pages, frame, ...rights }
}

/** First page, pages, and what page and frame have in common. */
function shapeOf({ rng }: World, end: number): readonly [page: number, pages: number, align: number] {
  const roll = rng.int(100)
  if (roll < 50)
    return [rng.pick([0x10, 0x18, 0x1f8, 0x1fc, 0x3ff, 0x40000, end - 8]) + rng.int(5), rng.between(1, 6), 1]
  const before = rng.int(3)
  const after = rng.int(3)
  const block = rng.pick([0x200, 0x400, 0x40200, GIANT * 3])
  if (roll < 80) return [block - before, BLOCK * rng.between(1, 2) + before + after, BLOCK]
  if (roll < 97) return [GIANT * rng.between(1, 3) - before, GIANT + before + after, GIANT]
  return [block, rng.chance(0.3) ? BLOCK + rng.int(9) : 20 + rng.int(40), 1]
}

/** DMAs around runs, from wherever the domain can be seen, and some elsewhere. */
export function runProbes(world: World, domain: Paging, runs: readonly Run[]): Probe[] {
  const { rng, aim } = world
  const places = placesOf(world.machine.devices, domain)
  const probes: Probe[] = []
  for (let i = 0; i < Math.min(2, places.length); i++) {
    const place = rng.pick(places)
    for (const run of runs) {
      const { page, pages } = run
      const through = aim.through(place, run)
      if (through !== undefined) probes.push(through)
      const inside = page + Math.min(pages - 1, rng.pick([1, 511, 512]))
      for (const at of [page, page + pages - 1, inside]) probes.push(aim.at(place, at))
      probes.push(aim.at(place, rng.chance(0.5) ? page + pages : Math.max(0, page - 1)))
    }
  }
  return [...new Set([...probes, ...someProbes(world)])]
}

/** One DMA of each device, but for one that has others. */
export function someProbes({ rng, aim, machine, found }: World, but?: Device): Probe[] {
  // Of those that are not found yet, one is enough.
  const rest = machine.devices.length > found.length ? [machine.devices[machine.devices.length - 1]] : []
  return [...found, ...rest]
    .filter((device) => device !== but)
    .map((device) => {
      const pasids = [-1, ...device.slots.now.keys()].map((slot) => (slot === 0 ? -1 : slot))
      return aim.near({ device, pasid: rng.pick(pasids) })
    })
}
