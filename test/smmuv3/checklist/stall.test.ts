/** Transactions that wait. [SMMU 3.12.2 Stall model] */

import { describe, expect, it } from 'vitest'
import { type GuestOptions, hex, SID, VA } from './guest.js'
import { ABORT, NOWHERE, RETRY, S, STALL_TERM, sid, stag, stall, stalling, world } from './stalled.js'
import { GUEST, PAGE, World } from './tables.js'

const S1 = 0b101
const S2 = 0b110
const NESTED = 0b111

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
