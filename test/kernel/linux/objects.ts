/** What a kernel keeps for one open of /dev/iommu. Users are counted when somebody asks. */

import { no, type Span } from './bytes.js'

/** Where mapped bytes are: memory of the process, or a file. */
export interface Pages {
  readonly kind: 'user' | 'file'
  readonly isWritable: boolean
  /** A file that has memory. */
  readonly isMemfd: boolean
}

export interface Area extends Span {
  readonly pages: Pages
  /** Address, or offset in the file, of the first byte. */
  readonly from: bigint
  readonly isReadable: boolean
}

export interface Ioas {
  readonly kind: 'ioas'
  readonly id: number
  areas: Area[]
  allowed: readonly Span[]
  reserved: (Span & { readonly owner: unknown })[]
  isHuge: boolean
}

export interface Paging {
  readonly kind: 'paging'
  readonly id: number
  readonly ioas: Ioas
  readonly aperture: Span
  readonly minPage: bigint
  readonly isParent: boolean
  readonly takesPasids: boolean
  readonly isAuto: boolean
  readonly hasDirty: boolean
  /** Memory that may only be read cannot be mapped. */
  readonly wantsWriteable: boolean
  isTracking: boolean
  /** 2 KiB units. */
  readonly dirty: Set<bigint>
  fault: Fault | undefined
}

export interface Nested {
  readonly kind: 'nested'
  readonly id: number
  readonly parent: Paging | Viommu
  readonly takesPasids: boolean
  /** Attached only where the guest has the device. */
  readonly needsVdevice: boolean
  /** The self-test's cache. */
  readonly iotlb: number[]
  fault: Fault | undefined
}

export type Hwpt = Paging | Nested

export interface Device {
  readonly kind: 'device'
  readonly id: number
  readonly slots: Map<number, Hwpt>
  readonly maxPasids: number
  readonly hasDirty: boolean
  readonly reserved: readonly Span[]
  readonly cache: number[]
  /** PASIDs were attached once. */
  hadPasids: boolean
}

export interface Viommu {
  readonly kind: 'viommu'
  readonly id: number
  /** Where the self-test's pages can be mapped: each has two. */
  readonly mapAt: bigint | undefined
  readonly parent: Paging
}

export interface Vdevice {
  readonly kind: 'vdevice'
  readonly id: number
  readonly viommu: Viommu
  readonly device: Device
  readonly virtId: bigint
}

export interface Fault {
  readonly kind: 'fault'
  readonly id: number
}

export interface Veventq {
  readonly kind: 'veventq'
  readonly id: number
  readonly viommu: Viommu
  readonly type: number
}

export interface HwQueue {
  readonly kind: 'hw-queue'
  readonly id: number
  readonly viommu: Viommu
  readonly index: number
  readonly span: Span
}

/** The access of a HW queue. */
export interface Access {
  readonly kind: 'access'
  readonly id: number
  readonly queue: HwQueue
}

export interface TestDevice {
  readonly kind: 'selftest'
  readonly id: number
  readonly device: Device
}

export type Thing = Ioas | Paging | Nested | Device | Viommu | Vdevice | Fault | Veventq | HwQueue | Access | TestDevice

type OfKind<K extends Thing['kind']> = Extract<Thing, { kind: K }>

/** One open of /dev/iommu. */
export class Opened {
  readonly things = new Map<number, Thing>()
  readonly tombstones = new Set<number>()
  /** Numbers of what is being made. */
  readonly building = new Set<number>()
  vfioIoas: Ioas | undefined
  rlimitMode = 0n

  /** The lowest number that is free, from a start on. */
  freeId(from = 1): number {
    const taken = (id: number): boolean => this.things.has(id) || this.tombstones.has(id) || this.building.has(id)
    let id = from
    while (taken(id)) id++
    return id
  }

  add<T extends Thing>(thing: T): T {
    this.things.set(thing.id, thing)
    return thing
  }

  remove(thing: Thing): void {
    this.things.delete(thing.id)
    if (this.vfioIoas === thing) this.vfioIoas = undefined
    if (thing.kind === 'paging') {
      thing.ioas.reserved = thing.ioas.reserved.filter(({ owner }) => owner !== thing)
    }
  }

  all<K extends Thing['kind']>(kind: K): OfKind<K>[] {
    return [...this.things.values()].filter((thing) => thing.kind === kind).sort((a, b) => a.id - b.id) as OfKind<K>[]
  }

  /** @throws No ENOENT */
  get<K extends Thing['kind']>(kind: K, id: number): OfKind<K> {
    const thing = this.things.get(id)
    no('ENOENT', thing?.kind !== kind)
    return thing as OfKind<K>
  }

  domainsOf(ioas: Ioas): Paging[] {
    return this.all('paging').filter((each) => each.ioas === ioas)
  }

  isHeld(thing: Thing): boolean {
    if (thing.kind === 'device' || thing.kind === 'access') return true
    return [...this.things.values()].some((other) => holds(other, thing))
  }

  vdeviceOf(device: Device, viommu?: Viommu): Vdevice | undefined {
    return this.all('vdevice').find((v) => v.device === device && (viommu === undefined || v.viommu === viommu))
  }
}

function holds(holder: Thing, thing: Thing): boolean {
  switch (holder.kind) {
    case 'paging':
      return holder.ioas === thing || holder.fault === thing
    case 'nested':
      return holder.parent === thing || holder.fault === thing
    case 'device':
      return [...holder.slots.values()].some((hwpt) => hwpt === thing)
    case 'viommu':
      return holder.parent === thing
    case 'vdevice':
    case 'veventq':
      return holder.viommu === thing
    case 'hw-queue':
      return holder.viommu === thing || holder.viommu.parent.ioas === thing
    default:
      return false
  }
}
