/** What guests do to their own tables, and how they invalidate. */

import { givenEntries } from '../../../server/core/driver.js'
import { guestPlacesOf } from './aim.js'
import { type GuestMemory, TABLES_PAGE } from './guest.js'
import { type Device, type GuestSpace, type GuestTable, leafLg2, type Paging, type Run, type Viommu } from './model.js'
import type { Probe } from './oracle.js'
import { plain } from './paging-operations.js'
import { someProbes } from './runs.js'
import type { Operation, World } from './story.js'

const SPACES = 6

/** A guest changes its CD table, or the tables behind one of its CDs, and invalidates as its manual asks. */
export function guestEdit(world: World): Operation | undefined {
  const { rng } = world
  const parents = [...world.guests].filter(([parent]) => hasGuest(world, parent))
  if (parents.length === 0) return undefined
  const [parent, guest] = rng.pick(parents)
  if (guest.spaces.length < SPACES && guest.hasRoom && rng.chance(0.3)) guest.makeSpace()
  if (guest.spaces.length === 0) return undefined
  if (guest.tables.length > 0 && rng.chance(0.4)) return editCd(world, parent, guest)
  return editSpace(world, parent, guest, rng.pick(guest.spaces))
}

/** Somebody's tables stand before it. */
const hasGuest = ({ viommus, windows }: World, parent: Paging): boolean =>
  viommus.some((viommu) => viommu.parent === parent) || windows.some((window) => window.parent === parent)

function editSpace(world: World, parent: Paging, guest: GuestMemory, space: GuestSpace): Operation | undefined {
  const { rng } = world
  const runs = space.runs.now
  if (runs.length > 5 || (runs.length > 0 && rng.chance(0.35))) {
    const gone = rng.pick(runs)
    return {
      ...plain('guest unmaps', () => `0x${gone.page.toString(16)} of ASID ${space.asid} on ${parent.name}`),
      probes: spaceProbes(world, space, gone),
      apply: () => {
        space.runs.now = runs.filter((run) => run !== gone)
        return [space.runs]
      },
      act: () => {
        guest.unmap(space, gone)
        const flushed = gone.pages === 512 ? 1 : gone.pages
        const commands = Array.from({ length: flushed }, (_, i) => ({
          dw0: 0x12n | (BigInt(space.asid) << 48n),
          dw1: BigInt(gone.page + i) * 4096n,
        }))
        invalidateRoots(world, space, gone)
        return invalidate(world, parent, [...commands, ...forgetInDevices(world, parent)])
      },
    }
  }
  if (!guest.hasRoom) return undefined
  const run = guestRun(world, parent)
  const isFree = runs.every((other) => run.page + run.pages <= other.page || run.page >= other.page + other.pages)
  // Where a table was, no block can be.
  if (!isFree) return undefined
  return {
    ...plain('guest maps', () => `${run.pages} pages from 0x${run.page.toString(16)} of ASID ${space.asid}`),
    probes: spaceProbes(world, space, run),
    apply: () => {
      space.runs.now = [...runs, run]
      return [space.runs]
    },
    act: () => {
      if (!guest.map(world.rng, space, run)) throw new Error('the guest cannot map there')
    },
  }
}

/** Pages of a guest lead to what its parent maps, mostly. */
function guestRun({ rng, aim }: World, parent: Paging): Run {
  const write = rng.chance(0.7)
  if (rng.chance(0.15)) {
    const frame = Math.floor(Math.min(aim.pageOf(parent, -1), 2 ** 36 - 1) / 512) * 512
    return { page: 512 * rng.between(8, 10), pages: 512, frame, read: true, write }
  }
  const own = parent.runs.now.filter(({ page }) => page !== TABLES_PAGE)
  const wanted = own.length > 0 && rng.chance(0.8) ? rng.pick(own).page : aim.pageOf(parent, -1)
  // A leaf has no bits for more than 48 bits of address.
  const frame = Math.min(wanted, 2 ** 36 - 8)
  return {
    page: rng.pick([0x10, 0x14, 0x1fe, 0x40010]) + rng.int(4),
    pages: rng.between(1, 3),
    frame,
    read: true,
    write,
  }
}

function editCd(world: World, parent: Paging, guest: GuestMemory): Operation | undefined {
  const { rng } = world
  const table = rng.pick(guest.tables)
  const index = rng.chance(0.5) ? 0 : rng.int(2 ** table.lg2)
  const isTwoLevel = table.format !== 0 && table.lg2 > 0
  const leaf = index >>> leafLg2(table.format)
  const old = table.spaces.now.get(index)
  const needsLeaf = isTwoLevel && !table.leaves.now.has(leaf)
  if (needsLeaf && !guest.hasRoom) return undefined
  const space = rng.pick(guest.spaces)
  const name = old !== undefined ? 'guest clears a CD' : 'guest writes a CD'
  return {
    ...plain(name, () => `${index} of the table at 0x${table.pointer.toString(16)} on ${parent.name}`),
    isEntry: true,
    probes: cdProbes(world, table, index, old ?? space),
    apply: () => {
      const spaces = new Map(table.spaces.now)
      if (old === undefined) spaces.set(index, space)
      else spaces.delete(index)
      table.spaces.now = spaces
      if (needsLeaf) table.leaves.now = new Set(table.leaves.now).add(leaf)
      return [table.spaces, table.leaves]
    },
    act: () => {
      if (needsLeaf) guest.writeLeaf(table, leaf)
      if (old === undefined) guest.writeCd(table, index, space)
      else guest.clearCd(table, index)
      return invalidate(world, parent, [...forgetCd(world, parent, index), ...forgetInDevices(world, parent)])
    },
  }
}

/** CFGI_CD by every name that the parent's guests have. */
function forgetCd(world: World, parent: Paging, index: number): { dw0: bigint; dw1: bigint; viommu: Viommu }[] {
  return world.viommus
    .filter((viommu) => viommu.parent === parent)
    .flatMap((viommu) =>
      [...viommu.names.values()].map((vsid) => ({
        dw0: 0x05n | (BigInt(index) << 12n) | (vsid << 32n),
        dw1: 0n,
        viommu,
      })),
    )
}

/** ATC_INV of everything, without a PASID and with any, by every name. [SMMU 4.5.1 CMD_ATC_INV] */
const forgetInDevices = ({ viommus }: World, parent: Paging) =>
  viommus
    .filter((viommu) => viommu.parent === parent)
    .flatMap((viommu) =>
      [...viommu.names.values()].flatMap((vsid) =>
        [0x40n, 0xa40n].map((low) => ({ dw0: low | (vsid << 32n), dw1: 52n, viommu })),
      ),
    )

/** Commands of a guest, through the vIOMMU that they belong to or through any on the parent. */
function invalidate(
  { viommus }: World,
  parent: Paging,
  commands: readonly { readonly dw0: bigint; readonly dw1: bigint; readonly viommu?: Viommu }[],
): unknown {
  for (const { viommu, dw0, dw1 } of commands) {
    // Without a vIOMMU nobody is there to know what the command speaks of.
    const { ops } = viommu ?? viommus.find((one) => one.parent === parent) ?? {}
    if (ops === undefined) return undefined
    const { done, completion } = ops.invalidate!(givenEntries('smmuv3', [{ dw0, dw1 }]), 0, 1)
    if (done !== 1) throw new Error('a command of the guest was refused')
    if (completion !== undefined) return completion
  }
  return undefined
}

/** The same for the roots that lead to a guest's tables: their ASIDs are the host's. */
function invalidateRoots({ roots }: World, space: GuestSpace, { page, pages }: Run): void {
  const entry = { addr: BigInt(page) * 4096n, npages: BigInt(pages), flags: 1 }
  for (const root of roots) {
    if (root.space !== space) continue
    const { done } = root.ops.invalidate!(givenEntries('smmuv3_pgd', [entry]), 0, 1)
    if (done !== 1) throw new Error('an invalidation of a root was refused')
  }
}

function spaceProbes(world: World, space: GuestSpace, { page, pages }: Run): Probe[] {
  const { rng, aim } = world
  const places = guestPlacesOf(world.machine.devices, space)
  const chosen = places.length === 0 ? [] : [rng.pick(places), rng.pick(places)]
  const probes = chosen.flatMap((place) => [page, page + pages - 1, page + pages].map((at) => aim.at(place, at)))
  return [...new Set([...probes, ...someProbes(world)])]
}

function cdProbes(world: World, table: GuestTable, index: number, space: GuestSpace): Probe[] {
  const { aim, rng } = world
  const isOn = ({ slots }: Device): boolean => {
    const onRid = slots.now.get(0)
    return onRid?.kind === 'user' && onRid.table === table
  }
  const page = space.runs.now.length > 0 ? rng.pick(space.runs.now).page : 0x10
  const probes = world.machine.devices
    .filter(isOn)
    .flatMap((device) => [-1, index].map((pasid) => aim.at({ device, pasid }, page)))
  return [...new Set([...probes, ...someProbes(world)])]
}
