import { describe, expect, it } from 'vitest'
import { FS, Guest, IQ, PASIDS, SS } from './guest.js'

const PAGE = 0x40_0000n
/** Host addresses of the second-stage tables: one tree over guest-physical 0 to 2 MiB. */
const SECOND = 0x300000
const SECOND_LEAVES = SECOND + 0x3000
/** Guest-physical addresses of the four first-stage tables, scattered; guest page n stands at host page HOST[n]. */
const TABLES = [0x10, 0x23, 0x35, 0x47] as const
const DATA = 0x58
const HOST: Readonly<Record<number, number>> = { 16: 0x400, 35: 0x5a1, 53: 0x402, 71: 0x333, 88: 0x600 }

/** A nested PASID 0 whose tables stand in pages that are not next to each other anywhere. */
function nested(leafFlags: bigint = FS.PAGE, flags = 0n): Guest {
  const guest = new Guest()
  guest.startScalable()
  guest.startQueue()
  guest.nested(0, 9, TABLES[0] << 12, SECOND, flags)
  for (const [page, host] of Object.entries(HOST)) second(guest, Number(page), (BigInt(host) << 12n) | SS.RW)
  for (let step = 0; step < 4; step++) {
    const next = step === 3 ? (BigInt(DATA) << 12n) | leafFlags : (BigInt(TABLES[step + 1]) << 12n) | FS.TABLE
    first(guest, step, next)
  }
  return guest
}

function second(guest: Guest, page: number, entry: bigint): void {
  guest.path(SECOND, BigInt(page) << 12n, entry, SS.RW)
}

const firstAt = (step: number): number => HOST[TABLES[step]] * 4096 + Number((PAGE >> BigInt(39 - 9 * step)) & 511n) * 8

function first(guest: Guest, step: number, entry: bigint): void {
  guest.store(firstAt(step), entry)
}

describe('a nested walk', () => {
  it('takes every table address through the second stage', () => {
    const guest = nested()
    expect(guest.dma(PAGE + 0x123n, 'w')).toBe('0x600123')
    expect(guest.dma(PAGE + 0x123n, 'w')).toBe('0x600123')
    expect(guest.out.hit).toBe(1)
  })

  it('that begins below a kept entry takes the address of a lower table through the second stage too', () => {
    const guest = nested()
    expect(guest.dma(PAGE)).toBe('0x600000')
    // The next entry of the same table leads to a table that stands before it, as the guest sees it.
    second(guest, 0x11, 0x444000n | SS.RW)
    guest.store(firstAt(2) + 8, 0x11000n | FS.TABLE)
    guest.store(0x444000, (BigInt(DATA) << 12n) | FS.PAGE)
    expect(guest.dma(PAGE + 0x20_0123n)).toBe('0x600123')
    // So does one further on in memory, and not a table's length.
    second(guest, 0x36, 0x445000n | SS.RW)
    guest.store(firstAt(2) + 16, 0x36000n | FS.TABLE)
    guest.store(0x445000, (BigInt(DATA) << 12n) | FS.PAGE)
    expect(guest.dma(PAGE + 0x40_0456n)).toBe('0x600456')
  })

  it('lets a read of no bytes through where one stage alone may be read, and the other alone written', () => {
    const guest = nested(FS.PAGE & ~FS.RW)
    second(guest, DATA, 0x600000n | SS.W)
    expect([guest.dma(PAGE, 'r'), guest.dma(PAGE, 'w')]).toEqual(['fault 0x86', 'fault 0x85'])
    expect([guest.dma(PAGE, ''), guest.out.hit, guest.out.rights]).toEqual(['0x600000', 0, 0])
    expect([guest.dma(PAGE, ''), guest.out.hit, guest.out.rights]).toEqual(['0x600000', 1, 0])
  })

  it('is explained with guest and host address of each first-stage entry, below the second-stage steps', () => {
    const steps = nested().explain(PAGE)
    const firsts = steps.filter(({ what }) => what === 'first-stage entry')
    expect(firsts.map(({ guestAddress }) => Math.floor((guestAddress ?? 0) / 4096))).toEqual([...TABLES])
    expect(firsts.map(({ address }) => address)).toEqual([0, 1, 2, 3].map(firstAt))
    expect(steps.filter(({ what }) => what === 'second-stage entry').length).toBe(20)
    expect(steps.slice(0, 4).map(({ what }) => what)).toEqual([
      'scalable-mode root entry',
      'scalable-mode context entry',
      'PASID directory entry',
      'PASID table entry',
    ])
    expect(steps[3].fields?.['PGTT']).toBe(3)
    expect(firsts.map(({ level }) => level)).toEqual([4, 3, 2, 1])
    expect(firsts.map(({ verdict }) => verdict)).toEqual([
      ...Array<string>(3).fill('next table'),
      'leaf, 4 KiB, read-write, user and supervisor',
    ])
    expect(firsts.map(({ target }) => target?.space)).toEqual(Array<string>(4).fill('ipa'))
    expect(steps.at(-1)?.verdict).toBe('translated, 4 KiB around it, read-write')
  })

  it('caches the smaller of the two leaves', () => {
    const guest = nested()
    // 2 MiB in the first stage over 4 KiB in the second.
    first(guest, 2, 0x0n | FS.PAGE | FS.PS)
    expect(guest.dma(PAGE + (BigInt(DATA) << 12n), 'r')).toBe('0x600000')
    expect(guest.out.leafLg2).toBe(12)
    expect(guest.dma(PAGE + 0x10000n)).toBe('0x400000')
  })
})

describe('a nested walk is blocked', () => {
  const at = (page: number, entry: bigint) => (guest: Guest) => second(guest, page, entry)
  /** Three levels below, 39 bits, and an address of 41. */
  const narrow = (step: number, flags: bigint) => (guest: Guest) => {
    guest.nested(0, 9, TABLES[0] << 12, 0)
    guest.store(PASIDS, BigInt(SECOND + 0x1000) | 0xc5n)
    first(guest, step, (1n << 40n) | flags)
  }
  const host = (page: number): bigint => BigInt(HOST[page]) << 12n
  const cases: readonly [string, string, string, (guest: Guest) => void][] = [
    ['by an address in the first stage beyond the second', '0x74', 'r', narrow(1, FS.TABLE)],
    ['by a leaf address beyond the second stage', '0x74', 'r', narrow(3, FS.PAGE)],
    ['when the root table is write-only below', '0x75', 'r', at(0x10, host(0x10) | SS.W)],
    ['when a lower table is write-only below', '0x76', 'r', at(0x35, host(0x35) | SS.W)],
    [
      'when a flag must be set in a read-only table',
      '0x77',
      'w',
      (g) => {
        first(g, 3, (BigInt(DATA) << 12n) | FS.TABLE)
        second(g, 0x47, host(0x47) | SS.R)
      },
    ],
    ['when a lower second-stage table cannot be read', '0x78', 'r', (g) => g.store(SECOND, 0x8000_0000n | SS.RW)],
    ['when a table is not mapped below', '0x79', 'r', at(0x23, 0n)],
    [
      'when nothing is left of the rights to a table',
      '0x79',
      'r',
      (g) => {
        g.path(SECOND, 0n, 0n, SS.R)
        second(g, 0x23, 0n)
        g.store(SECOND, BigInt(SECOND + 0x1000) | SS.R)
        g.store(SECOND_LEAVES + 0x10 * 8, host(0x10) | SS.R)
        g.store(SECOND_LEAVES + 0x23 * 8, host(0x23) | SS.W)
      },
    ],
    ['when the data page is not mapped below', '0x79', 'r', at(DATA, 0n)],
    ['by a reserved bit below', '0x7a', 'r', at(0x23, host(0x23) | SS.RW | (1n << 62n))],
    ['by an unreadable second-stage root', '0x7b', 'r', (g) => g.nested(0, 9, TABLES[0] << 12, 0x8000_0000)],
    ['by a table that the second stage puts where no memory is', '0x73', 'r', at(0x10, 0x8000_0000n | SS.RW)],
    ['by a lower table where no memory is', '0x70', 'r', at(0x35, 0x8000_0000n | SS.RW)],
    ['by an absent first-stage entry', '0x71', 'r', (g) => first(g, 3, 0n)],
    ['by a reserved first-stage bit', '0x72', 'r', (g) => first(g, 3, (1n << 50n) | FS.PAGE)],
    ['by an address that is not canonical', '0x80', 'c', () => {}],
    ['by the first stage refusing user access', '0x81', 'r', (g) => first(g, 3, (BigInt(DATA) << 12n) | FS.P)],
    ['by the first stage refusing a write', '0x85', 'w', (g) => first(g, 3, (BigInt(DATA) << 12n) | FS.P | FS.US)],
    ['by the second stage refusing a write', '0x85', 'w', at(DATA, host(DATA) | SS.R)],
    ['by the second stage refusing a read', '0x86', 'r', at(DATA, host(DATA) | SS.W)],
    ['by an output in the interrupt range', '0x87', 'w', at(DATA, 0xfee00000n | SS.RW)],
  ]
  it.each(cases)('%s: %s', (_, reason, access, change) => {
    const guest = nested()
    change(guest)
    const iova = access === 'c' ? 1n << 47n : PAGE
    expect(guest.dma(iova, access)).toBe(`fault ${reason}`)
    expect(guest.explain(iova, access).at(-1)?.verdict).toContain(reason)
  })
})

describe('flags of a nested walk', () => {
  it('are set in the guest’s tables, D only when the second stage lets the write through', () => {
    const guest = nested(FS.P | FS.RW | FS.US)
    second(guest, DATA, (BigInt(HOST[DATA]) << 12n) | SS.R)
    expect(guest.dma(PAGE, 'w')).toBe('fault 0x85')
    expect(guest.load(firstAt(3)) & (FS.A | FS.D)).toBe(FS.A)
    second(guest, DATA, (BigInt(HOST[DATA]) << 12n) | SS.RW)
    expect(guest.dma(PAGE, 'w')).toBe('0x600000')
    expect(guest.load(firstAt(3)) & (FS.A | FS.D)).toBe(FS.A | FS.D)
  })

  it('of the second stage are set on first-stage tables and on the data page', () => {
    const guest = nested(FS.PAGE, 0x200n)
    expect(guest.dma(PAGE)).toBe('0x600000')
    const leaf = (page: number): bigint => guest.load(SECOND_LEAVES + page * 8) & (SS.A | SS.D)
    expect(TABLES.map(leaf)).toEqual([SS.A | SS.D, SS.A | SS.D, SS.A | SS.D, SS.A | SS.D])
    expect(leaf(DATA)).toBe(SS.A)
    expect(guest.dma(PAGE, 'w')).toBe('0x600000')
    expect(leaf(DATA)).toBe(SS.A | SS.D)
  })

  it('leave D clear on a first-stage table that the second stage does not let be read', () => {
    const guest = nested(FS.PAGE, 0x200n)
    second(guest, 0x35, (BigInt(HOST[0x35]) << 12n) | SS.W)
    expect(guest.dma(PAGE)).toBe('fault 0x76')
    expect(guest.load(SECOND_LEAVES + 0x35 * 8) & SS.D).toBe(0n)
  })

  it('need a writable second-stage page with SSADE even where a first-stage entry is only read', () => {
    const guest = nested(FS.PAGE, 0x200n)
    second(guest, 0x35, (BigInt(HOST[0x35]) << 12n) | SS.R)
    expect(guest.dma(PAGE)).toBe('fault 0x77')
    guest.nested(0, 9, TABLES[0] << 12, SECOND)
    guest.queue(IQ.pasid(9, 0))
    expect(guest.dma(PAGE)).toBe('0x600000')
  })
})
