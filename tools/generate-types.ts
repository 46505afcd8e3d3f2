/** Writes `types.ts`: an interface for every message, an object for every enum. */

import {
  commentAt,
  type FieldImage,
  type FileImage,
  type Image,
  localName,
  type MessageImage,
  mapEntryOf,
  PATH,
} from './generate-image.js'

const HEAD = `// Generated from proto/iommud/v1/*.proto by \`npm run generate\`. Do not edit.
//
// A message is what decoding gives: every field is there, with its default if the sender left it out. What has presence
// (messages, \`optional\` fields, members of a oneof) may be undefined. What one sends is \`Init<Message>\`: any field
// may be left out, and a typed array may be a plain one. Of a oneof at most one member is set.

/** What one gives to encode a message: its fields, each optional. */
export type Init<T> = T extends bigint | number | string | boolean | undefined | Uint8Array
  ? T
  : T extends BigUint64Array
    ? BigUint64Array | readonly bigint[]
    : T extends Uint32Array
      ? Uint32Array | readonly number[]
      : T extends readonly (infer Element)[]
        ? readonly Init<Element>[]
        : { readonly [Key in keyof T]?: Init<T[Key]> }
`

const SCALARS: Readonly<Record<string, string>> = {
  TYPE_STRING: 'string',
  TYPE_BYTES: 'Uint8Array',
  TYPE_BOOL: 'boolean',
  TYPE_INT32: 'number',
  TYPE_UINT32: 'number',
  TYPE_FIXED32: 'number',
  TYPE_UINT64: 'bigint',
  TYPE_FIXED64: 'bigint',
  TYPE_SINT64: 'bigint',
}

/** Unsigned integers, repeated and so packed, are typed arrays. */
const DENSE: Readonly<Record<string, string>> = {
  TYPE_UINT32: 'Uint32Array',
  TYPE_FIXED32: 'Uint32Array',
  TYPE_UINT64: 'BigUint64Array',
  TYPE_FIXED64: 'BigUint64Array',
}

/** The text of `types.ts`. */
export function typesText(image: Image): string {
  const parts = [HEAD]
  const names: string[] = []
  for (const file of image.files) {
    file.enumType?.forEach((_, index) => {
      parts.push(enumText(file, index))
    })
    file.messageType?.forEach((message, index) => {
      parts.push(messageText(file, index))
      names.push(message.name)
    })
  }
  const entries = names.sort().map((name) => `  readonly ${name}: ${name}\n`)
  parts.push(`/** Every message by its name. */\nexport interface Messages {\n${entries.join('')}}\n`)
  parts.push('/** Name of a message. */\nexport type MessageName = keyof Messages\n')
  return parts.join('\n')
}

/** A comment as a doc comment. */
export function docText(lines: readonly string[], indent = ''): string {
  if (lines.length === 0) return ''
  const safe = lines.map((line) => line.replaceAll('*/', '*\u2215'))
  if (safe.length === 1) return `${indent}/** ${safe[0]} */\n`
  return `${indent}/**\n${safe.map((line) => `${indent} * ${line}`.trimEnd()).join('\n')}\n${indent} */\n`
}

/** An enum's value without the prefix that its language needs: "HWPT_FLAG_PASID" of HwptFlag is "PASID". */
export function shortValue(enumName: string, value: string): string {
  const prefix = `${enumName.replace(/(?<=[a-z0-9])(?=[A-Z])/g, '_').toUpperCase()}_`
  if (!value.startsWith(prefix)) throw new Error(`${value} does not start with ${prefix}`)
  return value.slice(prefix.length)
}

function enumText(file: FileImage, index: number): string {
  const { name, value } = file.enumType![index]
  const at = [PATH.enum, index]
  const values = value.map(
    (each, i) =>
      `${docText(commentAt(file, [...at, PATH.value, i]), '  ')}  ${shortValue(name, each.name)}: ${each.number},\n`,
  )
  const doc = docText(commentAt(file, at))
  return `${doc}export const ${name} = {\n${values.join('')}} as const

/** A value of ${name}. Another number may arrive from a peer of another version. */
export type ${name} = (typeof ${name})[keyof typeof ${name}]
`
}

function messageText(file: FileImage, index: number): string {
  const message = file.messageType![index]
  const at = [PATH.message, index]
  const fields = (message.field ?? []).map((field, i) => {
    const comment = [...commentAt(file, [...at, PATH.field, i]), ...oneofNote(message, field)]
    const optional = hasPresence(message, field) ? '?' : ''
    return `${docText(comment, '  ')}  readonly ${propertyName(field)}${optional}: ${typeOf(message, field)}\n`
  })
  return `${docText(commentAt(file, at))}export interface ${message.name} {${fields.length === 0 ? '' : '\n'}${fields.join('')}}\n`
}

function oneofNote(message: MessageImage, field: FieldImage): string[] {
  if (field.oneofIndex === undefined || field.proto3Optional === true) return []
  return [`One of \`${message.oneofDecl![field.oneofIndex].name}\`.`]
}

/** Whether a field's absence is told apart from its default. */
export function hasPresence(message: MessageImage, field: FieldImage): boolean {
  if (field.label === 'LABEL_REPEATED') return false
  return field.oneofIndex !== undefined || (field.type === 'TYPE_MESSAGE' && mapEntryOf(message, field) === undefined)
}

/** A field's name in TypeScript, which is its name in JSON. */
export function propertyName(field: FieldImage): string {
  const camel = field.name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
  if (camel !== field.jsonName) throw new Error(`${field.name} is ${camel} here but ${field.jsonName} in JSON`)
  return camel
}

function typeOf(message: MessageImage, field: FieldImage): string {
  const map = mapEntryOf(message, field)
  if (map !== undefined) {
    if (map.key.type !== 'TYPE_STRING') throw new Error(`${message.name}.${field.name}: only string keys are supported`)
    return `Readonly<Record<string, ${elementOf(map.value)}>>`
  }
  if (field.label !== 'LABEL_REPEATED') return elementOf(field)
  return DENSE[field.type] ?? `readonly ${elementOf(field)}[]`
}

function elementOf(field: FieldImage): string {
  if (field.type === 'TYPE_MESSAGE' || field.type === 'TYPE_ENUM') return localName(field.typeName!)
  const scalar = SCALARS[field.type]
  if (scalar === undefined) throw new Error(`${field.name}: ${field.type} is not used by this contract`)
  return scalar
}
