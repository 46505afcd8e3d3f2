/** Random messages in the shape of the contract, with the values that break things and the ids that exist. */

import { enumValues, type FieldInfo, fieldsOf } from '../../proto/codec.js'
import type { MessageName } from '../../proto/generated/types.js'
import type { Random } from './random.js'

/** What a hostile client knows: real names and numbers to mix with junk. */
export interface Pool {
  /** The context's token. */
  readonly token: string
  /** Tokens that open nothing. */
  readonly badTokens: readonly string[]
  /** Ids of objects, by the field that names them; 0 and unused ones are added by chance. */
  readonly ids: readonly number[]
  readonly regionIds: readonly number[]
  readonly deviceNames: readonly string[]
  readonly paths: readonly string[]
  readonly contextNumbers: readonly bigint[]
  /** Real ids by the name of the field that wants them, such as `ioasId`: used four times out of five. */
  readonly idsByField?: Readonly<Record<string, readonly number[]>>
  /** Real 64-bit values by the name of their field. */
  readonly valuesByField?: Readonly<Record<string, readonly bigint[]>>
}

/** A message of plain values, in the form that the codec encodes. */
export type AnyMessage = Record<string, unknown>

/** Numbers at which arithmetic goes wrong. */
const WIDE: readonly bigint[] = [
  0n,
  1n,
  2n,
  7n,
  0xfffn,
  0x1000n,
  0x1001n,
  0x10000n,
  0x20_0000n,
  0x4000_0000n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_f000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0xfee0_0000n,
  2n ** 39n,
  2n ** 47n,
  2n ** 48n - 0x1000n,
  2n ** 48n,
  2n ** 52n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 53n + 1n,
  2n ** 57n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 0x1000n,
  2n ** 64n - 1n,
]

const NARROW: readonly number[] = WIDE.filter((value) => value < 2n ** 32n).map(Number)

const TEXTS = [
  '',
  '\0',
  'a',
  '../../etc/passwd',
  '\u{1f9e8}',
  '\u202e',
  '%s%n',
  '__proto__',
  'constructor',
  'IDR0',
  'CAP',
]

/** Deepest nesting of a random message; the contract's own is five. */
const DEEPEST = 6

/** A 64-bit number: page-aligned or not, small, huge, or nothing special. */
export function wideNumber(random: Random): bigint {
  switch (random.below(5)) {
    case 0:
      return random.u64()
    case 1:
      return BigInt.asUintN(64, random.u64() & ~0xfffn)
    case 2:
      return BigInt(random.below(64)) << 12n
    default:
      return random.pick(WIDE)
  }
}

/** A 32-bit number. */
export function narrowNumber(random: Random): number {
  const kind = random.below(8)
  if (kind === 0) return random.u32()
  return kind < 4 ? random.below(17) : random.pick(NARROW)
}

/** A token: mostly the right one, else another boot's, an unknown one, an empty or an endless one. */
export function token(random: Random, pool: Pool): string {
  return random.below(10) < 8 ? pool.token : random.pick(pool.badTokens)
}

/** A random message of a type. */
export function randomMessage(random: Random, name: MessageName, pool: Pool, depth = 0): AnyMessage {
  const message: AnyMessage = {}
  const chosen = new Set<string>()
  for (const field of fieldsOf(name)) {
    if (field.name !== 'context' && random.oneIn(6)) continue
    if (field.oneof !== undefined) {
      const members = fieldsOf(name).filter((other) => other.oneof === field.oneof)
      if (chosen.has(field.oneof) || !random.oneIn(members.length)) continue
      chosen.add(field.oneof)
    }
    if (field.kind === 'message' && depth >= DEEPEST) continue
    message[field.name] = randomField(random, field, pool, depth)
  }
  return message
}

function randomField(random: Random, field: FieldInfo, pool: Pool, depth: number): unknown {
  if (field.map) return Object.fromEntries([[text(random), randomValue(random, field, pool, depth)]])
  if (!field.repeated) return randomValue(random, field, pool, depth)
  const length = random.oneIn(40) ? random.below(3000) : random.below(5)
  const count = field.kind === 'message' ? Math.min(length, 200) : length
  return Array.from({ length: count }, () => randomValue(random, field, pool, depth))
}

function randomValue(random: Random, field: FieldInfo, pool: Pool, depth: number): unknown {
  switch (field.kind) {
    case 'message':
      return randomMessage(random, field.typeName as MessageName, pool, depth + 1)
    case 'enum':
      return randomEnum(random, field.typeName as string)
    case 'bool':
      return random.oneIn(2)
    case 'bytes':
      return random.bytes(random.pick([0, 1, 8, 16, 17, 4096]))
    case 'string':
      return randomText(random, field, pool)
    case 'uint32':
    case 'fixed32':
      return randomNarrow(random, field.name, pool)
    case 'int32':
      return Number(BigInt.asIntN(32, wideNumber(random)))
    case 'sint64':
      return BigInt.asIntN(64, wideNumber(random))
    default:
      return randomWide(random, field.name, pool)
  }
}

function randomEnum(random: Random, name: string): number {
  const known = Object.values(enumValues(name))
  return random.oneIn(8) ? random.pick([-1, known.length, 99, 2 ** 31 - 1, -(2 ** 31)]) : random.pick(known)
}

function randomText(random: Random, { name }: FieldInfo, pool: Pool): string {
  if (name === 'context') return token(random, pool)
  if (/path/i.test(name) && !random.oneIn(4)) return random.pick(pool.paths)
  if (/deviceName|parentName/.test(name) && !random.oneIn(4)) return random.pick(pool.deviceNames)
  return text(random)
}

function text(random: Random): string {
  if (random.oneIn(10)) return 'x'.repeat(random.pick([64, 65, 5000]))
  return random.pick(TEXTS)
}

function randomWide(random: Random, name: string, pool: Pool): bigint {
  const known = pool.valuesByField?.[name] ?? []
  if (known.length > 0 && !random.oneIn(5)) return random.pick(known)
  return name === 'contextNumber' ? random.pick(pool.contextNumbers) : wideNumber(random)
}

function randomNarrow(random: Random, name: string, pool: Pool): number {
  if (random.oneIn(5)) return narrowNumber(random)
  const known = pool.idsByField?.[name] ?? []
  if (known.length > 0) return random.pick(known)
  if (/regionId/.test(name)) return random.pick(pool.regionIds)
  if (/(Id|handle)$/.test(name)) return random.pick(pool.ids)
  if (/^access|^permissions/.test(name)) return random.below(17)
  if (name === 'flags') return random.below(9)
  if (name === 'width') return random.pick([4, 8, 4, 8, 0, 3])
  if (name === 'waitMs') return random.pick([0, 0, 1, 50, 2 ** 32 - 1])
  if (name === 'length') return random.pick([0, 1, 8, 4096, 65_537, 2 ** 32 - 1])
  return narrowNumber(random)
}
