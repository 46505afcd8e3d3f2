/** Requests in dense arrays end as they end one by one, up to the first that does not end well. */

import { describe, expect, it } from 'vitest'
import { ACCESS, Outcome, STATUS } from '../../hw-model/port.js'
import type { DmaRun } from '../../server/core/driver.js'
import { GUEST_RAM, PLAIN, RW, World } from './world.js'

const COUNT = 6
/** All but the last are mapped. */
const IOVAS = Array.from({ length: COUNT }, (_, i) => 0x1000 + i * 0x1000 + 8 * i)

function runOf(accesses: readonly number[]): DmaRun {
  const lists = (): Uint32Array => new Uint32Array(COUNT)
  return {
    iovas: Int32Array.from(IOVAS.flatMap((iova) => [iova, 0])),
    access: ACCESS.READ,
    accesses: Uint32Array.from(accesses),
    outcomes: lists(),
    addresses: new Float64Array(COUNT),
    pageSizeLog2s: lists(),
    permissions: lists(),
    cacheHits: lists(),
  }
}

describe('a run of requests', () => {
  for (const accesses of [[], [1, 3, 1, 3, 1, 1]]) {
    it(`ends as its requests do${accesses.length === 0 ? '' : ', each with its own access'}`, () => {
      const world = new World()
      const domain = world.driver.createPaging(world.a, PLAIN)
      domain.map(0x1000n, GUEST_RAM, 0x5000n, RW)
      world.a.set(0, domain, null)
      const run = runOf(accesses)
      const [out, alone] = [new Outcome(), new Outcome()]
      const stopped = world.a.port.translateRun?.(-1, run, 0, COUNT, out)
      expect([stopped, out.status]).toEqual([COUNT - 1, STATUS.FAULT])
      for (const [i, iova] of IOVAS.entries()) {
        world.a.port.translate(-1, iova, 0, accesses[i] ?? ACCESS.READ, alone)
        if (i === COUNT - 1) expect(alone.fault).toBe(out.fault)
        else
          expect([run.outcomes[i], run.addresses[i], run.pageSizeLog2s[i], run.permissions[i]]).toEqual([
            STATUS.OK,
            alone.address,
            alone.leafLg2,
            alone.rights,
          ])
      }
      expect([...run.cacheHits]).toEqual([0, 0, 0, 0, 0, 0])
      expect(world.a.port.translateRun?.(-1, run, 0, COUNT - 1, out)).toBe(COUNT - 1)
      expect([...run.cacheHits]).toEqual([1, 1, 1, 1, 1, 0])
    })
  }
})
