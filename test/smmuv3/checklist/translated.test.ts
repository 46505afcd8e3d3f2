/** Accesses whose address an ATS request obtained. [SMMU 3.9.1.3 Handling of ATS Translated transactions] */

import { describe, expect, it } from 'vitest'
import { REQUEST } from '../../../hw-model/port.js'
import { type Dma, type GuestOptions, hex, RAM, VA } from './guest.js'
import { GUEST, S2_BLOCK, World } from './tables.js'

const ABORT = 0b000
const BYPASS = 0b100
const S1 = 0b101
const S2 = 0b110
const NESTED = 0b111

const ATS: GuestOptions = { deny: { IDR0: 1 << 11 }, offer: { IDR0: (1 << 10) | (1 << 23) } }

/** A stream of this Config with this EATS in a unit with this ATSCHK. */
function world(config: number, eats: bigint, checks: boolean, change: (w: World) => void = () => undefined): World {
  const w = new World((config === ABORT ? BYPASS : config) as 0b100, { ...ATS, cr0: checks ? 0b1_1101 : 0b1101 })
  if (config === ABORT) w.ste[0] = 1n
  w.ste[1] |= eats << 28n
  change(w)
  return w.apply()
}

const T = { type: REQUEST.TRANSLATED }
const PA = 0x5000_1234n
const FORBIDDEN = ['1000000007 800000000 50001234 0']

describe('a translated access', () => {
  it('is F_TRANSL_FORBIDDEN while the unit is off', () => {
    for (const checks of [false, true]) {
      const w = new World(S1, { ...ATS, cr0: checks ? 0b1_1100 : 0b1100 })
      expect([w.read(PA, T), w.events()]).toEqual(['abort', FORBIDDEN])
    }
  })

  it('passes, whatever the stream is, while nothing is checked', () => {
    for (const config of [ABORT, BYPASS, S1, S2, NESTED]) {
      for (const eats of [0n, 1n]) {
        const w = world(config, eats, false)
        expect([w.read(PA, T), w.write(PA, T), w.events()]).toEqual(['0x50001234', '0x50001234', []])
      }
    }
    const invalid = world(S1, 1n, false, (w) => {
      w.ste[0] = 0n
    })
    expect(invalid.read(PA, { ...T, sid: 0xffff })).toBe('0x50001234')
  })

  /** Config, EATS, and how it ends where ATSCHK is 1. */
  const CHECKED: readonly (readonly [config: number, eats: bigint, ended: string, events: readonly string[]])[] = [
    [ABORT, 0n, 'abort', []],
    [ABORT, 1n, 'abort', []],
    [BYPASS, 0n, 'abort', FORBIDDEN],
    [BYPASS, 1n, 'abort', FORBIDDEN],
    [S1, 0n, 'abort', FORBIDDEN],
    [S1, 1n, '0x50001234', []],
    [S1, 3n, 'abort', FORBIDDEN],
    [S2, 0n, 'abort', FORBIDDEN],
    [S2, 1n, '0x50001234', []],
    [NESTED, 0n, 'abort', FORBIDDEN],
    [NESTED, 1n, '0x50001234', []],
  ]
  for (const [config, eats, ended, events] of CHECKED) {
    it(`of Config ${config.toString(2).padStart(3, '0')} and EATS ${eats} is ${ended} where it is checked`, () => {
      const w = world(config, eats, true)
      expect([w.read(PA, T), w.events()]).toEqual([ended, events])
    })
  }

  it('that is forbidden is recorded without SubstreamID, as read or write, with its address', () => {
    const w = world(S1, 0n, true)
    w.write(PA, { ...T, ssid: 5, priv: true })
    expect(w.events()).toEqual(['1000000007 0 50001234 0'])
  })

  it('beyond the output size is aborted in silence', () => {
    for (const checks of [false, true]) {
      const w = world(S1, 1n, checks)
      expect([w.read(1n << 48n, T), w.events()]).toEqual(['abort', []])
    }
  })

  /** What a stream is broken by, and the event of it. */
  const BROKEN: readonly (readonly [what: string, event: string, change: (w: World) => void, how?: Dma])[] = [
    ['a StreamID out of range', '0x2', () => undefined, { sid: 64 }],
    [
      'an STE that is not valid',
      '0x4',
      (w) => {
        w.ste[0] &= ~1n
      },
    ],
  ]
  for (const [what, event, change, how] of BROKEN) {
    it(`of ${what} is aborted where it is checked, and an event only with CR2.REC_CFG_ATS`, () => {
      for (const records of [false, true]) {
        const w = world(S1, 1n, true, change)
        w.set32(0x20, 0b1_1100)
        w.set32(0x2c, records ? 0b1010 : 0b0010)
        w.set32(0x20, 0b1_1101)
        expect([w.read(PA, { ...T, ...how }), w.kinds()]).toEqual(['abort', records ? [event] : []])
      }
    })
  }

  it('of a StreamID out of range is an event without RECINVSID', () => {
    const w = world(S1, 1n, true)
    w.set32(0x20, 0b1_1100)
    w.set32(0x2c, 0b1000)
    w.set32(0x20, 0b1_1101)
    expect([w.read(PA, { ...T, sid: 64 }), w.kinds()]).toEqual(['abort', ['0x2']])
  })

  it('of full ATS never looks at a CD or a table', () => {
    const w = world(NESTED, 1n, true, (it) => {
      it.ste[0] = 0x7_0000_0000n | 0xfn
      it.ste[3] = RAM
    })
    expect([w.read(PA, T), w.events()]).toEqual(['0x50001234', []])
  })
})

describe('a translated access of split-stage ATS', () => {
  it('is an IPA that stage 2 translates', () => {
    const w = world(NESTED, 2n, true)
    expect([w.read(GUEST + PA, T), w.write(GUEST + PA, T)]).toEqual(['0x50001234', '0x50001234'])
  })

  it('that stage 2 has not is recorded as an ordinary one: unprivileged data, without SubstreamID', () => {
    const w = world(NESTED, 2n, true)
    expect([w.fetch(0x7_0000_1234n, { ...T, ssid: 3, priv: true }), w.events()]).toEqual([
      'abort',
      ['1000000010 28800000000 700001234 700001000'],
    ])
  })

  it('that stage 2 denies is F_PERMISSION, and S2R silences it', () => {
    const w = world(NESTED, 2n, true)
    w.two.set(0x7_0000_0000n, 1, S2_BLOCK & ~0x80n)
    expect([w.read(0x7_0000_0000n, T), w.write(0x7_0000_0000n, T)]).toEqual(['0x0', 'abort'])
    expect(w.events()).toEqual(['1000000013 28000000000 700000000 700000000'])
    w.ste[2] &= ~(1n << 58n)
    w.apply()
    expect([w.write(0x7_0000_0000n, T), w.events()]).toEqual(['abort', []])
  })

  it('beyond the input size is a stage 1 F_ADDR_SIZE', () => {
    const w = world(NESTED, 2n, true)
    expect([w.read(1n << 48n, T), w.events()]).toEqual(['abort', ['1000000011 20800000000 1000000000000 0']])
  })

  it('passes untranslated while nothing is checked', () => {
    expect(world(NESTED, 2n, false).read(PA, T)).toBe('0x50001234')
  })

  it('leaves ordinary DMA of the stream to both stages', () => {
    const w = world(NESTED, 2n, true)
    expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
  })
})
