/** Writes `schema.ts`, which the codec loads without parsing anything, and `descriptors.ts` for stock clients. */

import { type EnumImage, type FieldImage, type Image, type MessageImage, mapEntryOf } from './generate-image.js'
import { propertyName } from './generate-types.js'

const HEAD = '// Generated from proto/iommud/v1/*.proto by `npm run generate`. Do not edit.\n'

/** The text of `schema.ts`: messages and enums in protobufjs' own JSON form, one a line. */
export function schemaText(image: Image): string {
  const entries = image.files.flatMap((file) => [
    ...(file.enumType ?? []).map((each) => [each.name, enumSchema(each)] as const),
    ...(file.messageType ?? []).map((each) => [each.name, messageSchema(each)] as const),
  ])
  const lines = entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, schema]) => `  ${name}: ${JSON.stringify(schema)},\n`)
  return `${HEAD}
/** Every message and enum of the package iommud.v1. */
export const SCHEMA: { readonly [name: string]: object } = {
${lines.join('')}}
`
}

/** The text of `descriptors.ts`: the FileDescriptorSet, base64. */
export function descriptorsText(image: Image): string {
  const chunks =
    Buffer.from(image.binary)
      .toString('base64')
      .match(/.{1,110}/g) ?? []
  return `${HEAD}
/** The contract as a binary google.protobuf.FileDescriptorSet, base64. For reflection and for tests. */
export const FILE_DESCRIPTOR_SET = [
${chunks.map((chunk) => `  '${chunk}',\n`).join('')}].join('')
`
}

function enumSchema(each: EnumImage): object {
  return { edition: 'proto3', values: Object.fromEntries(each.value.map(({ name, number }) => [name, number])) }
}

function messageSchema(message: MessageImage): object {
  const fields = message.field ?? []
  const oneofs = (message.oneofDecl ?? []).map(({ name }, index) => [
    name,
    { oneof: fields.filter((field) => field.oneofIndex === index).map(propertyName) },
  ])
  return {
    edition: 'proto3',
    ...(oneofs.length > 0 && { oneofs: Object.fromEntries(oneofs) }),
    fields: Object.fromEntries(fields.map((field) => [propertyName(field), fieldSchema(message, field)])),
  }
}

function fieldSchema(message: MessageImage, field: FieldImage): object {
  const name = propertyName(field)
  const map = mapEntryOf(message, field)
  return {
    ...(map === undefined ? { type: typeName(field) } : { keyType: typeName(map.key), type: typeName(map.value) }),
    id: field.number,
    ...(field.label === 'LABEL_REPEATED' && map === undefined && { rule: 'repeated' }),
    ...(name !== field.name && { protoName: field.name }),
    ...(field.proto3Optional === true && { options: { proto3_optional: true } }),
  }
}

function typeName(field: FieldImage): string {
  return field.typeName ?? field.type.replace('TYPE_', '').toLowerCase()
}
