/** How the recording program chose numbers. */

import type { Rng } from '../../simulation/rng.js'
import { PAGE, Struct, TOP } from './bytes.js'
import type { Linux } from './kernel.js'
import type { Thing } from './objects.js'

/** What a struct is filled from. */
export interface Desk {
  readonly rng: Rng
  readonly linux: Linux
}

/** A struct that is filled. */
export interface Filled {
  readonly s: Struct
  /** The first member, where it is not the struct's length. */
  readonly size?: number
  /** The scratch memory before the call. */
  readonly memory?: Uint8Array
  /** The file; absent: /dev/iommu. */
  readonly fd?: number
}

/** A call of the program. */
export interface Form {
  readonly name: string
  readonly command: number
  readonly bytes: number
  readonly weight: number
  /** Absent: everywhere. */
  readonly on?: 'vfio' | 'mock'
  /** Undefined: not now. */
  fill(desk: Desk): Filled | undefined
}

/** Where arrays and data stood. */
export const SCRATCH = 0x2000_0000n
/** Nothing is mapped there. */
export const NOWHERE = 0x99_9000n

/** Mostly of this kind, sometimes any number. */
export function idOf({ rng, linux }: Desk, ...kinds: readonly Thing['kind'][]): number {
  if (rng.chance(0.03)) return rng.pick([0, 9999, 0x8000_0000, 0xffff_ffff])
  const all = [...linux.opened.things.values()]
  const fitting = all.filter(({ kind }) => kinds.includes(kind))
  const from = fitting.length === 0 || rng.chance(0.08) ? all : fitting
  return from.length === 0 ? 1 : rng.pick(from).id
}

const BASES = [
  0n,
  0x10_0000n,
  0x20_0000n,
  0x40_0000n,
  0x60_0000n,
  0x100_0000n,
  0x200_0000n,
  0x4000_0000n,
  0x800_0000n,
  0x80f_0000n,
  0xfed0_0000n,
  0xfee0_0000n,
  0xfef0_0000n,
  0x7fff_0000n,
  0x1_0000_0000n,
  0x40_0000_0000n,
  0x7f_ffff_f000n,
  0x80_0000_0000n,
  0x800_0000_0000n,
  0x7fff_ffff_0000n,
  0x8000_0000_0000n,
  0xffff_ffff_f000n,
  0x1_0000_0000_0000n,
  0xffff_ffff_ffff_0000n,
]

const pageFrom = (rng: Rng): bigint => PAGE * BigInt(rng.int(64))

/** An address, mostly of a page. */
export function iovaOf({ rng, linux }: Desk): bigint {
  const roll = rng.int(100)
  if (roll < 2) return TOP
  if (roll < 4) return rng.bits(64)
  if (roll < 6) return rng.pick(BASES) + BigInt(rng.int(0x10000))
  if (roll < 8) return rng.pick(BASES) + pageFrom(rng) + 0x800n
  const areas = linux.opened.all('ioas').flatMap((ioas) => ioas.areas)
  if (roll < 40 && areas.length > 0) return rng.pick(areas).start
  if (roll < 44 && areas.length > 0) return rng.pick(areas).last + 1n
  if (roll < 48 && areas.length > 0) return rng.pick(areas).start + pageFrom(rng)
  return BigInt.asUintN(64, rng.pick(BASES) + pageFrom(rng))
}

/** A length, mostly of pages. */
export function lengthOf({ rng, linux }: Desk): bigint {
  const roll = rng.int(100)
  if (roll < 2) return 0n
  if (roll < 4) return TOP
  if (roll < 5) return rng.bits(64)
  if (roll < 6) return TOP - BigInt(rng.int(0x3000))
  if (roll < 9) return BigInt(rng.int(0x10000))
  if (roll < 11) return 0x800n * BigInt(rng.between(1, 32))
  if (roll < 17) return 0x20_0000n << BigInt(rng.int(3))
  const areas = linux.opened.all('ioas').flatMap((ioas) => ioas.areas)
  if (roll < 35 && areas.length > 0) {
    const { start, last } = rng.pick(areas)
    return last - start + 1n
  }
  return PAGE * BigInt(rng.between(1, roll < 60 ? 64 : 16))
}

/** The usual one, or now and then an odd one. */
export const rare = (rng: Rng, usual: number, odd: () => number, probability = 0.03): number =>
  rng.chance(probability) ? odd() : usual

/** A member that must be zero. */
export const reservedOf = (rng: Rng): number => rare(rng, 0, () => rng.int(0x10000))

/** Flags of a mapping. */
export const mapFlags = (rng: Rng): number =>
  rare(rng, rng.pick([7, 7, 7, 3, 4, 5, 6]), () => rng.pick([0, 1, 2, 8, 15]), 0.06)

/** Where the array is. */
export const pointer = (rng: Rng): bigint => (rng.chance(0.05) ? rng.pick([NOWHERE, 0n]) : SCRATCH)

/** An address of the program, mostly of memory. */
export function vaOf(rng: Rng): bigint {
  const roll = rng.int(100)
  if (roll < 2) return rng.pick([0n, 0x5000n, NOWHERE, 0x3000_0000n, 0xffff_8000_0000_0000n, TOP - 0xfffn])
  if (roll < 3) return rng.bits(64)
  if (roll < 5) return 0x1000_0000n + BigInt(rng.int(0x200_0000))
  if (roll < 7) return 0x1000_0000n + 0x800n * BigInt(rng.int(0x4000))
  return 0x1000_0000n + PAGE * BigInt(rng.int(rng.chance(0.05) ? 0x2100 : 0x1700))
}

/** A call of /dev/iommu. */
export const form = (name: string, nr: number, bytes: number, weight: number, fill: Form['fill']): Form => ({
  name,
  command: 0x3b00 | nr,
  bytes,
  weight,
  fill,
})

/** Bytes of entries, in a buffer as long as the program recorded. */
export const buffer = (length: number, ...words: readonly bigint[]): Uint8Array => {
  const s = Struct.of(Math.max(length, words.length * 8))
  for (const [i, word] of words.entries()) s.put64(8 * i, word)
  return s.bytes.slice(0, length)
}
