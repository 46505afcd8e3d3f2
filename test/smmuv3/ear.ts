/** A listener that keeps what a unit tells, and a guest's nested tables, for the driver's tests. */

import type {
  AtsInvalidation,
  DeviceDriver,
  DmaOutcome,
  PageFault,
  PagingOps,
  UnitListener,
  UserOps,
  ViommuOps,
} from '../../server/core/driver.js'
import { givenData } from '../../server/core/driver.js'
import { GUEST_RAM, PARENT, RW, type World } from './world.js'

/** Keeps what it hears. */
export class Ear implements UnitListener {
  readonly faults: PageFault[] = []
  /** `tag status`, and for status 1 the address. */
  readonly ends: string[] = []
  readonly vevents: { viommu: ViommuOps; type: number; words: readonly number[]; name: string }[] = []
  readonly asked: string[] = []
  readonly answers: string[] = []
  /** What `pageFault` answers. */
  takes = true
  /** What `viommuEvent` answers. */
  hasQueue = true
  /** What `invalidate` answers. */
  holds: Promise<boolean> | undefined = undefined

  pageFault(_device: DeviceDriver, fault: PageFault): boolean {
    this.faults.push(fault)
    return this.takes
  }

  viommuEvent(viommu: ViommuOps, type: number, words: readonly number[], name: string): boolean {
    this.vevents.push({ viommu, type, words, name })
    return this.hasQueue
  }

  ended(_device: DeviceDriver, tag: number, { status, address }: DmaOutcome): void {
    this.ends.push(status === 1 ? `${tag} ok ${address.toString(16)}` : `${tag} ${status}`)
  }

  invalidate(
    device: DeviceDriver,
    { pasid, allPasids, lo, hi, sizeLg2 }: AtsInvalidation,
  ): Promise<boolean> | undefined {
    const at = (BigInt(hi) << 32n) | BigInt(lo)
    this.asked.push(`${device.rid} ${allPasids ? 'all' : pasid} ${at.toString(16)} ${sizeLg2}`)
    return this.holds
  }

  respondToPages(device: DeviceDriver, pasid: number, group: number, code: number): void {
    this.answers.push(`${device.rid} ${pasid} ${group} ${code}`)
  }
}

/** The guest's RAM in its own addresses. */
export const IPA = 0x4000_0000n
const CDS = 0x10_0000
/** The guest's name of the device `a`. */
export const VSID = 77n

/** A guest with tables of its own, whose VA 0x1000 is its byte 0x700000. */
export class NestedGuest {
  readonly parent: PagingOps
  readonly viommu: ViommuOps
  readonly #world: World

  /** @param cd bits of the first word of its CD beside the ordinary ones */
  constructor(world: World, cd = 0n) {
    this.#world = world
    this.parent = world.driver.createPaging(world.a, PARENT)
    this.parent.map(IPA, GUEST_RAM, 0x4000_0000n, RW)
    this.viommu = world.driver.createViommu(world.a, this.parent)
    const tables = 0x20_0000
    for (let level = 0; level < 3; level++) {
      world.poke(GUEST_RAM + tables + level * 4096, IPA + BigInt(tables + (level + 1) * 4096) + 3n)
    }
    this.map(1, IPA + 0x70_0000n)
    world.poke(GUEST_RAM + CDS, 0x0001_e205_c000_3510n | cd)
    world.poke(GUEST_RAM + CDS + 8, IPA + BigInt(tables))
  }

  /** A page of the lowest 2 MiB of VAs; 0 takes it out. */
  map(page: number, ipa: bigint): void {
    this.#world.poke(GUEST_RAM + 0x20_3000 + page * 8, ipa === 0n ? 0n : ipa | 0xf43n)
  }

  /** A user domain from two words of its STE; without them, stage 1 with 8 CDs, SSID 0 without a PASID. */
  domain(ste0 = (3n << 59n) | (IPA + BigInt(CDS)) | 0xbn, ste1 = 2n): UserOps {
    return this.viommu.createUserDomain(this.#world.a, givenData('smmuv3_ste', { ste0, ste1 }), { pasid: false })
  }
}
