/** Guests: vIOMMUs, their names of devices, their STEs, and what they do to their own tables. */

import { givenData, givenEntries, type UserOps, type ViommuOps } from '../../../server/core/driver.js'
import { guestPlacesOf } from './aim.js'
import { type GuestMemory, TABLES_PAGE } from './guest.js'
import { type Device, type GuestSpace, type GuestTable, leafLg2, type Paging, type Run, type Viommu } from './model.js'
import type { Probe } from './oracle.js'
import { plain, someProbes } from './paging-operations.js'
import { viommuErrno } from './rules.js'
import type { Operation, World } from './story.js'

const VIOMMUS = 4
const USERS = 8
const SPACES = 6
const TABLES = 6

/** Makes a vIOMMU on a nesting parent. */
export function createViommu(world: World): Operation | undefined {
  const { rng, machine, viommus } = world
  const parents = world.pagings.filter(({ isParent }) => isParent)
  if (parents.length === 0 || viommus.length >= VIOMMUS) return undefined
  const parent = rng.pick(parents)
  const device = rng.pick(world.found)
  let ops: ViommuOps | undefined
  return {
    ...plain('create a vIOMMU', () => `on ${parent.name} for device ${device.index}`),
    errno: viommuErrno(machine.facts, device),
    probes: [],
    act: () => {
      machine.driver.checkViommu(device.ops!, 1)
      ops = machine.driver.createViommu(device.ops!, parent.ops)
    },
    done: () => {
      parent.users++
      viommus.push({ name: world.name('viommu'), ops: ops!, parent, names: new Map(), users: 0 })
      return undefined
    },
  }
}

/** Ends a vIOMMU, or a user domain. */
export function destroyGuest(world: World): Operation | undefined {
  const { rng, users, viommus } = world
  const idle = users.filter((user) => user.users === 0)
  if (idle.length > 0 && rng.chance(0.8)) {
    const user = rng.pick(idle)
    return {
      ...plain('destroy a user domain', () => user.name),
      probes: [],
      act: () => user.ops.destroy(),
      done: () => {
        user.viommu.users--
        users.splice(users.indexOf(user), 1)
        return undefined
      },
    }
  }
  const empty = viommus.filter((viommu) => viommu.users === 0)
  if (empty.length === 0 || rng.chance(0.7)) return undefined
  const viommu = rng.pick(empty)
  return {
    ...plain('destroy a vIOMMU', () => viommu.name),
    probes: [],
    act: () => {
      for (const device of viommu.names.keys()) viommu.ops.removeVdevice(device.ops!)
      viommu.ops.destroy()
    },
    done: () => {
      viommu.parent.users--
      viommus.splice(viommus.indexOf(viommu), 1)
      return undefined
    },
  }
}

/** Gives a device a name in a guest, or takes it away. */
export function nameDevice(world: World): Operation | undefined {
  const { rng, viommus } = world
  if (viommus.length === 0) return undefined
  const viommu = rng.pick(viommus)
  const device = rng.pick(world.found)
  const isNamed = viommu.names.has(device)
  const onRid = device.slots.now.get(0)
  if (isNamed && (rng.chance(0.8) || (onRid?.kind === 'user' && onRid.viommu === viommu))) return undefined
  // A device is in one vIOMMU at a time.
  if (!isNamed && viommus.some(({ names }) => names.has(device))) return undefined
  const virtId = BigInt(100 + device.index)
  return {
    ...plain(isNamed ? 'remove a vDEVICE' : 'create a vDEVICE', () => `device ${device.index} in ${viommu.name}`),
    probes: [],
    act: () => (isNamed ? viommu.ops.removeVdevice(device.ops!) : viommu.ops.addVdevice(device.ops!, virtId)),
    done: () => {
      if (isNamed) viommu.names.delete(device)
      else viommu.names.set(device, virtId)
      return undefined
    },
  }
}

/** Makes a user domain from a vSTE by chance. */
export function createUser(world: World): Operation | undefined {
  const { rng, machine, viommus, users } = world
  if (viommus.length === 0 || users.length >= USERS) return undefined
  const viommu = rng.pick(viommus)
  const device = rng.pick([...viommu.names.keys(), ...world.found])
  const guest = world.guests.get(viommu.parent)!
  const config = rng.pick([0, 4, 5, 5, 5, 5, 5])
  const isValid = rng.chance(0.95)
  const table = config === 5 && isValid ? tableOf(world, guest) : undefined
  if (config === 5 && isValid && table === undefined) return undefined
  const dss = rng.int(3)
  const stallD = rng.chance(0.05)
  const { cd2l, ssidSize } = machine.facts
  const isBad =
    stallD ||
    (ssidSize !== 0 &&
      table !== undefined &&
      (table.lg2 > ssidSize || (!cd2l && table.format !== 0 && table.lg2 !== 0)))
  const does = !isValid || config === 0 ? 'abort' : config === 4 ? 'bypass' : isBad ? 'bad' : 'translate'
  const ste0 = BigInt(isValid) | (BigInt(config) << 1n) | (table === undefined ? 0n : wordOf(table))
  const ste1 =
    table === undefined ? 0n : BigInt(dss) | 0x14n | (3n << 6n) | (BigInt(stallD) << 27n) | (rng.bit(0.7) << 28n)
  let ops: UserOps | undefined
  return {
    ...plain('create a user domain', () => `of ${does} 0x${ste0.toString(16)} 0x${ste1.toString(16)}`),
    probes: [],
    act: () => {
      ops = viommu.ops.createUserDomain(device.ops!, givenData('smmuv3_ste', { ste0, ste1 }), { pasid: false })
    },
    done: () => {
      viommu.users++
      const cdMax = table?.lg2 ?? 0
      users.push({ kind: 'user', name: world.name(does), ops: ops!, viommu, does, dss, cdMax, table, users: 0 })
      return undefined
    },
  }
}

const wordOf = ({ pointer, format, lg2 }: GuestTable): bigint => (BigInt(format) << 4n) | pointer | (BigInt(lg2) << 59n)

/** One of the guest's CD tables, or a new one. */
function tableOf({ rng }: World, guest: GuestMemory): GuestTable | undefined {
  if (guest.tables.length > 0 && (guest.tables.length >= TABLES || !guest.hasRoom || rng.chance(0.8))) {
    return rng.pick(guest.tables)
  }
  if (!guest.hasRoom) return undefined
  const format = rng.pick([0, 0, 1, 1, 2])
  return guest.makeTable(format, format === 0 ? rng.int(6) : rng.pick([3, 7, 11]))
}

/** A guest changes its CD table, or the tables behind one of its CDs, and invalidates as its manual asks. */
export function guestEdit(world: World): Operation | undefined {
  const { rng } = world
  const parents = [...world.guests].filter(([parent]) => world.viommus.some((viommu) => viommu.parent === parent))
  if (parents.length === 0) return undefined
  const [parent, guest] = rng.pick(parents)
  if (guest.spaces.length < SPACES && guest.hasRoom && rng.chance(0.3)) guest.makeSpace()
  if (guest.spaces.length === 0) return undefined
  if (guest.tables.length > 0 && rng.chance(0.4)) return editCd(world, parent, guest)
  return editSpace(world, parent, guest, rng.pick(guest.spaces))
}

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
        return invalidate(world, parent, commands)
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
    const frame = Math.floor(aim.pageOf(parent, -1) / 512) * 512
    return { page: 512 * rng.between(8, 10), pages: 512, frame, read: true, write }
  }
  const own = parent.runs.now.filter(({ page }) => page !== TABLES_PAGE)
  const frame = own.length > 0 && rng.chance(0.8) ? rng.pick(own).page : aim.pageOf(parent, -1)
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
      return invalidate(world, parent, forgetCd(world, parent, index))
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

/** Commands of a guest, through the vIOMMU that they belong to or through any on the parent. */
function invalidate(
  { viommus }: World,
  parent: Paging,
  commands: readonly { readonly dw0: bigint; readonly dw1: bigint; readonly viommu?: Viommu }[],
): unknown {
  for (const { viommu, dw0, dw1 } of commands) {
    const { ops } = viommu ?? viommus.find((one) => one.parent === parent)!
    const { done, completion } = ops.invalidate!(givenEntries('smmuv3', [{ dw0, dw1 }]), 0, 1)
    if (done !== 1) throw new Error('a command of the guest was refused')
    if (completion !== undefined) return completion
  }
  return undefined
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
