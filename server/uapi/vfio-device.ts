/**
 * /dev/vfio/devices/NAME: a device of the platform. Binding it makes it an object of the context; then its RID and its
 * PASIDs can be attached. Flags and sizes are VFIO's own rules. [uAPI VFIO_DEVICE_*]
 */

import type { Call } from '../core/call.js'
import type { Device } from '../core/device.js'
import {
  attachPasid,
  attachRid,
  bindDevice,
  detachPasid,
  detachRid,
  replacePasid,
  replaceRid,
  resetDevice,
} from '../core/device-calls.js'
import { type Completion, RID_SLOT } from '../core/driver.js'
import type { PlatformDevice } from '../core/machine.js'
import { assert, Refusal } from '../core/refusal.js'
import { unknownCommand } from './dispatch.js'
import { type File, type IoctlAnswer, type IoctlArgs, type MaybeLater, onceDone } from './file.js'
import { IOMMU_FILE, openFile } from './iommu-file.js'
import { put } from './struct.js'
import type { UserMemory } from './user-memory.js'
import {
  ATTACH_IOMMUFD_PT,
  BIND_IOMMUFD,
  DETACH_IOMMUFD_PT,
  DEVICE_INFO,
  readFirst,
  readUpTo,
  refuseShort,
  refuseUnknownFlags,
  VFIO,
} from './vfio-structs.js'

/** [uAPI VFIO_DEVICE_BIND_FLAG_TOKEN, VFIO_DEVICE_ATTACH_PASID, VFIO_DEVICE_DETACH_PASID] */
const TOKEN = 1
const PASID = 1
const TOKEN_BYTES = 16
/** [uAPI VFIO_DEVICE_FLAGS_RESET] */
const CAN_RESET = 1

/** An open device. */
export class DeviceFile implements File {
  readonly platform: PlatformDevice
  /** What it is bound as; undefined before. Another door may have unbound it. */
  #device: Device | undefined
  /** The RID was filled by way of "PASID 0", which VFIO keeps apart: only that way changes or empties it. */
  #ridIsPasidZero = false

  constructor(platform: PlatformDevice, device?: Device) {
    this.platform = platform
    this.#device = device
  }

  get name(): string {
    return `/dev/vfio/devices/${this.platform.name}`
  }

  /** The object it is bound as, if it still is. */
  get device(): Device | undefined {
    const device = this.#device
    return device !== undefined && device.context.objects.find(device.id) === device ? device : undefined
  }

  get ends(): Device | undefined {
    return this.device
  }

  ioctl(call: Call, args: IoctlArgs): MaybeLater<IoctlAnswer> {
    if (args.cmd === VFIO.DEVICE_BIND_IOMMUFD) return this.#bind(call, args)
    const { device } = this
    if (device === undefined) {
      throw new Refusal('EINVAL', `${this.name} is not bound; VFIO_DEVICE_BIND_IOMMUFD comes first`)
    }
    switch (args.cmd) {
      case VFIO.DEVICE_ATTACH_IOMMUFD_PT:
        return this.#attach(call, device, args)
      case VFIO.DEVICE_DETACH_IOMMUFD_PT:
        return this.#detach(call, device, args)
      case VFIO.DEVICE_GET_INFO:
        return info(args)
      case VFIO.DEVICE_RESET:
        resetDevice(call, { deviceId: device.id })
        return DONE
      default:
        throw unknownCommand(args.cmd)
    }
  }

  /** Detaches everything and unbinds it. [uAPI close(2)] */
  close(): Completion {
    return this.device?.unbind()
  }

  #bind(call: Call, { arg, user }: IoctlArgs): IoctlAnswer {
    const { argsz } = readUpTo(BIND_IOMMUFD, arg, 4)
    refuseShort(BIND_IOMMUFD, argsz, BIND_IOMMUFD.minBytes)
    refuseTail(arg, argsz)
    const { flags, iommufd, token_uuid_ptr } = readUpTo(BIND_IOMMUFD, arg, Math.min(argsz, BIND_IOMMUFD.bytes))
    if (iommufd < 0) throw new Refusal('EINVAL', 'iommufd is negative', { iommufd })
    refuseUnknownFlags(flags, TOKEN)
    if (this.device !== undefined) {
      const { id } = this.device
      throw new Refusal('EINVAL', `this file is bound already, as id ${id}; closing it unbinds`, { device_id: id })
    }
    if (flags === TOKEN) refuseToken(user, token_uuid_ptr)
    if (openFile(call, iommufd) !== IOMMU_FILE) {
      throw new Refusal('EBADFD', `handle ${iommufd} is open and is no /dev/iommu`, { iommufd })
    }
    this.#refuseOpen(call)
    const { deviceId } = bindDevice(call, { deviceName: this.platform.name, grant: 0 })
    const device = call.core.bound.get(this.platform)
    assert(device?.id === deviceId, 'what was bound is bound')
    device.takesAnyPasid = true
    this.#device = device
    this.#ridIsPasidZero = false
    put(BIND_IOMMUFD, arg, { out_devid: deviceId })
    return DONE
  }

  /** A device can be open for use once, whoever has it. The typed call tells contexts apart; VFIO does not. */
  #refuseOpen(call: Call): void {
    const by = call.core.bound.get(this.platform)
    if (by === undefined) return
    const whose = by.context === call.context ? `this context, as id ${by.id}` : 'another context'
    throw new Refusal('EINVAL', `${this.platform.name} is bound by ${whose}, through another file`)
  }

  #attach(call: Call, device: Device, { arg }: IoctlArgs): MaybeLater<IoctlAnswer> {
    const { argsz, flags, pt_id } = readFirst(ATTACH_IOMMUFD_PT, arg)
    refuseUnknownFlags(flags, PASID)
    const request = { deviceId: device.id, ptId: pt_id }
    const answer = ({ domainId }: { readonly domainId: number }): IoctlAnswer => {
      put(ATTACH_IOMMUFD_PT, arg, { pt_id: domainId })
      return DONE
    }
    if (flags === 0) return onceDone((this.#hasRid(device) ? replaceRid : attachRid)(call, request), answer)
    refuseShort(ATTACH_IOMMUFD_PT, argsz, ATTACH_IOMMUFD_PT.bytes)
    const { pasid } = readUpTo(ATTACH_IOMMUFD_PT, arg, ATTACH_IOMMUFD_PT.bytes)
    if (pasid !== RID_SLOT || this.#hasWindow(device)) {
      const there = device.slots.get(pasid)
      const fill = there === undefined || there.kind === 'window' ? attachPasid : replacePasid
      return onceDone(fill(call, { ...request, pasid }), answer)
    }
    // PASID 0 names the RID's own slot.
    if (this.#hasPasidZero(device)) return onceDone(replaceRid(call, request), answer)
    return onceDone(attachRid(call, request), (attached) => {
      this.#ridIsPasidZero = true
      return answer(attached)
    })
  }

  #detach(call: Call, device: Device, { arg }: IoctlArgs): IoctlAnswer {
    const { argsz, flags } = readFirst(DETACH_IOMMUFD_PT, arg)
    refuseUnknownFlags(flags, PASID)
    if (flags === 0) {
      if (this.#hasRid(device)) detachRid(call, { deviceId: device.id })
      return DONE
    }
    refuseShort(DETACH_IOMMUFD_PT, argsz, DETACH_IOMMUFD_PT.bytes)
    const { pasid } = readUpTo(DETACH_IOMMUFD_PT, arg, DETACH_IOMMUFD_PT.bytes)
    if (pasid !== RID_SLOT || this.#hasWindow(device)) detachPasid(call, { deviceId: device.id, pasid })
    else if (this.#hasPasidZero(device)) {
      detachRid(call, { deviceId: device.id })
      this.#ridIsPasidZero = false
    }
    return DONE
  }

  #hasRid(device: Device): boolean {
    return device.slots.has(RID_SLOT) && !this.#ridIsPasidZero
  }

  /** PASID 0 is a place in the RID's window, and not the RID itself. */
  #hasWindow(device: Device): boolean {
    return this.#hasRid(device) && device.slots.get(RID_SLOT)?.window !== undefined
  }

  #hasPasidZero(device: Device): boolean {
    return device.slots.has(RID_SLOT) && this.#ridIsPasidZero
  }
}

const DONE: IoctlAnswer = { result: 0 }

/** Bytes behind the struct that are known must be zero. @throws Refusal E2BIG, EFAULT */
function refuseTail(arg: Uint8Array, argsz: number): void {
  const extra = arg.subarray(BIND_IOMMUFD.bytes, argsz).findIndex((byte) => byte !== 0)
  if (extra >= 0) {
    const reason = `struct ${BIND_IOMMUFD.name} has ${BIND_IOMMUFD.bytes} bytes here, and one behind them is not zero`
    throw new Refusal('E2BIG', reason, { argsz })
  }
  if (argsz > arg.length) {
    throw new Refusal('EFAULT', `the struct ends after ${arg.length} bytes, and its argsz says ${argsz}`, { argsz })
  }
}

/** Tokens are for functions of SR-IOV, which no device here is. @throws Refusal EFAULT, EINVAL */
function refuseToken(user: UserMemory, at: bigint): never {
  user.read(at, TOKEN_BYTES)
  throw new Refusal('EINVAL', 'the device asks for no token: it is neither a virtual function nor has any')
}

/** It can be reset. Its registers and interrupts are the owner's to emulate, so there are no regions. */
function info({ arg }: IoctlArgs): IoctlAnswer {
  const { argsz } = readFirst(DEVICE_INFO, arg)
  const bytes = Math.min(argsz, DEVICE_INFO.bytes)
  readUpTo(DEVICE_INFO, arg, bytes)
  put(DEVICE_INFO, arg.subarray(0, bytes), { argsz, flags: CAN_RESET, num_regions: 0, num_irqs: 0, cap_offset: 0 })
  return DONE
}
