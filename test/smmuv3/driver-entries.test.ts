/** Every entry that the host driver writes, against words put together by hand from the manual's bit numbers. */

import { describe, expect, it } from 'vitest'
import { pack } from '../../hw-model/bits/layout.js'
import { L1STD, PRESETS } from '../../hw-model/smmuv3/index.js'
import { givenData } from '../../server/core/driver.js'
import {
  abortSte,
  leafPointer,
  nestedSte,
  safeSteBits,
  stageOneCd,
  stageOneSte,
  stageTwoSte,
  usedCdBits,
  usedSteBits,
} from '../../server/drivers/smmuv3/entries.js'
import { NestedGuest, VSID } from './ear.js'
import { PARENT, PASID, PLAIN, World } from './world.js'

/** 64-bit words in hexadecimal, without the zeros that end the entry. */
function hex(entry: Int32Array): string[] {
  const qwords: string[] = []
  for (let i = 0; i < entry.length; i += 2) {
    const qword = (BigInt(entry[i + 1] >>> 0) << 32n) | BigInt(entry[i] >>> 0)
    qwords.push(qword.toString(16).padStart(16, '0'))
  }
  while (qwords.at(-1) === '0'.repeat(16)) qwords.pop()
  return qwords
}

const OFF = { ats: false, stalls: false, neverStalls: false }
const STAGE_2 = {
  vmid: 5,
  t0sz: 16,
  sl0: 2,
  ps: 5,
  table: 0x7000_0000,
  forcedWriteBack: false,
  keepsShareability: false,
}

describe('[SMMU 5.2 Stream Table Entry]', () => {
  it('that aborts is V with Config 0', () => {
    expect(hex(abortSte())).toEqual(['0000000000000001'])
  })

  it('of stage 1 has Config 5, the CD table, and how it is read: write-back, inner shareable', () => {
    const single = { address: 0x5000_0000, format: 0, maxLg2: 0 }
    expect(hex(stageOneSte(single, 0))).toEqual(['000000005000000b', '00000000000000d4'])
    const twoLevel = { address: 0x6000_0000, format: 2, maxLg2: 20 }
    const ats = { ats: true, stalls: false, neverStalls: true }
    expect(hex(stageOneSte(twoLevel, 2, ats))).toEqual(['a00000006000002b', '00000000180000d6'])
    // A device that may stall leaves bit 27 clear; stage 1 has no S2S.
    expect(hex(stageOneSte(twoLevel, 2, { ...OFF, stalls: true }))).toEqual(['a00000006000002b', '00000000000000d6'])
  })

  it('of stage 2 has Config 6, the VMID and how its table is walked', () => {
    const words = ['044d359000000005', '0000000070000000']
    expect(hex(stageTwoSte(STAGE_2, { ...OFF, ats: true }))).toEqual(['000000000000000d', '0000000010000000', ...words])
    // S2FWB is bit 25, SHCFG 1 is bit 44.
    const forced = { ...STAGE_2, forcedWriteBack: true, keepsShareability: true }
    expect(hex(stageTwoSte(forced))).toEqual(['000000000000000d', '0000100002000000', ...words])
    // S2S is bit 57 of the third word.
    const waits = stageTwoSte(STAGE_2, { ...OFF, stalls: true })
    expect(hex(waits)).toEqual(['000000000000000d', '0000000000000000', '064d359000000005', '0000000070000000'])
    // 40 bits are three levels from two tables beside each other: S2T0SZ 24, S2SL0 1, S2PS 2.
    const narrow = stageTwoSte({ ...STAGE_2, t0sz: 24, sl0: 1, ps: 2 })
    expect(hex(narrow)[2]).toBe('044a355800000005')
  })

  it("of a guest has Config 7, the guest's five fields of each word, MEV, and the parent's stage 2", () => {
    const guest = new Int32Array(16)
    // S1CDMax 5, S1Fmt 2, table at 0x8000_0000, Config 5, V; then EATS, S1STALLD, S1CSH 3, COR, CIR, S1DSS 2.
    guest.set([0x8000_002b | 0, 0x2800_0000, 0x1800_00d6, 0])
    const words = ['044d359000000005', '0000000070000000']
    expect(hex(nestedSte(STAGE_2, guest))).toEqual(['280000008000002f', '00000000080800d6', ...words])
    // Whether ATS is on is the host's to say, from the guest's word and what device and unit can.
    const withAts = nestedSte({ ...STAGE_2, keepsShareability: true }, guest, { ...OFF, ats: true })
    expect(hex(withAts)).toEqual(['280000008000002f', '00001000180800d6', ...words])
  })
})

describe('[SMMU 5.4 Context Descriptor]', () => {
  const shape = { asid: 7, table: 0x5100_0000, ips: 5, tracksDirty: false }

  it('translates 48 bits by TTB0 with 4 KiB granules, and nothing by TTB1', () => {
    const rest = ['0000000051000000', '0000000000000000', '00000000f404ff44']
    expect(hex(stageOneCd(shape))).toEqual(['0007e205c0003510', ...rest])
    // S is bit 44; HA and HD are bits 43 and 42.
    expect(hex(stageOneCd(shape, true))).toEqual(['0007f205c0003510', ...rest])
    expect(hex(stageOneCd({ ...shape, tracksDirty: true }))).toEqual(['0007ee05c0003510', ...rest])
  })
})

/** The masks of the kernel's driver; addresses have 56 bits here, as the records have, and 52 there. */
describe('bits that hardware looks at', () => {
  const entry = (...qwords: bigint[]): Int32Array => {
    const words = new Int32Array(16)
    qwords.forEach((qword, i) => {
      words.set([Number(BigInt.asIntN(32, qword)), Number(BigInt.asIntN(32, qword >> 32n))], i * 2)
    })
    return words
  }
  const STAGE_1 = ['f8ffffffffffffff', '00000000f80800ff', '000000000000ffff']
  const STAGE_2_WORDS = ['065fffff0000ffff', '00fffffffffffff0']

  it.each([
    ['invalid, whatever else it says', entry(0xfffffffffffffffen, -1n), ['0000000000000001']],
    ['abort', entry(1n, -1n), ['000000000000000f']],
    ['Config 3, which aborts, too', entry(7n, -1n), ['000000000000000f']],
    ['bypass', entry(9n), ['000000000000000f', '0000300000000000']],
    ['stage 1', entry(0xbn, 2n), STAGE_1],
    ['stage 1 bypassed without a PASID', entry(0xbn, 1n), STAGE_1.with(1, '00003000f80800ff')],
    ['stage 2', entry(0xdn), ['000000000000000f', '0000300032080000', ...STAGE_2_WORDS]],
    ['nested', entry(0xfn), ['f8ffffffffffffff', '00003000fa0800ff', ...STAGE_2_WORDS]],
  ])('of an STE: %s', (_name, ste, used) => {
    expect(hex(usedSteBits(ste))).toEqual(used)
  })

  it.each([
    ['invalid', entry(0x7fffffffn, -1n), ['0000000080000000']],
    ['valid', entry(0x80000000n), Array(8).fill('ffffffffffffffff')],
    [
      'without TTB0',
      entry(0x80004000n),
      ['ffffffffffffc000', 'ff0000000000000f', ...Array(6).fill('ffffffffffffffff')],
    ],
  ])('of a CD: %s', (_name, cd, used) => {
    expect(hex(usedCdBits(cd))).toEqual(used)
  })

  it('are all that the driver sets', () => {
    const table = { address: 0x6000_0000, format: 2, maxLg2: 20 }
    const every = { ats: true, stalls: true, neverStalls: true }
    const shape = { ...STAGE_2, forcedWriteBack: true, keepsShareability: true }
    const guest = new Int32Array(16).fill(-1)
    const stes = [abortSte(), stageTwoSte(shape, every), nestedSte(shape, guest, every)]
    for (const ste of [...stes, ...[0, 1, 2].map((s1dss) => stageOneSte(table, s1dss, every))]) {
      const used = usedSteBits(ste)
      expect(hex(ste.map((word, i) => word & ~used[i]))).toEqual([])
    }
  })

  it('of an STE that may change early are MEV, and EATS bit 0 unless S2S or split-stage ATS is about', () => {
    const [off, split, waits] = [entry(1n), entry(1n, 2n << 28n), entry(1n, 0n, 1n << 57n)]
    const [mev, both] = [['0000000000080000'], ['0000000010080000']].map((word) => ['0000000000000000', ...word])
    expect(hex(safeSteBits(off, off))).toEqual(both)
    for (const other of [split, waits]) {
      expect([hex(safeSteBits(off, other)), hex(safeSteBits(other, off))]).toEqual([mev, mev])
    }
  })
})

describe('descriptors of first levels', () => {
  it('are V with the table, and its Span with the table', () => {
    expect(hex(leafPointer(0x5300_0000))).toEqual(['0000000053000001'])
    expect(hex(pack(L1STD, { Span: 9, L2Ptr: 0x5200_0000 }))).toEqual(['0000000052000009'])
  })
})

/** IDR0.STALL_MODEL, bits 25:24, 0: software chooses who stalls. IDR5.STALL_MAX, from bit 16, says how many may. */
const CHOOSES = { IDR0: PRESETS.default.IDR0 & ~(3 << 24), IDR5: PRESETS.default.IDR5 | (8 << 16) }
const POINTER = 0xf_ffff_ffff_ffc0n

describe('what stands in memory', () => {
  it('blocks each stream of a new table, and each device that is only known', () => {
    const world = new World()
    const first = Number(world.peek(Number(world.register(0x80, 8) & POINTER)) & POINTER)
    expect([0, 8, 255].map((sid) => world.words(first + sid * 64, 8))).toEqual(
      Array(3).fill([1n, 0n, 0n, 0n, 0n, 0n, 0n, 0n]),
    )
    expect([world.ste(world.a)[0], world.ste(world.b)[0]]).toEqual([1n, 1n])
  })

  it('is for a RID on stage 1 a table for all PASIDs of the device, S1DSS 2, and CD 0', () => {
    const world = new World()
    world.a.set(0, world.driver.createPaging(world.a, PLAIN), null)
    const [ste0, ...rest] = world.ste(world.a)
    expect(ste0 & ~POINTER).toBe(0xa0000000_0000002bn)
    expect(rest).toEqual([0xd6n, 0n, 0n, 0n, 0n, 0n, 0n])
    const table = Number(ste0 & 0xf_ffff_ffff_ff00n)
    const leaf = world.peek(table)
    expect(leaf & 0xffffn).toBe(1n)
    const [cd0, cd1, ...other] = world.words(Number(leaf - 1n), 8)
    expect([cd0, cd1 & 0xfffn]).toEqual([0x0001e205c0003510n, 0n])
    expect(other).toEqual([0n, 0xf404ff44n, 0n, 0n, 0n, 0n])
  })

  it('is for a device without PASIDs a single CD, and S1STALLD where software chooses who stalls', () => {
    const world = new World(CHOOSES, { stalls: true })
    const domain = world.driver.createPaging(world.b, PLAIN)
    world.b.set(0, domain, null)
    const [ste0, ste1] = world.ste(world.b)
    expect([ste0 & ~POINTER, ste1]).toEqual([0xbn, 0x80000d6n])
    world.a.set(0, domain, null)
    expect(world.ste(world.a)[1]).toBe(0xd6n)
  })

  it('is for PASIDs of a blocked RID the same table with S1DSS 0', () => {
    const world = new World()
    world.a.set(5, world.driver.createPaging(world.a, PASID), null)
    const [ste0, ste1] = world.ste(world.a)
    expect([ste0 >> 59n, ste0 & 0x3fn, ste1]).toEqual([20n, 0x2bn, 0xd4n])
    const leaf = Number(world.peek(Number(ste0 & 0xf_ffff_ffff_ff00n)) - 1n)
    expect([world.words(leaf, 8), world.peek(leaf + 5 * 64)]).toEqual([Array(8).fill(0n), 0x0001e205c0003510n])
  })

  it('is for a nesting parent, and for a guest that bypasses, stage 2 with write-back forced', () => {
    const world = new World()
    const guest = new NestedGuest(world)
    const plain = world.driver.createPaging(world.a, PARENT)
    world.a.set(0, plain, null)
    const [ste0, ste1, ste2, ste3] = world.ste(world.a)
    expect([ste0, ste1, ste2]).toEqual([0xdn, 0x2000000n, 0x044d359000000002n])
    world.a.clear(0, plain)
    // Config 4 and V.
    const bypass = guest.domain(9n, 0n)
    world.a.set(0, bypass, null)
    const [bypass0, bypass1, bypass2, bypass3] = world.ste(world.a)
    expect([bypass0, bypass1, bypass2, bypass3 === ste3]).toEqual([0xdn, ste1, 0x044d359000000001n, false])
  })

  it('is for a guest that aborts, or whose entry is not valid, an entry that aborts', () => {
    const world = new World()
    const guest = new NestedGuest(world)
    guest.viommu.addVdevice(world.a, VSID)
    const domains = [guest.domain(1n, 0n), guest.domain(), guest.domain(0xan, 0xffn)]
    const seen = domains.map((domain, i) => {
      world.a.set(0, domain, i === 0 ? null : domains[i - 1])
      return world.ste(world.a)
    })
    expect([seen[0], seen[2]]).toEqual(Array(2).fill([1n, 0n, 0n, 0n, 0n, 0n, 0n, 0n]))
    // S1CDMax 3 and an IPA of the guest's; MEV is bit 19, S2FWB bit 25.
    const root = seen[1][3]
    expect(seen[1]).toEqual([0x180000004010000fn, 0x2080002n, 0x044d359000000001n, root, 0n, 0n, 0n, 0n])
  })

  it('is refused for data of another form', () => {
    const world = new World()
    const { viommu } = new NestedGuest(world)
    const make = () =>
      viommu.createUserDomain(world.a, givenData('vtd_s1', { flags: 0n, pgtblAddr: 0n, addrWidth: 48 }), {
        pasid: false,
      })
    expect(make).toThrow(/STE/)
  })
})
