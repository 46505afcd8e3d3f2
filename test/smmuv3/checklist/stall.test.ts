/** Transactions that wait. [SMMU 3.12.2 Stall model] */

import { describe, expect, it } from 'vitest'
import { type GuestOptions, hex, SID, VA } from './guest.js'
import { GUEST, PAGE, World } from './tables.js'

const S1 = 0b101
const S2 = 0b110
const NESTED = 0b111

/** Stall or terminate, as a CD or STE says; as many at once as `most`. */
const stalling = (most = 16, more: GuestOptions = {}): GuestOptions => ({
  ...more,
  deny: { IDR0: (3 << 24) | (1 << 26), IDR5: -65536 },
  offer: { IDR5: most << 16 },
})

const NOWHERE = 0x7777_0000n
const S = 1n << 44n

/** A stream whose stage 1 faults stall. */
function world(most = 16, more: GuestOptions = {}): World {
  const w = new World(S1, stalling(most, more))
  w.cd[0] |= S
  return w.apply()
}

/** Holds a transaction and answers its tag. */
function stall(w: World, va = NOWHERE, how: { ssid?: number; sid?: number; write?: boolean } = {}): number {
  const ended = how.write === true ? w.write(va, how) : w.read(va, how)
  expect(ended).toBe('stalled')
  return w.outcome.tag
}

/** STAG of the next record in the queue, which is of a stall. */
function stag(w: World): bigint {
  const [record] = w.events()
  const word = BigInt(`0x${record.split(' ')[1]}`)
  expect(word & 0x8000_0000n).toBe(0x8000_0000n)
  return word & 0xffffn
}

const sid = (n: number): bigint => BigInt(n) << 32n
const RETRY = 0x1044n | sid(SID)
const ABORT = 0x2044n | sid(SID)
const RAZ_WI = 0x0044n | sid(SID)
const STALL_TERM = 0x45n | sid(SID)

describe('a fault that stalls', () => {
  it('is recorded with Stall and a STAG, and its device hears nothing', () => {
    const w = world()
    const tag = stall(w, (VA & ~0xfffn) ^ 0x1000n, { write: true })
    const [record] = w.events()
    const words = record.split(' ')
    expect([words[0], words[2], words[3]]).toEqual(['1000000010', '123456788000', '0'])
    expect(BigInt(`0x${words[1]}`) & ~0xffffn).toBe(0x200_8000_0000n)
    expect(w.ended.has(tag)).toBe(false)
  })

  it('is recorded whatever R and A say', () => {
    const w = world()
    w.cd[0] &= ~(3n << 45n)
    w.apply()
    stall(w)
    expect(w.events().length).toBe(1)
  })

  it('may be a translation, access flag or permission fault', () => {
    const w = world()
    w.one.set(0x1000n, 3, w.page | (PAGE & ~0x400n))
    w.one.set(0x2000n, 3, w.page | PAGE | 0x80n)
    w.one.set(0x3000n, 3, (1n << 47n) | PAGE)
    w.cd[0] = (w.cd[0] & ~(7n << 32n)) | (2n << 32n)
    w.apply()
    stall(w, 0x1000n)
    stall(w, 0x2000n, { write: true })
    stall(w, 0x3000n)
    expect(w.kinds()).toEqual(['0x12', '0x13', '0x11'])
  })

  it('is not one of a configuration, of an abort, nor of a bypass', () => {
    const w = world()
    w.cd[0] &= ~(1n << 31n)
    w.apply()
    expect(w.read(VA)).toBe('abort')
    w.cd[0] |= 1n << 31n
    w.cd[1] = 0x1_0000_0000n
    w.apply()
    expect(w.read(VA)).toBe('abort')
    expect(w.kinds()).toEqual(['0xa', '0xb'])
    const two = new World(S2, stalling())
    two.ste[2] |= 1n << 57n
    two.apply()
    expect([two.read(1n << 48n), two.kinds()]).toEqual(['abort', ['0x11']])
  })

  it('of stage 2 is S2S alone that decides, and of stage 1 CD.S', () => {
    const w = new World(NESTED, stalling())
    w.one.set(0x1000n, 3, 0x7_0000_0000n | PAGE)
    w.ste[2] = (w.ste[2] | (1n << 57n)) & ~(1n << 58n)
    w.apply()
    stall(w, 0x1000n)
    expect(w.read(NOWHERE)).toBe('abort')
    w.ste[2] &= ~(1n << 57n)
    w.cd[0] |= S
    w.apply()
    expect(w.read(0x1000n)).toBe('abort')
    stall(w, NOWHERE)
    expect(w.kinds()).toEqual(['0x10', '0x10', '0x10'])
  })

  it('of stage 2 on the way to a CD stalls too', () => {
    const w = new World(NESTED, stalling())
    w.ste[0] = 0x7_0000_0140n | 0xfn
    w.ste[2] |= 1n << 57n
    w.apply()
    const tag = stall(w, VA)
    w.two.set(0x7_0000_0000n, 1, 0x7fdn)
    w.store(0x140n, ...w.cd)
    w.forget()
    w.command(RETRY, stag(w))
    expect(w.ended.get(tag)).toBe(hex(w.page + 0xabcn))
  })

  it('is ILLEGAL where S1STALLD forbids it', () => {
    const w = world()
    w.ste[1] |= 1n << 27n
    w.apply()
    expect([w.read(VA), w.kinds()]).toEqual(['abort', ['0xa']])
  })

  it('may be forbidden to a stream that does not stall: S1STALLD alone says nothing', () => {
    const w = new World(S1, stalling())
    w.ste[1] |= 1n << 27n
    w.apply()
    expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
  })
})

describe('STALL_MODEL 2', () => {
  const forced: GuestOptions = {
    deny: { IDR0: (3 << 24) | (1 << 26), IDR5: -65536 },
    offer: { IDR0: 2 << 24, IDR5: 8 << 16 },
  }

  it('makes CD.S 0 and S2S 0 ILLEGAL', () => {
    expect(new World(S1, forced).read(VA)).toBe('abort')
    const w = new World(S2, forced)
    expect([w.read(GUEST), w.kinds()]).toEqual(['abort', ['0x4']])
    const one = new World(S1, forced)
    one.cd[0] |= S
    expect(one.apply().read(VA)).toBe(hex(one.page + 0xabcn))
  })

  it('makes S1STALLD ILLEGAL', () => {
    const w = new World(S1, forced)
    w.ste[1] |= 1n << 27n
    w.cd[0] |= S
    w.apply()
    expect([w.read(VA), w.kinds()]).toEqual(['abort', ['0x4']])
  })
})

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

describe('a stall while the event queue is full', () => {
  it('is not dropped and no overflow: it is recorded once there is room', () => {
    const w = world(16, { eventLg2: 1 })
    const tags = [0n, 1n, 2n, 3n].map((i) => stall(w, NOWHERE + i * 0x1000n))
    expect(w.get32(0x100a8)).toBe(2)
    const first = w.events()
    expect(first.map((record) => record.split(' ')[2])).toEqual(['77770000', '77771000'])
    const second = w.events()
    expect(second.map((record) => record.split(' ')[2])).toEqual(['77772000', '77773000'])
    expect(w.get32(0x100a8) >>> 31).toBe(0)
    for (const record of [...first, ...second]) w.command(ABORT, BigInt(`0x${record.split(' ')[1]}`) & 0xffffn)
    expect([...w.ended.keys()]).toEqual(tags)
  })

  it('is retried when translations were invalidated since: what it meets then counts', () => {
    const w = world(16, { eventLg2: 0 })
    stall(w)
    const tag = stall(w, NOWHERE + 0x1000n)
    w.one.set(NOWHERE + 0x1000n, 3, w.page | PAGE)
    w.forget()
    expect(w.events().length).toBe(1)
    expect(w.ended.get(tag)).toBe(hex(w.page))
    expect(w.events()).toEqual([])
  })

  it('waits while the queue is off', () => {
    const w = world()
    w.set32(0x20, 0b1001)
    stall(w)
    expect(w.get32(0x100a8)).toBe(0)
    w.set32(0x20, 0b1101)
    expect(w.events().length).toBe(1)
  })

  it('still ends with CMD_STALL_TERM', () => {
    const w = world(16, { eventLg2: 0 })
    const tags = [stall(w), stall(w, NOWHERE + 0x1000n)]
    w.storeSte(SID, 1n)
    w.command(0x03n | sid(SID), 1n, 0x46n, 0n, STALL_TERM, 0n, 0x46n, 0n)
    expect([...w.ended].sort()).toEqual(tags.map((tag) => [tag, 'abort']))
  })
})

describe('suppression of duplicates [SMMU 3.12.2.1]', () => {
  it('is off unless a unit is told to: each stall has its record', () => {
    const w = world()
    stall(w)
    stall(w)
    expect(w.events().length).toBe(2)
  })

  it('leaves out the record of a stall like one that waits, and retries it with that one', () => {
    const w = world(16, { suppressesStalls: true })
    const tags = [stall(w), stall(w, NOWHERE + 0x123n)]
    const other = stall(w, NOWHERE, { write: true })
    const records = w.events()
    expect(records.length).toBe(2)
    w.one.set(NOWHERE, 3, w.page | PAGE)
    w.command(RETRY, BigInt(`0x${records[0].split(' ')[1]}`) & 0xffffn, 0x46n, 0n)
    expect(tags.map((tag) => w.ended.get(tag))).toEqual([hex(w.page), hex(w.page + 0x123n)])
    expect(w.ended.has(other)).toBe(false)
  })

  it('records the second when the first is aborted', () => {
    const w = world(16, { suppressesStalls: true })
    const tags = [stall(w), stall(w)]
    w.command(ABORT, stag(w), 0x46n, 0n)
    expect([...w.ended.keys()]).toEqual([tags[0]])
    w.command(ABORT, stag(w), 0x46n, 0n)
    expect([...w.ended.keys()]).toEqual(tags)
  })
})
