/** The ioctls of /dev/iommu as calls of the typed contract. */

import { Ioas } from '../../server/core/ioas.js'
import { PagingDomain } from '../../server/core/paging-domain.js'
import { Refusal } from '../../server/core/refusal.js'
import { Viommu } from '../../server/core/viommu.js'
import { dataAt, type Entry, entry, inStep, type Replay, skip, type Translate } from './replay.js'
import { StandIn } from './stand-in.js'
import type { Line } from './transcript.js'

/** Flags of HWPT_ALLOC. */
export const HWPT = { NEST_PARENT: 1, DIRTY_TRACKING: 2, FAULT_ID_VALID: 4, PASID: 8 } as const

const E2BIG = 7

const destroy: Translate<'DESTROY'> = (replay, { id }) => {
  replay.do('Destroy', { objectId: id })
  return {}
}

const ioasAlloc: Translate<'IOAS_ALLOC'> = (replay, { flags }) => ({
  set: { out_ioas_id: replay.do('CreateIoas', { flags }).ioasId },
})

const allowIovas: Translate<'IOAS_ALLOW_IOVAS'> = (replay, { ioas_id, num_iovas, allowed_iovas }, line) => {
  const ranges = rangesOf(dataAt(line, allowed_iovas, num_iovas * 16))
  const { refusal } = replay.do('IoasAllowIovas', { ioasId: ioas_id, ranges })
  return { errno: refusal?.errno }
}

const iovaRanges: Translate<'IOAS_IOVA_RANGES'> = (replay, { ioas_id, num_iovas, allowed_iovas }, line) => {
  dataAt(line, allowed_iovas, num_iovas * 16)
  const reply = replay.do('IoasIovaRanges', { ioasId: ioas_id, maxRanges: num_iovas })
  const memory = new BigUint64Array(reply.ranges.flatMap(({ first, last }) => [first, last]))
  return {
    errno: reply.refusal?.errno,
    set: { num_iovas: reply.totalCount, out_iova_alignment: reply.iovaAlignment },
    memory: new Uint8Array(memory.buffer),
  }
}

const map: Translate<'IOAS_MAP'> = (replay, { flags, ioas_id, user_va, length, iova }) => ({
  set: { iova: replay.do('IoasMap', { flags, ioasId: ioas_id, userVa: user_va, length, iova }).iova },
})

const mapFile: Translate<'IOAS_MAP_FILE'> = (replay, { flags, ioas_id, fd, start, length, iova }) => {
  const file = { regionId: replay.fileRegions.get(fd), fd }
  return { set: { iova: replay.do('IoasMapFile', { flags, ioasId: ioas_id, ...file, start, length, iova }).iova } }
}

const copy: Translate<'IOAS_COPY'> = (replay, { flags, dst_ioas_id, src_ioas_id, length, dst_iova, src_iova }) => {
  const ids = { dstIoasId: dst_ioas_id, srcIoasId: src_ioas_id }
  const { dstIova } = replay.do('IoasCopy', { flags, ...ids, length, dstIova: dst_iova, srcIova: src_iova })
  return { set: { dst_iova: dstIova } }
}

const unmap: Translate<'IOAS_UNMAP'> = (replay, { ioas_id, iova, length }) => ({
  set: { length: replay.do('IoasUnmap', { ioasId: ioas_id, iova, length }).length },
})

const option: Translate<'OPTION'> = (replay, { option_id, op, object_id, val64 }) => {
  if (op > 1) skip('operation')
  // The contract counts options from 1.
  const name = { option: option_id + 1, objectId: object_id }
  if (op === 1) return { set: { val64: replay.do('GetOption', name).value } }
  replay.do('SetOption', { ...name, value: val64 })
  return {}
}

const vfioIoas: Translate<'VFIO_IOAS'> = (replay, { ioas_id, op }) => {
  if (op > 2) skip('operation')
  if (op === 0) return { set: { ioas_id: replay.do('GetVfioIoas', {}).ioasId } }
  if (op === 1) replay.do('SetVfioIoas', { ioasId: ioas_id })
  else replay.do('ClearVfioIoas', {})
  return {}
}

const hwptAlloc: Translate<'HWPT_ALLOC'> = (replay, values, line) => {
  const { flags, dev_id, pt_id, data_type, data_len } = values
  if ((data_type === 0) !== (data_len === 0)) skip('data')
  const on = replay.context.objects.find(pt_id)
  const isNested = on instanceof PagingDomain || on instanceof Viommu
  if (isNested ? data_type === 0 : on instanceof Ioas && data_type !== 0) skip('data')
  const common = { deviceId: dev_id, faultQueueId: values.fault_id }
  const target = on instanceof Viommu ? { viommuId: pt_id } : { parentDomainId: pt_id }
  const data = isNested ? userData(values, line) : {}
  const make = (withFlags: number): number =>
    isNested
      ? replay.do('CreateUserDomain', { ...common, ...target, ...data, flags: withFlags }).domainId
      : replay.do('CreatePagingDomain', { ...common, ioasId: pt_id, flags: withFlags }).domainId
  return { set: { out_hwpt_id: makeDomain(replay, flags, values.fault_id, make) } }
}

/** Makes a domain. Core has no fault queues and says so last; where the recording has one, the domain is made without and holds it. */
export function makeDomain(replay: Replay, flags: number, faultId: number, make: (flags: number) => number): number {
  const queue = replay.context.objects.find(faultId)
  if ((flags & HWPT.FAULT_ID_VALID) === 0) return make(flags)
  try {
    return make(flags)
  } catch (error) {
    const isLastCheck = error instanceof Refusal && error.context['fault_queue_id'] === faultId
    if (!isLastCheck || !(queue instanceof StandIn) || queue.kind !== 'fault queue') throw error
  }
  const id = make(flags & ~HWPT.FAULT_ID_VALID)
  const domain = replay.context.objects.find(id)!
  queue.hold(domain)
  replay.faultHolds.push({ domain, queue })
  return id
}

function userData(
  values: { readonly data_type: number; readonly data_len: number; readonly data_uptr: bigint },
  line: Line,
) {
  const { data_type, data_len, data_uptr } = values
  const isVtd = data_type === 1 && data_len === 24
  if (!isVtd && !(data_type === 2 && data_len === 16)) skip('data')
  const bytes = dataAt(line, data_uptr, data_len)
  const view = new DataView(bytes.slice().buffer)
  const at = (offset: number): bigint => view.getBigUint64(offset, true)
  return isVtd
    ? { vtdS1: { flags: at(0), pgtblAddr: at(8), addrWidth: view.getUint32(16, true) } }
    : { smmuv3Ste: { ste0: at(0), ste1: at(8) } }
}

const invalidate: Translate<'HWPT_INVALIDATE'> = (replay, values, line) => {
  const { hwpt_id, data_uptr, data_type, entry_len, entry_num } = values
  if (entry_num !== 0 && (data_uptr === 0n || entry_len === 0)) skip('entry length')
  if (data_type > 1) skip('data')
  const isViommu = replay.context.objects.find(hwpt_id) instanceof Viommu
  const target = isViommu ? { viommuId: hwpt_id } : { userDomainId: hwpt_id }
  const raw = dataAt(line, data_uptr, entry_num * entry_len)
  const bytes = data_type === 0 ? 24 : 16
  const views = Array.from({ length: entry_num }, (_, index) => {
    const entry = raw.subarray(index * entry_len, (index + 1) * entry_len)
    if (line.errno === E2BIG && entry.subarray(bytes).some((byte) => byte !== 0)) skip('entry length')
    const whole = new Uint8Array(bytes)
    whole.set(entry.subarray(0, bytes))
    return new DataView(whole.buffer)
  })
  const entries = data_type === 0 ? { vtdS1: { entries: views.map(range) } } : { smmuv3: { entries: views.map(words) } }
  const { doneCount, refusal } = replay.do('InvalidateIotlb', { ...target, ...entries })
  if (refusal?.reason.includes('CERROR_ILL')) inStep('CERROR_ILL')
  return { errno: refusal?.errno, set: { entry_num: doneCount } }
}

const range = (view: DataView) => ({
  addr: view.getBigUint64(0, true),
  npages: view.getBigUint64(8, true),
  flags: view.getUint32(16, true),
})

const words = (view: DataView) => ({ dw0: view.getBigUint64(0, true), dw1: view.getBigUint64(8, true) })

const viommuAlloc: Translate<'VIOMMU_ALLOC'> = (replay, { flags, type, dev_id, hwpt_id }) => {
  const { viommuId } = replay.do('CreateViommu', { flags, type, deviceId: dev_id, parentDomainId: hwpt_id })
  return { set: { out_viommu_id: viommuId } }
}

const vdeviceAlloc: Translate<'VDEVICE_ALLOC'> = (replay, { viommu_id, dev_id, virt_id }) => {
  const { vdeviceId } = replay.do('CreateVdevice', { viommuId: viommu_id, deviceId: dev_id, virtId: virt_id })
  return { set: { out_vdevice_id: vdeviceId } }
}

const faultQueueAlloc: Translate<'FAULT_QUEUE_ALLOC'> = (replay, _values, line) =>
  standFor(replay, line, 'fault queue', 8)

const veventqAlloc: Translate<'VEVENTQ_ALLOC'> = (replay, { viommu_id }, line) =>
  standFor(replay, line, 'event queue', 20, viommu_id)

const hwQueueAlloc: Translate<'HW_QUEUE_ALLOC'> = () => skip('queues')

/** An object that core does not make, at the id that the kernel gave it. */
function standFor(replay: Replay, line: Line, kind: string, idAt: number, holds?: number): never {
  if (line.errno !== 0) skip('queues')
  const held = holds === undefined ? [] : [replay.context.objects.find(holds)!]
  const { id } = StandIn.make(replay.context, kind, held)
  const recorded = Buffer.from(line.out ?? '', 'hex').readUInt32LE(idAt)
  inStep('queues', id === recorded ? undefined : `the ${kind} has id ${id}, in the recording ${recorded}`)
}

const changeProcess: Translate<'IOAS_CHANGE_PROCESS'> = (replay) => {
  replay.do('IoasChangeProcess', {})
  return {}
}

const setDirtyTracking: Translate<'HWPT_SET_DIRTY_TRACKING'> = (replay, { flags, hwpt_id }) => {
  replay.do('SetDirtyTracking', { flags, domainId: hwpt_id })
  return {}
}

/** What it leaves in memory is not compared: nothing is dirty in a recording. */
const getDirtyBitmap: Translate<'HWPT_GET_DIRTY_BITMAP'> = (replay, { hwpt_id, flags, iova, length, page_size }) => {
  try {
    replay.do('GetDirtyBitmap', { domainId: hwpt_id, flags, iova, length, pageSize: page_size })
  } catch (error) {
    // The last check of all.
    if (error instanceof Refusal && error.name === 'EMSGSIZE') return {}
    throw error
  }
  return {}
}

const unknown: Translate<'OPAQUE'> = () => skip('command')

/** By the name of the call in the recordings. */
export const IOMMU_CALLS: Readonly<Record<string, Entry>> = {
  DESTROY: entry('DESTROY', destroy),
  IOAS_ALLOC: entry('IOAS_ALLOC', ioasAlloc),
  IOAS_ALLOW_IOVAS: entry('IOAS_ALLOW_IOVAS', allowIovas),
  IOAS_COPY: entry('IOAS_COPY', copy),
  IOAS_IOVA_RANGES: entry('IOAS_IOVA_RANGES', iovaRanges),
  IOAS_MAP: entry('IOAS_MAP', map),
  IOAS_MAP_FILE: entry('IOAS_MAP_FILE', mapFile),
  IOAS_UNMAP: entry('IOAS_UNMAP', unmap),
  OPTION: entry('OPTION', option),
  VFIO_IOAS: entry('VFIO_IOAS', vfioIoas),
  HWPT_ALLOC: entry('HWPT_ALLOC', hwptAlloc),
  HWPT_INVALIDATE: entry('HWPT_INVALIDATE', invalidate),
  VIOMMU_ALLOC: entry('VIOMMU_ALLOC', viommuAlloc),
  VDEVICE_ALLOC: entry('VDEVICE_ALLOC', vdeviceAlloc),
  FAULT_QUEUE_ALLOC: entry('FAULT_QUEUE_ALLOC', faultQueueAlloc),
  VEVENTQ_ALLOC: entry('VEVENTQ_ALLOC', veventqAlloc),
  HW_QUEUE_ALLOC: entry('HW_QUEUE_ALLOC', hwQueueAlloc),
  IOAS_CHANGE_PROCESS: entry('IOAS_CHANGE_PROCESS', changeProcess),
  HWPT_SET_DIRTY_TRACKING: entry('HWPT_SET_DIRTY_TRACKING', setDirtyTracking),
  HWPT_GET_DIRTY_BITMAP: entry('HWPT_GET_DIRTY_BITMAP', getDirtyBitmap),
  UNKNOWN: entry('OPAQUE', unknown),
}

function rangesOf(bytes: Uint8Array) {
  const view = new DataView(bytes.slice().buffer)
  return Array.from({ length: bytes.length / 16 }, (_, index) => ({
    first: view.getBigUint64(index * 16, true),
    last: view.getBigUint64(index * 16 + 8, true),
  }))
}
