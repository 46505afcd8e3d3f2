/** Each story with each of its allocations refused once. The kernel's self-test has the like: iommufd_fail_nth. */

import { describe, expect, it } from 'vitest'
import type { PlatformSpec } from '../../server/drivers/platform.js'
import { SELFTEST_STORIES } from './selftest-stories.js'
import { STORIES } from './stories.js'
import { World } from './telling.js'

const DEVICE = { pasidBits: 20, ats: false, pri: false }

const PLATFORM: PlatformSpec = {
  units: [
    { name: 'smmu0', type: 'smmuv3' },
    { name: 'vtd0', type: 'vtd' },
  ],
  devices: [
    { name: '0000:00:01.0', iommu: 'smmu0', ...DEVICE },
    { name: '0000:00:02.0', iommu: 'smmu0', ...DEVICE },
    { name: '0000:01:01.0', iommu: 'vtd0', ...DEVICE },
    { name: '0000:01:02.0', iommu: 'vtd0', ...DEVICE },
  ],
}

const CASTS = {
  SMMUv3: { device: '0000:00:01.0', second: '0000:00:02.0', other: '0000:01:01.0', isSmmu: true },
  'VT-d': { device: '0000:01:01.0', second: '0000:01:02.0', other: '0000:00:01.0', isSmmu: false },
}

describe.each(Object.entries(CASTS))('on %s', (_name, cast) => {
  it.each(Object.entries(STORIES))('%s: a refused allocation leaves everything as it was', (_story, story) => {
    const world = new World(PLATFORM)
    const { tellings, refused } = world.tell((teller) => story(teller, cast))
    expect(tellings).toBeGreaterThan(5)
    expect([...refused.keys()]).toContain('object')
  })
})

describe('basic_fail_nth, on the mock through the ioctl door', () => {
  it.each(Object.entries(SELFTEST_STORIES))(
    '%s: a refused allocation leaves everything as it was',
    async (_name, story) => {
      const world = new World(PLATFORM)
      const { tellings, refused } = await world.tellIoctls(story)
      expect(tellings).toBeGreaterThan(1)
      expect(refused.size).toBeGreaterThan(0)
    },
  )
})
