/** open(2): files by path, and files on objects and regions. */

import type { Call } from '../core/call.js'
import { Device } from '../core/device.js'
import { FaultQueue } from '../core/fault-queue.js'
import { ACCOUNT_MODE } from '../core/locked.js'
import type { IommuObject } from '../core/object.js'
import { Refusal } from '../core/refusal.js'
import { Veventq } from '../core/veventq.js'
import type { File } from './file.js'
import { IOMMU_FILE } from './iommu-file.js'
import { FaultQueueFile, VeventqFile } from './queue-files.js'
import { RegionFile } from './region-file.js'
import { DeviceFile } from './vfio-device.js'

/** What OpenHandle takes. */
export interface OpenRequest {
  readonly path?: string
  readonly objectId?: number
  readonly regionId?: number
}

const DEVICES = '/dev/vfio/devices/'
const CONTAINER = '/dev/vfio/vfio'

/** Opens a file. */
export function openHandle(call: Call, request: OpenRequest): { handle: number } {
  const handle = call.context.files.open(call, () => fileOf(call, request))
  // A container's memory is the process's to account for, from then on.
  if (request.path === CONTAINER) call.context.accountMode = ACCOUNT_MODE.PROCESS
  return { handle }
}

function fileOf(call: Call, { path, objectId, regionId }: OpenRequest): File {
  if (path !== undefined) return fileAtPath(call, path)
  if (objectId !== undefined) return fileOn(call, objectId)
  if (regionId !== undefined) return new RegionFile(call.context.regions.get(regionId))
  throw new Refusal('EINVAL', 'nothing is named: set path, object_id or region_id')
}

function fileAtPath(call: Call, path: string): File {
  if (path === '/dev/iommu' || path === CONTAINER) return IOMMU_FILE
  const device = path.startsWith(DEVICES)
    ? call.core.machine.devices.find(({ name, driver }) => DEVICES + name === path && driver.kind !== 'selftest')
    : undefined
  if (device !== undefined) return new DeviceFile(device)
  const reason = `there are /dev/iommu, /dev/vfio/vfio and ${DEVICES}NAME for each device of ListDevices`
  throw new Refusal('ENOENT', reason, { path })
}

function fileOn(call: Call, id: number): File {
  const object: IommuObject | undefined = call.context.objects.find(id)
  const is = call.context.objects.describe(id)
  if (object === undefined) throw new Refusal('ENOENT', is, { object_id: id })
  // The file of a test device is its own object.
  const isTest = object instanceof Device && object.platform.driver.kind === 'selftest'
  if (object instanceof Device && !isTest) return new DeviceFile(object.platform, object)
  if (object instanceof FaultQueue) return new FaultQueueFile(object)
  if (object instanceof Veventq) return new VeventqFile(object)
  throw new Refusal('EINVAL', `${is}, which has no file`, { object_id: id })
}
