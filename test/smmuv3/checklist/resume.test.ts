/** How a stall ends, and how many there may be. [SMMU 4.7 Fault response and synchronization commands] */

import { describe, expect, it } from 'vitest'
import { hex, SID, VA } from './guest.js'
import { ABORT, NOWHERE, RAZ_WI, RETRY, S, STALL_TERM, sid, stag, stall, stalling, world } from './stalled.js'
import { PAGE, World } from './tables.js'

const S1 = 0b101

describe('CMD_RESUME [SMMU 4.7.1]', () => {
  it('retries a transaction as if it had just come', () => {
    const w = world()
    const tag = stall(w)
    w.one.set(NOWHERE, 3, w.page | PAGE)
    w.command(RETRY, stag(w), 0x46n, 0n)
    expect([w.ended.get(tag), w.events()]).toEqual([hex(w.page), []])
  })

  it('retries it into a new stall with a new record, under the same name for its device', () => {
    const w = world()
    const tag = stall(w)
    w.command(RETRY, stag(w), 0x46n, 0n)
    expect(w.ended.size).toBe(0)
    w.one.set(NOWHERE, 3, w.page | PAGE)
    w.command(RETRY, stag(w), 0x46n, 0n)
    expect([...w.ended]).toEqual([[tag, hex(w.page)]])
  })

  it('ignores Ab when it retries', () => {
    const w = world()
    const tag = stall(w)
    w.one.set(NOWHERE, 3, w.page | PAGE)
    w.command(RETRY | ABORT, stag(w), 0x46n, 0n)
    expect(w.ended.get(tag)).toBe(hex(w.page))
  })

  it('retries with the configuration of then', () => {
    const w = world()
    const tag = stall(w)
    w.ste[0] = 1n
    w.apply()
    w.command(RETRY, stag(w), 0x46n, 0n)
    expect([w.ended.get(tag), w.events()]).toEqual(['abort', []])
  })

  it('aborts, or completes as read-as-zero', () => {
    const w = world()
    const one = stall(w)
    w.command(ABORT, stag(w), 0x46n, 0n)
    const two = stall(w, NOWHERE, { write: true })
    w.command(RAZ_WI, stag(w), 0x46n, 0n)
    expect([w.ended.get(one), w.ended.get(two), w.events()]).toEqual(['abort', 'raz/wi', []])
  })

  it('aborts where the unit can do nothing else', () => {
    const w = new World(S1, {
      ...stalling(),
      offer: { IDR0: 1 << 26, IDR5: 16 << 16 },
      deny: { IDR0: 3 << 24, IDR5: -65536 },
    })
    w.cd[0] |= S
    w.apply()
    const tag = stall(w)
    w.command(RAZ_WI, stag(w), 0x46n, 0n)
    expect(w.ended.get(tag)).toBe('abort')
  })

  it('with another StreamID, or a STAG that nobody has, does nothing', () => {
    const w = world()
    const tag = stall(w)
    const held = stag(w)
    w.command(0x2044n | sid(SID + 1), held, ABORT, held ^ 1n, ABORT, held ^ 0x8000n, 0x46n, 0n)
    expect([w.ended.size, w.get32(0x60)]).toEqual([0, 0])
    w.command(ABORT, held, 0x46n, 0n)
    expect(w.ended.get(tag)).toBe('abort')
    w.command(ABORT, held, 0x46n, 0n)
    expect([w.ended.size, w.get32(0x60)]).toEqual([1, 0])
  })

  it('takes stalls in any order', () => {
    const w = world()
    const tags = [0n, 1n, 2n].map((i) => stall(w, NOWHERE + i * 0x1000n))
    const stags = w.events().map((record) => BigInt(`0x${record.split(' ')[1]}`) & 0xffffn)
    expect(new Set(stags).size).toBe(3)
    w.command(ABORT, stags[1])
    expect([...w.ended.keys()]).toEqual([tags[1]])
    w.command(RAZ_WI, stags[2], ABORT, stags[0], 0x46n, 0n)
    expect([...w.ended]).toEqual([
      [tags[1], 'abort'],
      [tags[2], 'raz/wi'],
      [tags[0], 'abort'],
    ])
  })

  it('is CERROR_ILL where nothing stalls, and so is CMD_STALL_TERM', () => {
    for (const opcode of [0x44n, 0x45n]) {
      const w = new World(S1, { deny: { IDR0: 3 << 24, IDR5: -65536 }, offer: { IDR0: 1 << 24 } })
      const at = w.get32(0x9c)
      w.command(opcode | sid(SID), 0n)
      expect([w.get32(0x9c), w.get32(0x60)]).toEqual([0x0100_0000 | at, 1])
    }
  })

  it('with SSec is CERROR_ILL', () => {
    const w = world()
    w.command(RETRY | (1n << 10n), 0n)
    expect(w.get32(0x60)).toBe(1)
  })
})

describe('CMD_STALL_TERM [SMMU 4.7.2]', () => {
  it('aborts what its stream has, and nothing else', () => {
    const w = world()
    w.storeSte(0x11, ...w.ste)
    const tags = [stall(w), stall(w, NOWHERE + 0x1000n), stall(w, NOWHERE, { sid: 0x11 })]
    w.command(STALL_TERM, 0n, 0x46n, 0n)
    expect([...w.ended].sort()).toEqual([
      [tags[0], 'abort'],
      [tags[1], 'abort'],
    ])
    w.command(0x45n | sid(0x11), 0n)
    expect(w.ended.get(tags[2])).toBe('abort')
  })

  it('frees the STAGs: a CMD_RESUME for one does nothing', () => {
    const w = world(1)
    stall(w)
    const held = stag(w)
    w.command(STALL_TERM, 0n, ABORT, held, 0x46n, 0n)
    expect(w.ended.size).toBe(1)
    stall(w)
    expect(w.events().length).toBe(1)
  })
})

describe('SMMUEN', () => {
  it('going off aborts every stalled transaction and frees its STAG', () => {
    const w = world()
    const tags = [stall(w), stall(w, NOWHERE + 0x1000n)]
    const [held] = w.events().map((record) => BigInt(`0x${record.split(' ')[1]}`) & 0xffffn)
    w.set32(0x20, 0b1100)
    expect([...w.ended].sort()).toEqual(tags.map((tag) => [tag, 'abort']))
    w.set32(0x20, 0b1101)
    w.command(ABORT, held)
    expect(w.ended.size).toBe(2)
  })
})

describe('STAGs', () => {
  it('are used again only after their stall has ended', () => {
    const w = world(3)
    const open = new Map<bigint, number>()
    for (let i = 0; i < 40; i++) {
      const tag = stall(w, NOWHERE + BigInt(i) * 0x1000n)
      const held = stag(w)
      expect(open.has(held)).toBe(false)
      open.set(held, tag)
      if (open.size === 3) {
        const [first, itsTag] = [...open][i % 3]
        w.command(ABORT, first)
        expect(w.ended.get(itsTag)).toBe('abort')
        open.delete(first)
      }
    }
    expect(w.ended.size).toBe(38)
  })
})

describe('IDR5.STALL_MAX', () => {
  it('is how many are recorded; what comes then is held back until one ends', () => {
    const w = world(2)
    const tags = [0n, 1n, 2n].map((i) => stall(w, NOWHERE + i * 0x1000n))
    const records = w.events()
    expect(records.length).toBe(2)
    w.command(ABORT, BigInt(`0x${records[0].split(' ')[1]}`) & 0xffffn, 0x46n, 0n)
    expect([...w.ended.keys()]).toEqual([tags[0]])
    const [third] = w.events()
    expect(third.split(' ')[2]).toBe((NOWHERE + 0x2000n).toString(16))
  })

  it('does not hold back what would not stall', () => {
    const w = world(1)
    stall(w)
    expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
  })
})
