/** What a caller gives a driver, as bytes behind a pointer: read when the driver asks, by the rules of its type. */

import type {
  InvalidateArray,
  InvalidateKind,
  InvalidateOf,
  UserData,
  UserDataKind,
  UserDataOf,
} from '../core/given.js'
import { Refusal } from '../core/refusal.js'
import {
  SELFTEST_DATA,
  SELFTEST_INVALIDATE,
  SELFTEST_VIOMMU,
  SELFTEST_VIOMMU_INVALIDATE,
  SMMUV3_INVALIDATE,
  SMMUV3_STE,
  VTD_S1,
  VTD_S1_INVALIDATE,
} from './data-structs.js'
import { decode, type Struct } from './struct.js'
import type { UserMemory } from './user-memory.js'

/** Types of data of HWPT_ALLOC. [uAPI enum iommu_hwpt_data_type] */
export const HWPT_DATA: ReadonlyMap<number, UserDataKind> = new Map([
  [1, 'vtd_s1'],
  [2, 'smmuv3_ste'],
  [0xdead, 'selftest'],
])

/** Types of vIOMMUs that have data. [uAPI enum iommu_viommu_type] */
export const VIOMMU_DATA: ReadonlyMap<number, UserDataKind> = new Map([[0xdeadbeef, 'selftest_viommu']])

/** The type of invalidations, of user domains or of vIOMMUs. [uAPI enum iommu_hwpt_invalidate_data_type] */
export function invalidateKind(type: number, ofViommu: boolean): InvalidateKind | undefined {
  switch (type) {
    case 0:
      return 'vtd_s1'
    case 1:
      return 'smmuv3'
    case 0xdeadbeef:
      return ofViommu ? 'selftest_viommu' : 'selftest'
    default:
      return undefined
  }
}

/** Where the data is. */
export interface DataAt {
  readonly address: bigint
  readonly length: number
}

/** Data of a call that makes an object. */
export function dataBehind(user: UserMemory, at: DataAt, kind: UserDataKind | undefined): UserData {
  return {
    kind,
    read<K extends UserDataKind>(asked: K): UserDataOf[K] {
      const form = asked === kind ? DATA[asked] : null
      if (form === null) {
        throw new Refusal('EINVAL', `the data is not of the type ${asked}`, { type: kind ?? 'unknown' })
      }
      const { name, minBytes, bytes } = form.struct
      if (at.length < minBytes || at.length > bytes) {
        const reason = `struct ${name} has ${minBytes === bytes ? bytes : `${minBytes} to ${bytes}`} bytes`
        throw new Refusal('EINVAL', reason, { data_len: at.length })
      }
      return form.decode(user.read(at.address, at.length))
    },
  }
}

/** An array of invalidations. */
export interface ArrayAt {
  readonly address: bigint
  readonly type: number
  readonly entryLength: number
  readonly count: number
}

/** Invalidations behind a pointer. What their number means depends on what is invalidated. */
export function entriesBehind(user: UserMemory, array: ArrayAt, kind: InvalidateKind | undefined): InvalidateArray {
  const { address, entryLength, count } = array
  const formOf = <K extends InvalidateKind>(asked: K): Form<InvalidateOf[K]> => {
    const form = asked === kind ? ENTRIES[asked] : null
    if (form !== null) return form
    throw new Refusal('EINVAL', `the entries are not of the type ${asked}`, { data_type: array.type })
  }
  // A driver that is handed a piece asks again; what it saw first is what counts.
  let copy: Uint8Array | undefined
  return {
    kind,
    count,
    at(asked, index) {
      const form = formOf(asked)
      const { name, bytes } = form.struct
      if (entryLength !== bytes) {
        throw new Refusal('EINVAL', `struct ${name} has ${bytes} bytes`, { entry_len: entryLength, index })
      }
      return form.decode(user.read(address + BigInt(index * bytes), bytes))
    },
    copied<K extends InvalidateKind>(asked: K, from: number, end: number): readonly InvalidateOf[K][] {
      const form = formOf(asked)
      if (count === 0) throw new Refusal('EINVAL', 'the array is empty', { entry_num: 0 })
      copy ??= copyAll(user, form.struct, array)
      const entries: InvalidateOf[K][] = []
      for (let index = from; index < end; index++) {
        const start = index * entryLength
        entries.push(form.decode(copy.subarray(start, start + Math.min(entryLength, form.struct.bytes))))
      }
      return entries
    },
  }
}

/** The largest copy of an array: what the kernel can have in one piece. */
const COPY_BYTES_MAX = 2 ** 22

function copyAll(
  user: UserMemory,
  { name, bytes: known }: Struct,
  { address, entryLength, count }: ArrayAt,
): Uint8Array {
  const [bytes, kernelBytes] = [count * entryLength, count * known]
  if (kernelBytes > COPY_BYTES_MAX) throw tooLarge(kernelBytes)
  user.mustHold(address, bytes)
  if (bytes > COPY_BYTES_MAX) throw tooLarge(bytes)
  const copy = user.read(address, bytes)
  for (let end = entryLength; entryLength > known && end <= bytes; end += entryLength) {
    if (copy.subarray(end - entryLength + known, end).every((byte) => byte === 0)) continue
    const reason = `struct ${name} has ${known} bytes here, and something behind them is not zero`
    throw new Refusal('E2BIG', reason, { entry_len: entryLength, index: end / entryLength - 1 })
  }
  return copy
}

const tooLarge = (bytes: number): Refusal =>
  new Refusal('ENOMEM', `the array is copied as a whole, and ${bytes} bytes are too many; give it in parts`, { bytes })

interface Form<T> {
  readonly struct: Struct
  decode(bytes: Uint8Array): T
}

/** What has no struct is an extension of the typed methods. */
const DATA: { readonly [K in UserDataKind]: Form<UserDataOf[K]> | null } = {
  vtd_s1: {
    struct: VTD_S1,
    decode(bytes) {
      // Bits of `flags` that are not known, and `__reserved`, are nobody's business: the kernel does not look.
      const { flags, pgtbl_addr, addr_width } = decode(VTD_S1, bytes)
      return { flags, pgtblAddr: pgtbl_addr, addrWidth: addr_width }
    },
  },
  smmuv3_ste: { struct: SMMUV3_STE, decode: (bytes) => decode(SMMUV3_STE, bytes) },
  smmuv3_pgd: null,
  selftest: {
    struct: SELFTEST_DATA,
    decode(bytes) {
      const { iotlb, pagetable_type } = decode(SELFTEST_DATA, bytes)
      return { iotlb, pagetableType: pagetable_type }
    },
  },
  selftest_viommu: {
    struct: SELFTEST_VIOMMU,
    decode: (bytes) => ({ inData: decode(SELFTEST_VIOMMU, bytes).in_data }),
  },
}

const ENTRIES: { readonly [K in InvalidateKind]: Form<InvalidateOf[K]> | null } = {
  vtd_s1: {
    struct: VTD_S1_INVALIDATE,
    decode(bytes) {
      const { addr, npages, flags, __reserved } = decode(VTD_S1_INVALIDATE, bytes)
      if (__reserved !== 0) throw new Refusal('EOPNOTSUPP', '__reserved must be 0', { __reserved })
      return { addr, npages, flags }
    },
  },
  smmuv3: { struct: SMMUV3_INVALIDATE, decode: (bytes) => decode(SMMUV3_INVALIDATE, bytes) },
  smmuv3_pgd: null,
  selftest: {
    struct: SELFTEST_INVALIDATE,
    decode(bytes) {
      const { flags, iotlb_id } = decode(SELFTEST_INVALIDATE, bytes)
      return { flags, iotlbId: iotlb_id }
    },
  },
  selftest_viommu: {
    struct: SELFTEST_VIOMMU_INVALIDATE,
    decode(bytes) {
      const { flags, vdev_id, cache_id } = decode(SELFTEST_VIOMMU_INVALIDATE, bytes)
      return { flags, vdevId: vdev_id, cacheId: cache_id }
    },
  },
}
