/**
 * A small Linux: what a program that opens /dev/iommu and VFIO files would be answered, written from iommufd's rules
 * alone. It is itself compared with the recordings, and the daemon with it where there is no recording.
 */

import { Attachments } from './attach.js'
import { ERRNO, No, no, Struct } from './bytes.js'
import { CALLS } from './calls.js'
import { type Device, Opened, type TestDevice } from './objects.js'
import { removeTestDevice, testCommand } from './selftest.js'
import type { Unit } from './units.js'

/** Memory beside a struct. */
export interface Beside {
  readonly address: bigint
  readonly bytes: Uint8Array
}

/** What came of a call; errno 0: it succeeded. */
export interface Outcome {
  readonly errno: number
  readonly struct: Uint8Array
  readonly memory: Uint8Array | undefined
}

const SCRATCH = { start: 0x2000_0000n, end: 0x2001_0000n }
const IOMMU = 100
const SECOND = 103
const MEMFD = 110

/** A VFIO file. */
interface DeviceFile {
  bound: { readonly opened: Opened; readonly device: Device } | undefined
  /** VFIO's own notes of what is attached. */
  isAttached: boolean
  readonly pasids: Set<number>
}

/** The kernel, and the one program that uses it. */
export class Linux {
  readonly unit: Unit
  readonly opened = new Opened()
  readonly #second = new Opened()
  readonly files = new Map<number, DeviceFile>()
  readonly attachments: Attachments
  readonly #secondAttachments: Attachments
  #beside: Beside | undefined

  constructor(unit: Unit) {
    this.unit = unit
    this.attachments = new Attachments(this.opened, unit)
    this.#secondAttachments = new Attachments(this.#second, unit)
  }

  open(fd: number): void {
    this.files.set(fd, { bound: undefined, isAttached: false, pasids: new Set() })
  }

  close(fd: number): void {
    const file = this.files.get(fd)
    this.files.delete(fd)
    const bound = file?.bound
    if (bound === undefined) return
    const { opened, device } = bound
    for (const pasid of [...device.slots.keys()].sort((a, b) => b - a))
      this.#attachmentsOf(opened).detach(device, pasid)
    removeDevice(opened, device)
  }

  ioctl(fd: number, command: number, input: Uint8Array, beside: Beside | undefined): Outcome {
    this.#beside = beside && { address: beside.address, bytes: beside.bytes.slice() }
    const s = new Struct(input.slice())
    let late: No | undefined
    try {
      late = fd === IOMMU || fd === SECOND ? this.#iommu(fd, command, s) : this.#vfio(fd, command, s)
    } catch (error) {
      if (!(error instanceof No)) throw error
      return { errno: ERRNO[error.errno], struct: input, memory: this.#beside?.bytes }
    }
    return { errno: late === undefined ? 0 : ERRNO[late.errno], struct: s.bytes, memory: this.#beside?.bytes }
  }

  #iommu(fd: number, command: number, s: Struct): No | undefined {
    const isTest = command === 0x3ba0 && this.unit.kind === 'mock'
    const found = (command & 0xffff_ff00) === 0x3b00 ? CALLS.get(command & 0xff) : undefined
    const form = isTest ? { bytes: 72, least: 68 } : found
    if (form === undefined) throw new No('ENOTTY')
    const size = s.u32(0)
    no('EINVAL', size < form.least)
    no('E2BIG', size > s.bytes.length || s.bytes.subarray(form.bytes, size).some((byte) => byte !== 0))
    // What it is too short for reads as zero and is not written back.
    const known = new Struct(s.bytes.slice(0, Math.min(size, form.bytes)))
    const kernel = {
      opened: fd === IOMMU ? this.opened : this.#second,
      unit: this.unit,
      read: (address: bigint, length: number) => this.#read(address, length),
      write: (address: bigint, bytes: Uint8Array) => this.#write(address, bytes),
      removeTestDevice: (test: TestDevice) => removeTestDevice(this, test),
      file: (number: number) => this.#file(number),
    }
    const answer = isTest ? testCommand(this, kernel, known) : found!.run(kernel, known)
    s.bytes.set(known.bytes)
    return answer?.late
  }

  #file(fd: number): { isMemfd: boolean } {
    no('EBADF', ![0, 1, 2, IOMMU, SECOND, MEMFD].includes(fd) && !this.files.has(fd))
    return { isMemfd: fd === MEMFD }
  }

  #read(address: bigint, length: number): Uint8Array {
    const end = address + BigInt(length)
    no('EFAULT', address < SCRATCH.start || end > SCRATCH.end)
    const bytes = new Uint8Array(length)
    const { address: from, bytes: had } = this.#beside ?? { address, bytes: new Uint8Array() }
    bytes.set(had.subarray(Number(address - from), Number(end - from)))
    return bytes
  }

  #write(address: bigint, bytes: Uint8Array): void {
    no('EFAULT', address < SCRATCH.start || address + BigInt(bytes.length) > SCRATCH.end)
    if (this.#beside === undefined) return
    const at = Number(address - this.#beside.address)
    this.#beside.bytes.set(bytes.subarray(0, Math.max(0, this.#beside.bytes.length - at)), at)
  }

  #attachmentsOf = (opened: Opened): Attachments =>
    opened === this.opened ? this.attachments : this.#secondAttachments

  #vfio(fd: number, command: number, s: Struct): undefined {
    const file = this.files.get(fd)
    if (file === undefined) throw new No('EBADF')
    if (command === 0x3b76) return this.#bind(file, s)
    no('EINVAL', file.bound === undefined)
    if (command === 0x3b77) return this.#attach(file, s)
    if (command === 0x3b78) return this.#detach(file, s)
    throw new No('ENOTTY')
  }

  #bind(file: DeviceFile, s: Struct): undefined {
    const [size, flags, iommu] = [s.u32(0), s.u32(4), s.u32(8) | 0]
    no('EINVAL', size < 16)
    // Of more than the recorded bytes only the program knows; only a huge claim reaches beyond what it had cleared.
    no('E2BIG', size > 256)
    no('EINVAL', iommu < 0 || (flags & ~1) !== 0 || file.bound !== undefined)
    no('EFAULT', flags === 1)
    this.#file(iommu)
    no('EBADFD', iommu !== IOMMU && iommu !== SECOND)
    const opened = iommu === IOMMU ? this.opened : this.#second
    const device = opened.add(newDevice(opened.freeId(), this.unit))
    file.bound = { opened, device }
    s.put32(12, device.id)
  }

  #attach(file: DeviceFile, s: Struct): undefined {
    const [size, flags, ptId, pasid] = [s.u32(0), s.u32(4), s.u32(8), s.u32(12)]
    no('EINVAL', size < 12 || (flags & ~1) !== 0 || (flags === 1 && size < 16))
    const { opened, device } = file.bound!
    const attachments = this.#attachmentsOf(opened)
    let id: number
    if (flags === 1) {
      no('ENOSPC', pasid >= 2 ** 31)
      if (file.pasids.has(pasid)) id = attachments.replace(device, pasid, ptId).id
      else id = attachments.attach(device, pasid, ptId).id
      file.pasids.add(pasid)
    } else {
      id = (file.isAttached ? attachments.replace(device, 0, ptId) : attachments.attach(device, 0, ptId)).id
      file.isAttached = true
    }
    s.put32(8, id)
  }

  #detach(file: DeviceFile, s: Struct): undefined {
    const [size, flags, pasid] = [s.u32(0), s.u32(4), s.u32(8)]
    no('EINVAL', size < 8 || (flags & ~1) !== 0 || (flags === 1 && size < 12))
    const { opened, device } = file.bound!
    if (flags === 1 && file.pasids.delete(pasid)) this.#attachmentsOf(opened).detach(device, pasid)
    if (flags === 0 && file.isAttached) {
      file.isAttached = false
      this.#attachmentsOf(opened).detach(device, 0)
    }
  }
}

/** A device that was just bound. */
export const newDevice = (id: number, unit: Unit, maxPasids = 0, hasDirty = unit.tracksDirty): Device => ({
  kind: 'device',
  id,
  slots: new Map(),
  maxPasids,
  hasDirty,
  reserved: unit.msi,
  cache: [0xbaddad, 0xbaddad, 0xbaddad, 0xbaddad],
  hadPasids: false,
})

/** A device goes; its place in a guest stays as a number that nobody gets. */
export function removeDevice(opened: Opened, device: Device): void {
  const vdevice = opened.vdeviceOf(device)
  if (vdevice !== undefined) {
    opened.remove(vdevice)
    opened.tombstones.add(vdevice.id)
  }
  opened.remove(device)
}
