/**
 * What a unit tells of the devices behind it, and the doors through which devices talk to it beyond plain DMA. A driver
 * calls its listener from inside a DMA or an operation of its own, as soon as it has read the unit's records; so what a
 * call caused can be seen when its reply leaves.
 */

import type { DeviceDriver, DmaOutcome, ExplainStep, ViommuOps } from './driver.js'

/** A page that a device waits for: a stalled request, or a PRI page request. [uAPI struct iommu_hwpt_pgfault] */
export interface PageFault {
  /** The PASID, or -1 for a request without one. */
  readonly pasid: number
  /** Names the group of the device: the stall's tag, or PRI's group index. */
  readonly group: number
  /** The last of its group; a stall is one by itself. */
  readonly isLast: boolean
  /** Bits of DMA_ACCESS. */
  readonly access: number
  readonly address: bigint
  /** The driver's own, to find what waits. */
  readonly waits?: unknown
}

/** Codes of a page response, as PCIe sends them; the numbers are the hardware model's. */
export const PAGE_RESPONSE = { SUCCESS: 0b0000, INVALID: 0b0001, FAILURE: 0b1111 } as const

/** What a device is to forget: an ATS Invalidate Request. It holds during the call alone. */
export interface AtsInvalidation {
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

/** A PRI page request of a device. */
export interface AtsPageRequest {
  /** The PASID on the request, or -1 for none. */
  readonly pasid: number
  readonly lo: number
  readonly hi: number
  /** Bits of DMA_ACCESS. */
  readonly access: number
  /** Page Request Group Index, 9 bits. */
  readonly group: number
  readonly isLast: boolean
}

/** What a device keeps, as its unit's oracle looks at it. */
export interface KeptTranslations {
  /** What it would use for an address: `address`, `leafLg2` and `rights` of `out`. False for nothing. */
  lookUp(pasid: number, isPrivileged: boolean, lo: number, hi: number, out: DmaOutcome): boolean
}

/** A device's side of ATS and PRI. */
export interface AtsDoor {
  /** The device may ask for pages. */
  readonly takesPageRequests: boolean
  /** An ATS Translation Request, answered at once. */
  request(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void
  /** The steps of what `request` would do, dry: a table may allow the access and not the request. */
  explainRequest(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): readonly ExplainStep[]
  /**
   * An access with an address that the device says was translated. Core has looked the page up in its book of what was
   * given to this device and not taken back.
   */
  translated(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void
  /**
   * The device was given a translation of an IOVA, or is about to use the one that it keeps; the unit's oracle, if it is
   * on, compares that with memory. False where it ends such a use ABORTED.
   */
  used(pasid: number, lo: number, hi: number, access: number, kept: KeptTranslations): boolean
  /** Its group is answered through `UnitListener.respondToPages`, perhaps from inside this call. */
  requestPage(request: AtsPageRequest): void
}

/** Who hears of what happens to devices: core. */
export interface UnitListener {
  /**
   * A device waits for a page. Asked only where the slot's domain, or the user domain that holds the slot, takes faults.
   *
   * @returns whether somebody will answer through `DeviceDriver.respond`; if not the driver answers INVALID itself, where
   * the fault is the last of its group: one that is not is answered with its group, or never
   */
  pageFault(device: DeviceDriver, fault: PageFault): boolean
  /**
   * An event of a guest's vIOMMU, in the guest's own names.
   *
   * @param type of the event queue it is for [uAPI enum iommu_veventq_type]
   * @param words the record, 32 bits each, low first; the listener's own copy
   * @param name in the manual, such as `F_TRANSLATION`
   * @returns whether there is a queue of that type; one that is full has lost the event, and says so
   */
  viommuEvent(viommu: ViommuOps, type: number, words: readonly number[], name: string): boolean
  /**
   * A request of `DmaPort` that was PENDING ended, perhaps inside the `translate` that is about to say PENDING; `outcome`
   * holds during the call alone.
   */
  ended(device: DeviceDriver, tag: number, outcome: DmaOutcome): void
  /**
   * The device is to forget translations. A driver asks when the unit has forgotten them, and before it queues the
   * unit's own command, which is then completed at once: a unit's queue never waits for a client.
   *
   * @returns undefined where nobody holds any; else when they are forgotten, and false if nobody said so in time: the
   * unit's command fails, and core lets the device do nothing until it is reset. It never rejects.
   */
  invalidate(device: DeviceDriver, invalidation: AtsInvalidation): Promise<boolean> | undefined
  /** A group of page requests was answered. @param code one of PAGE_RESPONSE, or another that PCIe reserves */
  respondToPages(device: DeviceDriver, pasid: number, group: number, code: number): void
}
