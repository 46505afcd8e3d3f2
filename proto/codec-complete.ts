/** From what protobufjs decoded to what callers see: every field there, bigint, typed arrays, plain objects. */

import type { FieldInfo, FieldKind, Plan } from './codec-plan.js'
import { joinChunks } from './codec-wire.js'

type Values = Record<string, unknown>
type LongLike = { toBigInt(): bigint }

const EMPTY_BYTES = new Uint8Array(0)

/** What a field without presence is when it was left out. */
export const DEFAULTS: Readonly<Record<FieldKind, unknown>> = {
  string: '',
  bytes: EMPTY_BYTES,
  bool: false,
  int32: 0,
  uint32: 0,
  fixed32: 0,
  uint64: 0n,
  fixed64: 0n,
  sint64: 0n,
  enum: 0,
  message: undefined,
}

/** Whether a value takes 64 bits, and so is a bigint. */
export function wide(kind: FieldKind): boolean {
  return kind === 'uint64' || kind === 'fixed64' || kind === 'sint64'
}

/** Completes one field's value; undefined is a field that was left out. */
export function completer(field: FieldInfo, planOf: (name: string) => Plan): (value: unknown) => unknown {
  const { kind } = field
  const one = elementCompleter(field, planOf)
  if (field.map) {
    return (value) => Object.fromEntries(Object.entries((value as Values) ?? {}).map(([key, each]) => [key, one(each)]))
  }
  if (field.repeated) {
    if (wide(kind)) return (value) => wideArray((value as unknown[]) ?? [])
    if (kind === 'uint32' || kind === 'fixed32') {
      return (value) => joinChunks<Uint32Array>((value as number[]) ?? [], (length) => new Uint32Array(length))
    }
    return (value) => ((value as unknown[]) ?? []).map(one)
  }
  const absent = field.presence ? undefined : DEFAULTS[kind]
  return (value) => (value === undefined || value === null ? absent : one(value))
}

function elementCompleter(field: FieldInfo, planOf: (name: string) => Plan): (value: unknown) => unknown {
  if (field.kind === 'message') return (value) => planOf(field.typeName!).complete(value as object)
  if (field.kind === 'bytes') return (value) => plainBytes(value as Uint8Array)
  return wide(field.kind) ? bigOf : (value) => value
}

/** ProtoJSON gives Buffers, which slice and compare in another way. */
function plainBytes(bytes: Uint8Array): Uint8Array {
  if (bytes.constructor === Uint8Array) return bytes
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** The reader gives bigint; ProtoJSON gives protobufjs' Long. */
function bigOf(value: unknown): bigint {
  return typeof value === 'bigint' ? value : (value as LongLike).toBigInt()
}

function wideArray(parts: readonly unknown[]): BigUint64Array {
  const known = parts.map((part) => (part instanceof BigUint64Array ? part : bigOf(part)))
  return joinChunks<BigUint64Array>(known, (length) => new BigUint64Array(length))
}
