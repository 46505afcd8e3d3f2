/**
 * The narrowest commands that set one stale answer right. Each set is tried on views of the caches, the narrower before
 * the wider, so that what is named does help and nothing narrower would.
 */

import { highWord, lowWord, type Page, pageOf } from '../bits/address.js'
import type { Remedy } from '../oracle/subject.js'
import { highOf, lowOf } from '../oracle/watches.js'
import { type ChangedEntry, type Invalidation, NO_PASID, type Outcome, STATUS, type Transaction } from '../port.js'
import type { ShownConfigurations } from './config.js'
import { type Dry, EVERYTHING, type Leaves, type Parts } from './explain.js'
import { byAddress, pageLow } from './missing.js'
import { effectiveHigh } from './stage-one.js'
import { isVmid } from './stream-world.js'
import type { Shown } from './tlb.js'
import { anyGeometry } from './tlb-flags.js'

/** What drops configuration: nothing, or CFGI_CD or CFGI_STE of one stream, with Leaf or without. */
interface ConfigStep {
  readonly name: 'CFGI_CD' | 'CFGI_STE' | null
  readonly cache: string
  readonly Leaf: number
  readonly leaves: ShownConfigurations
}

const ALL: ShownConfigurations = { streams: true, blocks: true, contexts: true, contextTables: true }

const NO_CONFIG: ConfigStep = { name: null, cache: '', Leaf: 0, leaves: ALL }

const CONFIG: readonly ConfigStep[] = [
  { name: 'CFGI_CD', cache: 'cd', Leaf: 1, leaves: { ...ALL, contexts: false } },
  { name: 'CFGI_CD', cache: 'l1cd', Leaf: 0, leaves: { ...ALL, contexts: false, contextTables: false } },
  // With an STE go the CDs that were reached through it. [SMMU 4.3.1 CMD_CFGI_STE]
  {
    name: 'CFGI_STE',
    cache: 'ste',
    Leaf: 1,
    leaves: { ...ALL, streams: false, contexts: false, contextTables: false },
  },
  {
    name: 'CFGI_STE',
    cache: 'l1std',
    Leaf: 0,
    leaves: { streams: false, blocks: false, contexts: false, contextTables: false },
  },
]

/** What entries of configuration are made of. */
const MADE_OF: Readonly<Record<string, readonly string[]>> = {
  ste: ['STE'],
  l1std: ['STE', 'L1STD'],
  cd: ['CD'],
  l1cd: ['CD', 'L1CD'],
}

/** What drops translations. */
interface TlbStep {
  readonly cache: string
  /** TLBI by VA, with Leaf or without; null for none. */
  readonly va: number | null
  /** TLBI by IPA. */
  readonly ipa: number | null
  readonly leaves: Shown
}

const KEPT: Shown = { va: true, ipa: true, walk1: true, walk2: true }

const NO_TLB: TlbStep = { cache: '', va: null, ipa: null, leaves: KEPT }

const VA: readonly TlbStep[] = [
  { cache: 'tlb', va: 1, ipa: null, leaves: { ...KEPT, va: false } },
  { cache: 'walk1', va: 0, ipa: null, leaves: { ...KEPT, va: false, walk1: false } },
]

const IPA: readonly TlbStep[] = [
  { cache: 'ipa', va: null, ipa: 1, leaves: { ...KEPT, ipa: false } },
  { cache: 'walk2', va: null, ipa: 0, leaves: { ...KEPT, ipa: false, walk2: false } },
]

/** Both, where the TLB has kept what stale entries of stage 2 have led to. */
const PAIRS: readonly TlbStep[] = IPA.flatMap((ipa) =>
  VA.map((va) => ({
    cache: ipa.cache,
    va: va.va,
    ipa: ipa.ipa,
    leaves: { ...ipa.leaves, va: false, walk1: va.leaves.walk1 },
  })),
)

const TLB: readonly TlbStep[] = [...VA, ...IPA, ...PAIRS]

/** One of each, the narrower first. */
const STEPS: readonly (readonly [ConfigStep, TlbStep])[] = [
  ...TLB.slice(0, VA.length + IPA.length).map((tlb) => [NO_CONFIG, tlb] as const),
  ...CONFIG.map((config) => [config, NO_TLB] as const),
  ...PAIRS.map((tlb) => [NO_CONFIG, tlb] as const),
  ...CONFIG.flatMap((config) => TLB.map((tlb) => [config, tlb] as const)),
]

/** IPAs of one walk that are looked at one by one. */
const IPAS = 16

/** What came of a transaction over some of the caches. */
export interface Tried {
  readonly pipeline: Dry
  readonly outcome: Outcome
  readonly isRight: boolean
}

/** Tries the transaction over some of the caches; `adapt` is called before. */
export type Try = (leaves: Leaves, adapt?: (pipeline: Dry) => void) => Tried

/**
 * What makes a transaction's answer right.
 *
 * @param changed the entry in memory that has changed since it was
 */
export function remedyOf(parts: Parts, transaction: Transaction, changed: ChangedEntry | null, attempt: Try): Remedy {
  const { outcome: before } = attempt(EVERYTHING)
  const leafLg2 = before.status === STATUS.OK ? before.leafLg2 : 12
  let found = tryStep(STEPS[0], attempt)
  // The last one drops all that this transaction meets: where not even that helps, memory changes meanwhile.
  for (let i = 1; i < STEPS.length && !found.isRight; i++) found = tryStep(STEPS[i], attempt)
  const { config, tlb, leaves, ipas, after } = found
  const missing: Invalidation[] = []
  if (config.name !== null) missing.push(byStream(config, transaction))
  if (tlb.ipa !== null) {
    const vmid = after.tlb.askedVmid
    const pages = narrowest({ ...leaves, ipa: true, walk2: true }, vmid, ipas, tlb.ipa, attempt)
    for (const page of pages) missing.push(byIpa(vmid, tlb.ipa, page))
  }
  if (tlb.va !== null && after.tlb.asked !== null) missing.push(byVa(parts, after, tlb.va, transaction))
  const cache = config.cache === '' ? tlb.cache : config.cache
  const entry = nameOf(cache, after, transaction, leafLg2)
  const isAlone = tlb === NO_TLB && cache in MADE_OF
  return {
    cache,
    entry,
    missing,
    usual: usualOf(after, cache, changed),
    ...(isAlone ? { madeOf: MADE_OF[cache] } : {}),
  }
}

/** What came of one step. */
interface TriedStep {
  readonly config: ConfigStep
  readonly tlb: TlbStep
  readonly leaves: Leaves
  /** What stage 2 was asked for. */
  readonly ipas: readonly number[]
  readonly after: Dry
  readonly isRight: boolean
}

function tryStep([config, tlb]: readonly [ConfigStep, TlbStep], attempt: Try): TriedStep {
  const leaves: Leaves = { ...config.leaves, ...tlb.leaves }
  let ipas: readonly number[] = []
  const { pipeline: after, isRight } = attempt(leaves, (pipeline) => {
    ipas = ipasOf(pipeline)
  })
  return { config, tlb, leaves, ipas, after, isRight }
}

/** Notes the IPAs that a dry pipeline asks stage 2 for, each page once. */
function ipasOf({ translator: { stageTwo } }: Dry): number[] {
  const pages: number[] = []
  const translate = stageTwo.translate.bind(stageTwo)
  stageTwo.translate = (lo, hi, ask) => {
    const page = pageOf(lo, hi)
    if (!pages.includes(page) && pages.length < IPAS) pages.push(page)
    return translate(lo, hi, ask)
  }
  return pages
}

/** Which of those IPAs have to be dropped: all of them, without those that are not needed. */
function narrowest(
  leaves: Leaves,
  vmid: number,
  pages: readonly number[],
  leaf: number,
  attempt: Try,
): readonly number[] {
  let needed = pages
  for (const page of pages) {
    const fewer = needed.filter((each) => each !== page)
    const drop = ({ tlb }: Dry): void => {
      for (const each of fewer) {
        tlb.dropIpa({ first: vmid, last: vmid }, anyGeometry(each as Page, each as Page, leaf === 1))
      }
    }
    if (attempt(leaves, drop).isRight) needed = fewer
  }
  return needed
}

function byStream({ name, Leaf }: ConfigStep, { rid, pasid }: Transaction): Invalidation {
  const SID = rid >>> 0
  if (name === 'CFGI_STE') return { name, operands: { SID, Leaf } }
  return { name: 'CFGI_CD', operands: { SID, SSID: pasid === NO_PASID ? 0 : pasid, Leaf } }
}

function byIpa(VMID: number, Leaf: number, page: number): Invalidation {
  return { name: 'TLBI_S2_IPA', operands: { VMID, Leaf }, page: [lowWord(page * 4096), highWord(page * 4096)] }
}

function byVa(parts: Parts, { tlb }: Dry, Leaf: number, { lo, hi }: Transaction): Invalidation {
  const asked = tlb.asked as NonNullable<typeof tlb.asked>
  const isHigh = (hi & 0x00800000) !== 0
  const high = effectiveHigh(hi, isHigh, isHigh ? asked.tbi1 : asked.tbi0)
  return byAddress(parts, asked, tlb.askedSpace, Leaf, [pageLow(lo), high >>> 0])
}

/** What tells this entry from others. */
function nameOf(cache: string, { tlb }: Dry, { rid, pasid, lo, hi }: Transaction, leafLg2: number): string {
  if (cache === 'ste' || cache === 'l1std') return `${cache} ${rid >>> 0}`
  if (cache === 'cd' || cache === 'l1cd') return `${cache} ${rid >>> 0}/${pasid}`
  const owner = tlb.asked === null ? `vmid ${tlb.askedVmid}` : `${tlb.askedSpace}/${tlb.asked.asid}`
  return `${cache} ${owner} ${highOf(hi, leafLg2) >>> 0}:${lowOf(lo, leafLg2) >>> 0}/${leafLg2}`
}

/** An ASID or VMID that means other tables now: whoever gives it away drops all of it. */
function usualOf({ tlb }: Dry, cache: string, changed: ChangedEntry | null): Invalidation | null {
  const isNumberReused = changed === null || changed.stage === undefined
  if (!isNumberReused) return null
  const { asked, askedSpace, askedVmid } = tlb
  if (cache === 'ipa' || cache === 'walk2') return { name: 'TLBI_S12_VMALL', operands: { VMID: askedVmid } }
  if ((cache !== 'tlb' && cache !== 'walk1') || asked === null) return null
  if (changed !== null && changed.what !== 'CD' && askedVmid >= 0) {
    return { name: 'TLBI_S12_VMALL', operands: { VMID: askedVmid } }
  }
  if (isVmid(askedSpace)) return { name: 'TLBI_NH_ASID', operands: { VMID: askedSpace, ASID: asked.asid } }
  return asked.isHyp
    ? { name: 'TLBI_EL2_ALL', operands: {} }
    : { name: 'TLBI_EL2_ASID', operands: { ASID: asked.asid } }
}
