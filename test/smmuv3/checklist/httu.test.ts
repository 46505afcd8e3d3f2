/** Access flag and dirty state, kept by hardware. [SMMU 3.13 Translation tables and Access flag/Dirty state] */

import { describe, expect, it } from 'vitest'
import { type GuestOptions, hex, ROM, VA } from './guest.js'
import { BLOCK, GUEST, PAGE, S2_BLOCK, S2_PAGE, World } from './tables.js'

const S1 = 0b101
const S2 = 0b110
const NESTED = 0b111

/** IDR0.HTTU: 0 none, 1 access flag, 2 dirty state too. */
const httu = (value: number): GuestOptions => ({ deny: { IDR0: 3 << 6 }, offer: { IDR0: value << 6 } })

const HA = 1n << 43n
const HD = 1n << 42n
const S2HA = 1n << 56n
const S2HD = 1n << 55n
const DBM = 1n << 51n
const AF = 0x400n
/** AP[2] of stage 1: read-only. S2AP[1] of stage 2: writable. */
const READ_ONLY = 0x80n
const WRITABLE = 0x80n

const aborted = (ended: string): string => (ended === 'abort' ? 'abort' : 'ok')

/** A stage 1 page `entry` under CD flags, read or written: how it ends, and what its entry is then. */
function stage1(
  entry: bigint,
  flags: bigint,
  access: 'read' | 'write',
  how = {},
  extra: (w: World) => void = () => undefined,
): [string, bigint] {
  const w = new World(S1, httu(2))
  const at = w.one.set(VA, 3, w.page | entry)
  w.cd[0] |= flags
  extra(w)
  w.apply()
  const ended = w[access](VA, how)
  return [aborted(ended), w.load(at) & ~w.page]
}

function stage2(entry: bigint, flags: bigint, access: 'read' | 'write'): [string, bigint] {
  const w = new World(S2, httu(2))
  const at = w.two.set(VA, 3, w.page | entry)
  w.ste[2] |= flags
  w.apply()
  return [aborted(w[access](VA)), w.load(at) & ~w.page]
}

const CLEAN = PAGE | READ_ONLY | DBM
const S2_CLEAN = (S2_PAGE & ~WRITABLE) | DBM

describe('the access flag of stage 1', () => {
  const old = PAGE & ~AF
  it('is set with HA, by a read and by a write', () => {
    expect(stage1(old, HA, 'read')).toEqual(['ok', PAGE])
    expect(stage1(old, HA, 'write')).toEqual(['ok', PAGE])
  })

  it('is F_ACCESS without HA, and with HD alone, which is neither', () => {
    expect(stage1(old, 0n, 'read')).toEqual(['abort', old])
    expect(stage1(old, HD, 'read')).toEqual(['abort', old])
  })

  it('is set with HA although AFFD says that it does not count', () => {
    expect(stage1(old, HA | (1n << 35n), 'read')).toEqual(['ok', PAGE])
    expect(stage1(old, 1n << 35n, 'read')).toEqual(['ok', old])
  })

  it('is set in a block', () => {
    const w = new World(S1, httu(1))
    const at = w.one.set(0x4000_0000n, 1, 0x8000_0000n | (BLOCK & ~AF))
    w.cd[0] |= HA
    w.apply()
    expect([w.read(0x4123_4567n), w.load(at)]).toEqual(['0x81234567', 0x8000_0000n | BLOCK])
  })

  it('is never cleared, and set anew when software cleared it and invalidated', () => {
    const w = new World(S1, httu(2))
    const at = w.one.set(VA, 3, w.page | PAGE)
    w.cd[0] |= HA
    w.apply()
    w.read(VA)
    expect(w.load(at)).toBe(w.page | PAGE)
    w.store(at, w.page | old)
    w.forget()
    w.read(VA)
    expect(w.load(at)).toBe(w.page | PAGE)
  })

  it('is not to be had in memory that may not be written: F_WALK_EABT', () => {
    const w = new World(S1, httu(2))
    w.cd[0] |= HA
    w.one.set(VA, 2, ROM | 3n)
    w.rom[0x189] = w.page | old
    w.apply()
    expect([w.read(VA), w.events()]).toEqual(['abort', ['100000000b 10800000000 123456789abc 200000c48']])
  })
})

describe('the dirty state of stage 1', () => {
  it('turns a clean page writable on a write, and on no read', () => {
    expect(stage1(CLEAN, HA | HD, 'write')).toEqual(['ok', PAGE | DBM])
    expect(stage1(CLEAN, HA | HD, 'read')).toEqual(['ok', CLEAN])
  })

  it('sets the access flag with it', () => {
    expect(stage1(CLEAN & ~AF, HA | HD, 'write')).toEqual(['ok', PAGE | DBM])
  })

  it('needs HD, HA and DBM', () => {
    expect(stage1(CLEAN, HA, 'write')).toEqual(['abort', CLEAN])
    expect(stage1(CLEAN, HD, 'write')).toEqual(['abort', CLEAN])
    expect(stage1(CLEAN, 0n, 'write')).toEqual(['abort', CLEAN])
    expect(stage1(CLEAN & ~DBM, HA | HD, 'write')).toEqual(['abort', CLEAN & ~DBM])
  })

  it('leaves a page that is writable as it is', () => {
    expect(stage1(PAGE | DBM, HA | HD, 'write')).toEqual(['ok', PAGE | DBM])
    expect(stage1(PAGE, HA | HD, 'write')).toEqual(['ok', PAGE])
  })

  it('is no way round other denials: APTable, and privilege', () => {
    const table = (w: World): void => {
      w.one.set(VA, 3, w.page | CLEAN, 2n << 61n)
    }
    expect(stage1(CLEAN, HA | HD, 'write', {}, table)).toEqual(['abort', CLEAN])
    const kernel = CLEAN & ~0x40n
    expect(stage1(kernel, HA | HD, 'write')).toEqual(['abort', kernel])
    expect(stage1(kernel, HA | HD, 'write', { priv: true })).toEqual(['ok', kernel & ~READ_ONLY])
    expect(stage1(CLEAN, HA | HD | (1n << 40n), 'write', { priv: true })).toEqual(['abort', CLEAN])
  })

  it('is kept also when a read has the clean page cached', () => {
    const w = new World(S1, httu(2))
    const at = w.one.set(VA, 3, w.page | CLEAN)
    w.cd[0] |= HA | HD
    w.apply()
    w.read(VA)
    expect(w.load(at)).toBe(w.page | CLEAN)
    expect([w.write(VA), w.load(at)]).toEqual([hex(w.page + 0xabcn), w.page | PAGE | DBM])
    w.store(at, 0n)
    expect(w.write(VA)).toBe(hex(w.page + 0xabcn))
  })

  it('meets an entry that was changed since it was cached, and does not write over that', () => {
    const w = new World(S1, httu(2))
    const at = w.one.set(VA, 3, w.page | CLEAN)
    w.cd[0] |= HA | HD
    w.apply()
    w.read(VA)
    w.store(at, 0n)
    w.write(VA)
    expect(w.load(at)).toBe(0n)
  })

  it('has a clean page count as writable where execution is denied for that', () => {
    for (const [flags, ended] of [
      [HA | HD | (1n << 36n), 'abort'],
      [HA | (1n << 36n), 'ok'],
    ] as const) {
      const w = new World(S1, httu(2))
      w.one.set(VA, 3, w.page | CLEAN)
      w.cd[0] |= flags
      w.apply()
      expect(aborted(w.fetch(VA))).toBe(ended)
    }
  })
})

describe('IDR0.HTTU', () => {
  it('of 0 makes HA, HD, S2HA, S2HD ILLEGAL, of 1 HD and S2HD', () => {
    for (const [value, flag, event] of [
      [0, HA, '0xa'],
      [0, HD, '0xa'],
      [1, HD, '0xa'],
      [1, HA | HD, '0xa'],
      [1, HA, undefined],
      [2, HD, undefined],
    ] as const) {
      const w = new World(S1, httu(value))
      w.cd[0] |= flag
      w.apply()
      w.read(VA)
      expect(w.kinds(), `HTTU ${value}, ${hex(flag)}`).toEqual(event === undefined ? [] : [event])
    }
    for (const [value, flag, event] of [
      [0, S2HA, '0x4'],
      [0, S2HD, '0x4'],
      [1, S2HD, '0x4'],
      [1, S2HA, undefined],
      [2, S2HD, undefined],
    ] as const) {
      const w = new World(S2, httu(value))
      w.ste[2] |= flag
      w.apply()
      w.read(GUEST)
      expect(w.kinds(), `HTTU ${value}, ${hex(flag)}`).toEqual(event === undefined ? [] : [event])
    }
  })
})

describe('the flags of stage 2', () => {
  it('are set as those of stage 1 are', () => {
    expect(stage2(S2_PAGE & ~AF, S2HA, 'read')).toEqual(['ok', S2_PAGE])
    expect(stage2(S2_PAGE & ~AF, 0n, 'read')).toEqual(['abort', S2_PAGE & ~AF])
    expect(stage2(S2_PAGE & ~AF, S2HD, 'read')).toEqual(['abort', S2_PAGE & ~AF])
    expect(stage2(S2_PAGE & ~AF, S2HA | (1n << 53n), 'read')).toEqual(['ok', S2_PAGE])
    expect(stage2(S2_CLEAN, S2HA | S2HD, 'write')).toEqual(['ok', S2_PAGE | DBM])
    expect(stage2(S2_CLEAN, S2HA | S2HD, 'read')).toEqual(['ok', S2_CLEAN])
    expect(stage2(S2_CLEAN, S2HA, 'write')).toEqual(['abort', S2_CLEAN])
    expect(stage2(S2_CLEAN & ~DBM, S2HA | S2HD, 'write')).toEqual(['abort', S2_CLEAN & ~DBM])
    expect(stage2(S2_CLEAN & ~AF, S2HA | S2HD, 'write')).toEqual(['ok', S2_PAGE | DBM])
  })
})

describe('flags of both stages', () => {
  /** Nested: VA at a page of its own IPA, CD and tables of stage 1 in 2 MiB blocks of their own. */
  class Both extends World {
    readonly data = 0x7_0000_0000n
    readonly tables: bigint
    readonly context1: bigint
    readonly dataEntry: bigint
    readonly leafEntry: bigint

    constructor(leaf: bigint, data: bigint, tables: bigint, context = S2_BLOCK) {
      super(NESTED, httu(2))
      // The same memory at three IPAs: data in pages, tables of stage 1 from 32 GiB, the CD from 36 GiB.
      this.dataEntry = this.two.set(this.data, 3, this.page | data)
      this.tables = this.two.set(0x8_0000_0000n, 1, tables)
      this.context1 = this.two.set(0x9_0000_0000n, 1, context)
      const inner = 0x8_0000_0000n
      const root = this.alloc()
      const [a, b, c] = [this.alloc(), this.alloc(), this.alloc()]
      this.store(root + 0x24n * 8n, (inner + a) | 3n)
      this.store(a + 0xd1n * 8n, (inner + b) | 3n)
      this.store(b + 0xb3n * 8n, (inner + c) | 3n)
      this.leafEntry = c + 0x189n * 8n
      this.store(this.leafEntry, this.data | leaf)
      this.cd[0] |= HA | HD
      this.cd[1] = inner + root
      this.ste[0] = (0x9_0000_0000n + this.context) | 0xfn
      this.ste[2] |= S2HA | S2HD
      this.apply()
    }
  }

  it('are set in both on a write to a page that is clean in both', () => {
    const w = new Both(CLEAN, S2_CLEAN, S2_BLOCK)
    expect(w.write(VA)).toBe(hex(w.page + 0xabcn))
    expect([w.load(w.leafEntry), w.load(w.dataEntry)]).toEqual([w.data | PAGE | DBM, w.page | S2_PAGE | DBM])
  })

  it('have the page of a table that is written be dirty at stage 2, and only then', () => {
    const clean = (S2_BLOCK & ~WRITABLE) | DBM
    const w = new Both(CLEAN, S2_PAGE, clean)
    w.read(VA)
    expect(w.load(w.tables)).toBe(clean)
    w.forget()
    expect(w.write(VA)).toBe(hex(w.page + 0xabcn))
    expect(w.load(w.tables)).toBe(S2_BLOCK | DBM)
    const access = new Both(PAGE & ~AF, S2_PAGE, clean & ~AF)
    access.read(VA)
    expect([access.load(access.tables), access.load(access.leafEntry)]).toEqual([S2_BLOCK | DBM, access.data | PAGE])
  })

  it('are F_PERMISSION of class TT, of a write, where stage 2 has the table read-only', () => {
    const w = new Both(PAGE & ~AF, S2_PAGE, S2_BLOCK & ~WRITABLE)
    expect(w.read(VA)).toBe('abort')
    const entry = (0x8_0000_0000n + w.leafEntry) & ~0xfffn
    expect(w.events()).toEqual([`1000000013 18800000000 123456789abc ${entry.toString(16)}`])
    expect(w.load(w.leafEntry)).toBe(w.data | (PAGE & ~AF))
  })

  it('have the page of a CD accessed, but never dirty', () => {
    const w = new Both(PAGE, S2_PAGE, S2_BLOCK, (S2_BLOCK & ~WRITABLE & ~AF) | DBM)
    expect(w.write(VA)).toBe(hex(w.page + 0xabcn))
    expect(w.load(w.context1)).toBe((S2_BLOCK & ~WRITABLE) | DBM)
  })

  it('are not dirty at stage 2 where stage 1 denies the write', () => {
    const w = new Both(PAGE | READ_ONLY, S2_CLEAN, S2_BLOCK)
    expect([w.write(VA), w.load(w.dataEntry)]).toEqual(['abort', w.page | S2_CLEAN])
  })

  it('are dirty at stage 1 where stage 2 then denies the write', () => {
    const w = new Both(CLEAN, S2_PAGE & ~WRITABLE, S2_BLOCK)
    expect([w.write(VA), w.events()]).toEqual(['abort', ['1000000013 28000000000 123456789abc 700000000']])
    expect(w.load(w.dataEntry)).toBe(w.page | (S2_PAGE & ~WRITABLE))
  })
})

describe('a prefetch', () => {
  it('marks nothing dirty', () => {
    const w = new World(S1, httu(2))
    const at = w.one.set(VA, 3, w.page | CLEAN)
    w.cd[0] |= HA | HD
    w.apply()
    w.command((0x10n << 32n) | 2n, VA & ~0xfffn, 0x46n, 0n)
    expect(w.load(at)).toBe(w.page | CLEAN)
  })
})
