/**
 * What core sees of the kernel's self-test IOMMU: pages of 2 KiB, an aperture that begins at 16 MiB, a second table
 * format with pages of 1 MiB, devices that come and go. It keeps no tables: a recording shows none.
 */

import {
  type DeviceDriver,
  type DirtyOps,
  type DomainOps,
  type HwInfo,
  type IommuDriver,
  type PagingFlags,
  type PagingOps,
  type Range,
  Refusal,
  type UserOps,
  type ViommuOps,
} from '../../server/core/driver.js'
import type { Machine, PlatformDevice } from '../../server/core/machine.js'
import { FakeMachine } from '../core/fake-machine.js'

/** Flags of a test device. */
export const MOCK_DEVICE = { NO_DIRTY: 1, PASID: 4 } as const

/** Table formats that a paging domain may ask for. */
const TABLES = [
  { pageSizes: 0x0010_0800n, aperture: { start: 0x100_0000n, last: 0x7fff_ffffn } },
  { pageSizes: 0x0010_1000n, aperture: { start: 0n, last: 2n ** 38n - 1n } },
] as const

const PASIDS_LG2 = 20
/** The second set of this PASID in a row fails. */
const SPECIAL_PASID = 1024

const DIRTY_AND_NO_ATS = 9
const NO_ATS = 8

/** The test driver. */
export class MockDriver implements IommuDriver {
  readonly name = 'mock'
  // Core asks for no more of it than that user domains are made on the parent.
  readonly kind = 'vtd'
  readonly userDomainBinds = 'rid-or-pasid'
  readonly nestsOnParent = true
  /** The format of the next paging domain, which no typed call can name. */
  nextTable = 0

  probe(): DeviceDriver {
    throw new Error('test devices are made by their own call')
  }

  createPaging(_device: DeviceDriver, flags: PagingFlags): MockPaging {
    const table = TABLES[this.nextTable]
    if (table === undefined) throw new Refusal('EOPNOTSUPP', `there is no table format ${this.nextTable}`)
    return new MockPaging(this, flags, table)
  }

  checkViommu(): void {}

  createViommu(): ViommuOps {
    throw new Error('test vIOMMUs are made by hand')
  }

  createUserDomain(_device: DeviceDriver, parent: PagingOps): UserOps {
    return this.userOps((parent as MockPaging).flags)
  }

  /** @param viommu the test vIOMMU that it is made on, if any */
  userOps(parent: PagingFlags, viommu?: MockViommu): MockUser {
    return new MockUser(this, parent, viommu)
  }

  counters(): Record<string, number> {
    return {}
  }
}

/** Names of devices in a test vIOMMU. */
export class MockViommu implements ViommuOps {
  readonly known = new Set<DeviceDriver>()

  constructor(
    readonly driver: MockDriver,
    readonly parent: PagingFlags,
  ) {}

  createUserDomain(): UserOps {
    return this.driver.userOps(this.parent, this)
  }

  addVdevice(device: DeviceDriver): void {
    this.known.add(device)
  }

  removeVdevice(device: DeviceDriver): void {
    this.known.delete(device)
  }

  invalidate(): never {
    throw new Error('entries of the test driver have no typed message')
  }

  destroy(): void {}
}

class MockUser implements UserOps {
  readonly kind = 'user'

  constructor(
    readonly driver: MockDriver,
    readonly parent: PagingFlags,
    readonly viommu: MockViommu | undefined,
  ) {}

  invalidate(): never {
    throw new Error('entries of the test driver have no typed message')
  }

  destroy(): void {}
}

class MockPaging implements PagingOps {
  readonly kind = 'paging'
  readonly isNestParent: boolean
  readonly pageSizes: bigint
  readonly aperture: Range
  readonly tableBytes = 0
  readonly dirty: DirtyOps | undefined

  constructor(
    readonly driver: MockDriver,
    readonly flags: PagingFlags,
    table: { readonly pageSizes: bigint; readonly aperture: Range },
  ) {
    this.isNestParent = flags.nestParent
    if (flags.dirtyTracking) this.dirty = { setTracking: () => undefined, collect: () => undefined }
    this.pageSizes = table.pageSizes
    this.aperture = table.aperture
  }

  map(): void {}
  unmap(): void {}
  flush(): undefined {}
  destroy(): void {}
}

/** A test device. */
class MockDevice implements DeviceDriver {
  readonly rid: number
  readonly maxPasids: number
  readonly capabilities: number
  readonly reserved = []
  readonly hwInfo: HwInfo = { kind: 'vtd', flags: 0, cap: 0n, ecap: 0n }
  readonly #canTrackDirty: boolean
  #specialIsArmed = false

  constructor(
    readonly driver: MockDriver,
    rid: number,
    flags: number,
  ) {
    this.rid = rid
    // The test driver says 1 where others say 0.
    this.maxPasids = (flags & MOCK_DEVICE.PASID) !== 0 ? 2 ** PASIDS_LG2 : 1
    this.#canTrackDirty = (flags & MOCK_DEVICE.NO_DIRTY) === 0
    this.capabilities = this.#canTrackDirty ? DIRTY_AND_NO_ATS : NO_ATS
  }

  get port(): never {
    throw new Error('test devices make no DMA of their own')
  }

  set(slot: number, domain: DomainOps): undefined {
    if (domain instanceof MockPaging && domain.flags.dirtyTracking && !this.#canTrackDirty) {
      throw new Refusal('EINVAL', 'the domain tracks dirty pages, and the device does not')
    }
    const needsName = slot === 0 && domain instanceof MockUser && domain.viommu?.known.has(this) === false
    if (needsName) throw new Refusal('ENOENT', 'the device has no vDEVICE in that vIOMMU')
    if (slot !== SPECIAL_PASID) return
    this.#specialIsArmed = !this.#specialIsArmed
    if (!this.#specialIsArmed) throw new Refusal('ENOMEM', 'the second set of this PASID fails')
  }

  clear(slot: number): undefined {
    if (slot === SPECIAL_PASID) this.#specialIsArmed = false
  }

  reset(): undefined {}
}

/** A machine to which test devices are added. */
export class MockMachine extends FakeMachine {
  readonly driver = new MockDriver()
  readonly #devices: PlatformDevice[] = []

  constructor() {
    super([], [])
    Object.defineProperty(this, 'devices', { value: this.#devices })
  }

  /** Adds a device; answers its name. */
  addDevice(flags: number): string {
    const rid = this.#devices.length
    const name = `test-${rid}`
    this.#devices.push({ name, driver: this.driver, device: new MockDevice(this.driver, rid, flags) })
    return name
  }
}

/** The machine as core takes it. */
export const mockMachine = (): MockMachine & Machine => new MockMachine()
