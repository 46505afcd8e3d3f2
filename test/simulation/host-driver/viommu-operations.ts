/** What a guest's VMM does: vIOMMUs, their names of devices, and user domains from vSTEs. */

import { givenData, type UserOps, type ViommuOps } from '../../../server/core/driver.js'
import type { GuestMemory } from './guest.js'
import type { GuestTable } from './model.js'
import { plain } from './paging-operations.js'
import { viommuErrno } from './rules.js'
import type { Operation, World } from './story.js'

const VIOMMUS = 4
const USERS = 8
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
