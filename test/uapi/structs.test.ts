/** Sizes, offsets and shortest lengths, spelled out of the kernel's header by hand. [uAPI include/uapi/linux/iommufd.h] */

import { describe, expect, it } from 'vitest'
import * as data from '../../server/uapi/data-structs.js'
import type { Struct } from '../../server/uapi/struct.js'
import * as commands from '../../server/uapi/structs.js'

/** Bytes, shortest, and members as `name offset:bytes`, `s` where signed, `>` where the kernel fills them. */
type Golden = readonly [bytes: number, least: number, members: string]

const COMMANDS: Readonly<Record<string, Golden>> = {
  DESTROY: [8, 8, 'size 0:4, id 4:4'],
  IOAS_ALLOC: [12, 12, 'size 0:4, flags 4:4, out_ioas_id >8:4'],
  IOAS_ALLOW_IOVAS: [24, 24, 'size 0:4, ioas_id 4:4, num_iovas 8:4, __reserved 12:4, allowed_iovas 16:8'],
  IOVA_RANGE: [16, 16, 'start 0:8, last 8:8'],
  IOAS_COPY: [
    40,
    40,
    'size 0:4, flags 4:4, dst_ioas_id 8:4, src_ioas_id 12:4, length 16:8, dst_iova >24:8, src_iova 32:8',
  ],
  IOAS_IOVA_RANGES: [
    32,
    32,
    'size 0:4, ioas_id 4:4, num_iovas >8:4, __reserved 12:4, allowed_iovas 16:8, out_iova_alignment >24:8',
  ],
  IOAS_MAP: [40, 40, 'size 0:4, flags 4:4, ioas_id 8:4, __reserved 12:4, user_va 16:8, length 24:8, iova >32:8'],
  IOAS_MAP_FILE: [40, 40, 'size 0:4, flags 4:4, ioas_id 8:4, fd s12:4, start 16:8, length 24:8, iova >32:8'],
  IOAS_UNMAP: [24, 24, 'size 0:4, ioas_id 4:4, iova 8:8, length >16:8'],
  OPTION: [24, 24, 'size 0:4, option_id 4:4, op 8:2, __reserved 10:2, object_id 12:4, val64 >16:8'],
  VFIO_IOAS: [12, 12, 'size 0:4, ioas_id >4:4, op 8:2, __reserved 10:2'],
  IOAS_CHANGE_PROCESS: [8, 8, 'size 0:4, __reserved 4:4'],
  HWPT_ALLOC: [
    48,
    24,
    'size 0:4, flags 4:4, dev_id 8:4, pt_id 12:4, out_hwpt_id >16:4, __reserved 20:4, data_type 24:4, data_len 28:4, ' +
      'data_uptr 32:8, fault_id 40:4, __reserved2 44:4',
  ],
  GET_HW_INFO: [
    40,
    32,
    'size 0:4, flags 4:4, dev_id 8:4, data_len >12:4, data_uptr 16:8, out_data_type >24:4, out_max_pasid_log2 >28:1, ' +
      '__reserved 29:3, out_capabilities >32:8',
  ],
  HWPT_SET_DIRTY_TRACKING: [16, 16, 'size 0:4, flags 4:4, hwpt_id 8:4, __reserved 12:4'],
  HWPT_GET_DIRTY_BITMAP: [
    48,
    48,
    'size 0:4, hwpt_id 4:4, flags 8:4, __reserved 12:4, iova 16:8, length 24:8, page_size 32:8, data 40:8',
  ],
  HWPT_INVALIDATE: [
    32,
    32,
    'size 0:4, hwpt_id 4:4, data_uptr 8:8, data_type 16:4, entry_len 20:4, entry_num >24:4, __reserved 28:4',
  ],
  FAULT_QUEUE_ALLOC: [16, 16, 'size 0:4, flags 4:4, out_fault_id >8:4, out_fault_fd >12:4'],
  VIOMMU_ALLOC: [
    40,
    24,
    'size 0:4, flags 4:4, type 8:4, dev_id 12:4, hwpt_id 16:4, out_viommu_id >20:4, data_len 24:4, __reserved 28:4, ' +
      'data_uptr 32:8',
  ],
  VDEVICE_ALLOC: [24, 24, 'size 0:4, viommu_id 4:4, dev_id 8:4, out_vdevice_id >12:4, virt_id 16:8'],
  VEVENTQ_ALLOC: [
    32,
    28,
    'size 0:4, flags 4:4, viommu_id 8:4, type 12:4, veventq_depth 16:4, out_veventq_id >20:4, out_veventq_fd >24:4, ' +
      '__reserved 28:4',
  ],
  HW_QUEUE_ALLOC: [
    40,
    40,
    'size 0:4, flags 4:4, viommu_id 8:4, type 12:4, index 16:4, out_hw_queue_id >20:4, nesting_parent_iova 24:8, ' +
      'length 32:8',
  ],
}

const DATA: Readonly<Record<string, Golden>> = {
  VTD_S1: [24, 24, 'flags 0:8, pgtbl_addr 8:8, addr_width 16:4, __reserved 20:4'],
  SMMUV3_STE: [16, 16, 'ste0 0:8, ste1 8:8'],
  SELFTEST_DATA: [8, 4, 'iotlb 0:4, pagetable_type 4:4'],
  SELFTEST_VIOMMU: [24, 8, 'in_data 0:4, out_data >4:4, out_mmap_offset >8:8, out_mmap_length >16:8'],
  VTD_S1_INVALIDATE: [24, 24, 'addr 0:8, npages 8:8, flags 16:4, __reserved 20:4'],
  SMMUV3_INVALIDATE: [16, 16, 'dw0 0:8, dw1 8:8'],
  SELFTEST_INVALIDATE: [8, 8, 'flags 0:4, iotlb_id 4:4'],
  SELFTEST_VIOMMU_INVALIDATE: [12, 12, 'flags 0:4, vdev_id 4:4, cache_id 8:4'],
  HW_INFO_VTD: [24, 24, 'flags 0:4, __reserved 4:4, cap_reg 8:8, ecap_reg 16:8'],
  HW_INFO_SMMUV3: [
    40,
    40,
    'flags 0:4, __reserved 4:4, idr0 8:4, idr1 12:4, idr2 16:4, idr3 20:4, idr4 24:4, idr5 28:4, iidr 32:4, aidr 36:4',
  ],
  HW_INFO_SELFTEST: [8, 8, 'flags 0:4, test_reg 4:4'],
  PGFAULT: [
    40,
    40,
    'flags 0:4, dev_id 4:4, pasid 8:4, grpid 12:4, perm 16:4, __reserved 20:4, addr 24:8, length 32:4, cookie 36:4',
  ],
  PAGE_RESPONSE: [8, 8, 'cookie 0:4, code 4:4'],
  VEVENT_HEADER: [8, 8, 'flags 0:4, sequence 4:4'],
  VEVENT_SMMUV3: [32, 32, 'evt0 0:8, evt1 8:8, evt2 16:8, evt3 24:8'],
  VEVENT_SELFTEST: [4, 4, 'virt_id 0:4'],
}

const spell = ({ bytes, minBytes, fields }: Struct): Golden => {
  const members = Object.entries(fields).map(
    ([name, { at, bytes: width, isSigned, isOut }]) =>
      `${name} ${isOut ? '>' : ''}${isSigned ? 's' : ''}${at}:${width}`,
  )
  return [bytes, minBytes, members.join(', ')]
}

describe('a struct of a command', () => {
  it.each(Object.entries(COMMANDS))('%s is as in the header', (name, golden) => {
    expect(spell((commands as unknown as Record<string, Struct>)[name])).toEqual(golden)
  })

  it('is spelled here, whichever it is', () => {
    expect(Object.keys(commands).sort()).toEqual(Object.keys(COMMANDS).sort())
  })
})

describe('a struct behind a pointer', () => {
  it.each(Object.entries(DATA))('%s is as in the header', (name, golden) => {
    expect(spell((data as unknown as Record<string, Struct>)[name])).toEqual(golden)
  })

  it('is spelled here, whichever it is', () => {
    expect(Object.keys(data).sort()).toEqual(Object.keys(DATA).sort())
  })
})
