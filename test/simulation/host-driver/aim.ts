/** Which DMAs are worth sending: at the edges of what is mapped, under the PASIDs that are used and one that is not. */

import type { Rng } from '../rng.js'
import { type Device, type GuestSpace, type Occupant, type Paging, pagingOf, type Run } from './model.js'
import { Probe } from './oracle.js'

const OFFSETS = [0, 0x238, 0xff8] as const

/** Probes that are kept, so that the reference need not walk again for those it has walked for. */
const KEPT = 2000

/** Where a DMA could go. */
export interface Place {
  readonly device: Device
  /** -1: none. */
  readonly pasid: number
}

/** Chooses accesses. */
export class Aim {
  readonly #rng: Rng
  #known = new Map<string, Probe>()

  constructor(rng: Rng) {
    this.#rng = rng
  }

  /** A DMA to a page. */
  at({ device, pasid }: Place, page: number): Probe {
    const write = this.#rng.chance(0.4)
    const offset = OFFSETS[page % 3]
    const key = `${device.index} ${pasid} ${page} ${write}`
    const known = this.#known.get(key)
    if (known !== undefined) return known
    if (this.#known.size >= KEPT) this.#known = new Map()
    const probe = new Probe(device.index, device.facts.rid, pasid, page, offset, write)
    this.#known.set(key, probe)
    return probe
  }

  /** A DMA to somewhere that means something to who is in the slot now. */
  near(place: Place): Probe {
    return this.at(place, this.pageOf(occupantOf(place), place.pasid))
  }

  /** A page that means something to a domain. */
  pageOf(domain: Occupant | undefined, pasid: number): number {
    const rng = this.#rng
    if (domain === undefined) return rng.pick([0x10, 0x200, 0x40000])
    if (domain.kind === 'paging') return this.#edge(domain.runs.now)
    if (domain.kind === 'root') return this.#edge(domain.space.runs.now)
    if (domain.kind === 'window') return this.#edge(domain.parent.runs.now)
    const { table, viommu, dss, cdMax } = domain
    const index = pasid >= 0 ? pasid : 0
    const space = table?.spaces.now.get(index)
    const isPast = table === undefined || (pasid < 0 && cdMax > 0 && dss === 1)
    return isPast || space === undefined ? this.#edge(viommu.parent.runs.now) : this.#edge(space.runs.now)
  }

  /** A DMA of a guest's that ends in a run of its parent, if its tables have one. */
  through({ device, pasid }: Place, { page, pages }: Run): Probe | undefined {
    const space = spaceAt({ device, pasid })
    const own = space?.runs.now.find((run) => run.frame < page + pages && run.frame + run.pages > page)
    return own && this.at({ device, pasid }, own.page + Math.max(0, page - own.frame))
  }

  /** A PASID that is not in use, of those that a device could send. */
  strangePasid(device: Device): number {
    const pasid = this.#rng.pick([0, 1, 2, 3, 5, 17, 40, 63, 64, 1023, 1024, 0xfffff])
    return device.slots.now.has(pasid) && pasid !== 0 ? 6 : pasid
  }

  /** At a run: its first and last page, one inside, and those beside it. */
  #edge(runs: readonly Run[]): number {
    const rng = this.#rng
    if (runs.length === 0 || rng.chance(0.05)) return rng.pick([0x10, 0x11, 0x200, 0x40000])
    const run = rng.pick(runs)
    switch (rng.int(8)) {
      case 0:
        return Math.max(0, run.page - 1)
      case 1:
        return run.page + run.pages
      case 2:
      case 3:
        return run.page + run.pages - 1
      case 4:
        return run.page + Math.min(run.pages - 1, rng.pick([511, 512, 1, 2]))
      default:
        return run.page
    }
  }
}

/** Who is in the slot that a DMA goes to. */
export function occupantOf({ device, pasid }: Place): Occupant | undefined {
  const onRid = device.slots.now.get(0)
  if (pasid <= 0 || onRid?.kind === 'user') return onRid
  return device.slots.now.get(pasid)
}

/** Where a domain can be seen from: its own slots, and those of guests that it stands behind. */
export function placesOf(devices: readonly Device[], domain: Paging): Place[] {
  const places: Place[] = []
  for (const device of devices) {
    for (const [slot, occupant] of device.slots.now) {
      if (occupant === domain) places.push({ device, pasid: slot === 0 ? -1 : slot })
      else if (pagingOf(occupant) !== domain) continue
      else if (occupant.kind !== 'user') places.push({ device, pasid: slot === 0 ? -1 : slot })
      else {
        places.push({ device, pasid: -1 })
        for (const index of occupant.table?.spaces.now.keys() ?? [])
          if (index > 0) places.push({ device, pasid: index })
      }
    }
  }
  return places
}

/** The guest's tables that a DMA goes through, if any. */
function spaceAt({ device, pasid }: Place): GuestSpace | undefined {
  const onRid = device.slots.now.get(0)
  const index = Math.max(0, pasid)
  if (onRid?.kind === 'user') return onRid.table?.spaces.now.get(index)
  const domain = device.slots.now.get(index)
  return domain?.kind === 'root' ? domain.space : undefined
}

/** Where a guest's tables can be seen from, by the PASID that leads there; -1 for CD 0. */
export function guestPlacesOf(devices: readonly Device[], space: GuestSpace): Place[] {
  const places: Place[] = []
  for (const device of devices) {
    const onRid = device.slots.now.get(0)
    const table = onRid?.kind === 'user' ? onRid.table : undefined
    const slots = [...(table?.spaces.now.keys() ?? device.slots.now.keys())]
    for (const slot of slots) {
      const place = { device, pasid: slot === 0 ? -1 : slot }
      if (spaceAt(place) === space) places.push(place)
    }
  }
  return places
}
