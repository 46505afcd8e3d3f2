/** Which commands software has forgotten, as far as one transaction can tell. */

import { joinWord } from '../bits/address.js'
import { type Invalidation, NO_PASID, Outcome, STATUS, type Transaction } from '../port.js'
import type { ShownConfigurations } from './config.js'
import type { ContextConfig } from './decode-cd.js'
import { type Dry, dry, EVERYTHING, type Leaves, MEMORY_ALONE, type Parts } from './explain.js'
import { CR2, OFFSET } from './registers.js'
import { effectiveHigh } from './stage-one.js'
import { isVmid, SPACE } from './stream-world.js'

/** What a command by address, or by VMID, leaves of the translations. */
const TLBI = {
  /** Nothing of it is sent. */
  none: {},
  /** By VA; with Leaf = 1 table entries stay. */
  leaf: { va: false },
  tables: { va: false, walk1: false },
  /** By IPA, where stage 1 has no part. */
  ipaLeaf: { ipa: false },
  ipaTables: { ipa: false, walk2: false },
  /** All of a VMID. */
  vmid: { va: false, ipa: false, walk1: false, walk2: false },
} as const satisfies Record<string, Partial<Leaves>>

interface Remedy {
  readonly config: 'CFGI_CD' | 'CFGI_STE' | null
  readonly tlb: keyof typeof TLBI
  readonly leaves: Leaves
}

const remedy = (config: Remedy['config'], tlb: Remedy['tlb']): Remedy => ({
  config,
  tlb,
  leaves: { ...EVERYTHING, ...configurations(config !== 'CFGI_STE', config === null), ...TLBI[tlb] },
})

function configurations(streams: boolean, contexts: boolean): ShownConfigurations {
  return { streams, blocks: streams, contexts, contextTables: contexts }
}

/** Sets of commands, the smaller before the larger, and what each of them leaves in the caches. */
const REMEDIES: readonly Remedy[] = [
  ...(['leaf', 'tables'] as const).map((tlb) => remedy(null, tlb)),
  remedy('CFGI_CD', 'none'),
  remedy('CFGI_STE', 'none'),
  ...(['ipaLeaf', 'ipaTables', 'vmid'] as const).map((tlb) => remedy(null, tlb)),
  ...(['leaf', 'tables'] as const).flatMap((tlb) => [remedy('CFGI_CD', tlb), remedy('CFGI_STE', tlb)]),
  ...(['ipaLeaf', 'ipaTables'] as const).map((tlb) => remedy('CFGI_STE', tlb)),
  remedy('CFGI_CD', 'vmid'),
  remedy('CFGI_STE', 'vmid'),
]

/**
 * The fewest commands after which the unit answers what memory says. Each set is tried on views of the caches, so what
 * is named does help; the order says that no smaller set would.
 */
export function missing(parts: Parts, transaction: Transaction): readonly Invalidation[] {
  const fresh = outcomeOf(dry(parts, MEMORY_ALONE), transaction)
  if (isSame(outcomeOf(dry(parts, EVERYTHING), transaction), fresh)) return []
  for (const each of REMEDIES) {
    const after = dry(parts, each.leaves)
    if (!isSame(outcomeOf(after, transaction), fresh)) continue
    const commands = commandsOf(parts, each, after, transaction)
    if (commands !== null) return commands
  }
  return []
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

/** What the set consists of, or null where its kind of command is not the stream's. */
function commandsOf(
  parts: Parts,
  { config, tlb }: Remedy,
  after: Dry,
  { rid, pasid, lo, hi }: Transaction,
): readonly Invalidation[] | null {
  const sid = rid >>> 0
  const commands: Invalidation[] = []
  if (config === 'CFGI_STE') commands.push({ name: 'CFGI_STE', operands: { SID: sid } })
  if (config === 'CFGI_CD') {
    commands.push({ name: 'CFGI_CD', operands: { SID: sid, SSID: pasid === NO_PASID ? 0 : pasid } })
  }
  if (tlb === 'none') return commands
  const Leaf = tlb === 'leaf' || tlb === 'ipaLeaf' ? 1 : 0
  const { asked, askedSpace } = after.tlb
  if (tlb === 'leaf' || tlb === 'tables') {
    if (asked === null) return null
    const isHigh = (hi & 0x00800000) !== 0
    const high = effectiveHigh(hi, isHigh, isHigh ? asked.tbi1 : asked.tbi0)
    commands.push(byAddress(parts, asked, askedSpace, Leaf, [pageLow(lo), high >>> 0]))
    return commands
  }
  const stageTwo = after.configs.stream(sid)?.stageTwo
  if (stageTwo == null) return null
  const { vmid: VMID } = stageTwo
  if (tlb === 'vmid') commands.push({ name: 'TLBI_S12_VMALL', operands: { VMID } })
  // What the device sent is an IPA where stage 2 was asked for it, and for nothing else.
  else if (asked !== null || after.translator.stageTwo.ipa !== joinWord(lo, hi)) return null
  else commands.push({ name: 'TLBI_S2_IPA', operands: { VMID, Leaf }, page: [pageLow(lo), hi >>> 0] })
  return commands
}

/** What drops the entries of a page in the StreamWorld that a context was asked for in. */
export function byAddress(
  { registers }: Parts,
  { asid: ASID }: ContextConfig,
  space: number,
  Leaf: number,
  page: readonly [number, number],
): Invalidation {
  if (isVmid(space)) return { name: 'TLBI_NH_VA', operands: { VMID: space, ASID, Leaf }, page }
  // By address, the commands reach the one EL2 world that CR2.E2H selects now. [SMMU 4.4.2.8 CMD_TLBI_EL2_VA]
  const selected = CR2.E2H.get(registers.words, OFFSET.CR2 >>> 2) === 1 ? SPACE.EL2_E2H : SPACE.EL2
  if (space !== selected) return { name: 'TLBI_EL2_ALL', operands: {} }
  return { name: 'TLBI_EL2_VA', operands: space === SPACE.EL2 ? { Leaf } : { ASID, Leaf }, page }
}

/** First byte of a page, the low half. */
export const pageLow = (lo: number): number => (lo & ~0xfff) >>> 0
