/** /dev/iommu: the file of a context itself. Its handle 0 is always open; any other handle of it is as good. */

import type { Call } from '../core/call.js'
import { mapPage } from '../core/map-space.js'
import type { Command } from './command.js'
import { dispatch } from './dispatch.js'
import { type File, fileAt, IOMMU_PATH } from './file.js'
import { IOAS_COMMANDS } from './ioas-commands.js'
import { OBJECT_COMMANDS } from './object-commands.js'
import { QUEUE_COMMANDS } from './queue-commands.js'
import { TEST_COMMAND, TEST_NR } from './test-command.js'
import { containerIoctl } from './vfio-container.js'

/** Numbers of the table of commands. Those outside it are the VFIO container's. */
const FIRST_NR = 0x80
const LAST_NR = 0x94

const COMMANDS: ReadonlyMap<number, Command> = new Map(
  [...IOAS_COMMANDS, ...OBJECT_COMMANDS, ...QUEUE_COMMANDS].map((one) => [one.cmd & 0xff, one]),
)

/** A kernel that was built for its self-test has one more, and so a longer table. */
const TEST_COMMANDS: ReadonlyMap<number, Command> = new Map([...COMMANDS, [TEST_NR, TEST_COMMAND]])

/** Opened as `/dev/iommu` or, with the container's way of accounting, as `/dev/vfio/vfio`. */
export const IOMMU_FILE: File = {
  name: IOMMU_PATH,
  ioctl(call, args) {
    const nr = args.cmd & 0xff
    const isTest = call.core.machine.selftest !== undefined
    if (nr < FIRST_NR || nr > (isTest ? TEST_NR : LAST_NR)) return containerIoctl(call, args)
    return dispatch(call, (isTest ? TEST_COMMANDS : COMMANDS).get(nr), args)
  },
  map: mapPage,
  close: () => undefined,
}

/** The file of any handle. @throws Refusal EBADF */
export const openFile = (call: Call, handle: number): File => (handle === 0 ? IOMMU_FILE : fileAt(call, handle))
