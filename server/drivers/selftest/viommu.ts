/** vIOMMUs of the self-test unit: names of devices, a page that their owner may map, and two hardware queues. */

import {
  type DeviceDriver,
  type HwQueueOps,
  type InvalidateArray,
  type InvalidateResult,
  type IommuDriver,
  Refusal,
  type UserData,
  type UserOps,
  type ViommuOps,
} from '../../core/driver.js'
import type { RegionMemory } from '../../core/machine.js'
import type { SelftestDevice } from './device.js'
import { checkEntry, forget, type SelftestPaging, SelftestUser } from './domains.js'
import { CACHE_ENTRIES, HW_QUEUE_TYPE, HW_QUEUES, VIOMMU_PAGE_BYTES } from './formats.js'

/** Memory for a page that clients may map. */
export type MakePage = (lengthBytes: number) => RegionMemory

/** A guest's slice of the unit. */
export class SelftestViommu implements ViommuOps {
  readonly driver: IommuDriver
  readonly parent: SelftestPaging
  readonly reply?: Readonly<Record<string, number>>
  readonly page?: RegionMemory
  readonly #devices = new Map<bigint, SelftestDevice>()
  readonly #queues: (SelftestQueue | undefined)[] = Array(HW_QUEUES).fill(undefined)

  /** With data it has a page, whose first word is what the data says. */
  constructor(driver: IommuDriver, parent: SelftestPaging, makePage: MakePage, data?: UserData) {
    this.driver = driver
    this.parent = parent
    if (data === undefined) return
    const { inData } = data.read('selftest_viommu')
    this.page = makePage(VIOMMU_PAGE_BYTES)
    this.page.write(0, Uint8Array.of(inData, inData >>> 8, inData >>> 16, inData >>> 24))
    this.reply = { out_data: inData }
  }

  /** The guest's name of a device; undefined: it has none here. */
  nameOf(device: DeviceDriver): bigint | undefined {
    for (const [virtId, known] of this.#devices) if (known === device) return virtId
    return undefined
  }

  createUserDomain(_device: DeviceDriver, data: UserData): UserOps {
    return userDomain(this.driver, this.parent, data, this)
  }

  addVdevice(device: DeviceDriver, virtId: bigint): void {
    this.#devices.set(virtId, device as SelftestDevice)
  }

  removeVdevice(device: DeviceDriver): void {
    const virtId = this.nameOf(device)
    if (virtId !== undefined) this.#devices.delete(virtId)
  }

  /** Forgets entries of devices' caches. [uAPI struct iommu_viommu_invalidate_selftest] */
  invalidate(entries: InvalidateArray, from: number, end: number): InvalidateResult {
    if (entries.kind !== 'selftest_viommu') {
      throw new Refusal('EINVAL', 'a vIOMMU of the self-test unit takes entries of its own type')
    }
    if (end === 0) return { done: 0, completion: undefined }
    let done = 0
    for (const { flags, vdevId, cacheId } of entries.copied('selftest_viommu', from, end)) {
      try {
        checkEntry({ length: CACHE_ENTRIES }, flags, cacheId)
        const device = this.#devices.get(BigInt(vdevId))
        if (device === undefined) throw new Refusal('EINVAL', 'no vDEVICE has this virtual id', { virt_id: vdevId })
        forget(device.cache, flags, cacheId)
      } catch (error) {
        if (!(error instanceof Refusal)) throw error
        return { done, refusal: error, completion: undefined }
      }
      done++
    }
    return { done, completion: undefined }
  }

  hasHwQueues(type: number): boolean {
    return type === HW_QUEUE_TYPE
  }

  /** Queues are filled in order, and each needs the one before it. */
  createHwQueue(index: number): HwQueueOps {
    if (index >= HW_QUEUES) throw new Refusal('EINVAL', `a vIOMMU has ${HW_QUEUES} hardware queues`, { index })
    if (this.#queues[index] !== undefined) {
      throw new Refusal('EEXIST', `hardware queue ${index} is there already`, { index })
    }
    const previous = index === 0 ? undefined : this.#queues[index - 1]
    if (index > 0 && previous === undefined) {
      throw new Refusal('EIO', `hardware queue ${index} comes after queue ${index - 1}, which is not there`, { index })
    }
    const queue: SelftestQueue = { previous, destroy: () => (this.#queues[index] = undefined) }
    this.#queues[index] = queue
    return queue
  }

  destroy(): void {
    this.page?.release()
  }
}

type SelftestQueue = HwQueueOps

/** Makes a user domain from a client's data. @throws Refusal EOPNOTSUPP (other data), EINVAL, EFAULT */
export function userDomain(
  driver: IommuDriver,
  parent: SelftestPaging,
  data: UserData,
  viommu?: SelftestViommu,
): SelftestUser {
  if (data.kind !== 'selftest') {
    throw new Refusal('EOPNOTSUPP', 'user domains of the self-test unit take data of its own type', {
      given: data.kind ?? 'an unknown type',
    })
  }
  return new SelftestUser(driver, parent, data.read('selftest').iotlb, viommu)
}
