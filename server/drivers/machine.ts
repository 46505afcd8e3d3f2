/**
 * The emulated machine: one physical address space, the platform's units with their host drivers, the devices behind
 * them, clients' memory regions, and private units. Core sees it through `core/machine.ts`.
 */

import { type Backing, CHUNK_BYTES, FlatBacking, SparseBacking } from '../../hw-model/memory/index.js'
import { assert, type DeviceDriver, type IommuDriver, Refusal, refusalOf } from '../core/driver.js'
import type {
  HoldBytes,
  Machine,
  OracleSetting,
  PlatformDevice,
  PlatformUnitInfo,
  RegionMemory,
  RegionSource,
} from '../core/machine.js'
import { PhysicalSpace } from './physical-space.js'
import { type PlatformSpec, ridOf, type UnitSpec } from './platform.js'
import { PrivateUnit } from './raw-unit.js'
import { Selftest } from './selftest/index.js'
import { createUnitDriver, type UnitRecord } from './unit-driver.js'

export { DEFAULT_PLATFORM, type DeviceSpec, type PlatformSpec, ridOf, type UnitSpec } from './platform.js'
export type { UnitRecord } from './unit-driver.js'

/** Maps files; the one thing that a machine needs from the system it runs on. */
export interface FileDoor {
  /** Folders under which files may be mapped. */
  readonly roots: readonly string[]
  /** @throws Refusal EACCES, ENOENT, EINVAL, ENOMEM */
  map(range: {
    readonly path: string
    readonly offset: number
    readonly lengthBytes: number
    readonly writable: boolean
  }): {
    readonly buffer: ArrayBuffer
    readonly lengthBytes: number
    release(): void
  }
}

/** What a machine is made of. */
export interface MachineOptions {
  readonly platform: PlatformSpec
  readonly files: FileDoor
  /** What every unit's oracle does, raw ones' too, unless the platform says otherwise of one. */
  readonly oracle?: OracleSetting
  /** There is the kernel's self-test unit too. */
  readonly testDevice?: boolean
  /** Told of every record that a unit wrote for its host: fault events, fault records. */
  readonly onUnitRecord?: (unit: string, record: UnitRecord) => void
  /** Called before a driver makes anything; what it throws refuses it. For tests that let the n-th allocation fail. */
  readonly failPoint?: (what: string) => void
}

/** Bytes of physical memory are placed by multiples of this, so that a region never ends inside a page. */
const REGION_ALIGN = 4096

/**
 * Builds the machine of a platform.
 *
 * @throws Refusal EINVAL when a unit's registers or a device's place cannot be had
 */
export function createMachine(options: MachineOptions): Machine {
  const space = new PhysicalSpace(options.failPoint)
  const units = new Map<string, PlatformUnitInfo>()
  for (const spec of options.platform.units) units.set(spec.name, startUnit(spec, space, options))
  const devices = probeDevices(options.platform, units)
  const regions = new Map<number, Region>()
  const regionAt = (address: number): { region: Region; offset: number } | undefined => {
    const placement = space.memory.find(address)
    const region = placement && regions.get(placement.base)
    return region && { region, offset: address - region.address }
  }
  const createRegion: Machine['createRegion'] = (source, holdBytes) => {
    const forget = (): unknown => regions.delete(region.address)
    const region = openRegion(source, { space, files: options.files, holdBytes, forget })
    regions.set(region.address, region)
    return region
  }
  const selftest = options.testDevice === true ? selftestOf(createRegion) : undefined
  return {
    units: [
      ...units.values(),
      ...(selftest === undefined ? [] : [{ driver: selftest.driver, idRegisters: new Map() }]),
    ],
    get devices() {
      return selftest === undefined ? devices : [...devices, ...selftest.devices]
    },
    selftest,
    fileRoots: options.files.roots,
    createRegion,
    createRawUnit: (spec, streams) => new PrivateUnit({ oracle: options.oracle, ...spec }, backingOf, streams),
    readPhysical: (address, into) => space.memory.readBytes(address, into),
    writePhysical(address, from) {
      const done = space.memory.writeBytes(address, from)
      const region = done === from.length ? undefined : regionAt(address + done)?.region
      if (region?.refusal !== undefined) throw region.refusal
      return done
    },
    regionAt,
  }
}

/** Its pages are the unit's own, and no client's to pay for. */
const selftestOf = (createRegion: Machine['createRegion']): Selftest =>
  new Selftest((lengthBytes) => createRegion({ kind: 'anonymous', lengthBytes }, () => {}))

function startUnit(spec: UnitSpec, space: PhysicalSpace, options: MachineOptions): PlatformUnitInfo {
  return createUnitDriver(spec, space, (record) => options.onUnitRecord?.(spec.name, record), options.oracle)
}

function probeDevices(platform: PlatformSpec, units: ReadonlyMap<string, PlatformUnitInfo>): PlatformDevice[] {
  const physical = new Map<string, { driver: IommuDriver; device: DeviceDriver }>()
  for (const spec of platform.devices) {
    if (spec.mediated !== undefined) continue
    const unit = units.get(spec.iommu)
    const rid = ridOf(spec.name)
    if (unit === undefined) throw new Refusal('EINVAL', `device ${spec.name}: there is no unit ${spec.iommu}`)
    if (rid === undefined) throw new Refusal('EINVAL', `device ${spec.name}: the name is no segment:bus:dev.fn`)
    const device = unit.driver.probe({
      rid,
      pasidLg2: spec.pasidBits,
      ats: spec.ats,
      pri: spec.pri,
      stalls: spec.stalls,
      canwbs: spec.canwbs,
      mediatedPasids: platform.devices.flatMap(({ mediated }) =>
        mediated?.parent === spec.name ? [mediated.pasid] : [],
      ),
    })
    physical.set(spec.name, { driver: unit.driver, device })
  }
  return platform.devices.map((spec) => {
    const found = physical.get(spec.mediated?.parent ?? spec.name)
    if (found === undefined) throw new Refusal('EINVAL', `device ${spec.name}: its parent is no device of the platform`)
    return { name: spec.name, ...found, ats: spec.ats, pri: spec.pri, mediated: spec.mediated }
  })
}

/** A region with what stands behind it. */
interface Region extends RegionMemory {
  readonly backing: Backing
  /** Why the last chunk that it asked for could not be had; undefined once one could. */
  readonly refusal: Refusal | undefined
}

interface RegionDoor {
  readonly space: PhysicalSpace
  readonly files: FileDoor
  readonly holdBytes: HoldBytes
  readonly forget: () => void
}

function openRegion(source: RegionSource, { space, files, holdBytes, forget }: RegionDoor): Region {
  if (source.kind === 'anonymous' && (source.lengthBytes <= 0 || source.lengthBytes % REGION_ALIGN !== 0)) {
    throw new Refusal('EINVAL', 'a region is a positive multiple of 4096 bytes long', { bytes: source.lengthBytes })
  }
  const mapping = source.kind === 'file' ? files.map(source) : undefined
  let refusal: Refusal | undefined
  const admit = (bytes: number): boolean => {
    // Hardware cannot be told why; it meets an external abort, and a caller behind it asks the region.
    refusal = refusalOf(() => holdBytes(bytes))
    return refusal === undefined
  }
  const backing =
    mapping === undefined
      ? new SparseBacking(source.lengthBytes, admit)
      : new FlatBacking(mapping.buffer, source.kind === 'file' && source.writable)
  let address: number
  try {
    address = space.place(backing)
  } catch (error) {
    mapping?.release()
    throw error
  }
  return {
    address,
    backing,
    lengthBytes: backing.lengthBytes,
    writable: backing.writable,
    get residentBytes() {
      return backing.residentBytes
    },
    get refusal() {
      return refusal
    },
    read(offset, into) {
      const done = space.memory.readBytes(address + offset, into)
      assert(done === into.length, 'a region is whole')
    },
    write(offset, from) {
      for (let at = offset - (offset % CHUNK_BYTES); at < offset + from.length; at += CHUNK_BYTES) {
        if (backing.chunkForWrite(at / CHUNK_BYTES) === null)
          throw refusal ?? new Refusal('ENOMEM', 'no memory is left')
      }
      const done = space.memory.writeBytes(address + offset, from)
      assert(done === from.length, 'a region is whole')
    },
    release() {
      space.remove(address)
      mapping?.release()
      forget()
    },
  }
}

const backingOf = (region: RegionMemory): Backing => (region as Region).backing
