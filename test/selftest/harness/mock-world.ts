/** The kernel's own mock unit, driven by IOMMU_TEST_CMD. */

import { struct, u32 } from './bytes.js'
import type { Iommufd } from './calls.js'
import { type Stdev, testCommand, type World } from './lab.js'

/** Flags of a mock device. */
export const MOCK = { NO_DIRTY: 1, PASID: 4 } as const

/** IOMMU_TEST_OP_*. */
export const OP = {
  ADD_RESERVED: 1,
  MOCK_DOMAIN: 2,
  MD_CHECK_MAP: 3,
  MD_CHECK_REFS: 4,
  CREATE_ACCESS: 5,
  DESTROY_ACCESS_PAGES: 6,
  ACCESS_PAGES: 7,
  ACCESS_RW: 8,
  SET_TEMP_MEMORY_LIMIT: 9,
  MOCK_DOMAIN_REPLACE: 10,
  ACCESS_REPLACE_IOAS: 11,
  MOCK_DOMAIN_FLAGS: 12,
  DIRTY: 13,
  MD_CHECK_IOTLB: 14,
  TRIGGER_IOPF: 15,
  DEV_CHECK_CACHE: 16,
  TRIGGER_VEVENT: 17,
  PASID_ATTACH: 18,
  PASID_REPLACE: 19,
  PASID_DETACH: 20,
  PASID_CHECK_HWPT: 21,
  DMABUF_GET: 22,
  DMABUF_REVOKE: 23,
} as const

const pasid = async (iommufd: Iommufd, op: number, { stdev }: Stdev, number: number, pt: number): Promise<number> =>
  (await testCommand(iommufd, op, stdev, struct([4, number], [4, pt]))).errno

/** The mock's world. */
export const MOCK_WORLD: World = {
  name: 'mock',
  base: 0x100_0000n,
  page: 2048n,
  aperture: [0x100_0000n, 0x7fff_ffffn],
  reserved: [],
  types: { data: 0xdead, invalidate: 0xdeadbeef, viommu: 0xdeadbeef, veventq: 0xbeefbeef },
  async mockDomain(iommufd, pt, flags) {
    const op = flags === undefined ? OP.MOCK_DOMAIN : OP.MOCK_DOMAIN_FLAGS
    const answer = await testCommand(iommufd, op, pt, struct([4, 0], [4, 0], [4, 0], [4, flags ?? 0]))
    const { errno, arg, reason } = answer
    return { errno, reason, stdev: u32(arg, 16), hwpt: u32(arg, 20), dev: u32(arg, 24) }
  },
  async replace(iommufd, { stdev }, pt) {
    const { errno, arg, reason } = await testCommand(iommufd, OP.MOCK_DOMAIN_REPLACE, stdev, struct([4, pt]))
    return { errno, reason, hwpt: u32(arg, 16) }
  },
  pasidAttach: (iommufd, device, number, pt) => pasid(iommufd, OP.PASID_ATTACH, device, number, pt),
  pasidReplace: (iommufd, device, number, pt) => pasid(iommufd, OP.PASID_REPLACE, device, number, pt),
  pasidDetach: (iommufd, device, number) => pasid(iommufd, OP.PASID_DETACH, device, number, 0),
  release: (iommufd, { stdev }) => iommufd.destroy(stdev),
  async checkMap(iommufd, { hwpt }, iova, length, va) {
    return (await testCommand(iommufd, OP.MD_CHECK_MAP, hwpt, struct([8, iova], [8, length], [8, va]))).errno
  },
}
