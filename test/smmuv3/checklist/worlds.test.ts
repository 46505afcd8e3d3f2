/** StreamWorlds: EL1, EL2 and EL2 with E2H. [SMMU 3.17 TLB tagging, VMIDs, ASIDs and participation in broadcast] */

import { describe, expect, it } from 'vitest'
import { type GuestOptions, hex, VA } from './guest.js'
import { PAGE, World } from './tables.js'

const UXN = 1n << 54n
const PXN = 1n << 53n
const HIGH = 0xffff_ffff_ffff_e000n

/** A stage 1 stream in EL2; `e2h` has CR2.E2H be 1. */
function el2(e2h: boolean, change: (w: World) => void = () => undefined, more: GuestOptions = {}): World {
  const w = new World(0b101, { offer: { IDR0: 1 << 9 }, ...more })
  w.set32(0x20, 0b1100)
  w.set32(0x2c, e2h ? 0b11 : 0b10)
  w.set32(0x20, 0b1101)
  w.ste[1] |= 2n << 30n
  change(w)
  return w.apply()
}

function may(w: World): string {
  return [false, true]
    .map((priv) =>
      [w.read(VA, { priv }), w.write(VA, { priv }), w.fetch(VA, { priv })]
        .map((ended, i) => (ended === 'abort' ? '-' : 'rwx'[i]))
        .join(''),
    )
    .join(' ')
}

const AP = (ap: bigint): bigint => (PAGE & ~0xc0n) | (ap << 6n)

describe('STRW', () => {
  it('of 1 and 3 is ILLEGAL where EL2 is there', () => {
    for (const strw of [1n, 3n]) {
      const w = el2(false, (world) => {
        world.ste[1] = (world.ste[1] & ~(3n << 30n)) | (strw << 30n)
      })
      expect([w.read(VA), w.kinds()]).toEqual(['abort', ['0x4']])
    }
  })

  it('says nothing with stage 2, where the StreamWorld is EL1', () => {
    for (const config of [0b110, 0b111] as const) {
      const w = new World(config, { offer: { IDR0: 1 << 9 } })
      w.ste[1] |= 3n << 30n
      w.apply()
      expect(w.read(config === 0b110 ? 0x1_0000_1234n : VA)).toBe(config === 0b110 ? '0x1234' : hex(w.page + 0xabcn))
    }
  })

  it('of EL2 has no VMID: one of 9 bits is not looked at', () => {
    const w = el2(
      false,
      (world) => {
        world.ste[2] = 0x105n
      },
      { deny: { IDR0: 1 << 18 } },
    )
    expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
  })
})

describe('EL2 without E2H', () => {
  it('has one privilege: AP[2] alone counts, XN is bit 54', () => {
    expect(may(el2(false, (w) => w.one.set(VA, 3, w.page | AP(0n))))).toBe('rwx rwx')
    expect(may(el2(false, (w) => w.one.set(VA, 3, w.page | AP(1n))))).toBe('rwx rwx')
    expect(may(el2(false, (w) => w.one.set(VA, 3, w.page | AP(2n))))).toBe('r-x r-x')
    expect(may(el2(false, (w) => w.one.set(VA, 3, w.page | AP(3n) | PXN)))).toBe('r-x r-x')
    expect(may(el2(false, (w) => w.one.set(VA, 3, w.page | AP(1n) | UXN)))).toBe('rw- rw-')
  })

  it('has WXN, and neither PAN nor APTable[0] nor PXNTable', () => {
    const with_ = (cd: bigint, entry: bigint, table = 0n): string =>
      may(
        el2(false, (w) => {
          w.cd[0] |= cd
          w.one.set(VA, 3, w.page | entry, table)
        }),
      )
    expect(with_(1n << 36n, AP(1n))).toBe('rw- rw-')
    expect(with_(1n << 40n, AP(1n))).toBe('rwx rwx')
    expect(with_(0n, AP(1n), 1n << 61n)).toBe('rwx rwx')
    expect(with_(0n, AP(1n), 2n << 61n)).toBe('r-x r-x')
    expect(with_(0n, AP(1n), 1n << 59n)).toBe('rwx rwx')
    expect(with_(0n, AP(1n), 1n << 60n)).toBe('rw- rw-')
  })

  it('has TTB0 alone: EPD0 and everything of TTB1 says nothing, the upper half is F_TRANSLATION', () => {
    const w = el2(false, (world) => {
      world.cd[0] = (world.cd[0] | (1n << 14n)) & ~(1n << 30n) & ~(0xffn << 16n)
      world.cd[2] = 0x00ff_ffff_ffff_fff0n
    })
    expect([w.read(VA), w.read(HIGH)]).toEqual([hex(w.page + 0xabcn), 'abort'])
    expect(w.events()).toEqual([`1000000010 20800000000 ${HIGH.toString(16)} 0`])
  })

  it('tests every bit above its range against zero, bit 55 too; TBI0 leaves out the top byte', () => {
    const w = el2(false)
    for (const bit of [48n, 55n, 56n, 63n]) expect(w.read(VA | (1n << bit))).toBe('abort')
    const tbi = el2(false, (world) => {
      world.cd[0] |= 1n << 38n
    })
    expect([tbi.read(VA | (0xa5n << 56n)), tbi.read(VA | (1n << 55n))]).toEqual([hex(tbi.page + 0xabcn), 'abort'])
  })

  it('has no ASID: one of 9 bits is not looked at, and translations are shared', () => {
    const w = el2(
      false,
      (world) => {
        world.cd[0] |= 0x100n << 48n
      },
      { deny: { IDR0: 1 << 12 } },
    )
    expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
    const other = w.alloc()
    w.store(other, w.cd[0] ^ (1n << 48n), w.alloc(), 0n, w.cd[3])
    w.storeSte(0x11, (w.ste[0] & 0xfn) | other, w.ste[1], 0n)
    expect(w.read(VA, { sid: 0x11 })).toBe(hex(w.page + 0xabcn))
  })

  it('tells the privilege of a request in its events all the same', () => {
    const w = el2(false)
    w.read(0x1000n, { priv: true })
    expect(w.events()).toEqual(['1000000010 20a00000000 1000 0'])
  })
})

describe('EL2 with E2H', () => {
  it('has two privileges, as EL1 has', () => {
    expect(may(el2(true, (w) => w.one.set(VA, 3, w.page | AP(0n))))).toBe('--x rwx')
    expect(may(el2(true, (w) => w.one.set(VA, 3, w.page | AP(1n))))).toBe('rwx rw-')
    expect(may(el2(true, (w) => w.one.set(VA, 3, w.page | AP(3n) | PXN)))).toBe('r-x r--')
  })

  it('has both halves', () => {
    const w = el2(true, (world) => {
      world.cd[0] = (world.cd[0] & ~(1n << 30n)) | (16n << 16n) | (2n << 22n)
      world.cd[2] = world.one.root
      world.one.set(HIGH, 3, 0x6000_0000n | PAGE)
    })
    expect([w.read(VA), w.read(HIGH)]).toEqual([hex(w.page + 0xabcn), '0x60000000'])
  })

  it('has ASIDs that keep translations apart, and looks at their length', () => {
    const w = el2(true)
    w.read(VA)
    const other = w.alloc()
    w.store(other, w.cd[0] ^ (1n << 48n), w.alloc(), 0n, w.cd[3])
    w.storeSte(0x11, (w.ste[0] & 0xfn) | other, w.ste[1], 0n)
    expect(w.read(VA, { sid: 0x11 })).toBe('abort')
    const long = el2(
      true,
      (world) => {
        world.cd[0] |= 0x100n << 48n
      },
      { deny: { IDR0: 1 << 12 } },
    )
    expect([long.read(VA), long.kinds()]).toEqual(['abort', ['0xa']])
  })
})

describe('StreamWorlds', () => {
  it('keep translations apart: what EL1 has cached is not for EL2', () => {
    const w = new World(0b101, { offer: { IDR0: 1 << 9 } })
    w.read(VA)
    const other = w.alloc()
    w.store(other, w.cd[0], w.alloc(), 0n, w.cd[3])
    w.storeSte(0x11, (w.ste[0] & 0xfn) | other, w.ste[1] | (2n << 30n), w.ste[2])
    expect(w.read(VA, { sid: 0x11 })).toBe('abort')
  })
})

describe('CR2.E2H', () => {
  it('is there with Hyp alone', () => {
    const without = new World(0b101, { deny: { IDR0: 1 << 9 }, cr0: 0 })
    without.set32(0x2c, 0b11)
    expect(without.get32(0x2c) & 1).toBe(0)
  })
})
