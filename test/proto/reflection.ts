/** Random messages of any type, from the fields that the codec knows; and the same types in @bufbuild/protobuf. */

import { createFileRegistry, type DescMessage, type FileRegistry, fromBinary } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import fc from 'fast-check'
import { enumValues, type FieldInfo, fieldsOf } from '../../proto/codec.js'
import { FILE_DESCRIPTOR_SET } from '../../proto/generated/descriptors.js'
import type { MessageName } from '../../proto/generated/types.js'

/** Greatest values of 64 and 32 bits. */
export const U64_MAX = 2n ** 64n - 1n
const U32_MAX = 2 ** 32 - 1

/** The contract as a stock client sees it. */
export const registry: FileRegistry = createFileRegistry(
  fromBinary(FileDescriptorSetSchema, Buffer.from(FILE_DESCRIPTOR_SET, 'base64')),
)

/** A message's stock schema. */
export function stock(name: MessageName): DescMessage {
  const found = registry.getMessage(`iommud.v1.${name}`)
  if (found === undefined) throw new Error(`${name} is not in the descriptor set`)
  return found
}

/** Whether a field holds 64-bit values. */
export function is64Bit(field: FieldInfo): boolean {
  return field.kind === 'uint64' || field.kind === 'fixed64' || field.kind === 'sint64'
}

/** Random complete messages of a type: each field there or, if it has presence, perhaps not; one member of a oneof. */
export function messages(name: MessageName): fc.Arbitrary<Record<string, unknown>> {
  const fields = fieldsOf(name)
  const values = fc.record(Object.fromEntries(fields.map((field) => [field.name, fieldValue(field)])))
  return fc.tuple(values, fc.nat()).map(([record, pick]) => {
    const out: Record<string, unknown> = { ...record }
    for (const oneof of new Set(fields.map((field) => field.oneof).filter((each) => each !== undefined))) {
      const members = fields.filter((field) => field.oneof === oneof)
      members.forEach((member, i) => {
        if (i !== pick % members.length) out[member.name] = undefined
      })
    }
    return out
  })
}

function fieldValue(field: FieldInfo): fc.Arbitrary<unknown> {
  const one = element(field)
  if (field.map) return fc.dictionary(text(), one, { maxKeys: 4, noNullPrototype: true })
  if (!field.repeated) return field.presence ? fc.option(one, { nil: undefined }) : one
  const list = fc.array(one, { maxLength: 5 })
  if (is64Bit(field)) return list.map((each) => BigUint64Array.from(each as bigint[]))
  if (field.kind === 'uint32' || field.kind === 'fixed32') return list.map((each) => Uint32Array.from(each as number[]))
  return list
}

function element(field: FieldInfo): fc.Arbitrary<unknown> {
  switch (field.kind) {
    case 'string':
      return text()
    case 'bytes':
      return fc.uint8Array({ maxLength: 20 })
    case 'bool':
      return fc.boolean()
    case 'int32':
      return fc.oneof(fc.constantFrom(0, -1, -(2 ** 31)), fc.integer())
    case 'uint32':
    case 'fixed32':
      return fc.oneof(fc.constantFrom(0, 127, 128, U32_MAX), fc.integer({ min: 0, max: U32_MAX }))
    case 'uint64':
    case 'fixed64':
      return fc.oneof(fc.constantFrom(0n, 2n ** 53n + 1n, U64_MAX), fc.bigInt({ min: 0n, max: U64_MAX }))
    case 'sint64':
      return fc.oneof(fc.constantFrom(0n, -1n, -(2n ** 63n)), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }))
    case 'enum':
      return fc.constantFrom(...Object.values(enumValues(field.typeName!)), 1000)
    case 'message':
      return messages(field.typeName as MessageName)
  }
}

function text(): fc.Arbitrary<string> {
  return fc.oneof(fc.string({ maxLength: 12 }), fc.string({ unit: 'binary', maxLength: 6 }), fc.constant('__proto__'))
}
