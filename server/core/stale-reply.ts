/** Reports of the oracle as replies tell them: to their owner, in terms of his own memory; to the administrator, all. */

import type { Context } from './context.js'
import type { OutcomeNumber } from './dma-batch.js'
import { DMA_STATUS } from './driver.js'
import type { TranslationResult } from './explanation.js'
import type { InvalidateRequest } from './invalidate-calls.js'
import type { KeptStale, StaleBook } from './stale-book.js'
import { hex, join } from './u64.js'
import type { StaleEnd, StaleFacts, UnitOracle } from './unit-oracle.js'
import type { Place } from './walk-step.js'

/** The contract's StaleReason. */
const REASONS = { synced: 1, 'frame-reused': 2, checked: 3, 'break-before-make': 4, ended: 5 } as const

/** The contract's ChangedEntry. */
export interface ChangedInfo {
  readonly structure: string
  readonly stage: number
  readonly level?: number
  readonly location?: Place
  readonly address?: bigint
  readonly before: bigint
  readonly after: bigint
}

/** The contract's StaleTranslation. */
export interface StaleInfo {
  readonly deviceName: string
  readonly sourceId: number
  readonly pasid?: number
  readonly iova: bigint
  readonly cached: TranslationResult
  readonly fresh: TranslationResult
  readonly neededCommand: string
  readonly hits: bigint
  readonly number: bigint
  readonly cache: string
  readonly reason: 1 | 2 | 3 | 4 | 5
  readonly access: number
  readonly filledOperation: bigint
  readonly lastRightOperation: bigint
  readonly firstSeenOperation: bigint
  readonly reportedOperation: bigint
  readonly changed?: ChangedInfo
  readonly usualCommand: string
  readonly sent: readonly { readonly command: string; readonly operation: bigint; readonly why: string }[]
  readonly ownCommand: string
  readonly ownInvalidation?: InvalidateRequest
  readonly summary: string
  readonly contextNumber: bigint
}

/**
 * @param ownsBus physical addresses are told: to the owner of a raw unit, and to the administrator
 * @param isOwner it is the reader's own
 */
export function staleInfo(kept: KeptStale, oracle: UnitOracle, ownsBus: boolean, isOwner: boolean): StaleInfo {
  const { facts, isShared, deviceName, context } = kept
  const isHidden = isShared && !ownsBus
  const operation = (at: number): bigint => (isHidden ? 0n : BigInt(at))
  const sent = isHidden ? facts.sent.filter(({ isOfDevice }) => isOfDevice) : facts.sent
  return {
    deviceName,
    sourceId: facts.sourceId,
    pasid: facts.pasid < 0 ? undefined : facts.pasid,
    iova: join(facts.lo, facts.hi),
    cached: endInfo(facts, facts.cached, kept.cachedPlace, oracle, ownsBus),
    fresh: endInfo(facts, facts.fresh, kept.freshPlace, oracle, ownsBus),
    neededCommand: facts.needed,
    hits: BigInt(facts.hits),
    number: BigInt(facts.number),
    cache: facts.cache,
    reason: REASONS[facts.reason],
    access: facts.access,
    filledOperation: operation(facts.filledAt),
    lastRightOperation: operation(facts.lastRightAt),
    firstSeenOperation: operation(facts.firstSeenAt),
    reportedOperation: operation(facts.at),
    changed: changedInfo(kept, ownsBus),
    usualCommand: facts.usual,
    sent: sent.map(({ command, at, why }) => ({ command, operation: operation(at), why })),
    ownCommand: facts.own?.text ?? '',
    ownInvalidation: ownRequest(kept),
    summary: summaryOf(kept, oracle),
    contextNumber: isOwner ? 0n : (context?.number ?? 0n),
  }
}

/** Why the oracle has ended an access of a context ABORTED; empty where it has not. */
export function failureOf(book: StaleBook, context: Context): string {
  const { failedNumber } = book.oracle
  if (failedNumber === 0) return ''
  const report = book.find(failedNumber)
  const what = report?.context === context ? summaryOf(report, book.oracle) : 'a stale answer, reported before'
  return `oracle report ${failedNumber}: ${what}`
}

/** A report in one sentence, without any physical address. */
export function summaryOf(kept: KeptStale, oracle: UnitOracle): string {
  const { facts, cachedPlace, freshPlace } = kept
  const iova = hex(join(facts.lo, facts.hi))
  const was = endText(facts.cached, cachedPlace, oracle)
  const is = endText(facts.fresh, freshPlace, oracle)
  const needed = facts.own?.text ?? facts.needed
  return `${facts.cache} answers ${iova} with ${was}, memory with ${is}; forgotten: ${needed === '' ? 'unknown' : needed}`
}

function endText({ status, fault, rights }: StaleEnd, place: Place | undefined, oracle: UnitOracle): string {
  if (status === DMA_STATUS.FAULT) return oracle.faultName(fault)
  if (status !== DMA_STATUS.OK) return 'an abort'
  if (rights === 0) return 'no translation'
  return place === undefined ? 'another page' : `region ${place.regionId} + ${hex(place.offset)}`
}

function endInfo(
  { lo, hi, access }: StaleFacts,
  { status, fault, address, leafLg2, rights }: StaleEnd,
  location: Place | undefined,
  oracle: UnitOracle,
  ownsBus: boolean,
): TranslationResult {
  const no = { pageSizeLog2: 0, permissions: 0 }
  if (status === DMA_STATUS.FAULT) {
    const name = oracle.faultName(fault)
    const told = { index: 0, code: fault, name, reason: '', iova: join(lo, hi), access, stage: 0, recorded: false }
    return { ...no, outcome: DMA_STATUS.FAULT, fault: told }
  }
  if (status !== DMA_STATUS.OK) {
    return { ...no, outcome: status > DMA_STATUS.PENDING ? DMA_STATUS.ABORTED : (status as OutcomeNumber) }
  }
  // A translation request that is granted nothing has no address.
  if (rights === 0) return { ...no, outcome: DMA_STATUS.OK }
  const where = ownsBus ? BigInt(address) : undefined
  return { outcome: DMA_STATUS.OK, location, address: where, pageSizeLog2: leafLg2, permissions: rights }
}

/** Of an entry of the host's no more is told than which one. */
function changedInfo({ facts: { changed }, changedPlace }: KeptStale, ownsBus: boolean): ChangedInfo | undefined {
  if (changed === null) return undefined
  const { what: structure, stage = 0, level, address, before, after } = changed
  const isTold = ownsBus || changedPlace !== undefined
  return {
    structure,
    stage,
    level,
    location: changedPlace,
    address: ownsBus ? BigInt(address) : undefined,
    before: isTold ? join(...before) : 0n,
    after: isTold ? join(...after) : 0n,
  }
}

function ownRequest({ facts: { own }, ownTarget }: KeptStale): InvalidateRequest | undefined {
  if (own === undefined || ownTarget === undefined) return undefined
  const { kind, ...target } = ownTarget
  const entries = kind === 'smmuv3' ? (own.commands ?? []) : (own.ranges ?? [])
  return { ...target, [kind]: { entries } } as InvalidateRequest
}
