/** What a fault was, as replies tell it. */

import type { Requester } from './dma-batch.js'
import { DMA_STATUS, type DmaOutcome, type ExplainStep } from './driver.js'
import { join } from './u64.js'
import { nameOf } from './walk-step.js'

/** The contract's DmaFault. */
export interface DmaFault {
  readonly index: number
  readonly code: number
  readonly name: string
  readonly reason: string
  readonly iova: bigint
  readonly access: number
  readonly stage: number
  /** Stage 2 alone: the IPA that did not translate. */
  readonly ipa?: bigint
  readonly recorded: boolean
}

/** One access of a batch. */
export interface Attempt {
  readonly index: number
  readonly lo: number
  readonly hi: number
  readonly access: number
}

/**
 * Describes a fault.
 *
 * @param explained walk once more, dry, for the sentence and the stage
 */
export function faultOf(requester: Requester, attempt: Attempt, fault: number, explained: boolean): DmaFault {
  const { index, lo, hi, access } = attempt
  const cause = explained ? causeOf(requester, attempt, fault) : UNEXPLAINED
  const name = requester.faultName(fault)
  // What a unit does not record it ends as ABORTED.
  const recorded = requester.wasRecorded?.() ?? true
  return { index, code: fault, name, ...cause, iova: join(lo, hi), access, recorded }
}

/** What a reply tells of an access that the oracle has ended ABORTED. */
export const staleFault = (reason: string, { index, lo, hi, access }: Attempt): DmaFault => ({
  index,
  code: 0,
  name: 'stale',
  reason,
  iova: join(lo, hi),
  access,
  stage: 0,
  recorded: false,
})

/** What a reply tells of an access that did not end OK; undefined where there is nothing to tell. */
export function whyNot(requester: Requester, attempt: Attempt, { status, fault }: DmaOutcome): DmaFault | undefined {
  if (status === DMA_STATUS.FAULT) return faultOf(requester, attempt, fault, true)
  const reason = status === DMA_STATUS.ABORTED ? (requester.staleReason?.() ?? '') : ''
  return reason === '' ? undefined : staleFault(reason, attempt)
}

/** It ended with a fault record, or would if it were not dry. A translation request may be blocked without one. */
export const hasFault = ({ status, fault }: DmaOutcome): boolean =>
  status === DMA_STATUS.FAULT || (status >= DMA_STATUS.UNSUPPORTED && fault !== 0)

type Cause = Pick<DmaFault, 'reason' | 'stage' | 'ipa'>

const UNEXPLAINED: Cause = { reason: '', stage: 0 }

const ONLY_CACHED: Cause = {
  reason: 'the tables in memory no longer say so: a cache still does, until it is told to forget',
  stage: 0,
}

/** Walks end with a verdict of the whole; what it follows from is the last entry that was read. */
function causeOf(requester: Requester, { index, lo, hi, access }: Attempt, fault: number): Cause {
  const fresh: DmaOutcome = {
    status: 0,
    address: 0,
    leafLg2: 12,
    rights: 0,
    fault: 0,
    hit: 0,
    tag: 0,
    untranslatedOnly: 0,
  }
  const steps = requester.explain(index, lo, hi, access, fresh)
  if (!hasFault(fresh) || fresh.fault !== fault) return ONLY_CACHED
  const read = steps.findLast(({ address }) => address !== undefined)
  const last = steps.at(-1)
  const verdicts = new Set([read && `${nameOf(read)}: ${read.verdict}`, last !== read ? last?.verdict : undefined])
  const reason = [...verdicts].filter((verdict) => verdict !== undefined).join('; ')
  return { reason, ...stageOf(last) }
}

function stageOf(last: ExplainStep | undefined): Pick<Cause, 'stage' | 'ipa'> {
  const stage = last?.stage ?? 0
  if (stage !== 2 || last?.guestAddress === undefined) return { stage }
  return { stage, ipa: BigInt(last.guestAddress) }
}
