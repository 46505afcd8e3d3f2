import { describe, expect, it } from 'vitest'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import type { PagingFlags } from '../../server/core/driver.js'
import { HW_CAPABILITY } from '../../server/core/driver.js'
import { NestedGuest, VSID } from './ear.js'
import { GUEST_RAM, PARENT, PASID, PLAIN, RW, refusal, World } from './world.js'

const { IDR0, IDR3, IDR5 } = PRESETS.default
/** IDR0.S2P is bit 0, S1P bit 1; IDR3.FWB bit 8; IDR5.OAS bits 2:0. */
const STAGE_1_ALONE = { IDR0: IDR0 & ~1, IDR3: IDR3 & ~(1 << 8) }
const STAGE_2_ALONE = { IDR0: IDR0 & ~2 }

/** What each mix of flags makes: the stage, or the errno. Flags are NEST_PARENT, DIRTY_TRACKING, PASID. */
function made(world: World): string[] {
  const mixes = [...Array(8).keys()].map((bits): [string, PagingFlags] => [
    ['N', 'D', 'P'].filter((_, i) => (bits >> i) & 1).join('') || '0',
    { nestParent: (bits & 1) !== 0, dirtyTracking: (bits & 2) !== 0, pasid: (bits & 4) !== 0 },
  ])
  return mixes.map(([name, flags]) => {
    const errno = refusal(() => {
      const domain = world.driver.createPaging(world.a, flags)
      expect(domain.isNestParent).toBe(flags.nestParent)
      throw Object.assign(new Error(), { name: `stage ${(domain as unknown as { stage: number }).stage}` })
    })
    return `${name} ${errno}`
  })
}

describe('flags of a paging domain, as Linux takes them', () => {
  const no = 'EOPNOTSUPP'
  it('choose stage 1, but for a nesting parent alone', () => {
    const rest = ['D stage 1', `ND ${no}`, 'P stage 1', `NP ${no}`, 'DP stage 1', `NDP ${no}`]
    expect(made(new World())).toEqual(['0 stage 1', 'N stage 2', ...rest])
  })

  it('leave what a unit with one stage has', () => {
    const first = ['D stage 1', `ND ${no}`, 'P stage 1', `NP ${no}`, 'DP stage 1', `NDP ${no}`]
    expect(made(new World(STAGE_1_ALONE))).toEqual(['0 stage 1', `N ${no}`, ...first])
    const second = ['D', 'ND', 'P', 'NP', 'DP', 'NDP'].map((mix) => `${mix} ${no}`)
    expect(made(new World(STAGE_2_ALONE))).toEqual(['0 stage 2', `N ${no}`, ...second])
  })
})

describe('a unit with 52-bit addresses', () => {
  /** OAS 6 and VAX 1, bits 11:10, beside the granule of 64 KiB. */
  const WIDE = { IDR5: (IDR5 & ~7) | 6 | (1 << 10) }

  it('reaches 48 bits with tables of 4 KiB granules', () => {
    const world = new World(WIDE)
    for (const flags of [PLAIN, PARENT]) {
      const domain = world.driver.createPaging(world.a, flags)
      expect(domain.aperture).toEqual({ start: 0n, last: 2n ** 48n - 1n })
      domain.map(2n ** 48n - 0x1000n, GUEST_RAM, 0x1000n, RW)
      world.a.set(0, domain, null)
      expect(world.dma(world.a, 2n ** 48n - 1n)).toBe('ok 10000000fff')
      world.a.clear(0, domain)
    }
  })
})

describe('a coherent device (CANWBS)', () => {
  it('makes domains that take no other device, each kind with EINVAL', () => {
    const world = new World({}, { canwbs: true })
    expect([world.a.enforcesCoherency, world.b.enforcesCoherency]).toEqual([true, false])
    for (const flags of [PLAIN, PARENT, PASID]) {
      const own = world.driver.createPaging(world.a, flags)
      expect(refusal(() => world.b.set(0, own, null))).toBe('EINVAL')
      world.a.set(0, own, null)
      world.a.clear(0, own)
    }
    world.a.set(0, world.driver.createPaging(world.b, PLAIN), null)
  })

  it('may nest without S2FWB, where others may not', () => {
    const world = new World({ IDR3: IDR3 & ~(1 << 8) }, { canwbs: true })
    expect(refusal(() => world.driver.checkViommu(world.b, 1))).toBe('EOPNOTSUPP')
    world.driver.checkViommu(world.a, 1)
    const guest = new NestedGuest(world)
    guest.viommu.addVdevice(world.a, VSID)
    world.a.set(0, guest.domain(), null)
    expect(world.dma(world.a, 0x1000n)).toBe('ok 10000700000')
    // S2FWB is bit 89: bit 25 of the second word.
    expect(world.ste(world.a)[1] & (1n << 25n)).toBe(0n)
  })
})

describe('capabilities of PASIDs', () => {
  it('are told of devices that have some', () => {
    const { a, b } = new World()
    const both = HW_CAPABILITY.PCI_PASID_EXEC | HW_CAPABILITY.PCI_PASID_PRIV
    expect([a.capabilities & both, b.capabilities & both]).toEqual([both, 0])
  })
})

describe('S2FWB', () => {
  it('is for nesting parents, whose guests could choose other attributes', () => {
    const world = new World()
    const parent = world.driver.createPaging(world.a, PARENT)
    world.a.set(0, parent, null)
    expect(world.ste(world.a)[1] & (1n << 25n)).toBe(1n << 25n)
    const alone = new World(STAGE_2_ALONE)
    alone.a.set(0, alone.driver.createPaging(alone.a, PLAIN), null)
    expect(alone.ste(alone.a)[1] & (1n << 25n)).toBe(0n)
  })
})
