/**
 * Two things wrong at once: fetch, present, reserved, valid, then the kind of request, entry after entry on the way
 * down. [VTD 7.1.3 Fault Conditions and Remapping Hardware Behavior for Various Requests; SPEC.md, choice 1]
 */

import { describe, expect, it } from 'vitest'
import { AtsGuest, ECAP, FIRST, halves } from './ats-guest.js'
import { FS, Guest, MODE, PASIDS, REG, SID } from './guest.js'

const PAGE = 0x40_0000n
const NOWHERE = 0x80_0000_0000n
/** Bits of a scalable context entry. [VTD 9.4] */
const P = 1n
const DTE = 4n
const PASIDE = 8n
const EPTR = 0x40n
const DIRECTORY = 0x4000n

function scalable(): AtsGuest {
  const guest = new AtsGuest()
  guest.startScalable(P | DTE | PASIDE)
  guest.mapFirst(PAGE, 0x20_0000n | FS.PAGE)
  guest.mapFirst(PAGE, 0x20_0000n | FS.PAGE, 1)
  return guest
}

interface Case {
  readonly what: string
  readonly reason: string
  readonly change: (g: AtsGuest) => void
  readonly access?: string
  readonly pasid?: number
}

describe('in scalable mode', () => {
  const cases: readonly Case[] = [
    { what: 'a root half that is absent and reserved', reason: '0x39', change: (g) => g.store(0x1000, 0x2002n) },
    { what: 'a reserved root that leads nowhere', reason: '0x3a', change: (g) => g.store(0x1000, NOWHERE | 3n) },
    {
      what: 'a context entry that is absent and reserved',
      reason: '0x41',
      change: (g) => g.store(g.context, DIRECTORY | 0x180n),
    },
    {
      what: 'one that is reserved and contradicts itself',
      reason: '0x42',
      change: (g) => g.store(g.context, DIRECTORY | P | EPTR | 0x80n),
    },
    { what: 'one whose last word is reserved', reason: '0x42', change: (g) => g.store(g.context + 24, 1n << 63n) },
    {
      what: 'one that contradicts itself and leads nowhere',
      reason: '0x43',
      change: (g) => g.store(g.context, NOWHERE | P | EPTR),
    },
    {
      what: 'PASIDE before a directory that is nowhere',
      reason: '0x45',
      change: (g) => g.store(g.context, NOWHERE | P),
      access: 'r',
      pasid: 1,
    },
    {
      what: 'PASIDE before the width of a PASID',
      reason: '0x45',
      change: (g) => g.store(g.context, DIRECTORY | P),
      access: 'r',
      pasid: 0xfffff,
    },
    {
      what: 'the directory’s size before it is read',
      reason: '0x46',
      change: (g) => g.store(g.context, NOWHERE | P | PASIDE),
      access: 'r',
      pasid: 0x2000,
    },
    {
      what: 'RID_PASID before the directory is read',
      reason: '0x48',
      change: (g) => g.store(g.context, NOWHERE | P | PASIDE),
      access: 'r',
      pasid: 0,
    },
    { what: 'a directory entry that is absent and reserved', reason: '0x51', change: (g) => g.store(g.directory, 4n) },
    {
      what: 'one that is reserved and leads nowhere',
      reason: '0x52',
      change: (g) => g.store(g.directory, NOWHERE | 5n),
    },
    { what: 'a PASID entry that is absent and reserved', reason: '0x59', change: (g) => g.store(PASIDS, 0x20n) },
    { what: 'one that is absent and of no type', reason: '0x59', change: (g) => g.store(PASIDS, 0n) },
    { what: 'one that is reserved and of no type', reason: '0x5a', change: (g) => g.store(PASIDS, 0x21n) },
    {
      what: 'one of no type for a privileged request',
      reason: '0x5b',
      change: (g) => g.store(PASIDS + 64, 1n),
      access: 'rp',
      pasid: 1,
    },
    {
      what: 'one of no type for one that executes',
      reason: '0x5b',
      change: (g) => g.store(PASIDS + 64, 1n),
      access: 'rx',
      pasid: 1,
    },
    { what: 'execute before privilege', reason: '0x5c', change: () => undefined, access: 'rxp', pasid: 1 },
    {
      what: 'privilege before tables that are nowhere',
      reason: '0x5d',
      change: (g) => g.firstStage(1, 2, 0x8000_0000),
      access: 'rp',
      pasid: 1,
    },
    { what: 'first-stage tables that are nowhere', reason: '0x73', change: (g) => g.firstStage(0, 2, 0x8000_0000) },
  ]
  it.each(cases)('$what: $reason', ({ reason, change, access = 'r', pasid = -1 }) => {
    const guest = scalable()
    change(guest)
    expect(guest.dma(PAGE, access, pasid)).toBe(`fault ${reason}`)
    expect(guest.explain(PAGE, access, pasid).at(-1)?.verdict).toContain(reason)
  })

  it('reserved bits in a half of a root entry that is absent count for nothing', () => {
    const guest = scalable()
    guest.store(0x1008, 0xffen)
    expect(guest.dma(PAGE)).toBe('0x200000')
    // Functions from 16.0 on have the upper half; its table has their entries from the start.
    guest.store(0x1000, 0xffen, guest.load(0x1000))
    expect([guest.dma(PAGE), guest.dma(PAGE, 'r', -1, 0x80 | SID)]).toEqual(['0x200000', '0x200000'])
  })

  it('the canonical check comes before the first-stage tables are read', () => {
    const guest = scalable()
    guest.firstStage(0, 2, 0x8000_0000)
    expect(guest.dma(1n << 47n)).toBe('fault 0x80')
  })
})

describe('in legacy mode', () => {
  const cases: readonly (readonly [string, string, (guest: Guest) => void])[] = [
    ['a root entry that is absent and reserved', '0x1', (g) => g.store(0x1000, 0x2002n)],
    ['one whose second word is reserved', '0xa', (g) => g.store(0x1008, 1n)],
    ['one that is reserved and leads nowhere', '0xa', (g) => g.store(0x1000, NOWHERE | 3n)],
    ['a context table that is nowhere', '0x9', (g) => g.store(0x1000, NOWHERE | 1n)],
    ['a context entry that is absent and reserved', '0x2', (g) => context(g, 0x10n, 0n)],
    ['one that is reserved and has no width', '0xb', (g) => context(g, 0x11n, 0x300n)],
    ['one of a reserved type and without a width', '0x3', (g) => context(g, 0xdn, 0x300n)],
    ['one of a type that needs device TLBs', '0x3', (g) => context(g, 0x10_0005n, 0x302n)],
    ['one of a reserved type', '0x3', (g) => context(g, 0xdn, 0x302n)],
    ['a width before tables that are nowhere', '0x3', (g) => context(g, NOWHERE | 1n, 0x304n)],
    ['an address before tables that are nowhere', '0x4', (g) => context(g, NOWHERE | 1n, 0x301n)],
  ]
  function context(guest: Guest, low: bigint, high: bigint): void {
    guest.store(0x2000 + SID * 16, low, high)
  }
  it.each(cases)('%s: %s', (_, reason, change) => {
    const guest = new Guest({ preset: 'vtd-legacy' })
    guest.store(0x1000, 0x2001n, 0n)
    context(guest, 0x10_0001n, 0x302n)
    guest.start(MODE.LEGACY)
    change(guest)
    expect(guest.dma(1n << 40n)).toBe(`fault ${reason}`)
    expect(guest.explain(1n << 40n).at(-1)?.verdict).toContain(`0x0${reason.slice(2)} `)
  })
})

describe('a scalable context entry that contradicts itself', () => {
  const EPTR_ALONE = DIRECTORY | P | DTE | EPTR
  const entry = (qw0: bigint): AtsGuest => {
    const guest = scalable()
    guest.store(guest.context, qw0)
    return guest
  }

  it('with EPTR and no PASIDE blocks requests without PASID, and translated ones with one', () => {
    expect(entry(EPTR_ALONE).dma(PAGE)).toBe('fault 0x43')
    expect(entry(EPTR_ALONE).ask(PAGE)).toBe('CA 0x43')
    expect(entry(EPTR_ALONE).translated(0x5000n)).toBe('fault 0x43')
    expect(entry(EPTR_ALONE).translated(0x5000n, 'r', 1)).toBe('fault 0x43')
  })

  it('with EPTR and no PASIDE does not come before PASIDE, where that blocks', () => {
    expect(entry(EPTR_ALONE).dma(PAGE, 'r', 1)).toBe('fault 0x45')
    expect(entry(EPTR_ALONE).ask(PAGE, 'rw', 1)).toBe('UR 0x45')
    expect(entry(EPTR_ALONE | PASIDE).dma(PAGE, 'r', 1)).toBe('0x200000')
  })

  it('with PRE and no DTE blocks every request, before PASIDE and EPTR are looked at', () => {
    const PRE = 0x10n
    const prs = (qw0: bigint): AtsGuest => {
      const guest = new AtsGuest({ offers: 1n << 29n })
      guest.startScalable(P | qw0)
      guest.mapFirst(PAGE, 0x20_0000n | FS.PAGE)
      return guest
    }
    expect(prs(PRE | DTE | PASIDE).dma(PAGE)).toBe('0x200000')
    for (const flags of [PRE, PRE | PASIDE, PRE | EPTR]) {
      expect(prs(flags).dma(PAGE)).toBe('fault 0x43')
      expect(prs(flags).dma(PAGE, 'r', 1)).toBe('fault 0x43')
      expect(prs(flags).ask(PAGE)).toBe('CA 0x43')
      expect(prs(flags).translated(0x5000n)).toBe('fault 0x43')
    }
    expect(prs(PRE | 0x80n).dma(PAGE)).toBe('fault 0x42')
  })

  it('is explained', () => {
    const step = entry(EPTR_ALONE)
      .explain(PAGE)
      .find(({ what }) => what === 'scalable-mode context entry')
    expect(step?.verdict).toMatch(/^0x43 SCT\.4: /)
    expect([step?.fields?.['EPTR'], step?.texts?.['EPTR']]).toEqual([1, 'PASIDs in translated requests'])
  })
})

describe('fields of a scalable context entry whose capability is absent', () => {
  const ECAP_WORD = 0x0113_e99e_8400_0fc7n
  it.each([
    ['DTE', 4n, ECAP.DT | ECAP.NWFS | ECAP.DIT | ECAP.PTRS],
    ['PASIDE', 8n, ECAP.PTRS | (1n << 40n)],
    ['PRE', 0x10n, 0n],
    ['HPTE', 0x20n, 0n],
    ['EPTR', 0x48n, ECAP.PTRS],
  ])('are reserved: %s', (_, flag, lacks) => {
    const guest = new Guest({ ids: { ECAP: halves(ECAP_WORD & ~lacks) } })
    guest.startScalable(P | flag)
    guest.firstStage(0, 2, FIRST)
    expect(guest.dma(PAGE)).toBe('fault 0x42')
    guest.store(guest.context, DIRECTORY | P)
    expect(guest.dma(PAGE)).toBe('fault 0x71')
  })

  it('are reserved: RID_PASID and RID_PRIV, and every bit above', () => {
    for (let bit = 0n; bit < 64n; bit++) {
      const guest = new Guest({ ids: { ECAP: halves(ECAP_WORD & ~(1n << 49n)) } })
      guest.startScalable()
      guest.store(guest.context + 8, 1n << bit)
      expect(guest.dma(PAGE), `${bit}`).toBe('fault 0x42')
    }
  })

  it('where RID_PASID is there, are the bits above it alone', () => {
    for (let bit = 20n; bit < 64n; bit++) {
      const guest = new AtsGuest()
      guest.startScalable()
      guest.store(guest.context + 8, 1n << bit)
      expect(guest.dma(PAGE), `${bit}`).toBe('fault 0x42')
    }
    const guest = new AtsGuest()
    guest.startScalable(P | PASIDE | 0xe00n)
    guest.store(guest.context + 8, 0xfffffn)
    // The directory of 2^20 PASIDs has its last entry beyond what was filled.
    expect(guest.dma(PAGE)).toBe('fault 0x51')
    expect(guest.read(REG.FSTS)).toBe(2n)
  })
})
