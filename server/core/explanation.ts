/** One walk, step by step, without any effect: what Explain and ExplainUnit answer. */

import { type AtsStatus, atsStatusOf } from './ats-status.js'
import { newOutcome, type OutcomeNumber, type Requester } from './dma-batch.js'
import { type DmaFault, faultOf, hasFault } from './dma-fault.js'
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
  /** Of ATS translation requests alone. */
  readonly atsStatus?: AtsStatus
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
  out.fault = 0
  const isCached = requester.peek(0, lo, hi, access, out)
  return {
    steps: steps.map((step) => stepInfo(step, listener)),
    fresh,
    cached: isCached ? resultOf(out, listener, faultInCaches) : undefined,
    missingInvalidation: requester.missing(0, lo, hi, access),
  }
}

function resultOf(
  out: DmaOutcome,
  { locate, ownsBus, isTranslationRequest }: Listener,
  faultIn: (fault: number) => DmaFault,
): TranslationResult {
  const { status, address, leafLg2, rights } = out
  const atsStatus = isTranslationRequest === true ? atsStatusOf(status) : undefined
  const no = { pageSizeLog2: 0, permissions: 0, atsStatus }
  if (hasFault(out)) return { ...no, outcome: DMA_STATUS.FAULT, fault: faultIn(out.fault) }
  // A completion that is no success carries no data, as an abort does.
  if (status >= DMA_STATUS.UNSUPPORTED) return { ...no, outcome: DMA_STATUS.ABORTED }
  const outcome = status as OutcomeNumber
  if (outcome !== DMA_STATUS.OK) return { ...no, outcome }
  // What gives no right is no translation.
  if (isTranslationRequest === true && rights === 0) return { ...no, outcome, pageSizeLog2: leafLg2 }
  return {
    outcome,
    location: locate(address),
    address: ownsBus ? BigInt(address) : undefined,
    pageSizeLog2: leafLg2,
    permissions: rights,
    atsStatus,
  }
}
