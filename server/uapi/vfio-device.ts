/** /dev/vfio/devices/NAME: a device of the platform. Binding it makes it an object of the context. */

import type { Call } from '../core/call.js'
import type { Device } from '../core/device.js'
import type { Completion } from '../core/driver.js'
import type { PlatformDevice } from '../core/machine.js'
import { unknownCommand } from './dispatch.js'
import type { File, IoctlAnswer, IoctlArgs, MaybeLater } from './file.js'

/** An open device. */
export class DeviceFile implements File {
  readonly platform: PlatformDevice
  /** What it is bound as; undefined before. Another door may have unbound it. */
  #device: Device | undefined

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

  ioctl(_call: Call, { cmd }: IoctlArgs): MaybeLater<IoctlAnswer> {
    throw unknownCommand(cmd)
  }

  /** Detaches everything and unbinds it. [uAPI close(2)] */
  close(): Completion {
    return this.device?.unbind()
  }
}
