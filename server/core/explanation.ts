/** One walk, step by step, without any effect: what Explain and ExplainUnit answer. */

import { newOutcome, type OutcomeNumber, type Requester } from './dma-batch.js'
import { type DmaFault, faultOf, type StepInfo } from './dma-fault.js'
import { DMA_STATUS, type ExplainStep } from './driver.js'
import { halvesOf } from './u64.js'

/** The contract's Explanation. */
export interface Explanation {
  readonly steps: readonly StepInfo[]
  readonly fresh: {
    readonly outcome: OutcomeNumber
    readonly location?: { readonly regionId: number; readonly offset: bigint }
    readonly address?: bigint
    readonly pageSizeLog2: number
    readonly permissions: number
    readonly fault?: DmaFault
  }
  readonly missingInvalidation: string
}

/** One dry walk of a requester, and the physical address it came to. */
export function explainOne(
  requester: Requester,
  iova: bigint,
  access: number,
  tell: (steps: readonly ExplainStep[]) => readonly StepInfo[],
): Explanation & { readonly physical: number } {
  const out = newOutcome()
  const [lo, hi] = halvesOf(iova)
  const steps = requester.explain(0, lo, hi, access, out)
  const isOk = out.status === DMA_STATUS.OK
  const isFault = out.status === DMA_STATUS.FAULT
  return {
    steps: tell(steps),
    fresh: {
      outcome: out.status as OutcomeNumber,
      pageSizeLog2: isOk ? out.leafLg2 : 0,
      permissions: isOk ? out.rights : 0,
      // A dry walk records nothing.
      fault: isFault
        ? { ...faultOf(requester, { index: 0, lo, hi, access }, out.fault, true), recorded: false }
        : undefined,
    },
    missingInvalidation: '',
    physical: isOk ? out.address : -1,
  }
}
