/** Replies for people: keys and values, tables for lists, one row per element for dense arrays. */

import { type FieldInfo, fieldsOf } from '../../proto/codec.js'
import type { MessageName } from '../../proto/generated/types.js'
import { fieldText, hex, type Message, valueText } from './format.js'
import { optionOf } from './names.js'
import { renderExplanation } from './render-explanation.js'
import { indent, pairs, table } from './table.js'

/** Bytes shown in a line; more are dumped, sixteen a line. */
const INLINE_BYTES = 32

/** Messages that are shown in one piece, not field by field. */
const COMPACT = new Set<string>(['RegionOffset', 'AddressRange'])

/** A reply in lines. `request` lends the addresses that dense replies are about. */
export function renderReply(name: MessageName, reply: Message, request: Message = {}): string[] {
  if (fieldsOf(name).length === 0) return ['done']
  const dense = denseFields(name, reply)
  const rest = fieldsOf(name).filter((field) => !dense.includes(field))
  const lines = renderFields(name, rest, reply)
  if (dense.length > 0) return [...denseTable(name, dense, reply, request), '', ...lines]
  return lines.length > 0 ? lines : [`no ${rest.map(({ protoName }) => optionOf(protoName)).join(', no ')}`]
}

/** Lists of plain values that run side by side, an element of each per element of the request. */
function denseFields(name: MessageName, reply: Message): FieldInfo[] {
  const lists = fieldsOf(name).filter((field) => field.repeated && field.kind !== 'message' && field.kind !== 'string')
  return lists.length > 1 && Object.hasOwn(reply, 'doneCount') ? lists : []
}

function denseTable(name: MessageName, fields: readonly FieldInfo[], reply: Message, request: Message): string[] {
  const lists = fields.map((field) => Array.from(reply[field.name] as Iterable<unknown>))
  const iovas = Array.from((request['iovas'] ?? []) as Iterable<bigint>)
  const faults = (reply['faults'] ?? []) as readonly { readonly index: number; readonly name: string }[]
  const count = Math.max(0, ...lists.map((list) => list.length))
  if (count === 0) return ['no elements']
  const rows = Array.from({ length: count }, (_, i) => [
    String(i),
    iovas[i] === undefined ? '' : hex(iovas[i]),
    ...fields.map((field, at) => valueText(name, field, lists[at][i])),
    faults.find(({ index }) => index === i)?.name ?? '',
  ])
  const titles = ['#', 'iova', ...fields.map((field) => singular(optionOf(field.protoName))), 'fault']
  return table(titles, rows)
}

function renderFields(name: MessageName, fields: readonly FieldInfo[], message: Message): string[] {
  const plain = flatten(name, fields, message)
  const lists = fields.filter((field) => field.kind === 'message' && field.repeated)
  const explained = fields.find((field) => field.typeName === 'Explanation')
  const lines = pairs(plain.filter(([, text]) => text !== ''))
  for (const field of fields.filter((each) => each.kind === 'bytes' && isLong(message[each.name]))) {
    lines.push(...dump(optionOf(field.protoName), message[field.name]))
  }
  if (explained !== undefined) lines.push(...renderExplanation(message[explained.name] as Message | undefined))
  for (const field of lists) {
    const elements = message[field.name] as readonly Message[]
    // An empty list says something only where it is the whole answer.
    if (elements.length === 0 && fields.length > 1) continue
    if (lines.length > 0) lines.push('')
    lines.push(...renderList(field, elements))
  }
  return lines
}

/** Scalars of a message, and of messages inside it, as keys and values. */
function flatten(name: MessageName, fields: readonly FieldInfo[], message: Message, prefix = ''): [string, string][] {
  return fields.flatMap((field): [string, string][] => {
    const value = message[field.name]
    const key = prefix + optionOf(field.protoName)
    if (value === undefined || field.typeName === 'Explanation' || isLong(value)) return []
    if (field.kind !== 'message' || COMPACT.has(field.typeName ?? '')) {
      return field.repeated && field.kind === 'message' ? [] : [[key, fieldText(name, field, value)]]
    }
    if (field.repeated) return []
    const inner = field.typeName as MessageName
    return flatten(inner, fieldsOf(inner), value as Message, `${key}.`)
  })
}

function renderList(field: FieldInfo, elements: readonly Message[]): string[] {
  const name = field.typeName as MessageName
  const title = optionOf(field.protoName)
  if (elements.length === 0) return [`no ${title}`]
  const fields = fieldsOf(name)
  if (elements.some((element) => fields.some((each) => needsBlock(each, element[each.name])))) {
    return elements.flatMap((element, i) => [`${title}[${i}]`, ...indent(renderFields(name, fields, element))])
  }
  const rows = elements.map((element) => new Map(flatten(name, fields, element)))
  const columns = [...new Set(rows.flatMap((row) => [...row.keys()]))]
  const body = rows.map((row) => columns.map((column) => row.get(column) ?? ''))
  return [`${title}:`, ...indent(table(columns, body))]
}

const needsBlock = (field: FieldInfo, value: unknown): boolean =>
  isLong(value) || (field.kind === 'message' && field.repeated)

const isLong = (value: unknown): boolean =>
  value instanceof Uint8Array
    ? value.length > INLINE_BYTES
    : Array.isArray(value) && value.some((each) => each instanceof Uint8Array && each.length > INLINE_BYTES)

/** Bytes as sixteen a line after their offset. */
function dump(title: string, value: unknown): string[] {
  const blocks = value instanceof Uint8Array ? [value] : (value as readonly Uint8Array[])
  return blocks.flatMap((bytes, block) => {
    const head = blocks.length === 1 ? `${title}: ${bytes.length} bytes` : `${title}[${block}]: ${bytes.length} bytes`
    const lines: string[] = []
    for (let at = 0; at < bytes.length; at += 16) {
      const words = [...bytes.subarray(at, at + 16)].map((byte) => byte.toString(16).padStart(2, '0'))
      lines.push(`${at.toString(16).padStart(6, '0')}  ${words.join(' ')}`)
    }
    return [head, ...indent(lines)]
  })
}

const singular = (title: string): string =>
  /(ss|us)es$/.test(title) ? title.slice(0, -2) : title.replace(/([^s])s$/, '$1')
