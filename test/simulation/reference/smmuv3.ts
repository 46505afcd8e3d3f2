/**
 * A slow, obvious SMMUv3: one access, from the manual, with BigInt and no cache. It follows the manual's end-to-end
 * procedure step by step, and knows what the ID registers offer.
 */

import type { ReferenceMemory } from './memory.js'
import { answerRequest, passTranslated, stopInput } from './smmuv3-ats.js'
import { checkSte, chooseContext, fetchContext, fetchSte, override, streamOf } from './smmuv3-config.js'
import type { SmmuFeatures } from './smmuv3-features.js'
import { type Output, stage1, stage2 } from './smmuv3-stages.js'
import { Job, type SmmuAccess, type SmmuEnd, type SmmuRegisters, type SmmuResult, SmmuStop } from './smmuv3-types.js'

/** Translates one access. What hardware writes back goes into `memory`. */
export function translate(
  memory: ReferenceMemory,
  features: SmmuFeatures,
  registers: SmmuRegisters,
  access: SmmuAccess,
): SmmuResult {
  const isTranslated = access.kind === 'translated'
  // Without PASIDTT a Translated transaction is data, unprivileged and without a PASID; so is a request without one.
  // [SMMU 3.9.1.3 Handling of ATS Translated transactions] [SMMU 13.7 PCIe permission attribute interpretation]
  const isPlain = isTranslated || (access.kind === 'request' && access.ssid === undefined)
  const seen = isPlain ? { ...access, fetch: false, privileged: false } : access
  const job = new Job(memory, features, registers, isTranslated ? { ...seen, ssid: undefined } : seen)
  const permitted: SmmuEnd[] = []
  let expected: SmmuEnd
  if (job.isRequest) expected = answerRequest(job, (end) => permitted.push(end))
  else {
    try {
      expected = { end: 'translated', ...placeOf(isTranslated ? passTranslated(job) : steps(job)) }
    } catch (stop) {
      if (!(stop instanceof SmmuStop)) throw stop
      expected = endOf(stop)
      if (stop.alternative !== undefined) permitted.push(endOf(stop.alternative))
    }
  }
  return { expected, permitted, updates: job.updates, met: job.met }
}

const placeOf = ({ address, leafLg2, spanLg2 }: Output): Output => ({ address, leafLg2, spanLg2 })

const endOf = ({ end, record }: SmmuStop): SmmuEnd => ({
  end,
  event: record === undefined ? undefined : { words: record, unknown: 0n },
})

/** An ordinary transaction, from its entry to its physical address. */
function steps(job: Job): Output {
  const { address } = job.access
  const ste = fetchSte(job)
  const config = checkSte(job, ste)
  // An entry that aborts says nothing of it. [SMMU 5.2 Stream Table Entry, Config]
  if (config === 0) throw new SmmuStop(undefined, undefined)
  const stream = streamOf(job, ste, config)
  const index = chooseContext(job, stream)
  override(job, stream)
  const { under } = stream
  if (index === undefined) {
    // Stage 1 is off or bypassed: IAS and OAS are the same on a unit with AArch64 tables alone.
    if (address >> BigInt(job.features.oasBits) !== 0n) throw stopInput(job)
    if (under === undefined) return { address, leafLg2: 12, spanLg2: 64 }
    return stage2(job, under, address, 'IN')
  }
  const context = fetchContext(job, stream, index)
  return stage1(job, context, under, (first) => {
    if (under === undefined) return first
    const final = stage2(job, under, first.address, 'IN')
    return {
      address: final.address,
      leafLg2: Math.min(first.leafLg2, final.leafLg2),
      spanLg2: Math.min(first.spanLg2, final.spanLg2),
    }
  })
}
