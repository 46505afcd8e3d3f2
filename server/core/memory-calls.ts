/** Calls about memory regions. */

import type { Call } from './call.js'
import { checkBytes, checkCount } from './checks.js'
import { detailOf, forEachUntilRefused, type Progress } from './detail.js'
import type { RegionSource } from './machine.js'
import { Refusal, refusalOf } from './refusal.js'
import { type Region, releaseMemory } from './region.js'
import { PAGE, U64_MAX } from './u64.js'
import { Unit } from './unit.js'

/** What CreateMemoryRegion takes. */
export interface RegionRequest {
  readonly anonymous?: { readonly bytes: bigint }
  readonly file?: { readonly path: string; readonly offset: bigint; readonly bytes: bigint; readonly writable: boolean }
  readonly fd?: object
  readonly clientAddress?: bigint
  readonly busAddress?: bigint
  readonly label: string
}

/** The contract's MemoryRegion. */
export interface RegionInfo {
  readonly regionId: number
  readonly bytes: bigint
  readonly writable: boolean
  readonly path: string
  readonly clientAddress?: bigint
  readonly busAddress?: bigint
  readonly label: string
  readonly handle: number
}

/** Makes a region. */
export function createMemoryRegion(call: Call, request: RegionRequest): { regionId: number; bytes: bigint } {
  const { core, context } = call
  const source = sourceOf(request)
  const { label_length: most } = core.limits.call
  if (request.label.length > most) {
    throw new Refusal('EINVAL', `a label has at most ${most} characters`, { limit: 'label_length', value: most })
  }
  call.charge('regions')
  // A file of unknown length is charged when it is known.
  call.charge('region_bytes', source.lengthBytes)
  core.failPoint?.('region')
  const memory = core.machine.createRegion(source, (held) => context.quota.charge('resident_bytes', held))
  call.onUndo(() => releaseMemory(context, memory))
  call.charge('region_bytes', memory.lengthBytes - source.lengthBytes)
  const bytes = BigInt(memory.lengthBytes)
  checkRange(context.regions, 'clientAddress', request.clientAddress, bytes)
  checkRange(context.regions, 'busAddress', request.busAddress, bytes)
  const busAddress = request.busAddress === undefined ? undefined : Number(request.busAddress)
  if (busAddress !== undefined) {
    for (const unit of unitsOf(call)) {
      unit.raw.placeRegion(memory, busAddress)
      call.onUndo(() => unit.raw.removeRegion(memory))
    }
  }
  const region = context.regions.add(memory, {
    path: request.file?.path ?? '',
    label: request.label,
    clientAddress: request.clientAddress,
    busAddress,
  })
  return { regionId: region.id, bytes }
}

/** Ends a region; what an IOAS has mapped of it stays reachable until it is unmapped. */
export function destroyMemoryRegion(call: Call, request: { readonly regionId: number }): Record<never, never> {
  const { regions } = call.context
  const region = regions.get(request.regionId)
  if (region.spec.busAddress !== undefined) for (const unit of unitsOf(call)) unit.raw.removeRegion(region.memory)
  regions.destroy(region)
  return {}
}

/** The context's regions by ascending id. */
export function listMemoryRegions(call: Call, _request: object): { regions: readonly RegionInfo[] } {
  const handles = call.context.files.ofRegions
  return { regions: call.context.regions.all.map((region) => infoOf(region, handles.get(region) ?? 0)) }
}

/** What ReadMemory answers. */
type ReadReply = Progress & { readonly data: readonly Uint8Array[] }

/** Reads slices. */
export function readMemory(
  call: Call,
  request: {
    readonly slices: readonly { readonly regionId: number; readonly offset: bigint; readonly length: number }[]
  },
): ReadReply | Promise<ReadReply> {
  const data: Uint8Array[] = []
  const { slices } = request
  const tooMuch = checkBatch(call, slices.length, () => slices.reduce((sum, { length }) => sum + length, 0))
  if (tooMuch !== undefined) return { ...tooMuch, data }
  const read = forEachUntilRefused(slices, ({ regionId, offset, length }) => {
    const { memory } = regionWith(call, regionId, offset, length)
    const bytes = new Uint8Array(length)
    memory.read(Number(offset), bytes)
    data.push(bytes)
  })
  return call.inSlices(
    (function* () {
      return { ...(yield* read), data }
    })(),
  )
}

/** Writes slices. */
export function writeMemory(
  call: Call,
  request: {
    readonly patches: readonly { readonly regionId: number; readonly offset: bigint; readonly data: Uint8Array }[]
  },
): Progress | Promise<Progress> {
  const { patches } = request
  const tooMuch = checkBatch(call, patches.length, () => patches.reduce((sum, { data }) => sum + data.length, 0))
  if (tooMuch !== undefined) return tooMuch
  const write = forEachUntilRefused(patches, ({ regionId, offset, data }) => {
    const { id, memory } = regionWith(call, regionId, offset, data.length)
    if (!memory.writable) throw new Refusal('EACCES', `region ${id} is read-only`, { region: id })
    memory.write(Number(offset), data)
  })
  return call.inSlices(write)
}

function sourceOf({ anonymous, file, fd }: RegionRequest): RegionSource {
  if (anonymous !== undefined) {
    if (anonymous.bytes === 0n) throw new Refusal('EINVAL', 'a region of 0 bytes has no memory')
    return { kind: 'anonymous', lengthBytes: pagesOf('bytes', anonymous.bytes) }
  }
  if (file !== undefined) {
    const { path, writable } = file
    const offset = pagesOf('offset', file.offset)
    return { kind: 'file', path, offset, lengthBytes: pagesOf('bytes', file.bytes), writable }
  }
  if (fd !== undefined) {
    throw new Refusal('EBADF', 'no descriptor came through the side channel, which is not offered; use a file')
  }
  throw new Refusal('EINVAL', 'nothing says what the region is made of: set anonymous or file')
}

function pagesOf(field: string, value: bigint): number {
  if (value % PAGE !== 0n) throw new Refusal('EINVAL', `${field} is not a multiple of 4096`, { field, value })
  // Beyond 2^53 no memory is that long: any quota is smaller.
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Refusal('EDQUOT', `${field} is too large`, { field, value })
  return Number(value)
}

function checkRange(
  regions: Call['context']['regions'],
  which: 'clientAddress' | 'busAddress',
  from: bigint | undefined,
  bytes: bigint,
): void {
  if (from === undefined) return
  const field = which === 'clientAddress' ? 'client_address' : 'bus_address'
  if (from % PAGE !== 0n) throw new Refusal('EINVAL', `${field} is not a multiple of 4096`, { field, value: from })
  if (from + bytes - 1n > U64_MAX) throw new Refusal('EOVERFLOW', `the range of ${field} ends beyond 2^64`, { field })
  if (which === 'busAddress' && from + bytes > BUS_END) {
    throw new Refusal('EINVAL', 'a bus has 52 bits of address', { field, value: from })
  }
  regions.refuseOverlap(from, bytes, which)
}

/** Physical addresses have at most 52 bits on both architectures. */
const BUS_END = 2n ** 52n

function regionWith(call: Call, regionId: number, offset: bigint, length: number): Region {
  const region = call.context.regions.get(regionId)
  const bytes = BigInt(region.memory.lengthBytes)
  if (offset + BigInt(length) <= bytes) return region
  const facts = { region: region.id, offset, length, region_bytes: bytes }
  throw new Refusal('EINVAL', `the slice ends beyond region ${region.id}, which has ${bytes} bytes`, facts)
}

function checkBatch(call: Call, count: number, bytes: () => number): Progress | undefined {
  const refusal = refusalOf(() => {
    checkCount(call, count)
    checkBytes(call, bytes())
  })
  return refusal === undefined ? undefined : { doneCount: 0, refusal: detailOf(refusal) }
}

function infoOf({ id, memory, spec }: Region, handle: number): RegionInfo {
  return {
    regionId: id,
    bytes: BigInt(memory.lengthBytes),
    writable: memory.writable,
    path: spec.path,
    clientAddress: spec.clientAddress,
    busAddress: spec.busAddress === undefined ? undefined : BigInt(spec.busAddress),
    label: spec.label,
    handle,
  }
}

function unitsOf(call: Call): readonly Unit[] {
  return [...call.context.objects.ascending()].filter((object) => object instanceof Unit)
}
