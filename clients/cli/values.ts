/** From words on a command line to values of fields. */

import type { FieldInfo } from '../../proto/codec.js'
import { enumOf, flagsOf } from './flag-fields.js'
import type { Io } from './io.js'
import { namesOf, valueOfName } from './names.js'

/** The command line is wrong; the message says what would be right. Nothing was sent. */
export class UsageError extends Error {}

/** A value of one field, or of one element of a repeated one. */
export type Scalar = string | number | bigint | boolean | Uint8Array

const RANGES: Readonly<Record<string, readonly [bigint, bigint]>> = {
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  fixed32: [0n, 2n ** 32n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
  fixed64: [0n, 2n ** 64n - 1n],
  sint64: [-(2n ** 63n), 2n ** 63n - 1n],
}

/** Letters for AccessFlag bits. A fetch reads too, so `x` brings `r` along. */
const ACCESS_LETTERS: Readonly<Record<string, number>> = { r: 1, w: 2, x: 5, p: 8 }

/** The value that `text` spells for a field of `message`. `where` names it in errors. @throws UsageError */
export function scalarOf(message: string, field: FieldInfo, text: string, where: string, io: Io): Scalar {
  const flags = flagsOf(message, field)
  if (flags !== undefined) return flagBits(field, flags, text, where)
  const names = enumOf(message, field)
  if (names !== undefined) return enumValue(names, text, where)
  switch (field.kind) {
    case 'string':
      return text
    case 'bool':
      return boolOf(text, where)
    case 'bytes':
      return bytesOf(text, where, io)
    default:
      return integerOf(field, text, where)
  }
}

/** A number of a field's width, decimal or hex: bigint for 64 bits. @throws UsageError */
export function integerOf(field: FieldInfo, text: string, where: string): number | bigint {
  const [least, greatest] = RANGES[field.kind]
  if (!/^(0x[0-9a-f]+|-?\d+)$/i.test(text)) throw new UsageError(`${where}: '${text}' is no number (decimal or 0x-hex)`)
  const value = BigInt(text)
  if (value < least || value > greatest) throw new UsageError(`${where}: ${text} is not in ${least} to ${greatest}`)
  return field.kind.endsWith('64') ? value : Number(value)
}

/** The value of an enum's name, or a number that the enum has. @throws UsageError */
export function enumValue(names: string, text: string, where: string): number {
  const value = valueOfName(names, text)
  if (value !== undefined) return value
  throw new UsageError(`${where}: '${text}' is none of ${namesOf(names).join(', ')}`)
}

/** Bits given as a number, as names joined with `|` or `,`, or as letters of r, w, x, p. @throws UsageError */
export function flagBits(field: FieldInfo, names: string, text: string, where: string): number | bigint {
  if (/^[-\d]/.test(text)) return integerOf(field, text, where)
  const bits = text.split(/[|,]/).reduce((sum, word) => sum | flagWord(names, word.trim(), where), 0)
  return field.kind.endsWith('64') ? BigInt(bits) : bits
}

function flagWord(names: string, word: string, where: string): number {
  const known = valueOfName(names, word)
  if (known !== undefined) return known
  if (names === 'AccessFlag' && /^[rwxp]+$/.test(word)) {
    return [...word].reduce((sum, letter) => sum | ACCESS_LETTERS[letter], 0)
  }
  throw new UsageError(`${where}: '${word}' is none of ${namesOf(names).join(', ')}`)
}

function boolOf(text: string, where: string): boolean {
  if (/^(true|yes|1)$/i.test(text)) return true
  if (/^(false|no|0)$/i.test(text)) return false
  throw new UsageError(`${where}: '${text}' is neither true nor false`)
}

/** Bytes of `0x…`, of `hex:…` as in JSON, or of `@FILE`. @throws UsageError */
export function bytesOf(text: string, where: string, io: Io): Uint8Array {
  if (text.startsWith('@')) return readFile(text.slice(1), where, io)
  const digits = /^(?:0x|hex:)((?:[0-9a-f]{2})*)$/i.exec(text)?.[1]
  if (digits === undefined) {
    throw new UsageError(`${where}: '${short(text)}' is neither 0x and pairs of hex digits nor @FILE`)
  }
  return Uint8Array.from(Buffer.from(digits, 'hex'))
}

/** A file the command line names. @throws UsageError */
export function readFile(path: string, where: string, io: Io): Uint8Array {
  try {
    return io.readFile(path)
  } catch (error) {
    throw new UsageError(`${where}: cannot read ${path}: ${(error as Error).message}`)
  }
}

/** Text as an error shows it. */
export const short = (text: string): string => (text.length > 60 ? `${text.slice(0, 60)}…` : text)
