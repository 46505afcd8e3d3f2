/**
 * The structs of the ioctls, as tables: where each field is, how wide, and which must be zero. What the kernel checks
 * before it looks at a field (size, tail, command) is here too.
 */

interface Field<T> {
  readonly at: number
  readonly bytes: 1 | 2 | 4 | 8
  readonly type?: T
}

const u8 = (at: number): Field<number> => ({ at, bytes: 1 })
const u16 = (at: number): Field<number> => ({ at, bytes: 2 })
const u32 = (at: number): Field<number> => ({ at, bytes: 4 })
const u64 = (at: number): Field<bigint> => ({ at, bytes: 8 })

type Fields = Readonly<Record<string, Field<number> | Field<bigint>>>

/** One struct. */
export interface Struct<F extends Fields = Fields> {
  /** Bytes of the newest layout. */
  readonly bytes: number
  /** Bytes of the first one. */
  readonly least: number
  readonly fields: F
  /** Fields that the kernel wants to be zero. */
  readonly reserved: readonly (keyof F)[]
}

/** A struct's fields by name. */
export type ValuesOf<S> =
  S extends Struct<infer F> ? { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never } : never

const struct = <F extends Fields>(
  bytes: number,
  least: number,
  fields: F,
  ...reserved: readonly (keyof F)[]
): Struct<F> => ({ bytes, least, fields, reserved })

/** By the name of the call in the recordings. */
export const STRUCTS = {
  /** Nobody looks inside. */
  OPAQUE: struct(0, 0, {}),
  DESTROY: struct(8, 8, { id: u32(4) }),
  IOAS_CHANGE_PROCESS: struct(8, 8, { reserved: u32(4) }, 'reserved'),
  // The reserved field is not looked at.
  HWPT_SET_DIRTY_TRACKING: struct(16, 16, { flags: u32(4), hwpt_id: u32(8) }),
  HWPT_GET_DIRTY_BITMAP: struct(
    48,
    48,
    { hwpt_id: u32(4), flags: u32(8), reserved: u32(12), iova: u64(16), length: u64(24), page_size: u64(32) },
    'reserved',
  ),
  IOAS_ALLOC: struct(12, 12, { flags: u32(4), out_ioas_id: u32(8) }),
  IOAS_ALLOW_IOVAS: struct(
    24,
    24,
    { ioas_id: u32(4), num_iovas: u32(8), reserved: u32(12), allowed_iovas: u64(16) },
    'reserved',
  ),
  IOAS_COPY: struct(40, 40, {
    flags: u32(4),
    dst_ioas_id: u32(8),
    src_ioas_id: u32(12),
    length: u64(16),
    dst_iova: u64(24),
    src_iova: u64(32),
  }),
  IOAS_IOVA_RANGES: struct(
    32,
    32,
    { ioas_id: u32(4), num_iovas: u32(8), reserved: u32(12), allowed_iovas: u64(16), out_iova_alignment: u64(24) },
    'reserved',
  ),
  IOAS_MAP: struct(
    40,
    40,
    { flags: u32(4), ioas_id: u32(8), reserved: u32(12), user_va: u64(16), length: u64(24), iova: u64(32) },
    'reserved',
  ),
  IOAS_UNMAP: struct(24, 24, { ioas_id: u32(4), iova: u64(8), length: u64(16) }),
  OPTION: struct(
    24,
    24,
    { option_id: u32(4), op: u16(8), reserved: u16(10), object_id: u32(12), val64: u64(16) },
    'reserved',
  ),
  VFIO_IOAS: struct(12, 12, { ioas_id: u32(4), op: u16(8), reserved: u16(10) }, 'reserved'),
  HWPT_ALLOC: struct(
    48,
    24,
    {
      flags: u32(4),
      dev_id: u32(8),
      pt_id: u32(12),
      out_hwpt_id: u32(16),
      reserved: u32(20),
      data_type: u32(24),
      data_len: u32(28),
      data_uptr: u64(32),
      fault_id: u32(40),
    },
    'reserved',
  ),
  GET_HW_INFO: struct(
    40,
    32,
    {
      flags: u32(4),
      dev_id: u32(8),
      data_len: u32(12),
      data_uptr: u64(16),
      data_type: u32(24),
      out_max_pasid_log2: u8(28),
      reserved: u8(29),
      reserved2: u16(30),
      out_capabilities: u64(32),
    },
    'reserved',
    'reserved2',
  ),
  HWPT_INVALIDATE: struct(
    32,
    32,
    {
      hwpt_id: u32(4),
      data_uptr: u64(8),
      data_type: u32(16),
      entry_len: u32(20),
      entry_num: u32(24),
      reserved: u32(28),
    },
    'reserved',
  ),
  FAULT_QUEUE_ALLOC: struct(16, 16, { flags: u32(4), out_fault_id: u32(8), out_fault_fd: u32(12) }),
  IOAS_MAP_FILE: struct(40, 40, {
    flags: u32(4),
    ioas_id: u32(8),
    fd: u32(12),
    start: u64(16),
    length: u64(24),
    iova: u64(32),
  }),
  VIOMMU_ALLOC: struct(40, 24, {
    flags: u32(4),
    type: u32(8),
    dev_id: u32(12),
    hwpt_id: u32(16),
    out_viommu_id: u32(20),
    data_len: u32(24),
    data_uptr: u64(32),
  }),
  VDEVICE_ALLOC: struct(24, 24, { viommu_id: u32(4), dev_id: u32(8), out_vdevice_id: u32(12), virt_id: u64(16) }),
  VEVENTQ_ALLOC: struct(
    32,
    28,
    { viommu_id: u32(8), type: u32(12), veventq_depth: u32(16), out_veventq_id: u32(20), reserved: u32(28) },
    'reserved',
  ),
  HW_QUEUE_ALLOC: struct(40, 40, { viommu_id: u32(8), index: u32(16), out_hw_queue_id: u32(20) }),
  VFIO_DEVICE_BIND_IOMMUFD: struct(24, 16, { flags: u32(4), iommufd: u32(8), out_devid: u32(12), token: u64(16) }),
  VFIO_DEVICE_ATTACH_IOMMUFD_PT: struct(16, 12, { flags: u32(4), pt_id: u32(8), pasid: u32(12) }),
  VFIO_DEVICE_DETACH_IOMMUFD_PT: struct(12, 8, { flags: u32(4), pasid: u32(8) }),
  TEST_CMD: struct(72, 68, { op: u32(4), id: u32(8), a: u32(16), b: u32(20), c: u32(24), d: u32(28) }),
  TEST_ADD_RESERVED: struct(72, 68, { id: u32(8), start: u64(16), length: u64(24) }),
} as const

/** Names of the structs. */
export type StructName = keyof typeof STRUCTS

/** Fields of a struct that the caller filled; what lies beyond its size reads as zero. */
export function decode<S extends Struct>(layout: S, bytes: Uint8Array): ValuesOf<S> {
  const whole = new Uint8Array(layout.bytes)
  whole.set(bytes.subarray(0, Math.min(claimedSize(bytes), layout.bytes)))
  const view = new DataView(whole.buffer)
  return Object.fromEntries(
    Object.entries(layout.fields).map(([name, field]) => [name, readField(view, field)]),
  ) as ValuesOf<S>
}

/** The caller's bytes with some fields replaced, as far as the caller's struct reaches. */
export function encode(
  layout: Struct,
  bytes: Uint8Array,
  values: Readonly<Record<string, number | bigint>>,
): Uint8Array {
  const whole = new Uint8Array(Math.max(layout.bytes, bytes.length))
  whole.set(bytes)
  const view = new DataView(whole.buffer)
  for (const [name, value] of Object.entries(values)) writeField(view, layout.fields[name], value)
  const out = bytes.slice()
  const end = Math.min(claimedSize(bytes), layout.bytes, bytes.length)
  out.set(whole.subarray(0, end))
  return out
}

/** The size that the caller claims. */
export const claimedSize = (bytes: Uint8Array): number =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)

function readField(view: DataView, { at, bytes }: Field<number | bigint>): number | bigint {
  if (bytes === 8) return view.getBigUint64(at, true)
  if (bytes === 4) return view.getUint32(at, true)
  return bytes === 2 ? view.getUint16(at, true) : view.getUint8(at)
}

function writeField(view: DataView, { at, bytes }: Field<number | bigint>, value: number | bigint): void {
  if (bytes === 8) view.setBigUint64(at, BigInt(value), true)
  else if (bytes === 4) view.setUint32(at, Number(value), true)
  else if (bytes === 2) view.setUint16(at, Number(value), true)
  else view.setUint8(at, Number(value))
}
