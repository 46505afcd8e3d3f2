/** A machine of maps and lists: enough of a driver to see what core asks of it, and to refuse the n-th thing asked. */

import type {
  Completion,
  DeviceDriver,
  IommuDriver,
  PageFault,
  PagingFlags,
  PagingOps,
  Protection,
  ReservedRange,
  UnitListener,
  UserData,
  UserOps,
} from '../../server/core/driver.js'
import { Refusal } from '../../server/core/driver.js'
import type {
  Machine,
  PlatformDevice,
  RawUnit,
  RawUnitSpec,
  RegionMemory,
  RegionSource,
  StreamPort,
} from '../../server/core/machine.js'
import { FakeDevice } from './fake-device.js'
import { FakeDirty } from './fake-dirty.js'
import { FakeCaches, FakeMemory, FakeOracle, FakeRawUnit } from './fake-parts.js'
import { FakeViommu, QUEUED } from './fake-viommu.js'
import { FakeWindow } from './fake-window.js'

/** A mapping in a fake table. */
export interface FakeMapping {
  readonly iova: bigint
  readonly address: number
  readonly length: bigint
  readonly protection: Protection
}

/** What a fake unit is like. */
export interface FakeUnitSpec {
  readonly name: string
  readonly kind: 'smmuv3' | 'vtd'
  readonly pageSizes?: bigint
  readonly aperture?: { readonly start: bigint; readonly last: bigint }
  /** Its nesting parents have no windows. */
  readonly isWindowless?: boolean
  /** Its domains can keep a log of writes. */
  readonly dirty?: boolean
}

/** What a fake device is like. */
export interface FakeDeviceSpec {
  readonly name: string
  readonly unit: string
  readonly pasidLg2?: number
  readonly reserved?: readonly ReservedRange[]
  readonly mediated?: { readonly parent: string; readonly pasid: number }
  /** It has ATS, and PRI. */
  readonly ats?: boolean
}

const REGION_GAP = 2 ** 32

/** Everything a test can look at or turn. */
export class FakeMachine implements Machine {
  readonly units: Machine['units']
  readonly devices: readonly PlatformDevice[]
  readonly fileRoots = []
  /** What drivers were asked, in order. */
  readonly log: string[] = []
  /** Called before a driver makes or changes anything; throws to refuse. */
  failPoint: (what: string) => void = () => {}
  /** Driver operations that have been begun and wait for `finish`. */
  deferred: (() => void)[] | undefined
  /** Things that exist: tables, user domains, vIOMMUs, regions, raw units. */
  live = 0
  readonly memories: FakeMemory[] = []
  /** Every one that was ever made. */
  readonly rawUnits: FakeRawUnit[] = []
  /** Every one that was ever made. */
  readonly viommus: FakeViommu[] = []
  #next = REGION_GAP

  constructor(units: readonly FakeUnitSpec[], devices: readonly FakeDeviceSpec[]) {
    const drivers = new Map(units.map((unit) => [unit.name, new FakeDriver(this, unit)]))
    this.units = [...drivers.values()].map((driver) => ({
      driver,
      idRegisters: new Map([['IDR0', 1n]]),
      caches: new FakeCaches(),
      oracle: new FakeOracle(),
    }))
    const made = new Map<string, FakeDevice>()
    this.devices = devices.map((spec, index) => {
      const driver = drivers.get(spec.unit) as FakeDriver
      const device = made.get(spec.mediated?.parent ?? '') ?? new FakeDevice(this, driver, index, spec)
      made.set(spec.name, device)
      return { name: spec.name, driver, device, mediated: spec.mediated, ats: spec.ats, pri: spec.ats }
    })
  }

  /** A device waits for a page; whether somebody will answer. */
  fault(name: string, fault: Partial<PageFault> = {}): boolean {
    const found = this.devices.find((one) => one.name === name) as PlatformDevice
    const whole = { pasid: -1, group: 1, isLast: true, access: 1, address: 0x1000n, ...fault }
    return found.driver.listener?.pageFault(found.device, whole) ?? false
  }

  /** Done at once, or when `finish` is called. */
  done(what: string): Completion {
    this.log.push(what)
    if (this.deferred === undefined) return undefined
    const { deferred } = this
    return new Promise((resolve) => deferred.push(resolve))
  }

  /** Lets everything that was begun end, and what follows from it too. */
  async finish(): Promise<void> {
    for (let turn = 0; turn < 50; turn++) {
      for (const end of this.deferred?.splice(0) ?? []) end()
      await Promise.resolve()
    }
  }

  createRegion(source: RegionSource): RegionMemory {
    this.failPoint('region')
    const memory = new FakeMemory(
      this,
      (gone) => this.memories.splice(this.memories.indexOf(gone), 1),
      this.#next,
      source.lengthBytes || 8192,
      source.kind === 'anonymous' || source.writable,
    )
    this.#next += REGION_GAP
    this.memories.push(memory)
    return memory
  }

  createRawUnit({ preset, caches, seed }: RawUnitSpec, streams: StreamPort): RawUnit {
    this.failPoint('raw unit')
    const unit = new FakeRawUnit(this, streams, preset)
    unit.caches.setMode(caches, seed ?? 0)
    this.rawUnits.push(unit)
    return unit
  }

  readPhysical(address: number, into: Uint8Array): number {
    const memory = this.memories.find((one) => address >= one.address && address < one.address + one.lengthBytes)
    memory?.read(address - memory.address, into)
    return memory === undefined ? 0 : into.length
  }

  writePhysical(address: number, from: Uint8Array): number {
    const memory = this.memories.find((one) => address >= one.address && address < one.address + one.lengthBytes)
    memory?.write(address - memory.address, from)
    return memory === undefined ? 0 : from.length
  }

  regionAt(): undefined {
    return undefined
  }
}

/** A driver that remembers. */
export class FakeDriver implements IommuDriver {
  readonly name: string
  readonly kind: 'smmuv3' | 'vtd'
  readonly userDomainBinds: IommuDriver['userDomainBinds']
  readonly nestsOnParent: boolean
  listener?: UnitListener

  constructor(
    readonly machine: FakeMachine,
    readonly spec: FakeUnitSpec,
  ) {
    this.name = spec.name
    this.kind = spec.kind
    this.nestsOnParent = spec.kind === 'vtd'
    this.userDomainBinds = spec.kind === 'vtd' ? 'rid-or-pasid' : 'rid-and-all-pasids'
  }

  probe(): DeviceDriver {
    throw new Error('the fake machine probes by itself')
  }

  createPaging(_device: DeviceDriver, flags: PagingFlags): FakePaging {
    this.machine.failPoint('paging')
    return new FakePaging(this, flags)
  }

  checkViommu(_device: DeviceDriver, type: number): void {
    if (this.kind === 'vtd' || (type !== 1 && type !== QUEUED))
      throw new Refusal('EOPNOTSUPP', 'no vIOMMU of that type', { type })
  }

  createViommu(_device: DeviceDriver, _parent: PagingOps, type: number): FakeViommu {
    this.machine.failPoint('viommu')
    const viommu = new FakeViommu(this, type, (data) => this.#user(data))
    this.machine.viommus.push(viommu)
    return viommu
  }

  createUserDomain(_device: DeviceDriver, _parent: PagingOps, data: UserData): UserOps {
    const { machine } = this
    if (data.kind !== 'vtd_s1') throw new Refusal('EOPNOTSUPP', 'vtd_s1 is wanted')
    return {
      ...this.#user(data),
      invalidate: (entries, from, end) => {
        if (entries.kind !== 'vtd_s1') throw new Refusal('EINVAL', 'vtd_s1 is wanted')
        const piece = entries.copied('vtd_s1', from, end)
        const bad = piece.findIndex(({ addr }) => addr % 4096n !== 0n)
        const refusal = bad < 0 ? undefined : new Refusal('EINVAL', 'addr is not aligned', { index: from + bad })
        return { done: bad < 0 ? piece.length : bad, refusal, completion: machine.done('invalidate user domain') }
      },
    }
  }

  counters(): Record<string, number> {
    return {}
  }

  #user(data: UserData): UserOps {
    this.machine.failPoint('user domain')
    this.machine.live++
    const destroy = () => {
      this.machine.log.push(`destroy user ${data.kind}`)
      this.machine.live--
    }
    return { kind: 'user', driver: this, destroy }
  }
}

/** A table of mappings. */
export class FakePaging implements PagingOps {
  readonly kind = 'paging'
  readonly isNestParent: boolean
  readonly pageSizes: bigint
  readonly aperture: { readonly start: bigint; readonly last: bigint }
  readonly mappings: FakeMapping[] = []
  readonly dirty: FakeDirty | undefined
  readonly createWindow: (() => FakeWindow) | undefined
  /** Mappings that were taken out and not flushed. */
  #stale: FakeMapping[] = []

  constructor(
    readonly driver: FakeDriver,
    flags: PagingFlags,
  ) {
    driver.machine.live++
    this.isNestParent = flags.nestParent
    this.dirty = flags.dirtyTracking ? new FakeDirty(this) : undefined
    this.pageSizes = driver.spec.pageSizes ?? 0x40201000n
    const hasWindows = flags.nestParent && driver.kind === 'smmuv3' && driver.spec.isWindowless !== true
    this.createWindow = hasWindows ? () => new FakeWindow(this) : undefined
    this.aperture = driver.spec.aperture ?? { start: 0n, last: 2n ** 48n - 1n }
  }

  get tableBytes(): number {
    return 4096 * (1 + this.mappings.length)
  }

  map(iova: bigint, address: number, length: bigint, protection: Protection, inPages = false): void {
    this.driver.machine.failPoint('map')
    const smallest = this.pageSizes & -this.pageSizes
    if (iova % smallest !== 0n || length % smallest !== 0n) throw new Error(`bug: map ${iova} ${length} is misaligned`)
    const other = this.mappings.find((one) => one.iova < iova + length && iova < one.iova + one.length)
    if (other !== undefined) throw new Error(`bug: ${iova} is mapped twice`)
    const leaf = inPages ? 4096n : length
    for (let at = 0n; at < length; at += leaf) {
      this.mappings.push({ iova: iova + at, address: address + Number(at), length: leaf, protection })
    }
  }

  unmap(iova: bigint, length: bigint): void {
    const inside = this.mappings.filter((one) => one.iova >= iova && one.iova + one.length <= iova + length)
    if (inside.reduce((sum, one) => sum + one.length, 0n) !== length)
      throw new Error('bug: unmap of what is not mapped')
    for (const one of inside) this.mappings.splice(this.mappings.indexOf(one), 1)
    this.#stale.push(...inside)
  }

  flush(): Completion {
    const { machine } = this.driver
    const asked = devicesOf(machine).flatMap((device) => device.forget(this, this.#stale))
    this.#stale = []
    const done = machine.done('flush')
    if (asked.length === 0) return done
    return Promise.all([done, ...asked]).then(() => undefined)
  }

  destroy(): void {
    this.driver.machine.log.push('destroy paging')
    this.driver.machine.live--
  }
}

const devicesOf = ({ devices }: FakeMachine): readonly FakeDevice[] => [
  ...new Set(devices.map(({ device }) => device as FakeDevice)),
]
