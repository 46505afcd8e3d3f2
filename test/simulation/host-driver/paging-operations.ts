/** Kernel-owned domains: made, mapped, unmapped, flushed, destroyed. */

import type { PagingFlags, PagingOps } from '../../../server/core/driver.js'
import { GuestMemory, TABLES_PAGE, TABLES_PAGES } from './guest.js'
import { CLIENT_RAM } from './machine.js'
import { Changing, type Paging, type Run, runAt } from './model.js'
import { NO_MOMENT } from './onlooker.js'
import { pagingErrno } from './rules.js'
import { chooseRun, runProbes, someProbes } from './runs.js'
import type { Operation, World } from './story.js'

const DOMAINS = 9
/** Guests' tables are above what domains map. */
const GUEST_TABLES = CLIENT_RAM + 6 * 2 ** 30

/** Makes a domain. */
export function createPaging(world: World): Operation | undefined {
  const { machine, rng, pagings } = world
  if (pagings.length >= DOMAINS) return undefined
  const device = rng.pick(world.found)
  const flags: PagingFlags = {
    nestParent: rng.chance(world.likesGuests ? 0.5 : 0.2),
    dirtyTracking: rng.chance(0.2),
    pasid: rng.chance(0.3),
  }
  let ops: PagingOps | undefined
  return {
    ...plain('create a domain', () => `${JSON.stringify(flags)} for device ${device.index}`),
    errno: pagingErrno(machine.facts, flags),
    probes: [],
    act: () => {
      ops = machine.driver.createPaging(device.ops!, flags)
    },
    done: () => {
      const isStageTwo = flags.nestParent || !machine.facts.stage1
      adopt(world, ops!, { isStageTwo, ...flags, isCoherent: device.facts.canwbs === true })
      return undefined
    },
  }
}

/** A domain of another unit, that no device takes. */
export function makeForeign(world: World): void {
  const { stranger } = world.machine
  const device = stranger.probe({ rid: 3, pasidLg2: 4, ats: false, pri: false })
  const ops = stranger.createPaging(device, { nestParent: false, dirtyTracking: false, pasid: false })
  world.foreign = pagingOf('foreign', ops, { isStageTwo: false, nestParent: false, dirtyTracking: false }, false, true)
}

interface Made {
  readonly isStageTwo: boolean
  readonly nestParent: boolean
  readonly dirtyTracking: boolean
}

function pagingOf(name: string, ops: PagingOps, made: Made, isCoherent: boolean, isForeign: boolean): Paging {
  return {
    kind: 'paging',
    name,
    ops,
    stage: made.isStageTwo ? 2 : 1,
    isParent: made.nestParent,
    tracksDirty: made.dirtyTracking,
    isCoherent,
    isForeign,
    runs: new Changing<readonly Run[]>([]),
    lingering: [],
    users: 0,
    written: new Set(),
  }
}

function adopt(world: World, ops: PagingOps, made: Made & { readonly isCoherent: boolean }): void {
  const domain = pagingOf(world.name(made.nestParent ? 'parent' : 'domain'), ops, made, made.isCoherent, false)
  world.pagings.push(domain)
  if (!made.nestParent) return
  const taken = new Set([...world.guests.values()].map(({ physical }) => physical))
  let physical = GUEST_TABLES
  while (taken.has(physical)) physical += TABLES_PAGES * 4096
  world.machine.memory.writeBytes(physical, new Uint8Array(TABLES_PAGES * 4096))
  world.guests.set(domain, new GuestMemory(world.machine.memory, physical))
}

/** Ends a domain that nobody uses. */
export function destroyPaging(world: World): Operation | undefined {
  const idle = world.pagings.filter(({ users }) => users === 0)
  if (idle.length === 0) return undefined
  const domain = world.rng.pick(idle)
  return {
    ...plain('destroy a domain', () => domain.name),
    probes: someProbes(world),
    act: () => domain.ops.destroy(),
    done: () => {
      world.pagings.splice(world.pagings.indexOf(domain), 1)
      world.guests.delete(domain)
      return undefined
    },
  }
}

/** Maps a run, perhaps of blocks. */
export function map(world: World): Operation | undefined {
  const { rng } = world
  if (world.pagings.length === 0) return undefined
  const isBare = (one: Paging): boolean => one.isParent && runAt(one.runs.now, TABLES_PAGE) === undefined
  const bare = rng.chance(0.5) ? world.pagings.find(isBare) : undefined
  const domain = bare ?? rng.pick(world.pagings)
  const run = chooseRun(world, domain)
  if (run === undefined) return undefined
  const inPages = run.pages < 16 && rng.chance(0.2)
  const fails = rng.chance(0.03) ? rng.between(1, 3) : 0
  return {
    ...plain('map', () => `${tellRun(run)} into ${domain.name}${fails > 0 ? ` with allocation ${fails} failing` : ''}`),
    probes: runProbes(world, domain, [run]),
    apply: () => {
      domain.runs.now = [...domain.runs.now, run]
      return [domain.runs]
    },
    act: () => {
      if (fails > 0) world.machine.failAfter = fails
      const { page, pages, frame, read, write } = run
      domain.ops.map(BigInt(page) * 4096n, frame * 4096, BigInt(pages) * 4096n, { read, write }, inPages)
    },
    done: () => {
      // It begins as if written, where it may be; and where it may not, what a failed map left open means nothing.
      for (const page of domain.written) if (runAt([run], page) !== undefined) domain.written.delete(page)
      return undefined
    },
  }
}

/** Unmaps one to three runs and flushes, now or later. */
export function unmap(world: World): Operation | undefined {
  const { rng } = world
  const full = world.pagings.filter(({ runs }) => runs.now.length > 0)
  if (full.length === 0) return undefined
  const domain = rng.pick(full)
  const gone = new Set<Run>()
  for (let i = rng.between(1, 3); i > 0; i--) {
    const run = rng.pick(domain.runs.now)
    // Without the tables of its guests a parent has little to show.
    if (!domain.isParent || run.page !== TABLES_PAGE || rng.chance(0.05)) gone.add(run)
  }
  if (gone.size === 0) return undefined
  const isFlushed = rng.chance(0.9)
  const list = [...gone]
  return {
    ...plain(isFlushed ? 'unmap and flush' : 'unmap', () => `${list.map(tellRun).join(' and ')} of ${domain.name}`),
    probes: runProbes(world, domain, list),
    apply: () => {
      domain.runs.now = domain.runs.now.filter((run) => !gone.has(run))
      if (!isFlushed) domain.lingering = [...domain.lingering, ...list]
      return [domain.runs]
    },
    act: () => {
      for (const { page, pages } of list) domain.ops.unmap(BigInt(page) * 4096n, BigInt(pages) * 4096n)
      return isFlushed ? domain.ops.flush() : undefined
    },
    done: () => {
      if (isFlushed) domain.lingering = []
      for (const page of domain.written) if (runAt(list, page) !== undefined) domain.written.delete(page)
      return undefined
    },
  }
}

/** Flushes what was unmapped. */
export function flush(world: World): Operation | undefined {
  const { rng } = world
  const stale = world.pagings.filter(({ lingering }) => lingering.length > 0)
  const domain = stale.length > 0 ? rng.pick(stale) : undefined
  if (domain === undefined) return undefined
  return {
    ...plain('flush', () => domain.name),
    probes: runProbes(world, domain, domain.lingering),
    act: () => domain.ops.flush(),
    done: () => {
      domain.lingering = []
      return undefined
    },
  }
}

/** What operations have in common that change no entry. */
export function plain(name: string, text: () => string) {
  return { name, text, errno: undefined, moment: NO_MOMENT, isEntry: false, apply: () => [] }
}

const tellRun = ({ page, pages, frame, read, write }: Run): string =>
  `${pages} pages from 0x${page.toString(16)} at frame 0x${frame.toString(16)} ${read ? 'r' : ''}${write ? 'w' : ''}`
