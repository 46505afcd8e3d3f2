/** Host permission tables, spelled from the manual. [VTD 4.2.4 Host Permission Table, 9.12, 6.5.2.7] */

import { beforeEach, describe, expect, it } from 'vitest'
import { NO_PASID } from '../../hw-model/port.js'
import { AtsGuest, type AtsOptions, ECAP } from './ats-guest.js'
import { IQ, PASIDS, REG, STATUS_SLOT } from './guest.js'

const L4 = 0x60000
const L3 = 0x68000
const L2 = 0x69000
const L1 = 0x6a000
/** Entries of TARGET. The bits that choose a page of an entry are the highest of the index below. */
const L4E = L4 + 16
const L3E = L3 + 2 * 16
const L2E = L2 + ((5 << 5) | 3) * 16
const L1E = L1 + ((9 << 4) | 4) * 16
const HOLE = 0x8000_0000n
const HPTDID = 7n

/** HPTE beside P, DTE and PASIDE; with EPTR. */
const HPTE = { PLAIN: 0x2dn, EPTR: 0x6dn } as const

const GIB = 1n << 30n
/** An address under the second 2 TiB entry, and in every index something else than 0. */
const TARGET = (1n << 41n) | (2n << 33n) | (5n << 30n) | (3n << 25n) | (9n << 21n) | (4n << 17n) | (17n << 12n)

let guest: AtsGuest

beforeEach(() => {
  guest = start()
})

function start(options: AtsOptions = {}, flags: bigint = HPTE.PLAIN): AtsGuest {
  const made = new AtsGuest({ offers: ECAP.HPTS | ECAP.HPT1GPS, ...options })
  made.startScalable(flags)
  host(made, 0)
  link(made)
  return made
}

/** A first-stage PASID entry with a host permission table: HPTSZ, HPTPFD and HPTPTR in qword 4, HPTDID in qword 5. */
function host(made: AtsGuest, pasid: number, size = 0n, did = HPTDID, flags = 0n): void {
  made.store(PASIDS + pasid * 64, 0x41n | flags, 0x0080_0002n, 0x20000n, 0n, BigInt(L4) | size, did, 0n, 0n)
}

/** A way down to the page table of permissions. */
function link(made: AtsGuest): void {
  made.store(L4E, 0n, BigInt(L3) | 1n)
  made.store(L3E, 0n, BigInt(L2) | 1n)
  made.store(L2E, 0n, BigInt(L1) | 1n)
}

/** Permissions of TARGET's page, the 18th of its entry: bits 71:68. */
const page = (made: AtsGuest, rights: bigint): void => made.store(L1E, 0n, rights << 4n)
/** Of its 2 MiB, the tenth: bits 39:36. */
const large = (made: AtsGuest, rights: bigint, next = 0n): void => made.store(L2E, rights << 36n, next)
/** Of its gigabyte, the sixth: bits 23:20. */
const huge = (made: AtsGuest, rights: bigint, next = 0n): void => made.store(L3E, rights << 20n, next)

const hex = (address: bigint): string => `0x${address.toString(16)}`
const use = (access = 'r', address = TARGET, pasid = NO_PASID): string => guest.translated(address, access, pasid)

describe('[VTD 4.2.4.1 Access Rights] of a translated request', () => {
  it.each([
    ['r', 1n, 'r', true],
    ['r', 1n, 'w', false],
    ['w', 2n, 'w', true],
    ['w', 2n, 'r', false],
    ['both', 3n, 'rw', true],
    ['r', 1n, 'rw', false],
    ['w', 2n, 'rw', false],
  ] as const)('a page with %s (%d) asked for %s', (_, rights, access, isPermitted) => {
    page(guest, rights)
    const reason = access.includes('w') && (rights & 2n) === 0n ? 'fault 0xa4' : 'fault 0xa5'
    expect(use(access)).toBe(isPermitted ? hex(TARGET) : reason)
    expect(guest.faults()).toEqual(isPermitted ? [] : [`${reason.slice(6)} AT=2`])
  })

  it('holds for 4 KiB, 2 MiB or 1 GiB, and for nothing beside it', () => {
    page(guest, 3n)
    expect([use('rw', TARGET + 0xfffn), use('r', TARGET + 0x1000n)]).toEqual([hex(TARGET + 0xfffn), 'fault 0xa5'])
    guest = start()
    large(guest, 3n)
    const start2m = TARGET & ~0x1fffffn
    expect([use('rw', start2m), use('rw', start2m + 0x1fffffn)]).toEqual([hex(start2m), hex(start2m + 0x1fffffn)])
    expect([use('r', start2m - 1n), use('r', start2m + 0x200000n)]).toEqual(['fault 0xa5', 'fault 0xa5'])
    guest = start()
    huge(guest, 3n)
    const start1g = TARGET & ~(GIB - 1n)
    expect([use('rw', start1g), use('rw', start1g + GIB - 1n)]).toEqual([hex(start1g), hex(start1g + GIB - 1n)])
    expect([use('w', start1g - 1n), use('w', start1g + GIB)]).toEqual(['fault 0xa4', 'fault 0xa4'])
  })

  it('is that of the largest page, whatever tables stand below it', () => {
    page(guest, 3n)
    large(guest, 1n, BigInt(L1) | 1n)
    expect([use('r'), use('w')]).toEqual([hex(TARGET), 'fault 0xa4'])
    huge(guest, 2n, BigInt(L2) | 1n)
    guest.startQueue()
    guest.queue([0x1an])
    expect([use('w'), use('r')]).toEqual([hex(TARGET), 'fault 0xa5'])
  })

  it('of no bytes needs any right where zero-length reads are supported, and the right to read where they are not', () => {
    page(guest, 2n)
    expect(use('')).toBe(hex(TARGET))
    expect(use('', TARGET + 0x1000n)).toBe('fault 0xa3')
    // ZLR, bit 22 of CAP, is 0.
    guest = start({ ids: { CAP: [0x222f0606, 0x81d2078c], ECAP: [0x84000fc7, 0x0993e99c] } })
    page(guest, 2n)
    expect([use(''), use('', TARGET + 0x1000n)]).toEqual(['fault 0xa5', 'fault 0xa5'])
  })
})

describe('a walk for permissions', () => {
  it.each([
    ['the root', 'fault 0xa2', () => host(guest, 0, HOLE - BigInt(L4))],
    ['a gigabyte table', 'fault 0xa0', () => guest.store(L4E, 0n, HOLE | 1n)],
    ['a 2 MiB table', 'fault 0xa0', () => guest.store(L3E, 0n, HOLE | 1n)],
    ['a page table', 'fault 0xa0', () => guest.store(L2E, 0n, HOLE | 1n)],
  ] as const)('that cannot read %s is %s', (_, reason, spoil) => {
    spoil()
    expect(use()).toBe(reason)
    expect(guest.faults()).toEqual([`${reason.slice(6)} AT=2`])
  })

  it.each([
    ['the low half of HPTL4E', L4E, 1n, BigInt(L3) | 1n],
    ['bit 65 of HPTL4E', L4E, 0n, BigInt(L3) | 3n],
    ['an address of HPTL4E beyond the host width', L4E, 0n, (1n << 48n) | BigInt(L3) | 1n],
    ['bit 32 of HPTL3E', L3E, 1n << 32n, BigInt(L2) | 1n],
    ['an upper bit of another permission of HPTL3E', L3E, 4n, BigInt(L2) | 1n],
    ['bit 75 of HPTL2E', L2E, 0n, BigInt(L1) | 0x801n],
    ['an upper bit of a permission of HPTL2E', L2E, 8n << 60n, BigInt(L1) | 1n],
    ['an upper bit of a permission of HPTL1E', L1E, 0n, 8n << 60n],
    ['the same without AV', L4E, 0n, 1n << 48n],
  ] as const)('that finds reserved bits set is 0xa1: %s', (_, at, low, high) => {
    page(guest, 3n)
    guest.store(at, low, high)
    expect(use()).toBe('fault 0xa1')
  })

  it('ignores bits 127:116 of an entry, and its address without AV', () => {
    page(guest, 3n)
    guest.store(L4E, 0n, (0xfffn << 52n) | BigInt(L3) | 1n)
    expect(use()).toBe(hex(TARGET))
    guest.store(L3E, 0n, BigInt(L2))
    guest.startQueue()
    guest.queue([0x1an])
    expect(use('w')).toBe('fault 0xa4')
  })

  it('knows no permissions of a gigabyte on a unit without them: they are reserved', () => {
    guest = start({ offers: ECAP.HPTS })
    huge(guest, 1n, BigInt(L2) | 1n)
    expect(use()).toBe('fault 0xa1')
    huge(guest, 0n, BigInt(L2) | 1n)
    page(guest, 1n)
    expect(use()).toBe(hex(TARGET))
  })

  it('ends where the table does: HPTSZ adds bits 49 to 51', () => {
    // 52 bits of host address; the root has 16 KiB and reaches 2^51 - 1.
    const ids = { CAP: [0x22780606, 0x81d2078c], ECAP: [0x84000fc7, 0x0993e99c], hawBits: 52 } as const
    guest = start({ ids })
    const far = 1n << 50n
    for (const [size, reason] of [
      [0n, 'fault 0x60'],
      [1n, 'fault 0x60'],
      [2n, hex(far)],
    ] as const) {
      guest.stop()
      host(guest, 0, size)
      guest.store(L4 + 2 ** 9 * 16, 0n, BigInt(L3) | 1n)
      guest.store(L3, 3n, 0n)
      guest.startScalable(HPTE.PLAIN)
      expect(use('r', far)).toBe(reason)
      expect(guest.faults()).toEqual(size === 2n ? [] : ['0x60 AT=2'])
    }
  })
})

describe('the context and PASID entries of a checked request', () => {
  it('without HPTE say nothing of permissions', () => {
    guest = start({}, 0xdn)
    guest.store(PASIDS, 0n)
    expect(use('rw')).toBe(hex(TARGET))
  })

  it('name the table by RID_PASID, or by the PASID of the request where that may have one', () => {
    guest = start({}, HPTE.EPTR)
    page(guest, 1n)
    expect(use('r')).toBe(hex(TARGET))
    expect(use('r', TARGET, 5)).toBe('fault 0x59')
    host(guest, 5)
    expect(use('r', TARGET, 5)).toBe(hex(TARGET))
  })

  it.each([
    ['0x51', () => guest.store(0x4000, 0n)],
    ['0x52', () => guest.store(0x4000, 0x5005n)],
    ['0x50', () => guest.store(guest.context, HOLE | HPTE.PLAIN)],
    ['0x58', () => guest.store(0x4000, HOLE | 1n)],
    ['0x59', () => guest.store(PASIDS, 0n)],
    ['0x5a', () => guest.store(PASIDS + 32, BigInt(L4) | 8n)],
    ['0x5a', () => guest.store(PASIDS + 40, 1n << 16n)],
    ['0x5b', () => guest.store(PASIDS, 1n)],
  ] as const)('block it with %s', (code, spoil) => {
    spoil()
    expect(use()).toBe(`fault ${code}`)
    expect(guest.faults()).toEqual([`${code} AT=2`])
  })

  it('are not met beyond the host width or in the interrupt range', () => {
    guest.store(PASIDS, 0n)
    expect([use('r', 1n << 48n), use('w', 0xfee00000n)]).toEqual(['fault 0x83', 'fault 0x87'])
  })

  it('silence what is recorded with FPD', () => {
    host(guest, 0, 0n, HPTDID, 2n)
    expect(use('w')).toBe('fault 0xa4')
    expect(guest.faults()).toEqual([])
  })

  it('have reserved bits where the unit has no such tables, and the unit no such descriptor', () => {
    guest = start({ offers: 0n })
    expect(use()).toBe('fault 0x42')
    guest.startQueue()
    guest.queue([0x1an])
    expect(guest.read(REG.IQERCD, 8)).toBe(3n)
  })
})

describe('[VTD 6.5.2.7 HPT Cache Invalidate Descriptor]', () => {
  const SLOT = BigInt(STATUS_SLOT)
  /** Domain and page forms with IH. */
  const domain = (did: bigint, ih: bigint): [bigint, bigint] => [0x2an | (did << 16n), ih << 6n]
  const pages = (did: bigint, address: bigint, am: bigint, ih: bigint): [bigint, bigint] => [
    0x3an | (did << 16n),
    address | (ih << 6n) | am,
  ]

  /** The page was used, and then lost its permission. */
  function revoked(which: typeof page): void {
    which(guest, 3n)
    expect([use('rw'), guest.out.hit]).toEqual([hex(TARGET), 0])
    expect([use('r'), guest.out.hit]).toEqual([hex(TARGET), 1])
    which(guest, 0n)
    expect(use('rw')).toBe(hex(TARGET))
  }

  beforeEach(() => guest.startQueue())

  it('forgets everything, or a domain, and nothing of another', () => {
    revoked(page)
    guest.queue(domain(8n, 3n))
    expect(use()).toBe(hex(TARGET))
    guest.queue(domain(HPTDID, 0n))
    expect(use()).toBe('fault 0xa5')
    revoked(page)
    guest.queue([0x1an], IQ.wait(1n, SLOT))
    expect([use(), guest.load(STATUS_SLOT)]).toEqual(['fault 0xa5', 1n])
  })

  it.each([
    ['4 KiB', page, 0n, 0n],
    ['2 MiB', large, 1n, 9n],
    ['1 GiB', huge, 2n, 18n],
  ] as const)('reaches %s from its own level on, by domain and by page', (_, which, level, am) => {
    for (let ih = 0n; ih < 4n; ih++) {
      for (const form of [domain(HPTDID, ih), pages(HPTDID, TARGET & ~0xfffn, am, ih)]) {
        guest = start()
        guest.startQueue()
        revoked(which)
        guest.queue(form)
        expect(use(), `${ih}`).toBe(ih >= level ? 'fault 0xa5' : hex(TARGET))
      }
    }
  })

  it('names 2^AM pages, from where the address has zeros, whatever stands above the host width', () => {
    revoked(page)
    guest.queue(pages(HPTDID, TARGET + 0x1000n, 0n, 3n), pages(HPTDID, TARGET - 0x1000n, 0n, 3n))
    guest.queue(pages(8n, TARGET, 0n, 3n))
    expect(use()).toBe(hex(TARGET))
    guest.queue(pages(HPTDID, (0xfffn << 48n) | (TARGET ^ 0x1000n), 1n, 0n))
    expect(use()).toBe('fault 0xa5')
  })

  it('is told from others by source-id and PASID', () => {
    guest = start({}, HPTE.EPTR)
    host(guest, 5, 0n, 9n)
    guest.startQueue()
    page(guest, 3n)
    expect([use(), use('r', TARGET, 5)]).toEqual([hex(TARGET), hex(TARGET)])
    page(guest, 0n)
    guest.queue(domain(HPTDID, 0n))
    expect([use(), use('r', TARGET, 5)]).toEqual(['fault 0xa5', hex(TARGET)])
  })

  it.each([
    ['a granularity that does not exist', 0x0an, 0n],
    ['bit 6', 0x5an, 0n],
    ['bit 12', 0x101an, 0n],
    ['bit 32', 0x1_0000_001an, 0n],
    ['bit 72', 0x1an, 0x100n],
  ])('is an error with %s', (_, low, high) => {
    guest.queue([low, high])
    expect([guest.read(REG.FSTS), guest.read(REG.IQERCD, 8)]).toEqual([0x10n, 4n])
  })

  it('is not needed after translation went off, nor with the cache off', () => {
    revoked(page)
    guest.stop()
    guest.startScalable(HPTE.PLAIN)
    expect(use()).toBe('fault 0xa5')
    guest = start({ caches: { policy: 'off' } })
    page(guest, 3n)
    expect([use(), use(), guest.out.hit]).toEqual([hex(TARGET), hex(TARGET), 0])
    page(guest, 0n)
    expect(use()).toBe('fault 0xa5')
  })
})

describe('an explained translated request', () => {
  it('shows the tables that it comes through, and where it ends', () => {
    page(guest, 1n)
    const steps = guest.explainTranslated(TARGET, 'r')
    expect(steps.slice(-6).map(({ what, verdict }) => `${what}: ${verdict}`)).toEqual([
      'PASID table entry: first-stage tables',
      'HPTL4E: the next table of permissions',
      'HPTL3E: the next table of permissions',
      'HPTL2E: the next table of permissions',
      'HPTL1E: permissions of the page',
      'result: the address as it came',
    ])
    expect(steps.at(-5)).toMatchObject({ address: L4E, target: { space: 'pa', address: L3 } })
    expect(
      guest
        .explainTranslated(TARGET + 0x1000n, 'r')
        .slice(-2)
        .map(({ verdict }) => verdict),
    ).toEqual(['no permission', 'blocked: 0xa5 HPT.6'])
    guest.store(L4E, 1n, 0n)
    expect(guest.explainTranslated(TARGET, 'r').at(-2)?.verdict).toBe('0xa1 HPT.2: reserved bits are set')
    expect(guest.faults()).toEqual([])
  })

  it('lacks the invalidation of the permissions that it still has', () => {
    page(guest, 1n)
    use()
    page(guest, 0n)
    const [lo, hi] = [Number(TARGET & 0xfffff000n), Number(TARGET >> 32n)]
    const lost = [{ name: 'HPT cache', operands: { HPTDID: 7 }, page: [lo, hi] }]
    expect(guest.missingTranslated(TARGET, 'r')).toEqual(lost)
    expect(guest.missingTranslated(TARGET + 0x1000n, 'r')).toEqual([])
    expect(use('r', TARGET, NO_PASID)).toBe(hex(TARGET))
  })

  it.each([
    ['2 MiB', large, 1],
    ['a gigabyte', huge, 2],
  ] as const)('lacks one that reaches as far up as %s, which IH says', (_, which, IH) => {
    which(guest, 1n)
    use()
    which(guest, 0n)
    const [lo, hi] = [Number(TARGET & 0xfffff000n), Number(TARGET >> 32n)]
    const lost = [{ name: 'HPT cache', operands: { HPTDID: 7, IH }, page: [lo, hi] }]
    expect(guest.missingTranslated(TARGET, 'r')).toEqual(lost)
    guest.startQueue()
    guest.queue([0x3an | (HPTDID << 16n), TARGET | (BigInt(IH - 1) << 6n)])
    expect(use()).toBe(hex(TARGET))
    guest.queue([0x3an | (HPTDID << 16n), TARGET | (BigInt(IH) << 6n)])
    expect([use(), guest.missingTranslated(TARGET, 'r')]).toEqual(['fault 0xa5', []])
  })
})
