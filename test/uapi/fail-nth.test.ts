/** A story of ioctls, told again with each allocation of core refused in turn. */

import { describe, expect, it } from 'vitest'
import { Refusal } from '../../server/core/refusal.js'
import { fakeMachine } from '../core/world.js'
import { bytesOf, Door, memory, word, words } from './door.js'

const DATA = 0x2000_0000n
const FIXED_RW = 7
const STE = bytesOf([1n, 8], [0n, 8])

/** Refuses the n-th thing that is made. */
class Scarce {
  left: number
  wasMet = false

  constructor(n: number) {
    this.left = n
  }

  readonly failPoint = (what: string): void => {
    if (--this.left !== 0) return
    this.wasMet = true
    throw new Refusal('ENOMEM', `no memory for one ${what}`)
  }
}

/** Everything of the context that a refused call must leave alone. */
const stateOf = (door: Door): object => ({
  objects: door.do('ListObjects', { type: 0 }).objects,
  quotas: door.do('GetContext').quotas,
  regions: door.do('ListMemoryRegions').regions,
})

/** Does a step; one that is refused left nothing, and is done again. */
function step<T>(door: Door, act: () => T): T {
  const before = stateOf(door)
  try {
    return act()
  } catch {
    expect(stateOf(door)).toEqual(before)
    return act()
  }
}

function tell(door: Door): void {
  const make = (cmd: number, arg: Uint8Array, at: number, data?: Uint8Array): number =>
    step(door, () => word(door.done(cmd, arg, data === undefined ? [] : [memory(DATA, data)]), at))
  const open = (request: { objectId?: number; regionId?: number }): number =>
    step(door, () => door.handle('OpenHandle', request).handle)
  const deviceId = step(door, () => door.bind('arm'))
  const regionId = step(door, () => door.region(0x4000n, 0x1000_0000n))
  const file = open({ regionId })
  const ioas = make(0x3b81, words(12, 0, 0), 8)
  make(0x3b8f, bytesOf([40, 4], [FIXED_RW, 4], [ioas, 4], [file, 4], [0, 8], [0x4000, 8], [0x4000, 8]), 0)
  make(0x3b85, bytesOf([40, 4], [FIXED_RW, 4], [ioas, 4], [0, 4], [0x1000_0000, 8], [0x1000, 8], [0x8000, 8]), 0)
  const fault = make(0x3b8e, words(16, 0, 0, 0), 8)
  const parent = make(0x3b89, words(48, 1, deviceId, ioas, 0, 0, 0, 0, 0, 0, 0, 0), 16)
  const viommu = make(0x3b90, words(40, 0, 1, deviceId, parent, 0, 0, 0, 0, 0), 20)
  make(0x3b91, bytesOf([24, 4], [viommu, 4], [deviceId, 4], [0, 4], [5, 8]), 12)
  make(0x3b93, words(32, 0, viommu, 1, 2, 0, 0, 0), 20)
  make(0x3b89, words(48, 4, deviceId, viommu, 0, 0, 2, 16, Number(DATA), 0, fault, 0), 16, STE)
  expect([open({ objectId: fault }), open({ objectId: deviceId })]).toEqual([4, 5])
}

describe('a story of ioctls', () => {
  it('goes on after each refused allocation as if nothing had been', () => {
    let n = 0
    for (;;) {
      const scarce = new Scarce(++n)
      const machine = fakeMachine()
      const door = new Door({ machine, failPoint: () => {} })
      // The context is there; from now on things are scarce, the driver's too.
      Object.assign(door.core, { failPoint: scarce.failPoint })
      machine.failPoint = scarce.failPoint
      tell(door)
      door.do('CloseContext')
      expect(door.leftovers()).toEqual([])
      if (!scarce.wasMet) break
    }
    expect(n).toBeGreaterThan(20)
  })
})
