/** HWPT_ALLOC, HWPT_INVALIDATE, and what belongs to vIOMMUs. */

import { meet, No, no, PAGE, Struct, TOP } from './bytes.js'
import type { Device, Fault, Nested, Opened, Paging, Thing, Viommu } from './objects.js'
import { alignmentOf, join } from './space.js'
import type { Unit } from './units.js'

const NEST_PARENT = 1
const DIRTY = 2
const FAULT = 4
const PASID = 8

/** Memory of the program as one call sees it. @throws No EFAULT */
export type ReadMemory = (address: bigint, length: number) => Uint8Array

export function allocHwpt(opened: Opened, unit: Unit, s: Struct, read: ReadMemory): number {
  const [flags, type, length] = [s.u32(4), s.u32(24), s.u32(28)]
  no('EOPNOTSUPP', s.u32(20) !== 0)
  no('EINVAL', (type === 0) !== (length === 0))
  const device = opened.get('device', s.u32(8))
  const base: Thing | undefined = opened.things.get(s.u32(12))
  if (base === undefined) throw new No('EINVAL')
  const data = { type, length, address: s.u64(32), read }
  let made: Paging | Nested
  if (base.kind === 'ioas') {
    no('EOPNOTSUPP', (flags & ~15) !== 0 || ((flags & DIRTY) !== 0 && !device.hasDirty))
    no('EOPNOTSUPP', (flags & FAULT) !== 0 && (flags & NEST_PARENT) !== 0)
    const kind = unit.paging(flags & ~FAULT, pagingData(unit, data))
    made = {
      kind: 'paging',
      id: opened.freeId(),
      ioas: base,
      ...kind,
      isParent: (flags & NEST_PARENT) !== 0,
      takesPasids: (flags & PASID) !== 0,
      isAuto: false,
      fault: undefined,
      isTracking: false,
      dirty: new Set<bigint>(),
    }
    join(opened, base, made)
  } else if (base.kind === 'paging' || base.kind === 'viommu') made = nested(opened, unit, base, flags, data)
  else throw new No('EINVAL')
  if ((flags & FAULT) !== 0) {
    const fault: Thing | undefined = opened.things.get(s.u32(40))
    if (fault?.kind !== 'fault') {
      if (made.kind === 'paging') made.ioas.reserved = made.ioas.reserved.filter(({ owner }) => owner !== made)
      throw new No('ENOENT')
    }
    made.fault = fault as Fault
  }
  return opened.add(made).id
}

interface Data {
  readonly type: number
  readonly length: number
  readonly address: bigint
  readonly read: ReadMemory
}

/** The self-test's own domains take data. */
function pagingData(unit: Unit, { type, length, address, read }: Data): Struct | undefined {
  if (type === 0) return undefined
  if (unit.kind !== 'mock') return Struct.of(0)
  no('EOPNOTSUPP', type !== unit.nestedType)
  no('EINVAL', length < 4 || length > 8)
  return new Struct(read(address, length))
}

function nested(opened: Opened, unit: Unit, base: Paging | Viommu, flags: number, data: Data): Nested {
  no('EOPNOTSUPP', (flags & ~(FAULT | PASID)) !== 0 || data.length === 0)
  if (base.kind === 'paging') {
    no('EOPNOTSUPP', !unit.nestsDirectly)
    no('EINVAL', base.isAuto || !base.isParent)
  }
  const made = {
    kind: 'nested' as const,
    id: opened.freeId(),
    parent: base,
    takesPasids: (flags & PASID) !== 0,
    fault: undefined,
    iotlb: [] as number[],
  }
  if (unit.kind === 'mock') {
    no('EOPNOTSUPP', data.type !== unit.nestedType)
    no('EINVAL', data.length < 4 || data.length > 8)
    const value = new Struct(data.read(data.address, data.length)).u32(0)
    return { ...made, needsVdevice: true, iotlb: [value, value, value, value] }
  }
  no('EOPNOTSUPP', (flags & PASID) !== 0)
  no('EINVAL', data.type !== unit.nestedType || data.length !== 16)
  const ste = new Struct(data.read(data.address, 16))
  const [low, high] = [ste.u64(0), ste.u64(8)]
  if ((low & 1n) === 0n) return { ...made, needsVdevice: false }
  const strayLow = low & ~(1n | (7n << 1n) | (3n << 4n) | (((1n << 46n) - 1n) << 6n) | (31n << 59n))
  const strayHigh = high & ~(0xffn | (1n << 27n) | (3n << 28n))
  no('EIO', strayLow !== 0n || strayHigh !== 0n)
  const config = (low >> 1n) & 7n
  no('EIO', config !== 0n && config !== 4n && config !== 5n)
  no('EIO', ((high >> 28n) & 3n) > 1n)
  return { ...made, needsVdevice: config === 5n }
}

export function allocViommu(opened: Opened, unit: Unit, s: Struct, user: { read: ReadMemory; write: Write }): number {
  const [flags, type, length, address] = [s.u32(4), s.u32(8), s.u32(24), s.u64(32)]
  no('EOPNOTSUPP', flags !== 0 || type === 0)
  opened.get('device', s.u32(12))
  no('EOPNOTSUPP', type !== unit.viommuType)
  const parent = opened.get('paging', s.u32(16))
  no('EINVAL', !parent.isParent)
  const id = opened.freeId()
  let mapAt: bigint | undefined
  if (unit.kind === 'mock' && length !== 0) {
    no('EINVAL', length < 8 || length > 24)
    const data = new Struct(user.read(address, length))
    mapAt = freePlace(opened)
    data.put32(4, data.u32(0)).put64(8, mapAt).put64(16, PAIR)
    user.write(address, data.bytes)
  }
  return opened.add({ kind: 'viommu', id, parent, mapAt }).id
}

const PAIR = 2n * PAGE

/** The lowest place for two pages. */
function freePlace(opened: Opened): bigint {
  const taken = opened.all('viommu').map(({ mapAt }) => mapAt)
  for (let at = PAGE; ; at += PAIR) if (!taken.includes(at)) return at
}

export type Write = (address: bigint, bytes: Uint8Array) => void

export function allocVdevice(opened: Opened, s: Struct): number {
  const viommu = opened.get('viommu', s.u32(4))
  const device = opened.get('device', s.u32(8))
  const virtId = s.u64(16)
  no('EEXIST', opened.vdeviceOf(device) !== undefined)
  no(
    'EEXIST',
    opened.all('vdevice').some((each) => each.viommu === viommu && each.virtId === virtId),
  )
  return opened.add({ kind: 'vdevice', id: opened.freeId(), viommu, device, virtId }).id
}

export function allocVeventq(opened: Opened, s: Struct): number {
  const [type, depth] = [s.u32(12), s.u32(16)]
  no('EOPNOTSUPP', s.u32(4) !== 0 || s.u32(28) !== 0 || type === 0)
  // Where the limit is between these is not known.
  no('EINVAL', depth === 0 || depth > 0x10000)
  const viommu = opened.get('viommu', s.u32(8))
  no(
    'EEXIST',
    opened.all('veventq').some((each) => each.viommu === viommu && each.type === type),
  )
  return opened.add({ kind: 'veventq', id: opened.freeId(), viommu, type }).id
}

export function allocHwQueue(opened: Opened, unit: Unit, s: Struct): number {
  const [type, index, iova, length] = [s.u32(12), s.u32(16), s.u64(24), s.u64(32)]
  no('EOPNOTSUPP', s.u32(4) !== 0 || type === 0)
  no('EINVAL', length === 0n)
  no('EOVERFLOW', iova + length - 1n > TOP)
  const viommu = opened.get('viommu', s.u32(8))
  no('EOPNOTSUPP', unit.kind !== 'mock' || type !== 0xdeadbeef)
  const span = { start: iova - (iova % PAGE), last: iova + length - 1n }
  const rounded = { start: span.start, last: (span.last / PAGE) * PAGE + PAGE - 1n }
  const { ioas } = viommu.parent
  const misaligned = ioas.areas.some(
    ({ start, last, from }) => start % PAGE !== 0n || (last + 1n) % PAGE !== 0n || from % PAGE !== 0n,
  )
  no('EADDRINUSE', alignmentOf(opened, ioas) < PAGE && misaligned)
  const covered = ioas.areas.filter((area) => meet(area, rounded))
  const bytes = covered.reduce((sum, { last, start }) => sum + last - start + 1n, 0n)
  no('ENOENT', covered.length === 0 || bytes < rounded.last - rounded.start + 1n)
  no(
    'EPERM',
    covered.some(({ isReadable }) => !isReadable),
  )
  no('EINVAL', misaligned)
  no('EINVAL', index > 1)
  const before = opened.all('hw-queue').filter((each) => each.viommu === viommu)
  no(
    'EEXIST',
    before.some((each) => each.index === index),
  )
  no('EIO', index > before.length)
  const id = opened.freeId()
  const queue = opened.add({ kind: 'hw-queue', id, viommu, index, span: rounded })
  opened.add({ kind: 'access', id: opened.freeId(), queue })
  return id
}

/** Answers how many entries were done, and why no more were. */
export function invalidate(
  opened: Opened,
  unit: Unit,
  s: Struct,
  read: ReadMemory,
): { readonly done: number; readonly refusal?: No } {
  let done = 0
  try {
    const [id, address, type] = [s.u32(4), s.u64(8), s.u32(16)]
    const [length, count] = [s.u32(20), s.u32(24)]
    no('EOPNOTSUPP', s.u32(28) !== 0)
    no('EINVAL', count !== 0 && (address === 0n || length === 0))
    const found = opened.things.get(id)
    no('ENOENT', found === undefined)
    if (found?.kind !== 'nested' && found?.kind !== 'viommu') throw new No('EINVAL')
    if (found.kind === 'nested') {
      no('EOPNOTSUPP', unit.kind === 'smmuv3')
      no('EINVAL', type !== unit.invalidateType)
      for (; done < count; done++) entryOfHwpt(found, length, () => read(address + BigInt(done * length), length))
      return { done }
    }
    no('EINVAL', type !== unit.invalidateType || (unit.kind === 'smmuv3' && count === 0))
    const known = unit.kind === 'mock' ? 12 : 16
    const entries: Struct[] = []
    for (let i = 0; i < count; i++) {
      const bytes = read(address + BigInt(i * length), length)
      no(
        'E2BIG',
        bytes.subarray(known).some((byte) => byte !== 0),
      )
      entries.push(new Struct(bytes.subarray(0, known)))
    }
    for (const entry of entries) {
      if (unit.kind === 'mock') mockEntry(opened, found, entry)
      else smmuEntry(opened, found, entry)
      done++
    }
    return { done }
  } catch (error) {
    if (error instanceof No) return { done, refusal: error }
    throw error
  }
}

function entryOfHwpt({ iotlb }: Nested, length: number, read: () => Uint8Array): void {
  no('EINVAL', length !== 8)
  const entry = new Struct(read())
  no('EOPNOTSUPP', (entry.u32(0) & ~1) !== 0)
  no('EINVAL', entry.u32(4) > 3)
  if (entry.u32(0) === 1) iotlb.fill(0)
  else iotlb[entry.u32(4)] = 0
}

function mockEntry(opened: Opened, viommu: Viommu, entry: Struct): void {
  no('EOPNOTSUPP', (entry.u32(0) & ~1) !== 0)
  no('EINVAL', entry.u32(8) > 3)
  const cache = deviceOf(opened, viommu, BigInt(entry.u32(4)), 'EINVAL').cache
  if (entry.u32(0) === 1) cache.fill(0)
  else cache[entry.u32(8)] = 0
}

function smmuEntry(opened: Opened, viommu: Viommu, entry: Struct): void {
  const opcode = entry.u8(0)
  if ([0x10, 0x11, 0x12, 0x13, 0x30].includes(opcode)) return
  no('EIO', ![0x05, 0x06, 0x40].includes(opcode))
  deviceOf(opened, viommu, entry.u64(0) >> 32n, 'EIO')
}

function deviceOf(opened: Opened, viommu: Viommu, virtId: bigint, errno: 'EINVAL' | 'EIO'): Device {
  const found = opened.all('vdevice').find((each) => each.viommu === viommu && each.virtId === virtId)
  if (found === undefined) throw new No(errno)
  return found.device
}
