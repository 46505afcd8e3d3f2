/** The fixture `change_process`: who pays for pinned memory. */

import { expect } from 'vitest'
import { sized } from '../harness/bytes.js'
import type { Fixture } from '../harness/fixture.js'
import { BUFFER, E, PAGE } from '../harness/process.js'

const RLIMIT_MODE = 0

/** The fixture; a variant is the mode that is set, if one is. */
export const CHANGE_PROCESS: Fixture<{ readonly ioas: number }, bigint | undefined> = {
  name: 'change_process',
  variants: { account_none: undefined, account_user: 0n, account_mm: 1n },
  async setUp({ iommufd, world }, mode) {
    if (mode !== undefined) expect((await iommufd.option(RLIMIT_MODE, 0, mode)).errno).toBe(0)
    const { id: ioas } = await iommufd.ioasAlloc()
    expect((await world.mockDomain(iommufd, ioas)).errno).toBe(0)
    return { ioas }
  },
  tests: {
    basic: {
      async run({ ioas }, { iommufd, process }) {
        const anonymous = await iommufd.map(ioas, BUFFER, PAGE)
        expect(anonymous.errno).toBe(0)
        expect(await iommufd.changeProcess()).toBe(E.INVAL)
        expect((await iommufd.unmap(ioas, anonymous.iova, PAGE)).errno).toBe(0)
        expect((await iommufd.mapFile(ioas, process.mfd, 0n, PAGE)).errno).toBe(0)
        expect(await iommufd.changeProcess()).toBe(0)
        // Another client with the same open file takes over; it is there when the first has let go.
        const other = process.daemon.connect().inContext(process.client.token)
        const { errno } = await other.ioctl({ handle: 0, cmd: 0x3b92, arg: sized([4, 0]), memory: [] })
        expect(errno).toBe(0)
        const mode = await iommufd.option(RLIMIT_MODE, 0)
        expect([mode.errno, (await iommufd.option(RLIMIT_MODE, 0, mode.value)).errno]).toEqual([0, E.BUSY])
      },
    },
  },
}
