/** Calls about the oracle of a unit. */

import type { Call } from './call.js'
import { WATCHES_A_STEP } from './limits.js'
import type { PlatformUnitInfo } from './machine.js'
import { Refusal } from './refusal.js'
import type { StaleBook } from './stale-book.js'
import { type StaleInfo, staleInfo } from './stale-reply.js'
import { Unit } from './unit.js'
import { isAloneAt, type NamedUnit, refuseShared, unitNamed } from './unit-access.js'
import type { OracleMode, OracleNumbers } from './unit-oracle.js'
import type { Work } from './work.js'

/** The contract's OracleMode. */
const MODES: readonly (OracleMode | undefined)[] = [undefined, 'off', 'report', 'fail']

/** Switches the oracle, which starts anew. */
export function setOracleMode(
  call: Call,
  request: NamedUnit & { readonly mode: number; readonly graceSyncs: number },
): Record<never, never> {
  const { book, platform } = bookOf(call, request)
  if (platform !== undefined) refuseShared(call, platform)
  const { mode: number, graceSyncs } = request
  if (number === 0) throw new Refusal('EINVAL', 'no mode is named: OFF is 1, REPORT 2 and FAIL 3', { mode: number })
  const mode = MODES.at(number)
  if (mode === undefined) throw new Refusal('EOPNOTSUPP', `oracle mode ${number} is not known`, { mode: number })
  book.clear()
  book.oracle.set({ mode, graceSyncs })
  if (platform === undefined) return {}
  call.core.unitSettings.changed(call, platform, 'oracle', () => {
    book.clear()
    book.oracle.set(null)
  })
  return {}
}

/** What CheckStale answers. */
interface Checked {
  readonly checkedCount: bigint
  readonly stale: readonly StaleInfo[]
}

/** Compares what is cached with what memory says. */
export function checkStale(
  call: Call,
  request: NamedUnit & { readonly maxReports: number },
): Checked | Promise<Checked> {
  const target = bookOf(call, request)
  const { oracle } = target.book
  // What it finds of another is reported to him, before he had to invalidate it.
  if (target.platform !== undefined) refuseShared(call, target.platform)
  if (oracle.setting.mode === 'off') {
    throw new Refusal('ENODEV', 'its oracle is off, and watches nothing; SetOracleMode switches it on', { ...request })
  }
  return call.inSlices(checking(call, target, mostOf(call, request)))
}

function* checking(call: Call, target: Target, most: number): Work<Checked> {
  const { book } = target
  const numbers = new Set<number>()
  let left = book.oracle.watched
  let compared = 0
  while (left > 0) {
    const step = book.oracle.check(Math.min(left, WATCHES_A_STEP))
    for (const number of step.numbers) numbers.add(number)
    compared += step.compared
    left = step.compared === 0 ? 0 : left - step.compared
    if (left > 0) yield
  }
  const mine = contextOf(call, target)
  const found = book.numbered(numbers).filter(({ context }) => mine === undefined || context === mine)
  return { checkedCount: BigInt(compared), stale: found.slice(0, most).map((one) => tell(call, target, one)) }
}

/** What the oracle has reported. */
export function listStaleTranslations(
  call: Call,
  request: NamedUnit & { readonly start: number; readonly maxReports: number },
): {
  stale: readonly StaleInfo[]
  totalCount: bigint
  mode: 1 | 2 | 3
  graceSyncs: number
  counts?: Readonly<Record<keyof OracleNumbers, bigint>>
} {
  const target = bookOf(call, request)
  const { book, platform } = target
  const { setting, counts } = book.oracle
  const reports = book.reportsOf(contextOf(call, target))
  const shown = reports.slice(request.start, request.start + mostOf(call, request))
  const mayCount = platform === undefined || isAloneAt(call, platform)
  return {
    stale: shown.map((one) => tell(call, target, one)),
    totalCount: BigInt(reports.length),
    mode: MODES.indexOf(setting.mode) as 1 | 2 | 3,
    graceSyncs: setting.graceSyncs,
    counts: mayCount && counts !== undefined ? asCounts(counts, book.dropped) : undefined,
  }
}

const asCounts = (counts: OracleNumbers, dropped: number): Readonly<Record<keyof OracleNumbers, bigint>> => ({
  compared: BigInt(counts.compared),
  stale: BigInt(counts.stale),
  inWindow: BigInt(counts.inWindow),
  reports: BigInt(counts.reports),
  droppedReports: BigInt(dropped),
  needed: BigInt(counts.needed),
  needless: BigInt(counts.needless),
  syncs: BigInt(counts.syncs),
})

interface Target {
  readonly book: StaleBook
  /** Absent: a raw unit. */
  readonly platform?: PlatformUnitInfo
}

function bookOf(call: Call, request: NamedUnit): Target {
  const unit = unitNamed(call, request)
  if (unit instanceof Unit) return { book: unit.stale }
  const book = call.core.staleBooks.get(unit.driver)
  if (book !== undefined) return { book, platform: unit }
  const { name } = unit.driver
  throw new Refusal('EOPNOTSUPP', `${name} is no emulated hardware, and has no caches`, { unit_name: name })
}

/** Whose reports the caller sees; undefined: everybody's. */
const contextOf = (call: Call, { platform }: Target) =>
  platform !== undefined && call.peer.admin === true ? undefined : call.context

const tell = (call: Call, { book, platform }: Target, report: Parameters<typeof staleInfo>[0]): StaleInfo =>
  staleInfo(report, book.oracle, platform === undefined || call.peer.admin === true, call.peer.admin !== true)

function mostOf(call: Call, { maxReports }: { readonly maxReports: number }): number {
  const { batch_elements: most } = call.core.limits.call
  return maxReports === 0 ? most : Math.min(maxReports, most)
}
