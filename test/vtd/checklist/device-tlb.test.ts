/** Invalidations of device-TLBs: what devices are told, what waits for them, errors. [VTD 4.3, 6.5.2.5, 6.5.2.6] */

import { describe, expect, it } from 'vitest'
import { ECAP_48, hex, QUEUE, REG } from './guest.js'
import { World } from './world.js'

const DT = 1n << 2n
const DIT = 1n << 41n
const SLOT = 0x9000n
const WAIT = [0x2_0000_0025n, SLOT] as const

const unit = (ecap = ECAP_48 | DT): World => new World('first', { ecap }).go()

/** What one descriptor tells a device. */
function tells(low: bigint, high: bigint): string {
  const w = unit()
  w.queue(low, high)
  expect([w.get32(REG.FSTS), w.told.length]).toEqual([0n, 1])
  return w.told[0]
}

/** Descriptors for 00:02.1. */
const WITHOUT_PASID = 3n | (0x11n << 32n)
const WITH_PASID = 8n | (0x11n << 16n) | (5n << 32n)

describe('[VTD 4.2.3, 6.5.3.3] the range of a device-TLB invalidation', () => {
  it('is 4 KiB without S', () => {
    expect(tells(WITHOUT_PASID, 0x7fff_f000n)).toBe('forget 17 - 0x7ffff000 12')
    expect(tells(WITH_PASID, 0x7fff_f000n)).toBe('forget 17 5 0x7ffff000 12')
  })

  it('is told by the lowest 0 of the address with S', () => {
    for (let zero = 12n; zero < 63n; zero++) {
      const ones = (1n << zero) - 0x1000n
      const above = zero < 62n ? 1n << 62n : 0n
      const expected = `0x${above.toString(16)} ${zero + 1n}`
      expect(tells(WITHOUT_PASID, above | ones | 1n), `${zero}`).toBe(`forget 17 - ${expected}`)
      expect(tells(WITH_PASID, above | ones | 0x800n), `${zero}`).toBe(`forget 17 5 ${expected}`)
    }
  })

  it('is 8 KiB at 0 for the least of them, and everything for what Linux sends', () => {
    expect(tells(WITHOUT_PASID, 1n)).toBe('forget 17 - 0x0 13')
    expect(tells(WITHOUT_PASID, 0x7fff_ffff_ffff_f001n)).toBe('forget 17 - 0x0 64')
    expect(tells(WITH_PASID, 0x7fff_ffff_ffff_f800n)).toBe('forget 17 5 0x0 64')
  })

  it('is of every PASID with GI', () => {
    expect(tells(WITH_PASID, 0x7fff_ffff_ffff_f801n)).toMatch(/^forget 17 \d+\* 0x0 64$/)
  })
})

/** IQEI once one bit is set in a descriptor; 0 where it is valid. */
function verdict(ecap: bigint, base: readonly [bigint, bigint], word: 0 | 1, bit: bigint): number {
  const w = unit(ecap)
  const words: [bigint, bigint] = [...base]
  words[word] |= 1n << bit
  w.queue(...words)
  return (w.get32(REG.FSTS) & 0x10n) === 0n ? 0 : Number(w.get64(REG.IQERCD) & 15n)
}

/** Which of 64 bits are reserved; the type is left out. */
function reserved(ecap: bigint, base: readonly [bigint, bigint], word: 0 | 1): bigint {
  let found = 0n
  for (let bit = 0n; bit < 64n; bit++) {
    if (word === 0 && (0xe0fn >> bit) & 1n) continue
    const info = verdict(ecap, base, word, bit)
    if (info !== 0) expect(info).toBe(4)
    if (info !== 0) found |= 1n << bit
  }
  return found
}

describe('[VTD 6.5.2.5, 6.5.2.6] reserved bits', () => {
  it('of a device-TLB invalidation', () => {
    expect(reserved(ECAP_48 | DT, [3n, 0n], 0)).toBe(0xffff_0000_ffe0_f1f0n)
    expect(reserved(ECAP_48 | DT | DIT, [3n, 0n], 0)).toBe(0x000f_0000_ffe0_01f0n)
    expect(reserved(ECAP_48 | DT, [3n, 0n], 1)).toBe(0xffen)
  })

  it('of a PASID-based one', () => {
    expect(reserved(ECAP_48 | DT, [8n, 0n], 0)).toBe(0xfff0_0000_0000_f000n)
    expect(reserved(ECAP_48 | DT | DIT, [8n, 0n], 0)).toBe(0n)
    expect(reserved(ECAP_48 | DT, [8n, 0n], 1)).toBe(0x7fen)
  })

  it('are not asked in a unit without device-TLBs: there is no such type', () => {
    for (const type of [3n, 8n]) expect(verdict(ECAP_48, [type, 0n], 0, 63n)).toBe(3)
  })
})

/** A unit whose devices answer later. */
function slow(): World {
  const w = unit()
  w.answersAtOnce = false
  return w
}

const answer = (w: World, index: number): boolean => w.unit.ats?.completed(w.invalidations[index]) ?? false
const timeout = (w: World, index: number): boolean => w.unit.ats?.timedOut(w.invalidations[index]) ?? false

describe('[VTD 6.5.2.12] a wait behind device-TLB invalidations', () => {
  it('is complete at once where devices answer at once', () => {
    const w = unit()
    w.queue(WITHOUT_PASID, 0n, ...WAIT)
    expect([w.load(SLOT), w.get64(REG.IQH)]).toEqual([2n, 0x40n])
  })

  it('is complete once all of them have been answered, in whatever order', () => {
    const w = slow()
    w.queue(WITHOUT_PASID, 0n, WITH_PASID, 0x1000n, ...WAIT)
    expect([w.told.length, w.load(SLOT)]).toEqual([2, 0n])
    expect([answer(w, 1), w.load(SLOT)]).toEqual([true, 0n])
    expect([answer(w, 0)]).toEqual([true])
    w.settle()
    expect([w.load(SLOT), w.get32(REG.FSTS)]).toEqual([2n, 0n])
  })

  it('holds later waits up too', () => {
    const w = slow()
    w.queue(WITHOUT_PASID, 0n, ...WAIT, 0x3_0000_0025n, SLOT + 8n)
    expect([w.load(SLOT), w.load(SLOT + 8n)]).toEqual([0n, 0n])
    answer(w, 0)
    w.settle()
    expect([w.load(SLOT), w.load(SLOT + 8n), w.get64(REG.IQH)]).toEqual([2n, 3n, 0x60n])
  })
})

describe('[VTD 4.3, 6.5.2.11] a device-TLB invalidation', () => {
  it('waits in the queue while no tag is free, and what is behind it too', () => {
    const w = slow()
    const many = Array.from({ length: 100 }, (_, i) => [WITHOUT_PASID, BigInt(i) << 12n])
    w.queue(...many.flat(), ...WAIT)
    expect([w.told.length < 100, w.load(SLOT)]).toEqual([true, 0n])
    for (let answered = 0; answered < 100; answered++) {
      expect([w.load(SLOT), w.told.length > answered]).toEqual([0n, true])
      answer(w, answered)
      w.settle()
    }
    expect(w.told).toEqual(many.map(([, page]) => `forget 17 - ${hex(page)} 12`))
    expect([w.load(SLOT), w.get64(REG.IQH), w.get32(REG.FSTS)]).toEqual([2n, w.get64(REG.IQT), 0n])
  })

  it('that times out is ITE with its source-id; the wait behind it is aborted', () => {
    const w = slow()
    w.queue(WITHOUT_PASID, 0n, ...WAIT)
    timeout(w, 0)
    w.settle()
    expect([w.get32(REG.FSTS), (w.get64(REG.IQERCD) >> 32n) & 0xffffn, w.load(SLOT)]).toEqual([0x40n, 0x11n, 0n])
  })

  it('that times out holds the queue until ITE is cleared; the aborted wait is never written', () => {
    const w = slow()
    w.queue(WITHOUT_PASID, 0n, ...WAIT)
    timeout(w, 0)
    w.queue(0x3_0000_0025n, SLOT + 8n)
    expect(w.load(SLOT + 8n)).toBe(0n)
    w.set32(REG.FSTS, 0x40n)
    expect([w.get32(REG.FSTS), w.load(SLOT), w.load(SLOT + 8n)]).toEqual([0n, 0n, 3n])
  })

  it('that times out second leaves the source-id of the first', () => {
    const w = slow()
    w.queue(WITHOUT_PASID, 0n, 3n | (0x22n << 32n), 0n, ...WAIT)
    timeout(w, 0)
    timeout(w, 1)
    expect((w.get64(REG.IQERCD) >> 32n) & 0xffffn).toBe(0x11n)
  })

  it('that times out is one fault event', () => {
    const w = slow()
    w.set32(REG.FEADDR, 0xfee0_0000n)
    w.set32(REG.FECTL, 0n)
    w.queue(WITHOUT_PASID, 0n, ...WAIT)
    timeout(w, 0)
    w.settle()
    expect(w.messages).toEqual(['0xfee00000 0x0'])
  })

  it('whose answer nobody waits for is ICE; the queue goes on', () => {
    const w = slow()
    w.queue(WITHOUT_PASID, 0n)
    answer(w, 0)
    expect(answer(w, 0)).toBe(false)
    expect(w.get32(REG.FSTS)).toBe(0x20n)
    w.queue(...WAIT)
    expect(w.load(SLOT)).toBe(2n)
    w.set32(REG.FSTS, 0x20n)
    expect(w.get32(REG.FSTS)).toBe(0n)
  })

  it('is retried as Linux does after ITE', () => {
    const w = slow()
    w.queue(WITHOUT_PASID, 0n, ...WAIT)
    timeout(w, 0)
    w.set32(REG.FSTS, 0x40n)
    w.answersAtOnce = true
    w.queue(WITHOUT_PASID, 0n, 0x5_0000_0025n, SLOT)
    expect([w.load(SLOT), w.get32(REG.FSTS), w.get64(REG.IQH)]).toEqual([5n, 0n, w.get64(REG.IQT)])
  })

  it('that is not the cause leaves an invalid descriptor where it is', () => {
    const w = slow()
    w.queue(WITHOUT_PASID, 0n, 0xfn, 0n)
    expect([w.get32(REG.FSTS), w.get64(REG.IQH)]).toEqual([0x10n, 0x20n])
    w.store(QUEUE + 0x20n, 0x45n)
    timeout(w, 0)
    expect(w.get32(REG.FSTS)).toBe(0x50n)
  })
})
