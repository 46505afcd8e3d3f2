/** A random stage 2, and the guest-physical spaces behind it. */

import { ArmTables, type Shape } from './arm-tables.js'
import type { Ground } from './guest-smmuv3-build.js'
import { inputOf, widthsWithin } from './guest-smmuv3-contexts.js'
import { GuestSpace } from './ram.js'
import type { Rng } from './rng.js'

/** A stage 2 with the parts of an STE that say so. */
export interface GuestStage2 {
  readonly tables: ArmTables
  readonly word1: bigint
  readonly word2: bigint
  readonly word3: bigint
  /** Where the guest behind it keeps its own tables; undefined where it is too small for one. */
  readonly near: GuestSpace | undefined
  /** The same beyond 48 bits. */
  readonly far: GuestSpace | undefined
}

const TG: Readonly<Record<number, bigint>> = { 12: 0n, 14: 2n, 16: 1n }

/** Stage 2 ignores nG, but a stage 1 that is led here by a flip does not. */
const NG = 1n << 11n

/** Attributes of a table that a flip makes a leaf. */
const TABLE2 = NG | (1n << 10n) | (3n << 6n) | (0xfn << 2n)

/** Shapes of stage 2 tables that the manual's tables allow, with S2SL0 and S2SL0_2. [Arm D8.2.8.2, D8.2.9.2, D8.2.10.2] */
function shapes({ features }: Ground, granule: number, ds: boolean): { shape: Shape; sl: bigint }[] {
  const lpa = features.oasBits === 52
  const stride = granule - 3
  const starts = granule === 12 ? [2, 1, 0, 3, -1] : [3, 2, 1, 0]
  const most = Math.min(features.oasBits, granule === 16 || ds ? 52 : 48)
  const least = !features.smallTables ? 25 : granule === 16 ? 17 : 16
  const legal: { shape: Shape; sl: bigint }[] = []
  starts.forEach((start, code) => {
    if (granule === 12 && start === 3 && !features.smallTables) return
    if ((start === -1 && !ds) || (granule === 14 && start === 0 && !ds) || (granule === 16 && start === 0)) return
    const lower = granule + stride * (3 - start)
    for (let inputBits = Math.max(least, lower + 1); inputBits <= Math.min(most, lower + stride + 4); inputBits++) {
      legal.push({ shape: { granule, inputBits, start, ds, lpa }, sl: start === -1 ? 4n : BigInt(code) })
    }
  })
  return legal
}

/** Builds one, with a few mappings. */
export function buildStage2(ground: Ground): GuestStage2 {
  const { rng, features, ram, far, isStrict } = ground
  const granule = rng.pick([features.granules[0], ...features.granules])
  const ds = features.ds && granule < 16 && rng.chance(0.7)
  const all = shapes(ground, granule, ds)
  const large = all.filter(({ shape }) => shape.inputBits >= 34)
  const { shape, sl } = rng.pick(rng.chance(0.9) && large.length > 0 ? large : all)
  const hasWide = ds || (shape.lpa && granule === 16)
  const ps = rng.pick([6n, 5n, 5n, 5n, 4n, 3n, ...(features.oasBits === 52 ? [6n, 6n, 6n, 6n] : [])])
  const isFar = far !== undefined && hasWide && ps === 6n && rng.chance(0.5)
  const tables = new ArmTables(isFar ? far : ram, shape, () => TABLE2)
  const ha = features.httu > 0 ? rng.bit(0.6) : 0n
  const hd = features.httu > 1 ? rng.bit(0.7) : 0n
  const word2 =
    (BigInt(64 - shape.inputBits) << 32n) |
    ((sl & 3n) << 38n) |
    (0x35n << 40n) |
    (TG[granule] << 46n) |
    (ps << 48n) |
    (1n << 51n) |
    (rng.bit(0.1) << 53n) |
    (rng.bit() << 54n) |
    (hd << 55n) |
    (ha << 56n)
  const word3 = tables.root | ((sl >> 2n) << 2n) | (ds ? 8n : 0n)
  const widths = widthsWithin(features.oasBits, Number(ps), hasWide)
  for (let i = 0; i < 10; i++) {
    const level = rng.pick(tables.leafLevels())
    const ipa = rng.chance(0.5) ? rng.bits(Math.min(32, shape.inputBits)) : inputOf(ground, shape.inputBits)
    const output = rng.bits(rng.pick(widths))
    if (isStrict && rng.chance(0.4)) tables.mapSpan(rng, ipa, output, level, span2(rng))
    else tables.map(rng, ipa, output, level, leaf2(rng, ha, hd))
  }
  const space = (start: bigint): GuestSpace =>
    new GuestSpace(ram, start, 1n << BigInt(granule), (ipa, pa) => {
      tables.map(rng, ipa, pa, 3, page2(rng, ha, hd))
    })
  const near = shape.inputBits >= 34 ? space(1n << 33n) : undefined
  const beyond = hasWide && shape.inputBits >= 50 ? space(1n << BigInt(shape.inputBits - 1)) : undefined
  return { tables, word1: rng.bit(0.3) << 25n, word2, word3, near, far: beyond }
}

/** Attributes of a leaf: mostly readable, writable, accessed, normal memory. */
export function leaf2(rng: Rng, ha: bigint, hd: bigint): bigint {
  const memory = rng.chance(0.9) ? 0xfn : rng.bits(4)
  const rights = rng.chance(hd === 1n ? 0.5 : 0.85) ? 3n : rng.pick([1n, 1n, 2n, 0n])
  const dbm = rng.bit(hd === 1n ? 0.6 : 0.1) << 51n
  const af = rng.bit(ha === 1n ? 0.6 : 0.95) << 10n
  return NG | (memory << 2n) | (rights << 6n) | (3n << 8n) | af | dbm | (rng.pick([0n, 0n, 1n, 2n, 3n]) << 53n)
}

/**
 * Attributes of leaves under a Contiguous bit: nothing that hardware would change, for which entry of a group it changes
 * is its own choice. [Arm D8.5.5 Use of the Contiguous bit with hardware updates to the translation tables]
 */
export const span2 = (rng: Rng): bigint => (leaf2(rng, 0n, 0n) | (1n << 10n)) & ~(1n << 51n)

/** Attributes of a page that holds the guest's own tables. */
function page2(rng: Rng, ha: bigint, hd: bigint): bigint {
  const isClean = hd === 1n && rng.chance(0.4)
  const isReadOnly = isClean || rng.chance(0.03)
  const rights = isReadOnly ? 1n : 3n
  const af = ha === 1n ? rng.bit(0.6) : rng.bit(0.995)
  const dbm = isClean ? 1n << 51n : 0n
  return NG | (BigInt(rng.int(4)) << 53n) | dbm | (af << 10n) | (3n << 8n) | (rights << 6n) | (0xfn << 2n)
}
