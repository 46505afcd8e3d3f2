/** What the tests of stalls start from: a stream whose faults wait, and the commands that end them. */

import { expect } from 'vitest'
import { type GuestOptions, SID } from './guest.js'
import { World } from './tables.js'

/** Stall or terminate, as a CD or STE says; as many at once as `most`. */
export const stalling = (most = 16, more: GuestOptions = {}): GuestOptions => ({
  ...more,
  deny: { IDR0: (3 << 24) | (1 << 26), IDR5: -65536 },
  offer: { IDR5: most << 16 },
})

export const NOWHERE = 0x7777_0000n
export const S = 1n << 44n

/** A stream whose stage 1 faults stall. */
export function world(most = 16, more: GuestOptions = {}): World {
  const w = new World(0b101, stalling(most, more))
  w.cd[0] |= S
  return w.apply()
}

/** Holds a transaction and answers its tag. */
export function stall(w: World, va = NOWHERE, how: { ssid?: number; sid?: number; write?: boolean } = {}): number {
  const ended = how.write === true ? w.write(va, how) : w.read(va, how)
  expect(ended).toBe('stalled')
  return w.outcome.tag
}

/** STAG of the next record in the queue, which is of a stall. */
export function stag(w: World): bigint {
  const [record] = w.events()
  const word = BigInt(`0x${record.split(' ')[1]}`)
  expect(word & 0x8000_0000n).toBe(0x8000_0000n)
  return word & 0xffffn
}

export const sid = (n: number): bigint => BigInt(n) << 32n
export const RETRY = 0x1044n | sid(SID)
export const ABORT = 0x2044n | sid(SID)
export const RAZ_WI = 0x0044n | sid(SID)
export const STALL_TERM = 0x45n | sid(SID)
