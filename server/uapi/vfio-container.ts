/** What a VFIO container's ioctls do on /dev/iommu. [uAPI linux/vfio.h] */

import type { Call } from '../core/call.js'
import { unknownCommand } from './dispatch.js'
import type { IoctlAnswer, IoctlArgs, MaybeLater } from './file.js'

/** Any ioctl whose number is outside the table of /dev/iommu. @throws Refusal ENOTTY */
export function containerIoctl(_call: Call, { cmd }: IoctlArgs): MaybeLater<IoctlAnswer> {
  throw unknownCommand(cmd)
}
