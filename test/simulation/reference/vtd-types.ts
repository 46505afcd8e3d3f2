/** What goes into the reference VT-d unit and what comes out of it. */

import type { ReferenceMemory } from './memory.js'
import type { VtdFeatures } from './vtd-features.js'

/** What software programmed. */
export interface VtdRegisters {
  /** GSTS.TES. */
  readonly isOn: boolean
  /** What SRTP latched: RTADDR. */
  readonly rootTable: bigint
  /** RTADDR.TTM. */
  readonly mode: number
  /** RTADDR.SSIRWE. */
  readonly ssirwe: boolean
}

/** One request of a device. */
export interface VtdAccess {
  /**
   * An untranslated request, an ATS translation request, a request with an address that ATS handed out; or a page
   * request, which moves nothing.
   */
  readonly kind: 'untranslated' | 'request' | 'translated' | 'page'
  readonly sid: number
  /** undefined for a request without PASID. */
  readonly pasid: number | undefined
  readonly address: bigint
  /** Both for an AtomicOp, neither for a zero-length read. Of a translation request: `write` is NW = 0. */
  readonly read: boolean
  readonly write: boolean
  /** Asks for execute; only reads with PASID do. */
  readonly execute: boolean
  /** Privileged; only requests with PASID are. */
  readonly privileged: boolean
  /** Bytes that move; 0 for a question about the tables. */
  readonly bytes: number
}

/** What tables grant. */
export interface Rights {
  readonly read: boolean
  readonly write: boolean
}

/** A fault record, low word first; undefined bits of the first are left out of `known`. */
export interface VtdRecord {
  readonly words: readonly [bigint, bigint]
  readonly hasAddress: boolean
}

/** How a request ends. */
export type VtdEnd =
  /** At a physical address; one translation covers at most 2^spanLg2 bytes around it. */
  | {
      readonly end: 'translated'
      readonly address: bigint
      readonly spanLg2: number
      readonly rights: Rights
    }
  /** An interrupt message, which is no DMA. */
  | { readonly end: 'message' }
  /** Blocked; `record` is what goes into FRCD, if anything. */
  | { readonly end: 'fault'; readonly reason: number; readonly record: VtdRecord | undefined }
  /** A translation request that succeeds; one kind of fault is recorded nevertheless. */
  | {
      readonly end: 'granted'
      readonly rights: Rights
      readonly address: bigint
      readonly spanLg2: number
      readonly record?: VtdRecord | undefined
    }
  /** A translation request that ends as UR or CA. */
  | {
      readonly end: 'unsupported' | 'completerAbort'
      readonly reason: number | undefined
      readonly record: VtdRecord | undefined
    }
  /** Blocked with nothing to tell. */
  | { readonly end: 'blocked' }

/** Bits of a table entry that hardware sets: `must` are set afterwards, `may` are left to the implementation. */
export interface Update {
  must: bigint
  may: bigint
}

/** The ends that the manual permits, the first one preferred, and what happens to table entries. */
export interface VtdResult {
  readonly ends: readonly VtdEnd[]
  readonly updates: ReadonlyMap<bigint, Update>
  /** Memory did not take a flag, which a dry walk does not find out. */
  readonly isClosed: boolean
  /** What the translation had to do with, by name: a measure of what a simulation covers. */
  readonly met: ReadonlySet<string>
}

/** Ends a translation with any of these reasons. [VTD 7.1.3 Fault Conditions] */
export class VtdStop extends Error {
  constructor(readonly reasons: readonly number[]) {
    super('stopped')
  }
}

/** A translation request that gets nothing, or an answer that no table has a say in. */
export class VtdAnswer extends Error {
  constructor(readonly answer: VtdEnd) {
    super('answered')
  }
}

/** One translation under way. */
export class Job {
  readonly updates = new Map<bigint, Update>()
  readonly met = new Set<string>()
  /** Troubles that the walk has met and went past: the order in which a unit finds them is its own. */
  readonly troubles = new Set<number>()
  /** Troubles that a unit may have where another has none. */
  readonly perhaps = new Set<number>()
  /** Another end than that of any trouble. */
  otherwise: VtdEnd | undefined
  /** The FPD bits met so far. [VTD 7.1.1] */
  isSilent = false
  /** Memory did not take a flag. */
  isClosed = false
  /** In effect: of the request, or RID_PRIV. */
  isPrivileged = false

  constructor(
    readonly memory: ReferenceMemory,
    readonly features: VtdFeatures,
    readonly registers: VtdRegisters,
    readonly access: VtdAccess,
  ) {}

  get isRequest(): boolean {
    return this.access.kind === 'request'
  }

  /** Whether the request wants to write; NW counts only where NWFS is. [VTD 4.2.3] */
  get wantsWrite(): boolean {
    return this.access.write || (this.isRequest && !this.features.nwfs)
  }

  /** A translation request is a read, whatever else it is. */
  get wantsRead(): boolean {
    return this.access.read || this.isRequest
  }

  /** A read of no bytes. [VTD 3.14] */
  get isZeroLength(): boolean {
    return !this.wantsRead && !this.wantsWrite
  }

  stop(...reasons: readonly number[]): never {
    throw new VtdStop([...reasons, ...this.troubles])
  }

  /** Sets bits of an entry that is `word` now; answers whether memory takes it. */
  mark(at: bigint, word: bigint, bits: bigint): boolean {
    const missing = bits & ~word
    if (missing === 0n) return true
    if (!this.canMark(at, word | bits)) return false
    const update = this.#update(at)
    update.must |= missing
    update.may &= ~update.must
    return true
  }

  /** Whether memory takes an entry with other flags. */
  canMark(at: bigint, word: bigint): boolean {
    if (this.memory.write64(at, word)) return true
    this.isClosed = true
    return false
  }

  /** Leaves it to the implementation whether it sets them. */
  mayMark(at: bigint, word: bigint, bits: bigint): void {
    const update = this.#update(at)
    update.may |= bits & ~word & ~update.must
  }

  /** Nothing that was to be set needs to be: the request fails. */
  excuse(): void {
    for (const update of this.updates.values()) {
      update.may |= update.must
      update.must = 0n
    }
  }

  #update(at: bigint): Update {
    const update = this.updates.get(at) ?? { must: 0n, may: 0n }
    this.updates.set(at, update)
    return update
  }
}
