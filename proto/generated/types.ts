// Generated from proto/iommud/v1/*.proto by `npm run generate`. Do not edit.
//
// A message is what decoding gives: every field is there, with its default if the sender left it out. What has presence
// (messages, `optional` fields, members of a oneof) may be undefined. What one sends is `Init<Message>`: any field
// may be left out, and a typed array may be a plain one. Of a oneof at most one member is set.

/** What one gives to encode a message: its fields, each optional. */
export type Init<T> = T extends bigint | number | string | boolean | undefined | Uint8Array
  ? T
  : T extends BigUint64Array
    ? BigUint64Array | readonly bigint[]
    : T extends Uint32Array
      ? Uint32Array | readonly number[]
      : T extends readonly (infer Element)[]
        ? readonly Init<Element>[]
        : { readonly [Key in keyof T]?: Init<T[Key]> }

/** What shall fail. */
export const FaultKind = {
  /** Not said: EINVAL. */
  UNSPECIFIED: 0,
  /** Allocations of the daemon: ENOMEM. */
  ALLOCATION: 1,
  /** The unit's reads of memory: an external abort. */
  BUS_READ: 2,
  /** The unit's writes of memory: an external abort. */
  BUS_WRITE: 3,
  /** The device does not answer ATS invalidations. */
  ATS_TIMEOUT: 4,
} as const

/** A value of FaultKind. Another number may arrive from a peer of another version. */
export type FaultKind = (typeof FaultKind)[keyof typeof FaultKind]

/** Lets time pass. */
export interface AdvanceClockRequest {
  /** Milliseconds. */
  readonly advanceMs: bigint
}

/** The time now. */
export interface AdvanceClockResponse {
  /** Milliseconds since the start. */
  readonly nowMs: bigint
}

/** Asks for all contexts. */
export interface ListContextsRequest {}

/** All contexts. */
export interface ListContextsResponse {
  /** By number. */
  readonly contexts: readonly ContextInfo[]
}

/** One context. */
export interface ContextInfo {
  /** Its number in logs. */
  readonly contextNumber: bigint
  /** Its owner's user id. */
  readonly uid: number
  /** How it ends. */
  readonly lifetime: ContextLifetime
  /** Milliseconds until its lease ends; 0 without a lease. */
  readonly leaseLeftMs: number
  /** The name its owner gave it. */
  readonly label: string
  /** Objects it holds. */
  readonly objectCount: number
  /** Platform devices it has bound. */
  readonly deviceNames: readonly string[]
}

/** Ends a context. */
export interface EndContextRequest {
  /** Its number. */
  readonly contextNumber: bigint
}

/** The context is gone. */
export interface EndContextResponse {}

/** Adds a device. */
export interface AddDeviceRequest {
  /** Its name: "segment:bus:device.function". */
  readonly name: string
  /** The IOMMU in front of it. */
  readonly unitName: string
  /** SMMUv3 StreamID; VT-d takes it from the name. Absent: from the name on both. */
  readonly sourceId?: number
  /** Width of its PASIDs in bits, 0 to 20. */
  readonly pasidBits: number
  /** It has ATS. */
  readonly ats: boolean
  /** It has PRI; needs ATS. */
  readonly pri: boolean
  /** A mediated device: its parent's name. */
  readonly parentName: string
  /** A mediated device: its one PASID on the parent. */
  readonly parentPasid: number
}

/** The device is there. */
export interface AddDeviceResponse {}

/** Takes a device out. */
export interface RemoveDeviceRequest {
  /** Its name. */
  readonly name: string
}

/** The device is gone. */
export interface RemoveDeviceResponse {}

/** Makes something fail. */
export interface InjectFaultRequest {
  /** What. */
  readonly kind: FaultKind
  /** Lets so many pass first. */
  readonly skipCount: bigint
  /** Then fails so many; 0 ends the injection. */
  readonly failCount: bigint
  /** BUS_READ, BUS_WRITE: the platform's unit. */
  readonly unitName: string
  /** ATS_TIMEOUT: the device. */
  readonly deviceName: string
}

/** The injection is set. */
export interface InjectFaultResponse {
  /** How many failed by the injection that this one replaces. */
  readonly failedCount: bigint
}

/** How a translation request was completed. */
export const AtsStatus = {
  /** Not attempted, or no translation request. */
  UNSPECIFIED: 0,
  /** Success; without rights there is no translation. */
  SUCCESS: 1,
  /** Unsupported Request: the function must switch ATS off. */
  UNSUPPORTED_REQUEST: 2,
  /** Completer Abort. */
  COMPLETER_ABORT: 3,
} as const

/** A value of AtsStatus. Another number may arrive from a peer of another version. */
export type AtsStatus = (typeof AtsStatus)[keyof typeof AtsStatus]

/** Who asks: a stream of a raw unit. */
export interface UnitStream {
  /** The unit. */
  readonly unitId: number
  /** SMMUv3 StreamID, VT-d source-id. */
  readonly sourceId: number
}

/** Asks for translations. */
export interface RequestTranslationsRequest {
  /** The context's token. */
  readonly context: string
  /**
   * A bound device.
   * One of `requester`.
   */
  readonly deviceId?: number
  /**
   * A raw unit's stream.
   * One of `requester`.
   */
  readonly stream?: UnitStream
  /** The PASID; absent is a request without PASID. */
  readonly pasid?: number
  /**
   * AccessFlag bits: WRITE asks for the right to write (else "no write"), EXEC and PRIV as in the PASID prefix. READ is
   * always asked for.
   */
  readonly access: number
  /** IOVAs, each rounded down to 4096 bytes. */
  readonly iovas: BigUint64Array
}

/** Completions, element by element. Arrays are as long as `done_count`. */
export interface RequestTranslationsResponse {
  /** AtsStatus of each element. */
  readonly statuses: Uint32Array
  /**
   * Devices: the region of the translation; 0 without, and where the memory is the daemon's own, behind a window: that
   * is not granted, and is read untranslated.
   */
  readonly regionIds: Uint32Array
  /** Devices: bytes from the region's start. Raw units: the translated address. */
  readonly addresses: BigUint64Array
  /** Log2 of the bytes of the translation, STU at least. */
  readonly pageSizeLog2s: Uint32Array
  /** Rights given, AccessFlag bits; 0 is no translation. */
  readonly permissions: Uint32Array
  /** One per element that made a fault record, by `index`. */
  readonly faults: readonly DmaFault[]
  /** Elements attempted, from the first. */
  readonly doneCount: number
  /** Why the next one was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** One page request. */
export interface PageRequest {
  /** IOVA, rounded down to 4096 bytes. */
  readonly iova: bigint
  /** AccessFlag bits. READ and WRITE absent with `last` and a PASID is a stop marker, which is not answered. */
  readonly access: number
  /** Page Request Group Index, 0 to 511. */
  readonly groupIndex: number
  /** Last of its group. */
  readonly last: boolean
}

/** Asks for pages. */
export interface RequestPagesRequest {
  /** The context's token. */
  readonly context: string
  /**
   * A bound device.
   * One of `requester`.
   */
  readonly deviceId?: number
  /**
   * A raw unit's stream.
   * One of `requester`.
   */
  readonly stream?: UnitStream
  /** The PASID; absent is a request without PASID. */
  readonly pasid?: number
  /** The requests, in this order. */
  readonly requests: readonly PageRequest[]
}

/** The requests are on their way. */
export interface RequestPagesResponse {
  /** Per request sent: what AwaitDma asks for; 0 without `last`, and for stop markers. */
  readonly transactionIds: BigUint64Array
  /** Requests sent, from the first. */
  readonly doneCount: number
  /** Why the next one was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** Asks for invalidations. */
export interface PollInvalidationsRequest {
  /** The context's token. */
  readonly context: string
  /**
   * A bound device.
   * One of `requester`.
   */
  readonly deviceId?: number
  /**
   * A raw unit's stream.
   * One of `requester`.
   */
  readonly stream?: UnitStream
  /** At most so many; 0 is the limit `batch_elements`. */
  readonly maxInvalidations: number
  /** Waits up to so many milliseconds for the first; 0 answers at once. */
  readonly waitMs: number
}

/** One ATS invalidation. */
export interface AtsInvalidation {
  /** Names it in CompleteInvalidations. */
  readonly tag: bigint
  /** First IOVA, aligned to its size. */
  readonly iova: bigint
  /** Log2 of its bytes, 12 to 64; 64 is everything. */
  readonly sizeLog2: number
  /** Only translations of this PASID; absent: those without PASID. */
  readonly pasid?: number
  /** Those of every PASID; `pasid` is then ignored. */
  readonly allPasids: boolean
}

/** Invalidations, oldest first. They stay outstanding until they are completed. */
export interface PollInvalidationsResponse {
  /** The invalidations not told before. */
  readonly invalidations: readonly AtsInvalidation[]
}

/** Completes invalidations. */
export interface CompleteInvalidationsRequest {
  /** The context's token. */
  readonly context: string
  /**
   * A bound device.
   * One of `requester`.
   */
  readonly deviceId?: number
  /**
   * A raw unit's stream.
   * One of `requester`.
   */
  readonly stream?: UnitStream
  /** Tags of the invalidations. */
  readonly tags: BigUint64Array
  /** They timed out instead: CERROR_ATC_INV_SYNC at the next SYNC, ITE. Raw units only. */
  readonly timedOut: boolean
}

/** What was completed. */
export interface CompleteInvalidationsResponse {
  /** Tags completed, from the first. */
  readonly doneCount: number
  /** Why the next one was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** What the oracle does with a stale hit. */
export const OracleMode = {
  /** Not said: EINVAL. */
  UNSPECIFIED: 0,
  /** Nothing is compared. */
  OFF: 1,
  /** A stale hit is used, as in hardware, and reported. */
  REPORT: 2,
  /** A stale hit is reported and the access ends ABORTED. */
  FAIL: 3,
} as const

/** A value of OracleMode. Another number may arrive from a peer of another version. */
export type OracleMode = (typeof OracleMode)[keyof typeof OracleMode]

/** Why a stale answer was reported. */
export const StaleReason = {
  /** Not said. */
  UNSPECIFIED: 0,
  /** A SYNC or wait has completed since the change, and nothing before it covered the entry. */
  SYNCED: 1,
  /** The frame was filled for another owner or address meanwhile. */
  FRAME_REUSED: 2,
  /** CheckStale found it. */
  CHECKED: 3,
  /** One valid entry took another's place, and the manual wants an invalid one and an invalidation between them. */
  BREAK_BEFORE_MAKE: 4,
  /** It was still cached when its owner ended: the context, its device, or the raw unit. */
  ENDED: 5,
} as const

/** A value of StaleReason. Another number may arrive from a peer of another version. */
export type StaleReason = (typeof StaleReason)[keyof typeof StaleReason]

/** Asks for a unit's cache statistics. */
export interface GetCacheStatsRequest {
  /** The context's token; empty on the admin socket. */
  readonly context: string
  /**
   * A raw unit.
   * One of `unit`.
   */
  readonly unitId?: number
  /**
   * A platform's unit.
   * One of `unit`.
   */
  readonly unitName?: string
}

/** One cache's statistics, since the unit was made or its policy was set. */
export interface CacheStats {
  /**
   * SMMUv3: "ste", "l1std", "cd", "l1cd", "tlb", "ipa", "walk1", "walk2". VT-d: "context", "pasid", "iotlb", "walk1",
   * "walk2", "hpt".
   */
  readonly cache: string
  /** Entries now. */
  readonly entries: bigint
  /** Entries it can hold; 0 where it is off. */
  readonly capacity: bigint
  /** Lookups that found an entry. */
  readonly hits: bigint
  /** Lookups that did not. */
  readonly misses: bigint
  /** Entries dropped for room. */
  readonly evictions: bigint
  /** Entries dropped by commands. */
  readonly invalidated: bigint
  /** Entries kept so far. */
  readonly fills: bigint
}

/** A unit's cache statistics. */
export interface GetCacheStatsResponse {
  /** One per cache. */
  readonly caches: readonly CacheStats[]
  /** How they keep entries. UNSPECIFIED: sizes that the platform gives. */
  readonly policy: CachePolicy
}

/** Sets a unit's cache policy. */
export interface SetCachePolicyRequest {
  /** The context's token; empty on the admin socket. */
  readonly context: string
  /**
   * A raw unit.
   * One of `unit`.
   */
  readonly unitId?: number
  /**
   * A platform's unit.
   * One of `unit`.
   */
  readonly unitName?: string
  /** The policy. */
  readonly policy: CachePolicy
  /** RANDOM: where the lots start; the same seed evicts the same entries. With another policy it must be 0. */
  readonly seed: number
}

/** The policy is set. */
export interface SetCachePolicyResponse {}

/** Switches the oracle. */
export interface SetOracleModeRequest {
  /** The context's token; empty on the admin socket. */
  readonly context: string
  /**
   * A raw unit.
   * One of `unit`.
   */
  readonly unitId?: number
  /**
   * A platform's unit.
   * One of `unit`.
   */
  readonly unitName?: string
  /** The mode. */
  readonly mode: OracleMode
  /** SYNCs or waits that may complete after a change before a stale answer is reported; 0 is what the manuals allow. */
  readonly graceSyncs: number
}

/** The mode is set. */
export interface SetOracleModeResponse {}

/** An entry in memory that is not what it was when the translation was last right. */
export interface ChangedEntry {
  /** Which structure: "STE", "CD", "stage-1 table entry", "PASID table entry" … */
  readonly structure: string
  /** 0 configuration, 1 or 2 a stage's tables. */
  readonly stage: number
  /** Tables: the level as the manual counts it, which may be -1. */
  readonly level?: number
  /** Where it is in the client's memory, if it is there. Nothing more is told of an entry of the host's. */
  readonly location?: RegionOffset
  /** Raw units, and the administrator: its physical address. */
  readonly address?: bigint
  /** The 64-bit word as it was, and as it is. */
  readonly before: bigint
  /** As it is. */
  readonly after: bigint
}

/** An invalidation that was sent, and that the stale entry outlived. */
export interface SentCommand {
  /** With its operands. */
  readonly command: string
  /** When the unit took it; 0 where operations are not told. */
  readonly operation: bigint
  /** Why it did not cover the entry: "ASID 2, needed 3". */
  readonly why: string
}

/**
 * A cached translation that the manual no longer allows. Operations of a unit (translations, consumed commands, register
 * writes) are counted from 1; a context that shares a platform's unit is told none, and only commands of its own devices.
 */
export interface StaleTranslation {
  /** A platform's device, by name; empty for raw units. */
  readonly deviceName: string
  /** SMMUv3 StreamID or VT-d source-id. */
  readonly sourceId: number
  /** The PASID; absent without. */
  readonly pasid?: number
  /** First IOVA of the entry. */
  readonly iova: bigint
  /** What the cache says. */
  readonly cached?: TranslationResult
  /** What the tables say. */
  readonly fresh?: TranslationResult
  /**
   * The hardware's commands that were needed, with their operands: "TLBI_NH_VA VMID=2 ASID=3 Leaf=1 ADDR=0x7f0000001000",
   * "P_IOTLB did=5 pasid=1 addr=0x1000 am=0", "CFGI_CD SID=0x8 SSID=1, then TLBI_NH_ASID …".
   */
  readonly neededCommand: string
  /** Hits on it so far. */
  readonly hits: bigint
  /** Counts the reports of the unit, from 1. */
  readonly number: bigint
  /** The cache that is stale, as GetCacheStats names it; "atc" for a device TLB. */
  readonly cache: string
  /** Why it was reported. */
  readonly reason: StaleReason
  /** What the access asked for, AccessFlag bits. */
  readonly access: number
  /** When the entry was filled, or first met. */
  readonly filledOperation: bigint
  /** When it was last seen to be right. The change lies between this operation and the next. */
  readonly lastRightOperation: bigint
  /** When it was first seen to be wrong, by a SYNC or by an access. The command belongs before this operation. */
  readonly firstSeenOperation: bigint
  /** When it was reported. */
  readonly reportedOperation: bigint
  /** What has changed; absent where no entry has, such as where registers lead elsewhere. */
  readonly changed?: ChangedEntry
  /** What a driver would rather send, where that is a wider command. */
  readonly usualCommand: string
  /** The nearest commands that were sent, nearest first. */
  readonly sent: readonly SentCommand[]
  /**
   * The command in the terms of the owner of the tables: "TLBI_NH_VA ASID=3 ADDR=0x1000 on the vIOMMU". Empty where the
   * host has to send it, and of raw units, whose owner sends `needed_command`.
   */
  readonly ownCommand: string
  /** The same as a request, complete but for `context`. */
  readonly ownInvalidation?: InvalidateIotlbRequest
  /** All of it in one sentence. */
  readonly summary: string
  /** The administrator is told whose device it was. */
  readonly contextNumber: bigint
}

/** Checks all cached translations. */
export interface CheckStaleRequest {
  /** The context's token; empty on the admin socket. */
  readonly context: string
  /**
   * A raw unit.
   * One of `unit`.
   */
  readonly unitId?: number
  /**
   * A platform's unit.
   * One of `unit`.
   */
  readonly unitName?: string
  /** At most so many reports; 0 is the limit `batch_elements`. */
  readonly maxReports: number
}

/** What the check found. */
export interface CheckStaleResponse {
  /** Entries compared. */
  readonly checkedCount: bigint
  /** Those that are stale. */
  readonly stale: readonly StaleTranslation[]
}

/** Asks for the oracle's reports. */
export interface ListStaleTranslationsRequest {
  /** The context's token; empty on the admin socket. */
  readonly context: string
  /**
   * A raw unit.
   * One of `unit`.
   */
  readonly unitId?: number
  /**
   * A platform's unit.
   * One of `unit`.
   */
  readonly unitName?: string
  /** Skips so many. */
  readonly start: number
  /** At most so many; 0 is the limit `batch_elements`. */
  readonly maxReports: number
}

/** The oracle's reports. */
export interface ListStaleTranslationsResponse {
  /** Oldest first. */
  readonly stale: readonly StaleTranslation[]
  /** How many there are altogether. */
  readonly totalCount: bigint
  /** The oracle's mode. */
  readonly mode: OracleMode
  /** SYNCs or waits of grace. */
  readonly graceSyncs: number
  /** What it has counted; absent for a context that shares a platform's unit, and while it is off. */
  readonly counts?: OracleCounts
}

/** What a unit's oracle has counted since it was switched on. */
export interface OracleCounts {
  /** Translations compared with what memory says. */
  readonly compared: bigint
  /** Of those, answered from something that software has changed since. */
  readonly stale: bigint
  /** Of those, while old and new are both legal: no SYNC or wait has completed since the change. */
  readonly inWindow: bigint
  /** Reports. */
  readonly reports: bigint
  /** Reports that found no room. */
  readonly droppedReports: bigint
  /** Entries that an invalidation took and that had changed. */
  readonly needed: bigint
  /** Entries that an invalidation took and that were right: over-invalidation. */
  readonly needless: bigint
  /** SYNCs or waits completed. */
  readonly syncs: bigint
}

/** Bits of an access, and of rights: those of `struct iommu_hwpt_pgfault`, `perm`. */
export const AccessFlag = {
  /** No bit. */
  UNSPECIFIED: 0,
  /** Data is read, or may be. */
  READ: 1,
  /** Data is written, or may be. */
  WRITE: 2,
  /** Instructions are fetched (with READ), or may be. */
  EXEC: 4,
  /** Privileged (supervisor) access. Absent: user. */
  PRIV: 8,
  /** Only in an answer to a translation request: the address may be used untranslated alone (U). VT-d's interrupt range. */
  UNTRANSLATED_ONLY: 16,
} as const

/** A value of AccessFlag. Another number may arrive from a peer of another version. */
export type AccessFlag = (typeof AccessFlag)[keyof typeof AccessFlag]

/** How a DMA ended. A DMA never waits for software. */
export const DmaOutcome = {
  /** Not attempted: an earlier element of the batch was refused. */
  UNSPECIFIED: 0,
  /** Translated, and for reads and writes the data moved. */
  OK: 1,
  /** Blocked, with the manual's event or fault reason. `fault` names it. */
  FAULT: 2,
  /**
   * Blocked without a fault: an abort STE, a blocked device, a record the tables told the hardware not to make; or a stale
   * answer under ORACLE_MODE_FAIL, which has a `fault` of the name "stale" that says why.
   */
  ABORTED: 3,
  /** Completed, reads as zero and writes ignored (SMMUv3 terminate with CD.A = 0). */
  RAZ_WI: 4,
  /** Stalled, or waiting for a page response. AwaitDma tells how it ends. */
  PENDING: 5,
} as const

/** A value of DmaOutcome. Another number may arrive from a peer of another version. */
export type DmaOutcome = (typeof DmaOutcome)[keyof typeof DmaOutcome]

/** Why a call was refused. Errors carry it as their detail; replies with partial results carry it as `refusal`. */
export interface RefusalDetail {
  /** The errno's number on Linux x86-64 and arm64, such as 16. */
  readonly errno: number
  /** The errno's name, such as "EBUSY". */
  readonly name: string
  /** One sentence for a person: what was wrong, and what would have been right. */
  readonly reason: string
  /** Facts for a program or a log, such as {"ioas": "3", "users": "2"}. For arrays `index` names the bad element. */
  readonly context: Readonly<Record<string, string>>
}

/** A closed range of 64-bit addresses. */
export interface AddressRange {
  /** First byte. */
  readonly first: bigint
  /** Last byte, not below `first`. */
  readonly last: bigint
}

/** A place in a memory region of the context. */
export interface RegionOffset {
  /** The region. */
  readonly regionId: number
  /** Bytes from the region's start. */
  readonly offset: bigint
}

/** What a fault was, in the terms of the device's IOMMU. */
export interface DmaFault {
  /** Index of the element of the batch; 0 where there is no batch. */
  readonly index: number
  /** SMMUv3 event number (such as 0x10) or VT-d fault reason (such as 0x71). */
  readonly code: number
  /** The manual's name: "F_TRANSLATION"; for VT-d the reason and its condition, "0x71 SFS.2". */
  readonly name: string
  /** One sentence: which table, which entry, which rule. */
  readonly reason: string
  /** IOVA of the piece that faulted. A DMA is split at pages, and each piece may fault by itself. */
  readonly iova: bigint
  /** Access of that piece, AccessFlag bits. */
  readonly access: number
  /** Stage whose tables said no: 1, 2, or 0 before any stage (configuration). */
  readonly stage: number
  /** Stage 2 only: the IPA that did not translate. */
  readonly ipa?: bigint
  /** A record went to a fault or event queue. */
  readonly recorded: boolean
}

/** When a context ends by itself. */
export const ContextLifetime = {
  /** The transport's default: LEASE on HTTP, CONNECTION on ttrpc. */
  UNSPECIFIED: 0,
  /**
   * With the connection that opened it: a client that is killed gives its devices back at once. On HTTP too, while that
   * connection is kept alive.
   */
  CONNECTION: 1,
  /** When no call, waiting call or open stream has renewed it for `lease_ms`. */
  LEASE: 2,
  /** Never: only CloseContext or the administrator ends it. */
  EXPLICIT: 3,
} as const

/** A value of ContextLifetime. Another number may arrive from a peer of another version. */
export type ContextLifetime = (typeof ContextLifetime)[keyof typeof ContextLifetime]

/** Type of an object. */
export const ObjectType = {
  /** Not said. */
  UNSPECIFIED: 0,
  /** I/O address space. */
  IOAS: 1,
  /** Kernel-owned domain (HWPT_PAGING). */
  PAGING_DOMAIN: 2,
  /** User domain (HWPT_NESTED). */
  USER_DOMAIN: 3,
  /** A bound device. */
  DEVICE: 4,
  /** Virtual IOMMU. */
  VIOMMU: 5,
  /** Virtual device: a device's place in a vIOMMU. */
  VDEVICE: 6,
  /** Virtual event queue. */
  VEVENTQ: 7,
  /** Fault queue. */
  FAULT_QUEUE: 8,
  /** Hardware queue. */
  HW_QUEUE: 9,
  /** In-kernel user of an IOAS, such as a hardware queue's pinned memory. */
  ACCESS: 10,
  /** Reserved CD-table window (extension). */
  WINDOW: 11,
  /** Raw unit (extension). */
  UNIT: 12,
  /** Object of the kernel's self-test. */
  SELFTEST: 13,
} as const

/** A value of ObjectType. Another number may arrive from a peer of another version. */
export type ObjectType = (typeof ObjectType)[keyof typeof ObjectType]

/** Opens a context. */
export interface OpenContextRequest {
  /** When it ends by itself. */
  readonly lifetime: ContextLifetime
  /** LEASE only: milliseconds, 0 for 30,000. More than the limit `lease_ms` is EDQUOT. */
  readonly leaseMs: number
  /** A name for logs and lists, at most 64 characters; no secret. */
  readonly label: string
}

/** An opened context. */
export interface OpenContextResponse {
  /** The token: field 1 of every further request. Whoever has it and the same uid may use the context. */
  readonly context: string
  /** How it ends. */
  readonly lifetime: ContextLifetime
  /** LEASE: milliseconds; otherwise 0. */
  readonly leaseMs: number
  /** The daemon's boot. Tokens of another boot are refused as `unavailable`. */
  readonly bootId: string
  /** The number that logs and the administrator name this context by. No secret. */
  readonly contextNumber: bigint
}

/** Ends a context. */
export interface CloseContextRequest {
  /** The context's token. */
  readonly context: string
}

/** The context and all it held are gone. */
export interface CloseContextResponse {}

/** Renews a lease. */
export interface RenewLeaseRequest {
  /** The context's token. */
  readonly context: string
  /** New length in milliseconds; absent keeps it. */
  readonly leaseMs?: number
}

/** The renewed lease. */
export interface RenewLeaseResponse {
  /** Milliseconds from now; 0 for a context without a lease. */
  readonly leaseMs: number
}

/** Asks what a context is. */
export interface GetContextRequest {
  /** The context's token. */
  readonly context: string
}

/** What a context is. */
export interface GetContextResponse {
  /** How it ends. */
  readonly lifetime: ContextLifetime
  /** Milliseconds until its lease ends; 0 without a lease. */
  readonly leaseLeftMs: number
  /** The name given to OpenContext. */
  readonly label: string
  /** Its number in logs. */
  readonly contextNumber: bigint
  /** Use of each quota. */
  readonly quotas: readonly QuotaUse[]
}

/** Use of a quota. */
export interface QuotaUse {
  /** The limit's name in GetServerInfo. */
  readonly name: string
  /** How much is in use. */
  readonly used: bigint
  /** How much is allowed. */
  readonly limit: bigint
}

/** Asks for objects. */
export interface ListObjectsRequest {
  /** The context's token. */
  readonly context: string
  /** Only this type; unspecified lists all. */
  readonly type: ObjectType
  /** Lists ids from here on. */
  readonly startId: number
  /** At most so many; 0 is the limit `batch_elements`. */
  readonly maxObjects: number
}

/** Objects of a context. */
export interface ListObjectsResponse {
  /** By ascending id. */
  readonly objects: readonly ObjectInfo[]
  /** `start_id` of the next page; 0 if this was the last. */
  readonly nextId: number
}

/** One object. */
export interface ObjectInfo {
  /** Its id. */
  readonly id: number
  /** Its type. */
  readonly type: ObjectType
  /** How many others hold it. Destroy is EBUSY unless 0. */
  readonly users: number
  /** Ids this object holds: a domain its IOAS, a user domain its parent or vIOMMU, a vDEVICE its vIOMMU and device. */
  readonly holds: Uint32Array
  /** Facts for a person, such as {"flags": "NEST_PARENT", "areas": "12"}. */
  readonly facts: Readonly<Record<string, string>>
}

/** What a BindDevice takes. */
export const DeviceGrant = {
  /** WHOLE_DEVICE; on a mediated device its one slot. */
  UNSPECIFIED: 0,
  /** The RID and every PASID. */
  WHOLE_DEVICE: 1,
  /** PASIDs only: AttachRid is EPERM. */
  PASID_ONLY: 2,
} as const

/** A value of DeviceGrant. Another number may arrive from a peer of another version. */
export type DeviceGrant = (typeof DeviceGrant)[keyof typeof DeviceGrant]

/** Asks for the platform's devices. */
export interface ListDevicesRequest {
  /** The context's token. */
  readonly context: string
}

/** The platform's devices. */
export interface ListDevicesResponse {
  /** By name. */
  readonly devices: readonly PlatformDevice[]
}

/** A device of the platform. */
export interface PlatformDevice {
  /** Its name: "0000:00:01.0", a mediated device's as the platform names it: "0000:00:02.0-mdev". */
  readonly name: string
  /** Name of its IOMMU. */
  readonly unitName: string
  /** What its IOMMU sees as its source: SMMUv3 StreamID, VT-d source-id (bus, device, function). */
  readonly sourceId: number
  /** Width of its PASIDs in bits; 0 if it has none. */
  readonly pasidBits: number
  /** It has an ATC and makes translation requests. */
  readonly ats: boolean
  /** It makes page requests. */
  readonly pri: boolean
  /** A mediated device: its parent's name. Empty otherwise. */
  readonly parentName: string
  /** A mediated device: its one PASID on the parent. */
  readonly parentPasid: number
  /** Some context has bound it. */
  readonly bound: boolean
  /** This context has: its object id. Otherwise 0. */
  readonly deviceId: number
}

/** Asks for a bound device. */
export interface GetDeviceRequest {
  /** The context's token. */
  readonly context: string
  /** The device. */
  readonly deviceId: number
}

/** A bound device. */
export interface GetDeviceResponse {
  /** What it is. */
  readonly device?: PlatformDevice
  /** What the context was granted. */
  readonly grant: DeviceGrant
  /** What is attached: the RID first (PASID 0), then by PASID. */
  readonly attachments: readonly Attachment[]
}

/** A domain in a slot of a device. */
export interface Attachment {
  /** The PASID; 0 is the RID. */
  readonly pasid: number
  /** The domain, or window. */
  readonly domainId: number
}

/** Takes a device. */
export interface BindDeviceRequest {
  /** The context's token. */
  readonly context: string
  /** The platform's name of it. */
  readonly deviceName: string
  /** What to take. */
  readonly grant: DeviceGrant
  /** VFIO's token (flag VFIO_DEVICE_BIND_FLAG_TOKEN), 16 bytes, for devices that ask for one. */
  readonly tokenUuid?: Uint8Array
}

/** The device is the context's. */
export interface BindDeviceResponse {
  /** Its object id. */
  readonly deviceId: number
}

/** Gives a device back. */
export interface UnbindDeviceRequest {
  /** The context's token. */
  readonly context: string
  /** The device. */
  readonly deviceId: number
}

/** The device is free. */
export interface UnbindDeviceResponse {}

/** Attaches a RID. */
export interface AttachRidRequest {
  /** The context's token. */
  readonly context: string
  /** The device. */
  readonly deviceId: number
  /** IOAS, domain or window. */
  readonly ptId: number
}

/** The RID is attached. */
export interface AttachRidResponse {
  /** The domain attached: pt_id, or the one found or made for an IOAS. */
  readonly domainId: number
}

/** Moves a RID. */
export interface ReplaceRidRequest {
  /** The context's token. */
  readonly context: string
  /** The device. */
  readonly deviceId: number
  /** IOAS, domain or window. */
  readonly ptId: number
}

/** The RID is moved. */
export interface ReplaceRidResponse {
  /** The domain attached. */
  readonly domainId: number
  /** No DMA could fail in between: the entry was changed by one store, or through valid states only. */
  readonly hitless: boolean
}

/** Detaches a RID. */
export interface DetachRidRequest {
  /** The context's token. */
  readonly context: string
  /** The device. */
  readonly deviceId: number
}

/** The RID is blocked. */
export interface DetachRidResponse {}

/** Attaches a PASID. */
export interface AttachPasidRequest {
  /** The context's token. */
  readonly context: string
  /** The device. */
  readonly deviceId: number
  /** The PASID, 1 to 2^pasid_bits - 1; on a mediated device its parent_pasid alone. 0 is the RID, if that has a window. */
  readonly pasid: number
  /** A domain. An IOAS is EINVAL. */
  readonly ptId: number
}

/** The PASID is attached. */
export interface AttachPasidResponse {
  /** The domain attached. */
  readonly domainId: number
}

/** Moves a PASID. */
export interface ReplacePasidRequest {
  /** The context's token. */
  readonly context: string
  /** The device. */
  readonly deviceId: number
  /** The PASID. */
  readonly pasid: number
  /** A domain. */
  readonly ptId: number
}

/** The PASID is moved. */
export interface ReplacePasidResponse {
  /** The domain attached. */
  readonly domainId: number
  /** No DMA could fail in between. */
  readonly hitless: boolean
}

/** Detaches a PASID. */
export interface DetachPasidRequest {
  /** The context's token. */
  readonly context: string
  /** The device. */
  readonly deviceId: number
  /** The PASID. */
  readonly pasid: number
}

/** The PASID is blocked. */
export interface DetachPasidResponse {}

/** Resets a device. */
export interface ResetDeviceRequest {
  /** The context's token. */
  readonly context: string
  /** The device. */
  readonly deviceId: number
}

/** The device is reset. */
export interface ResetDeviceResponse {
  /** Transactions that were pending and ended ABORTED. */
  readonly abortedCount: number
}

/** What a DMA's addresses are. */
export const AddressType = {
  /** IOVAs. */
  UNSPECIFIED: 0,
  /** IOVAs, looked up in the device's ATC first; a hit goes out as a translated request. */
  THROUGH_ATC: 1,
  /**
   * Results of RequestTranslations, `region_id` and an offset in place of the IOVA: translated requests. Honoured only
   * for pages the device was given and that were not taken back, else F_TRANSL_FORBIDDEN, or UR on VT-d.
   */
  TRANSLATED: 2,
} as const

/** A value of AddressType. Another number may arrive from a peer of another version. */
export type AddressType = (typeof AddressType)[keyof typeof AddressType]

/** How a group of page requests was answered, as PCIe codes it. */
export const PageRequestResponse = {
  /** Not a page request, or not answered yet. */
  UNSPECIFIED: 0,
  /** Success: ask for the translation again. */
  SUCCESS: 1,
  /** Invalid request: there is no such page. */
  INVALID_REQUEST: 2,
  /** Response failure: the device's page requests are switched off. */
  FAILURE: 3,
} as const

/** A value of PageRequestResponse. Another number may arrive from a peer of another version. */
export type PageRequestResponse = (typeof PageRequestResponse)[keyof typeof PageRequestResponse]

/** Translates IOVAs. */
export interface TranslateRequest {
  /** The context's token. */
  readonly context: string
  /** A bound device. */
  readonly deviceId: number
  /** The PASID; absent is a request without PASID. */
  readonly pasid?: number
  /** Access of every element, AccessFlag bits; 0 is READ. Ignored if `accesses` is given. */
  readonly access: number
  /** IOVAs. */
  readonly iovas: BigUint64Array
  /** Access of each element, AccessFlag bits. Empty, or as long as `iovas`. */
  readonly accesses: Uint32Array
  /** UNSPECIFIED or THROUGH_ATC. */
  readonly addressType: AddressType
}

/** Results, element by element. Arrays are as long as `done_count`. */
export interface TranslateResponse {
  /** DmaOutcome of each element. */
  readonly outcomes: Uint32Array
  /**
   * OK: the region; 0 if the memory is in none (a mapping whose region was destroyed; the daemon's own, behind a window,
   * where the offset is 0 too). Otherwise 0.
   */
  readonly regionIds: Uint32Array
  /** OK: bytes from the region's start. Otherwise 0. */
  readonly offsets: BigUint64Array
  /** OK: log2 of the bytes of the page that holds it. Otherwise 0. */
  readonly pageSizeLog2s: Uint32Array
  /** OK: what the page allows, AccessFlag bits. Otherwise 0. */
  readonly permissions: Uint32Array
  /** FAULT: SMMUv3 event number or VT-d fault reason. Otherwise 0. */
  readonly faultCodes: Uint32Array
  /** 1 if a cache answered, 0 if tables were read. */
  readonly cacheHits: Uint32Array
  /** PENDING: what AwaitDma asks for, 0 for other elements. Empty if no element is PENDING. */
  readonly transactionIds: BigUint64Array
  /** One per element that ended FAULT, or ABORTED by the oracle, in order, by `index`. */
  readonly faults: readonly DmaFault[]
  /** Elements attempted, from the first. */
  readonly doneCount: number
  /** Why the next one was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** One read. */
export interface DmaReadOperation {
  /** First byte: an IOVA, or with TRANSLATED an offset in `region_id`. */
  readonly address: bigint
  /** Length in bytes. */
  readonly length: number
  /** TRANSLATED only. */
  readonly regionId: number
}

/** Reads memory. */
export interface DmaReadRequest {
  /** The context's token. */
  readonly context: string
  /** A bound device. */
  readonly deviceId: number
  /** The PASID; absent is a request without PASID. */
  readonly pasid?: number
  /** AccessFlag bits beside READ: PRIV, EXEC. */
  readonly access: number
  /** What the addresses are. */
  readonly addressType: AddressType
  /** What to read, in this order. Together at most the limit `batch_bytes`. */
  readonly operations: readonly DmaReadOperation[]
}

/** One read's result. */
export interface DmaReadResult {
  /** How it ended. If not OK, `data` holds what was read before. */
  readonly outcome: DmaOutcome
  /** The bytes read, from the first. RAZ_WI reads zeroes. */
  readonly data: Uint8Array
  /** FAULT: what it was. */
  readonly fault?: DmaFault
  /** PENDING: what AwaitDma asks for. Otherwise 0. */
  readonly transactionId: bigint
}

/** What was read. */
export interface DmaReadResponse {
  /** One per operation attempted. An operation that ends badly does not stop the next. */
  readonly results: readonly DmaReadResult[]
  /** Operations attempted, from the first. */
  readonly doneCount: number
  /** Why the next one was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** One write. */
export interface DmaWriteOperation {
  /** First byte: an IOVA, or with TRANSLATED an offset in `region_id`. */
  readonly address: bigint
  /** What to write. */
  readonly data: Uint8Array
  /** TRANSLATED only. */
  readonly regionId: number
}

/** Writes memory. */
export interface DmaWriteRequest {
  /** The context's token. */
  readonly context: string
  /** A bound device. */
  readonly deviceId: number
  /** The PASID; absent is a request without PASID. */
  readonly pasid?: number
  /** AccessFlag bits beside WRITE: PRIV. */
  readonly access: number
  /** What the addresses are. */
  readonly addressType: AddressType
  /** What to write, in this order. Together at most the limit `batch_bytes`. */
  readonly operations: readonly DmaWriteOperation[]
}

/** One write's result. */
export interface DmaWriteResult {
  /** How it ended. */
  readonly outcome: DmaOutcome
  /** Bytes written, from the first. */
  readonly doneBytes: number
  /** FAULT: what it was. */
  readonly fault?: DmaFault
  /** PENDING: what AwaitDma asks for. Otherwise 0. */
  readonly transactionId: bigint
}

/** What was written. */
export interface DmaWriteResponse {
  /** One per operation attempted. An operation that ends badly does not stop the next. */
  readonly results: readonly DmaWriteResult[]
  /** Operations attempted, from the first. */
  readonly doneCount: number
  /** Why the next one was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** Asks how transactions ended. */
export interface AwaitDmaRequest {
  /** The context's token. */
  readonly context: string
  /** Ids from results that were PENDING, of devices and of raw units. */
  readonly transactionIds: BigUint64Array
  /** Waits up to so many milliseconds for all of them; 0 answers at once. */
  readonly waitMs: number
}

/** How a transaction ended. */
export interface TransactionResult {
  /** Its id. */
  readonly transactionId: bigint
  /** How it ended; PENDING if it has not. Page requests: OK when they were answered, in whatever way. */
  readonly outcome: DmaOutcome
  /** A translation that ended OK: where it leads. */
  readonly translation?: TranslationResult
  /** A read: the bytes read. */
  readonly data: Uint8Array
  /** A read or write: bytes moved. */
  readonly doneBytes: number
  /** FAULT: what it was. */
  readonly fault?: DmaFault
  /** Page requests: the response. */
  readonly pageResponse: PageRequestResponse
}

/** How transactions ended. */
export interface AwaitDmaResponse {
  /** One per id asked for. */
  readonly results: readonly TransactionResult[]
  /** Ids looked at, from the first. */
  readonly doneCount: number
  /** Why the next one was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** Asks for one walk. */
export interface ExplainRequest {
  /** The context's token. */
  readonly context: string
  /** A bound device. */
  readonly deviceId: number
  /** The PASID; absent is a request without PASID. */
  readonly pasid?: number
  /** The IOVA. */
  readonly iova: bigint
  /** AccessFlag bits; 0 is READ. */
  readonly access: number
}

/** One walk. */
export interface ExplainResponse {
  /** Its steps and what it comes to. */
  readonly explanation?: Explanation
}

/** Bits of CreatePagingDomain and CreateUserDomain: IOMMU_HWPT_ALLOC_* and IOMMU_HWPT_FAULT_ID_VALID. */
export const HwptFlag = {
  /** No bit. */
  UNSPECIFIED: 0,
  /** May be the parent of user domains, vIOMMUs and windows (stage 2). */
  NEST_PARENT: 1,
  /** Can track dirty pages. */
  DIRTY_TRACKING: 2,
  /** `fault_queue_id` is set: page faults go there. */
  FAULT_ID_VALID: 4,
  /** May be attached to a PASID, or to a RID whose PASIDs are attached too. */
  PASID: 8,
} as const

/** A value of HwptFlag. Another number may arrive from a peer of another version. */
export type HwptFlag = (typeof HwptFlag)[keyof typeof HwptFlag]

/** Bits of VtdS1: IOMMU_VTD_S1_*. */
export const VtdS1Flag = {
  /** No bit. */
  UNSPECIFIED: 0,
  /** Supervisor requests are allowed. Needs ECAP.SRS at attach. */
  SRE: 1,
  /** Extended access flags are set. Needs ECAP.EAFS at attach. */
  EAFE: 2,
  /** Write protection binds supervisors too. Ignored without SRE. */
  WPE: 4,
} as const

/** A value of VtdS1Flag. Another number may arrive from a peer of another version. */
export type VtdS1Flag = (typeof VtdS1Flag)[keyof typeof VtdS1Flag]

/** Bits of RangeInvalidation: IOMMU_VTD_INV_FLAGS_*. */
export const InvalidateFlag = {
  /** No bit. */
  UNSPECIFIED: 0,
  /** Only leaves changed. */
  LEAF: 1,
} as const

/** A value of InvalidateFlag. Another number may arrive from a peer of another version. */
export type InvalidateFlag = (typeof InvalidateFlag)[keyof typeof InvalidateFlag]

/** Bits of SetDirtyTracking: IOMMU_HWPT_DIRTY_TRACKING_*. */
export const DirtyTrackingFlag = {
  /** No bit: switches tracking off. */
  UNSPECIFIED: 0,
  /** Clears all dirty bits and switches tracking on. */
  ENABLE: 1,
} as const

/** A value of DirtyTrackingFlag. Another number may arrive from a peer of another version. */
export type DirtyTrackingFlag = (typeof DirtyTrackingFlag)[keyof typeof DirtyTrackingFlag]

/** Bits of GetDirtyBitmap: IOMMU_HWPT_GET_DIRTY_BITMAP_*. */
export const DirtyBitmapFlag = {
  /** No bit: what is reported is cleared. */
  UNSPECIFIED: 0,
  /** Dirty bits stay. */
  NO_CLEAR: 1,
} as const

/** A value of DirtyBitmapFlag. Another number may arrive from a peer of another version. */
export type DirtyBitmapFlag = (typeof DirtyBitmapFlag)[keyof typeof DirtyBitmapFlag]

/** Makes a kernel-owned domain. */
export interface CreatePagingDomainRequest {
  /** The context's token. */
  readonly context: string
  /** HwptFlag bits. */
  readonly flags: number
  /** A bound device: the domain takes the format of its IOMMU. */
  readonly deviceId: number
  /** The IOAS whose mappings it holds. */
  readonly ioasId: number
  /** With FAULT_ID_VALID: where page faults go. */
  readonly faultQueueId: number
}

/** A new domain. */
export interface CreatePagingDomainResponse {
  /** Its id. */
  readonly domainId: number
}

/** One VT-d first-stage table (struct iommu_hwpt_vtd_s1). */
export interface VtdS1 {
  /** VtdS1Flag bits. */
  readonly flags: bigint
  /** Root table, an IPA. Bits 11:0 are ignored, as the kernel does. */
  readonly pgtblAddr: bigint
  /** Width of input addresses in bits: 48, or 57 with five levels. Checked at attach (EINVAL). */
  readonly addrWidth: number
}

/**
 * The first two doublewords of the guest's STE (struct iommu_hwpt_arm_smmuv3), covering a RID and all its PASIDs.
 * Allowed fields: V, Config (0 abort, 4 bypass, 5 stage 1), S1Fmt, S1ContextPtr, S1CDMax; S1DSS, S1CIR, S1COR, S1CSH,
 * S1STALLD, EATS (0, 1). Any other bit or value is EIO, the field named. V = 0 aborts.
 */
export interface Smmuv3Ste {
  /** Bits 63:0 of the STE. */
  readonly ste0: bigint
  /** Bits 127:64 of the STE. */
  readonly ste1: bigint
}

/**
 * One root of an SMMUv3 stage-1 table for PASIDs, in a window (extension). Fields and encodings are the CD's; the daemon
 * adds the others, the ASID among them. A value that would make the CD illegal is EINVAL, the field named.
 */
export interface Smmuv3Pgd {
  /** TTB0: root table, an IPA. */
  readonly ttb0: bigint
  /** T0SZ: 64 minus the width of input addresses. */
  readonly t0sz: number
  /** TG0: 0 4K, 1 64K, 2 16K. */
  readonly tg0: number
  /** IR0: inner cacheability of walks. */
  readonly ir0: number
  /** OR0: outer cacheability of walks. */
  readonly or0: number
  /** SH0: shareability of walks. */
  readonly sh0: number
  /** IPS: output address size, coded as IDR5.OAS. */
  readonly ips: number
  /** MAIR1:MAIR0, eight attributes. */
  readonly mair: bigint
  /** HA: hardware sets access flags. */
  readonly ha: boolean
  /** HD: hardware sets dirty state; without HA it means nothing. */
  readonly hd: boolean
}

/** Makes a domain whose tables the client keeps in guest memory. */
export interface CreateUserDomainRequest {
  /** The context's token. */
  readonly context: string
  /**
   * HwptFlag bits: FAULT_ID_VALID, PASID. smmuv3_ste, which covers all PASIDs, knows only the former; smmuv3_pgd goes to
   * PASIDs without the latter, too.
   */
  readonly flags: number
  /** A bound device. */
  readonly deviceId: number
  /**
   * VT-d: a paging domain made with NEST_PARENT.
   * One of `target`.
   */
  readonly parentDomainId?: number
  /**
   * SMMUv3: a vIOMMU.
   * One of `target`.
   */
  readonly viommuId?: number
  /**
   * SMMUv3, smmuv3_pgd only: a window (extension).
   * One of `target`.
   */
  readonly windowId?: number
  /**
   * VT-d first stage: data type VTD_S1 (1).
   * One of `data`.
   */
  readonly vtdS1?: VtdS1
  /**
   * SMMUv3 STE: data type ARM_SMMUV3 (2).
   * One of `data`.
   */
  readonly smmuv3Ste?: Smmuv3Ste
  /**
   * SMMUv3 root of one PASID (extension).
   * One of `data`.
   */
  readonly smmuv3Pgd?: Smmuv3Pgd
  /** With FAULT_ID_VALID: where page faults go. */
  readonly faultQueueId: number
}

/** A new user domain. */
export interface CreateUserDomainResponse {
  /** Its id. */
  readonly domainId: number
}

/** IOVAs to forget (struct iommu_hwpt_vtd_s1_invalidate). */
export interface RangeInvalidation {
  /** First byte, 4096-byte aligned. */
  readonly addr: bigint
  /** Number of 4096-byte pages. All ones with `addr` 0 is everything. */
  readonly npages: bigint
  /** InvalidateFlag bits. */
  readonly flags: number
}

/** IOVA ranges of a user domain. */
export interface RangeInvalidations {
  /** The ranges, done in order. */
  readonly entries: readonly RangeInvalidation[]
}

/** A raw 128-bit command of the guest's command queue (struct iommu_viommu_arm_smmuv3_invalidate). */
export interface Smmuv3Command {
  /** Bits 63:0, the opcode in 7:0. */
  readonly dw0: bigint
  /** Bits 127:64. */
  readonly dw1: bigint
}

/**
 * Commands for a vIOMMU: TLBI_NH_ALL, _ASID, _VA, _VAA, TLBI_NSNH_ALL, CFGI_CD, CFGI_CD_ALL, ATC_INV. VMID fields are
 * overwritten, StreamIDs are virtual. The daemon adds CMD_SYNC; do not send it. A CD that was used while invalid may be
 * cached as invalid: CFGI_CD belongs after V 0 to 1 too. ATC_INV asks a device whose RID is on a user domain of
 * this vIOMMU.
 */
export interface Smmuv3Commands {
  /** The commands, done in order. */
  readonly entries: readonly Smmuv3Command[]
}

/** Invalidates what hardware cached of user tables. */
export interface InvalidateIotlbRequest {
  /** The context's token. */
  readonly context: string
  /**
   * VT-d, or SMMUv3 in a window (smmuv3_pgd): the user domain.
   * One of `target`.
   */
  readonly userDomainId?: number
  /**
   * SMMUv3: the vIOMMU.
   * One of `target`.
   */
  readonly viommuId?: number
  /**
   * VT-d: data type VTD_S1 (0), 24-byte entries.
   * One of `entries`.
   */
  readonly vtdS1?: RangeInvalidations
  /**
   * SMMUv3 vIOMMU: data type ARM_SMMUV3 (1), 16-byte entries.
   * One of `entries`.
   */
  readonly smmuv3?: Smmuv3Commands
  /**
   * SMMUv3 in a window, on a user domain made of smmuv3_pgd (extension).
   * One of `entries`.
   */
  readonly smmuv3Pgd?: RangeInvalidations
}

/** What was invalidated. When it arrives, the hardware has completed it, device TLBs included. */
export interface InvalidateIotlbResponse {
  /** Leading entries done, as `entry_num`. */
  readonly doneCount: number
  /** Why the next one was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** Switches dirty tracking. */
export interface SetDirtyTrackingRequest {
  /** The context's token. */
  readonly context: string
  /** A paging domain made with DIRTY_TRACKING. */
  readonly domainId: number
  /** DirtyTrackingFlag bits. */
  readonly flags: number
}

/** Tracking is switched. */
export interface SetDirtyTrackingResponse {}

/** Reads dirty bits, and clears them. */
export interface GetDirtyBitmapRequest {
  /** The context's token. */
  readonly context: string
  /** A paging domain made with DIRTY_TRACKING. */
  readonly domainId: number
  /** DirtyBitmapFlag bits. */
  readonly flags: number
  /** First byte. */
  readonly iova: bigint
  /** Length in bytes. Without `as_runs`, `length / page_size` bits must fit the limit `batch_bytes`. */
  readonly length: bigint
  /** Bytes a bit stands for, and what runs are made of; iova and length are multiples of it. */
  readonly pageSize: bigint
  /**
   * Answers runs of dirty pages in place of a bitmap, for a range of any length. What a reply has no room for keeps its
   * dirty bits.
   */
  readonly asRuns: boolean
}

/** Dirty bits. */
export interface GetDirtyBitmapResponse {
  /** Bit 0 of byte 0 is the page at `iova`, then upwards. Empty with `as_runs`. */
  readonly bitmap: Uint8Array
  /**
   * With `as_runs`: the first byte of each run of dirty pages, in ascending order. Pages that follow each other are one
   * run. About `batch_elements` at most.
   */
  readonly runFirsts: BigUint64Array
  /** The last byte of each run. */
  readonly runLasts: BigUint64Array
  /**
   * With `as_runs`, and absent where all was read: where to go on. It is a multiple of `page_size` beyond `iova`. Pages
   * from here on are as dirty as they were, but for one that a run has told.
   */
  readonly nextIova?: bigint
}

/** Reserves a window of IPAs for a CD table that the daemon keeps. */
export interface CreateWindowRequest {
  /** The context's token. */
  readonly context: string
  /** A paging domain made with NEST_PARENT on an SMMUv3. */
  readonly parentDomainId: number
  /** First byte, 4096-byte aligned. The first page holds 64 CDs. */
  readonly first: bigint
  /** Last byte; the length is a multiple of 4096. */
  readonly last: bigint
}

/** A new window. */
export interface CreateWindowResponse {
  /** Its id. AttachRid and ReplaceRid take it as `pt_id`. */
  readonly windowId: number
}

/** Adds a range of IPAs to a window. */
export interface GrowWindowRequest {
  /** The context's token. */
  readonly context: string
  /** The window. */
  readonly windowId: number
  /** First byte, 4096-byte aligned. */
  readonly first: bigint
  /** Last byte. */
  readonly last: bigint
}

/** The window has the range. */
export interface GrowWindowResponse {
  /** Bytes of the window that are not used yet. */
  readonly freeBytes: bigint
}

/** What an address in a step counts in. */
export const AddressSpace = {
  /** Not shown: memory of the host driver of a platform's unit. */
  UNSPECIFIED: 0,
  /** What the device sent. */
  IOVA: 1,
  /** Guest physical: goes through stage 2. */
  IPA: 2,
  /** Physical: the bus of a raw unit. */
  PA: 3,
} as const

/** A value of AddressSpace. Another number may arrive from a peer of another version. */
export type AddressSpace = (typeof AddressSpace)[keyof typeof AddressSpace]

/** A field of a table entry. */
export interface EntryField {
  /** The manual's name: "S1ContextPtr". */
  readonly name: string
  /** Its value, right-aligned; addresses in place. */
  readonly value: bigint
  /**
   * The value in words, where it has any: "stage 1 then stage 2". "not told", with the value 0, of an address in a
   * table of the host's.
   */
  readonly text: string
}

/** One table entry that the walk read. */
export interface WalkStep {
  /**
   * What it is: "STE", "L1CD", "CD", "context entry", "PASID table entry", "stage-1 table entry" … The last step is the
   * decision that follows: "output", "fault", "result".
   */
  readonly structure: string
  /** 0 configuration, 1 or 2 a stage's tables. */
  readonly stage: number
  /** Tables: the level as the manual counts it, which may be -1. */
  readonly level?: number
  /** Space of `address`. */
  readonly space: AddressSpace
  /** Where the entry is. */
  readonly address: bigint
  /** The same place in the client's memory, if it is there. */
  readonly location?: RegionOffset
  /** The entry, 64 bits each, low word first; none of a table of the host's. */
  readonly words: BigUint64Array
  /** The entry's fields that matter here, decoded. */
  readonly fields: readonly EntryField[]
  /** What follows from it, one sentence: "next table at …", "leaf, 2 MiB, read-write", "F_TRANSLATION: not valid". */
  readonly verdict: string
  /** Where the manual says so: "[SMMU 5.2 Stream Table Entry]". */
  readonly citation: string
}

/** What a translation comes to. */
export interface TranslationResult {
  /** How it ends. */
  readonly outcome: DmaOutcome
  /** OK, into the client's memory: where. */
  readonly location?: RegionOffset
  /** OK, raw units: the output address. */
  readonly address?: bigint
  /** OK: log2 of the bytes of the translation's page (of the smaller one, if two stages). */
  readonly pageSizeLog2: number
  /** OK: what is allowed, AccessFlag bits. */
  readonly permissions: number
  /** FAULT: what it is. */
  readonly fault?: DmaFault
  /**
   * ATS translation requests: how it is completed. `outcome` is FAULT where a record is made, else ABORTED, if that is
   * no success; OK without `permissions` is a success without a translation.
   */
  readonly atsStatus: AtsStatus
}

/** One walk, step by step, without any effect: no cache filled, no flag set, nothing recorded. */
export interface Explanation {
  /** What was read, in order. */
  readonly steps: readonly WalkStep[]
  /** What the tables in memory say now. */
  readonly fresh?: TranslationResult
  /**
   * What the caches would answer; absent if they hold nothing for it. When it differs from `fresh`, an
   * invalidation was forgotten, or has not been sent yet.
   */
  readonly cached?: TranslationResult
  /**
   * The fewest invalidations after which DMA goes by the tables: commands of the guest's on a vIOMMU, an entry for a
   * VT-d user domain, the unit's own commands of a raw unit. Empty if none is missing, or none is the caller's to send.
   */
  readonly missingInvalidation: string
}

/** Events of poll(2), Linux's numbers. */
export const PollFlag = {
  /** None. */
  UNSPECIFIED: 0,
  /** Can be read. */
  IN: 1,
  /** Can be written. */
  OUT: 4,
  /** Error. */
  ERR: 8,
  /** Hung up. */
  HUP: 16,
  /** Not open. */
  NVAL: 32,
  /** Can be read (normal). */
  RDNORM: 64,
  /** Can be written (normal). */
  WRNORM: 256,
} as const

/** A value of PollFlag. Another number may arrive from a peer of another version. */
export type PollFlag = (typeof PollFlag)[keyof typeof PollFlag]

/** Opens a file. */
export interface OpenHandleRequest {
  /** The context's token. */
  readonly context: string
  /**
   * "/dev/iommu" (another handle of this context), "/dev/vfio/vfio" (the same, as a container) or
   * "/dev/vfio/devices/NAME", a device by the platform's name, not yet bound.
   * One of `file`.
   */
  readonly path?: string
  /**
   * A fault queue, vEVENTQ or bound device.
   * One of `file`.
   */
  readonly objectId?: number
  /**
   * A memory region.
   * One of `file`.
   */
  readonly regionId?: number
}

/** An open file. */
export interface OpenHandleResponse {
  /** Its number. */
  readonly handle: number
}

/** Memory of the caller that pointers of an ioctl may name. */
export interface IoctlMemory {
  /** The caller's own address of it. */
  readonly address: bigint
  /** Its bytes. */
  readonly data: Uint8Array
  /** The ioctl may write to it; what it wrote comes back. */
  readonly writable: boolean
}

/** Calls an ioctl. */
export interface IoctlRequest {
  /** The context's token. */
  readonly context: string
  /** The file; 0 is the context's /dev/iommu. */
  readonly handle: number
  /** The command, all 32 bits: 0x3b80 is IOMMU_DESTROY. */
  readonly cmd: number
  /**
   * The struct. For commands whose argument is a number: its 8 bytes, little-endian. Shorter than its own `size` field
   * says: EFAULT.
   */
  readonly arg: Uint8Array
  /** Memory that pointers may name. The ranges do not overlap, else EINVAL. */
  readonly memory: readonly IoctlMemory[]
}

/** What the ioctl did. */
export interface IoctlResponse {
  /** 0, or the errno. */
  readonly errno: number
  /** The return value: -1 with an errno, mostly 0 otherwise. */
  readonly result: bigint
  /** The struct afterwards, as long as it came. */
  readonly arg: Uint8Array
  /** Ranges that were written: address and the bytes there now. */
  readonly written: readonly IoctlMemory[]
  /** With an errno: its reason, which the kernel does not tell. */
  readonly refusal?: RefusalDetail
}

/** Reads a file. */
export interface ReadHandleRequest {
  /** The context's token. */
  readonly context: string
  /** The file. */
  readonly handle: number
  /** At most so many bytes. */
  readonly count: number
}

/** What was read; nothing if nothing is there. */
export interface ReadHandleResponse {
  /** The bytes. */
  readonly data: Uint8Array
}

/** Writes to a file. */
export interface WriteHandleRequest {
  /** The context's token. */
  readonly context: string
  /** The file. */
  readonly handle: number
  /** The bytes. */
  readonly data: Uint8Array
}

/** What was written. */
export interface WriteHandleResponse {
  /** Bytes taken before the first that was refused. */
  readonly count: number
}

/** A file to wait for. */
export interface PollTarget {
  /** The file. */
  readonly handle: number
  /** PollFlag bits waited for. */
  readonly events: number
}

/** Waits for files. */
export interface PollHandleRequest {
  /** The context's token. */
  readonly context: string
  /** The files. */
  readonly targets: readonly PollTarget[]
  /** Waits up to so many milliseconds for one of them; 0 answers at once. */
  readonly waitMs: number
}

/** Which files are ready. */
export interface PollHandleResponse {
  /** Per target: PollFlag bits that hold, 0 for none. */
  readonly revents: Uint32Array
  /** Targets looked at, from the first. */
  readonly doneCount: number
  /** Why none was; absent otherwise. */
  readonly refusal?: RefusalDetail
}

/** Maps a file. */
export interface MapHandleRequest {
  /** The context's token. */
  readonly context: string
  /** The file. */
  readonly handle: number
  /** Offset in bytes, as CreateViommu gave it. */
  readonly offset: bigint
  /** Length in bytes. */
  readonly length: bigint
  /** PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4. */
  readonly protection: number
}

/** The mapping. */
export interface MapHandleResponse {
  /** As a memory region. */
  readonly regionId: number
}

/** Closes a file. */
export interface CloseHandleRequest {
  /** The context's token. */
  readonly context: string
  /** The file. */
  readonly handle: number
}

/** The number is free. */
export interface CloseHandleResponse {}

/** Bits of IoasMap, IoasMapFile and IoasCopy: IOMMU_IOAS_MAP_*. */
export const IoasMapFlag = {
  /** No bit. */
  UNSPECIFIED: 0,
  /** Map at `iova`; without it the daemon chooses. */
  FIXED_IOVA: 1,
  /** Devices may write. */
  WRITEABLE: 2,
  /** Devices may read. Not implied by WRITEABLE. */
  READABLE: 4,
} as const

/** A value of IoasMapFlag. Another number may arrive from a peer of another version. */
export type IoasMapFlag = (typeof IoasMapFlag)[keyof typeof IoasMapFlag]

/** Options of IOMMU_OPTION. The uAPI's numbers are one less. */
export const IommuOption = {
  /** Not said: EOPNOTSUPP. */
  UNSPECIFIED: 0,
  /** Accounting of pinned memory: 0 per user, 1 per process. `object_id` must be 0. (uAPI 0) */
  RLIMIT_MODE: 1,
  /** An IOAS's use of large pages: 1 (default), or 0 for pages of 4096 bytes only. (uAPI 1) */
  HUGE_PAGES: 2,
} as const

/** A value of IommuOption. Another number may arrive from a peer of another version. */
export type IommuOption = (typeof IommuOption)[keyof typeof IommuOption]

/** Makes an IOAS. */
export interface CreateIoasRequest {
  /** The context's token. */
  readonly context: string
  /** Must be 0. */
  readonly flags: number
}

/** A new IOAS. */
export interface CreateIoasResponse {
  /** Its id. */
  readonly ioasId: number
}

/** Replaces an IOAS's list of allowed ranges. */
export interface IoasAllowIovasRequest {
  /** The context's token. */
  readonly context: string
  /** The IOAS. */
  readonly ioasId: number
  /** The new list; empty lifts the restriction. Each range is at least two bytes, and none overlap. */
  readonly ranges: readonly AddressRange[]
}

/** What became of the list. */
export interface IoasAllowIovasResponse {
  /** All ranges, or 0 if the list was refused: it is replaced whole or not at all. */
  readonly doneCount: number
  /** Why it was refused; absent if it was not. */
  readonly refusal?: RefusalDetail
}

/** Asks which IOVAs can be mapped. */
export interface IoasIovaRangesRequest {
  /** The context's token. */
  readonly context: string
  /** The IOAS. */
  readonly ioasId: number
  /** Room for ranges, as `num_iovas`; absent is as many as there are. */
  readonly maxRanges?: number
}

/** Which IOVAs can be mapped. */
export interface IoasIovaRangesResponse {
  /** The holes of the reserved set, ascending, the first `max_ranges` of them. */
  readonly ranges: readonly AddressRange[]
  /** How many there are altogether. */
  readonly totalCount: number
  /** IOVAs and lengths must be multiples of this many bytes, a power of two. */
  readonly iovaAlignment: bigint
  /** EMSGSIZE if `max_ranges` was too small; absent otherwise. */
  readonly refusal?: RefusalDetail
}

/** Maps memory into an IOAS. */
export interface IoasMapRequest {
  /** The context's token. */
  readonly context: string
  /** The IOAS. */
  readonly ioasId: number
  /** IoasMapFlag bits; READABLE, WRITEABLE or both. */
  readonly flags: number
  /**
   * A place in a region.
   * One of `source`.
   */
  readonly region?: RegionOffset
  /**
   * An address inside a region made with a `client_address`.
   * One of `source`.
   */
  readonly userVa?: bigint
  /** Length in bytes, a multiple of the IOAS's alignment. */
  readonly length: bigint
  /** Where, with FIXED_IOVA. All ones is EOVERFLOW even without it. */
  readonly iova: bigint
}

/** A new mapping. */
export interface IoasMapResponse {
  /** Where it is. */
  readonly iova: bigint
}

/** Maps a file descriptor's memory into an IOAS. */
export interface IoasMapFileRequest {
  /** The context's token. */
  readonly context: string
  /** The IOAS. */
  readonly ioasId: number
  /** IoasMapFlag bits. */
  readonly flags: number
  /**
   * A region, through the descriptor it was made from.
   * One of `file`.
   */
  readonly regionId?: number
  /**
   * A number of the side channel.
   * One of `file`.
   */
  readonly fd?: number
  /** First byte in the file. */
  readonly start: bigint
  /** Length in bytes. */
  readonly length: bigint
  /** Where, with FIXED_IOVA. */
  readonly iova: bigint
}

/** A new mapping of a file. */
export interface IoasMapFileResponse {
  /** Where it is. */
  readonly iova: bigint
}

/** Maps again what another range of IOVAs maps. */
export interface IoasCopyRequest {
  /** The context's token. */
  readonly context: string
  /** IoasMapFlag bits: the rights and placement of the copy. */
  readonly flags: number
  /** Where to map; may be the source. */
  readonly dstIoasId: number
  /** What to copy from. */
  readonly srcIoasId: number
  /** Length in bytes. */
  readonly length: bigint
  /** Where in the destination, with FIXED_IOVA. */
  readonly dstIova: bigint
  /** First byte in the source. The range may be part of an area, or span adjacent ones. */
  readonly srcIova: bigint
}

/** The copy. */
export interface IoasCopyResponse {
  /** Where it is. */
  readonly dstIova: bigint
}

/** Unmaps whole areas. */
export interface IoasUnmapRequest {
  /** The context's token. */
  readonly context: string
  /** The IOAS. */
  readonly ioasId: number
  /** First byte. With `length` all ones, 0 unmaps everything. */
  readonly iova: bigint
  /** Length in bytes. The range may contain holes, but must not cut an area. */
  readonly length: bigint
}

/** What was unmapped. */
export interface IoasUnmapResponse {
  /** Bytes removed. */
  readonly length: bigint
}

/** One operation of a batch; `context` fields inside are ignored. One must be set, else EINVAL. */
export interface IoasOperation {
  /**
   * As IoasMap.
   * One of `operation`.
   */
  readonly map?: IoasMapRequest
  /**
   * As IoasUnmap.
   * One of `operation`.
   */
  readonly unmap?: IoasUnmapRequest
  /**
   * As IoasCopy.
   * One of `operation`.
   */
  readonly copy?: IoasCopyRequest
}

/** Does several operations in order. */
export interface IoasBatchRequest {
  /** The context's token. */
  readonly context: string
  /** What to do, in this order, up to the first that is refused. */
  readonly operations: readonly IoasOperation[]
}

/** What was done. */
export interface IoasBatchResponse {
  /** Per operation done: the IOVA of a map or copy, the bytes removed by an unmap. */
  readonly results: BigUint64Array
  /** Operations done, from the first. */
  readonly doneCount: number
  /** Why the next one was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** Asks for an option. */
export interface GetOptionRequest {
  /** The context's token. */
  readonly context: string
  /** Which. */
  readonly option: IommuOption
  /** Of which object; 0 is the context. */
  readonly objectId: number
}

/** An option's value. */
export interface GetOptionResponse {
  /** The value. */
  readonly value: bigint
}

/** Sets an option. */
export interface SetOptionRequest {
  /** The context's token. */
  readonly context: string
  /** Which. */
  readonly option: IommuOption
  /** Of which object; 0 is the context. */
  readonly objectId: number
  /** The value. */
  readonly value: bigint
}

/** The option is set. */
export interface SetOptionResponse {}

/** Moves pin accounting to the caller. */
export interface IoasChangeProcessRequest {
  /** The context's token. */
  readonly context: string
}

/** The accounting is the caller's. */
export interface IoasChangeProcessResponse {}

/** Asks for the IOAS of the VFIO container ioctls. */
export interface GetVfioIoasRequest {
  /** The context's token. */
  readonly context: string
}

/** The IOAS of the VFIO container ioctls. */
export interface GetVfioIoasResponse {
  /** Its id. */
  readonly ioasId: number
}

/** Sets the IOAS of the VFIO container ioctls. */
export interface SetVfioIoasRequest {
  /** The context's token. */
  readonly context: string
  /** The IOAS. */
  readonly ioasId: number
}

/** It is set. */
export interface SetVfioIoasResponse {}

/** Forgets the IOAS of the VFIO container ioctls. */
export interface ClearVfioIoasRequest {
  /** The context's token. */
  readonly context: string
}

/** It is forgotten. */
export interface ClearVfioIoasResponse {}

/** The daemon's own memory, zeroed, sparse. */
export interface AnonymousMemory {
  /** Length in bytes, a multiple of 4096. */
  readonly bytes: bigint
}

/** A file by its path, mapped shared. */
export interface FileMemory {
  /** Absolute path under one of GetServerInfo's `file_roots`. */
  readonly path: string
  /** Where the mapping starts in the file, bytes, a multiple of 4096. */
  readonly offset: bigint
  /** Length in bytes, a multiple of 4096; 0 is the rest of the file. */
  readonly bytes: bigint
  /** Devices and WriteMemory may write; the file must be writable. */
  readonly writable: boolean
}

/** A descriptor that came through the side channel, such as a memfd, mapped shared. */
export interface FdMemory {
  /** The number the side channel gave it. */
  readonly fd: number
  /** Where the mapping starts, bytes, a multiple of 4096. */
  readonly offset: bigint
  /** Length in bytes, a multiple of 4096; 0 is the rest. */
  readonly bytes: bigint
  /** Devices and WriteMemory may write. */
  readonly writable: boolean
}

/** Makes a region. */
export interface CreateMemoryRegionRequest {
  /** The context's token. */
  readonly context: string
  /**
   * The daemon's own memory.
   * One of `source`.
   */
  readonly anonymous?: AnonymousMemory
  /**
   * A file by path.
   * One of `source`.
   */
  readonly file?: FileMemory
  /**
   * A registered descriptor.
   * One of `source`.
   */
  readonly fd?: FdMemory
  /**
   * The client's own address of the region, as in vhost-user's memory table. Then `user_va` in IoasMap and pointers in
   * Ioctl may name it.
   */
  readonly clientAddress?: bigint
  /** Where the raw units of this context see the region on their bus (guest physical), a multiple of 65536. */
  readonly busAddress?: bigint
  /** A name for lists, at most 64 characters. */
  readonly label: string
}

/** A new region. */
export interface CreateMemoryRegionResponse {
  /** Its id. */
  readonly regionId: number
  /** Its length in bytes. */
  readonly bytes: bigint
}

/** Ends a region. */
export interface DestroyMemoryRegionRequest {
  /** The context's token. */
  readonly context: string
  /** The region. */
  readonly regionId: number
}

/** The region's id is free. */
export interface DestroyMemoryRegionResponse {}

/** Asks for the regions. */
export interface ListMemoryRegionsRequest {
  /** The context's token. */
  readonly context: string
}

/** The regions. */
export interface ListMemoryRegionsResponse {
  /** By ascending id. */
  readonly regions: readonly MemoryRegion[]
}

/** One region. */
export interface MemoryRegion {
  /** Its id. */
  readonly regionId: number
  /** Length in bytes. */
  readonly bytes: bigint
  /** May be written. */
  readonly writable: boolean
  /** The file's path; empty for other sources. */
  readonly path: string
  /** The client's own address, if given. */
  readonly clientAddress?: bigint
  /** Address on the raw units' bus, if given. */
  readonly busAddress?: bigint
  /** The name given to it. */
  readonly label: string
  /** Handle to give to the ioctl IOMMU_IOAS_MAP_FILE as `fd`: the lowest that OpenHandle opened on it, 0 for none. */
  readonly handle: number
}

/** A slice of a region. */
export interface MemorySlice {
  /** The region. */
  readonly regionId: number
  /** Bytes from its start. */
  readonly offset: bigint
  /** Length in bytes. */
  readonly length: number
}

/** Reads slices. */
export interface ReadMemoryRequest {
  /** The context's token. */
  readonly context: string
  /** What to read. Together at most the limit `batch_bytes`. */
  readonly slices: readonly MemorySlice[]
}

/** What was read. */
export interface ReadMemoryResponse {
  /** One element per slice read. */
  readonly data: readonly Uint8Array[]
  /** Slices read, from the first. */
  readonly doneCount: number
  /** Why the next slice was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** Bytes for a place in a region. */
export interface MemoryPatch {
  /** The region. */
  readonly regionId: number
  /** Bytes from its start. */
  readonly offset: bigint
  /** What to write there. */
  readonly data: Uint8Array
}

/** Writes slices. */
export interface WriteMemoryRequest {
  /** The context's token. */
  readonly context: string
  /** What to write, in this order. */
  readonly patches: readonly MemoryPatch[]
}

/** What was written. */
export interface WriteMemoryResponse {
  /** Patches written, from the first. */
  readonly doneCount: number
  /** Why the next patch was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** What a limit counts against. */
export const LimitScope = {
  /** Not said. */
  UNSPECIFIED: 0,
  /** One call. */
  CALL: 1,
  /** All objects of a context. */
  CONTEXT: 2,
  /** All contexts of a user id. */
  UID: 3,
  /** The whole daemon. */
  SERVER: 4,
} as const

/** A value of LimitScope. Another number may arrive from a peer of another version. */
export type LimitScope = (typeof LimitScope)[keyof typeof LimitScope]

/** Architecture of an IOMMU. */
export const UnitType = {
  /** Not said. */
  UNSPECIFIED: 0,
  /** Arm SMMUv3. */
  SMMUV3: 1,
  /** Intel VT-d. */
  VTD: 2,
} as const

/** A value of UnitType. Another number may arrive from a peer of another version. */
export type UnitType = (typeof UnitType)[keyof typeof UnitType]

/** Asks for the daemon's description. */
export interface GetServerInfoRequest {}

/** The daemon's description. */
export interface GetServerInfoResponse {
  /** The daemon's version, semver. */
  readonly version: string
  /** Names this run of the daemon: 128 random bits, hex. A new boot has new tokens and no objects. */
  readonly bootId: string
  /** Milliseconds since the start, by the daemon's clock. */
  readonly uptimeMs: bigint
  /** Runs with `--strict`: extensions answer EOPNOTSUPP. */
  readonly strict: boolean
  /** Runs with `--clock manual`: time passes only by AdvanceClock. */
  readonly manualClock: boolean
  /** Seed of every random choice (`--seed`), 0 if it was not given. */
  readonly seed: bigint
  /** The limits a refusal can name. */
  readonly limits: readonly Limit[]
  /** Features beyond the methods, by name, such as "file-regions" or "ats". */
  readonly features: readonly string[]
  /** The IOMMUs of the platform. */
  readonly units: readonly PlatformUnit[]
  /** Folders under which CreateMemoryRegion may open files. */
  readonly fileRoots: readonly string[]
  /** The kernel version whose answers this daemon reproduces, such as "7.2.13". */
  readonly uapiVersion: string
  /**
   * Largest alignment that IoasMap without FIXED_IOVA aims for, bytes: 4096, or 2097152 as kernels with transparent huge
   * pages do (`--auto-iova-alignment`).
   */
  readonly autoIovaAlignment: bigint
}

/** A limit. Exceeding it is EDQUOT (E2BIG for the size of an array), and the refusal's context names it. */
export interface Limit {
  /**
   * Its name: contexts, objects, domains, areas, region_bytes, table_bytes, queue_depth, pending_dma, handles,
   * batch_elements, batch_bytes, message_bytes, lease_ms, wait_ms …
   */
  readonly name: string
  /** What it counts against. */
  readonly scope: LimitScope
  /** The greatest value allowed. */
  readonly value: bigint
  /** Unit of `value`: "" (a count), "bytes" or "ms". */
  readonly unit: string
  /** What it counts, and what happens at it. */
  readonly meaning: string
}

/** An IOMMU of the platform. */
export interface PlatformUnit {
  /** Its name in the platform, such as "smmu0". */
  readonly name: string
  /** Its architecture. */
  readonly type: UnitType
  /** Its ID registers. */
  readonly idRegisters: readonly NamedRegister[]
  /** Devices behind it. */
  readonly deviceNames: readonly string[]
}

/** A register by its manual's name. */
export interface NamedRegister {
  /** Name without the book's prefix: "IDR0", "CAP", "ECAP". */
  readonly name: string
  /** Its value, zero-extended to 64 bits. */
  readonly value: bigint
}

/** Asks for the methods' status. */
export interface ListMethodsRequest {}

/** The methods' status. */
export interface ListMethodsResponse {
  /** One element per method of the contract, by service, then in the order of its file. */
  readonly methods: readonly MethodStatus[]
}

/** One method's status. */
export interface MethodStatus {
  /** "iommud.v1.IommuService". */
  readonly service: string
  /** "IoasMap". */
  readonly method: string
  /** Answers something other than EOPNOTSUPP on this daemon. */
  readonly offered: boolean
  /** Why it is not offered, or what part of it is not. */
  readonly reason: string
  /** The ioctl or system call it stands for; empty if none. */
  readonly uapi: string
  /** An extension: refused under `--strict`. */
  readonly extension: boolean
}

/** How eagerly caches keep entries. All keep what software did not invalidate. */
export const CachePolicy = {
  /** HARDWARE. */
  UNSPECIFIED: 0,
  /** Nothing is cached: every access walks. */
  OFF: 1,
  /** One entry of each kind. */
  MINIMAL: 2,
  /** Sizes and replacement as real parts have. */
  HARDWARE: 3,
  /** Everything the manual allows to keep, for as long as it allows. */
  GREEDY: 4,
  /** Sizes as HARDWARE; which entry makes room is drawn by lot, from a seed. */
  RANDOM: 5,
} as const

/** A value of CachePolicy. Another number may arrive from a peer of another version. */
export type CachePolicy = (typeof CachePolicy)[keyof typeof CachePolicy]

/** What a stream sends to its unit; the numbers are PCIe's (AT). */
export const RequestType = {
  /** A DMA with an IOVA. */
  UNSPECIFIED: 0,
  /** An ATS translation request. */
  TRANSLATION: 1,
  /** A DMA with an address that an ATS translation request obtained. */
  TRANSLATED: 2,
} as const

/** A value of RequestType. Another number may arrive from a peer of another version. */
export type RequestType = (typeof RequestType)[keyof typeof RequestType]

/** Makes a unit. */
export interface CreateUnitRequest {
  /** The context's token. */
  readonly context: string
  /** Its architecture. Must be set. */
  readonly type: UnitType
  /** A named part's ID registers; empty is the daemon's default of the type. */
  readonly preset: string
  /** ID registers that differ from the preset's. Only bits the model can offer. */
  readonly overrides: readonly NamedRegister[]
  /** How its caches behave. */
  readonly cachePolicy: CachePolicy
  /** RANDOM: where the lots start; the same seed evicts the same entries. With another policy it must be 0. */
  readonly cacheSeed: number
}

/** A new unit. */
export interface CreateUnitResponse {
  /** Its id. */
  readonly unitId: number
  /** Size of its register file in bytes. */
  readonly registerBytes: number
  /** Its ID registers. */
  readonly idRegisters: readonly NamedRegister[]
}

/** Asks what a unit is. */
export interface GetUnitRequest {
  /** The context's token. */
  readonly context: string
  /** The unit. */
  readonly unitId: number
}

/** What a unit is. */
export interface GetUnitResponse {
  /** Its architecture. */
  readonly type: UnitType
  /** Its preset. */
  readonly preset: string
  /** Size of its register file in bytes. */
  readonly registerBytes: number
  /** Its ID registers. */
  readonly idRegisters: readonly NamedRegister[]
  /** How its caches behave. */
  readonly cachePolicy: CachePolicy
}

/** A register to read. */
export interface RegisterRead {
  /** Bytes from the register file's start, a multiple of the width. */
  readonly offset: number
  /** Bytes: 4 or 8. */
  readonly width: number
}

/** Reads registers. */
export interface ReadUnitRegistersRequest {
  /** The context's token. */
  readonly context: string
  /** The unit. */
  readonly unitId: number
  /** Which, in this order. */
  readonly reads: readonly RegisterRead[]
}

/** What was read. */
export interface ReadUnitRegistersResponse {
  /** One value per register read. */
  readonly values: BigUint64Array
  /** Registers read, from the first. */
  readonly doneCount: number
  /** Why the next one was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** A register to write. */
export interface RegisterWrite {
  /** Bytes from the register file's start, a multiple of the width. */
  readonly offset: number
  /** Bytes: 4 or 8. */
  readonly width: number
  /** What to write. */
  readonly value: bigint
}

/** Writes registers. */
export interface WriteUnitRegistersRequest {
  /** The context's token. */
  readonly context: string
  /** The unit. */
  readonly unitId: number
  /** What, in this order. */
  readonly writes: readonly RegisterWrite[]
}

/** What was written. */
export interface WriteUnitRegistersResponse {
  /** Registers written, from the first. */
  readonly doneCount: number
  /** Why the next one was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** Translates accesses. */
export interface TranslateUnitRequest {
  /** The context's token. */
  readonly context: string
  /** The unit. */
  readonly unitId: number
  /** SMMUv3 StreamID or VT-d source-id: one for all elements, or one each. */
  readonly sourceIds: Uint32Array
  /** The PASID of all elements; absent are requests without PASID. */
  readonly pasid?: number
  /** Access of every element, AccessFlag bits; 0 is READ. Ignored if `accesses` is given. */
  readonly access: number
  /** IOVAs. */
  readonly iovas: BigUint64Array
  /** Access of each element, AccessFlag bits. Empty, or as long as `iovas`. */
  readonly accesses: Uint32Array
  /** Addresses are translated already (ATS). */
  readonly translated: boolean
}

/** Results, element by element. Arrays are as long as `done_count`. */
export interface TranslateUnitResponse {
  /** DmaOutcome of each element. */
  readonly outcomes: Uint32Array
  /** OK: the physical address. Otherwise 0. */
  readonly addresses: BigUint64Array
  /** OK: log2 of the bytes of the page that holds it. Otherwise 0. */
  readonly pageSizeLog2s: Uint32Array
  /** OK: what the page allows, AccessFlag bits. Otherwise 0. */
  readonly permissions: Uint32Array
  /** FAULT: SMMUv3 event number or VT-d fault reason. Otherwise 0. */
  readonly faultCodes: Uint32Array
  /** 1 if a cache answered, 0 if tables were read. */
  readonly cacheHits: Uint32Array
  /** PENDING: what AwaitDma asks for, 0 for other elements. Empty if no element is PENDING. */
  readonly transactionIds: BigUint64Array
  /** One per element that ended FAULT, or ABORTED by the oracle, in order, by `index`. */
  readonly faults: readonly DmaFault[]
  /** Elements attempted, from the first. */
  readonly doneCount: number
  /** Why the next one was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** Asks for one walk. */
export interface ExplainUnitRequest {
  /** The context's token. */
  readonly context: string
  /** The unit. */
  readonly unitId: number
  /** SMMUv3 StreamID or VT-d source-id. */
  readonly sourceId: number
  /** The PASID; absent is a request without PASID. */
  readonly pasid?: number
  /** The IOVA. */
  readonly iova: bigint
  /** AccessFlag bits; 0 is READ. */
  readonly access: number
  /** What the stream sends. */
  readonly requestType: RequestType
}

/** One walk. */
export interface ExplainUnitResponse {
  /** Its steps and what it comes to. */
  readonly explanation?: Explanation
}

/** Asks for interrupts. */
export interface PollUnitInterruptsRequest {
  /** The context's token. */
  readonly context: string
  /** The unit. */
  readonly unitId: number
  /** At most so many; 0 is the limit `batch_elements`. */
  readonly maxInterrupts: number
  /** Waits up to so many milliseconds for the first; 0 answers at once. */
  readonly waitMs: number
}

/** An interrupt. */
export interface UnitInterrupt {
  /**
   * Its source, the manual's name: "EVENTQ", "CMD_SYNC", "GERROR", "PRIQ"; "fault", "invalidation", "page request". An
   * SMMUv3 with MSIs has wires beside them: each interrupt comes twice then, its MSI first.
   */
  readonly source: string
  /** An MSI: the address it was written to; absent for a wire's edge. */
  readonly msiAddress?: bigint
  /** An MSI: the 32 bits written. */
  readonly msiData: number
}

/** Interrupts, oldest first. */
export interface PollUnitInterruptsResponse {
  /** The interrupts taken. */
  readonly interrupts: readonly UnitInterrupt[]
}

/** Resets a unit. */
export interface ResetUnitRequest {
  /** The context's token. */
  readonly context: string
  /** The unit. */
  readonly unitId: number
}

/** The unit is in its reset state. */
export interface ResetUnitResponse {
  /** Transactions that were stalled and ended ABORTED. */
  readonly abortedCount: number
}

/** Type of a vIOMMU, and of its event queue: IOMMU_VIOMMU_TYPE_*, IOMMU_VEVENTQ_TYPE_*. */
export const ViommuType = {
  /** Not said: EOPNOTSUPP. */
  UNSPECIFIED: 0,
  /** Arm SMMUv3. */
  ARM_SMMUV3: 1,
  /** NVIDIA Tegra241 CMDQV; no unit of this daemon has one. */
  TEGRA241_CMDQV: 2,
} as const

/** A value of ViommuType. Another number may arrive from a peer of another version. */
export type ViommuType = (typeof ViommuType)[keyof typeof ViommuType]

/** Bits of an event's header: IOMMU_VEVENTQ_FLAG_*. */
export const VeventFlag = {
  /** A normal event. */
  UNSPECIFIED: 0,
  /** Events were lost here. There is no record. */
  LOST_EVENTS: 1,
} as const

/** A value of VeventFlag. Another number may arrive from a peer of another version. */
export type VeventFlag = (typeof VeventFlag)[keyof typeof VeventFlag]

/** Bits of a page fault: IOMMU_PGFAULT_FLAGS_*. */
export const PageFaultFlag = {
  /** No bit. */
  UNSPECIFIED: 0,
  /** `pasid` is set. */
  PASID_VALID: 1,
  /** Last fault of its group. */
  LAST_PAGE: 2,
} as const

/** A value of PageFaultFlag. Another number may arrive from a peer of another version. */
export type PageFaultFlag = (typeof PageFaultFlag)[keyof typeof PageFaultFlag]

/** Answer to a group of page faults. The uAPI's numbers are one less. */
export const PageResponseCode = {
  /** Not said: EINVAL. */
  UNSPECIFIED: 0,
  /** The page is there: the device tries again. (uAPI 0) */
  SUCCESS: 1,
  /** There is no such page: the access fails. (uAPI 1) */
  INVALID: 2,
} as const

/** A value of PageResponseCode. Another number may arrive from a peer of another version. */
export type PageResponseCode = (typeof PageResponseCode)[keyof typeof PageResponseCode]

/** Type of a hardware queue: IOMMU_HW_QUEUE_TYPE_*. */
export const HwQueueType = {
  /** Not said: EOPNOTSUPP. */
  UNSPECIFIED: 0,
  /** NVIDIA Tegra241 CMDQV; no unit of this daemon has one. */
  TEGRA241_CMDQV: 1,
} as const

/** A value of HwQueueType. Another number may arrive from a peer of another version. */
export type HwQueueType = (typeof HwQueueType)[keyof typeof HwQueueType]

/** What a GetHwInfo asks for, and gets: IOMMU_HW_INFO_TYPE_*. */
export const HwInfoType = {
  /** The device's own type (uAPI DEFAULT); in a reply: no information (uAPI NONE). */
  UNSPECIFIED: 0,
  /** Intel VT-d. */
  INTEL_VTD: 1,
  /** Arm SMMUv3. */
  ARM_SMMUV3: 2,
  /** NVIDIA Tegra241 CMDQV. */
  TEGRA241_CMDQV: 3,
} as const

/** A value of HwInfoType. Another number may arrive from a peer of another version. */
export type HwInfoType = (typeof HwInfoType)[keyof typeof HwInfoType]

/** Capabilities of a device's IOMMU: IOMMU_HW_CAP_*. */
export const HwCapability = {
  /** No bit. */
  UNSPECIFIED: 0,
  /** Domains can track dirty pages. */
  DIRTY_TRACKING: 1,
  /** PASID requests may ask to execute. */
  PCI_PASID_EXEC: 2,
  /** PASID requests may be privileged. */
  PCI_PASID_PRIV: 4,
  /** The device has no ATS. A negative bit. */
  PCI_ATS_NOT_SUPPORTED: 8,
} as const

/** A value of HwCapability. Another number may arrive from a peer of another version. */
export type HwCapability = (typeof HwCapability)[keyof typeof HwCapability]

/** How user domains bind to a device. */
export const UserDomainModel = {
  /** This device can have none. */
  UNSPECIFIED: 0,
  /** VT-d: one first-stage table per RID or RID+PASID, on a nesting parent. */
  PER_PASID: 1,
  /**
   * SMMUv3: one STE for the RID and all its PASIDs, on a vIOMMU. An extension, CreateWindow, has PASIDs one by
   * one.
   */
  WHOLE_RID: 2,
} as const

/** A value of UserDomainModel. Another number may arrive from a peer of another version. */
export type UserDomainModel = (typeof UserDomainModel)[keyof typeof UserDomainModel]

/** Makes a vIOMMU: a slice of a physical IOMMU for one virtual machine. */
export interface CreateViommuRequest {
  /** The context's token. */
  readonly context: string
  /** Must be 0. */
  readonly flags: number
  /** Its type. */
  readonly type: ViommuType
  /** A bound device behind the physical IOMMU. */
  readonly deviceId: number
  /** A paging domain made with NEST_PARENT: its stage 2. */
  readonly parentDomainId: number
}

/** A new vIOMMU. */
export interface CreateViommuResponse {
  /** Its id. */
  readonly viommuId: number
  /** Types with a mappable page: its offset for MapHandle on the iommu's handle. */
  readonly mmapOffset: bigint
  /** Types with a mappable page: its length in bytes; 0 for ARM_SMMUV3. */
  readonly mmapLength: bigint
}

/** Puts a device into a vIOMMU. */
export interface CreateVdeviceRequest {
  /** The context's token. */
  readonly context: string
  /** The vIOMMU. */
  readonly viommuId: number
  /** A bound device behind the same physical IOMMU. */
  readonly deviceId: number
  /** What the guest calls the device: on SMMUv3 its StreamID. */
  readonly virtId: bigint
}

/** A new vDEVICE. */
export interface CreateVdeviceResponse {
  /** Its id. */
  readonly vdeviceId: number
}

/** Makes a queue of a vIOMMU's events: those of devices with a vDEVICE there whose RID is on a user domain of it. */
export interface CreateVeventqRequest {
  /** The context's token. */
  readonly context: string
  /** Must be 0. */
  readonly flags: number
  /** The vIOMMU. */
  readonly viommuId: number
  /** Type of its events; one queue per type. */
  readonly type: ViommuType
  /** Events it holds; more are lost, and counted. 1 to 2^19, else EINVAL; what waits counts against `queue_depth`. */
  readonly depth: number
}

/** A new queue. */
export interface CreateVeventqResponse {
  /** Its id. */
  readonly veventqId: number
}

/** Takes events from a queue. */
export interface PollEventsRequest {
  /** The context's token. */
  readonly context: string
  /** The queue. */
  readonly veventqId: number
  /** At most so many; 0 is the limit `batch_elements`. */
  readonly maxEvents: number
  /** Waits up to so many milliseconds for the first; 0 answers at once. */
  readonly waitMs: number
}

/** One event of a vIOMMU. */
export interface ViommuEvent {
  /** VeventFlag bits. */
  readonly flags: number
  /** Counts events, lost ones too, from 0, and wraps from 2^31-1 to 0. */
  readonly sequence: number
  /** ARM_SMMUV3: the event record's four doublewords, the StreamID replaced by the virtual one. Empty if lost. */
  readonly words: BigUint64Array
  /** The event's name in the manual, such as "F_TRANSLATION". Empty if lost. */
  readonly name: string
}

/** Events, oldest first. */
export interface PollEventsResponse {
  /** The events taken. */
  readonly events: readonly ViommuEvent[]
}

/** Makes a queue of page faults. */
export interface CreateFaultQueueRequest {
  /** The context's token. */
  readonly context: string
  /** Must be 0. */
  readonly flags: number
}

/** A new fault queue. */
export interface CreateFaultQueueResponse {
  /** Its id: `fault_queue_id` of CreatePagingDomain and CreateUserDomain. */
  readonly faultQueueId: number
}

/** Takes page faults from a queue. */
export interface PollFaultsRequest {
  /** The context's token. */
  readonly context: string
  /** The queue. */
  readonly faultQueueId: number
  /** At most so many faults; 0 is the limit `batch_elements`. Groups come whole or not at all. */
  readonly maxFaults: number
  /** Waits up to so many milliseconds for the first; 0 answers at once. */
  readonly waitMs: number
}

/** One page fault (struct iommu_hwpt_pgfault). */
export interface PageFault {
  /** PageFaultFlag bits. */
  readonly flags: number
  /** The device. */
  readonly deviceId: number
  /** Its PASID, with PASID_VALID. */
  readonly pasid: number
  /** The device's group number (SMMUv3 stall: STAG). */
  readonly groupId: number
  /** AccessFlag bits. */
  readonly access: number
  /** The IOVA. */
  readonly addr: bigint
  /** Names the group in RespondFaults; the same for all faults of a group. */
  readonly cookie: number
}

/** Page faults, oldest group first. */
export interface PollFaultsResponse {
  /** The faults taken. Each group waits for one response. */
  readonly faults: readonly PageFault[]
}

/** Answer to one group. */
export interface PageResponse {
  /** The group's cookie. */
  readonly cookie: number
  /** The answer. */
  readonly code: PageResponseCode
}

/** Answers groups of page faults. */
export interface RespondFaultsRequest {
  /** The context's token. */
  readonly context: string
  /** The queue. */
  readonly faultQueueId: number
  /** The answers, given in order up to the first that is refused. */
  readonly responses: readonly PageResponse[]
}

/** What was answered. */
export interface RespondFaultsResponse {
  /** Answers given, from the first. */
  readonly doneCount: number
  /** Why the next one was refused; absent if none was. */
  readonly refusal?: RefusalDetail
}

/** Gives a vIOMMU a hardware queue in guest memory. */
export interface CreateHwQueueRequest {
  /** The context's token. */
  readonly context: string
  /** Must be 0. */
  readonly flags: number
  /** The vIOMMU. */
  readonly viommuId: number
  /** Its type. */
  readonly type: HwQueueType
  /** Number of the queue in the vIOMMU. */
  readonly index: number
  /** The queue's first byte, an IOVA of the parent (IPA). */
  readonly nestingParentIova: bigint
  /** Its length in bytes. */
  readonly length: bigint
}

/** A new hardware queue. */
export interface CreateHwQueueResponse {
  /** Its id. */
  readonly hwQueueId: number
}

/** Destroys an object. */
export interface DestroyRequest {
  /** The context's token. */
  readonly context: string
  /** Any object. */
  readonly objectId: number
}

/** The object is gone and its id free. */
export interface DestroyResponse {}

/** Asks what a device's IOMMU is. */
export interface GetHwInfoRequest {
  /** The context's token. */
  readonly context: string
  /** A bound device. */
  readonly deviceId: number
  /** Asks for this type (uAPI flag INPUT_TYPE); unspecified takes the device's own. */
  readonly requestedType: HwInfoType
}

/** VT-d's registers (struct iommu_hw_info_vtd). */
export interface VtdHwInfo {
  /** Bit 0: ERRATA_772415_SPR17, nesting parents refuse read-only mappings. Always set, as in the kernel. */
  readonly flags: number
  /** CAP_REG. */
  readonly capReg: bigint
  /** ECAP_REG. */
  readonly ecapReg: bigint
}

/** SMMUv3's registers (struct iommu_hw_info_arm_smmuv3). */
export interface Smmuv3HwInfo {
  /** 0. */
  readonly flags: number
  /** IDR0 to IDR5. */
  readonly idr: Uint32Array
  /** IIDR. */
  readonly iidr: number
  /** AIDR. */
  readonly aidr: number
}

/** What a device's IOMMU is. */
export interface GetHwInfoResponse {
  /** Which of `info` is set. */
  readonly type: HwInfoType
  /**
   * VT-d.
   * One of `info`.
   */
  readonly vtd?: VtdHwInfo
  /**
   * SMMUv3.
   * One of `info`.
   */
  readonly smmuv3?: Smmuv3HwInfo
  /** HwCapability bits. */
  readonly capabilities: bigint
  /** Log2 of the number of PASIDs the device can have; 0 if it has none. */
  readonly maxPasidLog2: number
  /** How user domains bind. The kernel's caller infers it from the type. */
  readonly userDomainModel: UserDomainModel
}

/** Every message by its name. */
export interface Messages {
  readonly AddDeviceRequest: AddDeviceRequest
  readonly AddDeviceResponse: AddDeviceResponse
  readonly AddressRange: AddressRange
  readonly AdvanceClockRequest: AdvanceClockRequest
  readonly AdvanceClockResponse: AdvanceClockResponse
  readonly AnonymousMemory: AnonymousMemory
  readonly AtsInvalidation: AtsInvalidation
  readonly AttachPasidRequest: AttachPasidRequest
  readonly AttachPasidResponse: AttachPasidResponse
  readonly AttachRidRequest: AttachRidRequest
  readonly AttachRidResponse: AttachRidResponse
  readonly Attachment: Attachment
  readonly AwaitDmaRequest: AwaitDmaRequest
  readonly AwaitDmaResponse: AwaitDmaResponse
  readonly BindDeviceRequest: BindDeviceRequest
  readonly BindDeviceResponse: BindDeviceResponse
  readonly CacheStats: CacheStats
  readonly ChangedEntry: ChangedEntry
  readonly CheckStaleRequest: CheckStaleRequest
  readonly CheckStaleResponse: CheckStaleResponse
  readonly ClearVfioIoasRequest: ClearVfioIoasRequest
  readonly ClearVfioIoasResponse: ClearVfioIoasResponse
  readonly CloseContextRequest: CloseContextRequest
  readonly CloseContextResponse: CloseContextResponse
  readonly CloseHandleRequest: CloseHandleRequest
  readonly CloseHandleResponse: CloseHandleResponse
  readonly CompleteInvalidationsRequest: CompleteInvalidationsRequest
  readonly CompleteInvalidationsResponse: CompleteInvalidationsResponse
  readonly ContextInfo: ContextInfo
  readonly CreateFaultQueueRequest: CreateFaultQueueRequest
  readonly CreateFaultQueueResponse: CreateFaultQueueResponse
  readonly CreateHwQueueRequest: CreateHwQueueRequest
  readonly CreateHwQueueResponse: CreateHwQueueResponse
  readonly CreateIoasRequest: CreateIoasRequest
  readonly CreateIoasResponse: CreateIoasResponse
  readonly CreateMemoryRegionRequest: CreateMemoryRegionRequest
  readonly CreateMemoryRegionResponse: CreateMemoryRegionResponse
  readonly CreatePagingDomainRequest: CreatePagingDomainRequest
  readonly CreatePagingDomainResponse: CreatePagingDomainResponse
  readonly CreateUnitRequest: CreateUnitRequest
  readonly CreateUnitResponse: CreateUnitResponse
  readonly CreateUserDomainRequest: CreateUserDomainRequest
  readonly CreateUserDomainResponse: CreateUserDomainResponse
  readonly CreateVdeviceRequest: CreateVdeviceRequest
  readonly CreateVdeviceResponse: CreateVdeviceResponse
  readonly CreateVeventqRequest: CreateVeventqRequest
  readonly CreateVeventqResponse: CreateVeventqResponse
  readonly CreateViommuRequest: CreateViommuRequest
  readonly CreateViommuResponse: CreateViommuResponse
  readonly CreateWindowRequest: CreateWindowRequest
  readonly CreateWindowResponse: CreateWindowResponse
  readonly DestroyMemoryRegionRequest: DestroyMemoryRegionRequest
  readonly DestroyMemoryRegionResponse: DestroyMemoryRegionResponse
  readonly DestroyRequest: DestroyRequest
  readonly DestroyResponse: DestroyResponse
  readonly DetachPasidRequest: DetachPasidRequest
  readonly DetachPasidResponse: DetachPasidResponse
  readonly DetachRidRequest: DetachRidRequest
  readonly DetachRidResponse: DetachRidResponse
  readonly DmaFault: DmaFault
  readonly DmaReadOperation: DmaReadOperation
  readonly DmaReadRequest: DmaReadRequest
  readonly DmaReadResponse: DmaReadResponse
  readonly DmaReadResult: DmaReadResult
  readonly DmaWriteOperation: DmaWriteOperation
  readonly DmaWriteRequest: DmaWriteRequest
  readonly DmaWriteResponse: DmaWriteResponse
  readonly DmaWriteResult: DmaWriteResult
  readonly EndContextRequest: EndContextRequest
  readonly EndContextResponse: EndContextResponse
  readonly EntryField: EntryField
  readonly ExplainRequest: ExplainRequest
  readonly ExplainResponse: ExplainResponse
  readonly ExplainUnitRequest: ExplainUnitRequest
  readonly ExplainUnitResponse: ExplainUnitResponse
  readonly Explanation: Explanation
  readonly FdMemory: FdMemory
  readonly FileMemory: FileMemory
  readonly GetCacheStatsRequest: GetCacheStatsRequest
  readonly GetCacheStatsResponse: GetCacheStatsResponse
  readonly GetContextRequest: GetContextRequest
  readonly GetContextResponse: GetContextResponse
  readonly GetDeviceRequest: GetDeviceRequest
  readonly GetDeviceResponse: GetDeviceResponse
  readonly GetDirtyBitmapRequest: GetDirtyBitmapRequest
  readonly GetDirtyBitmapResponse: GetDirtyBitmapResponse
  readonly GetHwInfoRequest: GetHwInfoRequest
  readonly GetHwInfoResponse: GetHwInfoResponse
  readonly GetOptionRequest: GetOptionRequest
  readonly GetOptionResponse: GetOptionResponse
  readonly GetServerInfoRequest: GetServerInfoRequest
  readonly GetServerInfoResponse: GetServerInfoResponse
  readonly GetUnitRequest: GetUnitRequest
  readonly GetUnitResponse: GetUnitResponse
  readonly GetVfioIoasRequest: GetVfioIoasRequest
  readonly GetVfioIoasResponse: GetVfioIoasResponse
  readonly GrowWindowRequest: GrowWindowRequest
  readonly GrowWindowResponse: GrowWindowResponse
  readonly InjectFaultRequest: InjectFaultRequest
  readonly InjectFaultResponse: InjectFaultResponse
  readonly InvalidateIotlbRequest: InvalidateIotlbRequest
  readonly InvalidateIotlbResponse: InvalidateIotlbResponse
  readonly IoasAllowIovasRequest: IoasAllowIovasRequest
  readonly IoasAllowIovasResponse: IoasAllowIovasResponse
  readonly IoasBatchRequest: IoasBatchRequest
  readonly IoasBatchResponse: IoasBatchResponse
  readonly IoasChangeProcessRequest: IoasChangeProcessRequest
  readonly IoasChangeProcessResponse: IoasChangeProcessResponse
  readonly IoasCopyRequest: IoasCopyRequest
  readonly IoasCopyResponse: IoasCopyResponse
  readonly IoasIovaRangesRequest: IoasIovaRangesRequest
  readonly IoasIovaRangesResponse: IoasIovaRangesResponse
  readonly IoasMapFileRequest: IoasMapFileRequest
  readonly IoasMapFileResponse: IoasMapFileResponse
  readonly IoasMapRequest: IoasMapRequest
  readonly IoasMapResponse: IoasMapResponse
  readonly IoasOperation: IoasOperation
  readonly IoasUnmapRequest: IoasUnmapRequest
  readonly IoasUnmapResponse: IoasUnmapResponse
  readonly IoctlMemory: IoctlMemory
  readonly IoctlRequest: IoctlRequest
  readonly IoctlResponse: IoctlResponse
  readonly Limit: Limit
  readonly ListContextsRequest: ListContextsRequest
  readonly ListContextsResponse: ListContextsResponse
  readonly ListDevicesRequest: ListDevicesRequest
  readonly ListDevicesResponse: ListDevicesResponse
  readonly ListMemoryRegionsRequest: ListMemoryRegionsRequest
  readonly ListMemoryRegionsResponse: ListMemoryRegionsResponse
  readonly ListMethodsRequest: ListMethodsRequest
  readonly ListMethodsResponse: ListMethodsResponse
  readonly ListObjectsRequest: ListObjectsRequest
  readonly ListObjectsResponse: ListObjectsResponse
  readonly ListStaleTranslationsRequest: ListStaleTranslationsRequest
  readonly ListStaleTranslationsResponse: ListStaleTranslationsResponse
  readonly MapHandleRequest: MapHandleRequest
  readonly MapHandleResponse: MapHandleResponse
  readonly MemoryPatch: MemoryPatch
  readonly MemoryRegion: MemoryRegion
  readonly MemorySlice: MemorySlice
  readonly MethodStatus: MethodStatus
  readonly NamedRegister: NamedRegister
  readonly ObjectInfo: ObjectInfo
  readonly OpenContextRequest: OpenContextRequest
  readonly OpenContextResponse: OpenContextResponse
  readonly OpenHandleRequest: OpenHandleRequest
  readonly OpenHandleResponse: OpenHandleResponse
  readonly OracleCounts: OracleCounts
  readonly PageFault: PageFault
  readonly PageRequest: PageRequest
  readonly PageResponse: PageResponse
  readonly PlatformDevice: PlatformDevice
  readonly PlatformUnit: PlatformUnit
  readonly PollEventsRequest: PollEventsRequest
  readonly PollEventsResponse: PollEventsResponse
  readonly PollFaultsRequest: PollFaultsRequest
  readonly PollFaultsResponse: PollFaultsResponse
  readonly PollHandleRequest: PollHandleRequest
  readonly PollHandleResponse: PollHandleResponse
  readonly PollInvalidationsRequest: PollInvalidationsRequest
  readonly PollInvalidationsResponse: PollInvalidationsResponse
  readonly PollTarget: PollTarget
  readonly PollUnitInterruptsRequest: PollUnitInterruptsRequest
  readonly PollUnitInterruptsResponse: PollUnitInterruptsResponse
  readonly QuotaUse: QuotaUse
  readonly RangeInvalidation: RangeInvalidation
  readonly RangeInvalidations: RangeInvalidations
  readonly ReadHandleRequest: ReadHandleRequest
  readonly ReadHandleResponse: ReadHandleResponse
  readonly ReadMemoryRequest: ReadMemoryRequest
  readonly ReadMemoryResponse: ReadMemoryResponse
  readonly ReadUnitRegistersRequest: ReadUnitRegistersRequest
  readonly ReadUnitRegistersResponse: ReadUnitRegistersResponse
  readonly RefusalDetail: RefusalDetail
  readonly RegionOffset: RegionOffset
  readonly RegisterRead: RegisterRead
  readonly RegisterWrite: RegisterWrite
  readonly RemoveDeviceRequest: RemoveDeviceRequest
  readonly RemoveDeviceResponse: RemoveDeviceResponse
  readonly RenewLeaseRequest: RenewLeaseRequest
  readonly RenewLeaseResponse: RenewLeaseResponse
  readonly ReplacePasidRequest: ReplacePasidRequest
  readonly ReplacePasidResponse: ReplacePasidResponse
  readonly ReplaceRidRequest: ReplaceRidRequest
  readonly ReplaceRidResponse: ReplaceRidResponse
  readonly RequestPagesRequest: RequestPagesRequest
  readonly RequestPagesResponse: RequestPagesResponse
  readonly RequestTranslationsRequest: RequestTranslationsRequest
  readonly RequestTranslationsResponse: RequestTranslationsResponse
  readonly ResetDeviceRequest: ResetDeviceRequest
  readonly ResetDeviceResponse: ResetDeviceResponse
  readonly ResetUnitRequest: ResetUnitRequest
  readonly ResetUnitResponse: ResetUnitResponse
  readonly RespondFaultsRequest: RespondFaultsRequest
  readonly RespondFaultsResponse: RespondFaultsResponse
  readonly SentCommand: SentCommand
  readonly SetCachePolicyRequest: SetCachePolicyRequest
  readonly SetCachePolicyResponse: SetCachePolicyResponse
  readonly SetDirtyTrackingRequest: SetDirtyTrackingRequest
  readonly SetDirtyTrackingResponse: SetDirtyTrackingResponse
  readonly SetOptionRequest: SetOptionRequest
  readonly SetOptionResponse: SetOptionResponse
  readonly SetOracleModeRequest: SetOracleModeRequest
  readonly SetOracleModeResponse: SetOracleModeResponse
  readonly SetVfioIoasRequest: SetVfioIoasRequest
  readonly SetVfioIoasResponse: SetVfioIoasResponse
  readonly Smmuv3Command: Smmuv3Command
  readonly Smmuv3Commands: Smmuv3Commands
  readonly Smmuv3HwInfo: Smmuv3HwInfo
  readonly Smmuv3Pgd: Smmuv3Pgd
  readonly Smmuv3Ste: Smmuv3Ste
  readonly StaleTranslation: StaleTranslation
  readonly TransactionResult: TransactionResult
  readonly TranslateRequest: TranslateRequest
  readonly TranslateResponse: TranslateResponse
  readonly TranslateUnitRequest: TranslateUnitRequest
  readonly TranslateUnitResponse: TranslateUnitResponse
  readonly TranslationResult: TranslationResult
  readonly UnbindDeviceRequest: UnbindDeviceRequest
  readonly UnbindDeviceResponse: UnbindDeviceResponse
  readonly UnitInterrupt: UnitInterrupt
  readonly UnitStream: UnitStream
  readonly ViommuEvent: ViommuEvent
  readonly VtdHwInfo: VtdHwInfo
  readonly VtdS1: VtdS1
  readonly WalkStep: WalkStep
  readonly WriteHandleRequest: WriteHandleRequest
  readonly WriteHandleResponse: WriteHandleResponse
  readonly WriteMemoryRequest: WriteMemoryRequest
  readonly WriteMemoryResponse: WriteMemoryResponse
  readonly WriteUnitRegistersRequest: WriteUnitRegistersRequest
  readonly WriteUnitRegistersResponse: WriteUnitRegistersResponse
}

/** Name of a message. */
export type MessageName = keyof Messages
