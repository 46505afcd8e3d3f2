/** Records that stand for more than one event. [SMMU 7.3.1 Event record merging] */

import { describe, expect, it } from 'vitest'
import { REQUEST } from '../../../hw-model/port.js'
import { type GuestOptions, SID } from './guest.js'
import { World } from './tables.js'

const MEV = 1n << 19n

/** A stream with this STE.MEV in a unit that merges. */
function world(mev: bigint, more: GuestOptions = { mergesEvents: true }): World {
  const w = new World(0b101, more)
  w.ste[1] |= mev
  return w.apply()
}

describe('a record', () => {
  it('is one of each event unless the unit is told to merge', () => {
    const w = world(MEV, {})
    w.read(0x1000n)
    w.read(0x1000n)
    expect(w.events().length).toBe(2)
  })

  it('stands for what follows it and is the same, in the same page, where MEV is 1', () => {
    const w = world(MEV)
    for (const va of [0x1000n, 0x1008n, 0x1ff8n]) w.read(va)
    expect(w.events()).toEqual(['1000000010 20800000000 1000 0'])
  })

  it('is one of each where MEV is 0', () => {
    const w = world(0n)
    w.read(0x1000n)
    w.read(0x1000n)
    expect(w.events().length).toBe(2)
  })

  it('is one of each that differs: by page, by access, by SubstreamID, by stream', () => {
    const w = world(MEV)
    w.storeSte(0x11, ...w.ste)
    w.read(0x1000n)
    w.read(0x2000n)
    w.write(0x2000n)
    w.write(0x2000n, { priv: true })
    w.write(0x2000n, { sid: 0x11, priv: true })
    w.write(0x2000n, { sid: 0x11, ssid: 1 })
    w.write(0x2000n, { sid: 0x11, ssid: 2 })
    expect(w.events().length).toBe(7)
  })

  it('may stand for more where no STE says otherwise: C_BAD_STREAMID, F_STE_FETCH, C_BAD_STE', () => {
    const w = world(0n)
    w.read(0n, { sid: 64 })
    w.read(0n, { sid: 64 })
    w.read(0n, { sid: 3 })
    w.read(0n, { sid: 3 })
    expect(w.kinds()).toEqual(['0x2', '0x4'])
  })

  it('of a stall is one of each', () => {
    const w = world(MEV, { mergesEvents: true, deny: { IDR0: 3 << 24, IDR5: -65536 }, offer: { IDR5: 8 << 16 } })
    w.cd[0] |= 1n << 44n
    w.apply()
    w.read(0x1000n)
    w.read(0x1000n)
    expect(w.events().length).toBe(2)
  })

  it('that was taken out of the queue stands for nothing more', () => {
    const w = world(MEV)
    w.read(0x1000n)
    expect(w.events().length).toBe(1)
    w.read(0x1000n)
    expect(w.events().length).toBe(1)
  })

  it('of a translated access merges by its page too', () => {
    const w = world(MEV, { mergesEvents: true, offer: { IDR0: 1 << 10 }, cr0: 0b1_1101 })
    w.read(0x1000n, { type: REQUEST.TRANSLATED, sid: SID })
    w.read(0x1008n, { type: REQUEST.TRANSLATED, sid: SID })
    expect(w.kinds()).toEqual(['0x7'])
  })
})
