/** What each TLB invalidation drops, and what it leaves. [SMMU 4.4 TLB invalidation commands] */

import { describe, expect, it } from 'vitest'
import type { GuestOptions } from './guest.js'
import { type Garden, GLOBAL, Planted } from './planted.js'

const VA = 0x1_1234_5000n
const OTHER_VA = 0x2_1234_5000n
const GLOBAL_VA = 0x3_1234_5000n

const EL1: Garden = {
  'ASID 7': { va: VA },
  'ASID 8': { va: VA, asid: 8n },
  'ASID 7 elsewhere': { va: OTHER_VA },
  'global, by ASID 10': { va: GLOBAL_VA, asid: 10n, leaf: GLOBAL },
  'VMID 6': { va: VA, vmid: 6n },
  'global, of VMID 6': { va: GLOBAL_VA, vmid: 6n, leaf: GLOBAL },
  'stage 2': { va: VA, config: 'stage 2' },
  'stage 2 elsewhere': { va: OTHER_VA, config: 'stage 2' },
  'stage 2 of VMID 6': { va: VA, vmid: 6n, config: 'stage 2' },
  nested: { va: VA, asid: 9n, config: 'nested' },
}
const names = Object.keys(EL1)
const STAGE_2 = ['stage 2', 'stage 2 elsewhere']
const STAGE_1 = ['ASID 7', 'ASID 8', 'ASID 7 elsewhere', 'global, by ASID 10', 'nested']

const vmid = (n: bigint): bigint => n << 32n
const asid = (n: bigint): bigint => n << 48n

type Case = readonly [what: string, low: bigint, high: bigint, gone: readonly string[]]

const CASES: readonly Case[] = [
  ['NH_ALL: stage 1 of the VMID, global too, but not stage 2', 0x10n | vmid(5n), 0n, STAGE_1],
  ['NH_ASID: what is not global of the ASID', 0x11n | vmid(5n) | asid(7n), 0n, ['ASID 7', 'ASID 7 elsewhere']],
  ['NH_ASID: nothing of an ASID whose only entry is global', 0x11n | vmid(5n) | asid(10n), 0n, []],
  ['NH_ASID: nothing of a VMID that nobody has', 0x11n | vmid(9n) | asid(7n), 0n, []],
  ['NH_VA: the address of the ASID', 0x12n | vmid(5n) | asid(7n), VA | 1n, ['ASID 7']],
  ['NH_VA: tables too without Leaf', 0x12n | vmid(5n) | asid(7n), VA, ['ASID 7']],
  ['NH_VA: of two stages', 0x12n | vmid(5n) | asid(9n), VA | 1n, ['nested']],
  ['NH_VA: a global entry, whatever the ASID', 0x12n | vmid(5n) | asid(7n), GLOBAL_VA | 1n, ['global, by ASID 10']],
  ['NH_VA: nothing of an address nearby', 0x12n | vmid(5n) | asid(7n), (VA + 0x1000n) | 1n, []],
  ['NH_VAA: the address of every ASID', 0x13n | vmid(5n), VA | 1n, ['ASID 7', 'ASID 8', 'nested']],
  ['NH_VAA: a global entry', 0x13n | vmid(6n), GLOBAL_VA | 1n, ['global, of VMID 6']],
  ['NH_VAA: has no ASID', 0x13n | vmid(5n) | asid(1n), OTHER_VA | 1n, ['ASID 7 elsewhere']],
  ['S12_VMALL: all of the VMID', 0x28n | vmid(5n), 0n, [...STAGE_1, ...STAGE_2]],
  ['S2_IPA: stage 2 alone, at the IPA', 0x2an | vmid(5n), VA | 1n, ['stage 2']],
  ['S2_IPA: nothing of another VMID', 0x2an | vmid(9n), VA | 1n, []],
  ['NSNH_ALL: everything of EL1', 0x30n, 0n, names],
  ['NSNH_ALL: and has no VMID', 0x30n | vmid(6n) | asid(7n), 0n, names],
]

describe('CMD_TLBI_', () => {
  it('is what it takes: until then all of them are cached', () => {
    expect(new Planted(EL1).survivors()).toEqual(names)
  })

  for (const [what, low, high, gone] of CASES) {
    it(what, () => {
      const expected = names.filter((name) => gone.includes(name))
      expect(new Planted(EL1).gone(low, high)).toEqual(expected)
    })
  }

  it('of none is what a configuration command does: CMD_CFGI_ALL leaves every translation', () => {
    expect(new Planted(EL1).gone(0x04n, 0x1fn)).toEqual([])
  })

  it('has VMIDs that mean nothing without stage 2', () => {
    const garden: Garden = { one: { va: VA }, other: { va: OTHER_VA, vmid: 6n } }
    expect(new Planted(garden, { deny: { IDR0: 1 } }).gone(0x10n | vmid(9n), 0n)).toEqual(['one', 'other'])
  })

  it('finds a block by any address in it', () => {
    const garden: Garden = {
      '2 MiB': { va: 0x4000_0000n, level: 2 },
      '1 GiB': { va: 0x8000_0000n, level: 1 },
      'a page beside': { va: 0xc000_0000n },
      '2 MiB of stage 2': { va: 0x4000_0000n, level: 2, config: 'stage 2', vmid: 6n },
      '512 MiB': { va: 0x4000_0000n, level: 2, granule: 16, asid: 8n },
    }
    expect(new Planted(garden).gone(0x12n | vmid(5n) | asid(7n), 0x401f_f000n | 1n)).toEqual(['2 MiB'])
    expect(new Planted(garden).gone(0x12n | vmid(5n) | asid(7n), 0xbfff_f000n | 1n)).toEqual(['1 GiB'])
    expect(new Planted(garden).gone(0x2an | vmid(6n), 0x401f_f000n | 1n)).toEqual(['2 MiB of stage 2'])
    expect(new Planted(garden).gone(0x12n | vmid(5n) | asid(8n), 0x5fff_f000n | 1n)).toEqual(['512 MiB'])
  })

  it('finds an address of the upper half', () => {
    const garden: Garden = { low: { va: VA } }
    expect(new Planted(garden).gone(0x12n | vmid(5n) | asid(7n), VA | (0xffffn << 48n) | 1n)).toEqual([])
  })
})

/** EL2 streams, and one of EL1 beside them. */
const EL2: Garden = {
  EL1: { va: VA },
  EL2: { va: VA, strw: 2n, leaf: GLOBAL },
  'EL2 elsewhere': { va: OTHER_VA, strw: 2n, leaf: GLOBAL },
}
const E2H: Garden = {
  EL1: { va: VA },
  'ASID 7': { va: VA, strw: 2n },
  'ASID 8': { va: VA, strw: 2n, asid: 8n },
  'ASID 7 elsewhere': { va: OTHER_VA, strw: 2n },
  'global, by ASID 10': { va: GLOBAL_VA, strw: 2n, asid: 10n, leaf: GLOBAL },
}
const HYP: GuestOptions = { offer: { IDR0: 1 << 9 } }

describe('CMD_TLBI_EL2_', () => {
  const el2 = (low: bigint, high = 0n): string[] => new Planted(EL2, HYP).gone(low, high)
  const e2h = (low: bigint, high = 0n): string[] => new Planted(E2H, HYP, 0b11).gone(low, high)

  it('ALL: EL2 alone, with and without E2H', () => {
    expect(el2(0x20n)).toEqual(['EL2', 'EL2 elsewhere'])
    expect(e2h(0x20n)).toEqual(Object.keys(E2H).slice(1))
  })

  it('VA: the address; the ASID counts with E2H alone', () => {
    expect(el2(0x22n | asid(9n), VA | 1n)).toEqual(['EL2'])
    expect(e2h(0x22n | asid(8n), VA | 1n)).toEqual(['ASID 8'])
    expect(e2h(0x22n | asid(8n), GLOBAL_VA | 1n)).toEqual(['global, by ASID 10'])
  })

  it('VAA: the address of every ASID', () => {
    expect(el2(0x23n, VA | 1n)).toEqual(['EL2'])
    expect(e2h(0x23n, VA | 1n)).toEqual(['ASID 7', 'ASID 8'])
  })

  it('ASID: what is not global of it, with E2H', () => {
    expect(e2h(0x21n | asid(7n))).toEqual(['ASID 7', 'ASID 7 elsewhere'])
    expect(e2h(0x21n | asid(10n))).toEqual([])
  })

  it('is what EL2 needs: no command for EL1 touches it', () => {
    for (const [low, high] of [
      [0x30n, 0n],
      [0x10n | vmid(5n), 0n],
      [0x28n | vmid(5n), 0n],
      [0x13n | vmid(5n), VA | 1n],
    ] as const) {
      expect(el2(low, high)).toEqual(['EL1'])
      expect(e2h(low, high)).toEqual(['EL1'])
    }
  })
})

describe('CR0.VMW [SMMU 3.17.6 VMID Wildcards]', () => {
  const garden: Garden = Object.fromEntries(
    [4n, 5n, 6n, 7n, 8n, 12n].flatMap((n) => [
      [`VMID ${n}`, { va: VA, vmid: n }],
      [`stage 2 of VMID ${n}`, { va: VA, vmid: n, config: 'stage 2' }],
    ]),
  )
  const gone = (vmw: number, low: bigint, high = 0n): string[] =>
    new Planted(garden, { offer: { IDR0: 1 << 17 }, cr0: vmw << 6 }).gone(low, high)

  it('has an invalidation match the upper bits of a VMID alone', () => {
    expect(gone(0, 0x10n | vmid(5n))).toEqual(['VMID 5'])
    expect(gone(1, 0x10n | vmid(5n))).toEqual(['VMID 4', 'VMID 5'])
    expect(gone(2, 0x10n | vmid(5n))).toEqual(['VMID 4', 'VMID 5', 'VMID 6', 'VMID 7'])
    expect(gone(3, 0x11n | vmid(5n) | asid(7n))).toEqual(['VMID 4', 'VMID 5', 'VMID 6', 'VMID 7'])
    expect(gone(4, 0x13n | vmid(5n), VA | 1n)).toEqual([4, 5, 6, 7, 8, 12].map((n) => `VMID ${n}`))
    expect(gone(1, 0x2an | vmid(7n), VA | 1n)).toEqual(['stage 2 of VMID 6', 'stage 2 of VMID 7'])
    expect(gone(1, 0x28n | vmid(4n))).toEqual(['VMID 4', 'VMID 5'].flatMap((name) => [name, `stage 2 of ${name}`]))
  })

  it('is no part of a lookup', () => {
    const two = new Planted({ 'VMID 4': { va: VA, vmid: 4n } }, { offer: { IDR0: 1 << 17 }, cr0: 2 << 6 })
    two.storeSte(9, two.load(0x1_0040n), two.load(0x1_0048n), 5n)
    expect([two.read(VA, { sid: 1 }), two.read(VA, { sid: 9 })]).toEqual(['0x52345000', 'abort'])
  })
})
