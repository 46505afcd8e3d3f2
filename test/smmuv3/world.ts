/** A host with one SMMUv3 behind its host driver, for the driver's tests. */

import { SparseBacking } from '../../hw-model/memory/backing.js'
import { Memory } from '../../hw-model/memory/memory.js'
import { ACCESS, Outcome, STATUS } from '../../hw-model/port.js'
import type { CacheOptions, IdOverrides } from '../../hw-model/smmuv3/index.js'
import type { DeviceDriver, DeviceFacts, PagingFlags, Refusal } from '../../server/core/driver.js'
import { HostRam } from '../../server/drivers/host-ram.js'
import {
  createSmmuV3Driver,
  type SmmuEvent,
  type SmmuReport,
  type SmmuV3Driver,
} from '../../server/drivers/smmuv3/index.js'

/** May be read and written. */
export const RW = { read: true, write: true }
/** Where the guest's RAM is. */
export const GUEST_RAM = 2 ** 40
/** Flags of paging domains. */
export const PLAIN: PagingFlags = { nestParent: false, dirtyTracking: false, pasid: false }
export const PARENT: PagingFlags = { ...PLAIN, nestParent: true }
export const PASID: PagingFlags = { ...PLAIN, pasid: true }

/** What is unusual about a host. */
export interface WorldOptions {
  readonly caches?: CacheOptions
  /** Called before the driver makes anything. */
  readonly failPoint?: (what: string) => void
  /** For units that have few streams. */
  readonly ridOfB?: number
}

/** A host with one unit, two devices, and RAM of a guest at 2^40. */
export class World {
  readonly memory = new Memory()
  readonly ram: HostRam
  readonly driver: SmmuV3Driver
  readonly events: SmmuEvent[] = []
  /** What the operator is told. */
  readonly reports: SmmuReport[] = []
  readonly a: DeviceDriver
  readonly b: DeviceDriver

  /** @param facts of the device `a` */
  constructor(
    overrides: IdOverrides = {},
    facts: Partial<DeviceFacts> = {},
    { caches, failPoint, ridOfB = 0x1234 }: WorldOptions = {},
  ) {
    this.ram = new HostRam(this.memory, 2 ** 33, 2 ** 30, failPoint)
    this.memory.place(GUEST_RAM, new SparseBacking(2 ** 30))
    this.driver = createSmmuV3Driver({
      name: 'smmu0',
      memory: this.memory,
      ram: this.ram,
      overrides,
      ...(caches === undefined ? {} : { caches }),
      onEvent: (event) => this.events.push(event),
      onReport: (report) => this.reports.push(report),
    })
    this.a = this.driver.probe({ rid: 8, pasidLg2: 20, ats: false, pri: false, ...facts })
    this.b = this.driver.probe({ rid: ridOfB, pasidLg2: 0, ats: false, pri: false })
  }

  poke(address: number, word: bigint): void {
    this.memory.storeWord(address, Number(BigInt.asIntN(32, word)), Number(BigInt.asIntN(32, word >> 32n)))
  }

  dma(device: DeviceDriver, address: bigint, pasid = -1, access: number = ACCESS.READ): string {
    const out = new Outcome()
    device.port.translate(pasid, Number(address & 0xffffffffn), Number(address >> 32n), access, out)
    if (out.status === STATUS.OK) return `ok ${out.address.toString(16)}`
    if (out.status === STATUS.PENDING) return `pending ${out.tag}`
    return out.status === STATUS.ABORTED ? 'aborted' : device.port.faultName(out.fault)
  }

  /** The eight 64-bit words of a stream's entry, as they stand in memory. */
  ste(device: DeviceDriver): bigint[] {
    return this.words(this.steAddress(device), 8)
  }

  steAddress(device: DeviceDriver): number {
    const base = this.register(0x80, 8) & 0xf_ffff_ffff_ffc0n
    const leaf = this.peek(Number(base) + Math.floor(device.rid / 256) * 8) & 0xf_ffff_ffff_ffc0n
    return Number(leaf) + (device.rid % 256) * 64
  }

  peek(address: number): bigint {
    this.memory.loadWord(address)
    return (BigInt(this.memory.hi >>> 0) << 32n) | BigInt(this.memory.lo >>> 0)
  }

  words(address: number, count: number): bigint[] {
    return Array.from({ length: count }, (_, i) => this.peek(address + i * 8))
  }

  register(offset: number, bytes: 4 | 8): bigint {
    const [lo, hi] = this.driver.unit.readRegister(offset, bytes)
    return (BigInt(hi) << 32n) | BigInt(lo)
  }
}

/** The errno of a refusal. */
export function refusal(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    return (error as Refusal).name
  }
  return 'no refusal'
}
