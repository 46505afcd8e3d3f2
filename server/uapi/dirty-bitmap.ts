/** The bitmap of written pages, in the caller's memory. [uAPI IOMMU_HWPT_GET_DIRTY_BITMAP] */

import type { Call } from '../core/call.js'
import { type DirtySink, type DirtySpan, setBits } from '../core/dirty-bits.js'
import { readBitmap } from '../core/dirty-calls.js'
import { refusalOf } from '../core/refusal.js'
import { min, PAGE } from '../core/u64.js'
import type { Work } from '../core/work.js'
import { type CommandAnswer, refuseReserved } from './command.js'
import { type MaybeLater, onceDone } from './file.js'
import type { ValuesOf } from './struct.js'
import type { HWPT_GET_DIRTY_BITMAP } from './structs.js'
import type { UserMemory } from './user-memory.js'

type Members = typeof HWPT_GET_DIRTY_BITMAP.fields

/** Does the command. Nothing is written back to the struct. */
export function readDirtyBitmap(
  call: Call,
  values: ValuesOf<Members>,
  user: UserMemory,
): MaybeLater<CommandAnswer<Members>> {
  const { hwpt_id, flags, __reserved, iova, length, page_size, data } = values
  refuseReserved(__reserved)
  const request = { domainId: hwpt_id, flags, iova, length, pageSize: page_size }
  const open =
    ({ bytesOfBit }: DirtySpan): DirtySink =>
    (offset, length) => {
      const [from, bytes] = [BigInt(offset), BigInt(length)]
      return orBits(user, data, from / bytesOfBit, (from + bytes - 1n) / bytesOfBit)
    }
  return onceDone(call.inSlices(readBitmap(call, request, open)), () => ({}))
}

/** Bits are only ever set. Those of a page that cannot be reached are lost, as in the kernel, which pins page by page. */
function* orBits(user: UserMemory, bitmap: bigint, first: bigint, last: bigint): Work<void> {
  for (let bit = first; bit <= last; ) {
    const at = bitmap + bit / 8n
    const inPage = 8n * (PAGE - (at % PAGE)) - (bit % 8n)
    const end = min(last, bit + inPage - 1n)
    refusalOf(() => {
      const bytes = user.read(at, Number(end / 8n - bit / 8n) + 1)
      setBits(bytes, Number(bit % 8n), Number(end - bit + (bit % 8n)))
      user.write(at, bytes)
    })
    bit = end + 1n
    yield
  }
}
