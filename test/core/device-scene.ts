/** A device with ATS, attached to an IOAS with some memory: who tells a story of it begins here. */

import type { FakeDevice } from './fake-device.js'
import { World } from './world.js'

export const OK = 1
export const FAULT = 2
export const ABORTED = 3
export const PENDING = 5
export const READ = 1
export const WRITE = 2
export const THROUGH_ATC = 1
export const TRANSLATED = 2

/** IOVA 0x4000 is the region's byte 0x3000; four pages. */
export const IOVA = 0x4000n
export const OFFSET = 0x3000n

/** One client with a device whose RID is attached, and PASID 3 on Arm's too. */
export function scene(name: 'arm/ats' | 'intel/ats' = 'arm/ats', world = new World()) {
  const ioas = world.ioas()
  const region = world.region()
  const deviceId = world.bind(name)
  world.map(ioas, region, 0x4000n, IOVA, OFFSET)
  const domain = world.paging(deviceId, ioas, 8)
  world.do('AttachRid', { deviceId, ptId: domain })
  const hardware = world.machine.devices.find((device) => device.name === name)?.device as FakeDevice
  return {
    world,
    ioas,
    region,
    deviceId,
    domain,
    hardware,
    ask: (iovas: bigint[], access = 0, pasid?: number) =>
      world.do('RequestTranslations', { deviceId, iovas: BigUint64Array.from(iovas), access, pasid }),
    read: (address: bigint, addressType: number, regionId = region, pasid?: number, length = 4) =>
      world.do('DmaRead', { deviceId, pasid, addressType, operations: [{ address, length, regionId }] }).results[0],
    write: (address: bigint, addressType: number, regionId = region, data = Uint8Array.of(1)) =>
      world.do('DmaWrite', { deviceId, addressType, operations: [{ address, data, regionId }] }).results[0],
    poll: () => world.do('PollInvalidations', { deviceId }).invalidations,
    complete: (...tags: bigint[]) => world.do('CompleteInvalidations', { deviceId, tags: BigUint64Array.from(tags) }),
    unmap: (iova = IOVA, length = 0x4000n) => world.begin('IoasUnmap', { ioasId: ioas, iova, length }),
    await: (...ids: bigint[]) => world.do('AwaitDma', { transactionIds: BigUint64Array.from(ids) }),
  }
}

/** Whether a promise has ended by now. */
export async function hasEnded(promise: unknown): Promise<boolean> {
  let ended = false
  void Promise.resolve(promise).then(() => {
    ended = true
  })
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
  return ended
}
