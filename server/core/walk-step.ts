/**
 * Steps of a walk as a reply tells them. What a client owns is told whole; of the host driver's own entries only what
 * says nothing of where anything stands in physical memory.
 */

import type { ExplainStep, StepSpace } from './driver.js'
import { hex, join } from './u64.js'

/** A place in the client's memory. */
export interface Place {
  readonly regionId: number
  readonly offset: bigint
}

/** Whom steps are told to. */
export interface Listener {
  /** The bus is the listener's own, and nothing on it is hidden. */
  readonly ownsBus: boolean
  /** It asks for a translation (ATS). Absent: no. */
  readonly isTranslationRequest?: boolean
  /** A physical address as the listener's own memory. */
  locate(physical: number): Place | undefined
}

/** The contract's EntryField. */
export interface FieldInfo {
  readonly name: string
  readonly value: bigint
  readonly text: string
}

/** The contract's WalkStep. */
export interface StepInfo {
  readonly structure: string
  readonly stage: number
  readonly level?: number
  readonly space: 0 | 2 | 3
  readonly address: bigint
  readonly location?: Place
  readonly words: BigUint64Array
  readonly fields: readonly FieldInfo[]
  readonly verdict: string
  readonly citation: string
}

/** The contract's AddressSpace, as far as a walk has them. */
const SPACE = { HIDDEN: 0, IPA: 2, PA: 3 } as const

/** No field but an address is as large; host RAM and regions stand above it. */
const ADDRESSES_FROM = 2 ** 32

/** What stands in the place of an address that is not told. */
const NOT_TOLD = 'not told'

/** A step as a reply tells it. */
export function stepInfo(step: ExplainStep, listener: Listener): StepInfo {
  const location = step.address === undefined ? undefined : listener.locate(step.address)
  const isOwn = listener.ownsBus || location !== undefined
  return {
    structure: step.what,
    stage: step.stage ?? 0,
    level: step.level,
    ...addressOf(step, listener),
    location,
    words: isOwn ? pairs(step.words ?? []) : new BigUint64Array(0),
    fields: Object.keys(step.fields ?? {}).flatMap((name) => fieldOf(step, name, isOwn)),
    verdict: verdictOf(step, listener),
    citation: step.citation ?? '',
  }
}

/** The step's name, and its level if it has one. */
export const nameOf = ({ what, level }: ExplainStep): string =>
  level === undefined ? what : `${what} at level ${level}`

/** The verdict with the address that it is about. */
function verdictOf({ verdict, target }: ExplainStep, listener: Listener): string {
  if (target === undefined) return verdict
  const where = whereIs(target, listener)
  if (where === '') return verdict
  return verdict.includes(',') ? `${verdict}, at ${where}` : `${verdict} at ${where}`
}

function whereIs({ space, address }: NonNullable<ExplainStep['target']>, { ownsBus, locate }: Listener): string {
  if (space === 'ipa') return `IPA ${hex(BigInt(address))}`
  if (ownsBus) return `PA ${hex(BigInt(address))}`
  const place = locate(address)
  return place === undefined ? '' : `region ${place.regionId} + ${hex(place.offset)}`
}

function fieldOf({ fields, texts, pointers }: ExplainStep, name: string, isOwn: boolean): readonly FieldInfo[] {
  const value = fields?.[name] ?? 0
  const space: StepSpace | undefined = pointers?.[name]
  if (!isOwn && space === 'pa') return [{ name, value: 0n, text: NOT_TOLD }]
  if (!isOwn && space === undefined && value >= ADDRESSES_FROM) return []
  return [{ name, value: BigInt(value), text: texts?.[name] ?? '' }]
}

function addressOf({ guestAddress, address }: ExplainStep, { ownsBus }: Listener): Pick<StepInfo, 'space' | 'address'> {
  if (guestAddress !== undefined) return { space: SPACE.IPA, address: BigInt(guestAddress) }
  if (ownsBus && address !== undefined) return { space: SPACE.PA, address: BigInt(address) }
  return { space: SPACE.HIDDEN, address: 0n }
}

function pairs(words: readonly number[]): BigUint64Array {
  const pairs = new BigUint64Array(Math.ceil(words.length / 2))
  for (let at = 0; at < pairs.length; at++) pairs[at] = join(words[2 * at], words[2 * at + 1] ?? 0)
  return pairs
}
