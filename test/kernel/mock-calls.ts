/** The calls of the kernel's self-test driver, with what it answers differently in the ordinary ones. */

import type { Device } from '../../server/core/device.js'
import { Ioas } from '../../server/core/ioas.js'
import { PagingDomain } from '../../server/core/paging-domain.js'
import { Refusal } from '../../server/core/refusal.js'
import { UserDomain } from '../../server/core/user-domain.js'
import { Viommu } from '../../server/core/viommu.js'
import { HWPT, IOMMU_CALLS, makeDomain } from './calls.js'
import { type MockMachine, MockViommu } from './mock-driver.js'
import { dataAt, type Entry, entry, inStep, type Replay, skip, type Translate } from './replay.js'
import { StandIn } from './stand-in.js'
import type { Line } from './transcript.js'

const HWPT_DATA = 0xdead
const HW_INFO = { type: 0xfeedbeef, register: 0xdeadbeef, bytes: 8 } as const
const KNOWN_DEVICE_FLAGS = 5
const TEST_DEVICE = 'test device'

/** By the name of the call in the recordings. */
export function mockCalls(machine: MockMachine): Readonly<Record<string, Entry>> {
  /** Devices by the id of their stand-in. */
  const devices = new Map<StandIn, Device>()

  function deviceOf(replay: Replay, id: number): Device {
    const device = devices.get(replay.context.objects.find(id) as StandIn)
    if (device === undefined) throw new Refusal('ENOENT', `id ${id} is no test device`)
    return device
  }

  const mockDomain: Translate<'TEST_CMD'> = (replay, { op, id: ptId, d: flags }) => {
    const deviceFlags = op === OP_MOCK_DOMAIN_FLAGS ? flags : 0
    if ((deviceFlags & ~KNOWN_DEVICE_FLAGS) !== 0) throw new Refusal('EINVAL', 'a flag of a test device is not known')
    const { context } = replay
    const holder: { device?: Device } = {}
    const standIn = StandIn.make(context, TEST_DEVICE, [], () => {
      // The end of the context unbinds devices before it comes to the rest.
      if (holder.device !== undefined && context.objects.find(holder.device.id) === holder.device)
        holder.device.unbind()
      devices.delete(standIn)
    })
    const { deviceId } = replay.do('BindDevice', { deviceName: machine.addDevice(deviceFlags), grant: 0 })
    holder.device = context.objects.find(deviceId) as Device
    devices.set(standIn, holder.device)
    try {
      const { domainId } = replay.do('AttachRid', { deviceId, ptId })
      return { set: { a: standIn.id, b: domainId, c: deviceId } }
    } catch (error) {
      context.discard(standIn)
      throw error
    }
  }

  const replace: Translate<'TEST_CMD'> = (replay, { id, a: ptId }) => {
    const { domainId } = replay.do('ReplaceRid', { deviceId: deviceOf(replay, id).id, ptId })
    return { set: { a: domainId } }
  }

  const attachPasid =
    (name: 'AttachPasid' | 'ReplacePasid'): Translate<'TEST_CMD'> =>
    (replay, { id, a: pasid, b: ptId }) => {
      if (pasid === 0) skip('PASID 0')
      if (pasid >= 2 ** 31) skip('PASID 2^31')
      replay.do(name, { deviceId: deviceOf(replay, id).id, pasid, ptId })
      return {}
    }

  const detachPasid: Translate<'TEST_CMD'> = (replay, { id, a: pasid }) => {
    const { id: deviceId } = deviceOf(replay, id)
    // Here, unlike in VFIO, PASID 0 is the RID.
    if (pasid === 0) replay.do('DetachRid', { deviceId })
    else replay.do('DetachPasid', { deviceId, pasid })
    return {}
  }

  return {
    ...IOMMU_CALLS,
    GET_HW_INFO: entry('GET_HW_INFO', getHwInfo),
    HWPT_ALLOC: entry('HWPT_ALLOC', hwptAlloc(machine)),
    HWPT_INVALIDATE: entry('HWPT_INVALIDATE', ofMockType),
    VIOMMU_ALLOC: entry('VIOMMU_ALLOC', viommuAlloc(machine)),
    HW_QUEUE_ALLOC: entry('HW_QUEUE_ALLOC', hwQueueAlloc),
    TEST_MOCK_DOMAIN: entry('TEST_CMD', mockDomain),
    TEST_MOCK_DOMAIN_REPLACE: entry('TEST_CMD', replace),
    TEST_PASID_ATTACH: entry('TEST_CMD', attachPasid('AttachPasid')),
    TEST_PASID_REPLACE: entry('TEST_CMD', attachPasid('ReplacePasid')),
    TEST_PASID_DETACH: entry('TEST_CMD', detachPasid),
    TEST_ADD_RESERVED: entry('TEST_ADD_RESERVED', addReserved),
    TEST_PASID_CHECK_HWPT: entry('OPAQUE', looksOnly),
    TEST_DEV_CHECK_CACHE: entry('OPAQUE', looksOnly),
    TEST_DIRTY: entry('OPAQUE', looksOnly),
    TEST_MD_CHECK_IOTLB: entry('OPAQUE', looksOnly),
    TEST_MD_CHECK_MAP: entry('OPAQUE', looksOnly),
  }
}

const OP_MOCK_DOMAIN_FLAGS = 12

const looksOnly: Translate<'OPAQUE'> = (_replay, _values, line) =>
  line.errno === 0 ? inStep('test device') : skip('test device')

const ofMockType: Translate<'HWPT_INVALIDATE'> = (_replay, _values, line) =>
  line.errno === 0 ? inStep('mock type') : skip('mock type')

const addReserved: Translate<'TEST_ADD_RESERVED'> = (replay, { id, start, length }) => {
  const ioas = replay.context.objects.find(id)
  if (length === 0n || start + length > 2n ** 64n) skip('test device')
  if (!(ioas instanceof Ioas)) throw new Refusal('ENOENT', `id ${id} is no IOAS`)
  ioas.reserve({ owner: { id: 0, kind: 'test' }, ranges: [{ start, last: start + length - 1n }] })
  return {}
}

const getHwInfo: Translate<'GET_HW_INFO'> = (replay, values, line) => {
  const { flags, dev_id, data_len, data_uptr, data_type } = values
  if (flags > 1) skip('info flags')
  const requestedType = flags === 0 || data_type === 0 || data_type === HW_INFO.type ? 0 : 2
  const { maxPasidLog2, capabilities } = replay.do('GetHwInfo', { deviceId: dev_id, requestedType })
  dataAt(line, data_uptr, data_len)
  const memory = new Uint8Array(data_len)
  memory.set(new Uint8Array(Uint32Array.of(0, HW_INFO.register).buffer).subarray(0, data_len))
  const set = { data_len: HW_INFO.bytes, data_type: HW_INFO.type, out_max_pasid_log2: maxPasidLog2 }
  return { set: { ...set, out_capabilities: capabilities }, memory }
}

/** Data of the test driver's type reach it beside the typed call: a table format, or nothing that core looks at. */
const hwptAlloc =
  (machine: MockMachine): Translate<'HWPT_ALLOC'> =>
  (replay, values, line) => {
    const { flags, dev_id, pt_id, data_type, data_len } = values
    if ((data_type === 0) !== (data_len === 0)) skip('data')
    const on = replay.context.objects.find(pt_id)
    const isNested = on instanceof PagingDomain || on instanceof Viommu
    if (data_type !== 0 ? data_type !== HWPT_DATA || data_len < 4 || data_len > 8 : isNested) skip('data')
    if (on instanceof Viommu) return nestedOnViommu(replay, on, values, line)
    const data = new Uint8Array(8)
    data.set(dataAt(line, values.data_uptr, data_len))
    machine.driver.nextTable = new DataView(data.buffer).getUint32(4, true)
    const vtdS1 = { flags: 0n, pgtblAddr: 0n, addrWidth: 48 }
    const common = { deviceId: dev_id, faultQueueId: values.fault_id }
    const make = (withFlags: number): number =>
      isNested
        ? replay.do('CreateUserDomain', { ...common, parentDomainId: pt_id, vtdS1, flags: withFlags }).domainId
        : replay.do('CreatePagingDomain', { ...common, ioasId: pt_id, flags: withFlags }).domainId
    return { set: { out_hwpt_id: makeDomain(replay, flags, values.fault_id, make) } }
  }

function nestedOnViommu(
  replay: Replay,
  on: Viommu,
  { flags, fault_id }: { readonly flags: number; readonly fault_id: number },
  line: Line,
): never {
  if (line.errno !== 0) skip('mock type')
  const { context } = replay
  context.quota.charge('objects')
  const ops = (on.ops as MockViommu).createUserDomain()
  const made = new UserDomain(context.objects.reserve(), on, ops, (flags & HWPT.PASID) !== 0)
  context.objects.publish(made)
  if ((flags & HWPT.FAULT_ID_VALID) !== 0) {
    const queue = context.objects.find(fault_id) as StandIn
    queue.hold(made)
    replay.faultHolds.push({ domain: made, queue })
  }
  inStep('mock type', wrongId(made.id, line, 16))
}

const viommuAlloc =
  (machine: MockMachine): Translate<'VIOMMU_ALLOC'> =>
  (replay, { hwpt_id }, line) => {
    if (line.errno !== 0) skip('mock type')
    const { context } = replay
    const parent = context.objects.find(hwpt_id) as PagingDomain
    context.quota.charge('objects')
    const made = new Viommu(context.objects.reserve(), parent, new MockViommu(machine.driver, parent.flags))
    context.objects.publish(made)
    inStep('mock type', wrongId(made.id, line, 20))
  }

/** The queue, and the hidden object that pins its page. */
const hwQueueAlloc: Translate<'HW_QUEUE_ALLOC'> = (replay, { viommu_id }, line) => {
  if (line.errno !== 0) skip('queues')
  const { context } = replay
  const viommu = context.objects.find(viommu_id) as Viommu
  const hidden: { pin?: StandIn } = {}
  const queue = StandIn.make(context, 'hardware queue', [viommu], () => {
    hidden.pin?.drop(queue)
    if (hidden.pin !== undefined) context.discard(hidden.pin)
  })
  hidden.pin = StandIn.make(context, 'pin', [viommu.parent.ioas])
  hidden.pin.hold(queue)
  inStep('queues', wrongId(queue.id, line, 20))
}

function wrongId(id: number, line: Line, at: number): string | undefined {
  const recorded = Buffer.from(line.out ?? '', 'hex').readUInt32LE(at)
  return id === recorded ? undefined : `made by hand with id ${id}, in the recording ${recorded}`
}
