import { beforeEach, describe, expect, it } from 'vitest'
import type { DomainOps, PagingOps, Refusal, SmmuCommand, ViommuOps } from '../../server/core/driver.js'
import { givenData, givenEntries } from '../../server/core/driver.js'
import { invalidateCommands } from '../given.js'
import { GUEST_RAM, PARENT, PLAIN, RW, refusal, World } from './world.js'

let world: World
beforeEach(() => {
  world = new World()
})

describe('a user domain', () => {
  const IPA = 0x4000_0000n
  const CDS = 0x10_0000
  const VSID = 77n
  let parent: PagingOps
  let viommu: ViommuOps
  const ste = (ste0: bigint, ste1 = 0n) =>
    viommu.createUserDomain(world.a, givenData('smmuv3_ste', { ste0, ste1 }), { pasid: false })
  /** Stage 1, 8 CDs, linear, SSID 0 without a PASID. */
  const translating = (): DomainOps => ste((3n << 59n) | (IPA + BigInt(CDS)) | 0xbn, 2n)

  beforeEach(() => {
    parent = world.driver.createPaging(world.a, PARENT)
    parent.map(IPA, GUEST_RAM, 0x4000_0000n, RW)
    viommu = world.driver.createViommu(world.a, parent)
    // The guest's tables: CD 0 and CD 3 map VA 0x1000 to different pages.
    for (const [index, frame] of [
      [0, 0x700000n],
      [3, 0x900000n],
    ] as const) {
      const tables = 0x200000 + index * 0x10000
      for (let level = 0; level < 3; level++) {
        world.poke(GUEST_RAM + tables + level * 4096, IPA + BigInt(tables + (level + 1) * 4096) + 3n)
      }
      world.poke(GUEST_RAM + tables + 3 * 4096 + 8, (IPA + frame) | 0xf43n)
      world.poke(GUEST_RAM + CDS + index * 64, 0x0000_e205_c000_3510n | (BigInt(index + 1) << 48n))
      world.poke(GUEST_RAM + CDS + index * 64 + 8, IPA + BigInt(tables))
    }
  })

  it("walks the guest's CD table and tables through the parent, for the RID and every PASID", () => {
    viommu.addVdevice(world.a, VSID)
    world.a.set(0, translating(), null)
    expect(world.dma(world.a, 0x1234n)).toBe('ok 10000700234')
    expect(world.dma(world.a, 0x1234n, 3)).toBe('ok 10000900234')
    expect(world.dma(world.a, 0x1234n, 2)).toBe('C_BAD_CD')
    expect(world.dma(world.a, 0x5000n)).toBe('F_TRANSLATION')
    expect(world.events.map(({ event, virtual, isStageTwo }) => [event, virtual?.virtId, isStageTwo])).toEqual([
      [0x0a, VSID, false],
      [0x10, VSID, false],
    ])
  })

  it('that translates is refused without a vDEVICE; bypass and abort are not', () => {
    expect(refusal(() => world.a.set(0, translating(), null))).toBe('ENOENT')
    const bypass = ste(9n)
    world.a.set(0, bypass, null)
    expect(world.dma(world.a, IPA + 0x10n)).toBe('ok 10000000010')
    world.a.set(0, ste(1n), bypass)
    expect(world.dma(world.a, IPA)).toBe('aborted')
    expect(world.events).toEqual([])
  })

  it('is changed hitlessly where one 64-bit word makes the difference', () => {
    viommu.addVdevice(world.a, VSID)
    const first = translating()
    world.a.set(0, first, null)
    const moved = ste((3n << 59n) | (IPA + BigInt(CDS) + 0x1000n) | 0xbn, 2n)
    world.a.set(0, moved, first)
    expect((world.a as unknown as { lastSetWasHitless: boolean }).lastSetWasHitless).toBe(true)
    expect(world.dma(world.a, 0x1000n)).toBe('C_BAD_CD')
  })

  it.each([
    ['MEV', 1n, 1n << 19n],
    ['STRW', 1n, 1n << 30n],
    ['SHCFG', 1n, 1n << 44n],
    ['CONT', 1n, 1n << 13n],
    ['S2FWB', 1n, 1n << 25n],
    ['Config', 0xdn, 0n],
    ['Config', 0xfn, 0n],
    ['EATS', 0xbn, 2n << 28n],
    ['S1ContextPtr', 1n | (1n << 55n), 0n],
    ['reserved', 1n | (1n << 56n), 0n],
  ])('is EIO for %s, which is named', (field, ste0, ste1) => {
    try {
      ste(ste0, ste1)
      expect.unreachable()
    } catch (error) {
      expect([(error as Refusal).name, (error as Refusal).context['field']]).toEqual(['EIO', field])
    }
  })

  it('takes anything where V is 0, and aborts', () => {
    world.a.set(0, ste(0xfffffffffffffffen, 0xffffffffffffffffn), null)
    expect(world.dma(world.a, IPA)).toBe('aborted')
  })

  it("is not made on a parent, nor of another architecture's words", () => {
    expect(world.driver.nestsOnParent).toBe(false)
    const vtd = givenData('vtd_s1', { flags: 0n, pgtblAddr: 0n, addrWidth: 48 })
    expect(refusal(() => viommu.createUserDomain(world.a, vtd, { pasid: false }))).toBe('EINVAL')
  })

  it('drops what the parent unmaps, combined or not', () => {
    viommu.addVdevice(world.a, VSID)
    parent.map(0x2000n, GUEST_RAM, 0x1000n, RW)
    world.a.set(0, translating(), null)
    world.poke(GUEST_RAM + 0x203000 + 16, 0x2000n | 0xf43n)
    expect(world.dma(world.a, 0x2008n)).toBe('ok 10000000008')
    parent.unmap(0x2000n, 0x1000n)
    expect(world.dma(world.a, 0x2008n)).toBe('ok 10000000008')
    parent.flush()
    expect(world.dma(world.a, 0x2008n)).toBe('F_TRANSLATION')
    expect(world.events[0].isStageTwo).toBe(true)
  })

  describe('is invalidated through the vIOMMU:', () => {
    const commands = (...list: [bigint, bigint][]): SmmuCommand[] => list.map(([dw0, dw1]) => ({ dw0, dw1 }))
    const invalidate = (...list: [bigint, bigint][]) => invalidateCommands(viommu, commands(...list))

    beforeEach(() => {
      viommu.addVdevice(world.a, VSID)
      world.a.set(0, translating(), null)
      expect(world.dma(world.a, 0x1000n)).toBe('ok 10000700000')
      world.poke(GUEST_RAM + 0x203008, (IPA + 0xa00000n) | 0xf43n)
      expect(world.dma(world.a, 0x1000n)).toBe('ok 10000700000')
    })

    it.each([
      ['NH_ALL', 0x0000_ffff_0000_0010n, 0n, true],
      ['NSNH_ALL', 0x30n, 0n, true],
      ['NH_ASID', 0x0001_0000_0000_0011n, 0n, true],
      ['NH_ASID of another ASID', 0x0002_0000_0000_0011n, 0n, false],
      ['NH_VA with a foreign VMID', 0x0001_0063_0000_0012n, 0x1000n, true],
      ['NH_VAA', 0x13n, 0x1001n, true],
      ['CFGI_CD_ALL', 0x0000_004d_0000_0006n, 0n, false],
      ['ATC_INV', 0x0000_004d_0000_0040n, 0x34n, false],
    ] as [string, bigint, bigint, boolean][])('%s', (_name, dw0, dw1, fresh) => {
      expect(invalidate([dw0, dw1]).done).toBe(1)
      expect(world.dma(world.a, 0x1000n)).toBe(fresh ? 'ok 10000a00000' : 'ok 10000700000')
    })

    it("CFGI_CD of the guest's own StreamID", () => {
      world.poke(GUEST_RAM + CDS + 8, IPA + 0x230000n)
      expect(invalidate([0x0000_004d_0000_0005n, 1n], [0x30n, 0n]).done).toBe(2)
      expect(world.dma(world.a, 0x1000n)).toBe('ok 10000900000')
    })

    it.each([
      ['an unknown vSID', 0x0000_0008_0000_0005n, 0n],
      ['CFGI_STE', 0x0000_004d_0000_0003n, 0n],
      ['S2_IPA', 0x2an, 0n],
      ['SYNC', 0x46n, 0n],
      ['the reserved range code', 0x12n, 0x400n],
      ['SSec', 0x0000_004d_0000_0405n, 0n],
    ] as [string, bigint, bigint][])('%s is EIO, after what came before it', (_name, dw0, dw1) => {
      const result = invalidate([0x10n, 0n], [dw0, dw1], [0x10n, 0n])
      expect([result.done, result.refusal?.name]).toEqual([1, 'EIO'])
      expect(world.dma(world.a, 0x1000n)).toBe('ok 10000a00000')
    })

    it("an empty array and another architecture's entries are EINVAL", () => {
      expect(refusal(() => invalidate())).toBe('EINVAL')
      expect(refusal(() => viommu.invalidate?.(givenEntries('vtd_s1', []), 0, 0))).toBe('EINVAL')
    })

    it('a removed vDEVICE is unknown again', () => {
      viommu.removeVdevice(world.a)
      expect(invalidate([0x0000_004d_0000_0006n, 0n]).refusal?.name).toBe('EIO')
    })
  })
})

describe('a vIOMMU', () => {
  it('needs S2FWB, type 1, and a nesting parent of the same unit', () => {
    const parent = world.driver.createPaging(world.a, PARENT)
    const plain = world.driver.createPaging(world.a, PLAIN)
    expect(refusal(() => world.driver.checkViommu(world.a, 2))).toBe('EOPNOTSUPP')
    expect(refusal(() => world.driver.createViommu(world.a, plain))).toBe('EINVAL')
    const other = new World()
    expect(refusal(() => other.driver.createViommu(other.a, parent))).toBe('EINVAL')
    const bare = new World({ IDR3: 0x1414 })
    expect(refusal(() => bare.driver.checkViommu(bare.a, 1))).toBe('EOPNOTSUPP')
  })

  it('needs no S2FWB for a CANWBS device, and for that one alone', () => {
    const bare = new World({ IDR3: 0x1414 })
    const coherent = bare.driver.probe({ rid: 0x77, pasidLg2: 0, ats: false, pri: false, canwbs: true })
    expect(() => bare.driver.checkViommu(coherent, 1)).not.toThrow()
    expect(refusal(() => bare.driver.checkViommu(bare.b, 1))).toBe('EOPNOTSUPP')
  })
})
