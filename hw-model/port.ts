/**
 * The requester port: what a device sends to a remapping unit and what comes back. Both are structs that the caller
 * owns and reuses; a translation fills an outcome and allocates nothing.
 */

import type { OracleOptions, UnitOracle } from './oracle/types.js'

export type * from './oracle/types.js'

/** Bits of `Transaction.access`. */
export const ACCESS = {
  READ: 1,
  WRITE: 2,
  /** Instruction fetch; with READ. */
  EXECUTE: 4,
  /** Privileged mode was requested; else unprivileged (user). */
  PRIVILEGED: 8,
} as const

/** What a device wants: `Transaction.type`. The numbers are PCIe's AT field. [VTD 4.2.1] */
export const REQUEST = {
  UNTRANSLATED: 0,
  /** An ATS translation request. */
  TRANSLATION: 1,
  /** A DMA with an address that an earlier translation request obtained. */
  TRANSLATED: 2,
} as const

/** How a transaction ended: `Outcome.status`. */
export const STATUS = {
  /** Translated; `address`, `leafLg2` and `rights` hold. */
  OK: 1,
  /** Blocked, and the unit's manual has a name for it: `fault` holds. */
  FAULT: 2,
  /** Blocked without any record. */
  ABORTED: 3,
  /** Reads as zero, writes ignored. [SMMU 3.12.1 Terminate model] */
  RAZ_WI: 4,
  /** Held by the unit; `tag` names it until `DevicePort.ended` says how it ended. */
  PENDING: 5,
  /** An ATS translation request that the unit does not take (UR): the function is to switch ATS off. */
  UNSUPPORTED: 6,
  /** An ATS translation request that met a broken configuration (CA). */
  COMPLETER_ABORT: 7,
} as const

/** `Transaction.pasid` of a request that carries none. */
export const NO_PASID = -1

/** One DMA request. Addresses are two signed or unsigned 32-bit halves. */
export class Transaction {
  /** StreamID or source-id; 32 bits. */
  rid = 0
  /** SubstreamID or PASID, 20 bits, or NO_PASID. */
  pasid: number = NO_PASID
  /** Low half of the input address. */
  lo = 0
  /** High half of the input address. */
  hi = 0
  /** Bits of ACCESS. */
  access: number = ACCESS.READ
  /** One of REQUEST. */
  type: number = REQUEST.UNTRANSLATED
  /**
   * Bytes of the access, or 0 for a question about the tables that moves no data. VT-d tells interrupt messages (writes
   * of 4 bytes without PASID to 0xfee00000..0xfeefffff) from DMA by it; a question is always answered by the tables.
   * The access lies in one 4 KiB page: no bus carries another, and who moves more sends more. [VTD 3.13]
   */
  bytes = 0
}

/** How one transaction ended. Fields without meaning for its status are left as they were. */
export class Outcome {
  /** One of STATUS. */
  status: number = STATUS.ABORTED
  /** Physical address of the byte asked for; exact. */
  address = 0
  /** log2 of the bytes around `address` that the same translation covers, 12 or more. */
  leafLg2 = 12
  /** Bits of ACCESS that the translation grants to this kind of request; 0 for a translation request that got none. */
  rights = 0
  /**
   * SMMUv3: event number [SMMU 7.3]. VT-d: fault reason [VTD 7.1.3]. Holds when status is FAULT or PENDING; of a translation request
   * that is UNSUPPORTED or COMPLETER_ABORT, what was recorded, or 0.
   */
  fault = 0
  /** VT-d, of a translation request: 1 when what is granted may be used by untranslated requests alone (U). [VTD 4.1.2] */
  untranslatedOnly = 0
  /** 1 when the translation cache answered, 0 when tables were walked. */
  hit = 0
  /** Names a PENDING transaction; never used twice by one unit. */
  tag = 0
}

/** An ATS Invalidate Request, as a device meets it. The struct is reused: who keeps it copies it. */
export class AtcInvalidation {
  /** Names it in `AtsPort.completed` and `timedOut`; never used twice by one unit. */
  tag = 0
  rid = 0
  /** PASID of the translations to forget, or NO_PASID for those that were obtained without one. */
  pasid: number = NO_PASID
  /** Those of every PASID; `pasid` is then one of them. */
  allPasids = false
  /** First byte, a multiple of the size. */
  lo = 0
  hi = 0
  /** log2 of the bytes, 12 to 64; 64 is everything. */
  sizeLg2 = 64
}

/** A PRI Page Request. */
export class PageRequest {
  /** StreamID or source-id; 32 bits. */
  rid = 0
  /** PASID, 20 bits, or NO_PASID. */
  pasid: number = NO_PASID
  /** The page's address; its low 12 bits do not count. */
  lo = 0
  hi = 0
  /** Bits of ACCESS. Neither READ nor WRITE, with `isLast`, is a stop marker. */
  access: number = ACCESS.READ
  /** Page Request Group Index, 9 bits. */
  group = 0
  isLast = true
}

/** Response codes of a page request group, as PCIe sends them. */
export const PAGE_RESPONSE = { SUCCESS: 0b0000, INVALID: 0b0001, FAILURE: 0b1111 } as const

/** What a unit sends to the devices in front of it. It never waits for an answer. */
export interface DevicePort {
  /**
   * Forget translations. True when that has happened, or when nobody is there; false when the device will answer: then
   * `AtsPort.completed` or `timedOut` is called with the tag, later or from inside this call.
   */
  invalidateAtc(invalidation: AtcInvalidation): boolean
  /** A page request group was answered; `code` is one of PAGE_RESPONSE. */
  respondToPages(rid: number, pasid: number, group: number, code: number): void
  /**
   * A PENDING transaction ended; `outcome` holds during the call alone. Called from inside `writeRegister`, `run` and
   * `reset`, and never from `translate`: what an interrupt of that one starts is work for `run`.
   */
  ended(tag: number, outcome: Outcome): void
}

/** Devices that keep no translations and wait for nothing. */
export const NO_DEVICES: DevicePort = {
  invalidateAtc: () => true,
  respondToPages: () => undefined,
  ended: () => undefined,
}

/** What devices with ATS and PRI send to a unit, besides transactions. */
export interface AtsPort {
  /** A page request; its group is answered through `DevicePort.respondToPages`, later or from inside this call. */
  requestPage(request: PageRequest): void
  /**
   * An invalidation is complete. A queue that waited for it takes its first QUEUE_RUN entries. False where none of that
   * tag is outstanding, or where the unit hears no completion now: then it can only time out.
   *
   * @param rid who says so, where that is known: nobody completes the invalidations of another
   */
  completed(tag: number, rid?: number): boolean
  /** An invalidation was not answered in time: what waits for it fails. False where none of that tag is outstanding. */
  timedOut(tag: number): boolean
}

/**
 * Queue entries that a unit takes before it stops and its programmer is heard again. Hardware consumes its queues at its
 * own pace and may stop between any two entries; without an end, a full queue of 2^19 commands would be one call of ours.
 * An entry that looks through the whole translation cache takes 50 us.
 */
export const QUEUE_RUN = 16

/** What an address counts in: guest-physical, behind stage 2, or physical. */
export type Space = 'ipa' | 'pa'

/** One step of an explained walk, in the order in which hardware makes it. */
export interface WalkStep {
  /** What was read or decided: `STE`, `CD`, `stage-1 table entry`, `PASID table entry`, `fault` … */
  readonly what: string
  /** Whose tables; absent for configuration, and for a decision that no table led to. */
  readonly stage?: 1 | 2
  /** Level of a table entry, as the manual counts it. */
  readonly level?: number
  /** Physical address it was read at; absent for a decision. */
  readonly address?: number
  /** The same place as the guest names it, when another stage translates it. */
  readonly guestAddress?: number
  /** The record's 32-bit words, low first. */
  readonly words?: readonly number[]
  /** Decoded fields that matter here, by the manual's names. */
  readonly fields?: Readonly<Record<string, number>>
  /** Values of fields in words, where they have any. */
  readonly texts?: Readonly<Record<string, string>>
  /** The fields that are addresses. */
  readonly pointers?: Readonly<Record<string, Space>>
  /** What follows from it, in words; without any address. */
  readonly verdict: string
  /** The address that the verdict is about: of the next table, or of a leaf's first byte. */
  readonly target?: { readonly space: Space; readonly address: number }
  /** Where the manual says so. */
  readonly citation?: string
}

/** A command or descriptor that empties a cache of something. */
export interface Invalidation {
  /** Its short name: `TLBI_NH_VA`, `P_IOTLB` … */
  readonly name: string
  /** Its operands by the manual's names, but for the address. */
  readonly operands: Readonly<Record<string, number>>
  /** First byte of the page that it names, as two unsigned halves. */
  readonly page?: readonly [lo: number, hi: number]
}

/** Receives the steps of a dry walk. */
export interface WalkTrace {
  step(step: WalkStep): void
}

/** What a unit asks of whoever owns it. It never waits for an answer. */
export interface UnitOwner {
  /** A message-signalled interrupt: a 32-bit write that found no memory or that must be seen by its owner too. */
  message(address: number, data: number): void
  /** A wired interrupt pulse, by the manual's name: `eventq`, `gerror`, `cmdq-sync`, `fault`, `iq` … */
  interrupt(source: string): void
}

/** Counters of a unit's caches, monotonic. */
export interface UnitCounters {
  readonly translations: number
  readonly hits: number
  readonly misses: number
  readonly faults: number
  readonly evictions: number
}

/**
 * How eagerly a unit keeps what software has not invalidated. Speed is all that differs for software that does.
 *
 * - `off`: nothing is kept.
 * - `minimal`: one entry of each kind.
 * - `hardware`: what real parts keep.
 * - `greedy`: all that the manual lets a unit keep.
 * - `random`: as much as `hardware`, and chance says which entry makes room.
 */
export type CachePolicy = 'off' | 'minimal' | 'hardware' | 'greedy' | 'random'

/** One cache of a unit. */
export interface CacheStatistics {
  /** Its unit's short name for it: `ste`, `tlb`, `walk1` … */
  readonly name: string
  /** Entries that it has room for; 0 where it is off. */
  readonly entries: number
  /** Entries that would answer. */
  readonly live: number
  readonly hits: number
  readonly misses: number
  /** Entries that made room for others. */
  readonly evictions: number
  /** Entries kept so far, those that replaced an older one of the same name too. */
  readonly fills: number
  /** Entries that commands dropped. */
  readonly invalidated: number
}

/** A remapping unit, as its requesters, its programmer and a debugger see it. Driven only by memory and registers. */
export interface RemappingUnit {
  readonly kind: 'smmuv3' | 'vtd'
  /** Bytes of the register window. */
  readonly registerBytes: number
  /** Reads a register of 4 or 8 bytes at an aligned offset. Unknown offsets read 0. Halves are unsigned, low first. */
  readRegister(offset: number, bytes: 4 | 8): readonly [lo: number, hi: number]
  /** Writes a register of 4 or 8 bytes, and takes the first QUEUE_RUN entries of a queue that this sets going. */
  writeRegister(offset: number, bytes: 4 | 8, lo: number, hi: number): void
  /** A queue has entries that the unit can take: what a write started has not all happened. */
  readonly hasWork: boolean
  /** Takes the next QUEUE_RUN entries, if there are any. */
  run(): void
  /** Ends a transaction in `outcome`: sets flags, fills caches, records faults. Never throws, never allocates. */
  translate(transaction: Transaction, outcome: Outcome): void
  /** What devices with ATS and PRI use; null where the unit offers neither. */
  readonly ats: AtsPort | null
  /** The same walk, dry and from memory alone: no cache is read or filled, no flag set, nothing recorded. */
  explain(transaction: Transaction, outcome: Outcome, trace: WalkTrace): void
  /**
   * What the caches alone answer, and nothing is touched: no counter, no fill, no record. False, and `outcome` is void,
   * when an entry that the answer needs is not cached.
   */
  peek(transaction: Transaction, outcome: Outcome): boolean
  /**
   * The fewest invalidations after which `translate` answers what memory says; empty where it does so already, or where
   * that cannot be told. Touches nothing.
   */
  missing(transaction: Transaction): readonly Invalidation[]
  /** Who compares each translation with what memory says; null while nobody does. */
  readonly oracle: UnitOracle | null
  /** Switches it on, with nothing counted or reported yet, or off. */
  setOracle(options: OracleOptions | null): void
  /** The manual's name of a fault code, such as `F_TRANSLATION` or `0x71 SFS.2`. */
  faultName(fault: number): string
  readonly counters: UnitCounters
  /** What each cache holds, and has done since it was made. */
  readonly cacheStatistics: readonly CacheStatistics[]
  /**
   * New caches, all of them empty. Registers stay, and so does what is outstanding at devices and what is held.
   *
   * @param policy null: what the unit was made with
   * @param seed where chance starts
   */
  setCachePolicy(policy: CachePolicy | null, seed?: number): void
  /** Back to power-on: registers at their reset values, caches empty. Memory is left alone. */
  reset(): void
}
