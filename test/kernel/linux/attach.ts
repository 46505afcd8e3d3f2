/** Attaching and replacing, by RID and by PASID. */

import { No, no } from './bytes.js'
import type { Device, Hwpt, Ioas, Opened, Paging } from './objects.js'
import { isTaken, join } from './space.js'
import type { Unit } from './units.js'

const RID = 0

/** The address space that a domain's addresses are of. */
const ioasOf = (hwpt: Hwpt): Ioas => {
  if (hwpt.kind === 'paging') return hwpt.ioas
  return hwpt.parent.kind === 'paging' ? hwpt.parent.ioas : hwpt.parent.parent.ioas
}

function reserve(ioas: Ioas, device: Device): void {
  for (const span of device.reserved) no('EADDRINUSE', isTaken(ioas, span))
  ioas.reserved.push(...device.reserved.map((span) => ({ ...span, owner: device })))
}

function unreserve(ioas: Ioas, device: Device): void {
  ioas.reserved = ioas.reserved.filter(({ owner }) => owner !== device)
}

/** Devices, their domains, and what the unit's driver says to it. */
export class Attachments {
  readonly #opened: Opened
  readonly #unit: Unit

  constructor(opened: Opened, unit: Unit) {
    this.#opened = opened
    this.#unit = unit
  }

  /** Attaches; answers the domain. */
  attach(device: Device, pasid: number, ptId: number): Hwpt {
    return this.#pick(device, ptId, (hwpt) => this.#attachTo(device, pasid, hwpt), false)
  }

  /** Replaces; answers the domain. */
  replace(device: Device, pasid: number, ptId: number): Hwpt {
    return this.#pick(device, ptId, (hwpt) => this.#replaceBy(device, pasid, hwpt), true)
  }

  detach(device: Device, pasid: number): void {
    const hwpt = device.slots.get(pasid)
    if (hwpt === undefined) return
    device.slots.delete(pasid)
    if (pasid === RID) unreserve(ioasOf(hwpt), device)
    this.#dropAuto(hwpt)
  }

  #pick(device: Device, ptId: number, doIt: (hwpt: Hwpt) => void, isReplace: boolean): Hwpt {
    const found = this.#opened.things.get(ptId)
    no('ENOENT', found === undefined)
    if (found?.kind === 'paging' || found?.kind === 'nested') {
      doIt(found)
      return found
    }
    if (found?.kind !== 'ioas') throw new No('EINVAL')
    for (const hwpt of this.#opened.domainsOf(found).filter(({ isAuto }) => isAuto)) {
      try {
        doIt(hwpt)
        return hwpt
      } catch (error) {
        if (!(error instanceof No) || error.errno !== 'EINVAL') throw error
      }
    }
    const hwpt = this.#newAuto(found)
    const steps = [() => doIt(hwpt), () => join(this.#opened, found, hwpt)]
    if (isReplace) steps.reverse()
    try {
      for (const step of steps) step()
    } catch (error) {
      if (!isReplace) for (const [pasid, each] of [...device.slots]) if (each === hwpt) this.detach(device, pasid)
      this.#opened.remove(hwpt)
      throw error
    }
    this.#opened.add(hwpt)
    return hwpt
  }

  #newAuto(ioas: Ioas): Paging {
    const kind = this.#unit.paging(0, undefined)
    const id = this.#opened.freeId()
    return {
      kind: 'paging',
      id,
      ioas,
      ...kind,
      isParent: false,
      takesPasids: false,
      isAuto: true,
      fault: undefined,
      isTracking: false,
      dirty: new Set<bigint>(),
    }
  }

  #attachTo(device: Device, pasid: number, hwpt: Hwpt): void {
    no('EBUSY', device.slots.has(pasid))
    const ioas = ioasOf(hwpt)
    if (pasid === RID) reserve(ioas, device)
    try {
      this.#check(device, pasid, hwpt)
    } catch (error) {
      if (pasid === RID) unreserve(ioas, device)
      throw error
    }
    device.slots.set(pasid, hwpt)
    if (pasid !== RID) device.hadPasids = true
  }

  #replaceBy(device: Device, pasid: number, hwpt: Hwpt): void {
    const old = device.slots.get(pasid)
    if (old === undefined) throw new No('EINVAL')
    if (old === hwpt) return
    const [from, to] = [ioasOf(old), ioasOf(hwpt)]
    if (pasid === RID && from !== to) reserve(to, device)
    try {
      this.#check(device, pasid, hwpt)
    } catch (error) {
      // In the same address space what goes is what the old domain had.
      if (pasid === RID) unreserve(to, device)
      throw error
    }
    if (pasid === RID && from !== to) unreserve(from, device)
    device.slots.set(pasid, hwpt)
    this.#dropAuto(old)
  }

  /** PASIDs go with PASIDs; then the driver. */
  #check(device: Device, pasid: number, hwpt: Hwpt): void {
    const hasPasids = [...device.slots.keys()].some((each) => each !== RID)
    if (pasid === RID) no('EINVAL', hasPasids && !hwpt.takesPasids)
    else {
      const rid = device.slots.get(RID)
      no('EINVAL', !hwpt.takesPasids || (rid !== undefined && !rid.takesPasids))
    }
    if (pasid !== RID) {
      no('EINVAL', device.maxPasids > 0 && pasid >= device.maxPasids)
      return
    }
    no('ENODEV', this.#unit.faultsNeedPri && hwpt.fault !== undefined)
    no('EINVAL', hwpt.kind === 'paging' && hwpt.hasDirty && !device.hasDirty)
    if (hwpt.kind === 'nested' && hwpt.needsVdevice && hwpt.parent.kind === 'viommu') {
      no('ENOENT', this.#opened.vdeviceOf(device, hwpt.parent) === undefined)
    }
  }

  #dropAuto(hwpt: Hwpt): void {
    if (hwpt.kind === 'paging' && hwpt.isAuto && !this.#opened.isHeld(hwpt)) this.#opened.remove(hwpt)
  }
}
