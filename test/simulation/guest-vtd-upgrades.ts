/**
 * Rights that are added without an invalidation: the device asks for the page, and the unit forgets what it keeps of it
 * before software hears of that. [VTD 6.5.3.1 Implicit Invalidation on Page Requests] [VTD 6.5.3.3 Table 28]
 */

import { type Attachment, attachedTo, type Guest } from './guest-vtd-build.js'
import type { Domain, Ground } from './guest-vtd-domains.js'
import type { Driver } from './guest-vtd-driver.js'
import type { Rules } from './guest-vtd-rules.js'
import { userOf } from './guest-vtd-tables.js'
import type { Entry } from './intel-tables.js'
import type { VtdAccess } from './reference/vtd-types.js'

/** What they need. */
export interface UpgradeParts {
  readonly ground: Ground
  readonly guest: Guest
  readonly driver: Driver
  readonly rules: Rules
  /** Sends a page request for what an access wants; true where it is queued. */
  readonly ask: (access: VtdAccess) => boolean
  readonly count: (name: string) => void
}

/** Adds a right to the page that an access wants, in the first stage or in a second one alone. True where it did. */
export function upgrade(parts: UpgradeParts, access: VtdAccess, attachment: Attachment): boolean {
  const { ground, driver, rules, ask, count } = parts
  const { domain } = attachment
  const isFirst = domain.first !== undefined
  const entry = leafOf(domain, access.address)
  if (rules.isBent || entry === undefined || (!isFirst && ground.features.cm)) return false
  const word = entry.space.read(entry.at)
  const present = isFirst || !ground.ssirwe ? 1n : 1n << 61n
  if ((word & present) === 0n) return false
  // First stage: R/W and U/S. Second stage: W, or IW.
  const added = isFirst ? 6n : present << 1n
  entry.space.write(entry.at, word | added)
  if (!ask(access)) {
    tellAll(parts, domain, entry, undefined)
    driver.wait()
    return false
  }
  // The request was one PASID's or one domain's; others that use the entry are told as ever.
  tellAll(parts, domain, entry, attachment)
  driver.wait()
  count(isFirst ? 'right added for a page request, first stage' : 'right added for a page request, second stage')
  return true
}

function leafOf({ first, second }: Domain, address: bigint): Entry | undefined {
  const tables = first?.tables ?? second?.tables
  if (tables === undefined) return undefined
  const page = BigInt.asUintN(12 + 9 * tables.levels, address) >> 12n
  return tables.entries.find(({ level, isLeaf, input }) => isLeaf && level === 1 && input >> 12n === page)
}

function tellAll({ guest, rules }: UpgradeParts, domain: Domain, entry: Entry, but: Attachment | undefined): void {
  const before = { entry, wasPresent: true, wasTable: false }
  const served = but === undefined ? undefined : userOf(but)
  if (domain.first === undefined) {
    const users = guest.domains.filter(({ second }) => second === domain.second).map(({ did }) => did)
    const rest = users.filter((did) => did !== served?.did)
    if (rest.length > 0) rules.second(rest, before)
    return
  }
  const users = new Map(attachedTo(guest, domain).map((other) => [userOf(other).pasid, userOf(other)]))
  if (served !== undefined) users.delete(served.pasid)
  rules.first([...users.values()], before, domain.first.levels === 5 ? 57 : 48)
}
