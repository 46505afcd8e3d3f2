/** The little that a replay must know of the structs: where descriptors stand in them, and how long they claim to be. */

/** Commands by number; type and number are all there is in them. [uAPI include/uapi/linux/iommufd.h, vfio.h] */
export const COMMAND = {
  VFIO_DEVICE_BIND_IOMMUFD: 0x3b76,
  IOMMU_HWPT_INVALIDATE: 0x3b8d,
  IOMMU_GET_HW_INFO: 0x3b8a,
  IOMMU_FAULT_QUEUE_ALLOC: 0x3b8e,
  IOMMU_IOAS_MAP_FILE: 0x3b8f,
  IOMMU_VEVENTQ_ALLOC: 0x3b93,
  IOMMU_TEST_CMD: 0x3ba0,
} as const

/** Operations of IOMMU_TEST_CMD that give or take descriptors. [uAPI iommufd_test.h] */
const TEST_OP = {
  CREATE_ACCESS: 5,
  DESTROY_ACCESS_PAGES: 6,
  ACCESS_PAGES: 7,
  ACCESS_RW: 8,
  ACCESS_REPLACE_IOAS: 11,
  DMABUF_GET: 22,
  DMABUF_REVOKE: 23,
} as const

const TEST_ID = 8
const TEST_UNION = 16
const BIND_IOMMUFD = 8

/** Where descriptors stand in one call's struct. */
export interface DescriptorPlaces {
  /** Offset of one that goes in. */
  readonly in?: number
  /** Offset of one that comes out. */
  readonly out?: number
  /** The call's return value is one. */
  readonly result?: boolean
  /** The recorder closed what came out at once. */
  readonly closed?: boolean
}

/** Where descriptors stand in a struct. */
export function descriptorPlaces(command: number, struct: Uint8Array): DescriptorPlaces {
  switch (command) {
    case COMMAND.VFIO_DEVICE_BIND_IOMMUFD:
      return { in: BIND_IOMMUFD }
    case COMMAND.IOMMU_IOAS_MAP_FILE:
      return { in: 12 }
    case COMMAND.IOMMU_FAULT_QUEUE_ALLOC:
      return { out: 12, closed: true }
    case COMMAND.IOMMU_VEVENTQ_ALLOC:
      return { out: 24, closed: true }
    case COMMAND.IOMMU_TEST_CMD:
      return testPlaces(wordAt(struct, 4) ?? 0)
    default:
      return {}
  }
}

function testPlaces(op: number): DescriptorPlaces {
  switch (op) {
    case TEST_OP.CREATE_ACCESS:
      return { out: TEST_UNION }
    case TEST_OP.DESTROY_ACCESS_PAGES:
    case TEST_OP.ACCESS_PAGES:
    case TEST_OP.ACCESS_RW:
    case TEST_OP.ACCESS_REPLACE_IOAS:
      return { in: TEST_ID }
    case TEST_OP.DMABUF_GET:
      return { result: true }
    case TEST_OP.DMABUF_REVOKE:
      return { in: TEST_UNION }
    default:
      return {}
  }
}

/** A 32-bit word of a struct; undefined where the struct is shorter. */
export function wordAt(struct: Uint8Array, offset: number): number | undefined {
  if (offset + 4 > struct.length) return undefined
  return new DataView(struct.buffer, struct.byteOffset).getUint32(offset, true)
}

/** Puts a 32-bit word into a struct. */
export function putWord(struct: Uint8Array, offset: number, value: number): void {
  new DataView(struct.buffer, struct.byteOffset).setUint32(offset, value, true)
}

/** Bytes of the recorder's own buffer behind a struct; it had cleared them. */
const CLEARED_BYTES = 256
/** Behind its buffer lay something else. Every recorded struct that claims to reach there is refused with E2BIG. */
const BEYOND = 0xee
const LONGEST = 8192

/**
 * A struct as long as it claims to be. Of one that claims more than the recorder's layout has, a recording holds only
 * the beginning, for VFIO's structs, and for those that claim to reach past the recorder's buffer.
 */
export function wholeStruct(recorded: Uint8Array): Uint8Array {
  const claimed = Math.min(wordAt(recorded, 0) ?? 0, LONGEST)
  if (claimed <= recorded.length) return recorded.slice()
  const whole = new Uint8Array(claimed)
  whole.fill(BEYOND, Math.min(CLEARED_BYTES, claimed))
  whole.set(recorded)
  return whole
}
