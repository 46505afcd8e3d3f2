import { describe, expect, it } from 'vitest'
import { address, bit, bits, layout } from '../../hw-model/bits/layout.js'
import { recordOf, rightsText, sizeText } from '../../hw-model/walk/describe.js'

const RECORD = layout('record', 64, { V: bit(0), Kind: bits(3, 1), Next: address(31, 12), Root: address(63, 44) })
const WORDS = Int32Array.of(0x5000 | 0b0111, 0x7000, -1, -1)

describe('a record that is shown', () => {
  it('has its own words, unsigned, all its fields, and its addresses as physical ones', () => {
    expect(recordOf(RECORD, Int32Array.of(-1, 0x7000, 5))).toMatchObject({ words: [0xffffffff, 0x7000] })
    expect(recordOf(RECORD, WORDS)).toEqual({
      words: [0x5007, 0x7000],
      fields: { V: 1, Kind: 3, Next: 0x5000, Root: 0x7000_0000_0000 },
      texts: {},
      pointers: { Next: 'pa', Root: 'pa' },
    })
  })

  it('has only what matters, in words where there are any, and each address in its own space', () => {
    const texts = { Kind: 'of the third kind', Root: 'far away' }
    expect(recordOf(RECORD, WORDS, { only: ['Kind', 'Next'], texts, space: 'ipa' })).toEqual({
      words: [0x5007, 0x7000],
      fields: { Kind: 3, Next: 0x5000 },
      texts: { Kind: 'of the third kind' },
      pointers: { Next: 'ipa' },
    })
    expect(recordOf(RECORD, WORDS, { space: 'ipa', spaces: { Root: 'pa' } }).pointers).toEqual({
      Next: 'ipa',
      Root: 'pa',
    })
  })
})

describe('sizes and rights in words', () => {
  it.each([
    [3, '8 bytes'],
    [12, '4 KiB'],
    [16, '64 KiB'],
    [21, '2 MiB'],
    [30, '1 GiB'],
    [42, '4 TiB'],
    [52, '4096 TiB'],
  ])('are exact: 2^%i bytes are %s', (lg2, text) => {
    expect(sizeText(lg2)).toBe(text)
  })

  it('tell READ and WRITE and nothing else', () => {
    expect([0, 1, 2, 3, 7].map(rightsText)).toEqual([
      'no access',
      'read-only',
      'write-only',
      'read-write',
      'read-write',
    ])
  })
})
