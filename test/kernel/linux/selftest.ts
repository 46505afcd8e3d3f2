/** The self-test's own command, IOMMU_TEST_CMD, as far as the recordings go. */

import { No, no, type Struct, TOP } from './bytes.js'
import type { Kernel } from './calls.js'
import { type Linux, newDevice, removeDevice } from './kernel.js'
import type { Paging, TestDevice } from './objects.js'
import { isMapped, isTaken } from './space.js'

const MAX_PASIDS = 2 ** 20
const SMALL = 2048n

/** Does one. */
export function testCommand(linux: Linux, kernel: Kernel, s: Struct): undefined {
  const { opened } = kernel
  const id = s.u32(8)
  switch (s.u32(4)) {
    case 1:
      return reserve(kernel, s)
    case 2:
    case 12:
      return addDevice(linux, s, s.u32(4) === 12 ? s.u32(28) : 0)
    case 3:
      return checkMap(kernel, s)
    case 10: {
      const { device } = opened.get('selftest', id)
      s.put32(16, linux.attachments.replace(device, 0, s.u32(16)).id)
      return
    }
    case 13:
      return markDirty(kernel, s)
    case 14: {
      const hwpt = opened.get('nested', id)
      no('EINVAL', s.u32(16) > 3 || hwpt.iotlb[s.u32(16)] !== s.u32(20))
      return
    }
    case 16: {
      const device = opened.get('device', id)
      no('EINVAL', s.u32(16) > 3 || device.cache[s.u32(16)] !== s.u32(20))
      return
    }
    case 18:
      linux.attachments.attach(opened.get('selftest', id).device, s.u32(16), s.u32(20))
      return
    case 19:
      linux.attachments.replace(opened.get('selftest', id).device, s.u32(16), s.u32(20))
      return
    case 20:
      linux.attachments.detach(opened.get('selftest', id).device, s.u32(16))
      return
    case 21:
      return checkHwpt(opened.get('selftest', id), kernel, s)
    default:
      throw new No('EOPNOTSUPP')
  }
}

function reserve({ opened }: Kernel, s: Struct): undefined {
  const [start, length] = [s.u64(16), s.u64(24)]
  no('EINVAL', length === 0n)
  no('EOVERFLOW', start + length - 1n > TOP)
  const ioas = opened.get('ioas', s.u32(8))
  const span = { start, last: start + length - 1n }
  no('EADDRINUSE', isTaken(ioas, span))
  ioas.reserved.push({ ...span, owner: 'the test' })
}

/** Numbers are given to the test's object, the device, and then perhaps to a domain. */
function addDevice({ opened, attachments, unit }: Linux, s: Struct, flags: number): undefined {
  no('EINVAL', (flags & ~5) !== 0)
  const id = opened.freeId()
  const maxPasids = (flags & 4) === 0 ? 1 : MAX_PASIDS
  const device = newDevice(opened.freeId(id + 1), unit, maxPasids, (flags & 1) === 0)
  const test: TestDevice = { kind: 'selftest', id, device }
  // The test's object is not there for anybody until the call is done; the device is.
  opened.building.add(id)
  opened.add(device)
  try {
    s.put32(20, attachments.attach(device, 0, s.u32(8)).id)
  } catch (error) {
    opened.remove(device)
    throw error
  } finally {
    opened.building.delete(id)
  }
  opened.add(test)
  s.put32(16, id).put32(24, device.id)
}

/** The test's device goes with its object. */
export function removeTestDevice({ opened, attachments }: Linux, test: TestDevice): void {
  attachments.detach(test.device, 0)
  removeDevice(opened, test.device)
  opened.remove(test)
}

function checkMap({ opened }: Kernel, s: Struct): undefined {
  const [iova, length, address] = [s.u64(16), s.u64(24), s.u64(32)]
  const hwpt: Paging = opened.get('paging', s.u32(8))
  const page = hwpt.minPage
  no('EINVAL', iova % page !== 0n || length % page !== 0n || address % page !== 0n)
  no('EINVAL', address + length > TOP)
  for (let at = 0n; at < length; at += page) {
    no('EFAULT', !isMapped({ start: address + at, last: address + at }))
    const area = hwpt.ioas.areas.find(({ start, last }) => start <= iova + at && iova + at <= last)
    no('EINVAL', area === undefined || area.pages.kind !== 'user')
    no('EINVAL', area!.from + (iova + at - area!.start) !== address + at)
  }
}

function markDirty({ opened, read }: Kernel, s: Struct): undefined {
  const [iova, length, page, address] = [s.u64(24), s.u64(32), s.u64(40), s.u64(48)]
  no('EINVAL', page === 0n || length === 0n || iova % page !== 0n || length % page !== 0n || address === 0n)
  const hwpt = opened.get('paging', s.u32(8))
  no('EINVAL', !hwpt.isTracking)
  const count = Number(length / page)
  const bits = read(address, Math.ceil(count / 8))
  let marked = 0n
  for (let i = 0; i < count; i++) {
    if (((bits[i >> 3] >> (i & 7)) & 1) === 0) continue
    marked++
    const at = iova + BigInt(i) * page
    if (hwpt.ioas.areas.some(({ start, last }) => start <= at && at <= last)) hwpt.dirty.add(at / SMALL)
  }
  s.put64(56, marked)
}

function checkHwpt({ device }: TestDevice, { opened }: Kernel, s: Struct): undefined {
  const [pasid, hwptId] = [s.u32(16), s.u32(20)]
  const attached = device.slots.get(pasid)
  if (hwptId === 0) return no('EINVAL', attached !== undefined) as undefined
  const found = opened.things.get(hwptId)
  no('ENOENT', found === undefined)
  no('EINVAL', found !== attached)
}

/** Dirty bits of a range, OR-ed into the program's memory; a hole ends it. Unless they stay, they are clean then. */
export function collectDirty({ read, write }: Kernel, hwpt: Paging, s: Struct): void {
  const [iova, length, page, address] = [s.u64(16), s.u64(24), s.u64(32), s.u64(40)]
  const keeps = (s.u32(8) & 1) !== 0
  const lowest = page & -page
  for (let at = iova; at < iova + length; at += SMALL) {
    if (!hwpt.ioas.areas.some(({ start, last }) => start <= at && at <= last)) return
    if (!hwpt.dirty.has(at / SMALL)) continue
    const bit = Number((at - iova) / lowest)
    try {
      const byte = read(address + BigInt(bit >> 3), 1)
      write(address + BigInt(bit >> 3), Uint8Array.of(byte[0] | (1 << (bit & 7))))
    } catch (error) {
      if (!(error instanceof No)) throw error
    }
    if (!keeps) hwpt.dirty.delete(at / SMALL)
  }
}
