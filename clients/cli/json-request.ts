/**
 * JSON as people write it on a command line, into a message: ProtoJSON, and besides hex numbers in strings, flags by
 * name, enums by short name, and bytes as "hex:…" (ProtoJSON's own form is base64).
 */

import { type FieldInfo, fieldsOf } from '../../proto/codec.js'
import { quoteLongIntegers } from '../../proto/codec-json.js'
import type { MessageName } from '../../proto/generated/types.js'
import { enumOf, flagsOf } from './flag-fields.js'
import { enumValue, flagBits, integerOf, type Scalar, short, UsageError } from './values.js'

/** Fields of a message, by their JSON names. */
export type Fields = Record<string, unknown>

/** Parses JSON text; numbers above 2^53 stay exact. @throws UsageError */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(quoteLongIntegers(text))
  } catch (error) {
    throw new UsageError(`${where}: no JSON: ${(error as Error).message}`)
  }
}

/** A message from parsed JSON. A list alone stands for a message whose only field is that list. @throws UsageError */
export function messageOf(name: MessageName, json: unknown, where: string): Fields {
  const fields = fieldsOf(name)
  if (Array.isArray(json) && fields.length === 1 && fields[0].repeated) {
    return { [fields[0].name]: fieldValueOf(name, fields[0], json, where) }
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new UsageError(`${where}: an object with the fields of ${name} is wanted, not ${kindOf(json)}`)
  }
  const out: Fields = {}
  for (const [key, value] of Object.entries(json)) {
    const field = fields.find((each) => each.name === key || each.protoName === key)
    if (field === undefined) {
      throw new UsageError(`${where}: ${name} has no field '${key}', but ${fields.map((each) => each.name).join(', ')}`)
    }
    if (Object.hasOwn(out, field.name)) throw new UsageError(`${where}.${key}: given twice`)
    if (value !== null) out[field.name] = fieldValueOf(name, field, value, `${where}.${key}`)
  }
  return out
}

/** The value of one field from parsed JSON. @throws UsageError */
export function fieldValueOf(message: string, field: FieldInfo, json: unknown, where: string): unknown {
  if (field.map) throw new UsageError(`${where}: maps are answers only`)
  if (!field.repeated) return elementOf(message, field, json, where)
  if (!Array.isArray(json)) throw new UsageError(`${where}: a list is wanted, not ${kindOf(json)}`)
  return json.map((each, i) => elementOf(message, field, each, `${where}[${i}]`))
}

function elementOf(message: string, field: FieldInfo, json: unknown, where: string): Scalar | Fields {
  if (field.kind === 'message') return messageOf(field.typeName as MessageName, json, where)
  if (field.kind === 'bool') {
    if (typeof json === 'boolean') return json
    throw new UsageError(`${where}: true or false is wanted, not ${kindOf(json)}`)
  }
  if (typeof json !== 'string' && (typeof json !== 'number' || field.kind === 'string' || field.kind === 'bytes')) {
    throw new UsageError(`${where}: ${field.kind} is wanted, not ${kindOf(json)}`)
  }
  const text = String(json)
  const flags = flagsOf(message, field)
  if (flags !== undefined) return flagBits(field, flags, text, where)
  const names = enumOf(message, field)
  if (names !== undefined) return enumValue(names, text, where)
  if (field.kind === 'string') return text
  return field.kind === 'bytes' ? bytesOfJson(text, where) : integerOf(field, text, where)
}

/**
 * Base64, in either alphabet, or "hex:…". *Why not 0x*: "0x00" is base64 of three other bytes, so what looks like hex is
 * refused rather than guessed.
 */
function bytesOfJson(text: string, where: string): Uint8Array {
  if (/^hex:([0-9a-f]{2})*$/i.test(text)) return Uint8Array.from(Buffer.from(text.slice(4), 'hex'))
  if (/^0x[0-9a-f]*$/i.test(text)) {
    throw new UsageError(`${where}: in JSON bytes are base64 or "hex:…"; write "hex:${short(text.slice(2))}"`)
  }
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(text)) throw new UsageError(`${where}: '${short(text)}' is no base64`)
  return Uint8Array.from(Buffer.from(text, 'base64'))
}

const kindOf = (json: unknown): string =>
  json === null ? 'null' : Array.isArray(json) ? 'a list' : typeof json === 'object' ? 'an object' : `a ${typeof json}`
