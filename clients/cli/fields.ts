/** The options of a verb: one per field of its request, and a request from those that were given. */

import { CodecError, encode, type FieldInfo, fieldsOf } from '../../proto/codec.js'
import type { MessageName } from '../../proto/generated/types.js'
import { enumOf, flagsOf } from './flag-fields.js'
import type { Io } from './io.js'
import { type Fields, fieldValueOf, messageOf, parseJson } from './json-request.js'
import { namesOf, optionOf } from './names.js'
import { readFile, scalarOf, UsageError } from './values.js'

/** One field of a request, or of a message inside it, as an option. */
export interface FieldOption {
  /** `region.region-id`: the option without its dashes. */
  readonly option: string
  /** JSON names from the request down: `['region', 'regionId']`. */
  readonly path: readonly string[]
  /** The message that the field is of. */
  readonly message: MessageName
  readonly field: FieldInfo
}

/** What was given, by option; each as often as it was repeated. A bool without a value is "true". */
export type Given = ReadonlyMap<string, readonly string[]>

/** The options of a request. The token has its own, global one. */
export function optionsOf(request: MessageName): FieldOption[] {
  return collect(request, [], []).filter(({ path }) => path[0] !== 'context')
}

function collect(message: MessageName, options: readonly string[], path: readonly string[]): FieldOption[] {
  return fieldsOf(message).flatMap((field) => {
    const words = [...options, optionOf(field.protoName)]
    const here = { option: words.join('.'), path: [...path, field.name], message, field }
    const nested = field.kind === 'message' && !field.repeated
    return nested ? [here, ...collect(field.typeName as MessageName, words, here.path)] : [here]
  })
}

/** What an option takes, as `--help` shows it. */
export function placeholderOf({ message, field }: FieldOption): string {
  if (field.kind === 'bool' && !field.repeated) return '[true|false]'
  const one = flagsOf(message, field) !== undefined ? 'flags' : (PLACEHOLDERS[field.kind] ?? 'number')
  return field.repeated && field.kind !== 'message' ? `<${one},…>` : `<${one}>`
}

const PLACEHOLDERS: Readonly<Record<string, string>> = {
  string: 'text',
  bytes: '0xhex|@file',
  enum: 'name',
  message: 'json|@file',
}

/** One line about an option. */
export function helpOf({ message, field }: FieldOption): string {
  const flags = flagsOf(message, field)
  const names = enumOf(message, field)
  const width = /(32|64)$/.exec(field.kind)?.[1]
  const what =
    flags !== undefined
      ? `bits: ${namesOf(flags).join('|')}${flags === 'AccessFlag' ? ', or letters rwxp' : ''}`
      : names !== undefined
        ? `one of: ${namesOf(names).join(', ')}`
        : field.kind === 'message'
          ? `${field.repeated ? 'list of ' : ''}${field.typeName}`
          : width === undefined
            ? field.kind
            : `${width} bits`
  return field.oneof === undefined ? what : `${what} (one of \`${field.oneof}\`)`
}

/** A request from the options that were given. @throws UsageError */
export function requestOf(options: readonly FieldOption[], given: Given, io: Io): Fields {
  const request: Fields = {}
  for (const option of options) {
    const words = given.get(option.option)
    if (words !== undefined) put(request, option, valueOfWords(option, words, io))
  }
  return request
}

function put(request: Fields, { option, path }: FieldOption, value: unknown): void {
  let at = request
  for (const name of path.slice(0, -1)) {
    at[name] ??= {}
    at = at[name] as Fields
  }
  const name = path[path.length - 1]
  if (Object.hasOwn(at, name)) throw new UsageError(`--${option}: given twice, whole and by its fields`)
  at[name] = value
}

function valueOfWords(option: FieldOption, words: readonly string[], io: Io): unknown {
  const { message, field } = option
  const where = `--${option.option}`
  if (field.kind === 'message') {
    const lists = words.map((word) => parseJson(textOf(word, where, io), where))
    if (field.repeated) return lists.flatMap((list) => fieldValueOf(message, field, list, where) as unknown[])
    if (lists.length > 1) throw new UsageError(`${where}: given twice`)
    return messageOf(field.typeName as MessageName, lists[0], where)
  }
  if (!field.repeated) {
    if (words.length > 1) throw new UsageError(`${where}: given twice`)
    return scalarOf(message, field, words[0], where, io)
  }
  return words.flatMap((word) => word.split(',')).map((word) => scalarOf(message, field, word.trim(), where, io))
}

/** A whole request from `--request`: JSON, `@FILE`, or `-` for standard input. @throws UsageError */
export async function wholeRequest(request: MessageName, word: string, io: Io): Promise<Fields> {
  const text = word === '-' ? new TextDecoder().decode(await io.readInput()) : textOf(word, '--request', io)
  return messageOf(request, parseJson(text, '--request'), '--request')
}

const textOf = (word: string, where: string, io: Io): string =>
  word.startsWith('@') ? new TextDecoder().decode(readFile(word.slice(1), where, io)) : word

/** Refuses what could not be encoded: two members of a oneof, half a surrogate pair. @throws UsageError */
export function checkRequest(name: MessageName, request: Fields): void {
  try {
    encode(name, request as never)
  } catch (error) {
    if (error instanceof CodecError) throw new UsageError(error.message)
    throw error
  }
}
