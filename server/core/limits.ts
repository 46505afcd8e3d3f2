/**
 * Every limit that a refusal can name, with where its number comes from. `GetServerInfo` tells them all; EDQUOT and
 * E2BIG name the one that was met.
 */

import { LIMIT_MEANINGS, type LimitName } from './limit-meanings.js'

/** What a limit counts against; the numbers are the contract's LimitScope. */
export const LIMIT_SCOPE = { CALL: 1, CONTEXT: 2, UID: 3, SERVER: 4 } as const

/** One of LIMIT_SCOPE. */
export type LimitScope = (typeof LIMIT_SCOPE)[keyof typeof LIMIT_SCOPE]

/** What can be used up, in a context or by all contexts of a user id. */
export type QuotaName =
  | 'contexts'
  | 'explicit_contexts'
  | 'objects'
  | 'domains'
  | 'areas'
  | 'allowed_ranges'
  | 'regions'
  | 'region_bytes'
  | 'resident_bytes'
  | 'table_bytes'
  | 'locked_bytes'
  | 'queue_depth'
  | 'pending_dma'
  | 'units'
  | 'handles'

/** Limits of one call. */
export interface CallLimits {
  /** Elements of an array. 65,536 IOVAs are half a megabyte on the wire and a few milliseconds of translation. */
  readonly batch_elements: number
  /** Bytes that all elements of a call move. Leaves room for the message around them in `message_bytes`. */
  readonly batch_bytes: number
  /** Bytes of a message: the 4 MiB that ttrpc and gRPC clients take by default. */
  readonly message_bytes: number
  /** Longest lease: an hour. A client that needs more opens an explicit context. */
  readonly lease_ms: number
  /** Lease of a context that names none: long enough for a debugger's short stop, short enough for a CI job. */
  readonly lease_default_ms: number
  /** Longest wait of one call; below the idle time-outs of common proxies (60 s). */
  readonly wait_ms: number
  /**
   * How long a group of page faults waits for its answer before it is answered INVALID. The kernel has no such limit; it is
   * as long as the kernel itself waits for the users of an object that must go. [uAPI VFIO_DEVICE_BIND_IOMMUFD]
   */
  readonly fault_answer_ms: number
  /**
   * How long an unmap or invalidation waits for a client that holds translations to forget them. PCIe gives a function a
   * minute; a call that waits for one must have been answered by then.
   */
  readonly ats_completion_ms: number
  /**
   * Translations that a device is granted at once; beyond, the oldest is taken back. More than real ones keep, and few
   * enough to be taken back in one turn.
   */
  readonly atc_entries: number
  /** UTF-16 units of a label: what a line of a table holds. */
  readonly label_length: number
  /** Faults of one call that carry a sentence; each costs a second walk, and a person reads the first few. */
  readonly explained_faults: number
  /** Unit interrupts kept for PollUnitInterrupts. */
  readonly interrupts_kept: number
  /** Reports of the oracle kept of one context and unit. A guest that forgets one kind of thing forgets it thousands of times. */
  readonly oracle_reports: number
  /** Requests of one connection that have no reply yet. Clients of HTTP/1.1 send one after the other. */
  readonly pipelined_calls: number
}

/** Limits of all clients together. */
export interface ServerLimits {
  /** Connections of a listener; beyond, new ones are closed. An idle one costs about 22 KB. */
  readonly connections: number
  /** Bytes of requests that are being received or answered: 64 messages of the greatest length. */
  readonly incoming_bytes: number
}

/** All limits of a daemon. */
export interface Limits {
  readonly server: ServerLimits
  readonly call: CallLimits
  readonly context: Readonly<Record<QuotaName, number>>
  readonly uid: Readonly<Record<QuotaName, number>>
}

/**
 * Milliseconds of a turn of the event loop after which work gives way. With one more step of work, of which each is
 * bounded below, and a collection of garbage, a turn stays under 4 ms on a machine that is not busy otherwise. A turn
 * costs some 20 us by itself, a fiftieth of this.
 */
export const TURN_MS = 1

/** Table entries that are written or taken out between two looks at the time: a table's worth, some 40 us. */
export const ENTRIES_A_STEP = 512

/** The same for the smallest leaves, which are spelled many at a time: those of eight tables, some 20 us. */
export const PAGES_A_STEP = 8 * ENTRIES_A_STEP

/** Translations that hit between two looks at the time; as many misses take less than a tenth of a turn. */
export const TRANSLATIONS_A_LOOK = 64

/** Elements of an array between two looks at the time, which costs as much as a translation that hits. */
export const ELEMENTS_A_LOOK = 16

/** Invalidations that a driver is handed at once. A slow one looks through the whole translation cache. */
export const INVALIDATIONS_A_STEP = 16

/** Page faults, or events, that a reader is handed between two looks at the time: half a millisecond. */
export const RECORDS_A_STEP = 256

/**
 * Page requests that a device may have sent of groups whose last did not come. A reader is handed a group whole, so it is
 * some milliseconds of work, and more than devices are given credits for. [PCIe 10.5.2.4 Outstanding Page Request Capacity]
 */
export const FAULTS_PARKED_MAX = 1024

/** Translations that the oracle compares between two looks at the time: two dry walks each, a millisecond together. */
export const WATCHES_A_STEP = 64

/** Reports kept of all contexts of a unit, about 2 KB each. */
export const LIMITS_OF_ORACLE = { REPORTS_A_UNIT: 16_384 } as const

const MIB = 2 ** 20
const TIB = 2 ** 40

/**
 * The defaults. A user id may have four times what one context may, so that one test cannot starve the next, and eight
 * VMMs of a modest size fit beside each other.
 */
export const DEFAULT_LIMITS: Limits = {
  server: { connections: 2048, incoming_bytes: 256 * MIB },
  call: {
    batch_elements: 65_536,
    batch_bytes: 3 * MIB,
    message_bytes: 4 * MIB,
    lease_ms: 3_600_000,
    lease_default_ms: 30_000,
    wait_ms: 55_000,
    fault_answer_ms: 60_000,
    ats_completion_ms: 10_000,
    atc_entries: 4096,
    label_length: 64,
    explained_faults: 16,
    interrupts_kept: 4096,
    oracle_reports: 1024,
    pipelined_calls: 16,
  },
  context: {
    contexts: 1,
    explicit_contexts: 1,
    // One per PASID of two whole devices (2^16 each), with room for what they hang on.
    objects: 131_072,
    // Kernel-owned ones, and windows. Each takes an ASID, a VMID or a domain-id of its unit, which has at most 2^16 for everybody.
    domains: 16_384,
    // 4 GiB in 4 KiB areas; an area costs the daemon about 200 bytes.
    areas: 1_048_576,
    // More than any platform has holes, and than a window of a million PASIDs needs if each range is four pages.
    allowed_ranges: 4096,
    regions: 1024,
    // Sparse mappings were checked up to here.
    region_bytes: TIB,
    // Anonymous bytes that were written, in pieces of 64 KiB. Twice the tables: it is to hold a guest's tables and what a
    // test moves at 3 MiB a call; a guest's whole RAM is a file's. With `table_bytes` it bounds what a container needs.
    resident_bytes: 512 * MIB,
    // Tables of 128 GiB in 4 KiB pages.
    table_bytes: 256 * MIB,
    // RLIMIT_MEMLOCK of a process, met with ENOMEM. What is pinned is a region's and has its own limit, so this one is
    // out of reach unless it is set.
    locked_bytes: 64 * TIB,
    queue_depth: 65_536,
    pending_dma: 4096,
    // A raw unit with its caches costs a few megabytes.
    units: 16,
    handles: 1024,
  },
  uid: {
    contexts: 256,
    explicit_contexts: 32,
    objects: 524_288,
    // Half of what a unit has, so that no user takes all.
    domains: 32_768,
    areas: 4_194_304,
    allowed_ranges: 16_384,
    regions: 4096,
    region_bytes: 4 * TIB,
    resident_bytes: 2048 * MIB,
    table_bytes: 1024 * MIB,
    locked_bytes: 64 * TIB,
    queue_depth: 262_144,
    pending_dma: 16_384,
    units: 64,
    handles: 4096,
  },
}

/** A limit as GetServerInfo tells it. */
export interface LimitInfo {
  readonly name: string
  readonly scope: LimitScope
  readonly value: bigint
  /** `bytes`, `ms` or empty for a count. */
  readonly unit: string
  /** What it counts, and what happens at it. */
  readonly meaning: string
}

/** Every limit, those of a call first. */
export function listLimits(limits: Limits): readonly LimitInfo[] {
  const tell = (of: object, scope: LimitScope) =>
    Object.entries(of).map(([name, value]) => ({
      name,
      scope,
      value: BigInt(value as number),
      unit: unitOf(name),
      meaning: LIMIT_MEANINGS[name as LimitName],
    }))
  const ofContext = tell(limits.context, LIMIT_SCOPE.CONTEXT).filter(({ name }) => !name.endsWith('contexts'))
  const ofServer = tell(limits.server, LIMIT_SCOPE.SERVER)
  return [...tell(limits.call, LIMIT_SCOPE.CALL), ...ofContext, ...tell(limits.uid, LIMIT_SCOPE.UID), ...ofServer]
}

const unitOf = (name: string): string => (name.endsWith('_bytes') ? 'bytes' : name.endsWith('_ms') ? 'ms' : '')
