import { describe, expect, it } from 'vitest'
import { decode, decodeJson, encode, encodeJson, type FieldInfo, fieldsOf, MESSAGE_NAMES } from '../../proto/codec.js'
import type { MessageName } from '../../proto/generated/types.js'
import { is64Bit, U64_MAX } from './reflection.js'

const VALUES = [2n ** 53n + 1n, U64_MAX, 2n ** 63n, 2n ** 32n, 1n]
const SIGNED = [2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n), -(2n ** 53n) - 1n, -1n]

const fields: readonly (readonly [MessageName, FieldInfo])[] = MESSAGE_NAMES.flatMap((name) =>
  fieldsOf(name)
    .filter(is64Bit)
    .map((field) => [name, field] as const),
)

/** Through the codec and back, with the value in one field. */
const CODECS = {
  bytes: (name: MessageName, message: object) => decode(name, encode(name, message)),
  JSON: (name: MessageName, message: object) => decodeJson(name, encodeJson(name, message)),
  'JSON with numbers': (name: MessageName, message: object) =>
    decodeJson(name, encodeJson(name, message).replace(/"(-?\d+)"/g, '$1')),
}

describe.each(Object.entries(CODECS))('a 64-bit value in %s', (_, roundTrip) => {
  it('is exact in every field of every message', () => {
    expect(fields.length).toBeGreaterThan(100)
    for (const [name, field] of fields) {
      for (const value of field.kind === 'sint64' ? SIGNED : VALUES) {
        const given = field.repeated ? BigUint64Array.of(value, 0n, value) : value
        const back = roundTrip(name, { [field.name]: given }) as unknown as Record<string, unknown>
        expect(back[field.name], `${name}.${field.name}`).toEqual(given)
      }
    }
  })
})

describe('a 64-bit field', () => {
  it('has a bigint default, and a typed array where it is repeated', () => {
    for (const [name, field] of fields) {
      const empty = decode(name, new Uint8Array(0)) as unknown as Record<string, unknown>
      const expected = field.repeated ? new BigUint64Array(0) : field.presence ? undefined : 0n
      expect(empty[field.name], `${name}.${field.name}`).toEqual(expected)
    }
  })

  it('refuses what is no bigint of its width', () => {
    for (const [name, field] of fields) {
      for (const wrong of [1, '1', -(2n ** 64n), 2n ** 64n, 1.5, null]) {
        const given = field.repeated ? [wrong] : wrong
        expect(() => encode(name, { [field.name]: given }), `${name}.${field.name}`).toThrow(
          expect.objectContaining({ name: 'CodecError', where: expect.stringContaining(`${name}.${field.name}`) }),
        )
      }
    }
  })

  it('refuses JSON numbers beyond 64 bits and fractions', () => {
    for (const [name, field] of fields) {
      for (const wrong of ['18446744073709551616', '-9223372036854775809', '1.5', '"1e30"', '"0x10"', '1e20']) {
        const text = `{"${field.name}":${field.repeated ? `[${wrong}]` : wrong}}`
        expect(() => decodeJson(name, text), text).toThrow(expect.objectContaining({ name: 'CodecError' }))
      }
    }
  })
})
