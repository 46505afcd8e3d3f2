/**
 * Request bodies that no honest client sends, in bytes and in JSON: messages of the right shape with wrong values, and
 * broken encodings of them. Each follows from a seed alone.
 */

import { encode, encodeJson, fieldsOf } from '../../proto/codec.js'
import type { Method } from '../../proto/generated/methods.js'
import { type AnyMessage, type Pool, randomMessage } from './messages.js'
import type { Random } from './random.js'

/** One body on its way. */
export interface Body {
  readonly method: Method
  readonly encoding: 'proto' | 'json'
  readonly bytes: Uint8Array
  /** What was done to it, for whoever reads a failure. */
  readonly kind: string
}

/** A body for a method: in half of all cases one that decodes. */
export function hostileBody(random: Random, method: Method, pool: Pool): Body {
  const message = randomMessage(random, method.request, pool)
  if (random.oneIn(3)) return jsonBody(random, method, message)
  const bytes = encode(method.request, message as never)
  if (random.below(10) < 6) return { method, encoding: 'proto', bytes, kind: 'random message' }
  const [kind, mutate] = random.pick(BYTE_MUTATIONS)
  const other = encode(method.request, randomMessage(random, method.request, pool) as never)
  return { method, encoding: 'proto', bytes: mutate(bytes, random, other), kind }
}

type ByteMutation = (bytes: Uint8Array, random: Random, other: Uint8Array) => Uint8Array

const WIRE_TYPES = [0, 1, 2, 3, 4, 5, 6, 7]

/** Nested groups: cheap to write, and deep enough to end a recursion that has no limit of its own. */
const DEEP_BYTES = 60_000

const BYTE_MUTATIONS: readonly (readonly [string, ByteMutation])[] = [
  ['bits flipped', (bytes, random) => flipped(bytes, random)],
  ['truncated', (bytes, random) => bytes.subarray(0, random.below(bytes.length + 1))],
  ['spliced', (bytes, random, other) => spliced(bytes, random, other)],
  ['fields repeated', (bytes, _random, other) => joined(bytes, other, bytes)],
  [
    'wrong wire type',
    (bytes, random) => joined(bytes, tag(1 + random.below(12), random.pick(WIRE_TYPES)), random.bytes(9)),
  ],
  ['huge length', (bytes, random) => joined(bytes, tag(1 + random.below(12), 2), random.pick(HUGE_LENGTHS))],
  [
    'endless varint',
    (bytes, random) => joined(bytes, tag(2, 0), new Uint8Array(random.pick([10, 11, 4000])).fill(0x80)),
  ],
  ['deep groups', (bytes, random) => joined(bytes, new Uint8Array(random.pick([100, DEEP_BYTES])).fill(0x0b))],
  ['deep messages', (bytes) => joined(bytes, nested(40))],
  ['field 0 and beyond the last', (bytes, random) => joined(bytes, random.pick([tag(0, 0), tag(2 ** 29 - 1, 0)]), [1])],
  ['noise', (_bytes, random) => random.bytes(random.below(200))],
  ['nothing', () => new Uint8Array()],
]

const HUGE_LENGTHS: readonly (readonly number[])[] = [
  [0xff, 0xff, 0xff, 0xff, 0x0f],
  [0xff, 0xff, 0xff, 0xff, 0x07],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
  [0x80, 0x80, 0x80, 0x02],
]

function flipped(bytes: Uint8Array, random: Random): Uint8Array {
  if (bytes.length === 0) return bytes
  const copy = bytes.slice()
  for (let i = random.below(4); i >= 0; i--) copy[random.below(copy.length)] ^= 1 << random.below(8)
  return copy
}

function spliced(bytes: Uint8Array, random: Random, other: Uint8Array): Uint8Array {
  return joined(bytes.subarray(0, random.below(bytes.length + 1)), other.subarray(random.below(other.length + 1)))
}

function joined(...parts: readonly ArrayLike<number>[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

function tag(field: number, wireType: number): number[] {
  return varint(field * 8 + wireType)
}

function varint(value: number): number[] {
  const bytes: number[] = []
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128)
  return [...bytes, value]
}

/** Field 2 in field 2 in field 2 … */
function nested(depth: number): Uint8Array {
  let bytes = new Uint8Array()
  for (let i = 0; i < depth; i++) bytes = joined(tag(2, 2), varint(bytes.length), bytes) as Uint8Array<ArrayBuffer>
  return bytes
}

type JsonMutation = (text: string, random: Random, field: string) => string

const JSON_VALUES = [
  'null',
  'true',
  '-1',
  '1e400',
  '1e-7',
  '0.5',
  '18446744073709551615',
  '18446744073709551616',
  '-9223372036854775809',
  '9'.repeat(400),
  '"NaN"',
  '"Infinity"',
  'NaN',
  '""',
  '"0x10"',
  '" 1"',
  '"AAA"',
  '"*not base64*"',
  '[]',
  '[null]',
  '[[1]]',
  '{}',
  '{"a":1}',
  '"\\ud800"',
  '"\\u0000"',
  '"NO_SUCH_NAME"',
  '2147483648',
]

const JSON_MUTATIONS: readonly (readonly [string, JsonMutation])[] = [
  [
    'unknown field',
    (text, random) => withMember(text, random.pick(['zzz', '', '__proto__', 'constructor', '@type']), '1'),
  ],
  ['wrong type', (text, random, field) => withMember(text, field, random.pick(JSON_VALUES))],
  ['wrong types', (_text, random, field) => `{"${field}":${random.pick(JSON_VALUES)}}`],
  ['double key', (text, random, field) => withMember(withMember(text, field, '1'), field, random.pick(JSON_VALUES))],
  ['deep arrays', (text, random, field) => withMember(text, field, deep('[', ']', random.pick([50, 20_000])))],
  ['deep objects', (_text, random) => deep('{"a":', '}', random.pick([50, 20_000]), '1')],
  ['cut off', (text, random) => text.slice(0, random.below(text.length))],
  ['characters changed', (text, random) => changed(text, random)],
  ['not an object', (_text, random) => random.pick(JSON_VALUES)],
  ['trailing', (text, random) => text + random.pick(['}', ' x', ',{}', '\0', text])],
  ['empty', () => ''],
]

function jsonBody(random: Random, method: Method, message: AnyMessage): Body {
  const text = encodeJson(method.request, message as never)
  if (random.oneIn(2)) return { method, encoding: 'json', bytes: utf8.encode(text), kind: 'random message' }
  if (random.oneIn(12)) {
    const bytes = joined(utf8.encode(text.slice(0, -1)), [0x22, 0xc3, 0x28, 0xff, 0x22, 0x7d])
    return { method, encoding: 'json', bytes, kind: 'not UTF-8' }
  }
  const [kind, mutate] = random.pick(JSON_MUTATIONS)
  const fields = fieldsOf(method.request)
  const field = fields.length === 0 ? 'context' : random.pick(fields).name
  return { method, encoding: 'json', bytes: utf8.encode(mutate(text, random, field)), kind }
}

const utf8 = new TextEncoder()

function withMember(text: string, name: string, value: string): string {
  return text === '{}' ? `{"${name}":${value}}` : `{"${name}":${value},${text.slice(1)}`
}

const deep = (open: string, close: string, depth: number, inside = ''): string =>
  open.repeat(depth) + inside + close.repeat(depth)

function changed(text: string, random: Random): string {
  const at = random.below(text.length)
  return text.slice(0, at) + random.pick(['"', '\\', '{', '[', ',', ':', '\u0001', '9', 'e', '-']) + text.slice(at + 1)
}
