/** One walk, step by step, without any effect: what Explain and ExplainUnit answer. */

import { newOutcome, type OutcomeNumber, type Requester } from './dma-batch.js'
import { type DmaFault, faultOf } from './dma-fault.js'
import { DMA_STATUS, type DmaOutcome } from './driver.js'
import { halvesOf } from './u64.js'
import { type Listener, type Place, type StepInfo, stepInfo } from './walk-step.js'

/** The contract's TranslationResult. */
export interface TranslationResult {
  readonly outcome: OutcomeNumber
  readonly location?: Place
  readonly address?: bigint
  readonly pageSizeLog2: number
  readonly permissions: number
  readonly fault?: DmaFault
}

/** The contract's Explanation. */
export interface Explanation {
  readonly steps: readonly StepInfo[]
  readonly fresh: TranslationResult
  readonly cached?: TranslationResult
  readonly missingInvalidation: string
}

/** What the tables say, what the caches say, and what would make them agree. */
export function explainOne(requester: Requester, iova: bigint, access: number, listener: Listener): Explanation {
  const [lo, hi] = halvesOf(iova)
  const out = newOutcome()
  const steps = requester.explain(0, lo, hi, access, out)
  // A dry walk records nothing.
  const faultIn = (fault: number, isFresh: boolean): DmaFault => ({
    ...faultOf(requester, { index: 0, lo, hi, access }, fault, isFresh),
    recorded: false,
  })
  const fresh = resultOf(out, listener, (fault) => faultIn(fault, true))
  // What the tables say too has its reason there.
  const faultInCaches = (fault: number): DmaFault => (fresh.fault?.code === fault ? fresh.fault : faultIn(fault, false))
  const isCached = requester.peek(0, lo, hi, access, out)
  return {
    steps: steps.map((step) => stepInfo(step, listener)),
    fresh,
    cached: isCached ? resultOf(out, listener, faultInCaches) : undefined,
    missingInvalidation: requester.missing(0, lo, hi, access),
  }
}

function resultOf(out: DmaOutcome, listener: Listener, faultIn: (fault: number) => DmaFault): TranslationResult {
  const outcome = out.status as OutcomeNumber
  if (outcome === DMA_STATUS.FAULT) return { outcome, pageSizeLog2: 0, permissions: 0, fault: faultIn(out.fault) }
  if (outcome !== DMA_STATUS.OK) return { outcome, pageSizeLog2: 0, permissions: 0 }
  return {
    outcome,
    location: listener.locate(out.address),
    address: listener.ownsBus ? BigInt(out.address) : undefined,
    pageSizeLog2: out.leafLg2,
    permissions: out.rights,
  }
}
