/** What a fault was, and the steps of a walk, as replies tell them. */

import type { Requester } from './dma-batch.js'
import { DMA_STATUS, type DmaOutcome, type ExplainStep } from './driver.js'
import type { RegionTable } from './region.js'

/** The contract's DmaFault. */
export interface DmaFault {
  readonly index: number
  readonly code: number
  readonly name: string
  readonly reason: string
  readonly iova: bigint
  readonly access: number
  readonly stage: number
  readonly recorded: boolean
}

/** One access of a batch. */
export interface Attempt {
  readonly index: number
  readonly lo: number
  readonly hi: number
  readonly access: number
}

/**
 * Describes a fault.
 *
 * @param explained walk once more, dry, for the sentence and the stage
 */
export function faultOf(requester: Requester, attempt: Attempt, fault: number, explained: boolean): DmaFault {
  const { index, lo, hi, access } = attempt
  let reason = ''
  let stage = 0
  if (explained) {
    const fresh: DmaOutcome = { status: 0, address: 0, leafLg2: 12, rights: 0, fault: 0, hit: 0, tag: 0 }
    const steps = requester.explain(index, lo, hi, access, fresh)
    if (fresh.status === DMA_STATUS.FAULT && fresh.fault === fault) {
      // Walks end with a verdict of the whole; what it follows from is the last entry that was read.
      const read = steps.findLast(({ address }) => address !== undefined)
      const last = steps.at(-1)
      const verdicts = new Set([read && `${read.what}: ${read.verdict}`, last !== read ? last?.verdict : undefined])
      reason = [...verdicts].filter((verdict) => verdict !== undefined).join('; ')
      stage = read === undefined ? 0 : stageOf(read)
    } else reason = 'the tables in memory no longer say so: a cache still does, until it is told to forget'
  }
  const name = requester.faultName(fault)
  // What a unit does not record it ends as ABORTED.
  return { index, code: fault, name, reason, iova: join(lo, hi), access, stage, recorded: true }
}

/** The contract's WalkStep. */
export interface StepInfo {
  readonly structure: string
  readonly stage: number
  readonly level?: number
  readonly space: 0 | 2 | 3
  readonly address: bigint
  readonly location?: { readonly regionId: number; readonly offset: bigint }
  readonly words: BigUint64Array
  readonly fields: readonly { readonly name: string; readonly value: bigint; readonly text: string }[]
  readonly verdict: string
  readonly citation: string
}

const HIDDEN = 0
const IPA = 2
const PA = 3

/** Values below this cannot be an address that matters: every table and region stands above the first page. */
const NO_ADDRESS_BELOW = 4096

/**
 * Steps as a reply tells them.
 *
 * @param regions the context's: what stands elsewhere is the host driver's, and its addresses and words are not told;
 * undefined for a raw unit, whose bus hides nothing from its owner
 */
export function stepsOf(steps: readonly ExplainStep[], regions: RegionTable | undefined): readonly StepInfo[] {
  return steps.map((step) => {
    const region = step.address === undefined ? undefined : regions?.atPhysical(step.address)
    const isOwners = regions === undefined || region !== undefined
    const level = /\blevel (\d)/.exec(step.what)?.[1]
    return {
      structure: step.what,
      stage: stageOf(step),
      level: level === undefined ? undefined : Number(level),
      ...placeOf(step, regions === undefined),
      location:
        region === undefined || step.address === undefined || region.id === 0
          ? undefined
          : { regionId: region.id, offset: BigInt(step.address - region.memory.address) },
      words: isOwners ? pairs(step.words ?? []) : new BigUint64Array(0),
      fields: Object.entries(step.fields ?? {})
        .filter(([, value]) => isOwners || value < NO_ADDRESS_BELOW)
        .map(([name, value]) => ({ name, value: BigInt(value), text: '' })),
      verdict: step.verdict,
      citation: '',
    }
  })
}

/** Two 32-bit halves as one address. */
export const join = (lo: number, hi: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)

function placeOf(step: ExplainStep, tellsPhysical: boolean): { space: 0 | 2 | 3; address: bigint } {
  if (step.guestAddress !== undefined) return { space: IPA, address: BigInt(step.guestAddress) }
  if (tellsPhysical && step.address !== undefined) return { space: PA, address: BigInt(step.address) }
  return { space: HIDDEN, address: 0n }
}

/** The manuals say stage 1 and 2, or first and second stage. */
function stageOf({ what }: ExplainStep): number {
  const [, number, word] = /\bstage ([12])\b|\b(first|second)[- ]stage\b/.exec(what) ?? []
  if (number !== undefined) return Number(number)
  return word === undefined ? 0 : word === 'first' ? 1 : 2
}

function pairs(words: readonly number[]): BigUint64Array {
  const pairs = new BigUint64Array(Math.ceil(words.length / 2))
  for (let at = 0; at < pairs.length; at++) pairs[at] = join(words[2 * at], words[2 * at + 1] ?? 0)
  return pairs
}
