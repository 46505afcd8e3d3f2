/**
 * Structs of VFIO's ioctls, and how they are read: the caller's `argsz` comes first, and what lies beyond the members
 * that a command asks for is left alone. [uAPI include/uapi/linux/vfio.h]
 */

import { Refusal } from '../core/refusal.js'
import { decode, type Fields, out, type Struct, s32, struct, u16, u32, u64, type ValuesOf } from './struct.js'

/** Numbers of VFIO's commands; their type is iommufd's own. */
export const VFIO = {
  GET_API_VERSION: 0x3b64,
  CHECK_EXTENSION: 0x3b65,
  SET_IOMMU: 0x3b66,
  DEVICE_GET_INFO: 0x3b6b,
  DEVICE_RESET: 0x3b6f,
  IOMMU_GET_INFO: 0x3b70,
  IOMMU_MAP_DMA: 0x3b71,
  IOMMU_UNMAP_DMA: 0x3b72,
  DEVICE_BIND_IOMMUFD: 0x3b76,
  DEVICE_ATTACH_IOMMUFD_PT: 0x3b77,
  DEVICE_DETACH_IOMMUFD_PT: 0x3b78,
} as const

/** [uAPI struct vfio_device_bind_iommufd] */
export const BIND_IOMMUFD = struct(
  'vfio_device_bind_iommufd',
  24,
  { argsz: u32(0), flags: u32(4), iommufd: s32(8), out_devid: out(u32(12)), token_uuid_ptr: u64(16) },
  'out_devid',
)

/** [uAPI struct vfio_device_attach_iommufd_pt] */
export const ATTACH_IOMMUFD_PT = struct(
  'vfio_device_attach_iommufd_pt',
  16,
  { argsz: u32(0), flags: u32(4), pt_id: out(u32(8)), pasid: u32(12) },
  'pt_id',
)

/** [uAPI struct vfio_device_detach_iommufd_pt] */
export const DETACH_IOMMUFD_PT = struct(
  'vfio_device_detach_iommufd_pt',
  12,
  { argsz: u32(0), flags: u32(4), pasid: u32(8) },
  'flags',
)

/** [uAPI struct vfio_device_info] */
export const DEVICE_INFO = struct(
  'vfio_device_info',
  24,
  {
    argsz: out(u32(0)),
    flags: out(u32(4)),
    num_regions: out(u32(8)),
    num_irqs: out(u32(12)),
    cap_offset: out(u32(16)),
    pad: u32(20),
  },
  'num_irqs',
)

/** [uAPI struct vfio_iommu_type1_info] */
export const TYPE1_INFO = struct(
  'vfio_iommu_type1_info',
  24,
  {
    argsz: out(u32(0)),
    flags: out(u32(4)),
    iova_pgsizes: out(u64(8)),
    cap_offset: out(u32(16)),
    pad: out(u32(20)),
  },
  'iova_pgsizes',
)

/** [uAPI struct vfio_info_cap_header] and `avail` of [uAPI struct vfio_iommu_type1_info_dma_avail] */
export const CAP_DMA_AVAIL = struct('vfio_iommu_type1_info_dma_avail', 12, {
  id: u16(0),
  version: u16(2),
  next: u32(4),
  avail: u32(8),
})

/** [uAPI struct vfio_iommu_type1_info_cap_iova_range], up to its ranges */
export const CAP_IOVA_RANGE = struct('vfio_iommu_type1_info_cap_iova_range', 16, {
  id: u16(0),
  version: u16(2),
  next: u32(4),
  nr_iovas: u32(8),
  reserved: u32(12),
})

/** [uAPI struct vfio_iova_range] */
export const IOVA_RANGE = struct('vfio_iova_range', 16, { start: u64(0), end: u64(8) })

/** [uAPI struct vfio_iommu_type1_dma_map] */
export const DMA_MAP = struct('vfio_iommu_type1_dma_map', 32, {
  argsz: u32(0),
  flags: u32(4),
  vaddr: u64(8),
  iova: u64(16),
  size: u64(24),
})

/** [uAPI struct vfio_iommu_type1_dma_unmap] */
export const DMA_UNMAP = struct(
  'vfio_iommu_type1_dma_unmap',
  24,
  { argsz: u32(0), flags: u32(4), iova: u64(8), size: out(u64(16)) },
  'size',
)

/** Reads a struct up to `bytes`, of which the caller must have them all. @throws Refusal EFAULT */
export function readUpTo<F extends Fields>(of: Struct<F>, arg: Uint8Array, bytes: number): ValuesOf<F> {
  if (arg.length >= bytes) return decode(of, arg.subarray(0, bytes))
  const reason = `struct ${of.name} is read up to byte ${bytes}, and ends after ${arg.length}`
  throw new Refusal('EFAULT', reason, { length: arg.length })
}

/** A struct's first layout, and that the caller claims to have at least that. @throws Refusal EFAULT, EINVAL */
export function readFirst<F extends Fields>(of: Struct<F>, arg: Uint8Array): ValuesOf<F> {
  const values = readUpTo(of, arg, of.minBytes)
  refuseShort(of, Number((values as Readonly<Record<string, number | bigint>>)['argsz']), of.minBytes)
  return values
}

/** @throws Refusal EINVAL */
export function refuseShort({ name }: Struct, argsz: number, bytes: number): void {
  if (argsz >= bytes) return
  throw new Refusal('EINVAL', `struct ${name} has at least ${bytes} bytes, and its argsz says ${argsz}`, { argsz })
}

/** VFIO answers EINVAL where iommufd has EOPNOTSUPP. @throws Refusal EINVAL */
export function refuseUnknownFlags(flags: number, known: number): void {
  if ((flags & ~known) === 0) return
  throw new Refusal('EINVAL', `flags 0x${flags.toString(16)} has bits other than 0x${known.toString(16)}`, { flags })
}
