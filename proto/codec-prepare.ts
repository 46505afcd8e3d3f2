/** From what callers give to what is encoded: every value checked, defaults left out, plain arrays made typed. */

import { DEFAULTS, wide } from './codec-complete.js'
import { CodecError } from './codec-error.js'
import type { FieldInfo, FieldKind, Plan } from './codec-plan.js'

const TEXT_LIMIT = 60

type Prepare = (value: unknown, where: string) => unknown

/** Makes the check of a field's value, which says what to send; undefined leaves the field out. */
export function preparer(field: FieldInfo, planOf: (name: string) => Plan): Prepare {
  const { kind } = field
  const one: Prepare =
    kind === 'message' ? (value, where) => planOf(field.typeName!).prepare(value, where) : CHECKS[kind]
  if (field.map) return prepareMap(one)
  if (field.repeated) {
    if (wide(kind)) return prepareWideArray(one)
    if (kind === 'uint32' || kind === 'fixed32') return prepareNumberArray(one)
    return (value, where) => {
      if (!Array.isArray(value)) throw notA(where, 'an array', value)
      return value.map((each, i) => one(each, `${where}[${i}]`))
    }
  }
  if (field.presence) return one
  return (value, where) => {
    const checked = one(value, where)
    const empty = kind === 'bytes' ? (checked as Uint8Array).length === 0 : checked === DEFAULTS[kind]
    return empty ? undefined : checked
  }
}

const CHECKS: Readonly<Record<Exclude<FieldKind, 'message'>, Prepare>> = {
  string(value, where) {
    if (typeof value !== 'string') throw notA(where, 'a string', value)
    if (!value.isWellFormed()) throw new CodecError(where, 'the string has half of a surrogate pair')
    return value
  },
  bytes(value, where) {
    if (!(value instanceof Uint8Array)) throw notA(where, 'a Uint8Array', value)
    return value
  },
  bool(value, where) {
    if (typeof value !== 'boolean') throw notA(where, 'a boolean', value)
    return value
  },
  int32: checkNumber(-(2 ** 31), 2 ** 31 - 1),
  uint32: checkNumber(0, 2 ** 32 - 1),
  fixed32: checkNumber(0, 2 ** 32 - 1),
  enum: checkNumber(-(2 ** 31), 2 ** 31 - 1),
  uint64: checkBigint(0n, 2n ** 64n - 1n),
  fixed64: checkBigint(0n, 2n ** 64n - 1n),
  sint64: checkBigint(-(2n ** 63n), 2n ** 63n - 1n),
}

function checkNumber(least: number, greatest: number): Prepare {
  return (value, where) => {
    if (Number.isInteger(value) && (value as number) >= least && (value as number) <= greatest) return value
    throw notA(where, `an integer from ${least} to ${greatest}`, value)
  }
}

function checkBigint(least: bigint, greatest: bigint): Prepare {
  return (value, where) => {
    if (typeof value === 'bigint' && value >= least && value <= greatest) return value
    throw notA(where, `a bigint from ${least} to ${greatest}`, value)
  }
}

function prepareMap(one: Prepare): Prepare {
  return (value, where) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw notA(where, 'an object', value)
    const entries = Object.entries(value).map(([key, each]) => {
      CHECKS.string(key, where)
      return [key, one(each, `${where}[${JSON.stringify(key)}]`)]
    })
    return Object.fromEntries(entries)
  }
}

function prepareWideArray(one: Prepare): Prepare {
  return (value, where) => {
    if (value instanceof BigUint64Array) return value
    if (!Array.isArray(value)) throw notA(where, 'a BigUint64Array or an array of bigint', value)
    return BigUint64Array.from(value, (each, i) => one(each, `${where}[${i}]`) as bigint)
  }
}

function prepareNumberArray(one: Prepare): Prepare {
  return (value, where) => {
    if (value instanceof Uint32Array) return value
    if (!Array.isArray(value)) throw notA(where, 'a Uint32Array or an array of numbers', value)
    return Uint32Array.from(value, (each, i) => one(each, `${where}[${i}]`) as number)
  }
}

/** The error that a value is not what its field wants. */
export function notA(where: string, wanted: string, given: unknown): CodecError {
  // A token must not get into a log by way of an error.
  const shown = where.endsWith('.context') ? typeof given : describe(given)
  return new CodecError(where, `${shown} is not ${wanted}`)
}

function describe(given: unknown): string {
  if (given === null) return 'null'
  if (typeof given === 'object') return Array.isArray(given) ? 'an array' : `a ${given.constructor?.name ?? 'object'}`
  if (typeof given === 'bigint') return `${given}n`
  const text = typeof given === 'string' ? JSON.stringify(given) : String(given)
  return text.length > TEXT_LIMIT ? `${text.slice(0, TEXT_LIMIT)}…` : text
}
