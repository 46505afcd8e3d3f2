/** The commands about address spaces. [uAPI IOMMU_IOAS_*, IOMMU_OPTION, IOMMU_VFIO_IOAS] */

import { changeProcess } from '../core/change-process.js'
import { Ioas } from '../core/ioas.js'
import {
  type AddressRange,
  allowRanges,
  createIoas,
  ioasCopy,
  ioasIovaRanges,
  ioasMap,
  ioasUnmap,
  mapFile,
} from '../core/ioas-calls.js'
import * as option from '../core/option-calls.js'
import { Refusal } from '../core/refusal.js'
import { type Command, command, refuseReserved } from './command.js'
import { onceDone, sourceAt } from './file.js'
import { decode, encode } from './struct.js'
import * as structs from './structs.js'
import type { UserMemory } from './user-memory.js'

/** [uAPI enum iommufd_option, enum iommufd_option_ops] */
const OPTION = { RLIMIT_MODE: 0, HUGE_PAGES: 1 } as const
const OPTION_OP = { SET: 0, GET: 1 } as const

/** [uAPI enum iommufd_vfio_ioas_op] */
const VFIO_IOAS_OP = { GET: 0, SET: 1, CLEAR: 2 } as const

/** Commands by their structs. */
export const IOAS_COMMANDS: readonly Command[] = [
  command(0x81, structs.IOAS_ALLOC, (call, { flags }) => ({
    set: { out_ioas_id: createIoas(call, { flags }).ioasId },
  })),
  command(0x82, structs.IOAS_ALLOW_IOVAS, (call, { ioas_id, num_iovas, __reserved, allowed_iovas }, user) => {
    refuseReserved(__reserved)
    allowRanges(call, ioas_id, rangesBehind(user, allowed_iovas, num_iovas))
    return {}
  }),
  command(0x83, structs.IOAS_COPY, (call, { flags, dst_ioas_id, src_ioas_id, length, dst_iova, src_iova }) => {
    const ids = { dstIoasId: dst_ioas_id, srcIoasId: src_ioas_id }
    const copied = ioasCopy(call, { flags, ...ids, length, dstIova: dst_iova, srcIova: src_iova })
    return onceDone(copied, ({ dstIova }) => ({ set: { dst_iova: dstIova } }))
  }),
  command(0x84, structs.IOAS_IOVA_RANGES, (call, { ioas_id, num_iovas, __reserved, allowed_iovas }, user) => {
    refuseReserved(__reserved)
    const { ranges, totalCount, iovaAlignment, refusal } = ioasIovaRanges(call, {
      ioasId: ioas_id,
      maxRanges: num_iovas,
    })
    for (const [index, { first, last }] of ranges.entries()) {
      user.write(allowed_iovas + BigInt(index * RANGE_BYTES), encode(structs.IOVA_RANGE, { start: first, last }))
    }
    return { set: { num_iovas: totalCount, out_iova_alignment: iovaAlignment }, refusal }
  }),
  command(0x85, structs.IOAS_MAP, (call, { flags, ioas_id, __reserved, user_va, length, iova }) => {
    refuseReserved(__reserved)
    const mapped = ioasMap(call, { flags, ioasId: ioas_id, userVa: user_va, length, iova })
    return onceDone(mapped, (reply) => ({ set: { iova: reply.iova } }))
  }),
  command(0x86, structs.IOAS_UNMAP, (call, { ioas_id, iova, length }) => {
    const unmapped = ioasUnmap(call, { ioasId: ioas_id, iova, length })
    return onceDone(unmapped, (reply) => ({ set: { length: reply.length } }))
  }),
  command(0x87, structs.OPTION, (call, { option_id, op, __reserved, object_id, val64 }) => {
    refuseReserved(__reserved)
    if (option_id !== OPTION.RLIMIT_MODE && option_id !== OPTION.HUGE_PAGES) {
      throw new Refusal('EOPNOTSUPP', `option ${option_id} is not known`, { option_id })
    }
    // The contract counts options from 1.
    const name = { option: option_id + 1, objectId: object_id }
    if (op === OPTION_OP.GET) return { set: { val64: option.getOption(call, name).value } }
    if (op === OPTION_OP.SET) return onceDone(option.setOption(call, { ...name, value: val64 }), () => ({}))
    // The object is looked for first.
    if (option_id === OPTION.HUGE_PAGES) call.look(Ioas, object_id, 'object_id')
    throw unknownOp(op)
  }),
  command(0x88, structs.VFIO_IOAS, (call, { ioas_id, op, __reserved }) => {
    refuseReserved(__reserved)
    if (op === VFIO_IOAS_OP.SET) option.setVfioIoas(call, { ioasId: ioas_id })
    else if (op === VFIO_IOAS_OP.CLEAR) option.clearVfioIoas(call, {})
    else if (op === VFIO_IOAS_OP.GET) return { set: { ioas_id: option.getVfioIoas(call, {}).ioasId } }
    else throw unknownOp(op)
    return {}
  }),
  command(0x8f, structs.IOAS_MAP_FILE, (call, { flags, ioas_id, fd, start, length, iova }) => {
    const request = { flags, ioasId: ioas_id, start, length, iova }
    const mapped = mapFile(call, request, () => sourceAt(call, fd, start, length))
    return onceDone(mapped, (reply) => ({ set: { iova: reply.iova } }))
  }),
  command(0x92, structs.IOAS_CHANGE_PROCESS, (call, { __reserved }) => {
    refuseReserved(__reserved)
    return onceDone(call.inSlices(changeProcess(call)), () => ({}))
  }),
]

const RANGE_BYTES = structs.IOVA_RANGE.bytes

/** Each is read when it is its turn. */
function* rangesBehind(user: UserMemory, address: bigint, count: number): Iterable<AddressRange> {
  for (let index = 0; index < count; index++) {
    const bytes = user.read(address + BigInt(index * RANGE_BYTES), RANGE_BYTES)
    const { start, last } = decode(structs.IOVA_RANGE, bytes)
    yield { first: start, last }
  }
}

const unknownOp = (op: number): Refusal => new Refusal('EOPNOTSUPP', `operation ${op} is not known`, { op })
