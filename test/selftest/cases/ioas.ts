/** The fixture `iommufd_ioas`: an address space without a domain, with one, with two, and with a small batch limit. */

import { expect } from 'vitest'
import { struct } from '../harness/bytes.js'
import type { Fixture } from '../harness/fixture.js'
import { type Stdev, testCommand } from '../harness/lab.js'
import { MOCK, OP } from '../harness/mock-world.js'
import { ACCESS_CASES } from './ioas-access.js'
import { HW_INFO_CASES } from './ioas-hw-info.js'
import { NESTED_CASES } from './ioas-nested.js'
import { SPACE_CASES } from './ioas-space.js'

/** What a variant has. */
export interface IoasVariant {
  readonly domains: number
  /** Entries that the kernel works on at once; 0 leaves its own. */
  readonly limit: number
  /** A device with PASIDs is attached too. */
  readonly hasPasid: boolean
}

/** What a test finds. */
export interface IoasSelf {
  readonly ioas: number
  /** The device that was attached last, if one is. */
  readonly device?: Stdev
  readonly pasidDevice?: Stdev
  /** Where the test's maps begin. */
  readonly base: bigint
}

const DEFAULT_LIMIT = 65_536

/** The fixture. */
export const IOAS: Fixture<IoasSelf, IoasVariant> = {
  name: 'iommufd_ioas',
  // As kernels with huge pages place; the tests ask for more alignment than a page.
  daemonArgs: ['--auto-iova-alignment', '2097152'],
  variants: {
    no_domain: { domains: 0, limit: 0, hasPasid: false },
    mock_domain: { domains: 1, limit: 0, hasPasid: true },
    two_mock_domain: { domains: 2, limit: 0, hasPasid: false },
    mock_domain_limit: { domains: 1, limit: 16, hasPasid: false },
  },
  async setUp({ iommufd, world }, { domains, limit, hasPasid }) {
    const { id: ioas } = await iommufd.ioasAlloc()
    if (world.name === 'mock') {
      const body = struct([4, limit === 0 ? DEFAULT_LIMIT : limit])
      expect((await testCommand(iommufd, OP.SET_TEMP_MEMORY_LIMIT, 0, body)).errno).toBe(0)
    }
    const take = async (flags?: number): Promise<Stdev> => {
      const device = await world.mockDomain(iommufd, ioas, flags)
      expect([device.errno, device.reason]).toEqual([0, ''])
      return device
    }
    let device: Stdev | undefined
    for (let at = 0; at < domains; at++) device = await take()
    const pasidDevice = hasPasid ? await take(MOCK.PASID) : undefined
    return { ioas, device, pasidDevice, base: domains === 0 ? 0n : world.base }
  },
  async tearDown(_self, { iommufd, world }) {
    if (world.name !== 'mock') return
    const body = struct([4, DEFAULT_LIMIT])
    expect((await testCommand(iommufd, OP.SET_TEMP_MEMORY_LIMIT, 0, body)).errno).toBe(0)
  },
  tests: { ...SPACE_CASES, ...ACCESS_CASES, ...HW_INFO_CASES, ...NESTED_CASES },
}
