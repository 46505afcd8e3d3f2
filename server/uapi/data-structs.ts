/** Structs that pointers of commands name: a driver's own data, invalidations, faults, events. [uAPI linux/iommufd.h] */

import { out, struct, u32, u64 } from './struct.js'

/** [uAPI struct iommu_hwpt_vtd_s1] */
export const VTD_S1 = struct('iommu_hwpt_vtd_s1', 24, {
  flags: u64(0),
  pgtbl_addr: u64(8),
  addr_width: u32(16),
  __reserved: u32(20),
})

/** [uAPI struct iommu_hwpt_arm_smmuv3] */
export const SMMUV3_STE = struct('iommu_hwpt_arm_smmuv3', 16, { ste0: u64(0), ste1: u64(8) })

/** [uAPI struct iommu_hwpt_selftest] */
export const SELFTEST_DATA = struct(
  'iommu_hwpt_selftest',
  8,
  {
    iotlb: u32(0),
    pagetable_type: u32(4),
  },
  'iotlb',
)

/** [uAPI struct iommu_viommu_selftest] */
export const SELFTEST_VIOMMU = struct(
  'iommu_viommu_selftest',
  24,
  {
    in_data: u32(0),
    out_data: out(u32(4)),
    out_mmap_offset: out(u64(8)),
    out_mmap_length: out(u64(16)),
  },
  'out_data',
)

/** [uAPI struct iommu_hwpt_vtd_s1_invalidate] */
export const VTD_S1_INVALIDATE = struct('iommu_hwpt_vtd_s1_invalidate', 24, {
  addr: u64(0),
  npages: u64(8),
  flags: u32(16),
  __reserved: u32(20),
})

/** [uAPI struct iommu_viommu_arm_smmuv3_invalidate] */
export const SMMUV3_INVALIDATE = struct('iommu_viommu_arm_smmuv3_invalidate', 16, { dw0: u64(0), dw1: u64(8) })

/** [uAPI struct iommu_hwpt_invalidate_selftest] */
export const SELFTEST_INVALIDATE = struct('iommu_hwpt_invalidate_selftest', 8, { flags: u32(0), iotlb_id: u32(4) })

/** [uAPI struct iommu_viommu_invalidate_selftest] */
export const SELFTEST_VIOMMU_INVALIDATE = struct('iommu_viommu_invalidate_selftest', 12, {
  flags: u32(0),
  vdev_id: u32(4),
  cache_id: u32(8),
})

/** [uAPI struct iommu_hw_info_vtd] */
export const HW_INFO_VTD = struct('iommu_hw_info_vtd', 24, {
  flags: u32(0),
  __reserved: u32(4),
  cap_reg: u64(8),
  ecap_reg: u64(16),
})

/** [uAPI struct iommu_hw_info_arm_smmuv3] */
export const HW_INFO_SMMUV3 = struct('iommu_hw_info_arm_smmuv3', 40, {
  flags: u32(0),
  __reserved: u32(4),
  idr0: u32(8),
  idr1: u32(12),
  idr2: u32(16),
  idr3: u32(20),
  idr4: u32(24),
  idr5: u32(28),
  iidr: u32(32),
  aidr: u32(36),
})

/** [uAPI struct iommu_test_hw_info] */
export const HW_INFO_SELFTEST = struct('iommu_test_hw_info', 8, { flags: u32(0), test_reg: u32(4) })

/** [uAPI struct iommu_hwpt_pgfault] */
export const PGFAULT = struct('iommu_hwpt_pgfault', 40, {
  flags: u32(0),
  dev_id: u32(4),
  pasid: u32(8),
  grpid: u32(12),
  perm: u32(16),
  __reserved: u32(20),
  addr: u64(24),
  length: u32(32),
  cookie: u32(36),
})

/** [uAPI struct iommu_hwpt_page_response] */
export const PAGE_RESPONSE = struct('iommu_hwpt_page_response', 8, { cookie: u32(0), code: u32(4) })

/** [uAPI struct iommufd_vevent_header] */
export const VEVENT_HEADER = struct('iommufd_vevent_header', 8, { flags: u32(0), sequence: u32(4) })

/** [uAPI struct iommu_vevent_arm_smmuv3] */
export const VEVENT_SMMUV3 = struct('iommu_vevent_arm_smmuv3', 32, {
  evt0: u64(0),
  evt1: u64(8),
  evt2: u64(16),
  evt3: u64(24),
})

/** [uAPI struct iommu_viommu_event_selftest] */
export const VEVENT_SELFTEST = struct('iommu_viommu_event_selftest', 4, { virt_id: u32(0) })
