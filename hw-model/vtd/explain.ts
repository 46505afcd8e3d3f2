/**
 * The same pipeline, dry: caches that keep nothing and show nothing, or only what the unit's own hold at this moment.
 * Nothing is recorded, counted or filled, and no flag is set.
 */

import { joinWord, type Page } from '../bits/address.js'
import type { Memory } from '../memory/memory.js'
import { type Outcome, STATUS, type Transaction, type WalkTrace } from '../port.js'
import { rightsText, sizeText } from '../walk/describe.js'
import { type Caches, NO_CACHES } from './caches.js'
import type { Capabilities } from './capabilities.js'
import type { ConfigReader } from './config.js'
import type { ContextConfig, DmaConfig } from './dma-config.js'
import { faultName } from './faults.js'
import { entryTrace } from './steps.js'
import { Translator } from './translate.js'

/** What a unit consists of, as far as a translation meets it. */
export interface Parts {
  readonly memory: Memory
  readonly caps: Capabilities
  /** The pipeline whose registers apply. */
  readonly live: Translator
  readonly config: ConfigReader
  readonly caches: Caches
}

/** Walks from memory alone, showing every step to `trace`. */
export function explain(parts: Parts, tx: Transaction, out: Outcome, trace: WalkTrace): void {
  const translator = dry(parts, NO_CACHES)
  const { config, walk } = translator
  let stage: 1 | 2 | undefined
  let isTranslated = false
  const entries: WalkTrace = {
    step(step) {
      stage = step.stage
      isTranslated = true
      trace.step(step)
    },
  }
  config.trace = trace
  if (translator.permissions !== null) translator.permissions.trace = trace
  walk.first.trace = entryTrace(1, entries)
  walk.second.trace = entryTrace(2, entries)
  translator.translate(tx, out)
  const isOk = out.status === STATUS.OK
  // The second stage is the last that is asked, so its input is what the result is about.
  const isBehind = stage === 2
  trace.step({
    what: 'result',
    ...(isOk ? { address: out.address } : {}),
    ...(isBehind ? { guestAddress: joinWord(walk.secondLo, walk.secondHi) } : {}),
    ...(isOk || stage === undefined ? {} : { stage }),
    verdict: translator.wasProtected ? 'blocked: protected memory' : verdictOf(out, isTranslated),
    ...(isOk ? {} : { citation: '[VTD 7.1.3 Fault Conditions and Remapping Hardware Behavior for Various Requests]' }),
  })
}

function verdictOf({ status, fault, leafLg2, rights, untranslatedOnly }: Outcome, isTranslated: boolean): string {
  if (status === STATUS.FAULT) return `blocked: ${faultName(fault)}`
  if (status === STATUS.COMPLETER_ABORT) return `Completer Abort: ${faultName(fault)}`
  if (status === STATUS.UNSUPPORTED && fault !== 0) return `Unsupported Request: ${faultName(fault)}`
  if (status !== STATUS.OK) return 'blocked: unsupported request'
  if (untranslatedOnly !== 0) return 'the interrupt address range, for untranslated writes alone'
  if (rights === 0) return 'success, and nothing is granted'
  if (!isTranslated) return 'the address as it came'
  return `translated, ${sizeText(leafLg2)} around it, ${rightsText(rights)}`
}

/** What the caches alone answer. False where something had to be read, or where no cache was asked. */
export function peek(parts: Parts, tx: Transaction, out: Outcome): boolean {
  const translator = dry(parts, parts.caches.view())
  let isFound = false
  watch(translator, () => {
    isFound = true
  })
  translator.translate(tx, out)
  return isFound && (translator.counts.hits === 1 || translator.config.reads + translator.walk.reads === 0)
}

/** A pipeline that changes nothing, over what it is given of the caches. */
export function dry({ memory, caps, live, config }: Parts, caches: Caches): Translator {
  const translator = new Translator(memory, caps, config.over(caches), caches, null)
  translator.isEnabled = live.isEnabled
  translator.setMode(live.ttm, live.ssirwe)
  translator.permissions = caches.permissions === null ? null : (live.permissions?.over(caches.permissions) ?? null)
  translator.protectedMemory = live.protectedMemory
  translator.walk.first.dry = true
  translator.walk.second.dry = true
  return translator
}

/** Something that was found in a cache. */
export type Find =
  | { readonly in: 'context'; readonly entry: ContextConfig }
  | { readonly in: 'pasid'; readonly entry: DmaConfig }
  | { readonly in: 'iotlb' | 'walk1' | 'walk2' | 'hpt'; readonly slot: number; readonly page: Page }

/** Tells of everything that the pipeline finds in its caches. */
export function watch(translator: Translator, tell: (find: Find) => void): void {
  const { config, walk } = translator
  config.found = {
    foundContext: (entry) => tell({ in: 'context', entry }),
    foundPasid: (entry) => tell({ in: 'pasid', entry }),
  }
  translator.found = { foundTranslation: (slot, page) => tell({ in: 'iotlb', slot, page }) }
  if (translator.permissions !== null) {
    translator.permissions.found = { foundPermission: (slot, page) => tell({ in: 'hpt', slot, page }) }
  }
  walk.firstCache.found = { foundTable: (slot, page) => tell({ in: 'walk1', slot, page }) }
  walk.secondCache.found = { foundTable: (slot, page) => tell({ in: 'walk2', slot, page }) }
}
