/** What a driver holds for an object, and what its context is charged for that. */

import { beforeEach, expect, it } from 'vitest'
import { ChargedBytes } from '../../server/core/charged-bytes.js'
import type { Quota } from '../../server/core/quota.js'

const LIMIT = 0x8000
let charged: number
let held: number
let bytes: ChargedBytes

beforeEach(() => {
  charged = 0
  held = 0
  const quota = {
    charge: (_name: string, amount: number) => {
      if (charged + amount > LIMIT) throw new RangeError('there is no more')
      charged += amount
    },
    release: (_name: string, amount: number) => {
      charged -= amount
    },
  }
  bytes = new ChargedBytes(quota as unknown as Quota, () => held)
})

it('follow what is held, up and down', () => {
  for (const now of [0x3000, 0x5000, 0x1000, 0, 0x2000, 0x2000]) {
    held = now
    bytes.follow()
    expect([charged, bytes.bytes]).toEqual([now, now])
  }
})

it('stay as they were where the quota has no more, and what was held too much can go again', () => {
  held = 0x4000
  bytes.follow()
  held = LIMIT + 1
  expect(() => bytes.follow()).toThrow(RangeError)
  expect([charged, bytes.bytes]).toEqual([0x4000, 0x4000])
  held = 0x4000
  bytes.release()
  expect(charged).toBe(0x4000)
  held = 0x1000
  for (let time = 0; time < 2; time++) bytes.release()
  expect([charged, bytes.bytes]).toEqual([0x1000, 0x1000])
})

it('grow by `follow` alone', () => {
  held = 0x1000
  bytes.release()
  expect(charged).toBe(0)
})

it('end once', () => {
  held = 0x3000
  bytes.follow()
  for (let time = 0; time < 2; time++) bytes.end()
  expect([charged, bytes.bytes]).toEqual([0, 0])
})
