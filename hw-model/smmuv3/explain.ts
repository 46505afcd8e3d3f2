/**
 * The same pipeline, dry: caches that keep nothing and show nothing, or only what the unit's own hold at this moment.
 * Nothing is recorded, counted or filled.
 */

import type { Memory } from '../memory/memory.js'
import { ACCESS, type Outcome, REQUEST, STATUS, type Transaction, type WalkStep, type WalkTrace } from '../port.js'
import { rightsText, sizeText } from '../walk/describe.js'
import type { Configurations, ShownConfigurations } from './config.js'
import { entryTrace } from './entry-steps.js'
import type { EventSink } from './events.js'
import type { Features } from './features.js'
import type { RegisterFile } from './register-file.js'
import { CR0 } from './registers.js'
import type { Shown, Tlb } from './tlb.js'
import { Translator } from './translate.js'

/** Nothing is recorded, and what would stall ends as a fault. */
const NOWHERE: EventSink = {
  record: () => undefined,
  hold: (event, _info, outcome) => {
    outcome.status = STATUS.FAULT
    outcome.fault = event
  },
}

/** What a unit consists of, as far as a translation meets it. */
export interface Parts {
  readonly memory: Memory
  readonly registers: RegisterFile
  readonly features: Features
  readonly configs: Configurations
  readonly tlb: Tlb
}

/** Walks a transaction from memory alone, showing every step to `trace`. */
export function explain(parts: Parts, transaction: Transaction, outcome: Outcome, trace: WalkTrace): void {
  const { configs, translator } = dry(parts, MEMORY_ALONE)
  const { stageOne, stageTwo } = translator
  let isTranslated = false
  let isBehind = false
  const entries: WalkTrace = {
    step(step) {
      isTranslated = true
      isBehind ||= step.stage === 2
      trace.step(step)
    },
  }
  configs.trace = trace
  translator.verdicts.trace = trace
  stageOne.walker.trace = entryTrace(1, entries)
  stageTwo.walker.trace = entryTrace(2, entries)
  translator.translate(transaction, outcome)
  if (outcome.status !== STATUS.OK) return
  if (transaction.type === REQUEST.TRANSLATION) {
    if (outcome.rights !== 0) trace.step(completionStep(outcome, translator.ats.isSplit))
    return
  }
  trace.step({
    what: 'output',
    address: outcome.address,
    ...(isBehind ? { guestAddress: stageTwo.ipa } : {}),
    verdict: isTranslated
      ? `translated, ${sizeText(outcome.leafLg2)} around it, ${rightsText(outcome.rights)}`
      : 'the address as it came',
  })
}

/** What a translation request is answered with. */
function completionStep({ address, leafLg2, rights }: Outcome, isSplit: boolean): WalkStep {
  const executes = (rights & ACCESS.EXECUTE) === 0 ? '' : ', to execute too'
  return {
    what: 'completion',
    verdict: `granted: ${sizeText(leafLg2)}, ${rightsText(rights)}${executes}`,
    target: { space: isSplit ? 'ipa' : 'pa', address },
    citation: '[SMMU 3.9.1.2 Responses to ATS Translation Requests]',
  }
}

/** What the caches alone answer. False where something that is needed is not cached. */
export function peek(parts: Parts, transaction: Transaction, outcome: Outcome): boolean {
  if (!asksCaches(parts, transaction.type)) return false
  const { configs, tlb, translator } = dry(parts, EVERYTHING)
  if (configs.stream(transaction.rid >>> 0) === null) return false
  translator.translate(transaction, outcome)
  return configs.misses === 0 && translator.misses === 0 && tlb.ipa.misses === 0
}

/** Without translation no cache is asked. */
function asksCaches({ registers, features }: Parts, type: number): boolean {
  if (!registers.enabled) return false
  if (type === REQUEST.UNTRANSLATED) return true
  return features.ats && (type === REQUEST.TRANSLATION || registers.isOn(CR0.ATSCHK))
}

/** What a dry run is shown of the caches. */
export interface Leaves extends Shown, ShownConfigurations {}

/** A pipeline that changes nothing, over what it is shown. */
export interface Dry {
  readonly configs: Configurations
  readonly tlb: Tlb
  readonly translator: Translator
}

/** Nothing of the caches. */
export const MEMORY_ALONE: Leaves = shows(false)
/** All of the caches. */
export const EVERYTHING: Leaves = shows(true)

function shows(all: boolean): Leaves {
  return { streams: all, blocks: all, contexts: all, contextTables: all, va: all, ipa: all, walk1: all, walk2: all }
}

/** A pipeline over what is left in the caches; `sink` is told of faults. */
export function dry(parts: Parts, leaves: Leaves, sink: EventSink = NOWHERE): Dry {
  const { memory, registers, features, configs: live, tlb: liveTlb } = parts
  const configs = live.view(leaves)
  const tlb = liveTlb.view(leaves)
  const translator = new Translator(memory, registers, features, configs, tlb, sink)
  translator.stageOne.walker.dry = true
  translator.stageTwo.walker.dry = true
  return { configs, tlb, translator }
}
