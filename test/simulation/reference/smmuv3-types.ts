/** What goes into the reference SMMUv3 and what comes out of it. */

import type { ReferenceMemory } from './memory.js'
import type { SmmuFeatures } from './smmuv3-features.js'

/** What software programmed; SMMUEN is 1. */
export interface SmmuRegisters {
  readonly strtabBase: bigint
  readonly strtabLog2Size: number
  readonly strtabSplit: number
  readonly twoLevel: boolean
  /** CR2.RECINVSID. */
  readonly recordInvalidSid: boolean
  /** CR2.E2H. */
  readonly e2h: boolean
  /** CR2.REC_CFG_ATS. */
  readonly recordAtsConfig: boolean
  /** CR0.ATSCHK. */
  readonly atsCheck: boolean
}

/** One access of a device. */
export interface SmmuAccess {
  /** An ordinary transaction, an ATS translation request, or an access with an address that ATS handed out. */
  readonly kind: 'ordinary' | 'request' | 'translated'
  readonly sid: number
  /** undefined when the access carries none. */
  readonly ssid: number | undefined
  readonly address: bigint
  /** Of a request: its NW bit is 0. */
  readonly write: boolean
  /** An instruction fetch; only reads are. Of a request: it asks for Exe, too. */
  readonly fetch: boolean
  readonly privileged: boolean
}

/** What the tables grant. */
export interface Rights {
  readonly read: boolean
  readonly write: boolean
  readonly execute: boolean
}

/**
 * Bits of a descriptor that hardware changes: `must` are different afterwards, `may` are left to the implementation.
 * [SMMU 3.13 Translation tables and Access flag/Dirty state]
 */
export interface Update {
  readonly at: bigint
  must: bigint
  may: bigint
}

/** How an access ends. */
export type SmmuEnd =
  /** At a physical address; the same translation covers at least 2^leafLg2 bytes around it, and at most 2^spanLg2. */
  | { readonly end: 'translated'; readonly address: bigint; readonly leafLg2: number; readonly spanLg2: number }
  /** Blocked, or held until software answers; `event` is what goes into the event queue, if anything. */
  | { readonly end: 'abort' | 'razWi' | 'stall'; readonly event: SmmuEvent | undefined }
  /** A translation request that succeeds; `may` are rights that may be granted beside `rights`. */
  | {
      readonly end: 'granted'
      readonly rights: Rights
      readonly may: Rights
      readonly address: bigint
      readonly leafLg2: number
      readonly spanLg2: number
    }
  /** A translation request that ends as UR or CA. */
  | { readonly end: 'unsupported' | 'completerAbort'; readonly event: SmmuEvent | undefined }

/** An event record. */
export interface SmmuEvent {
  readonly words: readonly bigint[]
  /** Bits of word 1 that the manual leaves UNKNOWN here. */
  readonly unknown: bigint
}

/** The end that the manual's order gives, ends that it permits as well, and what happens to descriptors in any of them. */
export interface SmmuResult {
  readonly expected: SmmuEnd
  readonly permitted: readonly SmmuEnd[]
  readonly updates: readonly Update[]
  /** What the translation had to do with, by name: a measure of what a simulation covers. */
  readonly met: ReadonlySet<string>
}

/** Event numbers. [SMMU 7.3 Event records] */
export const SMMU_EVENT = {
  C_BAD_STREAMID: 0x02n,
  F_STE_FETCH: 0x03n,
  C_BAD_STE: 0x04n,
  F_BAD_ATS_TREQ: 0x05n,
  F_STREAM_DISABLED: 0x06n,
  F_TRANSL_FORBIDDEN: 0x07n,
  C_BAD_SUBSTREAMID: 0x08n,
  F_CD_FETCH: 0x09n,
  C_BAD_CD: 0x0an,
  F_WALK_EABT: 0x0bn,
  F_TRANSLATION: 0x10n,
  F_ADDR_SIZE: 0x11n,
  F_ACCESS: 0x12n,
  F_PERMISSION: 0x13n,
} as const

/** Ends a translation. */
export class SmmuStop extends Error {
  /** Another end that the manual permits instead of this one. */
  alternative: SmmuStop | undefined

  constructor(
    /** The event's number; undefined for what has none. */
    readonly id: bigint | undefined,
    /** What the manual says to record. */
    readonly record: readonly bigint[] | undefined,
    readonly end: 'abort' | 'razWi' | 'stall' = 'abort',
  ) {
    super('stopped')
  }
}

/** Translation regimes. [SMMU 5.2 Stream Table Entry, STRW] */
export type World = 'EL1' | 'EL2' | 'EL2-E2H'

/** One translation under way: what it reads, what it asks for, and what it has changed so far. */
export class Job {
  readonly stream: bigint
  readonly withSubstream: bigint
  /** After the STE's overrides. */
  fetch: boolean
  privileged: boolean
  world: World = 'EL1'
  readonly updates: Update[] = []
  readonly met = new Set<string>()

  constructor(
    readonly memory: ReferenceMemory,
    readonly features: SmmuFeatures,
    readonly registers: SmmuRegisters,
    readonly access: SmmuAccess,
  ) {
    this.stream = BigInt(access.sid) << 32n
    const { ssid } = access
    this.withSubstream = this.stream | (ssid === undefined ? 0n : (1n << 11n) | (BigInt(ssid) << 12n))
    this.fetch = access.fetch && (!access.write || this.isRequest)
    this.privileged = access.privileged
  }

  get isRequest(): boolean {
    return this.access.kind === 'request'
  }

  /** PnU, InD and RnW of word 1. InD is 0 for writes. [SMMU 7.3 Event records] */
  get accessBits(): bigint {
    const { write } = this.access
    return (BigInt(this.privileged) << 33n) | (BigInt(this.fetch && !write) << 34n) | (BigInt(!write) << 35n)
  }

  /** Changes bits of a descriptor; false where it cannot be written. */
  change(at: bigint, descriptor: bigint, bits: bigint): boolean {
    if (bits === 0n) return true
    if (!this.memory.write64(at, descriptor ^ bits)) return false
    this.updates.push({ at, must: bits, may: 0n })
    return true
  }

  /** Leaves it to the implementation whether it changes these bits. */
  mayChange(at: bigint, bits: bigint): void {
    if (bits !== 0n) this.updates.push({ at, must: 0n, may: bits })
  }

  /** Leaves these bits of updates `from` to `to` to the implementation. */
  excuse(from: number, to = this.updates.length, bits = -1n): void {
    for (const update of this.updates.slice(from, to)) {
      update.may |= update.must & bits
      update.must &= ~bits
    }
  }
}
