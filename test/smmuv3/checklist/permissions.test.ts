/** Access flag and permissions of both stages. [Arm D8.4 Memory access control] */

import { describe, expect, it } from 'vitest'
import { type GuestOptions, VA } from './guest.js'
import { BLOCK, PAGE, S2_BLOCK, World } from './tables.js'

const S1 = 0b101
const S2 = 0b110
const NESTED = 0b111

const PAN = 1n << 40n
const WXN = 1n << 36n
const UXN = 1n << 54n
const PXN = 1n << 53n
/** An unprivileged and a privileged page of stage 1 without AP. */
const BARE = PAGE & ~0xc0n

const AP = (ap: bigint): bigint => BARE | (ap << 6n)

/** What an unprivileged and a privileged master may do, `r w x` each. */
function may(w: World, va = VA): string {
  return [false, true]
    .map((priv) =>
      [w.read(va, { priv }), w.write(va, { priv }), w.fetch(va, { priv })]
        .map((ended, i) => (ended === 'abort' ? '-' : 'rwx'[i]))
        .join(''),
    )
    .join(' ')
}

/** The same for a page of stage 1 whose entry and CD are these. */
function stage1(entry: bigint, cd = 0n, tableBits = 0n, options: GuestOptions = {}): string {
  const w = new World(S1, options)
  w.one.set(VA, 3, w.page | entry, tableBits)
  w.cd[0] |= cd
  w.apply()
  const cold = may(w)
  // What is cached is checked again for each access.
  expect(may(w)).toBe(cold)
  return cold
}

describe('AP[2:1] of stage 1', () => {
  it('0 is for privileged masters alone', () => expect(stage1(AP(0n))).toBe('--x rwx'))
  it('1 is for all, and not to be executed by privileged ones', () => expect(stage1(AP(1n))).toBe('rwx rw-'))
  it('2 is for privileged masters alone, read-only', () => expect(stage1(AP(2n))).toBe('--x r-x'))
  it('3 is for all, read-only', () => expect(stage1(AP(3n))).toBe('r-x r-x'))

  it('is F_PERMISSION of class IN, with what the master wanted', () => {
    const w = new World(S1)
    w.one.set(VA, 3, w.page | AP(2n) | PXN | UXN)
    w.read(VA)
    w.write(VA, { priv: true })
    w.fetch(VA, { priv: true })
    expect(w.events()).toEqual([
      '1000000013 20800000000 123456789abc 0',
      '1000000013 20200000000 123456789abc 0',
      '1000000013 20e00000000 123456789abc 0',
    ])
  })
})

describe('UXN and PXN of stage 1', () => {
  it('each keep one kind of master from executing', () => {
    expect(stage1(AP(3n) | UXN)).toBe('r-- r-x')
    expect(stage1(AP(3n) | PXN)).toBe('r-x r--')
    expect(stage1(AP(0n) | UXN)).toBe('--- rwx')
    expect(stage1(AP(0n) | PXN)).toBe('--x rw-')
  })
})

describe('WXN', () => {
  it('keeps what may be written from being executed, by whoever may write it', () => {
    expect(stage1(AP(0n), WXN)).toBe('--x rw-')
    expect(stage1(AP(1n), WXN)).toBe('rw- rw-')
    expect(stage1(AP(2n), WXN)).toBe('--x r-x')
    expect(stage1(AP(3n), WXN)).toBe('r-x r-x')
  })
})

describe('PAN', () => {
  it('keeps privileged data accesses from what an unprivileged master may read', () => {
    expect(stage1(AP(1n), PAN)).toBe('rwx ---')
    expect(stage1(AP(3n), PAN)).toBe('r-x --x')
    expect(stage1(AP(0n), PAN)).toBe('--x rwx')
    expect(stage1(AP(2n), PAN)).toBe('--x r-x')
  })
})

describe('APTable, UXNTable, PXNTable', () => {
  const APT = (ap: bigint): bigint => ap << 61n
  it('take rights from everything below: 1 those of unprivileged masters, 2 those to write', () => {
    expect(stage1(AP(1n), 0n, APT(1n))).toBe('--x rwx')
    expect(stage1(AP(1n), 0n, APT(2n))).toBe('r-x r-x')
    expect(stage1(AP(1n), 0n, APT(3n))).toBe('--x r-x')
    expect(stage1(AP(3n), 0n, 1n << 60n)).toBe('r-- r-x')
    expect(stage1(AP(3n), 0n, 1n << 59n)).toBe('r-x r--')
  })

  it('count from each level, and add up', () => {
    for (const level of [0, 1, 2]) {
      const w = new World(S1)
      const entry = w.one.set(VA, level, 0n)
      w.one.set(VA, 3, w.page | AP(1n))
      w.store(entry, w.load(entry) | APT(2n) | (1n << 60n))
      w.forget()
      expect(may(w), `level ${level}`).toBe('r-- r-x')
    }
    const w = new World(S1)
    const top = w.one.set(VA, 0, 0n)
    w.one.set(VA, 3, w.page | AP(1n))
    const middle = w.load(top) & 0xffff_ffff_f000n
    w.store(top, w.load(top) | APT(1n))
    const index = ((VA >> 30n) & 511n) * 8n
    w.store(middle + index, w.load(middle + index) | APT(2n))
    w.forget()
    expect(may(w)).toBe('--x r-x')
  })

  it('count for blocks too', () => {
    const w = new World(S1)
    w.one.set(0x4000_0000n, 1, 0x8000_0000n | BLOCK, APT(2n))
    w.forget()
    expect(may(w, 0x4000_1000n)).toBe('r-x r-x')
  })

  it('say nothing with HAD, each half for itself', () => {
    const all = APT(3n) | (3n << 59n)
    const w = new World(S1)
    w.one.set(VA, 3, w.page | AP(1n), all)
    expect(may(w)).toBe('--- r--')
    w.cd[1] |= 2n
    w.apply()
    expect(may(w)).toBe('rwx rw-')
    w.cd[1] &= ~2n
    w.cd[2] |= 2n
    w.apply()
    expect(may(w)).toBe('--- r--')
  })

  it('say nothing with HAD only where the unit has it', () => {
    const w = new World(S1, { deny: { IDR3: 1 << 2 } })
    w.one.set(VA, 3, w.page | AP(1n), APT(3n))
    w.cd[1] |= 2n
    w.apply()
    expect(may(w)).toBe('--x r-x')
  })
})

/** Stage 2 with these bits instead of S2AP and XN. */
function stage2(s2ap: bigint, xn: bigint, options: GuestOptions = {}): string {
  const w = new World(S2, options)
  w.two.set(0x7_0000_0000n, 1, (S2_BLOCK & ~0xc0n) | (s2ap << 6n) | (xn << 53n))
  w.apply()
  const cold = may(w, 0x7_0000_1000n)
  expect(may(w, 0x7_0000_1000n)).toBe(cold)
  return cold
}

describe('S2AP', () => {
  it('has one bit to read and one to write, and executing needs neither', () => {
    expect(stage2(0n, 0n)).toBe('--x --x')
    expect(stage2(1n, 0n)).toBe('r-x r-x')
    expect(stage2(2n, 0n)).toBe('-wx -wx')
    expect(stage2(3n, 0n)).toBe('rwx rwx')
  })

  it('is F_PERMISSION of stage 2 with the IPA', () => {
    const w = new World(S2)
    w.two.set(0x7_0000_0000n, 1, S2_BLOCK & ~0xc0n)
    w.write(0x7_0000_1234n)
    expect(w.events()).toEqual(['1000000013 28000000000 700001234 700001000'])
  })
})

describe('XN of stage 2', () => {
  const NO_XNX: GuestOptions = { deny: { IDR3: 1 << 4 } }
  it('with XNX says who may execute', () => {
    expect(stage2(3n, 0n)).toBe('rwx rwx')
    expect(stage2(3n, 1n)).toBe('rwx rw-')
    expect(stage2(3n, 2n)).toBe('rw- rw-')
    expect(stage2(3n, 3n)).toBe('rw- rwx')
  })

  it('without XNX is bit 54 alone, for all', () => {
    expect([0n, 1n, 2n, 3n].map((xn) => stage2(3n, xn, NO_XNX))).toEqual([
      ...['rwx rwx', 'rwx rwx'],
      ...['rw- rw-', 'rw- rw-'],
    ])
  })
})

describe('both stages together', () => {
  /** A nested page with these entries. */
  function nested(one: bigint, s2ap: bigint, xn = 0n): World {
    const w = new World(NESTED)
    w.two.set(0x7_0000_0000n, 1, (S2_BLOCK & ~0xc0n) | (s2ap << 6n) | (xn << 53n))
    w.one.set(VA, 3, 0x7_0000_0000n | one)
    w.forget()
    return w
  }

  it('grant what both do', () => {
    expect(may(nested(AP(1n), 3n))).toBe('rwx rw-')
    expect(may(nested(AP(1n), 1n))).toBe('r-x r--')
    expect(may(nested(AP(2n), 3n))).toBe('--x r-x')
    expect(may(nested(AP(2n), 2n, 2n))).toBe('--- ---')
    expect(may(nested(AP(3n), 3n, 3n))).toBe('r-- r-x')
  })

  it('name the stage that denies, also when the answer is cached: stage 1 first', () => {
    const w = nested(AP(3n), 1n)
    for (let i = 0; i < 2; i++) {
      w.read(VA)
      w.write(VA)
      expect(w.events()).toEqual(['1000000013 20000000000 123456789abc 0'])
    }
    const two = nested(AP(1n), 1n)
    for (let i = 0; i < 2; i++) {
      two.read(VA)
      two.write(VA)
      expect(two.events()).toEqual(['1000000013 28000000000 123456789abc 700000000'])
    }
  })

  it('see access flags in order: stage 1, its permission, then stage 2', () => {
    const w = new World(NESTED)
    w.two.set(0x7_0000_0000n, 1, S2_BLOCK & ~0x480n)
    w.one.set(VA, 3, 0x7_0000_0000n | (AP(3n) & ~0x400n))
    w.write(VA)
    w.one.set(VA, 3, 0x7_0000_0000n | AP(3n))
    w.forget()
    w.write(VA)
    w.one.set(VA, 3, 0x7_0000_0000n | AP(1n))
    w.forget()
    w.write(VA)
    w.two.set(0x7_0000_0000n, 1, S2_BLOCK & ~0x80n)
    w.forget()
    w.write(VA)
    expect(w.events()).toEqual([
      '1000000012 20000000000 123456789abc 0',
      '1000000013 20000000000 123456789abc 0',
      '1000000012 28000000000 123456789abc 700000000',
      '1000000013 28000000000 123456789abc 700000000',
    ])
  })
})

describe('the access flag, without hardware updates', () => {
  it('that is clear is F_ACCESS of its stage, before any permission', () => {
    const w = new World(S1)
    w.one.set(VA, 3, w.page | (AP(2n) & ~0x400n))
    expect([w.write(VA), w.events()]).toEqual(['abort', ['1000000012 20000000000 123456789abc 0']])
    const two = new World(S2)
    two.two.set(0x7_0000_0000n, 1, S2_BLOCK & ~0x4c0n)
    expect([two.read(0x7_0000_0000n), two.events()]).toEqual(['abort', ['1000000012 28800000000 700000000 700000000']])
  })

  it('does not count with AFFD, nor with S2AFFD', () => {
    const w = new World(S1)
    const entry = w.one.set(VA, 3, w.page | (PAGE & ~0x400n))
    w.cd[0] |= 1n << 35n
    w.apply()
    expect(may(w)).toBe('rwx rw-')
    expect(w.load(entry)).toBe(w.page | (PAGE & ~0x400n))
    const two = new World(S2)
    two.two.set(0x7_0000_0000n, 1, S2_BLOCK & ~0x400n)
    two.ste[2] |= 1n << 53n
    two.apply()
    expect(may(two, 0x7_0000_0000n)).toBe('rwx rwx')
  })

  it('that is clear is not cached: the next access sees it set without an invalidation', () => {
    const w = new World(S1)
    w.one.set(VA, 3, w.page | (PAGE & ~0x400n))
    w.read(VA)
    w.one.set(VA, 3, w.page | PAGE)
    expect(w.read(VA)).not.toBe('abort')
  })
})

describe('PRIVCFG and INSTCFG [SMMU 5.2 STE.PRIVCFG]', () => {
  const configured = (priv: bigint, inst: bigint, entry: bigint, options: GuestOptions = {}): World => {
    const w = new World(S1, options)
    w.ste[1] |= (priv << 48n) | (inst << 50n)
    w.one.set(VA, 3, w.page | entry)
    return w.apply()
  }

  it('make every access privileged or unprivileged, or leave it', () => {
    expect([0n, 1n, 2n, 3n].map((priv) => may(configured(priv, 0n, AP(0n))))).toEqual([
      ...['--x rwx', '--x rwx'],
      ...['--x --x', 'rwx rwx'],
    ])
  })

  it('make every read one of data or of instructions, and leave writes data', () => {
    const w = AP(1n) | UXN | PXN
    expect([0n, 1n, 2n, 3n].map((inst) => may(configured(0n, inst, w)))).toEqual([
      ...['rw- rw-', 'rw- rw-'],
      ...['rwx rwx', '-w- -w-'],
    ])
  })

  it('are what an event tells', () => {
    const w = configured(3n, 3n, AP(3n) & ~1n)
    w.read(VA)
    w.write(VA)
    expect(w.events()).toEqual(['1000000010 20e00000000 123456789abc 0', '1000000010 20200000000 123456789abc 0'])
  })

  it('say nothing without ATTR_PERMS_OVR', () => {
    const w = configured(3n, 3n, AP(0n), { deny: { IDR1: 1 << 26 } })
    expect(may(w)).toBe('--x rwx')
  })
})

describe('a write', () => {
  it('is one of data, whatever it is marked as', () => {
    const w = new World(S1)
    w.one.set(VA, 3, (w.page | PAGE) & ~1n)
    w.dma(VA, 2 | 4)
    expect(w.events()).toEqual(['1000000010 20000000000 123456789abc 0'])
  })
})
