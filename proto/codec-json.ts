/**
 * ProtoJSON by protobufjs, with what it leaves open closed: 64-bit numbers written without quotes stay exact, and every
 * error is a CodecError that says where.
 */

import protojson from 'protobufjs/ext/protojson.js'
import type protobuf from 'protobufjs/light.js'
import { CodecError } from './codec-error.js'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const TEXT_LIMIT = 160

/** A message of `type` from JSON text. Unknown fields, double fields and double keys are refused. */
export function messageFromJson(type: protobuf.Type, text: string): object {
  try {
    return protojson.fromJsonString(type, quoteLongIntegers(text))
  } catch (error) {
    throw asCodecError(type, error)
  }
}

/** JSON text of a prepared message of `type`. */
export function jsonFromMessage(type: protobuf.Type, message: object): string {
  return protojson.toJsonString(type, message)
}

/**
 * Puts integers of 16 digits and more into quotes, where they stay exact: JSON.parse would round them above 2^53.
 * ProtoJSON takes either form, and this leaves all other text as it is.
 */
export function quoteLongIntegers(text: string): string {
  if (!/\d{16}/.test(text)) return text
  let out = ''
  let done = 0
  let at = 0
  while (at < text.length) {
    const char = text.charCodeAt(at)
    if (char === QUOTE) {
      at = endOfString(text, at)
    } else if (isNumberChar(char)) {
      const from = at
      while (at < text.length && isNumberChar(text.charCodeAt(at))) at++
      const literal = text.slice(from, at)
      if (/^-?[1-9]\d{15,}$/.test(literal)) {
        out += `${text.slice(done, from)}"${literal}"`
        done = at
      }
    } else at++
  }
  return out + text.slice(done)
}

function endOfString(text: string, from: number): number {
  let at = from + 1
  while (at < text.length && text.charCodeAt(at) !== QUOTE) at += text.charCodeAt(at) === BACKSLASH ? 2 : 1
  return at + 1
}

/** Digits, signs, the point and the exponent's letters. */
function isNumberChar(char: number): boolean {
  return (char >= 0x30 && char <= 0x39) || char === 0x2b || char === 0x2d || char === 0x2e || (char | 0x20) === 0x65
}

/** protobufjs says "full.name.field: what is wrong: the value"; JSON.parse says what and at which position. */
function asCodecError(type: protobuf.Type, error: unknown): CodecError {
  const text = error instanceof Error ? error.message : String(error)
  // JSON.parse quotes what stands around the mistake, where a token may be.
  if (error instanceof SyntaxError) return new CodecError('JSON', text.replace(/, .*is not valid JSON$/s, ''))
  const named = /^\.?iommud\.v1\.([A-Za-z0-9_.]+): (.*)$/s.exec(text)
  if (named === null) return new CodecError(type.name, short(text))
  const [, where, what] = named
  // A token must not get into a log by way of an error.
  return new CodecError(where, where.endsWith('.context') ? what.split(':')[0] : short(what))
}

function short(text: string): string {
  return text.length > TEXT_LIMIT ? `${text.slice(0, TEXT_LIMIT)}…` : text
}
