/** What happens to a device: found, attached, replaced, detached, reset. */

import type { Rng } from '../rng.js'
import { Changing, type Device, type Occupant, pasidBits, type Window, windowOn } from './model.js'
import type { Probe } from './oracle.js'
import { plain } from './paging-operations.js'
import { attachErrno, rootPagesFor } from './rules.js'
import { someProbes } from './runs.js'
import type { Operation, World } from './story.js'

const PASIDS_IN_USE = 6

/** Finds a device that was there already: its stream's entry comes into being. */
export function probeDevice(world: World): Operation | undefined {
  const { machine, rng } = world
  const later = machine.devices.filter(({ ops }) => ops === undefined)
  if (later.length === 0 || rng.chance(0.5)) return undefined
  const device = rng.pick(later)
  return {
    ...plain('find a device', () => `device ${device.index}`),
    moment: { device, slot: -1, hasSte: false },
    isEntry: true,
    probes: [...someProbes(world), world.aim.near({ device, pasid: 3 })],
    apply: () => {
      device.isThere.now = true
      return [device.isThere]
    },
    act: () => {
      device.ops = machine.driver.probe(device.facts)
    },
  }
}

/** Puts a domain into a slot, or another in its place. */
export function attach(world: World): Operation | undefined {
  const { rng, machine } = world
  const device = rng.pick(world.found)
  const slot = chooseSlot(world, device)
  const domain = chooseDomain(world, device, slot)
  if (domain === undefined) return undefined
  const old = device.slots.now.get(slot)
  if (old === domain) return undefined
  return {
    ...plain(`${old === undefined ? 'attach' : 'replace'} ${slotName(slot)}`, () => {
      const place = `device ${device.index} slot ${slot}`
      return `${domain.name} to ${place}, which holds ${old?.name ?? 'nothing'}`
    }),
    errno: attachErrno(world, device, slot, domain),
    // Several pages of level 1 are aligned, which the rules do not count.
    mayBe: domain.kind === 'root' && rootPagesFor(domain.window, slot) > 1 ? 'ENOSPC' : undefined,
    moment: { device, slot, hasSte: true },
    isEntry: true,
    probes: slotProbes(world, device, slot, [old, domain]),
    apply: () => {
      device.slots.now = new Map(device.slots.now).set(slot, domain)
      return [device.slots]
    },
    act: () => {
      if (rng.chance(0.02)) machine.failAfter = rng.between(1, 2)
      return device.ops!.set(slot, domain.ops, old?.ops ?? null)
    },
    done: () => {
      if (old !== undefined) old.users--
      domain.users++
      if (domain.kind === 'root') noteLeaf(domain.window, slot)
      return undefined
    },
  }
}

/** Empties a slot. */
export function detach(world: World): Operation | undefined {
  const { rng } = world
  const full = world.found.filter(({ slots }) => slots.now.size > 0)
  if (full.length === 0) return undefined
  const device = rng.pick(full)
  const [slot, old] = rng.pick([...device.slots.now])
  return {
    ...plain(`detach ${slotName(slot)}`, () => `device ${device.index} slot ${slot}, which holds ${old.name}`),
    moment: { device, slot, hasSte: false },
    isEntry: true,
    probes: slotProbes(world, device, slot, [old]),
    apply: () => {
      const slots = new Map(device.slots.now)
      slots.delete(slot)
      device.slots.now = slots
      return [device.slots]
    },
    act: () => device.ops!.clear(slot, old.ops),
    done: () => {
      old.users--
      return undefined
    },
  }
}

/** A function-level reset: attachments stay. */
export function reset(world: World): Operation {
  const device = world.rng.pick(world.found)
  return {
    ...plain('reset', () => `device ${device.index}`),
    probes: someProbes(world),
    act: () => device.ops!.reset(),
  }
}

/** The window's table has a leaf for a PASID now. */
function noteLeaf(window: Window, pasid: number): void {
  if (window.leaves.has(pasid >>> 6)) return
  window.rootPages = Math.max(window.rootPages, rootPagesFor(window, pasid))
  window.leaves.add(pasid >>> 6)
}

const slotName = (slot: number): string => (slot === 0 ? 'the RID' : 'a PASID')

function chooseSlot({ rng, machine, likesGuests }: World, device: Device): number {
  const used = [...device.slots.now.keys()].filter((slot) => slot !== 0)
  if (rng.chance(windowOn(device) !== undefined ? 0.2 : likesGuests ? 0.8 : 0.45)) return 0
  if (used.length > 0 && (used.length >= PASIDS_IN_USE || rng.chance(0.4))) return rng.pick(used)
  const top = 2 ** pasidBits(machine.facts, device.facts)
  return rng.chance(0.9) ? pasidBelow(rng, top) : rng.pick([top, top + 5])
}

const pasidBelow = (rng: Rng, top: number): number =>
  Math.max(1, Math.min(top - 1, rng.pick([1, 2, 3, 7, 63, 64, 1023, 1024, 2047, top - 1, rng.int(top)])))

function chooseDomain(world: World, device: Device, slot: number): Occupant | undefined {
  const { rng, pagings, users, foreign, windows, roots } = world
  const window = windowOn(device)
  const own = roots.filter((root) => root.window === window)
  if (own.length > 0 && rng.chance(0.8)) return slot === 0 && rng.chance(0.3) ? window : rng.pick(own)
  if (windows.length > 0 && rng.chance(world.likesGuests ? 0.25 : 0.05)) return rng.pick([...windows, ...roots])
  if (rng.chance(0.01)) return foreign
  if (slot === 0 && users.length > 0 && rng.chance(world.likesGuests ? 0.8 : 0.3)) return rng.pick(users)
  const fitting = pagings.filter(({ stage }) => slot === 0 || stage === 1)
  const choice: readonly Occupant[] = fitting.length > 0 && rng.chance(0.93) ? fitting : [...pagings, ...users]
  return choice.length === 0 ? undefined : rng.pick(choice)
}

/** DMAs of the slot to what the old domain maps and to what the new one does, of the slots beside it, and of others. */
function slotProbes(world: World, device: Device, slot: number, domains: readonly (Occupant | undefined)[]): Probe[] {
  const { rng, aim } = world
  // No request carries more than 20 bits.
  const pasid = slot === 0 ? -1 : Math.min(slot, 0xfffff)
  const probes: Probe[] = []
  for (const domain of domains) {
    probes.push(aim.at({ device, pasid }, aim.pageOf(domain, pasid)))
    const index = domain?.kind === 'user' ? rng.pick([1, ...(domain.table?.spaces.now.keys() ?? [])]) : 0
    if (domain?.kind === 'user' && index > 0) {
      probes.push(aim.at({ device, pasid: index }, aim.pageOf(domain, index)))
    }
  }
  if (slot !== 0) probes.push(aim.near({ device, pasid: -1 }))
  else probes.push(aim.at({ device, pasid: 0 }, aim.pageOf(domains[0], -1)))
  const beside = [...device.slots.now.keys()].filter((other) => other !== 0 && other !== slot)
  if (beside.length > 0) probes.push(aim.near({ device, pasid: rng.pick(beside) }))
  const strange = aim.strangePasid(device)
  probes.push(aim.at({ device, pasid: strange }, aim.pageOf(domains[0], strange)))
  return [...new Set([...probes, ...someProbes(world, device)])]
}

/** Devices as a machine has them before anything happened. */
export function devicesOf(world: World): void {
  const { machine } = world
  for (const facts of [...machine.choice.devices, ...machine.choice.later]) {
    const isThere = machine.choice.devices.includes(facts)
    machine.devices.push({
      index: machine.devices.length,
      facts,
      ops: isThere ? machine.driver.probe(facts) : undefined,
      isThere: new Changing(isThere),
      slots: new Changing<ReadonlyMap<number, Occupant>>(new Map()),
    })
  }
}
