/** Ranges of invalidations against the sizes of what is cached. [VTD 6.5.2.3 T22, 6.5.3.2] */

import { describe, expect, it } from 'vitest'
import { did, type Garden, lost, type Plant, pasid } from './garden.js'
import { CAP_48 } from './guest.js'

/** MAMV 63. */
const WIDE = { cap: CAP_48 | (0x3fn << 48n) }

const SIZES: readonly (readonly [level: number, bits: bigint])[] = [
  [0, 12n],
  [1, 21n],
  [2, 30n],
]

const BASE = 0x40_0000_0000n

const plant = (kind: 'first' | 'second', level: number): Record<string, Plant> => ({
  it: { kind, sid: 0x0208, pasid: 5, did: 4n, va: BASE, level },
})

/** Whether one invalidation drops a page of a level at BASE. */
function drops(kind: 'first' | 'second', level: number, address: bigint, am: bigint): boolean {
  const word = kind === 'first' ? 0x36n | did(4) | pasid(5) : 0x32n | did(4)
  const act = (g: Garden): void => g.queue(word, address | am)
  return lost(plant(kind, level), ['iotlb'], act, WIDE).iotlb === 'it'
}

for (const kind of ['first', 'second'] as const) {
  describe(`a page of the ${kind} stage`, () => {
    for (const [level, bits] of SIZES) {
      const size = 1n << bits
      it(`of 2^${bits} bytes is dropped by any 4 KiB within it, and by none beside it`, () => {
        expect(drops(kind, level, BASE, 0n)).toBe(true)
        expect(drops(kind, level, BASE + size - 0x1000n, 0n)).toBe(true)
        expect(drops(kind, level, BASE + size, 0n)).toBe(false)
        expect(drops(kind, level, BASE - 0x1000n, 0n)).toBe(false)
      })

      it(`of 2^${bits} bytes is dropped by every larger range that holds it, and by no other`, () => {
        // BASE is 2^38, so ranges up to 2^38 start at it; those from 2^39 on start at 0.
        for (const am of [1n, 8n, 9n, 18n, 25n, 26n, 27n, 30n, 31n, 32n, 35n, 36n]) {
          const range = 1n << (12n + am)
          expect(drops(kind, level, BASE & ~(range - 1n), am), `AM ${am}`).toBe(true)
          // Low bits of the address do not count.
          expect(drops(kind, level, BASE | ((range - 1n) & ~0xfffn), am), `AM ${am}, misaligned`).toBe(true)
          const next = (BASE & ~(range - 1n)) + (range > size ? range : size)
          if (next < 1n << 47n) expect(drops(kind, level, next, am), `AM ${am}, beside`).toBe(false)
        }
      })
    }

    it('is dropped by every AM up to 63 at address 0 that reaches it', () => {
      const reached = Array.from({ length: 64 }, (_, am) => am).filter((am) => drops(kind, 0, 0n, BigInt(am)))
      expect(reached).toEqual(Array.from({ length: 64 - 27 }, (_, i) => i + 27))
    })
  })
}
