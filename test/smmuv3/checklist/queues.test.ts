/** Indices, wraps, and what happens when a queue is full. [SMMU 3.5 Command and Event queues] */

import { describe, expect, it } from 'vitest'
import { COMMANDS, EVENTS, Guest, RAM } from './guest.js'

const SYNC = 0x46n
const IRQ = 0x1046n

/** A guest whose every DMA is C_BAD_STE, with this many event entries. */
const noisy = (eventLg2: number): Guest => new Guest({ eventLg2 })

/** The StreamIDs of the records in the queue, from memory, by slot. */
const slots = (g: Guest, count: number): bigint[] =>
  Array.from({ length: count }, (_, i) => g.load(EVENTS + BigInt(i) * 32n) >> 32n)

const event = (g: Guest, sid: number): string => g.read(0x1000n, { sid })

describe('the command queue', () => {
  for (const lg2 of [0, 1, 5]) {
    it(`of 2^${lg2} entries uses every one of them, and goes round`, () => {
      const g = new Guest({ commandLg2: lg2 })
      for (let i = 0; i < 3 * 2 ** lg2 + 1; i++) g.command(IRQ, 0n)
      expect(g.interrupts.length).toBe(3 * 2 ** lg2 + 1)
      expect(g.get32(0x9c)).toBe(g.get32(0x98))
      g.command(...Array.from({ length: 2 ** lg2 }, () => [IRQ, 0n]).flat())
      expect([g.interrupts.length, g.get32(0x9c)]).toEqual([4 * 2 ** lg2 + 1, g.get32(0x98)])
    })
  }

  it('of 2^19 entries reaches its last one', () => {
    const g = new Guest({ cr0: 0 })
    const base = 0x8000_0000n
    g.set64(0x90, base | 19n)
    g.store(base + ((1n << 19n) - 1n) * 16n, IRQ, 0n)
    g.store(base, IRQ, 0n)
    g.set32(0x98, 0x7ffff)
    g.set32(0x9c, 0x7ffff)
    g.set32(0x20, 0b1000)
    g.set32(0x98, 0x8_0001)
    expect([g.interrupts.length, g.get32(0x9c)]).toEqual([2, 0x8_0001])
  })

  it('is at most as long as CMDQS says', () => {
    const g = new Guest({ cr0: 0, deny: { IDR1: 0x1f << 21 }, offer: { IDR1: 3 << 21 } })
    g.set64(0x90, COMMANDS | 10n)
    for (let i = 0n; i < 8n; i++) g.store(COMMANDS + i * 16n, SYNC, 0n)
    g.store(COMMANDS + 128n, 0xffn, 0n)
    g.set32(0x20, 0b1000)
    g.set32(0x98, 8)
    expect([g.get32(0x60), g.get32(0x9c) & 0xf]).toEqual([0, 8])
    g.set32(0x98, 9)
    expect([g.get32(0x60), g.get32(0x9c) & 0xf]).toEqual([0, 9])
  })

  it('is aligned to its size, or to 32 bytes', () => {
    for (const [lg2, junk] of [
      [5, 0x1e0n],
      [8, 0xfe0n],
      [0, 0n],
    ] as const) {
      const g = new Guest({ cr0: 0 })
      g.set64(0x90, COMMANDS | junk | BigInt(lg2))
      g.store(COMMANDS, IRQ, 0n)
      g.set32(0x20, 0b1000)
      g.set32(0x98, 1)
      expect([g.interrupts, g.get32(0x60)]).toEqual([['cmdq-sync'], 0])
    }
  })

  it('ignores index bits above its wrap bit', () => {
    const g = new Guest({ cr0: 0, commandLg2: 2 })
    g.store(COMMANDS, IRQ, 0n)
    g.set32(0x20, 0b1000)
    g.set32(0x98, 0xff_fff1 & ~0xe)
    expect(g.interrupts).toEqual(['cmdq-sync'])
    expect(g.get32(0x9c) & 7).toBe(1)
  })

  it('is not read past its end when its indices make no sense', () => {
    const g = new Guest({ cr0: 0, commandLg2: 2 })
    g.store(COMMANDS, ...Array.from({ length: 16 }, () => 0xffn))
    g.set32(0x98, 1)
    g.set32(0x9c, 2)
    g.set32(0x20, 0b1000)
    g.set32(0x98, 1)
    expect([g.get32(0x9c), g.get32(0x60)]).toEqual([2, 0])
    g.set32(0x98, 3)
    expect([g.get32(0x9c), g.get32(0x60)]).toEqual([0x0100_0002, 1])
  })
})

describe('the event queue', () => {
  for (const lg2 of [0, 1, 3]) {
    it(`of 2^${lg2} entries uses every one of them, and goes round`, () => {
      const g = noisy(lg2)
      const size = 2 ** lg2
      for (let i = 0; i < size; i++) event(g, i)
      expect([g.get32(0x100a8), slots(g, size)]).toEqual([size, Array.from({ length: size }, (_, i) => BigInt(i))])
      g.set32(0x100ac, size)
      event(g, 40)
      expect([g.get32(0x100a8) & (2 * size - 1), slots(g, 1)]).toEqual([(size + 1) % (2 * size), [40n]])
    })
  }

  it('of 2^19 entries writes its last one and goes round', () => {
    const g = new Guest({ cr0: 0 })
    const base = 0x8000_0000n
    g.set64(0xa0, base | 19n)
    g.set32(0x100a8, 0x7ffff)
    g.set32(0x100ac, 0x7ffff)
    g.set32(0x20, 0b0101)
    event(g, 1)
    event(g, 2)
    expect(g.get32(0x100a8)).toBe(0x8_0001)
    expect([g.load(base + 0x7ffffn * 32n), g.load(base)]).toEqual([0x1_0000_0004n, 0x2_0000_0004n])
  })

  it('that is full drops what comes, and says so once by the toggle of OVFLG', () => {
    const g = noisy(1)
    for (let i = 0; i < 5; i++) event(g, i)
    expect([g.get32(0x100a8), slots(g, 2)]).toEqual([0x8000_0002, [0n, 1n]])
    event(g, 5)
    expect(g.get32(0x100a8)).toBe(0x8000_0002)
  })

  it('goes on when there is room again, although its overflow is not acknowledged', () => {
    const g = noisy(1)
    for (let i = 0; i < 3; i++) event(g, i)
    g.set32(0x100ac, 1)
    event(g, 7)
    expect([g.get32(0x100a8), slots(g, 2)]).toEqual([0x8000_0003, [7n, 1n]])
    event(g, 8)
    expect(g.get32(0x100a8)).toBe(0x8000_0003)
  })

  it('toggles OVFLG again after the acknowledgement', () => {
    const g = noisy(1)
    for (let i = 0; i < 3; i++) event(g, i)
    g.set32(0x100ac, 0x8000_0000)
    event(g, 3)
    expect(g.get32(0x100a8)).toBe(0x0000_0002)
    g.set32(0x100ac, 0x0000_0000)
    event(g, 4)
    expect(g.get32(0x100a8)).toBe(0x8000_0002)
  })

  it('that is off drops what comes and does not overflow', () => {
    const g = new Guest({ cr0: 0b1001 })
    event(g, 1)
    expect(g.get32(0x100a8)).toBe(0)
  })

  it('whose memory aborts is EVENTQ_ABT_ERR: no overflow, no index', () => {
    const g = new Guest({ cr0: 0b1000 })
    g.set64(0xa0, RAM | 2n)
    g.set32(0x20, 0b1101)
    for (let i = 0; i < 6; i++) event(g, i)
    expect([g.get32(0x100a8), g.get32(0x60)]).toEqual([0, 1 << 2])
  })

  it('that is full is no EVENTQ_ABT_ERR', () => {
    const g = noisy(0)
    event(g, 1)
    event(g, 2)
    expect(g.get32(0x60)).toBe(0)
  })

  it('is at most as long as EVENTQS says', () => {
    const g = new Guest({ eventLg2: 10, deny: { IDR1: 0x1f << 16 }, offer: { IDR1: 1 << 16 } })
    for (let i = 0; i < 3; i++) event(g, i)
    expect(g.get32(0x100a8) >>> 31).toBe(1)
  })

  it('is aligned to its size, or to 32 bytes', () => {
    const g = new Guest({ cr0: 0 })
    g.set64(0xa0, EVENTS | 0xfe0n | 7n)
    g.set32(0x20, 0b0101)
    event(g, 3)
    expect(g.load(EVENTS)).toBe(0x3_0000_0004n)
  })

  it('writes nowhere else when its indices make no sense', () => {
    const g = new Guest({ cr0: 0, eventLg2: 1 })
    g.set32(0x100a8, 0)
    g.set32(0x100ac, 1)
    g.set32(0x20, 0b0101)
    for (let i = 0; i < 8; i++) event(g, 9)
    expect([g.load(EVENTS + 64n), g.load(EVENTS - 32n), g.load(EVENTS - 8n)]).toEqual([0n, 0n, 0n])
  })
})
