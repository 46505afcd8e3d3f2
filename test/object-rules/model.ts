/**
 * The rules of iommufd's objects, as obviously as they can be written: lists that are searched from one end to the
 * other, and users that are counted when somebody asks. It shares no line with the daemon.
 */

/** First and last byte. */
export interface Span {
  readonly start: bigint
  readonly last: bigint
}

/** What a unit's devices have in common. */
export interface UnitFacts {
  readonly name: string
  readonly kind: 'smmuv3' | 'vtd'
  /** What a device reserves where its RID is attached. */
  readonly msi: Span
  /** Apertures: plain domains, and nesting parents or (VT-d) those with dirty tracking. */
  readonly first: Span
  readonly second: Span
  readonly tracksDirty: boolean
}

/** A device of the platform. */
export interface DeviceFacts {
  readonly name: string
  readonly unit: UnitFacts
  /** PASIDs below this; 0: none. */
  readonly maxPasids: number
  readonly mediated?: { readonly parent: string; readonly pasid: number }
}

/** One mapping. */
export interface Area extends Span {
  readonly region: number
  /** Bytes from the start of the region. */
  readonly offset: bigint
  readonly write: boolean
  /** The mapping that named the memory first may write it. */
  readonly original: boolean
}

/** An object: a kind, and whom it holds. */
export interface Thing {
  readonly kind: 'ioas' | 'paging' | 'user' | 'device' | 'viommu' | 'vdevice' | 'fault' | 'veventq' | 'window'
  readonly id: number
}

/** An address space. */
export interface Ioas extends Thing {
  readonly kind: 'ioas'
  areas: Area[]
  allowed: readonly Span[]
  huge: boolean
}

/** A kernel-owned domain. */
export interface Paging extends Thing {
  readonly kind: 'paging'
  readonly ioas: Ioas
  readonly unit: UnitFacts
  readonly nest: boolean
  readonly pasid: boolean
  readonly dirty: boolean
  /** Pages that are logged as written, by IOVA >> 12. Nothing writes here, but an SMMUv3's begin so. */
  readonly logged: Set<bigint>
  readonly auto: boolean
  readonly stage: 1 | 2
  readonly fault?: Thing
}

/** A client's own tables. */
export interface User extends Thing {
  readonly kind: 'user'
  readonly on: Paging | Viommu | Window
  readonly unit: UnitFacts
  readonly pasid: boolean
  /** SMMUv3: leads to the guest's tables. */
  readonly translates: boolean
  /** VT-d: the width is one that the unit has. */
  readonly fits: boolean
  readonly fault?: Thing
}

/** Addresses of a parent with a CD table of the daemon's. */
export interface Window extends Thing {
  readonly kind: 'window'
  readonly parent: Paging
  readonly unit: UnitFacts
  readonly pasid: true
  readonly fault?: undefined
  readonly spans: Span[]
  /** Pages that the table does not use, by IOVA >> 12. */
  readonly free: Set<number>
  /** Blocks of 64 PASIDs that have a page. */
  readonly blocks: Set<number>
  /** The pages above those pages; none while there is one block. */
  root: readonly number[]
}

/** What a slot takes. */
export type Domain = Paging | User | Window

/** A bound device. */
export interface Device extends Thing {
  readonly kind: 'device'
  readonly facts: DeviceFacts
  readonly whole: boolean
  readonly slots: Map<number, Domain>
  /** Where its RID's reservations are. */
  reservesIn?: Ioas
}

/** A guest's slice of a unit. */
export interface Viommu extends Thing {
  readonly kind: 'viommu'
  readonly parent: Paging
  readonly unit: UnitFacts
}

/** A device's place in one. */
export interface Vdevice extends Thing {
  readonly kind: 'vdevice'
  readonly viommu: Viommu
  readonly device: Device
  readonly virtId: bigint
}

/** A guest's event queue. */
export interface Veventq extends Thing {
  readonly kind: 'veventq'
  readonly viommu: Viommu
  readonly type: number
}

/** A "no". */
export class No extends Error {
  readonly errno: string

  constructor(errno: string) {
    super(errno)
    this.errno = errno
  }
}

/** Refuses when something is so. */
export function no(errno: string, isSo: boolean): void {
  if (isSo) throw new No(errno)
}

/** Whether two spans share a byte. */
export const meet = (a: Span, b: Span): boolean => a.start <= b.last && b.start <= a.last

/** The last 64-bit number. */
export const TOP = 2n ** 64n - 1n

/** One context: things by id, and ids that are spoilt. */
export class Context {
  readonly things = new Map<number, Thing>()
  readonly tombs = new Set<number>()
  vfioIoas: Ioas | undefined

  /** The lowest free id. */
  nextId(): number {
    for (let id = 1; ; id++) if (!this.things.has(id) && !this.tombs.has(id)) return id
  }

  /** Publishes a thing. */
  add<T extends Thing>(thing: T): T {
    this.things.set(thing.id, thing)
    return thing
  }

  /** Things of a kind. */
  all<K extends Thing['kind']>(kind: K): (Thing & { kind: K })[] {
    return [...this.things.values()].filter((thing) => thing.kind === kind) as (Thing & { kind: K })[]
  }

  /** Bound devices. */
  get devices(): Device[] {
    return this.all('device') as Device[]
  }

  /** Kernel-owned domains of an address space, in the order they were made. */
  domainsOf(ioas: Ioas): Paging[] {
    return (this.all('paging') as Paging[]).filter((domain) => domain.ioas === ioas)
  }

  /** How many others hold a thing. */
  users(thing: Thing): number {
    let count = thing.kind === 'device' ? 1 : 0
    for (const other of this.things.values()) count += holds(other).filter((held) => held === thing).length
    for (const device of this.devices) {
      for (const domain of device.slots.values()) {
        if (domain === thing) count++
        if (device === thing) count++
      }
    }
    return count
  }

  /** What nothing may be mapped into. */
  reserved(ioas: Ioas): Span[] {
    const spans: Span[] = []
    for (const domain of this.domainsOf(ioas)) {
      const { start, last } = apertureOf(domain)
      if (start > 0n) spans.push({ start: 0n, last: start - 1n })
      if (last < TOP) spans.push({ start: last + 1n, last: TOP })
    }
    for (const device of this.devices) if (device.reservesIn === ioas) spans.push(device.facts.unit.msi)
    return [...spans, ...this.windows(ioas)]
  }

  /** What windows have of an address space. */
  windows(ioas: Ioas): Span[] {
    return (this.all('window') as Window[]).filter(({ parent }) => parent.ioas === ioas).flatMap(({ spans }) => spans)
  }

  /** What IOVAs, lengths and sources are multiples of. */
  alignment(ioas: Ioas): bigint {
    return ioas.huge && this.domainsOf(ioas).length === 0 ? 1n : 4096n
  }

  /** Takes a thing out; automatic domains that it was the last to use go too. */
  remove(thing: Thing): void {
    this.things.delete(thing.id)
    if (this.vfioIoas === thing) this.vfioIoas = undefined
  }

  /** A slot lets its domain go. */
  letGo(domain: Domain): void {
    if (domain.kind === 'paging' && domain.auto && this.users(domain) === 0) this.remove(domain)
  }

  /** Empties a slot. */
  detach(device: Device, slot: number): void {
    const domain = device.slots.get(slot)
    if (domain === undefined) return
    device.slots.delete(slot)
    if (slot === 0) device.reservesIn = undefined
    this.letGo(domain)
  }
}

/** Whom a thing holds, attachments aside. */
export function holds(thing: Thing): Thing[] {
  const fault = (thing as Paging | User).fault
  const faults = fault === undefined ? [] : [fault]
  switch (thing.kind) {
    case 'paging':
      return [(thing as Paging).ioas, ...faults]
    case 'user':
      return [(thing as User).on, ...faults]
    case 'viommu':
    case 'window':
      return [(thing as Viommu | Window).parent]
    case 'vdevice':
      return [(thing as Vdevice).viommu, (thing as Vdevice).device]
    case 'veventq':
      return [(thing as Veventq).viommu]
    default:
      return []
  }
}

/** An SMMUv3's leaf that may be written is written as far as its flags tell, until tracking begins. */
export function logMapped({ dirty, unit, logged }: Paging, { start, last, write }: Area): void {
  if (!dirty || unit.kind !== 'smmuv3' || !write) return
  for (let page = start >> 12n; page <= last >> 12n; page++) logged.add(page)
}

/** The parent at whose address space a domain's devices reserve. */
export const ioasOf = (domain: Domain): Ioas => {
  if (domain.kind === 'paging') return domain.ioas
  if (domain.kind === 'window') return domain.parent.ioas
  return domain.on.kind === 'paging' ? domain.on.ioas : domain.on.parent.ioas
}

/** The window that it is, or is made on. */
export const windowOf = (domain: Domain | undefined): Window | undefined => {
  if (domain?.kind === 'window') return domain
  return domain?.kind === 'user' && domain.on.kind === 'window' ? domain.on : undefined
}

/** What a kernel-owned domain can map. */
export const apertureOf = ({ stage, unit }: Paging): Span => (stage === 1 ? unit.first : unit.second)
