/** The union of reserved ranges against the bytes themselves. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ReservedRanges } from '../../server/core/reserved.js'
import { ALL } from './world.js'

const owners = [0, 1, 2].map((id) => ({ id, kind: 'device' }))

describe('reserved ranges', () => {
  it('are the union of what every owner reserves, as owners come and go', () => {
    const range = fc.tuple(fc.nat(60), fc.nat(60)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)
    const step = fc.record({ owner: fc.nat(2), ranges: fc.array(range, { maxLength: 3 }), leaves: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.constantFrom(0n, ALL - 60n), (steps, base) => {
        const reserved = new ReservedRanges()
        const bytes = owners.map(() => new Set<number>())
        for (const { owner, ranges, leaves } of steps) {
          if (leaves) {
            reserved.removeOwner(owners[owner])
            bytes[owner].clear()
          } else {
            const closed = ranges.map(([first, last]) => ({ start: base + BigInt(first), last: base + BigInt(last) }))
            reserved.add(owners[owner], closed)
            for (const [first, last] of ranges) for (let at = first; at <= last; at++) bytes[owner].add(at)
          }
          const free = reserved.holes.map(({ start, last }) => [start, last])
          expect(free).toEqual(holesOf(new Set(bytes.flatMap((set) => [...set])), base))
          for (let at = 0; at <= 60; at++) {
            const address = base + BigInt(at)
            const by = bytes.findIndex((set) => set.has(at))
            const told = reserved.ownerIn(address, address)
            if (by < 0) expect(told).toBe('nobody')
            else expect(bytes[Number(told.slice('device '.length))].has(at)).toBe(true)
            expect(reserved.firstIn(address, address) !== undefined).toBe(by >= 0)
          }
        }
      }),
    )
  })
})

describe('an owner whose ranges are nobody else’s', () => {
  it('is taken out of the union as any other is', () => {
    const step = fc.record({ owner: fc.nat(2), at: fc.nat(59), leaves: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.constantFrom(0n, ALL - 60n), (steps, base) => {
        const [one, other] = [new ReservedRanges(), new ReservedRanges()]
        const taken = new Map<number, number>()
        for (const { owner, at, leaves } of steps) {
          if (leaves) {
            one.removeSole(owners[owner])
            other.removeOwner(owners[owner])
            for (const [byte, by] of taken) if (by === owner) taken.delete(byte)
          } else if (!taken.has(at)) {
            taken.set(at, owner)
            const range = { start: base + BigInt(at), last: base + BigInt(at) }
            for (const each of [one, other]) each.add(owners[owner], [range])
          }
          expect(one.merged).toEqual(other.merged)
          expect(one.ownerIn(base, base + 60n)).toBe(other.ownerIn(base, base + 60n))
        }
      }),
    )
  })
})

/** Ranges of all 64 bits without these bytes from `base`. */
function holesOf(bytes: ReadonlySet<number>, base: bigint): bigint[][] {
  const holes: bigint[][] = []
  let from = 0n
  for (const at of [...bytes].sort((a, b) => a - b)) {
    const address = base + BigInt(at)
    if (address > from) holes.push([from, address - 1n])
    from = address + 1n
  }
  if (from <= ALL) holes.push([from, ALL])
  return holes
}
