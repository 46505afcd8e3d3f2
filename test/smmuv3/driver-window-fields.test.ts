import { describe, expect, it } from 'vitest'
import { type IdOverrides, PRESETS } from '../../hw-model/smmuv3/index.js'
import { givenData, type Refusal, type SmmuRoot, type UserOps } from '../../server/core/driver.js'
import { PLAIN_ROOT, VA, WINDOW_IPA, WindowWorld } from './window-world.js'
import { refusal } from './world.js'

const { IDR0, IDR3, IDR5 } = PRESETS.default

/** The field that a refusal names, or nothing where the root is made. */
function fieldOf(world: WindowWorld, data: SmmuRoot): unknown {
  try {
    world.window.createUserDomain(world.a, givenData('smmuv3_pgd', data)).destroy()
  } catch (error) {
    const { name, context } = error as Refusal
    return `${name} ${context['field']}`
  }
  return undefined
}

/** A CD as the manual has it, in 64-bit words: what a host would write that checks nothing. */
function cdOf(data: SmmuRoot): readonly bigint[] {
  const at = (value: number | boolean, low: number): bigint => BigInt(value) << BigInt(low)
  return [
    at(data.t0sz, 0) |
      at(data.tg0, 6) |
      at(data.ir0, 8) |
      at(data.or0, 10) |
      at(data.sh0, 12) |
      // EPD1, V.
      (1n << 30n) |
      (1n << 31n) |
      at(data.ips, 32) |
      // AA64.
      (1n << 41n) |
      at(data.hd, 42) |
      at(data.ha, 43) |
      // R, A, ASET; ASID 9.
      (7n << 45n) |
      (9n << 48n),
    data.ttb0 & 0xf_ffff_ffff_fff0n,
    0n,
    data.mair,
    ...[0n, 0n, 0n, 0n],
  ]
}

describe('a root', () => {
  const world = new WindowWorld()
  const root = { ...PLAIN_ROOT, ttb0: 0x5000_0000n }

  it.each([
    ['t0sz', 64],
    ['tg0', 4],
    ['ir0', 4],
    ['or0', 4],
    ['sh0', 4],
    ['ips', 8],
    ['mair', 2n ** 64n],
  ] as const)('is EINVAL for a %s that is wider than its field', (field, value) => {
    expect(fieldOf(world, { ...root, [field]: value })).toBe(`EINVAL ${field}`)
    expect(fieldOf(world, { ...root, [field]: -value })).toBe(`EINVAL ${field}`)
  })

  it.each([
    ['tg0', { tg0: 3 }],
    ['t0sz', { t0sz: 15 }],
    ['t0sz', { t0sz: 40 }],
    ['ttb0', { ttb0: 0x5000_0800n }],
    ['ttb0', { ttb0: 0x5000_0010n }],
    ['ttb0', { ttb0: -0x1000n }],
    // 32 bits of output, then 44, then 48, which is all that tables of 4 KiB have.
    ['ttb0', { ips: 0, ttb0: 2n ** 32n }],
    ['ttb0', { ips: 4, ttb0: 2n ** 44n }],
    ['ttb0', { ips: 5, ttb0: 2n ** 48n }],
    ['ttb0', { ips: 6, ttb0: 2n ** 48n }],
    ['ttb0', { ips: 7, ttb0: 2n ** 55n }],
  ] as [string, Partial<SmmuRoot>][])('is EINVAL naming %s: %o', (field, changes) => {
    expect(fieldOf(world, { ...root, ...changes })).toBe(`EINVAL ${field}`)
  })

  it.each([
    { t0sz: 16 },
    { t0sz: 39 },
    { ips: 4, ttb0: 2n ** 44n - 4096n },
    { ips: 5, ttb0: 2n ** 48n - 4096n },
    { ips: 7, ttb0: 2n ** 48n - 4096n },
    // 39 bits with 16 KiB: 3 bits at the top, which are 64 bytes.
    { tg0: 2, ttb0: 0x5000_0040n },
    { tg0: 1 },
    { ha: true, hd: true },
    { hd: true },
    { mair: 2n ** 64n - 1n },
    { ir0: 0, or0: 0, sh0: 1 },
  ] as Partial<SmmuRoot>[])('is made of %o', (changes) => {
    expect(fieldOf(world, { ...root, ...changes })).toBeUndefined()
  })

  it('has flags that the unit updates, or none [SMMU 6.3.1 SMMU_IDR0]', () => {
    // IDR0.HTTU is bits 7:6.
    const none = new WindowWorld({ IDR0: IDR0 & ~(3 << 6) })
    const access = new WindowWorld({ IDR0: (IDR0 & ~(3 << 6)) | (1 << 6) })
    const fields = (one: WindowWorld): unknown[] =>
      [
        { ha: true, hd: false },
        { ha: false, hd: true },
        { ha: true, hd: true },
      ].map((flags) => fieldOf(one, { ...root, ...flags }))
    expect(fields(none)).toEqual(['EINVAL ha', 'EINVAL hd', 'EINVAL ha'])
    expect(fields(access)).toEqual([undefined, 'EINVAL hd', 'EINVAL hd'])
  })

  it('is EINVAL as another kind of data, and for a device behind another unit', () => {
    const ste = givenData('smmuv3_ste', { ste0: 0n, ste1: 0n })
    expect(refusal(() => world.window.createUserDomain(world.a, ste))).toBe('EINVAL')
    const other = new WindowWorld()
    expect(refusal(() => world.window.createUserDomain(other.a, givenData('smmuv3_pgd', root)))).toBe('EINVAL')
  })
})

describe('what is refused is what the unit calls C_BAD_CD', () => {
  /** A small generator, the same on every machine. */
  function numbers(seed: number): (limit: number) => number {
    let state = seed
    return (limit) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return Math.floor((state / 2 ** 32) * limit)
    }
  }

  // IDR3.STT is bit 9; IDR5: OAS bits 2:0, GRAN4K 4, GRAN16K 5, GRAN64K 6, VAX 11:10.
  const units: [name: string, id: IdOverrides][] = [
    ['the default', {}],
    ['small tables', { IDR3: IDR3 | (1 << 9) }],
    ['52-bit addresses', { IDR5: (IDR5 & ~7) | 6 | (1 << 10) }],
    ['52-bit addresses and small tables', { IDR3: IDR3 | (1 << 9), IDR5: (IDR5 & ~7) | 6 | (1 << 10) }],
    ['42-bit addresses', { IDR5: (IDR5 & ~7) | 3 }],
    ['4 KiB granules alone', { IDR5: IDR5 & ~(3 << 5) }],
    ['no flag updates', { IDR0: IDR0 & ~(3 << 6) }],
    ['access flags alone', { IDR0: (IDR0 & ~(3 << 6)) | (1 << 6) }],
  ]

  it.each(units)('with %s', (_name, id) => {
    const world = new WindowWorld(id, {}, { caches: { policy: 'off' } })
    const { a, window } = world
    a.set(0, window, null)
    const below = numbers(11)
    const pick = <T>(...from: T[]): T => from[below(from.length)]
    const seen = { made: 0, refused: 0 }
    const byHand = world.behind(WINDOW_IPA + 2n * 64n)
    for (let i = 0; i < 400; i++) {
      const data: SmmuRoot = {
        // A multiple of the largest root table, so that it is aligned whatever its size.
        ttb0: BigInt(2 ** pick(28, 31, 32, 36, 39, 40, 43, 44, 47, 48, 51)),
        t0sz: pick(below(64), 16, 25, 39, 12, 48),
        tg0: below(4),
        ir0: below(4),
        or0: below(4),
        sh0: below(4),
        ips: below(8),
        mair: BigInt(below(2 ** 32)),
        ha: below(4) === 0,
        hd: below(4) === 0,
      }
      for (const [word, value] of cdOf(data).entries()) world.poke(byHand + word * 8, value)
      const isBad = world.dma(a, VA, 2) === 'C_BAD_CD'
      let root: UserOps | undefined
      expect(
        refusal(() => {
          root = window.createUserDomain(a, givenData('smmuv3_pgd', data))
        }),
        JSON.stringify(data, (_key, value: unknown) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value)),
      ).toBe(isBad ? 'EINVAL' : 'no refusal')
      seen[isBad ? 'refused' : 'made']++
      if (root === undefined) continue
      a.set(1, root, null)
      expect(world.dma(a, VA, 1)).not.toBe('C_BAD_CD')
      // The same words but for the ASID.
      const words = world.words(world.behind(WINDOW_IPA + 64n), 8)
      expect([words[0] & (2n ** 48n - 1n), ...words.slice(1)]).toEqual([
        cdOf(data)[0] & (2n ** 48n - 1n),
        ...cdOf(data).slice(1),
      ])
      a.clear(1, root)
      root.destroy()
    }
    expect(Math.min(seen.made, seen.refused)).toBeGreaterThan(20)
  })
})
