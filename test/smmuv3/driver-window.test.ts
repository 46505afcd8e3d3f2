import { beforeEach, describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { givenData, type Refusal, type WindowOps } from '../../server/core/driver.js'
import { RAM_IPA, VA, WINDOW_IPA, WindowWorld } from './window-world.js'
import { GUEST_RAM, PASID, refusal } from './world.js'

let world: WindowWorld
let window: WindowOps
beforeEach(() => {
  world = new WindowWorld()
  window = world.window
})

const hex = (words: readonly bigint[]): string[] => words.map((word) => word.toString(16))
const isHitless = (): boolean => (world.a as unknown as { lastSetWasHitless: boolean }).lastSetWasHitless

describe('a window on the RID', () => {
  it('makes an STE of both stages, whose CD table of 64 CDs stands in the window [SMMU 5.2 Stream Table Entry]', () => {
    world.a.set(0, window, null)
    expect(isHitless()).toBe(true)
    const [, , , table] = world.ste(world.a)
    expect(hex(world.ste(world.a))).toEqual([
      // V, Config 0b111, S1Fmt 0, S1ContextPtr 0x8_0000_0000, S1CDMax 6 in [63:59].
      '300000080000000f',
      // S1DSS 1, S1CIR 1, S1COR 1, S1CSH 3; MEV in 83, S2FWB in 89.
      '20800d5',
      // S2VMID 2; S2T0SZ 16, S2SL0 2, S2IR0 1, S2OR0 1, S2SH0 3, S2PS 5, S2AA64, S2PTW and S2R above 160.
      '44d359000000002',
      hex([table])[0],
      ...['0', '0', '0', '0'],
    ])
  })

  it('leaves what comes without a PASID to stage 2 alone', () => {
    world.a.set(0, window, null)
    expect(world.dma(world.a, RAM_IPA + 0x10n)).toBe('ok 10000000010')
    expect(world.dma(world.a, VA, 1)).toBe('C_BAD_CD')
    expect(world.dma(world.a, VA, 0)).toBe('C_BAD_CD')
    expect(world.dma(world.a, VA, 64)).toBe('C_BAD_SUBSTREAMID')
  })

  it('can be read by the device and by nobody written', () => {
    world.a.set(0, window, null)
    world.a.set(1, world.root(1), null)
    const cd = world.behind(WINDOW_IPA + 64n)
    expect(world.dma(world.a, WINDOW_IPA + 64n)).toBe(`ok ${cd.toString(16)}`)
    expect(world.dma(world.a, WINDOW_IPA + 64n, -1, ACCESS.WRITE)).toBe('F_PERMISSION')
    expect(world.events.at(-1)?.isStageTwo).toBe(true)
  })

  it('serves one device, and says which', () => {
    world.a.set(0, window, null)
    expect(refusal(() => world.b.set(0, window, null))).toBe('EBUSY')
    world.a.clear(0, window)
    world.b.set(0, window, null)
    expect(world.dma(world.b, RAM_IPA)).toBe('ok 10000000000')
  })
})

describe('a root on a PASID', () => {
  it('is a CD of its fields and the host’s ASID, in the window [SMMU 5.4 Context Descriptor]', () => {
    world.a.set(0, window, null)
    const first = world.root(1)
    world.a.set(1, first, null)
    world.a.set(2, world.root(2, { mair: 0xbb44_0000_0000_04ffn, ir0: 3, or0: 2, sh0: 2 }), null)
    expect(isHitless()).toBe(true)
    expect(hex(world.words(world.behind(WINDOW_IPA + 64n), 16))).toEqual([
      // T0SZ 25, TG0 0, IR0 1, OR0 1, SH0 3, EPD1, V; IPS 4, AA64, R, A, ASET, ASID 1.
      '1e204c0003519',
      '41003000',
      '0',
      'ff',
      ...['0', '0', '0', '0'],
      '2e204c0002b19',
      '41006000',
      '0',
      'bb440000000004ff',
      ...['0', '0', '0', '0'],
    ])
  })

  it('sees its own addresses, each PASID another', () => {
    world.a.set(0, window, null)
    for (const k of [1, 2, 63]) world.a.set(k, world.root(k), null)
    for (const k of [1, 2, 63]) expect(world.dma(world.a, VA, k)).toBe(world.page(k))
    expect(world.dma(world.a, VA, 3)).toBe('C_BAD_CD')
    expect(world.dma(world.a, 0x5000n, 1)).toBe('F_TRANSLATION')
    expect(world.dma(world.a, RAM_IPA)).toBe('ok 10000000000')
  })

  it('is gone when it is detached; others stay', () => {
    world.a.set(0, window, null)
    const [one, two] = [world.root(1), world.root(2)]
    world.a.set(1, one, null)
    world.a.set(2, two, null)
    world.a.clear(1, one)
    expect(world.dma(world.a, VA, 1)).toBe('C_BAD_CD')
    expect(world.dma(world.a, VA, 2)).toBe(world.page(2))
  })

  it('may be on many PASIDs, under one ASID', () => {
    world.a.set(0, window, null)
    const root = world.root(1)
    world.a.set(1, root, null)
    world.a.set(9, root, null)
    expect(world.dma(world.a, VA, 9)).toBe(world.page(1))
    world.a.clear(1, root)
    expect(world.dma(world.a, VA, 9)).toBe(world.page(1))
  })

  it('is EINVAL where its window is not the CD table of the device', () => {
    const root = world.root(1)
    expect(refusal(() => world.a.set(1, root, null))).toBe('EINVAL')
    const other = world.makeWindow(WINDOW_IPA + 0x10_0000n, 1n)
    world.a.set(0, other, null)
    expect(refusal(() => world.a.set(1, root, null))).toBe('EINVAL')
    world.a.set(0, world.parent, other)
    expect(refusal(() => world.a.set(1, root, null))).toBe('EINVAL')
    expect(refusal(() => world.a.set(2 ** 20, root, null))).toBe('EINVAL')
  })
})

describe('a root on the RID', () => {
  it('comes before the STE says so, hitlessly both ways', () => {
    world.a.set(0, window, null)
    const root = world.root(3)
    world.a.set(0, root, window)
    expect(isHitless()).toBe(true)
    expect(world.ste(world.a)[1] & 3n).toBe(2n)
    expect(world.dma(world.a, VA)).toBe(world.page(3))
    expect(world.dma(world.a, VA, 0)).toBe('F_STREAM_DISABLED')
    world.a.set(0, window, root)
    expect(isHitless()).toBe(true)
    expect(world.dma(world.a, RAM_IPA)).toBe('ok 10000000000')
    expect(hex(world.words(world.behind(WINDOW_IPA), 8))).toEqual(Array(8).fill('0'))
  })

  it('brings its window with it', () => {
    const root = world.root(3)
    world.a.set(0, root, null)
    expect(isHitless()).toBe(true)
    world.a.set(1, world.root(4), null)
    expect([world.dma(world.a, VA), world.dma(world.a, VA, 1)]).toEqual([world.page(3), world.page(4)])
  })

  it('is blocked when it is detached, and PASIDs go on', () => {
    const root = world.root(3)
    const onPasid = world.root(4)
    world.a.set(0, root, null)
    world.a.set(1, onPasid, null)
    world.a.clear(0, root)
    expect(world.ste(world.a)[1] & 3n).toBe(0n)
    expect(world.dma(world.a, VA)).toBe('F_STREAM_DISABLED')
    expect(world.dma(world.a, VA, 1)).toBe(world.page(4))
    world.a.set(2, root, null)
    expect(world.dma(world.a, VA, 2)).toBe(world.page(3))
    expect(refusal(() => world.a.set(0, world.parent, null))).toBe('EBUSY')
    expect(refusal(() => world.a.set(0, world.makeWindow(WINDOW_IPA + 0x10_0000n, 1n), null))).toBe('EBUSY')
    world.a.set(0, window, null)
    expect(isHitless()).toBe(true)
    world.a.clear(0, window)
    world.a.clear(2, root)
    world.a.clear(1, onPasid)
    expect(hex(world.ste(world.a).slice(0, 1))).toEqual(['1'])
    expect(world.dma(world.a, VA, 1)).toBe('aborted')
  })
})

describe('beside a window', () => {
  it('no kernel-owned domain goes to a PASID: EINVAL', () => {
    world.a.set(0, window, null)
    const domain = world.driver.createPaging(world.a, PASID)
    expect(refusal(() => world.a.set(1, domain, null))).toBe('EINVAL')
    const root = world.root(1)
    world.a.set(1, root, null)
    world.a.clear(0, window)
    expect(refusal(() => world.a.set(2, domain, null))).toBe('EINVAL')
  })

  it('the RID goes over to a kernel-owned domain and back while no PASID is in use', () => {
    const domain = world.driver.createPaging(world.a, PASID)
    domain.map(0n, GUEST_RAM, 0x1000n, { read: true, write: true })
    world.a.set(0, domain, null)
    world.a.set(0, window, domain)
    expect(world.dma(world.a, RAM_IPA)).toBe('ok 10000000000')
    const root = world.root(1)
    world.a.set(1, root, null)
    expect(refusal(() => world.a.set(0, domain, window))).toBe('EBUSY')
    world.a.clear(1, root)
    world.a.set(0, domain, window)
    expect(world.dma(world.a, 0n)).toBe('ok 10000000000')
    world.a.set(1, domain, null)
    expect(refusal(() => world.a.set(0, window, domain))).toBe('EBUSY')
    world.a.clear(0, domain)
    expect(refusal(() => world.a.set(0, window, null))).toBe('EBUSY')
  })

  it('a whole CD table of the guest’s is EBUSY, and the other way round', () => {
    const viommu = world.driver.createViommu(world.a, world.parent)
    viommu.addVdevice(world.a, 77n)
    const data = givenData('smmuv3_ste', { ste0: RAM_IPA | 0xbn, ste1: 0n })
    const guest = viommu.createUserDomain(world.a, data, { pasid: false })
    world.a.set(0, window, null)
    expect(refusal(() => world.a.set(0, guest, window))).toBe('EBUSY')
    expect(world.dma(world.a, RAM_IPA)).toBe('ok 10000000000')
    world.a.clear(0, window)
    world.a.set(0, guest, null)
    expect(refusal(() => world.a.set(0, window, guest))).toBe('EBUSY')
    expect(refusal(() => world.a.set(0, world.root(1), guest))).toBe('EBUSY')
  })

  it('another window takes over where no PASID is in use', () => {
    const first = world.root(1)
    world.a.set(0, first, null)
    const other = world.makeWindow(WINDOW_IPA + 0x10_0000n, 1n)
    const root = world.root(2, {}, other)
    world.a.set(0, root, first)
    expect(world.dma(world.a, VA)).toBe(world.page(2))
    expect(refusal(() => world.a.set(1, world.root(3), null))).toBe('EINVAL')
  })
})

describe('growing the CD table', () => {
  const needs = (pasid: number, k: number): unknown => {
    try {
      world.a.set(pasid, world.root(k), null)
    } catch (error) {
      return [(error as Refusal).name, (error as Refusal).context['bytes_needed']]
    }
    return 'nothing'
  }

  it('beyond 64 PASIDs asks for exactly the pages that it takes', () => {
    world.a.set(0, window, null)
    world.a.set(5, world.root(5), null)
    expect(needs(64, 6)).toEqual(['ENOSPC', 8192])
    world.grow(window, WINDOW_IPA + 0x10_0000n, 1n)
    expect(needs(64, 6)).toEqual(['ENOSPC', 4096])
    world.grow(window, WINDOW_IPA + 0x20_0000n, 1n)
    expect(needs(64, 6)).toBe('nothing')
    expect([world.dma(world.a, VA, 5), world.dma(world.a, VA, 64)]).toEqual([world.page(5), world.page(6)])
    expect(window.freeBytes).toBe(0)
    // S1Fmt 1, S1ContextPtr the second page of the window, S1CDMax 15.
    expect(hex(world.ste(world.a).slice(0, 1))).toEqual(['780000080010001f'])
  })
})
