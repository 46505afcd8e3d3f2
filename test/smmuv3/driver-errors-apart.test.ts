/** Errors of a unit that come one after the other, each of its own cause; and domains that could not be made. */

import { describe, expect, it } from 'vitest'
import { Refusal } from '../../server/core/driver.js'
import { GUEST_RAM, PARENT, PLAIN, RW, refusal, World } from './world.js'

const CMDQ_PROD = 0x98
const CMDQ_CONS = 0x9c

/** The next command that the unit takes has a code that there is none for. */
function plant(world: World): void {
  const { unit } = world.driver
  const base = Number(world.register(0x90, 8) & 0xff_ffff_ffff_ffe0n)
  const at = base + Number(world.register(CMDQ_CONS, 4) & 0xfffffn) * 16
  const write = unit.writeRegister.bind(unit)
  unit.writeRegister = (offset, bytes, lo, hi) => {
    if (offset === CMDQ_PROD) {
      world.poke(at, 0xffn)
      unit.writeRegister = write
    }
    write(offset, bytes, lo, hi)
  }
}

describe('illegal commands', () => {
  it('at different places, however many, do not switch the unit off', () => {
    const world = new World()
    const domain = world.driver.createPaging(world.a, PLAIN)
    world.a.set(0, domain, null)
    for (let time = 0; time < 20; time++) {
      domain.map(0x1000n, GUEST_RAM, 0x1000n, RW)
      expect(world.dma(world.a, 0x1000n)).toBe('ok 10000000000')
      domain.unmap(0x1000n, 0x1000n)
      plant(world)
      domain.flush()
    }
    expect(world.driver.counters()).toMatchObject({ CERROR_ILL: 20, failed: 0 })
  })
})

describe('a domain', () => {
  it.each([
    ['stage 1', PLAIN],
    ['a nesting parent', PARENT],
  ])('that cannot be made leaves no table, whatever it is refused: %s', (_name, flags) => {
    let left = Number.POSITIVE_INFINITY
    const failPoint = (): void => {
      if (--left === 0) throw new Refusal('ENOMEM', 'the test refuses this')
    }
    const world = new World({}, {}, { failPoint })
    const used = world.ram.usedBytes
    let refusals = 0
    for (left = 1; refusal(() => world.driver.createPaging(world.a, flags)) !== 'no refusal'; left = refusals + 1) {
      refusals++
      expect(world.ram.usedBytes).toBe(used)
    }
    expect(refusals).toBeGreaterThan(1)
    expect(world.ram.usedBytes).toBeGreaterThan(used)
  })
})
