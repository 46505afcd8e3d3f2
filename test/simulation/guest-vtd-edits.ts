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
import type { Domain, Ground } from './guest-vtd-domains.js'
import type { Driver } from './guest-vtd-driver.js'
import type { Rules } from './guest-vtd-rules.js'
import { TableEditor, userOf } from './guest-vtd-tables.js'
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

/** Makes edits. */
export class Editor {
  readonly #ground: Ground
  readonly #guest: Guest
  readonly #driver: Driver
  readonly #rules: Rules
  /** No table is ever taken for another. */
  readonly #isStrict: boolean
  readonly #tables: TableEditor
  readonly #freshDid: () => number
  readonly #freeDid: (did: number) => void
  readonly #count: (name: string) => void
  /** One bit of each record that is wrong: where, and which; and the edit that puts it right. */
  readonly #wrong = new Map<bigint, { readonly flip: readonly [at: bigint, bit: number]; readonly edit: () => void }>()

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
    this.#tables = new TableEditor(parts, isStrict, count)
    this.#freshDid = dids.fresh
    this.#freeDid = dids.free
    this.#count = count
  }

  get tables(): TableEditor {
    return this.#tables
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
    if (rng.chance(0.3)) this.#tables.turnBack()
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
    else if (kind < 13) this.#tables.replace(attachment.domain)
    else if (kind < 15) this.#tables.map(attachment.domain)
    else this.#tables.editAny(attachment.domain)
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
    // What is wrong is put right half of the time.
    const known = domain.twist.findIndex((twist) => twist !== 0n)
    const isUndone = known >= 0 && rng.chance(0.5)
    const where = isUndone ? known : word
    const change = isUndone ? domain.twist[known] : 1n << BigInt(rng.pick(bits))
    domain.twist[where] ^= change
    this.#rewrite(domain, ({ at }) => {
      const place = at + BigInt(where) * 8n
      config.write(place, config.read(place) ^ change)
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
