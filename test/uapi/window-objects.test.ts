/** What the kernel's calls make of a window, which they cannot make: it is an object of the context like any other. */

import { describe, expect, it } from 'vitest'
import { bytesOf } from './door.js'
import { ARM, newHwpt, noHwpt, platformDoor } from './world.js'

const NEST_PARENT = 1
const SMMUV3 = 2

describe('IOMMU_HWPT_ALLOC on a window', () => {
  it('wants one root, for which there is no type of data', () => {
    const door = platformDoor()
    const dev = door.bind(ARM)
    const parentDomainId = newHwpt(door, { flags: NEST_PARENT, dev, pt: door.newIoas() })
    const { windowId } = door.do('CreateWindow', { parentDomainId, first: 0x10_0000n, last: 0x10_0fffn })
    const before = door.objects()
    expect(noHwpt(door, { dev, pt: windowId })).toBe('EOPNOTSUPP')
    const ste = bytesOf([0n, 8], [0n, 8])
    expect(noHwpt(door, { dev, pt: windowId, type: SMMUV3, data: ste })).toBe('EINVAL')
    expect(door.objects()).toEqual(before)
  })
})
