/**
 * The same pipeline, dry: caches that keep nothing and show nothing, or only what the unit's own hold at this moment.
 * Nothing is recorded, counted or filled, and no flag is set.
 */

import { joinWord, pageOf } from '../bits/address.js'
import type { Memory } from '../memory/memory.js'
import { type Invalidation, Outcome, REQUEST, STATUS, type Transaction, type WalkTrace } from '../port.js'
import { rightsText, sizeText } from '../walk/describe.js'
import type { Capabilities } from './capabilities.js'
import type { ConfigReader } from './config.js'
import { faultName } from './faults.js'
import type { Iotlb } from './iotlb.js'
import { PGTT } from './records.js'
import { entryTrace } from './steps.js'
import { Translator } from './translate.js'

/** What a unit consists of, as far as a translation meets it. */
export interface Parts {
  readonly memory: Memory
  readonly caps: Capabilities
  /** The pipeline whose registers apply. */
  readonly live: Translator
  readonly config: ConfigReader
  readonly iotlb: Iotlb
}

/** Walks from memory alone, showing every step to `trace`. */
export function explain(parts: Parts, tx: Transaction, out: Outcome, trace: WalkTrace): void {
  const { translator } = dry(parts, MEMORY_ALONE)
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

/** What the IOTLB answers. False where it does not, or where hardware would walk again. */
export function peek(parts: Parts, tx: Transaction, out: Outcome): boolean {
  const { translator } = dry(parts, EVERYTHING)
  translator.translate(tx, out)
  return translator.counts.hits === 1
}

/** Sets of descriptors, the smaller before the larger. */
const REMEDIES: readonly Remedy[] = [
  { iotlb: true, pasid: false, context: false },
  { iotlb: false, pasid: true, context: false },
  { iotlb: false, pasid: false, context: true },
  { iotlb: true, pasid: true, context: false },
  { iotlb: true, pasid: false, context: true },
  { iotlb: false, pasid: true, context: true },
  { iotlb: true, pasid: true, context: true },
]

/**
 * The fewest descriptors after which the unit answers what memory says. Each set is tried on views of the caches, so
 * what is named does help; the order says that no smaller set would.
 */
export function missing(parts: Parts, tx: Transaction): readonly Invalidation[] {
  const fresh = outcomeOf(dry(parts, MEMORY_ALONE), tx)
  if (isSame(outcomeOf(dry(parts, EVERYTHING), tx), fresh)) return []
  for (const remedy of REMEDIES) {
    const leaves = { entries: !remedy.iotlb, pasids: !remedy.pasid, contexts: !remedy.context }
    if (isSame(outcomeOf(dry(parts, leaves), tx), fresh)) return descriptorsOf(remedy, parts, tx)
  }
  return []
}

interface Leaves {
  readonly entries: boolean
  readonly pasids: boolean
  readonly contexts: boolean
}

/** What a set drops. */
interface Remedy {
  readonly iotlb: boolean
  readonly pasid: boolean
  readonly context: boolean
}

interface Dry {
  readonly translator: Translator
}

const MEMORY_ALONE: Leaves = { entries: false, pasids: false, contexts: false }
const EVERYTHING: Leaves = { entries: true, pasids: true, contexts: true }

/** A pipeline over what is left in the caches. */
function dry({ memory, caps, live, config, iotlb }: Parts, { entries, pasids, contexts }: Leaves): Dry {
  const isBare = !entries && !pasids && !contexts
  const translator = new Translator(
    memory,
    caps,
    config.view(contexts, pasids),
    isBare ? null : iotlb.view(entries),
    null,
  )
  translator.isEnabled = live.isEnabled
  translator.ttm = live.ttm
  translator.ssirwe = live.ssirwe
  translator.permissions = live.permissions?.view(entries) ?? null
  translator.protectedMemory = live.protectedMemory
  translator.walk.first.dry = true
  translator.walk.second.dry = true
  return { translator }
}

function outcomeOf({ translator }: Dry, tx: Transaction): Outcome {
  const out = new Outcome()
  translator.translate(tx, out)
  return out
}

function isSame(one: Outcome, other: Outcome): boolean {
  if (one.status !== other.status) return false
  if (one.status !== STATUS.OK) return one.fault === other.fault
  return one.address === other.address && one.rights === other.rights
}

/** The descriptors by name, with the domain-ids and PASIDs that the cached entries have. */
function descriptorsOf({ iotlb, pasid, context }: Remedy, parts: Parts, tx: Transaction): readonly Invalidation[] {
  const { config } = parts
  // Views count nothing and remember nothing.
  const tag = parts.iotlb.view(false).tagOf(tx.rid, tx.pasid)
  const descriptors: Invalidation[] = []
  const cachedContext = config.contexts.view().get(tx.rid)
  if (context) {
    if (cachedContext === undefined) return []
    const operands: Record<string, number> = { SID: tx.rid }
    if (!config.isScalable) operands['DID'] = cachedContext.did
    descriptors.push({ name: 'context cache', operands })
  }
  if (pasid) {
    const entry = config.pasids.view().get(tag)
    if (entry === undefined) return []
    descriptors.push({ name: 'PASID cache', operands: { DID: entry.did, PASID: entry.pasid } })
  }
  if (!iotlb) return descriptors
  if (tx.type === REQUEST.TRANSLATED) return [...descriptors, ...permissionDescriptors(parts, tx)]
  // Entries of several domains may cover the page, and each is dropped by its own.
  const page = [(tx.lo & ~0xfff) >>> 0, tx.hi >>> 0] as const
  for (const { did: DID, pgtt, pasid: PASID } of parts.iotlb.sourcesOf(tag, pageOf(tx.lo, tx.hi))) {
    const isFirst = pgtt === PGTT.FIRST || pgtt === PGTT.NESTED
    if (isFirst) descriptors.push({ name: 'P_IOTLB', operands: { DID, PASID }, page })
    else if (parts.caps.cap.PSI !== 0) descriptors.push({ name: 'IOTLB', operands: { DID }, page })
    else descriptors.push({ name: 'IOTLB', operands: { DID } })
  }
  return descriptors
}

/** Translated requests meet the host permissions instead of translations. */
function permissionDescriptors({ live }: Parts, tx: Transaction): readonly Invalidation[] {
  const page = [(tx.lo & ~0xfff) >>> 0, tx.hi >>> 0] as const
  const sources = live.permissions?.cache.sourcesOf(tx) ?? []
  return sources.map((HPTDID) => ({ name: 'HPT cache', operands: { HPTDID }, page }))
}
