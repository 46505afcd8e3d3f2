/** Structs of the commands of /dev/iommu. [uAPI include/uapi/linux/iommufd.h] */

import { out, s32, struct, u8, u16, u24, u32, u64 } from './struct.js'

/** [uAPI struct iommu_destroy] */
export const DESTROY = struct('iommu_destroy', 8, { size: u32(0), id: u32(4) })

/** [uAPI struct iommu_ioas_alloc] */
export const IOAS_ALLOC = struct('iommu_ioas_alloc', 12, { size: u32(0), flags: u32(4), out_ioas_id: out(u32(8)) })

/** [uAPI struct iommu_ioas_allow_iovas] */
export const IOAS_ALLOW_IOVAS = struct('iommu_ioas_allow_iovas', 24, {
  size: u32(0),
  ioas_id: u32(4),
  num_iovas: u32(8),
  __reserved: u32(12),
  allowed_iovas: u64(16),
})

/** [uAPI struct iommu_iova_range] */
export const IOVA_RANGE = struct('iommu_iova_range', 16, { start: u64(0), last: u64(8) })

/** [uAPI struct iommu_ioas_copy] */
export const IOAS_COPY = struct('iommu_ioas_copy', 40, {
  size: u32(0),
  flags: u32(4),
  dst_ioas_id: u32(8),
  src_ioas_id: u32(12),
  length: u64(16),
  dst_iova: out(u64(24)),
  src_iova: u64(32),
})

/** [uAPI struct iommu_ioas_iova_ranges] */
export const IOAS_IOVA_RANGES = struct('iommu_ioas_iova_ranges', 32, {
  size: u32(0),
  ioas_id: u32(4),
  num_iovas: out(u32(8)),
  __reserved: u32(12),
  allowed_iovas: u64(16),
  out_iova_alignment: out(u64(24)),
})

/** [uAPI struct iommu_ioas_map] */
export const IOAS_MAP = struct('iommu_ioas_map', 40, {
  size: u32(0),
  flags: u32(4),
  ioas_id: u32(8),
  __reserved: u32(12),
  user_va: u64(16),
  length: u64(24),
  iova: out(u64(32)),
})

/** [uAPI struct iommu_ioas_map_file] */
export const IOAS_MAP_FILE = struct('iommu_ioas_map_file', 40, {
  size: u32(0),
  flags: u32(4),
  ioas_id: u32(8),
  fd: s32(12),
  start: u64(16),
  length: u64(24),
  iova: out(u64(32)),
})

/** [uAPI struct iommu_ioas_unmap] */
export const IOAS_UNMAP = struct('iommu_ioas_unmap', 24, {
  size: u32(0),
  ioas_id: u32(4),
  iova: u64(8),
  length: out(u64(16)),
})

/** [uAPI struct iommu_option] */
export const OPTION = struct('iommu_option', 24, {
  size: u32(0),
  option_id: u32(4),
  op: u16(8),
  __reserved: u16(10),
  object_id: u32(12),
  val64: out(u64(16)),
})

/** [uAPI struct iommu_vfio_ioas] */
export const VFIO_IOAS = struct('iommu_vfio_ioas', 12, {
  size: u32(0),
  ioas_id: out(u32(4)),
  op: u16(8),
  __reserved: u16(10),
})

/** [uAPI struct iommu_ioas_change_process] */
export const IOAS_CHANGE_PROCESS = struct('iommu_ioas_change_process', 8, { size: u32(0), __reserved: u32(4) })

/** [uAPI struct iommu_hwpt_alloc] */
export const HWPT_ALLOC = struct(
  'iommu_hwpt_alloc',
  48,
  {
    size: u32(0),
    flags: u32(4),
    dev_id: u32(8),
    pt_id: u32(12),
    out_hwpt_id: out(u32(16)),
    __reserved: u32(20),
    data_type: u32(24),
    data_len: u32(28),
    data_uptr: u64(32),
    fault_id: u32(40),
    __reserved2: u32(44),
  },
  '__reserved',
)

/** [uAPI struct iommu_hw_info] */
export const GET_HW_INFO = struct(
  'iommu_hw_info',
  40,
  {
    size: u32(0),
    flags: u32(4),
    dev_id: u32(8),
    data_len: out(u32(12)),
    data_uptr: u64(16),
    /** `in_data_type` on the way in. */
    out_data_type: out(u32(24)),
    out_max_pasid_log2: out(u8(28)),
    __reserved: u24(29),
    out_capabilities: out(u64(32)),
  },
  '__reserved',
)

/** [uAPI struct iommu_hwpt_set_dirty_tracking] */
export const HWPT_SET_DIRTY_TRACKING = struct('iommu_hwpt_set_dirty_tracking', 16, {
  size: u32(0),
  flags: u32(4),
  hwpt_id: u32(8),
  __reserved: u32(12),
})

/** [uAPI struct iommu_hwpt_get_dirty_bitmap] */
export const HWPT_GET_DIRTY_BITMAP = struct('iommu_hwpt_get_dirty_bitmap', 48, {
  size: u32(0),
  hwpt_id: u32(4),
  flags: u32(8),
  __reserved: u32(12),
  iova: u64(16),
  length: u64(24),
  page_size: u64(32),
  data: u64(40),
})

/** [uAPI struct iommu_hwpt_invalidate] */
export const HWPT_INVALIDATE = struct('iommu_hwpt_invalidate', 32, {
  size: u32(0),
  hwpt_id: u32(4),
  data_uptr: u64(8),
  data_type: u32(16),
  entry_len: u32(20),
  entry_num: out(u32(24)),
  __reserved: u32(28),
})

/** [uAPI struct iommu_fault_alloc] */
export const FAULT_QUEUE_ALLOC = struct('iommu_fault_alloc', 16, {
  size: u32(0),
  flags: u32(4),
  out_fault_id: out(u32(8)),
  out_fault_fd: out(u32(12)),
})

/** [uAPI struct iommu_viommu_alloc] */
export const VIOMMU_ALLOC = struct(
  'iommu_viommu_alloc',
  40,
  {
    size: u32(0),
    flags: u32(4),
    type: u32(8),
    dev_id: u32(12),
    hwpt_id: u32(16),
    out_viommu_id: out(u32(20)),
    data_len: u32(24),
    __reserved: u32(28),
    data_uptr: u64(32),
  },
  'out_viommu_id',
)

/** [uAPI struct iommu_vdevice_alloc] */
export const VDEVICE_ALLOC = struct('iommu_vdevice_alloc', 24, {
  size: u32(0),
  viommu_id: u32(4),
  dev_id: u32(8),
  out_vdevice_id: out(u32(12)),
  virt_id: u64(16),
})

/** [uAPI struct iommu_veventq_alloc] */
export const VEVENTQ_ALLOC = struct(
  'iommu_veventq_alloc',
  32,
  {
    size: u32(0),
    flags: u32(4),
    viommu_id: u32(8),
    type: u32(12),
    veventq_depth: u32(16),
    out_veventq_id: out(u32(20)),
    out_veventq_fd: out(u32(24)),
    __reserved: u32(28),
  },
  'out_veventq_fd',
)

/** [uAPI struct iommu_hw_queue_alloc] */
export const HW_QUEUE_ALLOC = struct('iommu_hw_queue_alloc', 40, {
  size: u32(0),
  flags: u32(4),
  viommu_id: u32(8),
  type: u32(12),
  index: u32(16),
  out_hw_queue_id: out(u32(20)),
  nesting_parent_iova: u64(24),
  length: u64(32),
})
