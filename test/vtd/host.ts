/** A machine of one VT-d unit with its driver, a client's memory, and a guest that writes first-stage tables into it. */

import { Memory, SparseBacking } from '../../hw-model/memory/index.js'
import { ACCESS, NO_PASID, Outcome, STATUS } from '../../hw-model/port.js'
import type { DeviceDriver, PagingFlags, PagingOps, UserOps } from '../../server/core/driver.js'
import { givenData } from '../../server/core/driver.js'
import { HostRam } from '../../server/drivers/host-ram.js'
import { createVtdDriver, type VtdFault, type VtdUnitDescription } from '../../server/drivers/vtd/index.js'

/** Physical address of the client's memory; guest-physical 0 of every nesting parent below. */
export const CLIENT = 0x1_0000_0000
const CLIENT_BYTES = 64 * 2 ** 20

/** Flags of a paging domain. */
export const PLAIN: PagingFlags = { nestParent: false, dirtyTracking: false, pasid: false }
export const NEST_PARENT: PagingFlags = { nestParent: true, dirtyTracking: false, pasid: false }

/** Everything a driver test needs. */
export function makeHost(options: Partial<VtdUnitDescription> = {}, pasidLg2 = 20) {
  const memory = new Memory()
  const ram = new HostRam(memory, 0x40_0000_0000, 256 * 2 ** 20)
  memory.place(CLIENT, new SparseBacking(CLIENT_BYTES))
  const faults: VtdFault[] = []
  const driver = createVtdDriver({ name: 'vtd0', memory, ram, onFault: (fault) => faults.push(fault), ...options })
  const probe = (rid: number, ats = false): DeviceDriver => driver.probe({ rid, pasidLg2, ats, pri: false })
  return { memory, ram, driver, faults, probe }
}

/** What a DMA answers: a physical address, or the fault's name. */
export function dma(device: DeviceDriver, iova: bigint, access: 'r' | 'w' = 'r', pasid = NO_PASID): string {
  const out = new Outcome()
  const bits = access === 'w' ? ACCESS.WRITE : ACCESS.READ
  device.port.translate(pasid, Number(iova & 0xffffffffn), Number(iova >> 32n), bits, out)
  if (out.status === STATUS.OK) return `0x${out.address.toString(16)}`
  return out.status === STATUS.FAULT ? device.port.faultName(out.fault) : 'aborted'
}

/** A nesting parent that maps guest-physical 0 to the client's memory. */
export function makeParent(host: ReturnType<typeof makeHost>, device: DeviceDriver): PagingOps {
  const parent = host.driver.createPaging(device, NEST_PARENT)
  parent.map(0n, CLIENT, BigInt(CLIENT_BYTES), { read: true, write: true })
  return parent
}

/** A user domain over the table at a guest-physical address. */
export const makeUser = (
  host: ReturnType<typeof makeHost>,
  device: DeviceDriver,
  parent: PagingOps,
  root: number,
): UserOps =>
  host.driver.createUserDomain(
    device,
    parent,
    givenData('vtd_s1', { flags: 0n, pgtblAddr: BigInt(root), addrWidth: 48 }),
  )

/** Present, writable, user, accessed, dirty. */
export const FS_RW = 0x67

/**
 * Writes a four-level first-stage path in guest memory, table n at `tables[n]`, level 3 first.
 *
 * @param tables guest-physical addresses of the four tables
 * @param leaf the 4 KiB leaf entry
 */
export function guestMaps(memory: Memory, tables: readonly number[], iova: bigint, leaf: bigint): void {
  for (let step = 0; step < 4; step++) {
    const level = 3 - step
    const index = Number((iova >> BigInt(12 + 9 * level)) & 511n)
    const entry = level === 0 ? leaf : BigInt(tables[step + 1] | FS_RW)
    memory.storeWord(CLIENT + tables[step] + index * 8, Number(BigInt.asIntN(32, entry)), Number(entry >> 32n))
  }
}
