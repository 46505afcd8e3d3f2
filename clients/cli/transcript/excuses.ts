/**
 * Answers that differ because the recorded machine is not the one that is emulated. Each rule names the property of that
 * machine that explains it; whatever no rule explains is a mismatch.
 */

import type { Answer } from './answer.js'
import type { RecordedCall, UnitKind } from './recording.js'
import { COMMAND, wordAt } from './uapi.js'

/** One property of a recorded machine, and the answers that it explains. */
export interface Excuse {
  readonly name: string
  /** The property, in a sentence. */
  readonly property: string
  explains(unit: UnitKind, line: RecordedCall, answer: Answer): boolean
}

const EIO = 5
const ENTRY_NUM = 24

/** All rules. */
export const EXCUSES: readonly Excuse[] = [
  {
    name: 'qemu-forgives-illegal-commands',
    property:
      'QEMU’s SMMUv3 ignores bits of a guest’s command at which hardware stops its queue with CERROR_ILL; a queue that ' +
      'several guests share must not stop, so such a command is refused with EIO before it is queued',
    explains: (unit, line, { errno, reason, output }) =>
      unit === 'smmuv3' &&
      line.command === COMMAND.IOMMU_HWPT_INVALIDATE &&
      errno === EIO &&
      reason.includes('CERROR_ILL') &&
      // The kernel came further: the entry that was refused here is one that it took.
      (wordAt(line.output, ENTRY_NUM) ?? 0) > (wordAt(output, ENTRY_NUM) ?? 0),
  },
]

/** At most so many of a recording's calls may be excused. */
export const EXCUSED_SHARE = 0.02
