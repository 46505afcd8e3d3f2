/** The self-test unit through the ioctl door. */

import type { CoreOptions } from '../../server/core/core.js'
import { Door, join, words } from '../uapi/door.js'
import { selftestMachine } from './world.js'

/** IOMMU_TEST_CMD. */
export const TEST = 0x3ba0

/** A context in front of the self-test unit alone. */
export class SelftestDoor extends Door {
  constructor(options: Partial<CoreOptions> = {}) {
    super({ ...options, machine: selftestMachine().machine as never })
  }

  /** An IOMMU_TEST_CMD: the union's members are given from offset 16 on. */
  static test(op: number, id: number, ...union: readonly Uint8Array[]): Uint8Array {
    const arg = new Uint8Array(72)
    arg.set(join(words(72, op, id, 0), ...union))
    return arg
  }
}
