/** What each policy keeps and drops. Words are spelled by hand. */

import { describe, expect, it } from 'vitest'
import { NO_CACHE } from '../../hw-model/cache/geometry.js'
import { type CacheOptions, cachesOfSize } from '../../hw-model/smmuv3/index.js'
import { SID } from './checklist/guest.js'
import { GUEST, PAGE, S2_BLOCK, S2_PAGE, stage1, World } from './checklist/tables.js'

const A = 0x80_4060_0000n
const FRAME = 0x4000_0000n
const ASID = (7n << 48n) | (5n << 32n)
const VMID = 5n << 32n

type Numbers = { live: number; entries: number; hits: number; misses: number; evictions: number }

function numbersOf(w: World, name: string): Numbers {
  const found = w.unit.cacheStatistics.find((each) => each.name === name)
  if (found === undefined) throw new Error(`no cache is called ${name}`)
  return found
}

/** A stage 1 stream with pages side by side from A. */
function side(caches: CacheOptions, count = 16): World {
  const w = new World(0b101, { caches })
  for (let i = 0n; i < BigInt(count); i++) w.one.set(A + i * 0x1000n, 3, (FRAME + i * 0x1000n) | PAGE)
  w.apply()
  return w
}

const page = (i: number): bigint => A + BigInt(i) * 0x1000n

describe('the caches of a unit', () => {
  const sizes = (w: World): (readonly [string, number])[] =>
    w.unit.cacheStatistics.map(({ name, entries }) => [name, entries])
  const NAMES = ['ste', 'l1std', 'cd', 'l1cd', 'tlb', 'ipa', 'walk1', 'walk2'] as const

  it.each([
    ['off', [0, 0, 0, 0, 0, 0, 0, 0]],
    ['minimal', [1, 1, 1, 1, 1, 1, 1, 1]],
    ['hardware', [4096, 4096, 4096, 4096, 4096, 4096, 1024, 1024]],
    ['greedy', [4096, 4096, 4096, 4096, 16384, 16384, 4096, 4096]],
  ] as const)('have sizes by policy: %s', (policy, expected) => {
    expect(sizes(new World(0b101, { caches: { policy } }))).toEqual(NAMES.map((name, i) => [name, expected[i]]))
  })

  it('are those of real parts where nothing is said', () => {
    expect(sizes(new World(0b101))).toEqual(sizes(new World(0b101, { caches: { policy: 'hardware' } })))
  })

  it('have sizes of their own where they are said', () => {
    const caches: CacheOptions = {
      policy: 'minimal',
      tlb: { entries: 2, ways: 1 },
      ipa: { entries: 4, ways: 2 },
      walk1: { entries: 8, ways: 4 },
      walk2: NO_CACHE,
      configEntries: { cd: 3, l1cd: 0 },
    }
    expect(sizes(new World(0b101, { caches })).map(([, entries]) => entries)).toEqual([1, 1, 3, 0, 2, 4, 8, 0])
    const all = sizes(new World(0b101, { caches: { configEntries: 7 } }))
    expect(all.map(([, entries]) => entries)).toEqual([7, 7, 7, 7, 4096, 4096, 1024, 1024])
  })

  it('have one size for leaves where an owner says so, and none of tables where it says none', () => {
    const some = { entries: 8, ways: 2 }
    expect(cachesOfSize(some)).toEqual({ tlb: some, ipa: some })
    expect(cachesOfSize(NO_CACHE)).toEqual({ tlb: NO_CACHE, ipa: NO_CACHE, walk1: NO_CACHE, walk2: NO_CACHE })
  })

  it('are told what they did', () => {
    const w = side({})
    for (const i of [0, 0, 1, 0]) w.read(page(i))
    expect(numbersOf(w, 'tlb')).toMatchObject({ live: 2, hits: 2, misses: 2, evictions: 0 })
    expect(numbersOf(w, 'ste')).toMatchObject({ live: 1, hits: 3, misses: 1 })
    expect(numbersOf(w, 'cd')).toMatchObject({ live: 1, hits: 3, misses: 1 })
    expect(numbersOf(w, 'walk1')).toMatchObject({ live: 3, hits: 1, misses: 1 })
    expect(numbersOf(w, 'ipa')).toMatchObject({ live: 0, hits: 0, misses: 0 })
    w.command(0x30n, 0n, 0x04n, 0x1fn)
    expect(w.unit.cacheStatistics.map(({ live }) => live)).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
  })

  it('are told so of both stages', () => {
    const w = new World(0b111)
    w.one.set(A, 3, (GUEST + FRAME) | PAGE)
    w.apply()
    w.read(A)
    // One block of stage 2 maps the CD, four tables and the output.
    expect(numbersOf(w, 'ipa')).toMatchObject({ live: 2, misses: 2, hits: 4 })
    expect(numbersOf(w, 'walk2')).toMatchObject({ live: 1 })
    expect(numbersOf(w, 'walk1')).toMatchObject({ live: 3 })
  })
})

describe('off', () => {
  it('reads everything again for every access', () => {
    const w = side({ policy: 'off' })
    expect(w.read(A)).toBe('0x40000000')
    w.one.set(A, 3, (FRAME + 0x9000n) | PAGE)
    expect(w.read(A)).toBe('0x40009000')
    w.one.set(A, 1, 0n)
    expect(w.read(A)).toBe('abort')
    w.storeSte(SID, 0b1001n)
    expect(w.read(A)).toBe(`0x${A.toString(16)}`)
  })
})

describe('minimal', () => {
  it('keeps one entry of each kind', () => {
    const w = side({ policy: 'minimal' })
    for (const i of [0, 0, 1, 0]) w.read(page(i))
    expect(numbersOf(w, 'tlb')).toMatchObject({ live: 1, hits: 1, misses: 3, evictions: 2 })
    expect(numbersOf(w, 'walk1')).toMatchObject({ live: 1 })
  })

  it('keeps one STE and one CD, also of those that it remembers as the last', () => {
    const w = side({ policy: 'minimal', tlb: NO_CACHE })
    w.storeSte(2, ...w.ste)
    expect([w.read(A), w.read(A, { sid: 2 })]).toEqual(['0x40000000', '0x40000000'])
    // The first stream had to go: it is read again. The second stays as it was.
    w.storeSte(SID, 0b1001n)
    w.storeSte(2, 0b1001n)
    expect(w.read(A, { sid: 2 })).toBe('0x40000000')
    expect(w.read(A)).toBe(`0x${A.toString(16)}`)
    expect(w.read(A, { sid: 2 })).toBe(`0x${A.toString(16)}`)
  })

  it('keeps one CD where there is room for many STEs', () => {
    const w = side({ tlb: NO_CACHE, walk1: NO_CACHE, configEntries: { cd: 1 } })
    w.storeSte(2, ...w.ste)
    w.read(A)
    w.read(A, { sid: 2 })
    w.store(w.context, 0n)
    expect(w.read(A, { sid: 2 })).toBe('0x40000000')
    expect(w.read(A)).toBe('abort')
    expect(w.kinds()).toEqual(['0xa'])
  })
})

describe('greedy keeps a contiguous run', () => {
  const CONTIGUOUS = 1n << 52n
  const greedy: CacheOptions = { policy: 'greedy' }

  /** Granule, level of the leaf, and bytes of the run. [Arm Table D8-104] */
  const runs: (readonly [granule: number, level: number, leafLg2: number, runLg2: number])[] = [
    [12, 3, 12, 16],
    [12, 2, 21, 25],
    [12, 1, 30, 34],
    [14, 3, 14, 21],
    [14, 2, 25, 30],
    [16, 3, 16, 21],
    [16, 2, 29, 34],
  ]

  function run(granule: number, level: number, leafLg2: number, caches: CacheOptions): { w: World; va: bigint } {
    const w = new World(0b101, { caches })
    const tables = stage1(w, granule, 48, 0)
    const va = 0x4_0000_0000n
    const bits = (level === 3 ? PAGE : PAGE & ~2n) | CONTIGUOUS
    // The second leaf of the run; the others are not even there.
    tables.set(va + (1n << BigInt(leafLg2)), level, (1n << BigInt(leafLg2)) | bits)
    w.apply()
    expect(w.read(va + (1n << BigInt(leafLg2)))).toBe(`0x${(1n << BigInt(leafLg2)).toString(16)}`)
    return { w, va }
  }

  it.each(runs)('of granule 2^%i at level %i: 2^%i becomes 2^%i', (granule, level, leafLg2, runLg2) => {
    const { w, va } = run(granule, level, leafLg2, greedy)
    const last = (1n << BigInt(runLg2)) - 1n
    expect([w.read(va), w.read(va + last)]).toEqual(['0x0', `0x${last.toString(16)}`])
    expect([w.read(va - 1n), w.read(va + last + 1n)]).toEqual(['abort', 'abort'])
    // Any address of it drops all of it.
    w.command(0x12n | ASID, (va + last) & ~0xfffn, 0x46n, 0n)
    expect(w.read(va)).toBe('abort')
    expect(w.read(va + (1n << BigInt(leafLg2)))).not.toBe('abort')
  })

  it.each(runs)('and real parts do not: granule 2^%i, level %i', (granule, level, leafLg2) => {
    const { w, va } = run(granule, level, leafLg2, {})
    expect(w.read(va)).toBe('abort')
  })

  it('by range too, where the range reaches into it', () => {
    for (const [pages, gone] of [
      [1n, false],
      [2n, true],
    ] as const) {
      const { w, va } = run(12, 3, 12, greedy)
      w.command(0x12n | ASID | (pages << 12n), (va - 0x2000n) | (1n << 10n), 0x46n, 0n)
      expect(w.read(va) === 'abort').toBe(gone)
    }
  })

  it('unless its output is not aligned as software has to align it', () => {
    const w = new World(0b101, { caches: greedy })
    w.one.set(A + 0x1000n, 3, (FRAME + 0x2000n) | PAGE | CONTIGUOUS)
    w.apply()
    expect([w.read(A + 0x1000n), w.read(A)]).toEqual(['0x40002000', 'abort'])
  })

  it('unless it is more than the input may be', () => {
    const w = new World(0b101, { caches: greedy })
    // 25 bits are just one run of 2 MiB blocks; with 1 GiB blocks it would be more than 31 bits hold.
    for (const [bits, level, whole] of [
      [25, 2, true],
      [31, 1, false],
    ] as const) {
      const tables = stage1(w, 12, bits, 0)
      tables.set(0n, level, 0n | (PAGE & ~2n) | CONTIGUOUS)
      w.apply()
      const next = 1n << (level === 2 ? 21n : 30n)
      expect(w.read(0n)).toBe('0x0')
      expect(w.read(next) !== 'abort').toBe(whole)
    }
  })

  it('unless its level has no runs', () => {
    // A block of 4 TiB with 64 KiB granules, which addresses of 52 bits allow.
    const w = new World(0b101, { caches: greedy, deny: { IDR5: 7 }, offer: { IDR5: 6 | (1 << 10) } })
    const tables = stage1(w, 16, 48, 0)
    tables.set(0n, 1, (PAGE & ~2n & ~0xf000n) | CONTIGUOUS)
    w.cd[0] |= 6n << 32n
    w.apply()
    expect([w.read(0x3ff_ffff_f000n), w.read(0x400_0000_0000n)]).toEqual(['0x3fffffff000', 'abort'])
  })

  it('unless it is more than the output may be', () => {
    const w = new World(0b101, { caches: greedy })
    // IPS 0: 32 bits of output, less than a run of 1 GiB blocks.
    w.one.set(A & ~0x3_ffff_ffffn, 1, (PAGE & ~2n) | CONTIGUOUS)
    w.cd[0] &= ~(7n << 32n)
    w.apply()
    const first = A & ~0x3_ffff_ffffn
    expect([w.read(first), w.read(first + 0x4000_0000n)]).toEqual(['0x0', 'abort'])
  })

  it('of stage 2, alone and behind stage 1', () => {
    const alone = new World(0b110, { caches: greedy })
    alone.two.set(A, 3, FRAME | S2_PAGE | CONTIGUOUS)
    alone.apply()
    expect([alone.read(A), alone.read(A + 0xf000n)]).toEqual(['0x40000000', '0x4000f000'])
    alone.command(0x2an | VMID, A + 0x7000n, 0x46n, 0n)
    expect(alone.read(A + 0xf000n)).toBe('abort')

    const both = new World(0b111, { caches: greedy })
    both.one.set(A, 3, (GUEST + FRAME) | PAGE | CONTIGUOUS)
    both.apply()
    expect([both.read(A), both.read(A + 0xf000n)]).toEqual(['0x40000000', '0x4000f000'])
    // A piece of stage 2 smaller than the run of stage 1 is what is kept, and any address of the run drops it.
    for (let i = 0n; i < 0x200n; i++) {
      both.two.set(GUEST + FRAME + i * 0x1000n, 3, (FRAME + i * 0x1000n) | S2_PAGE)
    }
    both.forget()
    expect([both.read(A), both.read(A + 0xf000n)]).toEqual(['0x40000000', 'abort'])
    both.one.set(A, 3, 0n)
    both.command(0x12n | ASID, A + 0x8000n, 0x46n, 0n)
    expect(both.read(A)).toBe('abort')
  })
})

describe('greedy keeps what denies', () => {
  const readOnly = PAGE | 0x80n

  it.each([
    ['hardware', '0x40000000'],
    ['greedy', 'abort'],
  ] as const)('of stage 1: a page that becomes writable is, with %s, %s', (policy, expected) => {
    const w = new World(0b101, { caches: { policy } })
    w.one.set(A, 3, FRAME | readOnly)
    w.apply()
    expect(w.write(A)).toBe('abort')
    w.one.set(A, 3, FRAME | PAGE)
    expect(w.write(A)).toBe(expected)
    w.command(0x12n | ASID, A | 1n, 0x46n, 0n)
    expect(w.write(A)).toBe('0x40000000')
  })

  it.each([
    ['hardware', '0x40000000'],
    ['greedy', 'abort'],
  ] as const)('of stage 2 behind it: with %s, %s', (policy, expected) => {
    const w = new World(0b111, { caches: { policy } })
    w.one.set(A, 3, (GUEST + FRAME) | PAGE)
    w.two.set(GUEST + FRAME, 1, FRAME | (S2_BLOCK & ~0x80n))
    w.apply()
    expect(w.write(A)).toBe('abort')
    w.two.set(GUEST + FRAME, 1, FRAME | S2_BLOCK)
    w.command(0x2an | VMID, GUEST + FRAME, 0x46n, 0n)
    expect(w.write(A)).toBe(expected)
    w.command(0x10n | VMID, 0n, 0x46n, 0n)
    expect(w.write(A)).toBe('0x40000000')
    // S2, CLASS IN, F_PERMISSION, whether it was kept or walked.
    expect(new Set(w.events()).size).toBe(1)
  })

  it('and not one whose access flag hardware has yet to set', () => {
    const w = new World(0b101, { preset: 'full', caches: { policy: 'greedy' } })
    w.cd[0] |= 1n << 43n
    const slot = w.one.set(A, 3, FRAME | (readOnly & ~0x400n))
    w.apply()
    expect(w.write(A)).toBe('abort')
    expect(numbersOf(w, 'tlb').live).toBe(0)
    expect(w.read(A)).toBe('0x40000000')
    expect(w.load(slot) & 0x400n).toBe(0x400n)
  })
})

describe('replacement', () => {
  /** Which of eight pages are left in a TLB of one set of four ways. */
  function left(caches: CacheOptions): number[] {
    const w = side({ tlb: { entries: 4, ways: 4 }, ...caches })
    for (let i = 0; i < 8; i++) w.read(page(i))
    for (let i = 0; i < 8; i++) w.one.set(page(i), 3, 0n)
    const found = Array.from({ length: 8 }, (_, i) => i).filter((i) => w.read(page(i)) !== 'abort')
    expect(numbersOf(w, 'tlb').evictions).toBe(4)
    return found
  }

  it('takes turns where nothing is said', () => {
    expect(left({})).toEqual([4, 5, 6, 7])
  })

  it('by chance is the same for the same seed, and another for another', () => {
    const random = (seed: number): string => left({ replacement: 'random', seed }).join()
    const seeds = Array.from({ length: 16 }, (_, seed) => seed)
    expect(seeds.map(random)).toEqual(seeds.map(random))
    expect(new Set(seeds.map(random)).size).toBeGreaterThan(4)
  })

  it('by chance is so for configuration too', () => {
    const survivors = (seed: number): string => {
      const w = side({ configEntries: 4, replacement: 'random', seed })
      for (let sid = 0; sid < 8; sid++) w.storeSte(sid, 0b1001n)
      for (let sid = 0; sid < 8; sid++) w.read(A, { sid })
      for (let sid = 0; sid < 8; sid++) w.storeSte(sid, 0n)
      return [7, 6, 5, 4, 3, 2, 1, 0].filter((sid) => w.read(A, { sid }) !== 'abort').join()
    }
    expect(survivors(1)).toBe(survivors(1))
    expect(new Set(Array.from({ length: 16 }, (_, seed) => survivors(seed))).size).toBeGreaterThan(2)
  })
})

describe('wide invalidation', () => {
  const wide: CacheOptions = { invalidation: 'wide' }

  /** Streams of VMID 5 and 6 on stage 1, of EL2, and of VMID 5 on stage 2; names of those that lost their entry. */
  function gone(caches: CacheOptions, ...command: readonly bigint[]): string[] {
    const w = new World(0b101, { preset: 'full', caches })
    w.one.set(A, 3, FRAME | PAGE)
    w.apply()
    w.storeSte(2, w.ste[0], w.ste[1], 6n)
    w.storeSte(3, w.ste[0], w.ste[1] | (2n << 30n))
    w.storeSte(4, 0b1101n, 0n, 0x044d_3590_0000_0005n, w.two.root)
    const streams = { five: SID, six: 2, el2: 3, two: 4 } as const
    w.two.set(A, 3, FRAME | S2_PAGE)
    for (const sid of Object.values(streams)) expect(w.read(A, { sid })).toBe('0x40000000')
    w.one.set(A, 3, 0n)
    w.two.set(A, 3, 0n)
    w.command(...command)
    return Object.entries(streams).flatMap(([name, sid]) => (w.read(A, { sid }) === 'abort' ? [name] : []))
  }

  it.each([
    ['NH_VA of another page', [0x12n | ASID, 0n], [], ['five', 'two']],
    ['NH_ASID of another', [0x11n | VMID | (9n << 48n), 0n], [], ['five', 'two']],
    ['NH_VAA of another page', [0x13n | VMID, 0n], [], ['five', 'two']],
    ['NH_ALL', [0x10n | VMID, 0n], ['five'], ['five', 'two']],
    ['S2_IPA', [0x2an | VMID, A], ['two'], ['five', 'two']],
    ['S2_IPA of another IPA', [0x2an | VMID, 0n], [], ['five', 'two']],
    ['S12_VMALL', [0x28n | VMID, 0n], ['five', 'two'], ['five', 'two']],
    ['S12_VMALL of VMID 6', [0x28n | (6n << 32n), 0n], ['six'], ['six']],
    ['NSNH_ALL', [0x30n, 0n], ['five', 'six', 'two'], ['five', 'six', 'el2', 'two']],
    ['EL2_VA of another page', [0x22n, 0n], [], ['el2']],
    ['EL2_VAA of another page', [0x23n, 0n], [], ['el2']],
    ['EL2_ASID', [0x21n, 0n], [], ['el2']],
    ['EL2_ALL', [0x20n, 0n], ['el2'], ['el2']],
    ['CFGI_CD of another stream', [0x05n | (9n << 32n), 1n], [], ['five', 'six', 'el2', 'two']],
    ['CFGI_CD_ALL of another stream', [0x06n | (9n << 32n), 0n], [], ['five', 'six', 'el2', 'two']],
    ['CFGI_STE of another stream', [0x03n | (9n << 32n), 1n], [], ['five', 'six', 'el2', 'two']],
    ['CFGI_STE_RANGE of others', [0x04n | (32n << 32n), 0n], [], ['five', 'six', 'el2', 'two']],
    ['SYNC', [0x46n, 0n], [], []],
  ] as const)('%s', (_name, command, exact, over) => {
    expect(gone({}, ...command)).toEqual(exact)
    expect(gone(wide, ...command)).toEqual(over)
  })

  it('drops table entries and configuration with the rest', () => {
    for (const [caches, live] of [
      [{}, [1, 1]],
      [wide, [0, 0]],
    ] as const) {
      const w = side(caches)
      w.read(A)
      w.command(0x03n | (9n << 32n), 1n)
      const alive = w.unit.cacheStatistics.filter(({ name }) => name === 'ste' || name === 'cd')
      expect(alive.map((each) => each.live)).toEqual(live)
      expect(numbersOf(w, 'walk1').live > 0).toBe(live[0] === 1)
    }
  })
})
