import { beforeEach, describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { Ear, IPA, NestedGuest, VSID } from './ear.js'
import { GUEST_RAM, RW, World } from './world.js'

/** [uAPI IOMMU_VEVENTQ_TYPE_ARM_SMMUV3] */
const TYPE = 1

let world: World
let ear: Ear
let guest: NestedGuest
beforeEach(() => {
  world = new World()
  ear = new Ear()
  world.driver.listener = ear
  guest = new NestedGuest(world)
})
const nest = (ste0?: bigint, ste1?: bigint): void => {
  guest.viommu.addVdevice(world.a, VSID)
  world.a.set(0, guest.domain(ste0, ste1), null)
}
const names = (): string[] => ear.vevents.map(({ name }) => name)

describe("events of a guest's vIOMMU", () => {
  it('are the records with the StreamID that the guest knows', () => {
    nest()
    world.dma(world.a, 0x5008n, -1, ACCESS.WRITE)
    const [{ viommu, type, words, name }] = ear.vevents
    expect([viommu === guest.viommu, type, name]).toEqual([true, TYPE, 'F_TRANSLATION'])
    // ID 0x10; StreamID 77; a write: RnW, bit 99, is 0; CLASS IN is bits 105:104 = 2; InputAddr 0x5008.
    expect(words).toEqual([0x10, 77, 0, 0x200, 0x5008, 0, 0, 0])
    expect(world.events[0].record[1]).toBe(8)
  })

  it('come of its STE, its CDs and its tables', () => {
    nest()
    world.dma(world.a, 0x1000n, 5)
    world.dma(world.a, 0x1000n, 9)
    // AF, bit 10, is clear; read-only, AP[2] in bit 7.
    world.poke(GUEST_RAM + 0x20_3000 + 6 * 8, IPA | 0xb43n)
    world.poke(GUEST_RAM + 0x20_3000 + 7 * 8, IPA | 0xfc3n)
    world.dma(world.a, 0x6000n)
    world.dma(world.a, 0x7000n, -1, ACCESS.WRITE)
    expect(names()).toEqual(['C_BAD_CD', 'C_BAD_SUBSTREAMID', 'F_ACCESS', 'F_PERMISSION'])
    expect(ear.vevents.every(({ words }) => words[1] === Number(VSID))).toBe(true)
  })

  it('are told of no PASID-less request that S1DSS terminates otherwise', () => {
    nest(undefined, 0n)
    world.dma(world.a, 0x1000n)
    expect(names()).toEqual(['F_STREAM_DISABLED'])
  })

  it('are not those of stage 2', () => {
    nest()
    guest.map(5, 0x2000_0000n)
    expect(world.dma(world.a, 0x5000n)).toBe('F_TRANSLATION')
    expect([world.events[0].isStageTwo, ear.vevents]).toEqual([true, []])
  })

  it('are not a failed fetch, of a CD or of a table entry: the operator hears where it was', () => {
    // The parent leads here, and there is no memory.
    const [ipa, hole] = [0x9000_0000n, 2 ** 41]
    guest.parent.map(ipa, hole, 0x1000n, RW)
    guest.viommu.addVdevice(world.a, VSID)
    // One CD, at the hole; then TTB0 of the right one.
    const first = guest.domain(ipa | 0xbn, 2n)
    world.a.set(0, first, null)
    expect(world.dma(world.a, 0x1000n)).toBe('F_CD_FETCH')
    world.poke(GUEST_RAM + 0x10_0008, ipa)
    world.a.set(0, guest.domain(), first)
    expect([world.dma(world.a, 0x1000n), ear.vevents]).toEqual(['F_WALK_EABT', []])
    const [cd, table] = world.reports
    expect([cd, table]).toMatchObject([
      { name: 'F_CD_FETCH', rid: 8, facts: { fetchAddress: `0x${hole.toString(16)}` } },
      { name: 'F_WALK_EABT', rid: 8 },
    ])
  })

  it('are not told of a domain of the host, of a device without a name, nor after the detach', () => {
    const domain = guest.domain(9n, 0n)
    world.a.set(0, domain, null)
    guest.viommu.addVdevice(world.a, VSID)
    world.a.clear(0, domain)
    const paging = world.driver.createPaging(world.a, { nestParent: false, dirtyTracking: false, pasid: false })
    world.a.set(0, paging, null)
    expect(world.dma(world.a, 0x1000n)).toBe('F_TRANSLATION')
    expect(ear.vevents).toEqual([])
  })

  it('carry the low 32 bits of a name that is wider', () => {
    guest.viommu.addVdevice(world.a, (1n << 60n) + 0x8000_0063n)
    world.a.set(0, guest.domain(), null)
    world.dma(world.a, 0x5000n)
    expect(ear.vevents[0].words[1]).toBe(0x8000_0063)
  })

  it('carry the name that the device had when it was attached', () => {
    nest()
    guest.viommu.removeVdevice(world.a)
    guest.viommu.addVdevice(world.a, 99n)
    world.dma(world.a, 0x5000n)
    expect(ear.vevents[0].words[1]).toBe(77)
  })
})
