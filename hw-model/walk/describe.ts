/** What the steps of an explained walk have in common: decoded records, sizes and rights in words. */

import { dump, type FieldSpec, type Layout } from '../bits/layout.js'
import { ACCESS, type Space, type WalkStep } from '../port.js'

/** How a record is told. */
export interface Telling {
  /** Names of the fields that matter here; all of them if absent. */
  readonly only?: readonly string[]
  /** Values of fields in words. */
  readonly texts?: Readonly<Record<string, string>>
  /** Whose addresses the record's address fields are, unless `spaces` says otherwise. */
  readonly space?: Space
  readonly spaces?: Readonly<Record<string, Space>>
}

/** A record's words and decoded fields. */
export function recordOf<F extends Record<string, FieldSpec>>(
  record: Layout<F>,
  words: Int32Array,
  { only, texts = {}, space = 'pa', spaces = {} }: Telling = {},
): Pick<WalkStep, 'words' | 'fields' | 'texts' | 'pointers'> {
  const tells = (name: string): boolean => only === undefined || only.includes(name)
  const fields = Object.entries(dump(record, words)).filter(([name]) => tells(name))
  const addresses = [...record.$.fields].filter(([name, field]) => field.isAddress && tells(name))
  return {
    words: Array.from(words.subarray(0, record.$.words), (word) => word >>> 0),
    fields: Object.fromEntries(fields),
    texts: Object.fromEntries(Object.entries(texts).filter(([name]) => tells(name))),
    pointers: Object.fromEntries(addresses.map(([name]) => [name, spaces[name] ?? space])),
  }
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'] as const

/** 2^lg2 bytes in the greatest unit that divides it: `2 MiB`. */
export function sizeText(lg2: number): string {
  const unit = Math.min(Math.floor(lg2 / 10), UNITS.length - 1)
  return `${2 ** (lg2 - unit * 10)} ${UNITS[unit]}`
}

/** READ and WRITE of a leaf, in words. */
export function rightsText(rights: number): string {
  return ['no access', 'read-only', 'write-only', 'read-write'][rights & (ACCESS.READ | ACCESS.WRITE)]
}
