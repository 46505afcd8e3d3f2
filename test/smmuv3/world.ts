/** A host with one SMMUv3 behind its host driver, for the driver's tests. */

import { SparseBacking } from '../../hw-model/memory/backing.js'
import { Memory } from '../../hw-model/memory/memory.js'
import { ACCESS, Outcome, STATUS } from '../../hw-model/port.js'
import type { IdOverrides } from '../../hw-model/smmuv3/index.js'
import type { DeviceDriver, PagingFlags, Refusal } from '../../server/core/driver.js'
import { HostRam } from '../../server/drivers/host-ram.js'
import { createSmmuV3Driver, type SmmuEvent, type SmmuV3Driver } from '../../server/drivers/smmuv3/index.js'

/** May be read and written. */
export const RW = { read: true, write: true }
/** Where the guest's RAM is. */
export const GUEST_RAM = 2 ** 40
/** Flags of paging domains. */
export const PLAIN: PagingFlags = { nestParent: false, dirtyTracking: false, pasid: false }
export const PARENT: PagingFlags = { ...PLAIN, nestParent: true }
export const PASID: PagingFlags = { ...PLAIN, pasid: true }

/** A host with one unit, two devices, and RAM of a guest at 2^40. */
export class World {
  readonly memory = new Memory()
  readonly ram: HostRam
  readonly driver: SmmuV3Driver
  readonly events: SmmuEvent[] = []
  readonly a: DeviceDriver
  readonly b: DeviceDriver

  constructor(overrides: IdOverrides = {}) {
    this.ram = new HostRam(this.memory, 2 ** 33, 2 ** 30)
    this.memory.place(GUEST_RAM, new SparseBacking(2 ** 30))
    this.driver = createSmmuV3Driver({
      name: 'smmu0',
      memory: this.memory,
      ram: this.ram,
      overrides,
      onEvent: (event) => this.events.push(event),
    })
    this.a = this.driver.probe({ rid: 8, pasidLg2: 20, ats: false, pri: false })
    this.b = this.driver.probe({ rid: 0x1234, pasidLg2: 0, ats: false, pri: false })
  }

  poke(address: number, word: bigint): void {
    this.memory.storeWord(address, Number(BigInt.asIntN(32, word)), Number(BigInt.asIntN(32, word >> 32n)))
  }

  dma(device: DeviceDriver, address: bigint, pasid = -1, access: number = ACCESS.READ): string {
    const out = new Outcome()
    device.port.translate(pasid, Number(address & 0xffffffffn), Number(address >> 32n), access, out)
    if (out.status === STATUS.OK) return `ok ${out.address.toString(16)}`
    return out.status === STATUS.ABORTED ? 'aborted' : device.port.faultName(out.fault)
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
