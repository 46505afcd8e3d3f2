/**
 * Messages to bytes and JSON, and back: the one door to protobufjs, for server and clients alike.
 *
 * Outside this door a message is a plain object of the generated types: 64-bit values are bigint, packed unsigned arrays
 * are typed arrays, what was absent has its default. Decoding never answers half a message: it gives one or throws a
 * CodecError. Unknown fields are skipped in bytes, as protobuf asks, so that peers of other versions understand each
 * other; in JSON, which people write, they are refused.
 */

import protobuf from 'protobufjs/light.js'
import { CodecError } from './codec-error.js'
import { jsonFromMessage, messageFromJson } from './codec-json.js'
import { compilePlans, enumValuesOf, type FieldInfo, type Plan } from './codec-plan.js'
import { WireReader, WireWriter } from './codec-wire.js'
import { SCHEMA } from './generated/schema.js'
import type { Init, MessageName, Messages } from './generated/types.js'

export { CodecError } from './codec-error.js'
export type { FieldInfo, FieldKind } from './codec-plan.js'

const root = protobuf.Root.fromJSON({
  nested: { iommud: { nested: { v1: { nested: SCHEMA } } } },
} as protobuf.INamespace)
const plans = compilePlans(SCHEMA)
const types = new Map<string, { readonly type: protobuf.Type; readonly plan: Plan }>()
for (const [name, plan] of plans) types.set(name, { type: root.lookupType(`iommud.v1.${name}`), plan })

/** Of the message that was encoded last; encoding one encodes no other. */
let writer = new WireWriter()

/** Bytes of a message (`application/proto`). Throws CodecError for a field that is unknown or out of its range. */
export function encode<K extends MessageName>(name: K, message: Init<Messages[K]>): Uint8Array {
  const { type, plan } = types.get(name)!
  const prepared = plan.prepare(message, name) as protobuf.Message
  writer = WireWriter.again(writer)
  return type.encode(prepared, writer).finish()
}

/** The message in bytes. Byte fields are views of them. Throws CodecError. */
export function decode<K extends MessageName>(name: K, bytes: Uint8Array): Messages[K] {
  const { type, plan } = types.get(name)!
  const reader = new WireReader(bytes)
  let message: object
  try {
    message = type.decode(reader)
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error)
    throw new CodecError(`${name}, byte ${reader.pos}`, what)
  }
  return plan.complete(message) as Messages[K]
}

/** JSON of a message (`application/json`), canonical ProtoJSON. Throws CodecError. */
export function encodeJson<K extends MessageName>(name: K, message: Init<Messages[K]>): string {
  const { type, plan } = types.get(name)!
  return jsonFromMessage(type, plan.prepare(message, name))
}

/** The message in JSON text. Throws CodecError. */
export function decodeJson<K extends MessageName>(name: K, text: string): Messages[K] {
  const { type, plan } = types.get(name)!
  return plan.complete(messageFromJson(type, text)) as Messages[K]
}

/** A message with every field, from one with some: what the other side would decode. Throws CodecError. */
export function complete<K extends MessageName>(name: K, message: Init<Messages[K]>): Messages[K] {
  return decode(name, encode(name, message))
}

/** The fields of a message, in the order of the .proto file: for command lines, tables and tests. */
export function fieldsOf(name: MessageName): readonly FieldInfo[] {
  return types.get(name)!.plan.fields
}

/** Names, whole as in JSON, and numbers of an enum. */
export function enumValues(name: string): Readonly<Record<string, number>> {
  return enumValuesOf(SCHEMA, name)
}

/** Names of all messages. */
export const MESSAGE_NAMES: readonly MessageName[] = [...plans.keys()] as MessageName[]
