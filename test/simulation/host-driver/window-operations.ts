/** Windows and their roots: made, grown, ended. */

import { givenData, type UserOps, type WindowOps } from '../../../server/core/driver.js'
import type { Window } from './model.js'
import { plain } from './paging-operations.js'
import { windowErrno } from './rules.js'
import { someProbes, WINDOWS_END, WINDOWS_PAGE } from './runs.js'
import type { Operation, World } from './story.js'

const WINDOWS = 4
const ROOTS = 8
/** Pages that each may grow to. */
const REACH = 0x1000

/** Makes a window with its first range. */
export function createWindow(world: World): Operation | undefined {
  const { rng, windows, machine } = world
  const parents = world.pagings.filter(({ isParent }) => isParent)
  if (parents.length === 0 || windows.length >= WINDOWS) return undefined
  const parent = rng.pick(parents)
  const taken = new Set(windows.filter((window) => window.parent === parent).map(({ firstPage }) => firstPage))
  let firstPage = WINDOWS_PAGE
  while (taken.has(firstPage)) firstPage += REACH
  if (firstPage >= WINDOWS_END) return undefined
  const pages = rng.pick([1, 1, 2, 3, 8, 70])
  let ops: WindowOps | undefined
  return {
    ...plain('create a window', () => `of ${pages} pages on ${parent.name}`),
    errno: windowErrno(machine.facts, parent),
    probes: someProbes(world),
    act: () => {
      ops = parent.ops.createWindow!()
      ops.back(rangeOf(firstPage, pages))
      ops.offer()
    },
    done: () => {
      parent.users++
      const common = { kind: 'window', parent, firstPage, pages, leaves: new Set([0]), rootPages: 0, users: 0 } as const
      windows.push({ ...common, name: world.name('window'), ops: ops! })
      return undefined
    },
  }
}

/** Gives a window another range, or takes it back before it may be used. */
export function growWindow(world: World): Operation | undefined {
  const { rng, windows } = world
  if (windows.length === 0) return undefined
  const window = rng.pick(windows)
  const pages = rng.pick([1, 2, 4, 70, 200])
  if (window.pages + pages > REACH) return undefined
  const isKept = rng.chance(0.85)
  return {
    ...plain('grow a window', () => `${window.name} by ${pages} pages${isKept ? '' : ', which are taken back'}`),
    probes: someProbes(world),
    act: () => {
      window.ops.back(rangeOf(window.firstPage + window.pages, pages))
      if (!isKept) return window.ops.withdraw()
      window.ops.offer()
      return undefined
    },
    done: () => {
      if (isKept) window.pages += pages
      return undefined
    },
  }
}

/** Makes a root in a window, from a guest's tables. */
export function createRoot(world: World): Operation | undefined {
  const { rng, machine, windows, roots } = world
  if (windows.length === 0 || roots.length >= ROOTS) return undefined
  const window = rng.pick(windows)
  const spaces = world.guests.get(window.parent)?.spaces ?? []
  if (spaces.length === 0) return undefined
  const space = rng.pick(spaces)
  const ips = Math.min(5, machine.unit.id.IDR5 & 7)
  const plainRoot = { t0sz: 16, tg0: 0, ir0: 1, or0: 1, sh0: 3, ips, mair: 0xff44n, ha: false, hd: false }
  let ops: UserOps | undefined
  return {
    ...plain('create a root', () => `at 0x${space.root.toString(16)} in ${window.name}`),
    probes: [],
    act: () => {
      const data = givenData('smmuv3_pgd', { ttb0: space.root, ...plainRoot })
      ops = window.ops.createUserDomain(rng.pick(world.found).ops!, data)
    },
    done: () => {
      window.users++
      roots.push({ kind: 'root', name: world.name('root'), ops: ops!, window, space, users: 0 })
      return undefined
    },
  }
}

/** Ends a root, or a window without any. */
export function destroyWindow(world: World): Operation | undefined {
  const { rng, windows, roots } = world
  const idle = roots.filter(({ users }) => users === 0)
  if (idle.length > 0 && rng.chance(0.8)) {
    const root = rng.pick(idle)
    return {
      ...plain('destroy a root', () => root.name),
      probes: [],
      act: () => root.ops.destroy(),
      done: () => {
        root.window.users--
        roots.splice(roots.indexOf(root), 1)
        return undefined
      },
    }
  }
  const empty = windows.filter(({ users }) => users === 0)
  return empty.length === 0 ? undefined : endOf(world, rng.pick(empty))
}

function endOf(world: World, window: Window): Operation {
  return {
    ...plain('destroy a window', () => window.name),
    probes: someProbes(world),
    act: () => window.ops.destroy(),
    done: () => {
      window.parent.users--
      world.windows.splice(world.windows.indexOf(window), 1)
      return undefined
    },
  }
}

const rangeOf = (page: number, pages: number) => ({
  start: BigInt(page) * 4096n,
  last: BigInt(page + pages) * 4096n - 1n,
})
