/**
 * A reserved window: addresses of a nesting parent that hold a CD table of the host's, so that each PASID can have a
 * root of its own in the guest's memory. The parent's stage 2 stands behind it under a VMID of the window's own, because
 * the ASIDs in it are the host's, and a guest's on the same parent are not.
 */

import {
  type Completion,
  type DeviceDriver,
  type IommuDriver,
  type Range,
  Refusal,
  type UserData,
  type WindowOps,
} from '../../core/driver.js'
import type { AtcOwner } from './atc.js'
import { type StreamShape, windowSte } from './entries.js'
import type { Host } from './host.js'
import { IdAllocator } from './ids.js'
import { IpaPages, type PageRun } from './ipa-pages.js'
import type { StageTwoDomain } from './paging.js'
import { RootDomain } from './root.js'
import { WindowMemory } from './window-memory.js'
import { type TableOwner, WindowTable } from './window-table.js'

const PAGE_BYTES = 4096

/** A window. */
export class Window implements WindowOps {
  readonly kind = 'window'
  readonly driver: IommuDriver
  readonly parent: StageTwoDomain
  readonly vmid: number
  /** Numbers of its roots. */
  readonly asids: IdAllocator
  #owner: AtcOwner | null = null
  takesFaults?: boolean
  readonly #host: Host
  readonly #free = new IpaPages()
  readonly #memory: WindowMemory
  readonly #table: WindowTable
  /** What was backed and not offered yet. */
  #backed: PageRun[] = []

  constructor(host: Host, parent: StageTwoDomain) {
    checkOffered(host, parent)
    this.driver = host.driver
    this.parent = parent
    this.#host = host
    this.asids = new IdAllocator('ASID', host.features.asid16 ? 16 : 8, host.ram.failPoint)
    this.#memory = new WindowMemory(host, parent)
    this.#table = new WindowTable(host, this.#free, this.#memory)
    this.vmid = host.vmids.alloc()
    parent.users++
  }

  /** The device whose CD table it is. */
  get owner(): AtcOwner | null {
    return this.#owner
  }

  /** From now on the TLB may hold what the parent maps under its VMID, too. */
  serve(device: AtcOwner): void {
    this.#owner = device
    this.parent.addVmid(this.vmid)
  }

  /** Its device has let go of it: who has no device costs nobody a command. */
  leave(): void {
    this.#owner = null
    this.parent.removeVmid(this.vmid)
    this.#host.flush.wholeVmid(this.vmid)
    this.#host.commands.sync()
  }

  get freeBytes(): number {
    return this.#free.count * PAGE_BYTES
  }

  get heldBytes(): number {
    return this.#memory.bytes
  }

  back(range: Range): void {
    this.#backed.push(this.#memory.back(range))
  }

  offer(): void {
    for (const run of this.#backed) this.#free.give(run)
    this.#backed = []
    this.#table.begin()
  }

  withdraw(): Completion {
    const runs = this.#backed
    this.#backed = []
    return runs.length === 0 ? undefined : this.#memory.release(runs)
  }

  createUserDomain(device: DeviceDriver, data: UserData): RootDomain {
    if (device.driver !== this.driver) throw new Refusal('EINVAL', 'the device is behind another unit')
    if (data.kind !== 'smmuv3_pgd') {
      const why = 'a user domain on a window is made from one root, smmuv3_pgd; a whole STE goes on a vIOMMU'
      throw new Refusal('EINVAL', why)
    }
    return new RootDomain(this.#host, this, data.read('smmuv3_pgd'))
  }

  /** The STE of the stream that it serves. */
  ste(s1dss: number, stream: StreamShape): Int32Array {
    return windowSte(this.parent.shape(this.vmid), this.#table.shape, s1dss, stream)
  }

  /** Writes the CD of a PASID. @throws as `WindowTable.write` */
  write(owner: TableOwner, pasid: number, cd: Int32Array): boolean {
    return this.#table.write(owner, pasid, cd)
  }

  /** Makes the CD of a PASID invalid. */
  clear(owner: { readonly rid: number }, pasid: number): void {
    this.#table.clear(owner, pasid)
  }

  destroy(): Completion {
    this.#host.vmids.free(this.vmid)
    this.parent.users--
    return this.#memory.releaseAll()
  }
}

function checkOffered({ features }: Host, parent: StageTwoDomain): void {
  if (!parent.isNestParent) throw new Refusal('EINVAL', 'the domain is no nesting parent')
  if (features.ssidSize === 0) {
    throw new Refusal('EOPNOTSUPP', 'a window holds the CDs of PASIDs, and IDR1.SSIDSIZE of this unit is 0')
  }
  // As for a vIOMMU: without it a guest could make its accesses miss the host's caches. [SMMU 5.2 S2FWB]
  if (!features.fwb && !parent.enforcesCoherency) {
    const why = "nesting needs IDR3.FWB or a CANWBS device, so that a guest cannot bypass the host's caches"
    throw new Refusal('EOPNOTSUPP', why)
  }
}
