/** A walk for people: each step with its address, its raw words, its fields and its verdict, then what it comes to. */

import {
  AtsStatus,
  type DmaFault,
  type Explanation,
  type TranslationResult,
  type WalkStep,
} from '../../proto/generated/types.js'
import { flagText, hex, type Message, messageText, printable } from './format.js'
import { nameOfValue } from './names.js'
import { indent, table } from './table.js'

/** Characters of a line of fields. */
const LINE = 110

/** 64-bit words of a line. */
const WORDS = 4

/** Structures that name their stage themselves. */
const STAGE_SAID = /\b(stage[ -][12]|(first|second)[ -]stage)\b/

/** The text of an address of the host's. */
const NOT_TOLD = 'not told'

/** What AddressSpace and DmaOutcome call them. */
const IPA = 2
const OK = 1

/**
 * An explanation in lines.
 *
 * @param isWhole show every entry of the stage 2 walks that stage 1 needs; else they are a line each
 */
export function renderExplanation(message: Message | undefined, isWhole = false): string[] {
  if (message === undefined) return ['no walk']
  const { steps, fresh, cached, missingInvalidation } = message as unknown as Explanation
  return [
    ...renderSteps(steps, isWhole, fresh?.outcome === OK),
    ...(steps.length === 0 ? [] : ['']),
    ...renderResults(fresh, cached),
    ...(missingInvalidation === '' ? [] : [`missing invalidation: ${printable(missingInvalidation)}`]),
  ]
}

/** Under nesting each thing that an IPA names has a walk of stage 2 before it, which is shown below it. */
function renderSteps(steps: readonly WalkStep[], isWhole: boolean, isOk: boolean): string[] {
  const isNested = steps.some(({ stage, space }, i) => stage !== 2 && space === IPA && i < steps.length - 1)
  if (!isNested) return steps.flatMap((step, i) => renderStep(step, i + 1))
  const lines: string[] = []
  let first = 0
  for (const [at, step] of steps.entries()) {
    const isLast = at === steps.length - 1
    if (step.stage === 2 && isEntry(step) && !isLast) continue
    const walk = steps.slice(first, at)
    const refused = isLast && !isOk
    lines.push(...renderStep(step, at + 1), ...indent(renderWalk(walk, first, step, isWhole, refused)))
    first = at + 1
  }
  return lines
}

/** One walk of stage 2: whole, or in a line and, where it ended badly, with the entry that it ended at. */
function renderWalk(
  walk: readonly WalkStep[],
  first: number,
  served: WalkStep,
  isWhole: boolean,
  refused: boolean,
): string[] {
  const last = walk.at(-1)
  if (last === undefined) return []
  if (isWhole) return walk.flatMap((step, i) => renderStep(step, first + i + 1))
  const place = served.location === undefined ? printable(last.verdict) : placeText(served.location)
  const count = `(${walk.length} ${walk.length === 1 ? 'step' : 'steps'})`
  const line = `stage 2  IPA ${hex(served.address)} -> ${place} ${count}`
  return refused ? [line, ...renderStep(last, first + walk.length)] : [line]
}

/** Decisions have neither words nor a manual's level. */
const isEntry = ({ level }: WalkStep): boolean => level !== undefined

const placeText = (location: NonNullable<WalkStep['location']>): string =>
  messageText('RegionOffset', location as unknown as Message)

function renderStep(step: WalkStep, number: number): string[] {
  const stage = step.stage === 0 || STAGE_SAID.test(step.structure) ? '' : `, stage ${step.stage}`
  const level = step.level === undefined ? '' : unlessSaid(step, `level ${step.level}`)
  const citation = step.citation === '' ? '' : `  ${printable(step.citation)}`
  const words = [...step.words].map((word) => `0x${word.toString(16).padStart(16, '0')}`)
  const fields = fieldsOf(step)
  return [
    `${number}. ${printable(step.structure)}${stage}${level}${placeOf(step)}${citation}`,
    ...indent([
      ...under('words', rowsOf(words)),
      ...under('fields', wrap(fields)),
      `verdict  ${printable(step.verdict)}`,
    ]),
  ]
}

/** The fields that say something; entries of sixty fields are mostly zeroes. */
function fieldsOf({ fields }: WalkStep): string[] {
  const telling = fields.filter(({ value, text }) => value !== 0n || text !== '')
  const zeroes = fields.length - telling.length
  if (fields.length === 0) return []
  const others = telling.length === 0 ? `all ${zeroes} are 0` : `(${zeroes} more are 0)`
  return [
    ...telling.map(({ name, value, text }) =>
      text === NOT_TOLD ? `${printable(name)} (${text})` : `${printable(name)}=${hex(value)}${inWords(text)}`,
    ),
    ...(zeroes === 0 ? [] : [others]),
  ]
}

const inWords = (text: string): string => (text === '' ? '' : ` (${printable(text)})`)

/** Lines below each other, with a title before the first. */
const under = (title: string, lines: readonly string[]): string[] =>
  lines.map((line, i) => `${i === 0 ? title.padEnd(7) : '       '}  ${line}`)

const rowsOf = (words: readonly string[]): string[] =>
  Array.from({ length: Math.ceil(words.length / WORDS) }, (_, row) =>
    words.slice(row * WORDS, (row + 1) * WORDS).join(' '),
  )

const unlessSaid = ({ structure }: WalkStep, words: string): string => (structure.includes(words) ? '' : `, ${words}`)

function placeOf({ space, address, location }: WalkStep): string {
  const where = location === undefined ? '' : placeText(location)
  if (space === 0) return where === '' ? '' : ` at ${where}`
  return ` at ${nameOfValue('AddressSpace', space)} ${hex(address)}${where === '' ? '' : ` (${where})`}`
}

function renderResults(fresh: TranslationResult | undefined, cached: TranslationResult | undefined): string[] {
  const now = resultRows(fresh)
  if (cached === undefined) return [...twoColumns(now), 'no cache holds a translation of it']
  const then = resultRows(cached)
  const keys = [...new Set([...now.keys(), ...then.keys()])]
  if (keys.every((key) => now.get(key) === then.get(key))) return [...twoColumns(now), 'the caches say the same']
  const rows = keys.map((key) => {
    const [left, right] = [now.get(key) ?? '-', then.get(key) ?? '-']
    return [key, left, right, left === right ? '' : 'differs']
  })
  return table(['', 'fresh (tables)', 'cached', ''], rows)
}

const twoColumns = (rows: ReadonlyMap<string, string>): string[] => table(['', 'fresh (tables)'], [...rows])

function resultRows(result: TranslationResult | undefined): Map<string, string> {
  const rows = new Map<string, string>()
  if (result === undefined) return rows
  if (result.atsStatus !== AtsStatus.UNSPECIFIED) rows.set('completion', nameOfValue('AtsStatus', result.atsStatus))
  rows.set('outcome', nameOfValue('DmaOutcome', result.outcome))
  if (result.location !== undefined) {
    rows.set('location', messageText('RegionOffset', result.location as unknown as Message))
  }
  if (result.address !== undefined) rows.set('address', hex(result.address))
  if (result.pageSizeLog2 !== 0) rows.set('page', sizeText(result.pageSizeLog2))
  if (result.permissions !== 0) rows.set('permissions', flagText('AccessFlag', result.permissions))
  if (result.fault !== undefined) faultRows(result.fault, rows)
  return rows
}

function faultRows(fault: DmaFault, rows: Map<string, string>): void {
  rows.set('fault', `${printable(fault.name)} (${hex(fault.code)})`)
  if (fault.stage !== 0) rows.set('stage', String(fault.stage))
  if (fault.ipa !== undefined) rows.set('ipa', hex(fault.ipa))
  if (fault.reason !== '') rows.set('reason', printable(fault.reason))
}

/** 2^log2 bytes in the greatest unit that divides it: `2 MiB`. */
export function sizeText(log2: number): string {
  const unit = Math.min(Math.floor(log2 / 10), UNITS.length - 1)
  return `${2 ** (log2 - unit * 10)} ${UNITS[unit]}`
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'] as const

function wrap(words: readonly string[]): string[] {
  const lines: string[] = []
  for (const word of words) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + word.length + 2 <= LINE) lines[lines.length - 1] = `${last}  ${word}`
    else lines.push(word)
  }
  return lines
}
