/** Edits of a random VT-d guest, each followed by the invalidations that the manual asks for. */

import {
  type Attachment,
  attachedTo,
  choose,
  type Device,
  type Guest,
  writeLegacy,
  writePasid,
} from './guest-vtd-build.js'
import { type Domain, firstInput, type Ground, mapFirst, mapSecond, TABLES_GPA } from './guest-vtd-domains.js'
import type { Driver } from './guest-vtd-driver.js'
import type { Before, FirstUser, Rules } from './guest-vtd-rules.js'
import type { Entry, IntelTables } from './intel-tables.js'
import type { Space } from './ram.js'

/** Words of an entry and bits of them that a guest may get wrong. Pointers lead nowhere, never to another table. */
type Flips = readonly (readonly [word: number, bits: readonly number[]])[]

const POINTER = [33, 40, 47, 50, 63]

const FLIPS = {
  root: [[0, [0, 1, 11, ...POINTER]]],
  directory: [[0, [0, 1, 2, 11, ...POINTER]]],
  legacyContext: [
    [0, [0, 1, 2, 3, 4, 11]],
    [1, [7, 24, 40]],
  ],
  context: [
    [0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...POINTER]],
    [1, [0, 1, 13, 15, 19, 20, 21, 40]],
    [2, [5]],
    [3, [63]],
  ],
  /** What may differ between entries of one domain. */
  pasid: [
    [0, [0, 0, 0, 1, 1, 5, 10, 11]],
    [1, [16, 22, 23, 23, 24, 25, 31, 40]],
    [2, [0, 0, 1, 4, 4, 5, 6, 8, 11]],
    [3, [0]],
    [7, [63]],
  ],
} as const satisfies Readonly<Record<string, Flips>>

/** What all entries of a domain agree on; they change together, with the DID. [VTD 6.2.3.1] */
const SHAPES: Flips = [
  [0, [6, 7, 8, ...POINTER]],
  [2, POINTER],
]
const BENDING_SHAPES: Flips = [
  [0, [2, 3, 4]],
  [2, [2, 3]],
]
const LEGACY_SHAPES: Flips = [
  [0, [40, 47, 50, 63]],
  [1, [2]],
]

const FIRST_FLAGS = [0, 0, 1, 2, 5, 6, 10, 52, 62, 63]
const SECOND_FLAGS = [0, 0, 1, 1, 2, 6, 8, 9, 11, 52, 61, 61, 62, 62, 63]
/** Where a leaf points to; of a table's pointer, only what leads nowhere. */
const ADDRESS = [12, 13, 20, 21, 33, 40, 41, 46, 47, 48, 50, 51]
const PS = 7

/** Makes edits. */
export class Editor {
  readonly #ground: Ground
  readonly #guest: Guest
  readonly #driver: Driver
  readonly #rules: Rules
  /** No table is ever taken for another. */
  readonly #isStrict: boolean
  readonly #freshDid: () => number
  readonly #freeDid: (did: number) => void
  readonly #count: (name: string) => void
  /** One bit of each record that is wrong: where, and which; and the edit that puts it right. */
  readonly #wrong = new Map<bigint, { readonly flip: readonly [at: bigint, bit: number]; readonly edit: () => void }>()
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
    dids: { readonly fresh: () => number; readonly free: (did: number) => void },
    count: (name: string) => void,
  ) {
    this.#ground = parts.ground
    this.#guest = parts.guest
    this.#driver = parts.driver
    this.#rules = parts.rules
    this.#isStrict = isStrict
    this.#freshDid = dids.fresh
    this.#freeDid = dids.free
    this.#count = count
  }

  get dids(): readonly number[] {
    return this.#guest.domains.map(({ did }) => did)
  }

  /** Changes something. */
  edit(): void {
    const { rng, isScalable } = this.#ground
    if (this.#wrong.size > 0 && rng.chance(0.5)) {
      rng.pick([...this.#wrong.values()]).edit()
      this.finish()
      return
    }
    if (rng.chance(0.3)) this.#turnBack()
    const device = rng.pick(this.#guest.devices)
    const attachment = rng.pick(device.attachments)
    const kind = rng.int(20)
    if (kind === 0) this.#editRoot(rng.pick(this.#guest.roots))
    else if (kind < 3) this.#editContext(device)
    else if (kind === 3 && isScalable) this.#editDirectory(...rng.pick([...device.directoryEntries]))
    else if (kind < 6 && isScalable) this.#editPasid(attachment)
    else if (kind === 6) this.#reshape(attachment.domain)
    else if (kind < 9) this.#attach(attachment)
    else if (kind === 9) this.#renumber(rng.pick(this.#guest.domains))
    else if (kind === 10 && isScalable) this.#toggle(attachment.domain)
    else if (kind < 13) this.#replace(attachment.domain)
    else if (kind < 15) this.#map(attachment.domain)
    else this.#editAnyEntry(attachment.domain)
    this.finish()
  }

  /** The unit has done what it was told. */
  finish(): void {
    if (this.#rules.isBent) this.#rules.everything()
    this.#driver.wait()
  }

  #editRoot(at: bigint): void {
    const wasPresent = (this.#driver.config.read(at) & 1n) !== 0n
    this.#flip(this.#driver.config, at, FLIPS.root, () => this.#editRoot(at))
    this.#rules.root(wasPresent)
    this.#count('edit: root entry')
  }

  #editContext(device: Device): void {
    const { sid, context, attachments } = device
    const { isScalable } = this.#ground
    const wasPresent = (this.#driver.config.read(context) & 1n) !== 0n
    this.#flip(this.#driver.config, context, isScalable ? FLIPS.context : FLIPS.legacyContext, () =>
      this.#editContext(device),
    )
    const dids = [...new Set(attachments.map(({ domain }) => domain.did))]
    if (isScalable) this.#rules.context(sid, dids, wasPresent)
    else this.#rules.legacyContext(sid, dids[0], wasPresent)
    this.#count('edit: context entry')
  }

  #editDirectory(at: bigint, users: readonly Attachment[]): void {
    const wasPresent = (this.#driver.config.read(at) & 1n) !== 0n
    this.#flip(this.#driver.config, at, FLIPS.directory, () => this.#editDirectory(at, users))
    this.#rules.directory(users.map(userOf), wasPresent)
    this.#count('edit: directory entry')
  }

  #editPasid(attachment: Attachment): void {
    const { config } = this.#driver
    const before = config.read(attachment.at)
    this.#flip(config, attachment.at, FLIPS.pasid, () => this.#editPasid(attachment))
    const after = config.read(attachment.at)
    this.#pasidTold(attachment, before, after)
    this.#count('edit: PASID entry')
  }

  /** A PASID entry went from one first word to another; the DID is what it was. */
  #pasidTold(attachment: Attachment, before: bigint, after: bigint): void {
    const user = userOf(attachment)
    if ((before & 1n) === 0n) this.#rules.pasidAppeared(user)
    else if ((after & 1n) === 0n) this.#rules.pasidVanished(user, Number((before >> 6n) & 7n))
    else this.#rules.pasidChanged(user)
  }

  /** One bit changes in all entries of a domain, which is another domain from then on. */
  #reshape(domain: Domain): void {
    const { rng, isScalable } = this.#ground
    const { config } = this.#driver
    if (domain.isShared) return
    const isBending = !this.#isStrict && rng.chance(0.3)
    if (isBending && isScalable) this.#rules.isBent = true
    const [word, bits] = rng.pick(!isScalable ? LEGACY_SHAPES : isBending ? BENDING_SHAPES : SHAPES)
    const bit = rng.pick(bits)
    this.#rewrite(domain, ({ at }) => {
      const place = at + BigInt(word) * 8n
      config.write(place, config.read(place) ^ (1n << BigInt(bit)))
    })
    this.#count('edit: shape of a domain')
  }

  /** The domain gets another DID, and its old one is free. */
  #renumber(domain: Domain): void {
    if (domain.isShared) return
    this.#rewrite(domain, () => {})
    this.#count('edit: DID')
  }

  /** SSADE or EAFE, in all entries that name the tree. */
  #toggle({ first, second }: Domain): void {
    const { rng, features } = this.#ground
    const { config } = this.#driver
    const isSecond = second !== undefined && features.ssads && rng.chance(0.7)
    if (!isSecond && (first === undefined || !features.eafs)) return
    if (isSecond) second.ssade = !second.ssade
    else if (first !== undefined) first.eafe = !first.eafe
    const concerned = this.#guest.domains.filter((other) =>
      isSecond ? other.second === second : other.first === first,
    )
    for (const attachment of concerned.flatMap((other) => attachedTo(this.#guest, other))) {
      const { at } = attachment
      const before = config.read(at)
      const place = isSecond ? at : at + 16n
      config.write(place, config.read(place) ^ (1n << (isSecond ? 9n : 7n)))
      const type = Number((before >> 6n) & 7n)
      if ((before & 1n) === 0n) this.#rules.pasidAppeared(userOf(attachment))
      else if (isSecond) this.#rules.pasidVanished(userOf(attachment), type)
      else this.#rules.pasidChanged(userOf(attachment))
    }
    this.#count(isSecond ? 'edit: SSADE' : 'edit: EAFE')
  }

  #rewrite(domain: Domain, change: (attachment: Attachment) => void): void {
    const { config } = this.#driver
    const { isScalable } = this.#ground
    const old = domain.did
    const all = attachedTo(this.#guest, domain)
    const next = this.#freshDid()
    this.#rules.didTaken(next)
    const shift = isScalable ? 0n : 8n
    for (const attachment of all) {
      const { at, device } = attachment
      const before = config.read(at)
      change(attachment)
      config.write(at + 8n, (config.read(at + 8n) & ~(0xffffn << shift)) | (BigInt(next) << shift))
      if (isScalable) this.#pasidTold(attachment, before, config.read(at))
      else this.#rules.legacyContext(device.sid, old, (before & 1n) !== 0n)
    }
    domain.did = next
    this.#freeDid(old)
  }

  /** Linux's way from one domain to another: the entry goes, then the new one comes; or it is overwritten. */
  #attach(attachment: Attachment): void {
    const { rng, isScalable } = this.#ground
    const { config } = this.#driver
    const before = config.read(attachment.at)
    const wasPresent = (before & 1n) !== 0n
    const isAtOnce = rng.chance(0.3)
    this.#wrong.delete(attachment.at)
    if (isScalable && !isAtOnce) {
      config.write(attachment.at, before & ~1n)
      if (wasPresent) this.#rules.pasidVanished(userOf(attachment), Number((before >> 6n) & 7n))
    }
    const old = userOf(attachment)
    if (isScalable) {
      const type = Number((before >> 6n) & 7n)
      for (let i = 3n; i < 8n; i++) config.write(attachment.at + i * 8n, 0n)
      attachment.domain = choose(this.#ground, this.#guest, old.pasid)
      writePasid(this.#ground, config, attachment)
      if (!isAtOnce || !wasPresent) this.#rules.pasidAppeared(userOf(attachment))
      else if (rng.chance(0.5)) this.#rules.pasidChanged(old)
      else this.#rules.pasidVanished(old, type)
    } else {
      attachment.domain = rng.pick(this.#guest.domains)
      writeLegacy(this.#ground, config, attachment)
      this.#rules.legacyContext(attachment.device.sid, old.did, wasPresent)
      if (!wasPresent) this.#rules.legacyContext(attachment.device.sid, attachment.domain.did, false)
    }
    this.#count('edit: attached to another domain')
  }

  /** A leaf or a table goes, and other leaves come: pages are split and merged. */
  #replace(domain: Domain): void {
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
  #map(domain: Domain): void {
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

  #editAnyEntry(domain: Domain): void {
    const picked = this.#pickEntry(domain)
    if (picked !== undefined) this.editEntry(domain, picked.entry, picked.isFirst)
  }

  /** Changes one bit of an entry. */
  editEntry(domain: Domain, entry: Entry, isFirst: boolean): void {
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
  #turnBack(): void {
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

  #flip(space: Space, base: bigint, flips: Flips, edit: () => void): void {
    const { rng } = this.#ground
    const [word, bits] = rng.pick(flips)
    const wrong = this.#wrong.get(base)
    const [at, bit] = wrong?.flip ?? [base + BigInt(word) * 8n, rng.pick(bits)]
    // Now and then a second thing is wrong, and stays so.
    if (wrong === undefined && rng.chance(0.9)) this.#wrong.set(base, { flip: [at, bit], edit })
    else this.#wrong.delete(base)
    space.write(at, space.read(at) ^ (1n << BigInt(bit)))
  }
}

const userOf = ({ domain, pasid }: Attachment): FirstUser => ({ did: domain.did, pasid: pasid ?? 0 })
