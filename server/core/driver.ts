/**
 * The door between the object model and the host drivers. Core checks objects, ids and rules; a driver turns what is
 * left into entries, commands and registers of one emulated unit. Nothing else of core is for drivers, and core knows
 * nothing else of them.
 *
 * Every method that refuses throws a `Refusal` and has changed nothing. Every method that ends in a SYNC or wait
 * descriptor answers a `Completion`: undefined when all is done, else a promise that core awaits before it replies.
 */

import type { AtsDoor, PageFault, UnitListener } from './device-events.js'
import type { DmaPort } from './dma-port.js'
import type { InvalidateArray, UserData } from './given.js'
import type { RegionMemory } from './machine.js'
import type { Refusal } from './refusal.js'

export type {
  AtsDoor,
  AtsInvalidation,
  AtsPageRequest,
  KeptTranslations,
  PageFault,
  UnitListener,
} from './device-events.js'
export { PAGE_RESPONSE } from './device-events.js'
export type { DmaOutcome, DmaPort, DmaRun, ExplainStep, StepSpace } from './dma-port.js'
export { DMA_ACCESS, DMA_REQUEST, DMA_STATUS, UNTRANSLATED_ONLY } from './dma-port.js'
export type { ErrnoName } from './errno.js'
export type {
  InvalidateArray,
  InvalidateKind,
  InvalidateOf,
  SmmuCommand,
  SmmuRoot,
  UserData,
  UserDataKind,
  UserDataOf,
  VtdInvalidation,
} from './given.js'
export { givenData, givenEntries } from './given.js'
export { assert, Refusal, refusalOf } from './refusal.js'
export type { OwnInvalidation } from './unit-oracle.js'

/** Done (undefined), or the moment when it will be. It never rejects for a reason of the caller's. */
export type Completion = Promise<void> | undefined

/** A closed range of addresses, `[start, last]`. */
export interface Range {
  readonly start: bigint
  readonly last: bigint
}

/** A range that a device reserves in the IOAS it is attached to. */
export interface ReservedRange extends Range {
  /** `msi`, `direct`, `direct-relaxable`, `reserved`. */
  readonly kind: string
}

/** Flags of a new paging domain. [uAPI IOMMU_HWPT_ALLOC] */
export interface PagingFlags {
  readonly nestParent: boolean
  readonly dirtyTracking: boolean
  /** The domain may be attached to PASIDs (IOMMU_HWPT_ALLOC_PASID). */
  readonly pasid: boolean
}

/** What a device may do in its mapping. */
export interface Protection {
  readonly read: boolean
  readonly write: boolean
}

/** How far an array got. */
export interface InvalidateResult {
  /** Leading entries that were carried out. Fewer than given and no refusal: the next are for another call, soon. */
  readonly done: number
  /** Why the next one was not, and never will be. */
  readonly refusal?: Refusal
  readonly completion: Completion
  /** Asked when it is completed: why the last one that was done was not, after all. Absent: nothing goes wrong so late. */
  readonly failure?: () => Refusal | undefined
}

/** What the hardware says of itself, raw. [uAPI IOMMU_GET_HW_INFO] */
export type HwInfo =
  | { readonly kind: 'smmuv3'; readonly idr: readonly number[]; readonly iidr: number; readonly aidr: number }
  | { readonly kind: 'vtd'; readonly flags: number; readonly cap: bigint; readonly ecap: bigint }
  | { readonly kind: 'selftest'; readonly flags: number; readonly testReg: number }

/** What can be in a device's slot, as a driver made it. Core only carries it. */
export interface DomainOps {
  readonly kind: 'paging' | 'user' | 'window'
  /** The unit it was made for. */
  readonly driver: IommuDriver
  /** It has a fault queue: `UnitListener.pageFault` is asked before a page fault is refused. Core sets it, once. */
  takesFaults?: boolean
  /** Frees what the driver holds for it. Core calls it once, when nothing is attached any more. Cannot fail. */
  destroy(): void
}

/** A kernel-owned domain: core maps and unmaps it. */
export interface PagingOps extends DomainOps {
  readonly kind: 'paging'
  readonly isNestParent: boolean
  /** Page sizes it can map, one bit a size; the lowest is its alignment. */
  readonly pageSizes: bigint
  /** Addresses it can map. */
  readonly aperture: Range
  /** Bytes its tables hold now; counted against the context's quota. */
  readonly tableBytes: number
  /**
   * Maps a physically contiguous run. All of it or, when it throws, none.
   *
   * @param iova first byte, aligned to the lowest page size
   * @param address first physical byte, aligned alike
   * @param length bytes, a multiple of the lowest page size
   * @param inPages in leaves of 4096 bytes, or smaller ones, only
   */
  map(iova: bigint, address: number, length: bigint, protection: Protection, inPages?: boolean): void
  /** Takes the entries away; nothing is flushed yet. `[iova, iova + length)` was mapped by whole `map` calls. */
  unmap(iova: bigint, length: bigint): void
  /** Flushes what was unmapped, in every unit and device it is attached to, and then frees emptied tables. */
  flush(): Completion
  /** Absent on a domain that was made without dirty tracking. */
  readonly dirty?: DirtyOps
  /**
   * Makes a window without any range. Absent: EOPNOTSUPP.
   *
   * @throws Refusal EINVAL (no nesting parent), EOPNOTSUPP (the unit lacks what a window needs), ENOSPC (no VMID)
   */
  createWindow?(): WindowOps
}

/**
 * Reserved addresses of a nesting parent that hold a CD table of the host's. It is what a RID is attached to, so that
 * user domains can be put on single PASIDs. Core has made sure that nothing else is mapped in its ranges.
 */
export interface WindowOps extends DomainOps {
  readonly kind: 'window'
  /** Bytes that the table does not use yet. */
  readonly freeBytes: number
  /** Bytes of memory behind it, and of tables of its own: what a quota counts. */
  readonly heldBytes: number
  /**
   * Puts zeroed memory behind a range, mapped read-only in the parent; whole pages of 4096 bytes. The table may use it
   * only after `offer`. All of it or, when it throws, none. Ranges that touch are one range to the table.
   *
   * @throws Refusal ENOMEM
   */
  back(range: Range): void
  /** What was backed since the last `offer` may be used. */
  offer(): void
  /** What was backed since the last `offer` is unmapped, flushed and given back. */
  withdraw(): Completion
  /**
   * Makes a user domain of one root. It goes to slots of the one RID that the window is on.
   *
   * @throws Refusal EINVAL (a field that would make the CD illegal, data of another kind), ENOSPC (no ASID)
   */
  createUserDomain(device: DeviceDriver, data: UserData): UserOps
  /** Unmaps and flushes all of it, wherever the parent is attached, and gives everything back. Nothing uses it. */
  destroy(): Completion
}

/** The log of writes that hardware keeps in a domain's leaves. */
export interface DirtyOps {
  /** Starts or ends it, wherever the domain is attached, or a user domain on it. Starting twice changes nothing. */
  setTracking(isOn: boolean): Completion
  /**
   * Tells the dirty leaves of a range, in ascending order, each as the bytes that it maps within the range. A bounded
   * number of leaves is looked at. A hole ends the walk, as in the kernel. Leaves are numbers: no page is so small that a
   * multiple of it below 2^64 were not exact.
   *
   * @param clears they are clean afterwards; `PagingOps.flush` makes the caches forget that they were dirty
   * @param found absent when the caller only makes them clean, before tracking begins. Who keeps no log while tracking
   * is off tells nothing otherwise
   * @returns where to go on, beyond `start`, or undefined at the end
   */
  collect(
    start: bigint,
    last: bigint,
    clears: boolean,
    found?: (iova: number, length: number) => void,
  ): bigint | undefined
}

/** A domain whose tables are the client's. It has no map and no unmap: no call can reach one. */
export interface UserOps extends DomainOps {
  readonly kind: 'user'
  /** The window that it was made on: it goes to slots of the one RID that has the window. */
  readonly window?: WindowOps
  /**
   * Carries out entries `[from, end)`; absent where the architecture invalidates through the vIOMMU. An empty array asks
   * whether the type fits.
   *
   * @throws Refusal, where `from` is 0 and the whole array is refused
   */
  invalidate?(entries: InvalidateArray, from: number, end: number): InvalidateResult
}

/** A slice of a unit given to one guest. [uAPI IOMMU_VIOMMU_ALLOC] */
export interface ViommuOps {
  readonly driver: IommuDriver
  /** Fields of the data that came with the call to write back, by the uAPI's names. */
  readonly reply?: Readonly<Record<string, number>>
  /** Memory that the guest's owner may map, whole pages; `destroy` lets it go, and core never calls its `release`. */
  readonly page?: RegionMemory
  /** Makes a user domain from the guest's own words. Nothing is read from guest memory yet. */
  createUserDomain(device: DeviceDriver, data: UserData, flags: UserFlags): UserOps
  /** Makes the guest's name of a device known. Core has checked that both names are free. */
  addVdevice(device: DeviceDriver, virtId: bigint): void
  removeVdevice(device: DeviceDriver): void
  /** As `UserOps.invalidate`. Absent: EOPNOTSUPP. */
  invalidate?(entries: InvalidateArray, from: number, end: number): InvalidateResult
  /** Whether it has hardware queues of a type. Absent: none. */
  hasHwQueues?(type: number): boolean
  /**
   * Gives the guest a queue in memory that core has pinned and found contiguous.
   *
   * @param address first physical byte
   * @throws Refusal EINVAL, EEXIST, EIO
   */
  createHwQueue?(index: number, address: number, length: bigint): HwQueueOps
  destroy(): void
}

/** A queue of a guest that hardware reads by itself. [uAPI IOMMU_HW_QUEUE_ALLOC] */
export interface HwQueueOps {
  /** The queue that must outlive it, if any. */
  readonly previous?: HwQueueOps
  destroy(): void
}

/** Flags of a new user domain. */
export interface UserFlags {
  /** It may be attached to PASIDs (IOMMU_HWPT_ALLOC_PASID). */
  readonly pasid: boolean
}

/** Bits of a device's capabilities. [uAPI enum iommufd_hw_capabilities] */
export const HW_CAPABILITY = {
  DIRTY_TRACKING: 1,
  PCI_PASID_EXEC: 2,
  PCI_PASID_PRIV: 4,
  PCI_ATS_NOT_SUPPORTED: 8,
} as const

/** A device's PASID slots are named by number; this one is the RID itself. */
export const RID_SLOT = 0

/** One device behind a unit, as its driver knows it. */
export interface DeviceDriver {
  readonly driver: IommuDriver
  /** RID: bus << 8 | devfn; on SMMUv3 the StreamID. */
  readonly rid: number
  /** PASIDs it can use, PASID 0 included: min of device and unit; 0 without PASIDs. */
  readonly maxPasids: number
  /** Bits of HW_CAPABILITY. */
  readonly capabilities: number
  /** Its unit makes all of its accesses coherent, whatever they ask for. Absent: no. */
  readonly enforcesCoherency?: boolean
  readonly reserved: readonly ReservedRange[]
  readonly hwInfo: HwInfo
  /**
   * Puts a domain into a slot that holds `old` (null: nothing). What the architecture cannot put there is refused and
   * `old` stays. Attach and replace are one operation: the driver updates the entry hitlessly where it can.
   *
   * In the RID's slot a window means: no PASID 0 has a root, and what comes without a PASID bypasses stage 1; a user
   * domain of a window means that the window is there, too, and PASID 0 has that root.
   *
   * @param slot RID_SLOT or a PASID
   */
  set(slot: number, domain: DomainOps, old: DomainOps | null): Completion
  /** Empties a slot: its DMA is blocked from now on. Cannot fail. */
  clear(slot: number, old: DomainOps): Completion
  /**
   * Function-level reset: its ATC and pending transactions go, attachments stay.
   *
   * @param slots only what they have: others' slots are other contexts'. Absent: everything
   */
  reset(slots?: readonly number[]): Completion
  /**
   * Answers the group of page faults that `last` ended. Nothing where the group is gone: detached, reset, answered.
   *
   * @param last what `UnitListener.pageFault` was told and answered true to
   */
  respond?(last: PageFault, isSuccess: boolean): Completion
  /** The device's side of ATS and PRI; absent where device or unit has none. */
  readonly ats?: AtsDoor
  /** The last `set` changed the entry by one store, or through valid states only. Absent: it cannot tell. */
  readonly lastSetWasHitless?: boolean
  readonly port: DmaPort
}

/** What core needs to know of a device before it asks a driver to take it. */
export interface DeviceFacts {
  readonly rid: number
  /** log2 of the PASIDs the device itself can use; 0: none. */
  readonly pasidLg2: number
  readonly ats: boolean
  readonly pri: boolean
  /** Its accesses are coherent whatever a guest's tables say (CANWBS). Absent: no. */
  readonly canwbs?: boolean
  /** It can wait for software where its IOMMU stalls it. Absent: no. */
  readonly stalls?: boolean
  /** PASIDs that may be somebody else's than the rest of it: its mediated devices'. Absent: none. */
  readonly mediatedPasids?: readonly number[]
}

/** One remapping unit and the host driver that programs it. */
export interface IommuDriver {
  /** The platform's name of the unit, such as `smmu0`. */
  readonly name: string
  readonly kind: 'smmuv3' | 'vtd' | 'selftest'
  /** M8: what one user domain binds. */
  readonly userDomainBinds: 'rid-and-all-pasids' | 'rid-or-pasid'
  /**
   * A fault of a PASID to which nothing is attached is the RID's user domain's. Absent: where user domains bind all
   * PASIDs.
   */
  readonly hasUserPasidTables?: boolean
  /** Whether a user domain can be made directly on a nesting parent. Whether the unit nests at all is another question. */
  readonly nestsOnParent: boolean
  /** Why the unit lets nothing through until the daemon starts again. Absent: it works. */
  readonly failure?: string | undefined
  /** Where it tells what happens to devices; core sets it, once. */
  listener?: UnitListener
  /** Writes the entry that blocks the device and makes it known. */
  probe(facts: DeviceFacts): DeviceDriver
  /** @param data what came with the call, if anything; who knows of none refuses it with EOPNOTSUPP */
  createPaging(device: DeviceDriver, flags: PagingFlags, data?: UserData): PagingOps
  /** @throws Refusal EOPNOTSUPP where there are no vIOMMUs of that type for the device */
  checkViommu(device: DeviceDriver, type: number): void
  /** Core has called `checkViommu`, and the parent is a nesting parent of any unit. */
  createViommu(device: DeviceDriver, parent: PagingOps, type: number, data?: UserData): ViommuOps
  /** Makes a user domain directly on a nesting parent; core calls it only where `nestsOnParent`. */
  createUserDomain(device: DeviceDriver, parent: PagingOps, data: UserData, flags: UserFlags): UserOps
  /** The unit's counters, for metrics. */
  counters(): Readonly<Record<string, number>>
}
