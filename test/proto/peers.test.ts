import { fromBinary, fromJsonString, toBinary, toJsonString } from '@bufbuild/protobuf'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CodecError, decode, decodeJson, encode, encodeJson, MESSAGE_NAMES } from '../../proto/codec.js'
import type { MessageName } from '../../proto/generated/types.js'
import { messages, registry, stock } from './reflection.js'

const long = process.env['IOMMUD_TEST_LONG'] !== undefined
const RUNS = { numRuns: long ? 500 : 12, seed: 7 }

/** The result, or undefined if it is refused as hostile input must be. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof CodecError)) throw error
    return undefined
  }
}

/** What the stock library makes of bytes, in its own canonical form; undefined if it refuses them. */
function stockView(name: MessageName, bytes: Uint8Array): Uint8Array | undefined {
  try {
    return toBinary(stock(name), fromBinary(stock(name), bytes))
  } catch {
    return undefined
  }
}

describe('random messages', () => {
  it('come back as they were, through bytes and through JSON', () => {
    for (const name of MESSAGE_NAMES) {
      const same = fc.property(messages(name), (message) => {
        expect(decode(name, encode(name, message))).toEqual(message)
        expect(decodeJson(name, encodeJson(name, message))).toEqual(message)
      })
      fc.assert(same, RUNS)
    }
  })

  it('mean the same to @bufbuild/protobuf, both ways, in bytes and in JSON', () => {
    for (const name of MESSAGE_NAMES) {
      const schema = stock(name)
      const same = fc.property(messages(name), (message) => {
        const read = fromBinary(schema, encode(name, message))
        expect(decode(name, toBinary(schema, read))).toEqual(message)
        const fromText = fromJsonString(schema, encodeJson(name, message), { registry })
        expect(decodeJson(name, toJsonString(schema, fromText, { registry }))).toEqual(message)
        expect(toBinary(schema, fromText)).toEqual(toBinary(schema, read))
      })
      fc.assert(same, RUNS)
    }
  })
})

describe('bytes that were cut', () => {
  it('are refused with a CodecError where @bufbuild/protobuf refuses them, and mean the same elsewhere', () => {
    for (const name of MESSAGE_NAMES) {
      const agree = fc.property(messages(name), fc.nat(), (message, cut) => {
        const whole = encode(name, message)
        const bytes = whole.slice(0, cut % (whole.length + 1))
        const ours = attempt(() => decode(name, bytes))
        expect(ours && stockView(name, encode(name, ours))).toEqual(stockView(name, bytes))
      })
      fc.assert(agree, RUNS)
    }
  })
})

describe('bytes that were damaged', () => {
  it('are refused with a CodecError, or are a message that stands', () => {
    for (const name of MESSAGE_NAMES) {
      const byte = fc.integer({ min: 0, max: 255 })
      const stands = fc.property(messages(name), fc.nat(), byte, (message, at, to) => {
        const bytes = encode(name, message)
        if (bytes.length > 0) bytes[at % bytes.length] = to
        const ours = attempt(() => decode(name, bytes))
        if (ours !== undefined) expect(decode(name, encode(name, ours))).toEqual(ours)
      })
      fc.assert(stands, RUNS)
    }
  })

  it('from the beginning are refused with a CodecError, or are a message that stands', () => {
    for (const name of MESSAGE_NAMES) {
      const stands = fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const ours = attempt(() => decode(name, bytes))
        if (ours !== undefined) expect(decode(name, encode(name, ours))).toEqual(ours)
      })
      fc.assert(stands, RUNS)
    }
  })
})

describe('JSON that was damaged', () => {
  it('is refused with a CodecError, or is a message that stands', () => {
    for (const name of MESSAGE_NAMES) {
      const stands = fc.property(messages(name), fc.nat(), fc.string({ maxLength: 2 }), (message, at, to) => {
        const text = encodeJson(name, message)
        const cut = at % text.length
        const ours = attempt(() => decodeJson(name, text.slice(0, cut) + to + text.slice(cut + 1)))
        if (ours !== undefined) expect(decodeJson(name, encodeJson(name, ours))).toEqual(ours)
      })
      fc.assert(stands, RUNS)
    }
  })
})
