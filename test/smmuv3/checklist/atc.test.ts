/** Translations that devices keep, and how they are told to forget them. [SMMU 4.5.1 CMD_ATC_INV] */

import { describe, expect, it } from 'vitest'
import { COMMANDS, Guest, type GuestOptions } from './guest.js'

const ATS: GuestOptions = { offer: { IDR0: 1 << 10 } }
const guest = (more: GuestOptions = {}): Guest => new Guest({ ...ATS, ...more })

const SYNC = 0x46n
const INV = 0x0000_0010_0000_0040n
const ssid = (n: bigint): bigint => (n << 12n) | (1n << 11n)
const G = 1n << 9n

describe('CMD_ATC_INV', () => {
  it('tells the device of the span, aligned to its size', () => {
    for (let size = 0n; size <= 52n; size++) {
      const g = guest()
      const address = 0x1234_5678_9abc_d000n
      g.command(INV, address | size, SYNC, 0n)
      const span = size === 52n ? 0n : (address >> (12n + size)) << (12n + size)
      expect(g.told).toEqual([`forget 16 - 0x${span.toString(16)} ${12n + size}`])
      expect([g.get32(0x9c), g.get32(0x60)]).toEqual([2, 0])
    }
  })

  it('of a size beyond everything is CERROR_ILL', () => {
    for (const size of [53n, 63n]) {
      const g = guest()
      g.command(INV, size)
      expect([g.get32(0x9c), g.told]).toEqual([0x0100_0000, []])
    }
  })

  it('has the PASID with SSV alone, and G with SSV alone', () => {
    const g = guest()
    g.command(
      INV | ssid(5n),
      0x1000n,
      INV | (5n << 12n),
      0x1000n,
      INV | ssid(5n) | G,
      0x1000n,
      INV | G,
      0x1000n,
      SYNC,
      0n,
    )
    expect(g.told).toEqual([
      'forget 16 5 0x1000 12',
      'forget 16 - 0x1000 12',
      'forget 16 5* 0x1000 12',
      'forget 16 - 0x1000 12',
    ])
  })

  it('is ignored while the unit is off', () => {
    const g = guest({ cr0: 0b1100 })
    g.command(INV, 0x34n, SYNC, 0n)
    expect([g.told, g.get32(0x9c), g.get32(0x60)]).toEqual([[], 2, 0])
  })

  it('is CERROR_ILL without ATS, also while the unit is off', () => {
    for (const cr0 of [0b1100, 0b1101]) {
      const g = new Guest({ deny: { IDR0: 1 << 10 }, cr0 })
      g.command(INV, 0x34n)
      expect([g.get32(0x9c), g.get32(0x60)]).toEqual([0x0100_0000, 1])
    }
  })

  it('has no SSec: the bit is reserved', () => {
    const g = guest()
    g.command(INV | (1n << 10n), 0x34n)
    expect([g.get32(0x9c), g.told.length]).toEqual([1, 1])
  })
})

describe('CMD_SYNC after CMD_ATC_INV', () => {
  /** A guest whose devices answer later. */
  const slow = (): Guest => {
    const g = guest()
    g.answersAtOnce = false
    return g
  }
  const ats = (g: Guest): NonNullable<Guest['unit']['ats']> => {
    if (g.unit.ats === null) throw new Error('no ATS')
    return g.unit.ats
  }

  it('waits until every device has answered, and nothing behind it is taken', () => {
    const g = slow()
    g.command(INV, 0x34n, INV, 0x1000n, 0x1046n, 0n, 0x1046n, 0n)
    expect([g.told.length, g.get32(0x9c), g.interrupts]).toEqual([2, 2, []])
    expect(ats(g).completed(g.invalidations[1])).toBe(true)
    g.settle()
    expect([g.get32(0x9c), g.interrupts]).toEqual([2, []])
    expect(ats(g).completed(g.invalidations[0])).toBe(true)
    g.settle()
    expect([g.get32(0x9c), g.interrupts]).toEqual([4, ['cmdq-sync', 'cmdq-sync']])
  })

  it('is what waits: other commands go on', () => {
    const g = slow()
    g.storeSte(0x10, 9n)
    g.read(0x1000n)
    g.storeSte(0x10, 1n)
    g.command(INV, 0x34n, 0x03n | (0x10n << 32n), 1n)
    expect([g.get32(0x9c), g.read(0x1000n)]).toEqual([2, 'abort'])
  })

  it('is CERROR_ATC_INV_SYNC when a device does not answer in time, and goes on when that is acknowledged', () => {
    const g = slow()
    g.command(SYNC, 0n, INV, 0x34n, 0x1046n, 0n)
    expect(ats(g).timedOut(g.invalidations[0])).toBe(true)
    g.settle()
    expect([g.get32(0x9c), g.get32(0x60), g.interrupts]).toEqual([0x0300_0002, 1, ['gerror']])
    g.set32(0x64, 1)
    expect([g.get32(0x9c) & 0xfffff, g.interrupts]).toEqual([3, ['gerror', 'cmdq-sync']])
  })

  it('hears of a time-out that came before it', () => {
    const g = slow()
    g.command(INV, 0x34n)
    ats(g).timedOut(g.invalidations[0])
    g.settle()
    expect(g.get32(0x60)).toBe(0)
    g.command(SYNC, 0n)
    expect([g.get32(0x9c), g.get32(0x60)]).toEqual([0x0300_0001, 1])
  })

  it('waits for the others before it tells of a time-out', () => {
    const g = slow()
    g.command(INV, 0x34n, INV, 0x34n, SYNC, 0n)
    ats(g).timedOut(g.invalidations[0])
    g.settle()
    ats(g).completed(g.invalidations[1])
    g.settle()
    expect([g.get32(0x9c), g.get32(0x60)]).toEqual([0x0300_0002, 1])
  })

  it('does not wait for an invalidation behind it', () => {
    const g = slow()
    g.command(SYNC, 0n, INV, 0x34n)
    expect(g.get32(0x9c)).toBe(2)
  })

  it('has nobody answer twice, nor for what nobody asked', () => {
    const g = slow()
    g.command(INV, 0x34n)
    expect(ats(g).completed(g.invalidations[0] + 1)).toBe(false)
    expect(ats(g).completed(g.invalidations[0])).toBe(true)
    expect(ats(g).completed(g.invalidations[0])).toBe(false)
    expect(ats(g).timedOut(g.invalidations[0])).toBe(false)
  })

  it('goes round the queue while it waits', () => {
    const g = new Guest({ ...ATS, commandLg2: 1 })
    g.answersAtOnce = false
    g.command(INV, 0x34n, 0x1046n, 0n)
    expect(g.get32(0x9c)).toBe(1)
    g.store(COMMANDS, SYNC, 0n)
    ats(g).completed(g.invalidations[0])
    g.settle()
    g.command(SYNC, 0n)
    expect([g.get32(0x9c), g.interrupts]).toEqual([3, ['cmdq-sync']])
  })
})
