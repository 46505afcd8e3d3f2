/** The self-test's command: one number, many operations. It is there with --test-device. [uAPI IOMMU_TEST_CMD] */

import { Refusal } from '../core/refusal.js'
import { type Command, type CommandAnswer, command, type Run } from './command.js'
import { ACCESS_OPS } from './test-access.js'
import { DEVICE_OPS } from './test-devices.js'
import { DMABUF_OPS } from './test-dmabuf.js'
import { DOMAIN_OPS } from './test-domains.js'
import { MEMORY_OPS } from './test-memory.js'
import { TEST_CMD } from './test-structs.js'

/** Its number; those between it and the last ordinary command are holes of the table. */
export const TEST_NR = 0xa0

/** What an operation does. */
export type TestRun = Run<typeof TEST_CMD.fields>

/** What it answers. */
export type TestAnswer = CommandAnswer<typeof TEST_CMD.fields>

const OPS: Readonly<Record<number, TestRun>> = {
  ...ACCESS_OPS,
  ...DEVICE_OPS,
  ...DMABUF_OPS,
  ...DOMAIN_OPS,
  ...MEMORY_OPS,
}

/** The command. */
export const TEST_COMMAND: Command = command(TEST_NR, TEST_CMD, (call, values, user) => {
  const run = OPS[values.op]
  if (run === undefined) throw new Refusal('EOPNOTSUPP', `operation ${values.op} is not known`, { op: values.op })
  return run(call, values, user)
})
