/** Page requests, their queue, and how they are answered. [SMMU 8 Page request queue] */

import { describe, expect, it } from 'vitest'
import { Guest, type GuestOptions, hex, PAGE_REQUESTS, RAM, VA } from './guest.js'

const PRI: GuestOptions = { offer: { IDR0: (1 << 10) | (1 << 16) } }

/** A guest with PRI on, and a queue of 2^lg2 entries. */
function guest(lg2 = 5, more: GuestOptions = {}): Guest {
  const g = new Guest({
    deny: { IDR1: 0x1f << 11 },
    cr0: 0b1100,
    ...more,
    offer: { ...PRI.offer, IDR1: 19 << 11, ...more.offer },
  })
  g.set64(0xc0, PAGE_REQUESTS | BigInt(lg2))
  g.set32(0x20, more.cr0 ?? 0b1111)
  return g
}

const PROD = 0x100c8
const CONS = 0x100cc

/** The words of an entry. */
const entry = (g: Guest, slot = 0): string =>
  `${g.load(PAGE_REQUESTS + BigInt(slot) * 16n).toString(16)} ${g.load(PAGE_REQUESTS + BigInt(slot) * 16n + 8n).toString(16)}`

describe('a page request', () => {
  it('is an entry of two words', () => {
    const g = guest()
    g.requestPage(VA, 'rw', { ssid: 5, group: 3 })
    expect([entry(g), g.get32(PROD)]).toEqual(['f000000500000010 123456789003', 1])
    expect(g.told).toEqual([])
  })

  it('has a bit for each thing that it says', () => {
    const g = guest()
    g.requestPage(0x1000n, 'r', { isLast: false })
    g.requestPage(0x1000n, 'w', { isLast: false, group: 0x1ff })
    g.requestPage(0x1000n, 'rx', { ssid: 0xfffff, isLast: false })
    g.requestPage(0xffff_ffff_ffff_f000n, 'r', { ssid: 1, priv: true, sid: 0xffff_ffff })
    expect([0, 1, 2, 3].map((slot) => entry(g, slot))).toEqual([
      '1000000000000010 1000',
      '2000000000000010 11ff',
      '980fffff00000010 1000',
      'd4000001ffffffff fffffffffffff000',
    ])
  })

  it('without a PASID has neither privilege nor execution', () => {
    const g = guest()
    g.requestPage(0x1000n, 'rx', { priv: true })
    expect(entry(g)).toBe('5000000000000010 1000')
  })

  it('that asks for nothing and is the last is a stop marker', () => {
    const g = guest()
    g.requestPage(0n, '', { ssid: 5, group: 7 })
    expect(entry(g)).toBe('c000000500000010 7')
  })

  it('is taken whatever EATS and ATSCHK say', () => {
    const g = guest(5, { cr0: 0b1_1111 })
    g.requestPage(0x1000n, 'r')
    expect([g.get32(PROD), g.told]).toEqual([1, []])
  })
})

describe('its interrupt', () => {
  it('comes when the queue is no longer empty, with LO 0', () => {
    const g = guest()
    g.requestPage(0x1000n, 'r', { isLast: false })
    g.requestPage(0x2000n, 'r')
    expect(g.interrupts).toEqual(['priq'])
    g.set32(CONS, 2)
    g.requestPage(0x3000n, 'r', { isLast: false })
    expect(g.interrupts).toEqual(['priq', 'priq'])
  })

  it('comes with each last request of a group, with LO 1, also one that overflow discards', () => {
    const g = guest(1, { irq: 0 })
    g.set32(0xdc, 0x8000_0000)
    g.set32(0x50, 0b010)
    g.requestPage(0x1000n, 'r', { isLast: false })
    expect(g.interrupts).toEqual([])
    g.requestPage(0x2000n, 'r')
    expect(g.interrupts).toEqual(['priq'])
    g.requestPage(0x3000n, 'r')
    expect(g.interrupts).toEqual(['priq', 'priq'])
  })

  it('may be a message', () => {
    const g = guest(5, { irq: 0 })
    g.set64(0xd0, 0x5000_0000n)
    g.set32(0xd8, 0x77)
    g.set32(0x50, 0b010)
    g.requestPage(0x1000n, 'r')
    expect(g.load(0x5000_0000n)).toBe(0x77n)
  })

  it('whose message aborts is MSI_PRIQ_ABT_ERR', () => {
    const g = guest(5, { irq: 0 })
    g.set64(0xd0, 0x2_0000_0000n)
    g.set32(0x50, 0b010)
    g.requestPage(0x1000n, 'r')
    expect(g.get32(0x60)).toBe(1 << 6)
  })
})

describe('CMD_PRI_RESP', () => {
  const RESP = 0x0000_0010_0000_0041n
  it('answers a group with one of three codes', () => {
    const g = guest()
    g.command(RESP | (5n << 12n) | (1n << 11n), 0x2003n, RESP, 0x1004n, RESP, 0x0005n)
    expect(g.told).toEqual(['pages 16 5 3 0', 'pages 16 -1 4 1', 'pages 16 -1 5 15'])
  })

  it('with a fourth is CERROR_ILL: Resp is bits 13:12', () => {
    const g = guest()
    g.command(RESP, 0x3000n)
    expect([g.get32(0x9c), g.told]).toEqual([0x0100_0000, []])
  })

  it('is ignored while the unit is off, and CERROR_ILL without PRI', () => {
    const g = guest(5, { cr0: 0b1100 })
    g.command(RESP, 0x2000n)
    expect([g.told, g.get32(0x9c)]).toEqual([[], 1])
    const none = new Guest({ deny: { IDR0: 1 << 16 } })
    none.command(RESP, 0x2000n)
    expect(none.get32(0x9c)).toBe(0x0100_0000)
  })
})

describe('a full queue', () => {
  it('says so in OVFLG, answers the last request of a group with success and drops the others', () => {
    const g = guest(1)
    for (let i = 0; i < 2; i++) g.requestPage(0x1000n, 'r', { group: i })
    g.requestPage(0x1000n, 'r', { group: 2, isLast: false })
    expect([g.get32(PROD), g.told]).toEqual([0x8000_0002, []])
    g.requestPage(0x1000n, 'r', { group: 3 })
    expect([g.get32(PROD), g.told]).toEqual([0x8000_0002, ['pages 16 -1 3 0']])
  })

  it('drops a stop marker without an answer', () => {
    const g = guest(0)
    g.requestPage(0x1000n, 'r')
    g.requestPage(0n, '', { ssid: 5 })
    expect([g.get32(PROD) >>> 31, g.told]).toEqual([1, []])
  })

  it('takes nothing until its overflow is acknowledged, although there is room', () => {
    const g = guest(1)
    for (let i = 0; i < 3; i++) g.requestPage(0x1000n, 'r', { group: i })
    g.set32(CONS, 2)
    g.requestPage(0x2000n, 'r', { group: 8 })
    expect([g.get32(PROD), g.told]).toEqual([0x8000_0002, ['pages 16 -1 2 0', 'pages 16 -1 8 0']])
    g.set32(CONS, 0x8000_0002)
    g.requestPage(0x3000n, 'r', { group: 9 })
    expect([g.get32(PROD), entry(g, 0)]).toEqual([0x8000_0003, '5000000000000010 3009'])
  })

  it('toggles OVFLG back the next time', () => {
    const g = guest(0)
    g.requestPage(0x1000n, 'r')
    g.requestPage(0x1000n, 'r')
    g.set32(CONS, 0x8000_0000)
    g.requestPage(0x1000n, 'r')
    expect(g.get32(PROD)).toBe(1)
  })

  /** The answer to a request with PASID 5 that overflow discards. */
  function answer(more: GuestOptions, ...ste: bigint[]): string[] {
    const g = guest(0, more)
    g.storeSte(0x10, ...ste)
    g.requestPage(0x1000n, 'r', { ssid: 5 })
    g.requestPage(0x1000n, 'r', { ssid: 5, group: 1 })
    expect(g.events()).toEqual([])
    return g.told
  }

  it('answers with the PASID of the request where IDR3.PPS says so', () => {
    expect(answer({ offer: { IDR3: 1 << 5 } })).toEqual(['pages 16 5 1 0'])
  })

  it('answers with it as STE.PPAR says where it does not', () => {
    const asks: GuestOptions = { deny: { IDR3: 1 << 5, IDR1: 0x1f << 11 } }
    expect(answer(asks, 9n, 1n << 18n)).toEqual(['pages 16 5 1 0'])
    expect(answer(asks, 9n, 0n)).toEqual(['pages 16 -1 1 0'])
    expect(answer(asks, 0n, 1n << 18n)).toEqual(['pages 16 -1 1 15'])
  })

  it('answers with failure and without PASID where no STE can be read', () => {
    const g = guest(0, { deny: { IDR3: 1 << 5, IDR1: 0x1f << 11 } })
    g.requestPage(0x1000n, 'r', { sid: 64, ssid: 5 })
    g.requestPage(0x1000n, 'r', { sid: 64, ssid: 5, group: 1 })
    expect([g.told, g.events()]).toEqual([['pages 64 -1 1 15'], []])
  })
})

describe('a queue that is off', () => {
  it('has every request answered with failure, last or not, without PASID', () => {
    for (const cr0 of [0b1101, 0b1110, 0b1100]) {
      const g = guest(5, { cr0 })
      g.requestPage(0x1000n, 'r', { ssid: 5, group: 3 })
      g.requestPage(0x1000n, 'r', { ssid: 5, group: 4, isLast: false })
      g.requestPage(0n, '', { ssid: 5 })
      expect([g.told[0], g.get32(PROD)], hex(BigInt(cr0))).toEqual(['pages 16 -1 3 15', 0])
      expect(g.told.length).toBe(2)
    }
  })

  it('is off while the unit is', () => {
    const g = guest()
    g.set32(0x20, 0b1110)
    g.requestPage(0x1000n, 'r')
    expect([g.told, g.get32(PROD)]).toEqual([['pages 16 -1 0 15'], 0])
  })
})

describe('a queue whose memory aborts', () => {
  it('is PRIQ_ABT_ERR, and requests are answered with failure until that is acknowledged', () => {
    const g = guest(5, { cr0: 0b1100 })
    g.set64(0xc0, RAM | 5n)
    g.set32(0x20, 0b1111)
    g.requestPage(0x1000n, 'r', { ssid: 5, group: 1 })
    expect([g.get32(0x60), g.get32(PROD), g.told]).toEqual([1 << 3, 0, ['pages 16 -1 1 15']])
    g.set32(0x20, 0b1101)
    g.set64(0xc0, PAGE_REQUESTS | 5n)
    g.set32(0x20, 0b1111)
    g.requestPage(0x1000n, 'r', { group: 2 })
    expect([g.get32(PROD), g.told[1]]).toEqual([0, 'pages 16 -1 2 15'])
    g.set32(0x64, 1 << 3)
    g.requestPage(0x1000n, 'r', { group: 3 })
    expect(g.get32(PROD)).toBe(1)
  })
})

describe('its registers', () => {
  it('are guarded by PRIQEN, and are there with PRI alone', () => {
    const g = guest(5, { cr0: 0b1100 })
    g.set64(0xc0, 0x4000_0000_1234_0007n)
    g.set32(PROD, 0x8000_0005)
    expect([g.get64(0xc0), g.get32(PROD)]).toEqual([0x4000_0000_1234_0007n, 0x8000_0005])
    g.set32(0x20, 0b1111)
    g.set64(0xc0, 0n)
    g.set32(PROD, 0)
    g.set32(CONS, 0x8000_0005)
    expect([g.get64(0xc0), g.get32(PROD), g.get32(CONS)]).toEqual([0x4000_0000_1234_0007n, 0x8000_0005, 0x8000_0005])
    const none = new Guest({ deny: { IDR0: 1 << 16 }, cr0: 0 })
    none.set64(0xc0, 0x1234_0005n)
    none.set32(0x20, 0b0010)
    expect([none.get64(0xc0), none.get32(0x20)]).toEqual([0n, 0])
  })

  it('hold an interrupt while it is enabled', () => {
    const g = guest(5, { irq: 0, cr0: 0b1100 })
    g.set64(0xd0, 0x5000_0000n)
    g.set32(0xd8, 7)
    g.set32(0xdc, 0x8000_003f)
    g.set32(0x50, 0b010)
    g.set64(0xd0, 0n)
    g.set32(0xd8, 0)
    g.set32(0xdc, 0)
    expect([g.get64(0xd0), g.get32(0xd8), g.get32(0xdc)]).toEqual([0x5000_0000n, 7, 0x8000_003f])
  })

  it('have an index that wraps at 2^19', () => {
    const g = guest(5, { cr0: 0b1100 })
    g.set64(0xc0, 0x8000_0000n | 19n)
    g.set32(PROD, 0x7ffff)
    g.set32(CONS, 0x7ffff)
    g.set32(0x20, 0b1111)
    g.requestPage(0x1000n, 'r')
    g.requestPage(0x2000n, 'r')
    expect(g.get32(PROD)).toBe(0x8_0001)
    expect([g.load(0x8000_0000n + 0x7ffffn * 16n + 8n), g.load(0x8000_0008n)]).toEqual([0x1000n, 0x2000n])
  })
})
