/** The commands about objects, domains, vIOMMUs. [uAPI IOMMU_DESTROY, IOMMU_HWPT_*, IOMMU_VIOMMU_*, IOMMU_VDEVICE_*] */

import type { Call } from '../core/call.js'
import { destroy } from '../core/context-calls.js'
import { detailOf } from '../core/detail.js'
import { switchTracking } from '../core/dirty-calls.js'
import { allocHwpt } from '../core/hwpt-alloc.js'
import { type InvalidateReply, invalidateObject } from '../core/invalidate-calls.js'
import { Refusal, refusalOf } from '../core/refusal.js'
import { Viommu } from '../core/viommu.js'
import { createVdevice, makeViommu } from '../core/viommu-calls.js'
import { type Command, type CommandAnswer, command, refuseReserved } from './command.js'
import { SELFTEST_VIOMMU } from './data-structs.js'
import { readDirtyBitmap } from './dirty-bitmap.js'
import { onceDone } from './file.js'
import { type DataAt, dataBehind, entriesBehind, HWPT_DATA, invalidateKind, VIOMMU_DATA } from './given-data.js'
import { getHwInfo } from './hw-info.js'
import { put, type ValuesOf } from './struct.js'
import * as structs from './structs.js'
import type { UserMemory } from './user-memory.js'

/** Commands by their structs. */
export const OBJECT_COMMANDS: readonly Command[] = [
  command(0x80, structs.DESTROY, (call, { id }) => {
    destroy(call, { objectId: id })
    return {}
  }),
  command(0x89, structs.HWPT_ALLOC, (call, values, user) => {
    const { flags, dev_id, pt_id, __reserved, data_type, data_len, data_uptr, fault_id } = values
    refuseReserved(__reserved)
    if ((data_type === 0) !== (data_len === 0)) {
      const reason = data_type === 0 ? 'data without a type' : 'a type of data without any'
      throw new Refusal('EINVAL', reason, { data_type, data_len })
    }
    const at = { address: data_uptr, length: data_len }
    const data = data_len === 0 ? undefined : dataBehind(user, at, HWPT_DATA.get(data_type))
    const request = { flags, deviceId: dev_id, ptId: pt_id, data, faultQueueId: fault_id }
    return onceDone(call.inSlices(allocHwpt(call, request)), ({ id }) => ({ set: { out_hwpt_id: id } }))
  }),
  command(0x8a, structs.GET_HW_INFO, getHwInfo),
  command(0x8b, structs.HWPT_SET_DIRTY_TRACKING, (call, { flags, hwpt_id }) =>
    onceDone(call.inSlices(switchTracking(call, { domainId: hwpt_id, flags })), () => ({})),
  ),
  command(0x8c, structs.HWPT_GET_DIRTY_BITMAP, readDirtyBitmap),
  command(0x8d, structs.HWPT_INVALIDATE, invalidate),
  command(0x90, structs.VIOMMU_ALLOC, (call, { flags, type, dev_id, hwpt_id, data_len, data_uptr }, user) => {
    const at = { address: data_uptr, length: data_len }
    const data = data_len === 0 ? undefined : dataBehind(user, at, VIOMMU_DATA.get(type))
    const viommu = makeViommu(call, { flags, type, deviceId: dev_id, parentDomainId: hwpt_id }, data)
    if (data_len !== 0) writeReply(user, viommu, at)
    return { set: { out_viommu_id: viommu.id } }
  }),
  command(0x91, structs.VDEVICE_ALLOC, (call, { viommu_id, dev_id, virt_id }) => {
    const { vdeviceId } = createVdevice(call, { viommuId: viommu_id, deviceId: dev_id, virtId: virt_id })
    return { set: { out_vdevice_id: vdeviceId } }
  }),
]

type Invalidate = typeof structs.HWPT_INVALIDATE.fields

/** How many were done is written back whatever happens. */
function invalidate(call: Call, values: ValuesOf<Invalidate>, user: UserMemory) {
  const { hwpt_id, data_uptr, data_type, entry_len, entry_num, __reserved } = values
  const answer = ({ doneCount, refusal }: InvalidateReply): CommandAnswer<Invalidate> => ({
    set: { entry_num: doneCount },
    refusal,
  })
  const refused = refusalOf(() => {
    refuseReserved(__reserved)
    if (entry_num === 0 || (data_uptr !== 0n && entry_len !== 0)) return
    throw new Refusal('EINVAL', 'data_uptr and entry_len say where the entries are, and one is 0')
  })
  if (refused !== undefined) return answer({ doneCount: 0, refusal: detailOf(refused) })
  const array = { address: data_uptr, type: data_type, entryLength: entry_len, count: entry_num }
  const ofViommu = call.context.objects.find(hwpt_id) instanceof Viommu
  const entries = entriesBehind(user, array, invalidateKind(data_type, ofViommu))
  return onceDone(invalidateObject(call, hwpt_id, entries), answer)
}

/** What the driver answers in the data that came with the call. */
function writeReply(user: UserMemory, { ops, mapPlace }: Viommu, { address, length }: DataAt): void {
  if (ops.reply === undefined) return
  const bytes = user.read(address, length)
  put(SELFTEST_VIOMMU, bytes, ops.reply)
  if (mapPlace !== undefined) {
    put(SELFTEST_VIOMMU, bytes, { out_mmap_offset: mapPlace.offset, out_mmap_length: mapPlace.length })
  }
  user.write(address, bytes)
}
