/** Values of fields as people read them: addresses in hex, enums and flags by name. */

import { type FieldInfo, fieldsOf } from '../../proto/codec.js'
import type { MessageName } from '../../proto/generated/types.js'
import { enumOf, flagsOf, inHex } from './flag-fields.js'
import { nameOfValue, shortNames } from './names.js'

/** A message with its fields by their JSON names. */
export type Message = Readonly<Record<string, unknown>>

/** A number in hex. */
export const hex = (value: number | bigint): string => `0x${value.toString(16)}`

/** Bytes in hex, without spaces. */
export const hexOf = (bytes: Uint8Array): string => `0x${Buffer.from(bytes).toString('hex')}`

/** Bits by their names, `READ|WRITE`; what has no name in hex; none as `0`. */
export function flagText(enumName: string, value: number | bigint): string {
  let left = BigInt(value)
  const words: string[] = []
  for (const [name, bit] of shortNames(enumName)) {
    if (bit === 0 || (left & BigInt(bit)) === 0n) continue
    words.push(name)
    left &= ~BigInt(bit)
  }
  if (left !== 0n) words.push(hex(left))
  return words.length === 0 ? '0' : words.join('|')
}

/** One value of a field, or one element of it, in one line. Absent is empty. */
export function valueText(message: string, field: FieldInfo, value: unknown): string {
  if (value === undefined) return ''
  if (field.kind === 'message') return messageText(field.typeName as MessageName, value as Message)
  const flags = flagsOf(message, field)
  if (flags !== undefined) return flagText(flags, value as number)
  const names = enumOf(message, field)
  if (names !== undefined) return nameOfValue(names, value as number)
  if (value instanceof Uint8Array) return value.length === 0 ? '' : hexOf(value)
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value === 'string') return printable(value)
  return inHex(field) ? hex(value as bigint) : String(value)
}

/** A whole field in one line: lists by commas, maps as `key value`. */
export function fieldText(message: string, field: FieldInfo, value: unknown): string {
  if (value === undefined) return ''
  if (field.map) {
    return Object.entries(value as Message)
      .map(([key, each]) => `${printable(key)} ${valueText(message, field, each) || '-'}`)
      .join(', ')
  }
  if (!field.repeated) return valueText(message, field, value)
  return Array.from(value as Iterable<unknown>, (each) => valueText(message, field, each)).join(', ')
}

/** A message inside a line. */
export function messageText(name: MessageName, message: Message): string {
  if (name === 'RegionOffset') return `region ${message['regionId']} + ${hex(message['offset'] as bigint)}`
  if (name === 'AddressRange') return `${hex(message['first'] as bigint)}-${hex(message['last'] as bigint)}`
  return fieldsOf(name)
    .map((field) => ({ field, text: fieldText(name, field, message[field.name]) }))
    .filter(({ text }) => text !== '')
    .map(({ text }) => text)
    .join(' ')
}

/** Text of others without what would move the cursor of a terminal. */
export const printable = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is taken out
  text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`)
