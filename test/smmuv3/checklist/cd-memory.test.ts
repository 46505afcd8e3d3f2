/** Where a CD is: behind stage 2, in nothing, in a cache. [SMMU 3.3.2 StreamIDs to Context Descriptors] */

import { describe, expect, it } from 'vitest'
import { hex, RAM, VA } from './guest.js'
import { S2_BLOCK, World } from './tables.js'

const S1 = 0b101
const NESTED = 0b111

type Change = (w: World) => unknown

const put = (w: World, word: number, value: bigint, high: number, low = high): void => {
  const mask = ((1n << BigInt(high - low + 1)) - 1n) << BigInt(low)
  w.cd[word] = (w.cd[word] & ~mask) | (value << BigInt(low))
}

describe('the memory of a CD', () => {
  it('that aborts is F_CD_FETCH with its address', () => {
    const w = new World(S1)
    w.ste[0] = RAM | 0xbn
    w.apply()
    expect([w.read(VA), w.events()]).toEqual(['abort', [`1000000009 0 0 ${RAM.toString(16)}`]])
  })

  it('under stage 2 is at an IPA, and a fault there is one of class CD', () => {
    const w = new World(NESTED)
    w.ste[0] = 0x7_8000_0140n | 0xfn
    w.apply()
    expect([w.write(VA, { priv: true }), w.events()]).toEqual([
      'abort',
      [`1000000010 8200000000 123456789abc 780000000`],
    ])
  })

  /** Where stage 2 blocks of 1 GiB put the CD: this one is as `bits` say. */
  const cdBlock = (bits: bigint, change: Change = () => undefined): [string, string[], bigint] => {
    const w = new World(NESTED)
    w.two.set(0x7_0000_0000n, 1, bits)
    w.ste[0] = (0x7_0000_0000n + w.context) | 0xfn
    change(w)
    w.apply()
    return [w.read(VA), w.events(), (0x7_0000_0000n + w.context) & ~0xfffn]
  }

  it('under stage 2 may be read-only there, and not executable', () => {
    expect(cdBlock((S2_BLOCK & ~0x80n) | (2n << 53n))[0]).toMatch(/^0x/)
  })

  it('under stage 2 is read as data: without read permission it is F_PERMISSION of class CD', () => {
    const [ended, events, ipa] = cdBlock(S2_BLOCK & ~0x40n)
    expect([ended, events]).toEqual(['abort', [`1000000013 8800000000 123456789abc ${ipa.toString(16)}`]])
  })

  it('under stage 2 is F_ACCESS there while its page has no access flag', () => {
    const [ended, events, ipa] = cdBlock(S2_BLOCK & ~0x400n)
    expect([ended, events]).toEqual(['abort', [`1000000012 8800000000 123456789abc ${ipa.toString(16)}`]])
  })

  it('under stage 2 may not be device memory when S2PTW says so', () => {
    for (const device of [0n, 1n, 2n, 3n]) {
      const [ended, events, ipa] = cdBlock((S2_BLOCK & ~0x3cn) | (device << 2n))
      expect([ended, events]).toEqual(['abort', [`1000000013 8800000000 123456789abc ${ipa.toString(16)}`]])
    }
    const allowed = cdBlock((S2_BLOCK & ~0x3cn) | 4n, (w) => {
      w.ste[2] &= ~(1n << 54n)
    })
    expect(allowed[0]).toMatch(/^0x/)
  })

  it('under stage 2 that aborts is F_CD_FETCH with its physical address', () => {
    const [ended, events] = cdBlock(0x40_0000_0000n | S2_BLOCK, (w) => {
      w.ste[0] = 0x7_0000_0140n | 0xfn
    })
    expect([ended, events]).toEqual(['abort', ['1000000009 0 0 4000000140']])
  })

  it('under stage 2 that walks into nothing is F_WALK_EABT of stage 2 and class CD', () => {
    const w = new World(NESTED)
    w.two.set(0x7_0000_0000n, 1, RAM | 3n)
    w.ste[0] = 0x7_0020_0000n | 0xfn
    w.apply()
    expect([w.read(VA), w.events()]).toEqual([
      'abort',
      [`100000000b 8800000000 123456789abc ${(RAM + 8n).toString(16)}`],
    ])
  })

  it('under stage 2 beyond the input size is a stage 2 F_TRANSLATION of class CD', () => {
    const w = new World(NESTED)
    w.ste[0] = (1n << 48n) | 0xfn
    w.apply()
    expect([w.read(VA), w.events()]).toEqual(['abort', ['1000000010 8800000000 123456789abc 1000000000000']])
  })
})

describe('a CD that is cached', () => {
  it('counts until CMD_CFGI_CD, also when it was not valid', () => {
    const w = new World(S1)
    put(w, 0, 0n, 31)
    w.apply()
    w.read(VA)
    w.store(w.context, w.cd[0] | (1n << 31n))
    expect(w.read(VA)).toBe('abort')
    w.command(0x0000_0010_0000_0005n, 1n, 0x46n, 0n)
    expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
  })

  it('is one for each stream that comes to it', () => {
    const w = new World(S1)
    w.storeSte(0x11, ...w.ste)
    w.read(VA)
    w.read(VA, { sid: 0x11 })
    w.store(w.context, 0n)
    w.command(0x0000_0010_0000_0005n, 1n, 0x46n, 0n)
    expect([w.read(VA), w.read(VA, { sid: 0x11 })]).toEqual(['abort', hex(w.page + 0xabcn)])
  })
})
