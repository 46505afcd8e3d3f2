/** The same pipeline, dry: fresh caches that keep nothing, no record, and every step shown. */

import type { Memory } from '../memory/memory.js'
import type { Outcome, Transaction, WalkTrace } from '../port.js'
import type { EntryTrace } from '../walk/walker.js'
import { Configurations } from './config.js'
import type { EventSink } from './events.js'
import type { Features } from './features.js'
import type { RegisterFile } from './register-file.js'
import { Tlb } from './tlb.js'
import { Translator } from './translate.js'

/** What each kind of entry means for the walk. */
const VERDICTS: readonly string[] = [
  'invalid: F_TRANSLATION',
  'table',
  'leaf',
  'reserved: F_TRANSLATION',
  'address beyond the output size: F_ADDR_SIZE',
  'access flag clear: F_ACCESS',
]

const NOWHERE: EventSink = { record: () => undefined }

/** Walks a transaction from memory alone, showing every step to `trace`. */
export function explain(
  memory: Memory,
  registers: RegisterFile,
  features: Features,
  transaction: Transaction,
  outcome: Outcome,
  trace: WalkTrace,
): void {
  const configs = new Configurations(memory, registers, features, 0)
  const tlb = new Tlb({ entries: 0, ways: 1 })
  const translator = new Translator(memory, registers, features, configs, tlb, NOWHERE)
  configs.trace = trace
  translator.verdicts.trace = trace
  translator.stageOne.dry = true
  translator.stageOne.trace = entryTrace('stage 1', trace)
  translator.stageTwo.walker.dry = true
  translator.stageTwo.walker.trace = entryTrace('stage 2', trace)
  translator.translate(transaction, outcome)
}

/** Shows table entries; the manual's levels count down to 3, the walker's to 0. */
function entryTrace(stage: string, trace: WalkTrace): EntryTrace {
  return {
    entry(level, address, physical, lo, hi, kind) {
      trace.step({
        what: `${stage} level ${3 - level}`,
        address: physical,
        ...(address === physical ? {} : { guestAddress: address }),
        words: [lo >>> 0, hi >>> 0],
        verdict: VERDICTS[kind] ?? `kind ${kind}`,
      })
    },
  }
}
