/**
 * A VFIO container's ioctls on /dev/iommu: the IOAS that IOMMU_VFIO_IOAS set, by the rules of VFIO's type 1 back end.
 * [uAPI VFIO_GET_API_VERSION, VFIO_CHECK_EXTENSION, VFIO_SET_IOMMU, VFIO_IOMMU_*]
 */

import type { Call } from '../core/call.js'
import { detailOf } from '../core/detail.js'
import type { Ioas } from '../core/ioas.js'
import { mapMemory } from '../core/ioas-calls.js'
import { cutAreas } from '../core/ioas-cut.js'
import { unmapRange } from '../core/ioas-map.js'
import { Refusal } from '../core/refusal.js'
import { hex, max, PAGE, U64_MAX } from '../core/u64.js'
import type { Work } from '../core/work.js'
import { unknownCommand } from './dispatch.js'
import { type IoctlAnswer, type IoctlArgs, type MaybeLater, onceDone } from './file.js'
import { encode, put } from './struct.js'
import * as structs from './vfio-structs.js'
import { readFirst, refuseUnknownFlags, VFIO } from './vfio-structs.js'

/** [uAPI VFIO_TYPE1_IOMMU … VFIO_UNMAP_ALL] */
const EXTENSION = { TYPE1: 1n, TYPE1V2: 3n, DMA_CC: 4n, UNMAP_ALL: 9n } as const
/** [uAPI VFIO_API_VERSION] */
const API_VERSION = 0
const MAP_FLAG = { READ: 1, WRITE: 2 } as const
/** [uAPI enum iommufd_ioas_map_flags] */
const MAP = { FIXED_IOVA: 1, WRITEABLE: 2, READABLE: 4 } as const
/** [uAPI VFIO_DMA_UNMAP_FLAG_ALL] */
const UNMAP_ALL = 2
/** [uAPI VFIO_IOMMU_INFO_PGSIZES, VFIO_IOMMU_INFO_CAPS] */
const INFO_FLAGS = 1 | 2
const CAP_ID = { IOVA_RANGE: 1, DMA_AVAIL: 3 } as const
const CAP_VERSION = 1
/** A limit that nothing here has. */
const UNLIMITED = 0xffff_ffff
/** Where the capabilities are: behind the struct, each at a multiple of 8 bytes. */
const AVAIL_AT = structs.TYPE1_INFO.bytes
const RANGES_AT = AVAIL_AT + 16

/** Any ioctl whose number is outside the table of /dev/iommu. @throws Refusal ENOTTY, ENODEV, EINVAL … */
export function containerIoctl(call: Call, args: IoctlArgs): MaybeLater<IoctlAnswer> {
  switch (args.cmd) {
    case VFIO.GET_API_VERSION:
      return { result: API_VERSION }
    case VFIO.CHECK_EXTENSION:
      return { result: checkExtension(call, numberIn(args)) }
    case VFIO.SET_IOMMU:
      return setIommu(call, numberIn(args))
    case VFIO.IOMMU_GET_INFO:
      return getInfo(call, args)
    case VFIO.IOMMU_MAP_DMA:
      return mapDma(call, args)
    case VFIO.IOMMU_UNMAP_DMA:
      return unmapDma(call, args)
    default:
      throw unknownCommand(args.cmd)
  }
}

/** An argument that is a number, not a pointer: up to 8 bytes. */
function numberIn({ arg }: IoctlArgs): bigint {
  const bytes = new Uint8Array(8)
  bytes.set(arg.subarray(0, 8))
  return new DataView(bytes.buffer).getBigUint64(0, true)
}

/** @throws Refusal ENODEV */
function ioasOf(call: Call): Ioas {
  const { vfioIoas } = call.context
  if (vfioIoas !== undefined) return vfioIoas
  throw new Refusal('ENODEV', 'no IOAS is the container’s; IOMMU_VFIO_IOAS sets one')
}

function checkExtension(call: Call, extension: bigint): number {
  switch (extension) {
    case EXTENSION.TYPE1:
    case EXTENSION.TYPE1V2:
    case EXTENSION.UNMAP_ALL:
      return 1
    case EXTENSION.DMA_CC:
      return [...ioasOf(call).domains].every((domain) => domain.enforcesCoherency) ? 1 : 0
    default:
      return 0
  }
}

/** The first type unmaps parts of mappings, which large leaves would not let it. */
function setIommu(call: Call, type: bigint): MaybeLater<IoctlAnswer> {
  if (type !== EXTENSION.TYPE1 && type !== EXTENSION.TYPE1V2) {
    throw new Refusal('EINVAL', `type ${type} is neither VFIO_TYPE1_IOMMU (1) nor VFIO_TYPE1v2_IOMMU (3)`, { type })
  }
  const ioas = call.change(ioasOf(call))
  if (type === EXTENSION.TYPE1V2) return { result: 0 }
  return onceDone(call.inSlices(ioas.setHugePages(false)), () => ({ result: 0 }))
}

function mapDma(call: Call, { arg }: IoctlArgs): MaybeLater<IoctlAnswer> {
  const { flags, vaddr, iova, size } = readFirst(structs.DMA_MAP, arg)
  refuseUnknownFlags(flags, MAP_FLAG.READ | MAP_FLAG.WRITE)
  const ioas = ioasOf(call)
  // The kernel maps nothing for nobody until a domain's table has no such leaf; there it is EINVAL, too.
  if (flags === 0) throw new Refusal('EINVAL', 'neither VFIO_DMA_MAP_FLAG_READ nor _WRITE is asked for', { flags })
  const mapFlags =
    MAP.FIXED_IOVA |
    ((flags & MAP_FLAG.READ) === 0 ? 0 : MAP.READABLE) |
    ((flags & MAP_FLAG.WRITE) === 0 ? 0 : MAP.WRITEABLE)
  const source = { kind: 'client', address: vaddr, regions: call.context.regions } as const
  const mapped = call.inSlices(mapMemory(call, ioas, source, { flags: mapFlags, length: size, iova }))
  return onceDone(mapped, () => ({ result: 0 }))
}

function unmapDma(call: Call, { arg }: IoctlArgs): MaybeLater<IoctlAnswer> {
  const { flags, iova, size } = readFirst(structs.DMA_UNMAP, arg)
  refuseUnknownFlags(flags, UNMAP_ALL)
  const ioas = ioasOf(call)
  const isAll = flags === UNMAP_ALL
  if (isAll && (iova !== 0n || size !== 0n)) {
    throw new Refusal('EINVAL', 'VFIO_DMA_UNMAP_FLAG_ALL goes with iova and size 0', { iova: hex(iova), size })
  }
  const range = isAll ? undefined : { iova, size }
  if (range !== undefined && !ioas.hugePages) cutAround(call, ioas, iova, size)
  return onceDone(call.inSlices(unmapping(call, ioas, range)), ({ removed, refusal }) => {
    // What was removed is told beside an error, too.
    put(structs.DMA_UNMAP, arg, { size: removed })
    return { result: 0, refusal: refusal && detailOf(refusal) }
  })
}

/** Mappings that reach beyond either end are cut there. [quirk] Sums wrap, and are not looked at before. */
function cutAround(call: Call, ioas: Ioas, iova: bigint, size: bigint): void {
  const last = BigInt.asUintN(64, iova + size - 1n)
  cutAreas(call, ioas, iova === 0n ? [last] : [last, iova - 1n])
}

interface Unmapped {
  readonly removed: bigint
  readonly refusal?: Refusal
}

/** An empty range is none to complain about, unlike IOMMU_IOAS_UNMAP's. */
function* unmapping(call: Call, ioas: Ioas, range?: { readonly iova: bigint; readonly size: bigint }): Work<Unmapped> {
  if (range === undefined) return yield* unmapRange(call, ioas, 0n, U64_MAX)
  const { iova, size } = range
  if (size === 0n) return { removed: 0n, refusal: new Refusal('EINVAL', 'the size is 0') }
  const last = iova + size - 1n
  if (last > U64_MAX) {
    return { removed: 0n, refusal: new Refusal('EOVERFLOW', 'the range ends beyond 2^64', { iova: hex(iova), size }) }
  }
  return yield* unmapRange(call, ioas, iova, last)
}

/** The struct, and behind it the capabilities as far as they fit. What all of them need is told in `argsz`. */
function getInfo(call: Call, { arg }: IoctlArgs): IoctlAnswer {
  const { argsz } = readFirst(structs.TYPE1_INFO, arg)
  const ioas = ioasOf(call)
  const { holes } = ioas.reserved
  const ends = RANGES_AT + structs.CAP_IOVA_RANGE.bytes + holes.length * structs.IOVA_RANGE.bytes
  refuseUnwritable(arg, Math.min(argsz, ends))
  const fits = (end: number): boolean => argsz >= end
  if (fits(AVAIL_AT + structs.CAP_DMA_AVAIL.bytes)) {
    // Nobody limits the number of mappings.
    const avail = { id: CAP_ID.DMA_AVAIL, version: CAP_VERSION, next: 0, avail: UNLIMITED }
    arg.set(encode(structs.CAP_DMA_AVAIL, avail), AVAIL_AT)
  }
  // [quirk] The link to the second is there before the second is, and ranges that fit are, without their header.
  if (fits(RANGES_AT)) put(structs.CAP_DMA_AVAIL, arg.subarray(AVAIL_AT), { next: RANGES_AT })
  for (const [index, { start, last }] of holes.entries()) {
    const at = RANGES_AT + structs.CAP_IOVA_RANGE.bytes + index * structs.IOVA_RANGE.bytes
    if (fits(at + structs.IOVA_RANGE.bytes)) arg.set(encode(structs.IOVA_RANGE, { start, end: last }), at)
  }
  if (fits(ends)) {
    const head = { id: CAP_ID.IOVA_RANGE, version: CAP_VERSION, nr_iovas: holes.length }
    arg.set(encode(structs.CAP_IOVA_RANGE, head), RANGES_AT)
  }
  put(structs.TYPE1_INFO, arg.subarray(0, argsz), {
    argsz: ends,
    flags: INFO_FLAGS,
    iova_pgsizes: pageSizes(ioas),
    cap_offset: fits(ends) ? AVAIL_AT : 0,
    pad: 0,
  })
  return { result: 0 }
}

/** Sizes that every domain has. Those below a page count as a page. */
function pageSizes(ioas: Ioas): bigint {
  let sizes = U64_MAX
  for (const { ops } of ioas.domains) sizes &= ops.pageSizes
  const small = sizes & (PAGE - 1n)
  if (small !== 0n) sizes = (sizes & ~(PAGE - 1n)) | PAGE
  return max(sizes, ioas.alignment)
}

/** @throws Refusal EFAULT */
function refuseUnwritable(arg: Uint8Array, bytes: number): void {
  if (arg.length >= bytes) return
  throw new Refusal('EFAULT', `${bytes} bytes are written, and the struct ends after ${arg.length}`, { bytes })
}
