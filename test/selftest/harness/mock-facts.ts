/** What the mock's user provokes and looks at: page faults of a device, and what a device caches. */

import { expect } from 'vitest'
import { struct, u32 } from './bytes.js'
import { type Lab, testCommand } from './lab.js'
import { OP } from './mock-world.js'

/** Cache entries of a mock device, and what they hold at first. */
const CACHES = 4

/** What an entry of a mock device's cache holds at first. */
export const CACHED = 0xbaddad

/** A device asks for a page on a PASID; the fault is read, and answered with success. */
export async function faultRoundTrip({ iommufd, process }: Lab, dev: number, pasid: number, fd: number): Promise<void> {
  const [group, access, address] = [2, 3, 0xdeadbeafn]
  const body = struct([4, dev], [4, pasid], [4, group], [4, access], [8, address])
  expect((await testCommand(iommufd, OP.TRIGGER_IOPF, 0, body)).errno).toBe(0)
  const { data } = await process.client.readHandle({ handle: fd, count: 40 })
  expect([data.length, u32(data, 4), u32(data, 8), u32(data, 12)]).toEqual([40, dev, pasid, group])
  const response = struct([4, u32(data, 36)], [4, 0])
  expect((await process.client.writeHandle({ handle: fd, data: response })).count).toBe(8)
}

/** A mock device's cache holds these; one value is that of all entries. */
export async function expectCaches({ iommufd }: Lab, dev: number, ...values: readonly number[]): Promise<void> {
  for (let at = 0; at < CACHES; at++) {
    const body = struct([4, at], [4, values[at] ?? values[0]])
    const { errno } = await testCommand(iommufd, OP.DEV_CHECK_CACHE, dev, body)
    expect([at, errno]).toEqual([at, 0])
  }
}
