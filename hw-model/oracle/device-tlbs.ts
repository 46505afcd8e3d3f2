/**
 * Device TLBs: what a function keeps of what its unit once answered, and uses without asking again. Such a use is judged
 * like a translation of a kind of its own: the cached answer is the function's, the fresh one what a translation request
 * would be answered from memory alone. Where the unit's own caches are stale too they come first, since a function that
 * forgot would only be told the same again.
 */

import {
  ACCESS,
  type ChangedEntry,
  type Invalidation,
  type KeptTranslations,
  NO_PASID,
  Outcome,
  REQUEST,
  STATUS,
  Transaction,
} from '../port.js'
import type { Reads, Remedy, Subject, WordName } from './subject.js'

/** `Transaction.type` of a use of what the function keeps: nothing is sent to the unit. */
export const FROM_DEVICE = 3

/** Takes down nothing. */
const NO_READS: Reads = { add: () => undefined }

/** One architecture's commands to functions. */
export interface DeviceCommands {
  /** What makes a function forget one page. */
  command(rid: number, pasid: number, lo: number, hi: number): Invalidation
  /** The same for 2^`leafLg2` bytes around it. */
  wide(command: Invalidation, leafLg2: number): Invalidation
  /** As `Subject.shortfalls`, of such a command. */
  shortfalls(sent: Invalidation, missing: Invalidation): readonly string[] | null
}

/** A unit with the functions in front of it. */
export class WithDeviceTlbs implements Subject {
  readonly sync: Invalidation
  readonly #unit: Subject
  readonly #commands: DeviceCommands
  readonly #devices = new Map<number, KeptTranslations>()
  readonly #request = new Transaction()
  readonly #fresh = new Outcome()
  readonly #found = new Outcome()
  /** Commands to functions that were named. */
  readonly #named = new WeakSet<Invalidation>()
  /** The last `fresh` was of a function's own. */
  #isDevices = false

  constructor(unit: Subject, commands: DeviceCommands) {
    this.sync = unit.sync
    this.#unit = unit
    this.#commands = commands
  }

  /** Makes a function known. */
  know(rid: number, device: KeptTranslations): void {
    this.#devices.set(rid >>> 0, device)
  }

  live(transaction: Transaction, outcome: Outcome): void {
    if (transaction.type === FROM_DEVICE) this.#kept(transaction, outcome)
    else this.#unit.live(transaction, outcome)
  }

  fresh(transaction: Transaction, outcome: Outcome, reads: Reads): void {
    this.#isDevices = transaction.type === FROM_DEVICE
    if (!this.#isDevices) {
      this.#unit.fresh(transaction, outcome, reads)
      return
    }
    this.#unit.fresh(this.#asked(transaction), outcome, reads)
    Object.assign(this.#fresh, outcome)
    // More than the function keeps is no difference to it.
    if (outcome.status === STATUS.OK && this.#find(transaction)) outcome.rights &= this.#found.rights
  }

  cached(transaction: Transaction, outcome: Outcome): void {
    if (transaction.type === FROM_DEVICE) this.#kept(transaction, outcome)
    else this.#unit.cached(transaction, outcome)
  }

  isSame(cached: Outcome, fresh: Outcome): boolean {
    if (!this.#isDevices) return this.#unit.isSame(cached, fresh)
    if (fresh.status !== STATUS.OK || cached.status !== STATUS.OK) return cached.status === fresh.status
    const isMore = (cached.rights & ~fresh.rights) !== 0
    return !isMore && cached.address === fresh.address && cached.untranslatedOnly === fresh.untranslatedOnly
  }

  /** A function keeps what it was told, whole. */
  pieceLg2(): number {
    return this.#isDevices ? 64 : this.#unit.pieceLg2()
  }

  entry(): number {
    return this.#isDevices ? 0 : this.#unit.entry()
  }

  isKept(entry: number, lo: number, hi: number): boolean {
    return entry !== 0 && this.#unit.isKept(entry, lo, hi)
  }

  remedy(transaction: Transaction, fresh: Outcome, changed: ChangedEntry | null): Remedy {
    if (transaction.type !== FROM_DEVICE) return this.#unit.remedy(transaction, fresh, changed)
    const { rid, pasid, lo, hi } = transaction
    const leafLg2 = this.#find(transaction) ? this.#found.leafLg2 : 12
    const frame = this.#found.address - (lo & 4095)
    const command = this.#commands.command(rid, pasid, lo & -4096, hi)
    this.#named.add(command)
    const wide = leafLg2 > 12 ? this.#commands.wide(command, leafLg2) : null
    return {
      cache: 'atc',
      entry: `atc ${rid} ${pasid} ${frame}`,
      missing: [...this.#missingAtUnit(transaction, changed), command],
      usual: wide,
    }
  }

  shortfalls(sent: Invalidation, missing: Invalidation): readonly string[] | null {
    const isDevices = this.#named.has(missing)
    return isDevices ? this.#commands.shortfalls(sent, missing) : this.#unit.shortfalls(sent, missing)
  }

  describe(kind: number): WordName {
    return this.#unit.describe(kind)
  }

  marks(kind: number, before: readonly [number, number], after: readonly [number, number]): boolean {
    return this.#unit.marks(kind, before, after)
  }

  breaks(kind: number, before: readonly [number, number], after: readonly [number, number]): boolean {
    return this.#unit.breaks(kind, before, after)
  }

  /** What the unit would tell a function that asks again, and what that lacks. */
  #missingAtUnit(transaction: Transaction, changed: ChangedEntry | null): readonly Invalidation[] {
    const request = this.#asked(transaction)
    const fresh = new Outcome()
    const cached = new Outcome()
    this.#unit.fresh(request, fresh, NO_READS)
    this.#unit.cached(request, cached)
    const isSame = this.#unit.isSame(cached, fresh)
    return isSame ? [] : this.#unit.remedy(request, fresh, changed).missing
  }

  /** The request that would ask for all there is. */
  #asked(transaction: Transaction): Transaction {
    const { rid, pasid, lo, hi, access } = transaction
    const executes = this.#find(transaction) ? this.#found.rights & ACCESS.EXECUTE : 0
    const privileged = pasid === NO_PASID ? 0 : access & ACCESS.PRIVILEGED
    const request = this.#request
    request.rid = rid
    request.pasid = pasid
    request.lo = lo
    request.hi = hi
    request.type = REQUEST.TRANSLATION
    request.access = ACCESS.READ | ACCESS.WRITE | executes | privileged
    request.bytes = 0
    return request
  }

  /** What a function would use; where it keeps nothing, what memory says. */
  #kept(transaction: Transaction, outcome: Outcome): void {
    Object.assign(outcome, this.#find(transaction) ? this.#found : this.#fresh)
    outcome.hit = 1
  }

  #find({ rid, pasid, lo, hi, access }: Transaction): boolean {
    const isPrivileged = pasid !== NO_PASID && (access & ACCESS.PRIVILEGED) !== 0
    const found = this.#found
    found.status = STATUS.OK
    return this.#devices.get(rid >>> 0)?.lookUp(pasid, isPrivileged, lo, hi, found) ?? false
  }
}
