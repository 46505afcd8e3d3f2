import { describe, expect, it } from 'vitest'
import { CodecError, complete, decode, decodeJson, encode, encodeJson } from '../../proto/codec.js'
import { quoteLongIntegers } from '../../proto/codec-json.js'

/** The CodecError that `work` throws. */
function refusal(work: () => unknown): { where: string; what: string } {
  try {
    work()
  } catch (error) {
    if (!(error instanceof CodecError)) throw error
    return { where: error.where, what: error.what }
  }
  throw new Error('nothing was refused')
}

describe('truncated bytes', () => {
  it('are refused at every length that is not the end of a field', () => {
    const bytes = encode('IoasMapRequest', {
      context: 'abc',
      ioasId: 300,
      region: { regionId: 1, offset: 4096n },
      length: 2n ** 40n,
      iova: 1n,
    })
    const ends = [0, 5, 8, 21, 28, 37]
    for (let length = 0; length <= bytes.length; length++) {
      const cut = bytes.subarray(0, length)
      if (ends.includes(length)) expect(decode('IoasMapRequest', cut)).toBeDefined()
      else expect(refusal(() => decode('IoasMapRequest', cut)).where).toMatch(/^IoasMapRequest, byte \d+$/)
    }
    expect(bytes).toHaveLength(37)
  })

  it('are refused inside packed arrays', () => {
    for (const [bytes, why] of [
      [[0x2a, 7, 1, 2, 3, 4, 5, 6, 7], 'a packed array of 7 bytes is no multiple of 8'],
      [[0x2a, 16, 0, 0, 0, 0, 0, 0, 0, 0], 'the message ends inside a value'],
      [[0x32, 2, 0x80, 0x80], 'a packed array ends inside a value'],
      [[0x32, 3, 1, 0x80], 'the message ends inside a value'],
    ] as const) {
      expect(refusal(() => decode('TranslateRequest', Uint8Array.from(bytes))).what).toBe(why)
    }
  })
})

describe('packed arrays', () => {
  it('may come in pieces and singly, as protobuf allows', () => {
    const le = (value: number): number[] => [value, 0, 0, 0, 0, 0, 0, 0]
    const bytes = [
      0x2a,
      8,
      ...le(1),
      0x29,
      ...le(2),
      0x2a,
      0,
      0x2a,
      16,
      ...le(3),
      ...le(4),
      0x30,
      5,
      0x32,
      3,
      6,
      0xac,
      2,
    ]
    const { iovas, accesses } = decode('TranslateRequest', Uint8Array.from(bytes))
    expect(iovas).toEqual(BigUint64Array.of(1n, 2n, 3n, 4n))
    expect(accesses).toEqual(Uint32Array.of(5, 6, 300))
  })

  it('are copies, so that the network’s buffer may be used again', () => {
    const bytes = encode('TranslateRequest', { iovas: [7n] })
    const { iovas } = decode('TranslateRequest', bytes)
    bytes.fill(0xff)
    expect(iovas).toEqual(BigUint64Array.of(7n))
  })

  it('are decoded from the middle of a Buffer, wherever it lies', () => {
    const bytes = encode('TranslateRequest', { context: 'c', iovas: [1n, 2n ** 64n - 1n] })
    for (let shift = 0; shift < 8; shift++) {
      const around = Buffer.alloc(bytes.length + 16, 0xee)
      around.set(bytes, shift)
      const { iovas, context } = decode('TranslateRequest', around.subarray(shift, shift + bytes.length))
      expect([context, ...iovas]).toEqual(['c', 1n, 2n ** 64n - 1n])
    }
  })
})

describe('bytes', () => {
  it('with fields of another version are read without them', () => {
    const known = encode('CreateIoasRequest', { context: 'abc', flags: 1 })
    const bytes = Uint8Array.from([...known, 0xf8, 0x7, 1, 0xfa, 0x7, 2, 0x61, 0x62])
    expect(decode('CreateIoasRequest', bytes)).toEqual({ context: 'abc', flags: 1 })
  })

  it('that set two members of a oneof mean the last', () => {
    const region = encode('IoasMapRequest', { region: { regionId: 1 } })
    const userVa = encode('IoasMapRequest', { userVa: 9n })
    const both = decode('IoasMapRequest', Uint8Array.from([...region, ...userVa]))
    expect([both.region, both.userVa]).toEqual([undefined, 9n])
  })

  it('that are not UTF-8 are no string', () => {
    expect(refusal(() => decode('CreateIoasRequest', Uint8Array.of(0x0a, 1, 0xff))).where).toMatch(/^CreateIoasRequest/)
  })

  it('come back as plain bytes, not as Buffers', () => {
    const { data } = complete('WriteHandleRequest', { data: Buffer.from('xyz') })
    expect(Buffer.isBuffer(data)).toBe(false)
    expect(data).toEqual(Uint8Array.of(0x78, 0x79, 0x7a))
  })
})

describe('JSON', () => {
  it.each([
    ['{"contxt":"a"}', 'CreateIoasRequest', /unknown field: "contxt"/],
    ['{"__proto__":{}}', 'CreateIoasRequest', /unknown field/],
    ['{"flags":-1}', 'CreateIoasRequest.flags', /out of range/],
    ['{"flags":4294967296}', 'CreateIoasRequest.flags', /out of range/],
    ['{"flags":1.5}', 'CreateIoasRequest.flags', /integer/],
    ['{"flags":true}', 'CreateIoasRequest.flags', /integer/],
    ['{"flags":1,"flags":1}', 'CreateIoasRequest', /duplicate/],
    ['[]', 'CreateIoasRequest', /expected object/],
    ['7', 'CreateIoasRequest', /expected object/],
    ['', 'JSON', /end of JSON/],
    ['{"flags":1', 'JSON', /position|JSON/],
    ['{"flags":01}', 'JSON', /position|number/],
    ['{"flags":1}x', 'JSON', /position|after/],
    ["{'flags':1}", 'JSON', /position|property/],
  ])('%s is refused', (text, where, what) => {
    const refused = refusal(() => decodeJson('CreateIoasRequest', text))
    expect(refused.where).toBe(where)
    expect(refused.what).toMatch(what)
  })

  it('that sets two members of a oneof is refused', () => {
    expect(refusal(() => decodeJson('IoasMapRequest', '{"region":{},"userVa":"1"}')).what).toMatch(/oneof source/)
  })

  it('may name fields as the .proto file does, and enums by number', () => {
    expect(decodeJson('ListObjectsRequest', '{"start_id":3,"type":2}')).toEqual({
      context: '',
      type: 2,
      startId: 3,
      maxObjects: 0,
    })
    expect(refusal(() => decodeJson('ListObjectsRequest', '{"type":"IOAS"}')).where).toBe('ListObjectsRequest.type')
  })

  it('names the field inside messages and arrays', () => {
    const text = '{"entries":[1]}'
    expect(refusal(() => decodeJson('RangeInvalidations', text)).where).toBe('RangeInvalidation')
    expect(refusal(() => decodeJson('RangeInvalidations', '{"entries":[{"addr":"x"}]}')).where).toBe(
      'RangeInvalidation.addr',
    )
  })

  it('of any depth and length is refused, not crashed on', () => {
    for (const text of ['['.repeat(1e6), '{"entries":'.repeat(1e5), `"${'\\"'.repeat(1e6)}`, '9'.repeat(1e6)]) {
      expect(refusal(() => decodeJson('RangeInvalidations', text)).what.length).toBeLessThan(300)
    }
  })

  it('does not say a token back, whatever is wrong with it', () => {
    const secret = 'a1b2c3d4e5f6'
    for (const text of [
      `{"context":["${secret}"]}`,
      `{"context":"${secret}"x}`,
      `{"context":"${secret}`,
      `${secret}`,
    ]) {
      const { where, what } = refusal(() => decodeJson('CreateIoasRequest', text))
      expect(`${where}: ${what}`).not.toContain(secret)
    }
    const given = { context: [secret] as unknown as string }
    expect(refusal(() => encode('CreateIoasRequest', given)).what).not.toContain(secret)
  })
})

describe('long integers in JSON text', () => {
  it('get quotes, and nothing else does', () => {
    expect(quoteLongIntegers('{"a":18446744073709551615,"b":[9007199254740993,-9223372036854775808]}')).toBe(
      '{"a":"18446744073709551615","b":["9007199254740993","-9223372036854775808"]}',
    )
    for (const same of [
      '{"a":"18446744073709551615"}',
      '{"1844674407370955161":1}',
      '{"a":"\\"18446744073709551615\\\\"}',
      '{"a":1844674407370955.16}',
      '{"a":1000000000000000000e2}',
      '{"a":000000000000000001}',
      '"18446744073709551615',
      '{"a":1}',
    ]) {
      expect(quoteLongIntegers(same)).toBe(same)
    }
  })
})

describe('an object', () => {
  it('with an unknown field, a wrong type or two members of a oneof is not encoded', () => {
    expect(refusal(() => encode('CreateIoasRequest', { flag: 1 } as object)).where).toBe('CreateIoasRequest.flag')
    expect(refusal(() => encode('CreateIoasRequest', { flags: -1 })).what).toMatch(/^-1 is not an integer/)
    expect(refusal(() => encode('IoasMapRequest', { userVa: 1n, region: {} })).what).toMatch(/`source` is set already/)
    expect(refusal(() => encode('IoasMapRequest', { region: { offset: 1 as never } })).where).toBe(
      'IoasMapRequest.region.offset',
    )
    expect(refusal(() => encode('TranslateRequest', { iovas: [1n, 2 as never] })).where).toBe(
      'TranslateRequest.iovas[1]',
    )
    expect(refusal(() => encode('CreateIoasRequest', { context: '\ud800' })).what).toMatch(/surrogate/)
    expect(refusal(() => encodeJson('CreateIoasRequest', null as never)).what).toMatch(/null is not an object/)
  })

  it('may leave out every field, and undefined is left out', () => {
    expect(encode('IoasMapRequest', {})).toHaveLength(0)
    expect(encode('IoasMapRequest', { context: undefined, userVa: undefined })).toHaveLength(0)
    expect(encodeJson('IoasMapRequest', { ioasId: 0, length: 0n, context: '' })).toBe('{}')
  })

  it('keeps a zero where absence means something else', () => {
    expect(complete('TranslateRequest', { pasid: 0 }).pasid).toBe(0)
    expect(complete('TranslateRequest', {}).pasid).toBeUndefined()
    expect(encodeJson('IoasMapRequest', { userVa: 0n })).toBe('{"userVa":"0"}')
  })
})
