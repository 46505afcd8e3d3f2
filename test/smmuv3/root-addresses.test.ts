import { describe, expect, it } from 'vitest'
import { pack } from '../../hw-model/bits/layout.js'
import { type ContextConfig, decodeCd } from '../../hw-model/smmuv3/decode-cd.js'
import { decodeSte, StreamConfig } from '../../hw-model/smmuv3/decode-ste.js'
import { CD, featuresOf, idRegisters, STE } from '../../hw-model/smmuv3/index.js'

/** 44 bits of address, so that every bit above is beyond it. */
const FEATURES = featuresOf(idRegisters('qemu'))
const ROOT = 0x4000_0000
const second = { V: 1, Config: 0b110, S2AA64: 1, S2T0SZ: 25, S2SL0: 1, S2PS: 4, S2TTB: ROOT, S2R: 1 }
const context = { V: 1, AA64: 1, A: 1, IPS: 4, T0SZ: 25, TTB0: ROOT, T1SZ: 25, TG1: 2, TTB1: ROOT }

/** A record with one bit of one 64-bit word set too. */
function with64(words: Int32Array, word: number, bit: number): Int32Array {
  words[2 * word + (bit >> 5)] |= 1 << (bit & 31)
  return words
}

describe('[SMMU 5.2 S2TTB] the root of stage 2', () => {
  it.each([44, 45, 46, 47, 48, 49, 50, 51])('is ILLEGAL with bit %i, which is beyond OAS', (bit) => {
    expect(decodeSte(with64(pack(STE, second), 3, bit), 1, FEATURES, false).why).toMatch(/S2TTB/)
  })

  it.each([52, 53, 54, 55])('does not have bit %i, which is RES0 in VMSAv8-64', (bit) => {
    const { why, stageTwo } = decodeSte(with64(pack(STE, second), 3, bit), 1, FEATURES, false)
    expect([why, stageTwo?.tableLo, stageTwo?.tableHi]).toEqual(['', ROOT, 0])
  })
})

describe('[SMMU 5.4 TTB0] the roots of stage 1', () => {
  const decode = (word: number, bit: number): ContextConfig =>
    decodeCd(with64(pack(CD, context), word, bit), new StreamConfig(), FEATURES)

  it.each([44, 47, 48, 51])('are ILLEGAL with bit %i, which is beyond OAS', (bit) => {
    expect([decode(1, bit).why, decode(2, bit).why]).toEqual([
      expect.stringMatching(/TTB0/),
      expect.stringMatching(/TTB1/),
    ])
  })

  it.each([52, 53, 54, 55])('do not have bit %i, which is RES0 in VMSAv8-64', (bit) => {
    expect([decode(1, bit), decode(2, bit)]).toEqual([
      expect.objectContaining({ why: '', low: expect.objectContaining({ tableLo: ROOT, tableHi: 0 }) }),
      expect.objectContaining({ why: '', high: expect.objectContaining({ tableLo: ROOT, tableHi: 0 }) }),
    ])
  })
})
