/** Operations on domains of the self-test unit: what they map, what was written, what their caches hold. */

import type { Call } from '../core/call.js'
import { Ioas } from '../core/ioas.js'
import { PagingDomain } from '../core/paging-domain.js'
import { Refusal } from '../core/refusal.js'
import { selftestOf } from '../core/test-device.js'
import { hex, lowestBit, U64_MAX } from '../core/u64.js'
import { UserDomain } from '../core/user-domain.js'
import { isLook, type Work } from '../core/work.js'
import { onceDone } from './file.js'
import type { TestAnswer, TestRun } from './test-command.js'
import { refuseOther } from './test-devices.js'
import { physicalBehind } from './test-memory.js'
import { TEST_OP } from './test-structs.js'
import type { UserMemory } from './user-memory.js'

/** Bytes that the kernel allocates at once for a copy of a bitmap. */
const BITMAP_MOST = 2n ** 31n

/** By number. */
export const DOMAIN_OPS: Readonly<Record<number, TestRun>> = {
  [TEST_OP.ADD_RESERVED](call, { id, add_reserved_start: start, add_reserved_length: length }) {
    if (length === 0n) throw new Refusal('EINVAL', 'the length is 0')
    const last = start + length - 1n
    if (last > U64_MAX) throw new Refusal('EOVERFLOW', 'the range ends beyond 2^64', { start: hex(start), length })
    // Nobody gives it back before the address space itself goes.
    call.take(Ioas, id, 'id').reserve({ owner: { id, kind: 'the self-test in IOAS' }, ranges: [{ start, last }] })
    return {}
  },
  [TEST_OP.MD_CHECK_MAP](call, values, user) {
    const { id, check_map_iova: iova, check_map_length: length, check_map_uptr: uptr } = values
    return call.inSlices(checkMap(call, user, id, { iova, length, uptr }))
  },
  [TEST_OP.MD_CHECK_IOTLB](call, { id, check_iotlb_id: index, check_iotlb_iotlb: expected }) {
    const { ops } = call.look(UserDomain, id, 'id')
    const unit = selftestOf(call)
    if (!unit.owns(ops)) throw notOurs(id, ops.driver.name)
    refuseOther('the user domain’s cache', index, unit.iotlbEntry(ops, index), expected)
    return {}
  },
  [TEST_OP.DIRTY](call, values, user) {
    const { id, dirty_iova: iova, dirty_length: length, dirty_page_size: pageSize, dirty_uptr: uptr } = values
    if (pageSize === 0n || length === 0n || iova % pageSize !== 0n || length % pageSize !== 0n || uptr === 0n) {
      throw new Refusal('EINVAL', 'page_size, length and uptr are not 0, and iova and length multiples of page_size')
    }
    const domain = selftestPaging(call, id)
    if (!selftestOf(call).isTracking(domain.ops)) {
      throw new Refusal('EINVAL', `paging domain ${id} keeps no log of writes now; HWPT_SET_DIRTY_TRACKING starts it`)
    }
    const bits = length / pageSize
    if (bits > BITMAP_MOST * 8n) throw new Refusal('ENOMEM', 'the bitmap has more than 2^31 bytes', { bits })
    const bitmap = user.read(uptr, Number((bits + 7n) / 8n))
    const marked = call.inSlices(markDirty(call, domain, { bitmap, bits: Number(bits), iova, pageSize }))
    return onceDone(marked, (count) => ({ set: { dirty_out_nr_dirty: BigInt(count) } }))
  },
}

/** Compares the address behind each page of a domain with that of the caller's memory. */
function* checkMap(
  call: Call,
  user: UserMemory,
  id: number,
  { iova, length, uptr }: { readonly iova: bigint; readonly length: bigint; readonly uptr: bigint },
): Work<TestAnswer> {
  const domain = selftestPaging(call, id)
  const { ops } = domain
  const unit = selftestOf(call)
  const page = lowestBit(ops.pageSizes)
  if ((iova | length | uptr) % page !== 0n || uptr + length > U64_MAX) {
    throw new Refusal('EINVAL', `iova, length and uptr are multiples of ${page}, and the memory ends below 2^64`)
  }
  domain.hold(call)
  try {
    for (let at = 0n; at < length; at += page) {
      const wanted = physicalBehind(call, user, uptr + at)
      const found = unit.physicalAt(ops, (iova + at) & U64_MAX)
      if (found === undefined || found !== wanted) {
        const is = found === undefined ? 'nothing is mapped' : 'other memory is mapped'
        throw new Refusal('EINVAL', `${is} at ${hex(iova + at)}`, { uptr: hex(uptr + at) })
      }
      if (isLook(Number(at / page))) yield
    }
    return {}
  } finally {
    domain.drop(call)
  }
}

/** Notes writes to the pages whose bits are set. Answers how many they are, mapped or not. */
function* markDirty(
  call: Call,
  domain: PagingDomain,
  { bitmap, bits, iova, pageSize }: { bitmap: Uint8Array; bits: number; iova: bigint; pageSize: bigint },
): Work<number> {
  const unit = selftestOf(call)
  let count = 0
  domain.hold(call)
  try {
    for (let bit = 0; bit < bits; bit++) {
      if (isLook(bit)) yield
      if (((bitmap[Math.floor(bit / 8)] >>> (bit & 7)) & 1) === 0) continue
      unit.markDirty(domain.ops, (iova + BigInt(bit) * pageSize) & U64_MAX)
      count++
    }
    return count
  } finally {
    domain.drop(call)
  }
}

/** @throws Refusal ENOENT, EINVAL */
function selftestPaging(call: Call, id: number): PagingDomain {
  const domain = call.look(PagingDomain, id, 'id')
  if (selftestOf(call).owns(domain.ops)) return domain
  throw notOurs(id, domain.ops.driver.name)
}

const notOurs = (id: number, unit: string): Refusal =>
  new Refusal('EINVAL', `domain ${id} is of ${unit}, not of the self-test unit`, { id, unit })
