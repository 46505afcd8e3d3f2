/** VFIO's ioctls on a device file, and GET_HW_INFO, as calls of the typed contract. */

import { type Answer, dataAt, type Entry, entry, inStep, type Replay, skip, type Translate } from './replay.js'
import { claimedSize } from './structs.js'
import { bytesOf, type Line } from './transcript.js'

/** Bits of the ID registers that a replay's unit has and the recorded one had not, or the other way round. */
export interface HwInfoExcuse {
  /** Each 32-bit word of the data with the bits that are not compared. */
  readonly ignored: Readonly<Record<number, number>>
}

const BIND_LEAST = 16

const bind: Translate<'VFIO_DEVICE_BIND_IOMMUFD'> = (replay, { flags, iommufd }, line) => {
  const file = replay.files.get(line.fd)!
  if (claimedSize(bytesOf(line.in!)) < BIND_LEAST || flags !== 0) skip('VFIO flags')
  const token = replay.tokens.get(iommufd)
  if (file.bound === undefined && token === undefined) skip('descriptor')
  // A file that is bound already is refused whatever the descriptor is.
  const inContext = file.bound?.token ?? token
  const { deviceId } = replay.do('BindDevice', { deviceName: file.device, grant: 0 }, inContext)
  file.bound = { token: inContext!, id: deviceId }
  return { set: { out_devid: deviceId } }
}

const attach: Translate<'VFIO_DEVICE_ATTACH_IOMMUFD_PT'> = (replay, { flags, pt_id, pasid }, line) => {
  const { token, id } = boundOf(replay, line)
  const size = claimedSize(bytesOf(line.in!))
  if (flags > 1 || (flags === 1 && size < 16)) skip('VFIO flags')
  if (flags === 1 && pasid === 0) skip('PASID 0')
  const slot = flags === 1 ? pasid : 0
  const isThere = replay.do('GetDevice', { deviceId: id }, token).attachments.some((one) => one.pasid === slot)
  const request = { deviceId: id, ptId: pt_id }
  if (slot === 0) return domain(replay.do(isThere ? 'ReplaceRid' : 'AttachRid', request, token))
  return domain(replay.do(isThere ? 'ReplacePasid' : 'AttachPasid', { ...request, pasid }, token))
}

const domain = ({ domainId }: { domainId: number }): Answer => ({ set: { pt_id: domainId } })

const detach: Translate<'VFIO_DEVICE_DETACH_IOMMUFD_PT'> = (replay, { flags, pasid }, line) => {
  const { token, id } = boundOf(replay, line)
  if (flags > 1 || (flags === 1 && claimedSize(bytesOf(line.in!)) < 12)) skip('VFIO flags')
  if (flags === 1) replay.do('DetachPasid', { deviceId: id, pasid }, token)
  else replay.do('DetachRid', { deviceId: id }, token)
  return {}
}

function boundOf(replay: Replay, line: Line): { readonly token: string; readonly id: number } {
  return replay.files.get(line.fd)?.bound ?? skip('not bound')
}

const open: Translate<'OPAQUE'> = () => inStep('file')

const close: Translate<'OPAQUE'> = (replay, _values, line) => {
  const file = replay.files.get(line.fd)!
  if (file.bound !== undefined) replay.do('UnbindDevice', { deviceId: file.bound.id }, file.bound.token)
  file.bound = undefined
  return inStep('file')
}

const getHwInfo =
  (excuse: HwInfoExcuse): Translate<'GET_HW_INFO'> =>
  (replay, { flags, dev_id, data_len, data_uptr, data_type }, line) => {
    if (flags > 1) skip('info flags')
    const reply = replay.do('GetHwInfo', { deviceId: dev_id, requestedType: flags === 1 ? data_type : 0 })
    dataAt(line, data_uptr, data_len)
    const { vtd, smmuv3 } = reply
    const data =
      vtd === undefined
        ? Uint32Array.of(smmuv3!.flags, 0, ...smmuv3!.idr, smmuv3!.iidr, smmuv3!.aidr)
        : new Uint32Array(BigUint64Array.of(BigInt(vtd.flags), vtd.capReg, vtd.ecapReg).buffer)
    // What the kernel has no data for is zeroed.
    const memory = new Uint8Array(data_len)
    memory.set(excused(data, excuse, line).subarray(0, data_len))
    const { type, maxPasidLog2, capabilities } = reply
    const set = { data_len: data.byteLength, data_type: type, out_max_pasid_log2: maxPasidLog2 }
    return { set: { ...set, out_capabilities: capabilities }, memory }
  }

/** The data with the excused bits as the recording has them. */
function excused(data: Uint32Array, { ignored }: HwInfoExcuse, line: Line): Uint8Array {
  const recorded = new Uint8Array(data.byteLength)
  recorded.set(bytesOf(line.mem_out ?? '').subarray(0, data.byteLength))
  const words = new Uint32Array(recorded.buffer)
  for (const [word, mask] of Object.entries(ignored)) {
    const at = Number(word)
    data[at] = (data[at] & ~mask) | (words[at] & mask)
  }
  return new Uint8Array(data.buffer)
}

/** By the name of the call in the recordings. */
export const vfioCalls = (excuse: HwInfoExcuse): Readonly<Record<string, Entry>> => ({
  open: entry('OPAQUE', open),
  close: entry('OPAQUE', close),
  GET_HW_INFO: entry('GET_HW_INFO', getHwInfo(excuse)),
  VFIO_DEVICE_BIND_IOMMUFD: entry('VFIO_DEVICE_BIND_IOMMUFD', bind),
  VFIO_DEVICE_ATTACH_IOMMUFD_PT: entry('VFIO_DEVICE_ATTACH_IOMMUFD_PT', attach),
  VFIO_DEVICE_DETACH_IOMMUFD_PT: entry('VFIO_DEVICE_DETACH_IOMMUFD_PT', detach),
})
