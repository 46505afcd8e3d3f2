/** Edits of page tables of a random VT-d guest, each followed by the invalidations that the manual asks for. */

import { type Attachment, attachedTo, type Guest } from './guest-vtd-build.js'
import { type Domain, firstInput, type Ground, mapFirst, mapSecond, TABLES_GPA } from './guest-vtd-domains.js'
import type { Driver } from './guest-vtd-driver.js'
import type { Before, FirstUser, Rules } from './guest-vtd-rules.js'
import type { Entry, IntelTables } from './intel-tables.js'

const FIRST_FLAGS = [0, 0, 1, 2, 5, 6, 10, 52, 62, 63]
const SECOND_FLAGS = [0, 0, 1, 1, 2, 6, 8, 9, 11, 52, 61, 61, 62, 62, 63]
/** Where a leaf points to; of a table's pointer, only what leads nowhere. */
const ADDRESS = [12, 13, 20, 21, 33, 40, 41, 46, 47, 48, 50, 51]
const PS = 7

/** The tag of what an attachment's requests find. */
export const userOf = ({ domain, pasid }: Attachment): FirstUser => ({ did: domain.did, pasid: pasid ?? 0 })

/** Makes edits. */
export class TableEditor {
  readonly #ground: Ground
  readonly #guest: Guest
  readonly #driver: Driver
  readonly #rules: Rules
  /** No table is ever taken for another. */
  readonly #isStrict: boolean
  readonly #count: (name: string) => void
  /** A bit of a table entry that was changed, and the entry as it is since. */
  #turned: {
    readonly domain: Domain
    readonly entry: Entry
    readonly isFirst: boolean
    readonly bit: number
    readonly word: bigint
  }[] = []

  constructor(
    parts: { readonly ground: Ground; readonly guest: Guest; readonly driver: Driver; readonly rules: Rules },
    isStrict: boolean,
    count: (name: string) => void,
  ) {
    this.#ground = parts.ground
    this.#guest = parts.guest
    this.#driver = parts.driver
    this.#rules = parts.rules
    this.#isStrict = isStrict
    this.#count = count
  }

  /** A leaf or a table goes, and other leaves come: pages are split and merged. */
  replace(domain: Domain): void {
    const { rng } = this.#ground
    const picked = this.#pickEntry(domain)
    if (picked === undefined || picked.entry.level > 3) return
    const { tables, entry, isFirst } = picked
    if (!isFirst && entry.input >> 33n === TABLES_GPA >> 33n) return
    const before = this.#beforeOf(entry, isFirst)
    tables.clear(entry)
    this.#told(domain, isFirst, before)
    this.#driver.wait()
    if (rng.chance(0.2)) return
    for (let i = rng.between(1, 3); i > 0; i--) {
      const input = entry.input + (rng.bits(12 + 9 * (entry.level - 1)) & ~0xfffn)
      this.#mapAt(domain, tables, isFirst, input, entry.level)
    }
    this.#appeared(domain, isFirst, entry)
    this.#count(entry.isLeaf ? 'edit: page replaced' : 'edit: table replaced')
  }

  /** Something is mapped that was not. */
  map(domain: Domain): void {
    const { rng } = this.#ground
    const { first, second } = domain
    const isFirst = first !== undefined && (second === undefined || rng.chance(0.6))
    const tables = isFirst ? first?.tables : second?.tables
    if (tables === undefined) return
    const input = isFirst ? firstInput(rng, tables.levels) : rng.bits(32) & ~TABLES_GPA
    this.#mapAt(domain, tables, isFirst, input, 3)
    const top = { space: tables.space, at: tables.root, input, level: 3, isLeaf: false }
    this.#appeared(domain, isFirst, top)
    this.#count('edit: mapped')
  }

  #mapAt({ second }: Domain, tables: IntelTables, isFirst: boolean, input: bigint, most: number): void {
    const { rng } = this.#ground
    if (isFirst) mapFirst(this.#ground, tables, second, input)
    else mapSecond(this.#ground, tables, input, Math.min(most, rng.pick([1, 1, 2, 3])))
  }

  /** Entries that were absent are there: only CM = 1 asks for something, and not for the first stage. */
  #appeared(domain: Domain, isFirst: boolean, entry: Entry): void {
    if (this.#rules.isBent) this.#rules.everything()
    else if (!isFirst) this.#rules.second(this.#didsOf(domain), { entry, wasPresent: false, wasTable: true })
    // Tables of the first stage may have got new pages in the second one.
    else if (domain.second !== undefined) this.#rules.secondGrew(this.#didsOf(domain))
  }

  /** Changes one bit of any entry. */
  editAny(domain: Domain): void {
    const picked = this.#pickEntry(domain)
    if (picked !== undefined) this.edit(domain, picked.entry, picked.isFirst)
  }

  /** Changes one bit of an entry. */
  edit(domain: Domain, entry: Entry, isFirst: boolean): void {
    const { rng, ssirwe } = this.#ground
    const before = this.#beforeOf(entry, isFirst)
    const word = entry.space.read(entry.at)
    const isHome = !isFirst && entry.input >> 33n === TABLES_GPA >> 33n
    let bit = rng.pick(isFirst ? FIRST_FLAGS : SECOND_FLAGS)
    if (rng.chance(0.4)) {
      const isTable = entry.level > 1 && (word & 0x80n) === 0n
      // A leaf in front of first-stage tables, or a pointer, leads to other tables when its low bits change.
      const leadsAstray = (bits: number): boolean => (isTable || isHome) && bits < 31
      bit = rng.pick(rng.chance(0.2) ? [PS] : ADDRESS)
      const hasNested = isFirst && domain.second !== undefined
      if (leadsAstray(bit) || (hasNested && bit === 33) || (bit === PS && isHome)) {
        if (this.#isStrict) return
        this.#rules.isBent = true
      }
    }
    if (bit === 30 || (ssirwe && bit < 2 && rng.chance(0.5))) return
    const next = word ^ (1n << BigInt(bit))
    entry.space.write(entry.at, next)
    this.#turned.push({ domain, entry, isFirst, bit, word: next })
    this.#told(domain, isFirst, before)
    this.#count(isFirst ? 'edit: first-stage entry' : 'edit: second-stage entry')
  }

  /** Puts a table entry right again, if it still is as it was left. */
  turnBack(): void {
    const turned = this.#turned.pop()
    if (turned === undefined) return
    const { domain, entry, isFirst, bit, word } = turned
    if (entry.space.read(entry.at) !== word) return
    const before = this.#beforeOf(entry, isFirst)
    entry.space.write(entry.at, word ^ (1n << BigInt(bit)))
    this.#told(domain, isFirst, before)
  }

  #told(domain: Domain, isFirst: boolean, before: Before): void {
    if (!isFirst) this.#rules.second(this.#didsOf(domain), before)
    else this.#rules.first(this.#usersOf(domain), before, domain.first?.levels === 5 ? 57 : 48)
  }

  #beforeOf(entry: Entry, isFirst: boolean): Before {
    const word = entry.space.read(entry.at)
    const present = isFirst ? 1n : this.#ground.ssirwe ? 3n << 61n : 3n
    const wasTable = entry.level > 1 && ((word & 0x80n) === 0n || entry.level > 3)
    return { entry, wasPresent: (word & present) !== 0n, wasTable }
  }

  #pickEntry({ first, second }: Domain) {
    const all = [
      ...(first?.tables.entries.map((entry) => ({ entry, isFirst: true, tables: first.tables })) ?? []),
      ...(second?.tables.entries.map((entry) => ({ entry, isFirst: false, tables: second.tables })) ?? []),
    ]
    return all.length === 0 ? undefined : this.#ground.rng.pick(all)
  }

  /** Who uses the first stage of a domain. */
  #usersOf(domain: Domain): FirstUser[] {
    const users = attachedTo(this.#guest, domain).map(userOf)
    return [...new Map(users.map((user) => [user.pasid, user])).values()]
  }

  /** Identifiers of all domains on the same second stage. */
  #didsOf({ second }: Domain): number[] {
    return this.#guest.domains.filter((other) => other.second === second).map(({ did }) => did)
  }
}
