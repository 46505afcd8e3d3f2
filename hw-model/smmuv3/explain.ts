/**
 * The same pipeline, dry: caches that keep nothing and show nothing, or only what the unit's own hold at this moment.
 * Nothing is recorded, counted or filled.
 */

import type { Memory } from '../memory/memory.js'
import {
  ACCESS,
  type Invalidation,
  NO_PASID,
  Outcome,
  REQUEST,
  STATUS,
  type Transaction,
  type WalkStep,
  type WalkTrace,
} from '../port.js'
import { rightsText, sizeText } from '../walk/describe.js'
import type { Configurations } from './config.js'
import type { ContextConfig } from './decode-cd.js'
import { entryTrace } from './entry-steps.js'
import type { EventSink } from './events.js'
import type { Features } from './features.js'
import type { RegisterFile } from './register-file.js'
import { CR0, CR2, OFFSET } from './registers.js'
import { effectiveHigh } from './stage-one.js'
import { isVmid, SPACE } from './stream-world.js'
import type { Tlb } from './tlb.js'
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

/** Sets of commands, the smaller before the larger, and what each of them leaves in the caches. */
const REMEDIES: readonly Remedy[] = [
  { config: null, tlb: 'address', leaves: { streams: true, contexts: true, va: false, ipa: true } },
  { config: 'CFGI_CD', tlb: null, leaves: { streams: true, contexts: false, va: true, ipa: true } },
  { config: 'CFGI_STE', tlb: null, leaves: { streams: false, contexts: false, va: true, ipa: true } },
  { config: null, tlb: 'vmid', leaves: { streams: true, contexts: true, va: false, ipa: false } },
  { config: 'CFGI_CD', tlb: 'address', leaves: { streams: true, contexts: false, va: false, ipa: true } },
  { config: 'CFGI_STE', tlb: 'address', leaves: { streams: false, contexts: false, va: false, ipa: true } },
  { config: 'CFGI_CD', tlb: 'vmid', leaves: { streams: true, contexts: false, va: false, ipa: false } },
  { config: 'CFGI_STE', tlb: 'vmid', leaves: { streams: false, contexts: false, va: false, ipa: false } },
]

/**
 * The fewest commands after which the unit answers what memory says. Each set is tried on views of the caches, so what
 * is named does help; the order says that no smaller set would.
 */
export function missing(parts: Parts, transaction: Transaction): readonly Invalidation[] {
  const fresh = outcomeOf(dry(parts, MEMORY_ALONE), transaction)
  if (isSame(outcomeOf(dry(parts, EVERYTHING), transaction), fresh)) return []
  for (const remedy of REMEDIES) {
    const after = dry(parts, remedy.leaves)
    if (isSame(outcomeOf(after, transaction), fresh)) return commandsOf(parts, remedy, after, transaction)
  }
  return []
}

interface Leaves {
  readonly streams: boolean
  readonly contexts: boolean
  readonly va: boolean
  readonly ipa: boolean
}

interface Remedy {
  readonly config: 'CFGI_CD' | 'CFGI_STE' | null
  /** By address and ASID, or all of a VMID. */
  readonly tlb: 'address' | 'vmid' | null
  readonly leaves: Leaves
}

interface Dry {
  readonly configs: Configurations
  readonly tlb: Tlb
  readonly translator: Translator
}

const MEMORY_ALONE: Leaves = { streams: false, contexts: false, va: false, ipa: false }
const EVERYTHING: Leaves = { streams: true, contexts: true, va: true, ipa: true }

/** A pipeline over what is left in the caches. */
function dry({ memory, registers, features, configs: live, tlb: liveTlb }: Parts, leaves: Leaves): Dry {
  const configs = live.view(leaves.streams, leaves.contexts)
  const tlb = liveTlb.view(leaves.va, leaves.ipa)
  const translator = new Translator(memory, registers, features, configs, tlb, NOWHERE)
  translator.stageOne.walker.dry = true
  translator.stageTwo.walker.dry = true
  return { configs, tlb, translator }
}

function outcomeOf({ translator }: Dry, transaction: Transaction): Outcome {
  const outcome = new Outcome()
  translator.translate(transaction, outcome)
  return outcome
}

function isSame(one: Outcome, other: Outcome): boolean {
  if (one.status !== other.status) return false
  if (one.status === STATUS.FAULT) return one.fault === other.fault
  return one.status !== STATUS.OK || (one.address === other.address && one.rights === other.rights)
}

function commandsOf(
  parts: Parts,
  remedy: Remedy,
  after: Dry,
  { rid, pasid, lo, hi }: Transaction,
): readonly Invalidation[] {
  const sid = rid >>> 0
  const commands: Invalidation[] = []
  if (remedy.config === 'CFGI_STE') commands.push({ name: 'CFGI_STE', operands: { SID: sid } })
  if (remedy.config === 'CFGI_CD') {
    commands.push({ name: 'CFGI_CD', operands: { SID: sid, SSID: pasid === NO_PASID ? 0 : pasid } })
  }
  const stageTwo = after.configs.stream(sid)?.stageTwo
  const { asked, askedSpace } = after.tlb
  if (remedy.tlb === 'address' && asked !== null) {
    const isHigh = (hi & 0x00800000) !== 0
    const high = effectiveHigh(hi, isHigh, isHigh ? asked.tbi1 : asked.tbi0)
    commands.push(byAddress(parts, asked, askedSpace, [pageLow(lo), high >>> 0]))
  } else if (remedy.tlb !== null) {
    if (stageTwo == null) return []
    const operands = { VMID: stageTwo.vmid }
    if (asked !== null) commands.push({ name: 'TLBI_S12_VMALL', operands })
    else commands.push({ name: 'TLBI_S2_IPA', operands, page: [pageLow(lo), hi >>> 0] })
  }
  return commands
}

/** What drops the entry of a page in the StreamWorld that a context was asked for in. */
function byAddress(
  { registers }: Parts,
  { asid: ASID }: ContextConfig,
  space: number,
  page: readonly [number, number],
): Invalidation {
  if (isVmid(space)) return { name: 'TLBI_NH_VA', operands: { VMID: space, ASID }, page }
  // By address, the commands reach the one EL2 world that CR2.E2H selects now. [SMMU 4.4.2.8 CMD_TLBI_EL2_VA]
  const selected = CR2.E2H.get(registers.words, OFFSET.CR2 >>> 2) === 1 ? SPACE.EL2_E2H : SPACE.EL2
  if (space !== selected) return { name: 'TLBI_EL2_ALL', operands: {} }
  return { name: 'TLBI_EL2_VA', operands: space === SPACE.EL2 ? {} : { ASID }, page }
}

const pageLow = (lo: number): number => (lo & ~0xfff) >>> 0
