/** What is left of a window that has gone: no entry under its VMID, no command about it, no use of its parent. */

import { describe, expect, it } from 'vitest'
import type { PagingOps } from '../../server/core/driver.js'
import { RAM_IPA, WindowWorld } from './window-world.js'
import { GUEST_RAM, PARENT, PLAIN, RW } from './world.js'

const FAR = GUEST_RAM + 0x1000_0000
const PAGE = 0x1000n
/** CMD_TLBI_S2_IPA and CMD_TLBI_NH_ALL, the low bytes of their first words. [SMMU 4.4] */
const STAGE_TWO = /(2a|10) \S+$/

/** VMIDs that commands name, in bits 47:32. */
const vmids = (commands: readonly string[]): number[] => [
  ...new Set(
    commands
      .filter((one) => STAGE_TWO.test(one))
      .map((one) => Number((BigInt(`0x${one.split(' ')[0]}`) >> 32n) & 0xffffn)),
  ),
]

describe('the VMID of a window that has gone', () => {
  it('finds nothing in the TLB when it is the next domain’s, though the parent is still in use', () => {
    const world = new WindowWorld({}, {}, { caches: { policy: 'greedy' } })
    world.b.set(0, world.parent, null)
    world.a.set(0, world.window, null)
    expect(world.dma(world.a, RAM_IPA)).toBe(`ok ${GUEST_RAM.toString(16)}`)
    const { vmid } = world.window as unknown as { vmid: number }
    world.a.clear(0, world.window)
    world.window.destroy()
    const next = world.driver.createPaging(world.a, PARENT)
    next.map(RAM_IPA, FAR, PAGE, RW)
    expect((next as unknown as { vmid: number }).vmid).toBe(vmid)
    world.a.set(0, next, null)
    expect(world.dma(world.a, RAM_IPA)).toBe(`ok ${FAR.toString(16)}`)
  })

  it('is in the commands of its parent while a device has the window, and in no other', () => {
    const world = new WindowWorld()
    world.b.set(0, world.parent, null)
    const unmap = (iova: bigint): number[] => {
      world.parent.map(iova, FAR, PAGE, RW)
      const unmapping = (): void => {
        world.parent.unmap(iova, PAGE)
        world.parent.flush()
      }
      return vmids(world.commandsOf(unmapping))
    }
    const own = (world.parent as unknown as { vmid: number }).vmid
    const { vmid } = world.window as unknown as { vmid: number }
    expect(unmap(0x1000n)).toEqual([own])
    world.a.set(0, world.window, null)
    expect(unmap(0x2000n).sort()).toEqual([own, vmid].sort())
    world.a.clear(0, world.window)
    expect(unmap(0x3000n)).toEqual([own])
  })

  it('leaves no command that the unit has not carried out', () => {
    const world = new WindowWorld()
    world.a.set(0, world.window, null)
    const commands = world.commandsOf(() => {
      world.a.clear(0, world.window)
      world.window.destroy()
    })
    expect(commands.length).toBeGreaterThan(0)
    // The queue has not wrapped: behind what the unit was told of, there is nothing yet. [SMMU 6.3.26 SMMU_CMDQ_BASE]
    const base = Number(world.register(0x90, 8) & 0xf_ffff_ffff_ffc0n)
    expect(world.peek(base + Number(world.register(0x98, 4)) * 16)).toBe(0n)
  })
})

describe('a domain that is still in use', () => {
  const destroying = (domain: PagingOps) => () => void domain.destroy()

  it('cannot be destroyed behind a window, whose slots it outlives', () => {
    const world = new WindowWorld()
    expect(destroying(world.parent)).toThrow('nothing uses it')
    world.a.set(0, world.window, null)
    world.a.set(3, world.root(1), null)
    world.a.clear(0, world.window)
    expect(destroying(world.parent)).toThrow('nothing uses it')
    const again = new WindowWorld()
    again.a.set(0, again.window, null)
    again.a.clear(0, again.window)
    again.window.destroy()
    expect(destroying(again.parent)).not.toThrow()
  })

  it('cannot be destroyed before it left its last slot', () => {
    const world = new WindowWorld()
    world.window.destroy()
    expect(destroying(world.parent)).not.toThrow()
    const domain = world.driver.createPaging(world.a, PLAIN)
    world.a.set(0, domain, null)
    world.a.set(5, domain, null)
    expect(destroying(domain)).toThrow('nothing uses it')
    world.a.clear(0, domain)
    expect(destroying(domain)).toThrow('nothing uses it')
    world.a.clear(5, domain)
    expect(destroying(domain)).not.toThrow()
  })
})
