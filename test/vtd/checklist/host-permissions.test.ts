/** Host permission tables and their faults. [VTD 4.2.4, 7.1.3 T30, 9.12] */

import { describe, expect, it } from 'vitest'
import { REQUEST } from '../../../hw-model/port.js'
import { CAP_57 } from './cases-scalable.js'
import { ECAP_48, HOLE, hex, REG } from './guest.js'
import { PASID, World, type WorldOptions } from './world.js'

const DT = 1n << 2n
const HPTS = 1n << 55n
const PTRS = 1n << 56n
const HPT1GPS = 1n << 59n

/**
 * Indices 1, 3, 0xa7 and 0x9b of the four tables; permissions 5, 9 and 19 of the entries. The bits that choose a
 * permission are the upper bits of the next index.
 */
const A = (1n << 41n) | (3n << 33n) | (5n << 30n) | (7n << 25n) | (9n << 21n) | (11n << 17n) | (19n << 12n) | 0xabcn
const FI = '000002074f373000'

const R = 1n
const W = 2n

/** A function whose translated requests are checked: DTE, HPTE; HPTPTR, HPTSZ 0 and HPTDID 6 in its PASID entries. */
class Checked extends World {
  readonly table = this.alloc(8n)
  readonly third = this.alloc()
  readonly secondTable = this.alloc()
  readonly last = this.alloc()
  readonly l4 = this.table + 1n * 16n
  readonly l3 = this.third + 3n * 16n
  readonly l2 = this.secondTable + 0xa7n * 16n
  readonly l1 = this.last + 0x9bn * 16n

  constructor(options: WorldOptions = {}, size = 0n) {
    super('first', { ecap: ECAP_48 | DT | HPTS | HPT1GPS | PTRS, context: 0x64n, ...options })
    for (const pasid of [0x43, PASID]) this.store(this.entry(pasid) + 32n, this.table | size, 6n)
    this.store(this.l4, 0n, this.third | 1n)
    this.store(this.l3, 0n, this.secondTable | 1n)
    this.store(this.l2, 0n, this.last | 1n)
    // Permission 19 is in bits 79:76, 15:12 of the upper word.
    this.store(this.l1, 0n, (R | W) << 12n)
    this.go()
  }

  use(access = 'r', address = A, pasid?: number): string {
    const how = pasid === undefined ? {} : { pasid }
    return this.dma(address, access, { type: REQUEST.TRANSLATED, ...how })
  }
}

/** What reads, writes, AtomicOps and zero-length reads end as. */
const all = (w: Checked): string[] =>
  ['r', 'w', 'rw', ''].map((access) => (w.use(access) === hex(A) ? 'ok' : w.use(access)))

/** The same once a word has been stored. */
function having(at: (w: Checked) => bigint, low: bigint, high: bigint): string[] {
  const w = new Checked()
  w.store(at(w), low, high)
  return all(w)
}

describe('[VTD 4.2.4.1] a translated request', () => {
  it('needs R to read, W to write, both for an AtomicOp; W is enough for a zero-length read', () => {
    expect(all(new Checked())).toEqual(['ok', 'ok', 'ok', 'ok'])
    expect(having((w) => w.l1, 0n, R << 12n)).toEqual(['ok', 'fault a4', 'fault a4', 'ok'])
    expect(having((w) => w.l1, 0n, W << 12n)).toEqual(['fault a5', 'ok', 'fault a5', 'ok'])
  })

  it('finds the permission of its 4 KiB, of its 2 MiB, of its gigabyte', () => {
    expect(having((w) => w.l1, 0x3333_3333_3333_3333n, 0x3333_3333_3333_0333n)[0]).toBe('fault a5')
    // Permission 9 of 16, permission 5 of 8.
    expect(having((w) => w.l2, (R | W) << 36n, 0n)).toEqual(['ok', 'ok', 'ok', 'ok'])
    expect(having((w) => w.l3, (R | W) << 20n, 0n)).toEqual(['ok', 'ok', 'ok', 'ok'])
  })

  it('goes no further down where there is a permission', () => {
    const w = new Checked()
    w.or(w.l2, R << 36n)
    expect(all(w)).toEqual(['ok', 'fault a4', 'fault a4', 'ok'])
    const upper = new Checked()
    upper.or(upper.l3, W << 20n)
    expect(all(upper)).toEqual(['fault a5', 'ok', 'fault a5', 'ok'])
  })

  it('is refused by what it lacks where the walk ends without a permission', () => {
    for (const at of [(w: Checked) => w.l4, (w: Checked) => w.l3, (w: Checked) => w.l2, (w: Checked) => w.l1]) {
      const [read, write, , zero] = having(at, 0n, 0n)
      expect([read, write, zero]).toEqual(['fault a5', 'fault a4', 'fault a3'])
    }
  })

  it('of no length is a read without ZLR', () => {
    const w = new Checked({ cap: 0x81d2_078c_222f_0606n })
    w.store(w.l1, 0n, W << 12n)
    expect(w.use('')).toBe('fault a5')
  })

  it('with PASID is checked against the table of that PASID', () => {
    const w = new Checked()
    w.store(w.entry(PASID) + 32n, HOLE, 6n)
    expect([w.use('r', A, PASID), w.use()]).toEqual(['fault a2', hex(A)])
  })

  it('is not checked without HPTE', () => {
    const w = new Checked({ context: 0x44n })
    w.store(w.l4, 0n, 0n)
    w.store(w.directoryEntry, 0n)
    expect(w.use()).toBe(hex(A))
  })
})

/** Reason, and what is stored where. */
const FAULTS: readonly (readonly [code: string, what: string, spoil: (w: Checked) => void])[] = [
  ['a0', 'a third-level table where no memory is', (w) => w.store(w.l4, 0n, HOLE | 1n)],
  ['a0', 'a second-level table where no memory is', (w) => w.store(w.l3, 0n, HOLE | 1n)],
  ['a0', 'a first-level table where no memory is', (w) => w.store(w.l2, 0n, HOLE | 1n)],
  ['a1', 'bit 0 of an entry of level 4', (w) => w.or(w.l4, 1n)],
  ['a1', 'bit 63 of an entry of level 4', (w) => w.or(w.l4, 1n << 63n)],
  ['a1', 'bit 65 of an entry of level 4', (w) => w.or(w.l4 + 8n, 2n)],
  ['a1', 'bit 75 of an entry of level 3', (w) => w.or(w.l3 + 8n, 1n << 11n)],
  ['a1', 'bit 112 of an entry of level 2, beyond the host address width', (w) => w.or(w.l2 + 8n, 1n << 48n)],
  ['a1', 'bit 32 of an entry of level 3', (w) => w.or(w.l3, 1n << 32n)],
  ['a1', 'bit 3 of a permission of 2 MiB', (w) => w.or(w.l2, 8n << 36n)],
  ['a1', 'bit 2 of a permission of 4 KiB', (w) => w.or(w.l1 + 8n, 4n << 12n)],
  ['a2', 'a table where no memory is', (w) => w.store(w.entry() + 32n, HOLE)],
]

describe('[VTD 7.1.3 HPT.1 to HPT.6, SPT.9]', () => {
  for (const [code, what, spoil] of FAULTS) {
    it(`0x${code}: ${what}`, () => {
      const w = new Checked()
      spoil(w)
      expect([w.use(), w.faults()]).toEqual([`fault ${code}`, [`${FI} e00000${code}0000021a`]])
    })

    it(`0x${code}: ${what}: FPD`, () => {
      for (const at of [(w: Checked) => w.context, (w: Checked) => w.directoryEntry, (w: Checked) => w.entry()]) {
        const w = new Checked()
        w.or(at(w), 2n)
        spoil(w)
        expect([w.use(), w.faults()]).toEqual([`fault ${code}`, []])
      }
    })
  }

  it('0xa3, 0xa4, 0xa5: records of a zero-length read, a write, a read', () => {
    const w = new Checked()
    w.store(w.l1, 0n, 0n)
    for (const access of ['', 'w', 'r']) w.use(access)
    expect(w.faults()).toEqual(
      ['e00000a30000021a', 'a00000a40000021a', 'e00000a50000021a'].map((high) => `${FI} ${high}`),
    )
  })

  it('permissions of a gigabyte are reserved without HPT1GPS', () => {
    const w = new Checked({ ecap: ECAP_48 | DT | HPTS | PTRS })
    expect(w.use()).toBe(hex(A))
    w.or(w.l3, R << 20n)
    w.queue(0x1an, 0n)
    expect(w.use()).toBe('fault a1')
  })

  it('0x60: an address beyond HPTSZ; the table is 4 KiB for each 2^49', () => {
    const wide = { cap: CAP_57, haw: 52 }
    for (const size of [0n, 1n, 2n, 3n]) {
      const w = new Checked(wide, size)
      const limit = 1n << (49n + size)
      const below = limit - (1n << 49n) + A
      w.store(w.table + ((below >> 41n) & 0x7ffn) * 16n, 0n, w.third | 1n)
      expect(w.use('r', below), `${size}`).toBe(hex(below))
      if (size === 3n) continue
      expect(w.use('w', limit | 0x5000n)).toBe('fault 60')
      const low = (limit | 0x5000n).toString(16).padStart(16, '0')
      expect(w.faults()).toEqual([`${low} a00000600000021a`])
    }
  })

  it('faults of the PASID tables are those of other requests, answered CA or UR', () => {
    const told = (spoil: (w: Checked) => void): string => {
      const w = new Checked()
      spoil(w)
      return w.use()
    }
    expect(told((w) => w.store(w.context, HOLE | 0x6dn))).toBe('fault 50')
    expect(told((w) => w.clear(w.directoryEntry, 1n))).toBe('fault 51')
    expect(told((w) => w.or(w.directoryEntry, 4n))).toBe('fault 52')
    expect(told((w) => w.store(w.directoryEntry, HOLE | 1n))).toBe('fault 58')
    expect(told((w) => w.clear(w.entry(), 1n))).toBe('fault 59')
    expect(told((w) => w.or(w.entry() + 56n, 1n))).toBe('fault 5a')
    expect(told((w) => w.or(w.entry(), 7n << 6n))).toBe('fault 5b')
  })
})

describe('[VTD 6.2.6, 6.5.2.7] what is cached of permissions', () => {
  const revoked = (low: bigint, high = 0n): string => {
    const w = new Checked()
    w.use('w')
    w.store(w.l1, 0n, R << 12n)
    expect(w.use('w')).toBe(hex(A))
    w.queue(low, high)
    expect(w.get32(REG.FSTS)).toBe(0n)
    return w.use('w')
  }

  it('is dropped by its own descriptor: everything, a domain, a page', () => {
    expect(revoked(0x1an)).toBe('fault a4')
    expect([revoked(0x2an | (6n << 16n)), revoked(0x2an | (7n << 16n))]).toEqual(['fault a4', hex(A)])
    const page = A & ~0xfffn
    expect(revoked(0x3an | (6n << 16n), page)).toBe('fault a4')
    expect(revoked(0x3an | (6n << 16n), page + 0x1000n)).toBe(hex(A))
    expect(revoked(0x3an | (7n << 16n), page)).toBe(hex(A))
  })

  it('is dropped by no invalidation of translations', () => {
    expect([revoked(0x12n), revoked(0x37n), revoked(0x11n), revoked(0x7_0026n)]).toEqual([
      hex(A),
      hex(A),
      hex(A),
      hex(A),
    ])
  })

  it('has no descriptor in a unit without such tables', () => {
    const w = new World('first').go()
    w.queue(0x1an, 0n)
    expect([w.get32(REG.FSTS), w.get64(REG.IQERCD)]).toEqual([0x10n, 3n])
  })
})
