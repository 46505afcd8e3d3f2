/**
 * The emulated machine as core sees it: memory that clients may register, the platform's devices, and private raw
 * units. Implemented by `drivers/machine.ts`; core carries these and never looks inside.
 */

import type { DeviceDriver, DmaOutcome, DmaRun, ExplainStep, IommuDriver } from './driver.js'
import type { SelftestUnit } from './selftest-unit.js'
import type { CacheMode, UnitCaches } from './unit-caches.js'
import type { OracleSetting, UnitOracle } from './unit-oracle.js'

export type { SelftestEvent, SelftestUnit } from './selftest-unit.js'
export type { CacheFacts, CacheMode, UnitCaches } from './unit-caches.js'
export type {
  Concerns,
  OracleMode,
  OracleNumbers,
  OracleSetting,
  OwnInvalidation,
  SentText,
  StaleFacts,
  UnitOracle,
} from './unit-oracle.js'

/** Bytes that a client registered; placed in physical memory by the machine. */
export interface RegionMemory {
  /** First physical byte on the platform's bus; never told to a client. */
  readonly address: number
  readonly lengthBytes: number
  readonly writable: boolean
  /** Bytes of this process that it occupies now. */
  readonly residentBytes: number
  /** Copies out; the range has been checked against `lengthBytes`. */
  read(offset: number, into: Uint8Array): void
  /**
   * Copies in, all or nothing; the range and `writable` have been checked.
   *
   * @throws Refusal EDQUOT, where `holdBytes` threw it
   */
  write(offset: number, from: Uint8Array): void
  /** Takes it off every bus and lets it go. Nothing maps it any more. */
  release(): void
}

/**
 * Charges bytes that a region is about to hold in this process; they count until its release.
 *
 * @throws Refusal EDQUOT; then they are not held
 */
export type HoldBytes = (bytes: number) => void

/** Where a region's bytes come from. */
export type RegionSource =
  | { readonly kind: 'anonymous'; readonly lengthBytes: number }
  | {
      readonly kind: 'file'
      /** Absolute path under an allow-listed directory. */
      readonly path: string
      /** Byte offset, a multiple of 4096. */
      readonly offset: number
      readonly lengthBytes: number
      readonly writable: boolean
    }

/** One device of the platform. */
export interface PlatformDevice {
  /** `segment:bus:dev.fn`, such as `0000:00:01.0`. */
  readonly name: string
  readonly driver: IommuDriver
  readonly device: DeviceDriver
  /** It has ATS. Absent: no. */
  readonly ats?: boolean
  /** It has PRI. Absent: no. */
  readonly pri?: boolean
  /** A mediated device is one PASID of its parent. */
  readonly mediated?: { readonly parent: string; readonly pasid: number }
}

/** A unit of the platform. */
export interface PlatformUnitInfo {
  readonly driver: IommuDriver
  /** As software reads them, by the manual's name; 32-bit ones zero-extended. */
  readonly idRegisters: ReadonlyMap<string, bigint>
  /** Absent: it is no emulated hardware. */
  readonly caches?: UnitCaches
  /** There where there are caches. */
  readonly oracle?: UnitOracle
}

/** How a raw unit is made: a preset and single registers that differ from it. */
export interface RawUnitSpec {
  readonly type: 'smmuv3' | 'vtd'
  /** A named part's ID registers; empty for the default of the type. */
  readonly preset: string
  /** ID registers by the manual's name (`IDR0`, `CAP` …). */
  readonly overrides: ReadonlyMap<string, bigint>
  readonly caches: CacheMode
  /** Where chance starts, for `random`. Absent: 0. */
  readonly seed?: number
  /** Absent: the machine's default. */
  readonly oracle?: OracleSetting
}

/** A register access of a raw unit. */
export interface RegisterAccess {
  readonly offset: number
  readonly bytes: 4 | 8
}

/** Something a raw unit told its owner: a message-signalled or wired interrupt. */
export interface UnitEvent {
  readonly kind: 'message' | 'interrupt'
  readonly address: number
  readonly data: number
  readonly source: string
}

/** What a stream of a raw unit sends. The struct is reused. Both halves of an address are 32 bits. */
export interface StreamRequest {
  sourceId: number
  /** The PASID on the request, or -1 for none. */
  pasid: number
  lo: number
  hi: number
  /** Bits of DMA_ACCESS. */
  access: number
  /** One of DMA_REQUEST. */
  type: number
}

/** A PRI Page Request of a stream. */
export interface StreamPageRequest extends Omit<StreamRequest, 'type'> {
  /** Page Request Group Index, 9 bits. */
  readonly group: number
  readonly isLast: boolean
}

/** An ATS Invalidate Request to a stream. It holds during the call alone. */
export interface StreamInvalidation {
  /** Names it in `RawUnit.completeInvalidation`; never used twice by one unit. */
  readonly tag: number
  readonly sourceId: number
  /** PASID of the translations to forget, or -1 for those that were obtained without one. */
  readonly pasid: number
  /** Those of every PASID. */
  readonly allPasids: boolean
  /** First byte, a multiple of the size. */
  readonly lo: number
  readonly hi: number
  /** log2 of the bytes, 12 to 64. */
  readonly sizeLg2: number
}

export { PAGE_RESPONSE } from './device-events.js'

/** What a raw unit sends to the streams in front of it. It waits for no answer, and may be in the middle of its work. */
export interface StreamPort {
  /** The stream is to forget translations; `RawUnit.completeInvalidation` says that it has. */
  invalidate(invalidation: StreamInvalidation): void
  /** @param code one of PAGE_RESPONSE, or another that PCIe reserves */
  respondToPages(sourceId: number, pasid: number, group: number, code: number): void
  /** A request that was PENDING ended; `outcome` holds during the call alone. */
  ended(tag: number, outcome: DmaOutcome): void
}

/** A private unit on a private bus, driven by its owner's registers and memory alone. */
export interface RawUnit {
  readonly kind: 'smmuv3' | 'vtd'
  readonly preset: string
  readonly registerBytes: number
  /** As software reads them, by the manual's name; 32-bit ones zero-extended. */
  readonly idRegisters: ReadonlyMap<string, bigint>
  /** Puts a region on the unit's bus. EEXIST where another stands, EINVAL where misaligned to 64 KiB. */
  placeRegion(region: RegionMemory, address: number): void
  removeRegion(region: RegionMemory): void
  readRegister(access: RegisterAccess): bigint
  /** Writes a register, and does a bounded part of what that starts. */
  writeRegister(access: RegisterAccess, value: bigint): void
  /** Something in memory waits for the unit: what a write started has not all happened. */
  readonly hasWork: boolean
  /** Does a bounded part of it. */
  run(): void
  /** Its ID registers offer that it holds requests until software answers. */
  readonly stalls: boolean
  /** Its ID registers offer page requests. */
  readonly takesPageRequests: boolean
  translate(request: StreamRequest, out: DmaOutcome): void
  /**
   * As `DmaPort.translateRun` of untranslated requests, but one may be PENDING: that ends the run, too. Absent: single
   * requests do it.
   *
   * @param like the PASID of all requests
   * @param sourceIds one for all, or one each
   */
  translateRun?(
    like: StreamRequest,
    sourceIds: Uint32Array,
    run: DmaRun,
    from: number,
    end: number,
    out: DmaOutcome,
  ): number
  /** A struct for outcomes of the very kind that it fills fastest. Absent: any will do. */
  newOutcome?(): DmaOutcome
  explain(request: StreamRequest, out: DmaOutcome): readonly ExplainStep[]
  /** What the caches alone answer, and nothing is touched; false, and `out` is void, where they do not. */
  peek(request: StreamRequest, out: DmaOutcome): boolean
  /** The invalidations that would make the unit answer what memory says; empty where it does. */
  missing(request: StreamRequest): string
  /** Its group is answered through the port, perhaps from inside this call. Only where it takes page requests. */
  requestPage(request: StreamPageRequest): void
  /**
   * A stream has forgotten translations, or did not say so in time. What that sets going is done in part.
   *
   * @returns false where no invalidation of that tag is outstanding, or where the unit hears no completion now
   */
  completeInvalidation(tag: number, timedOut: boolean): boolean
  faultName(fault: number): string
  counters(): Readonly<Record<string, number>>
  readonly caches: UnitCaches
  readonly oracle: UnitOracle
  /** Events since the last call; at most `limit` are kept, then `lost` counts. */
  takeEvents(): { readonly events: readonly UnitEvent[]; readonly lost: number }
  /** Back to power-on; memory is left alone. */
  reset(): void
  destroy(): void
}

/** The machine. */
export interface Machine {
  readonly units: readonly PlatformUnitInfo[]
  /** Those of the platform, and test devices as long as they are there. */
  readonly devices: readonly PlatformDevice[]
  /** The kernel's self-test unit, one of `units`; absent where it was not asked for. */
  readonly selftest?: SelftestUnit
  /** Folders under which `file` regions may be opened. */
  readonly fileRoots: readonly string[]
  /**
   * @throws Refusal EACCES (path not allowed), ENOENT (no such file), EINVAL (range outside the file), ENOMEM
   */
  createRegion(source: RegionSource, holdBytes: HoldBytes): RegionMemory
  /**
   * @throws Refusal ENOENT (no such preset), EINVAL (an override the model cannot honour; names register and bit),
   * EOPNOTSUPP (caches that units of this type cannot have)
   */
  createRawUnit(spec: RawUnitSpec, streams: StreamPort): RawUnit
  /** Reads physical memory that a DMA was translated to; answers the bytes there were. */
  readPhysical(address: number, into: Uint8Array): number
  /** @throws Refusal EDQUOT, where a region's `holdBytes` threw it */
  writePhysical(address: number, from: Uint8Array): number
  /** The region that holds a physical address, if it is a client's. */
  regionAt(address: number): { readonly region: RegionMemory; readonly offset: number } | undefined
}
