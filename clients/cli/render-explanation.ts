/** A walk for people: each step with its address, its raw words, its fields and its verdict, then what it comes to. */

import type { DmaFault, Explanation, TranslationResult, WalkStep } from '../../proto/generated/types.js'
import { flagText, hex, type Message, messageText, printable } from './format.js'
import { nameOfValue } from './names.js'
import { indent, table } from './table.js'

/** Characters of a line of fields. */
const LINE = 110

/** An explanation in lines. */
export function renderExplanation(message: Message | undefined): string[] {
  if (message === undefined) return ['no walk']
  const { steps, fresh, cached, missingInvalidation } = message as unknown as Explanation
  return [
    ...steps.flatMap((step, i) => renderStep(step, i + 1)),
    ...(steps.length === 0 ? [] : ['']),
    ...renderResults(fresh, cached),
    ...(missingInvalidation === '' ? [] : [`missing invalidation: ${printable(missingInvalidation)}`]),
  ]
}

function renderStep(step: WalkStep, number: number): string[] {
  const stage = step.stage === 0 ? '' : unlessSaid(step, `stage ${step.stage}`)
  const level = step.level === undefined ? '' : unlessSaid(step, `level ${step.level}`)
  const citation = step.citation === '' ? '' : `  ${printable(step.citation)}`
  const words = [...step.words].map((word) => `0x${word.toString(16).padStart(16, '0')}`)
  const fields = fieldsOf(step)
  return [
    `${number}. ${printable(step.structure)}${stage}${level}${placeOf(step)}${citation}`,
    ...indent([
      ...(words.length === 0 ? [] : [`words    ${words.join(' ')}`]),
      ...wrap(fields).map((line, i) => `${i === 0 ? 'fields ' : '       '}  ${line}`),
      `verdict  ${printable(step.verdict)}`,
    ]),
  ]
}

/** The fields that say something; entries of sixty fields are mostly zeroes. */
function fieldsOf({ fields }: WalkStep): string[] {
  const telling = fields.filter(({ value, text }) => value !== 0n || text !== '')
  const zeroes = fields.length - telling.length
  const others = telling.length === 0 ? `all ${zeroes} are 0` : `(${zeroes} more are 0)`
  return [
    ...telling.map(
      ({ name, value, text }) => `${printable(name)}=${hex(value)}${text === '' ? '' : ` (${printable(text)})`}`,
    ),
    ...(zeroes === 0 ? [] : [others]),
  ]
}

const unlessSaid = ({ structure }: WalkStep, words: string): string => (structure.includes(words) ? '' : `, ${words}`)

function placeOf({ space, address, location }: WalkStep): string {
  const where = location === undefined ? '' : messageText('RegionOffset', location as unknown as Message)
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
function sizeText(log2: number): string {
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
