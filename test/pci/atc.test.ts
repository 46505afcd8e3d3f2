import { describe, expect, it } from 'vitest'
import { Atc } from '../../hw-model/pci/atc.js'
import { ACCESS, AtcInvalidation, NO_PASID, Outcome } from '../../hw-model/port.js'

const { READ, WRITE } = ACCESS

/** Keeps a translation of `va` for a PASID. */
function grant(
  atc: Atc,
  va: bigint,
  address: number,
  { pasid = NO_PASID, priv = false, lg2 = 12, rights = READ as number } = {},
) {
  const outcome = Object.assign(new Outcome(), { address, leafLg2: lg2, rights })
  atc.fill(pasid, priv, Number(va & 0xffffffffn), Number(va >> 32n), outcome)
}

/** What is kept for an address: `address rights size`, or nothing. */
function found(atc: Atc, va: bigint, pasid: number = NO_PASID, priv = false): string {
  const isThere = atc.find(pasid, priv, Number(va & 0xffffffffn), Number(va >> 32n))
  return isThere ? `${atc.address.toString(16)} ${atc.rights} ${atc.leafLg2}` : 'nothing'
}

const forget = (atc: Atc, fields: Partial<AtcInvalidation>): void =>
  atc.invalidate(Object.assign(new AtcInvalidation(), fields))

const VA = 0xffff_8000_1234_5000n

describe('an address translation cache', () => {
  it('finds an address by its PASID, the privilege and the page', () => {
    const atc = new Atc()
    grant(atc, VA + 0xabcn, 0x9000_0abc, { pasid: 5, rights: READ | WRITE })
    expect(found(atc, VA + 0x123n, 5)).toBe('90000123 3 12')
    const others = [found(atc, VA, 6), found(atc, VA), found(atc, VA, 5, true), found(atc, VA + 0x1000n, 5)]
    expect(others).toEqual(Array(4).fill('nothing'))
    expect([atc.hits, atc.misses, atc.fills]).toEqual([1, 4, 1])
  })

  it.each([21, 30, 36, 39, 42])('finds every address of a leaf of 2^%i bytes', (lg2) => {
    const atc = new Atc()
    const size = 1n << BigInt(lg2)
    const [first, frame] = [VA - (VA % size), 5n * size]
    grant(atc, VA, Number(frame + (VA - first)), { lg2 })
    for (const offset of [0n, 0x123n, size / 2n + 0x1000n, size - 1n]) {
      expect(found(atc, first + offset)).toBe(`${(frame + offset).toString(16)} 1 ${lg2}`)
    }
    expect([found(atc, first + size), found(atc, first - 1n)]).toEqual(['nothing', 'nothing'])
    forget(atc, { lo: Number((first + size / 2n) & 0xffff_f000n), hi: Number((first + size / 2n) >> 32n), sizeLg2: 12 })
    expect(found(atc, first)).toBe('nothing')
  })

  it('tells PASID 0 from none', () => {
    const atc = new Atc()
    grant(atc, VA, 0x1000, { pasid: 0 })
    grant(atc, VA, 0x2000)
    expect([found(atc, VA, 0), found(atc, VA)]).toEqual(['1000 1 12', '2000 1 12'])
  })

  it('keeps a large translation whole', () => {
    const atc = new Atc()
    grant(atc, 0x4001_2345n, 0xc001_2345, { lg2: 21 })
    expect([found(atc, 0x4000_0000n), found(atc, 0x401f_ffffn)]).toEqual(['c0000000 1 21', 'c01fffff 1 21'])
    expect(found(atc, 0x4020_0000n)).toBe('nothing')
  })

  it('keeps no translation that grants nothing', () => {
    const atc = new Atc()
    grant(atc, VA, 0, { rights: 0 })
    expect([found(atc, VA), atc.size]).toEqual(['nothing', 0])
  })

  it('has one translation of an address: a newer one of another size takes its place', () => {
    const atc = new Atc()
    grant(atc, 0x4000_0000n, 0xc000_0000, { lg2: 21 })
    grant(atc, 0x4000_1000n, 0xd000_0000, { rights: READ | WRITE })
    expect([found(atc, 0x4000_1000n), found(atc, 0x4000_2000n), atc.size]).toEqual(['d0000000 3 12', 'nothing', 1])
  })

  it('is as large as its owner says, and makes room in turn', () => {
    const atc = new Atc({ entries: 4, ways: 4 })
    for (let i = 0; i < 6; i++) grant(atc, BigInt(i) << 12n, i << 12)
    expect([atc.size, atc.evictions]).toEqual([4, 2])
    expect([0, 1, 2, 5].map((i) => found(atc, BigInt(i) << 12n))).toEqual([
      'nothing',
      'nothing',
      '2000 1 12',
      '5000 1 12',
    ])
    const none = new Atc({ entries: 0, ways: 1 })
    grant(none, VA, 0x1000)
    expect([found(none, VA), none.size, none.fills]).toEqual(['nothing', 0, 0])
  })

  it('forgets everything when its PASIDs are used up', () => {
    const atc = new Atc({ entries: 64, ways: 4 }, 1024)
    for (let pasid = 0; pasid < 1024; pasid++) grant(atc, VA, 0x1000, { pasid })
    grant(atc, VA, 0x1000, { pasid: 1024 })
    expect([atc.size, found(atc, VA, 1024), found(atc, VA, 1023)]).toEqual([1, '1000 1 12', 'nothing'])
  })

  it('is empty after a reset', () => {
    const atc = new Atc()
    grant(atc, VA, 0x1000)
    atc.clear()
    expect(found(atc, VA)).toBe('nothing')
  })
})

describe('an invalidation', () => {
  /** The same page without PASID, under PASIDs 0, 5 (both privileges) and 6, and the page after it under 5. */
  const filled = (): Atc => {
    const atc = new Atc()
    grant(atc, VA, 0x1000)
    grant(atc, VA, 0x2000, { pasid: 0 })
    grant(atc, VA, 0x3000, { pasid: 5 })
    grant(atc, VA, 0x4000, { pasid: 5, priv: true })
    grant(atc, VA, 0x5000, { pasid: 6 })
    grant(atc, VA + 0x1000n, 0x6000, { pasid: 5 })
    return atc
  }
  /** Which of them are left. */
  const left = (atc: Atc): string =>
    [
      [VA, NO_PASID, false],
      [VA, 0, false],
      [VA, 5, false],
      [VA, 5, true],
      [VA, 6, false],
      [VA + 0x1000n, 5, false],
    ]
      .map(([va, pasid, priv], i) =>
        found(atc, va as bigint, pasid as number, priv as boolean) === 'nothing' ? '-' : i,
      )
      .join('')
  const [lo, hi] = [0x1234_5000, 0xffff_8000]

  const rows: [name: string, fields: Partial<AtcInvalidation>, left: string][] = [
    ['without a PASID spares those that were obtained with one', { lo, hi, sizeLg2: 12 }, '-12345'],
    ['with a PASID drops its own, of either privilege', { pasid: 5, lo, hi, sizeLg2: 12 }, '01--45'],
    ['with PASID 0 spares those that were obtained without one', { pasid: 0, lo, hi, sizeLg2: 12 }, '0-2345'],
    ['of every PASID spares those without one', { pasid: 5, allPasids: true, lo, hi, sizeLg2: 12 }, '0----5'],
    ['of two pages drops both', { pasid: 5, lo: lo & ~0x1fff, hi, sizeLg2: 13 }, '01--45'],
    ['of everything of a PASID', { pasid: 5, sizeLg2: 64 }, '01--4-'],
    ['of everything without a PASID', { sizeLg2: 64 }, '-12345'],
    ['of everything of every PASID', { pasid: 0, allPasids: true, sizeLg2: 64 }, '0-----'],
    ['of a PASID that was never seen', { pasid: 77, sizeLg2: 64 }, '012345'],
    ['beside it', { lo: lo + 0x2000, hi, sizeLg2: 12 }, '012345'],
    ['of the same low half', { lo, hi: 0, sizeLg2: 12 }, '012345'],
  ]
  it.each(rows)('%s', (_name, fields, expected) => {
    const atc = filled()
    forget(atc, fields)
    expect([left(atc), atc.invalidations]).toEqual([expected, 1])
  })

  it('of one page drops the large translation around it, and one of a large span the small in it', () => {
    const atc = new Atc()
    grant(atc, 0x4000_0000n, 0xc000_0000, { lg2: 21 })
    forget(atc, { lo: 0x4010_0000, sizeLg2: 12 })
    expect(found(atc, 0x4000_0000n)).toBe('nothing')
    grant(atc, 0x4010_0000n, 0xc000_0000)
    forget(atc, { lo: 0x4000_0000, sizeLg2: 21 })
    expect(found(atc, 0x4010_0000n)).toBe('nothing')
  })

  it('has every size from a page to everything', () => {
    for (let sizeLg2 = 12; sizeLg2 <= 64; sizeLg2++) {
      const first = (VA >> BigInt(sizeLg2)) << BigInt(sizeLg2)
      const beyond = BigInt.asUintN(64, first + (1n << BigInt(sizeLg2)))
      const atc = new Atc()
      grant(atc, VA, 0x1000)
      if (sizeLg2 < 64) grant(atc, beyond, 0x2000)
      forget(atc, { lo: Number(first & 0xffffffffn), hi: Number(first >> 32n), sizeLg2 })
      expect([found(atc, VA), atc.size], `${sizeLg2}`).toEqual(['nothing', sizeLg2 < 64 ? 1 : 0])
    }
  })
})
