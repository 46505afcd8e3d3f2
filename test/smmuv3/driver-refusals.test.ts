/** What the driver itself refuses, whoever is before it: other units' devices, units without a stage, data it does not take. */

import { expect, it } from 'vitest'
import { Memory } from '../../hw-model/memory/memory.js'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import { givenData, type PagingOps, type WindowOps } from '../../server/core/driver.js'
import { HostRam } from '../../server/drivers/host-ram.js'
import { createSmmuV3Driver } from '../../server/drivers/smmuv3/index.js'
import { WindowWorld } from './window-world.js'
import { PARENT, PLAIN, refusal, World } from './world.js'

const { IDR0, IDR5 } = PRESETS.default
/** IDR0.S2P and S1P. */
const S2P = 1
const S1P = 2
const STE = givenData('smmuv3_ste', { ste0: 1n, ste1: 0n })

const windowOn = (parent: PagingOps): WindowOps => (parent as unknown as { createWindow(): WindowOps }).createWindow()

it('a unit without pages of 4 KiB has no host driver', () => {
  // IDR5.GRAN4K, GRAN16K, GRAN64K: bits 4, 5, 6.
  expect(() => new World({ IDR5: (IDR5 & ~0x70) | 0x60 })).toThrow('GRAN4K')
})

it('a unit whose reports nobody takes works', () => {
  const memory = new Memory()
  const ram = new HostRam(memory, 2 ** 33, 2 ** 30)
  const driver = createSmmuV3Driver({ name: 'smmu0', memory, ram, onEvent: () => undefined })
  driver.unit.fail()
  const device = driver.probe({ rid: 8, pasidLg2: 0, ats: false, pri: false })
  expect(refusal(() => device.set(0, driver.createPaging(device, PLAIN), null))).toBe('EIO')
})

it('a paging domain takes no data', () => {
  const world = new World()
  expect(refusal(() => world.driver.createPaging(world.a, PLAIN, STE))).toBe('EOPNOTSUPP')
})

it('a user domain is made on a vIOMMU or a window, not on the unit, and for no single PASID on a vIOMMU', () => {
  const world = new World()
  const parent = world.driver.createPaging(world.a, PARENT)
  expect(refusal(() => world.driver.createUserDomain())).toBe('EOPNOTSUPP')
  const viommu = world.driver.createViommu(world.a, parent)
  expect(refusal(() => viommu.createUserDomain(world.a, STE, { pasid: true }))).toBe('EOPNOTSUPP')
})

it('a device of another unit gets nothing of this one', () => {
  const [here, there] = [new WindowWorld(), new World()]
  const parent = here.driver.createPaging(here.a, PARENT)
  const viommu = here.driver.createViommu(here.a, parent)
  expect(refusal(() => here.driver.createPaging(there.a, PLAIN))).toBe('EINVAL')
  expect(refusal(() => viommu.createUserDomain(there.a, STE, { pasid: false }))).toBe('EINVAL')
  const root = givenData('smmuv3_pgd', here.rootData(1))
  expect(refusal(() => here.window.createUserDomain(there.a, root))).toBe('EINVAL')
  expect(refusal(() => there.driver.createViommu(there.a, parent))).toBe('EINVAL')
  expect(refusal(() => there.a.set(0, parent, null))).toBe('EINVAL')
})

it.each([
  ['1', S1P],
  ['2', S2P],
])('a unit without stage %s has neither nesting parents nor vIOMMUs', (_stage, bit) => {
  const world = new World({ IDR0: IDR0 & ~bit })
  expect(refusal(() => world.driver.createPaging(world.a, PARENT))).toBe('EOPNOTSUPP')
  expect(refusal(() => world.driver.checkViommu(world.a, 1))).toBe('EOPNOTSUPP')
})

it('a stage 2 domain that is no nesting parent has neither vIOMMU nor window', () => {
  const world = new World({ IDR0: IDR0 & ~S1P })
  const domain = world.driver.createPaging(world.a, PLAIN)
  expect(refusal(() => world.driver.createViommu(world.a, domain))).toBe('EINVAL')
  expect(refusal(() => windowOn(domain))).toBe('EINVAL')
})
