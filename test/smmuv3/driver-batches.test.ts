/** How many commands the unit is told of at once: 64 as Linux does, and never more than its queue holds. */

import { describe, expect, it } from 'vitest'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import { invalidateCommands } from '../given.js'
import { IPA, NestedGuest, VSID } from './ear.js'
import { GUEST_RAM, PARENT, PASID, PLAIN, RW, World } from './world.js'

const { IDR1, IDR3 } = PRESETS.default
const CMDQ_PROD = 0x98
/** CMD_TLBI_NH_ALL. */
const NH_ALL = { dw0: 0x10n, dw1: 0n }

/** How far each write of CMDQ_PROD moves it while `act` runs; the queue's index has a wrap bit above `lg2`. */
function steps(world: World, lg2: number, act: () => void): number[] {
  const { unit } = world.driver
  const write = unit.writeRegister.bind(unit)
  const moves: number[] = []
  let before = Number(world.register(CMDQ_PROD, 4))
  unit.writeRegister = (offset, bytes, lo, hi) => {
    if (offset === CMDQ_PROD) {
      moves.push((lo - before + 2 ** (lg2 + 1)) % 2 ** (lg2 + 1))
      before = lo
    }
    return write(offset, bytes, lo, hi)
  }
  act()
  unit.writeRegister = write
  return moves
}

/** IDR1.CMDQS, bits 25:21; without IDR3.RIL, bit 10, each page is a command. */
const small = (lg2: number) => ({ IDR1: (IDR1 & ~(31 << 21)) | (lg2 << 21), IDR3: IDR3 & ~(1 << 10) })

describe('a batch', () => {
  it('is 64 commands, and the SYNC goes with the last of them', () => {
    const world = new World()
    const { viommu } = new NestedGuest(world)
    const all = Array.from({ length: 130 }, () => NH_ALL)
    expect(steps(world, 16, () => void invalidateCommands(viommu, all))).toEqual([64, 64, 3])
  })

  it.each([0, 1, 2, 5])('is no larger than a queue of 2^%i commands', (lg2) => {
    const world = new World(small(lg2))
    const domain = world.driver.createPaging(world.a, PLAIN)
    world.a.set(0, domain, null)
    for (let round = 0; round < 3; round++) {
      for (let page = 1n; page <= 100n; page++) domain.map(page << 12n, GUEST_RAM + Number(page) * 8192, 0x1000n, RW)
      expect(world.dma(world.a, 0x5000n)).toBe('ok 1000000a000')
      domain.unmap(0x1000n, 100n << 12n)
      const moves = steps(world, lg2, () => void domain.flush())
      expect(Math.max(...moves)).toBeLessThanOrEqual(2 ** lg2)
      expect(moves.reduce((sum, move) => sum + move, 0)).toBeGreaterThan(100)
      expect(world.dma(world.a, 0x5000n)).toBe('F_TRANSLATION')
    }
  })

  it.each([0, 1])('of a guest goes through a queue of 2^%i commands', (lg2) => {
    const world = new World(small(lg2), {}, { caches: { policy: 'greedy' } })
    const guest = new NestedGuest(world)
    guest.viommu.addVdevice(world.a, VSID)
    world.a.set(0, guest.domain(), null)
    expect(world.dma(world.a, 0x1000n)).toBe('ok 10000700000')
    guest.map(1, IPA + 0x71_0000n)
    expect(world.dma(world.a, 0x1000n)).toBe('ok 10000700000')
    expect(invalidateCommands(guest.viommu, [NH_ALL, NH_ALL, NH_ALL])).toMatchObject({ done: 3 })
    expect(world.dma(world.a, 0x1000n)).toBe('ok 10000710000')
    world.a.clear(0, guest.domain())
    const [parent, domain] = [PARENT, PASID].map((flags) => world.driver.createPaging(world.a, flags))
    world.a.set(0, parent, null)
    world.a.set(0, domain, parent)
    expect(world.dma(world.a, 0x1000n)).toBe('F_TRANSLATION')
  })
})
