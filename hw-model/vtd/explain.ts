/** Tells every step of one walk: the pipeline without caches, flags and records, with somebody watching. */

import { dump } from '../bits/layout.js'
import type { Memory } from '../memory/memory.js'
import { type Outcome, STATUS, type Transaction, type WalkTrace } from '../port.js'
import { ENTRY } from '../walk/format.js'
import type { EntryTrace } from '../walk/walker.js'
import type { Capabilities } from './capabilities.js'
import { ConfigReader } from './config.js'
import { faultName } from './faults.js'
import { FIRST_STAGE_ENTRY, SECOND_STAGE_ENTRY } from './records.js'
import { Translator } from './translate.js'

/** What the walker found, in words; by ENTRY. */
const KINDS: readonly string[] = [
  'not present',
  'points to a table',
  'leaf',
  'reserved bits or an encoding that this level does not have',
  'its address does not fit the second stage',
]

/**
 * Walks from memory alone.
 *
 * @param live the pipeline whose registers apply
 */
export function explain(
  memory: Memory,
  caps: Capabilities,
  live: Translator,
  tx: Transaction,
  out: Outcome,
  trace: WalkTrace,
): void {
  const config = new ConfigReader(memory, caps, 0, 0)
  config.rootTable = live.config.rootTable
  config.isScalable = live.config.isScalable
  config.trace = trace
  const dry = new Translator(memory, caps, config, null, null)
  dry.isEnabled = live.isEnabled
  dry.ttm = live.ttm
  dry.ssirwe = live.ssirwe
  dry.walk.first.dry = true
  dry.walk.second.dry = true
  dry.walk.first.trace = entryTrace('first stage', FIRST_STAGE_ENTRY, trace)
  dry.walk.second.trace = entryTrace('second stage', SECOND_STAGE_ENTRY, trace)
  dry.translate(tx, out)
  trace.step({ what: 'result', verdict: verdictOf(out) })
}

function entryTrace(
  stage: string,
  record: typeof FIRST_STAGE_ENTRY | typeof SECOND_STAGE_ENTRY,
  trace: WalkTrace,
): EntryTrace {
  return {
    entry(level, address, physical, lo, hi, kind) {
      const words = Int32Array.of(lo, hi)
      trace.step({
        what: `${stage} level ${level}`,
        address: physical,
        ...(address === physical ? {} : { guestAddress: address }),
        words: [lo >>> 0, hi >>> 0],
        ...(kind === ENTRY.INVALID ? {} : { fields: dump(record as typeof FIRST_STAGE_ENTRY, words) }),
        verdict: KINDS[kind],
      })
    },
  }
}

/** Where it leads stands in the outcome: a verdict is shown to people who may not know physical addresses. */
function verdictOf({ status, fault, leafLg2, rights }: Outcome): string {
  if (status === STATUS.FAULT) return `blocked: ${faultName(fault)}`
  if (status !== STATUS.OK) return 'blocked: unsupported request'
  return `translated, ${2 ** (leafLg2 - 10)} KiB, rights ${rights}`
}
