/** A machine with the self-test unit alone, and a core on it. */

import type { Machine, SelftestUnit } from '../../server/core/machine.js'
import { createMachine } from '../../server/drivers/machine.js'
import { World } from '../core/world.js'

const files = {
  roots: [],
  map: () => {
    throw new Error('nothing maps files here')
  },
}

/** A machine without any platform. */
export function selftestMachine(): { machine: Machine; selftest: SelftestUnit } {
  const machine = createMachine({ platform: { units: [], devices: [] }, files, testDevice: true })
  return { machine, selftest: machine.selftest! }
}

/** One client of it. */
export class SelftestWorld extends World {
  readonly selftest: SelftestUnit

  constructor() {
    const { machine, selftest } = selftestMachine()
    super({ machine: machine as never })
    this.selftest = selftest
  }
}
