/** Streams with tables of any granule, whose addresses may have 52 bits; entries spelled in the manual's bits. */

import { SparseBacking } from '../../hw-model/memory/index.js'
import { CONFIG, idRegisters, type PresetName } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, stageTwoFields } from './bench.js'

export const SID = 3
/** RAM that stands as high as RAM can: bits 51 to 48 of its addresses are 1101. */
export const HIGH = 0xd_0000_0000_0000n
const HIGH_BYTES = 2 ** 26

/** IDR5: OAS [2:0], granules [6:4], DS 7, VAX [11:10]. */
export const IDR5 = {
  FULL: 0x4f6,
  WITHOUT_DS: 0x476,
  OAS_48: 0x4f5,
  OAS_48_WITHOUT_DS: 0x475,
  VAX_48: 0x076,
} as const

/** Where an entry has bits 51 to 48 of its address: in place (48 bits), for 64 KiB granules, or as DS says. */
export function spelled(address: bigint, granule: number, ds: boolean): bigint {
  const low = address & 0xffff_ffff_ffffn
  const bits = address >> 48n
  if (granule === 16) return low | (bits << 12n)
  return ds ? low | ((bits & 3n) << 48n) | ((bits >> 2n) << 8n) : low
}

/** How one stage's tables are laid out. */
export interface Shape {
  readonly granule: number
  readonly bits: number
  /** As the manual counts: -1 to 3. */
  readonly start: number
  readonly ds?: boolean
}

/** TG0 and S2TG. */
const TG: Readonly<Record<number, number>> = { 12: 0, 14: 2, 16: 1 }

/** A machine with RAM at 0 and at HIGH, and one stream. */
export class WideBench extends Bench {
  #highNext = HIGH

  constructor(idr5: number = IDR5.FULL, preset: PresetName = 'full', idr3 = idRegisters('full').IDR3) {
    super({ preset, id: { IDR5: (idr5 | 0x40_0000) >>> 0, IDR3: idr3 } })
    this.memory.place(Number(HIGH), new SparseBacking(HIGH_BYTES))
  }

  /** Zeroed memory above 2^51, aligned to its size. */
  high(bytes: bigint): bigint {
    const at = ((this.#highNext + bytes - 1n) / bytes) * bytes
    this.#highNext = at + bytes
    return at
  }

  /** Writes an entry at a level, over tables that stand in high memory where the format can say so. */
  set(shape: Shape, root: bigint, input: bigint, level: number, entry: bigint): bigint {
    const { granule, bits, start, ds = false } = shape
    const stride = granule - 3
    const within = BigInt.asUintN(bits, input)
    const shift = (at: number): bigint => BigInt(granule + stride * (3 - at))
    let table = root
    for (let at = start; ; at++) {
      const index = at === start ? within >> shift(at) : BigInt.asUintN(stride, within >> shift(at))
      const place = table + index * 8n
      if (at === level) {
        this.poke(Number(place), entry)
        return place
      }
      // A block's address is known from the tests alone; a table's is in the map.
      let next = this.#tables.get(place)
      if (next === undefined) {
        const bytes = 1n << BigInt(granule)
        next = ds || granule === 16 ? this.high(bytes) : BigInt(this.alloc(Number(bytes)))
        this.#tables.set(place, next)
        this.poke(Number(place), spelled(next, granule, ds) | 3n)
      }
      table = next
    }
  }

  readonly #tables = new Map<bigint, bigint>()

  /** Stage 1 alone through TTB0, or TTB1; answers the root, in high memory unless told. */
  stageOne(shape: Shape, fields: object = {}, root = this.high(0x10000n)): bigint {
    const { granule, bits, ds = false } = shape
    const cd = this.alloc()
    this.cd(cd, {
      ...contextFields(7, Number(root)),
      ...{ T0SZ: 64 - bits, TG0: TG[granule], IPS: 6, DS: ds ? 1 : 0 },
      ...fields,
    })
    this.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
    this.commands([0x0000_0000_0000_0004n, 31n])
    return root
  }

  /** Stage 2 alone. */
  stageTwo(shape: Shape, fields: object = {}, root = this.high(0x10_0000n)): bigint {
    const { granule, bits, start, ds = false } = shape
    const sl0 = granule === 12 ? [2, 1, 0, 3][start] : 3 - start
    this.ste(SID, {
      ...stageTwoFields(2, Number(root)),
      ...{ S2T0SZ: 64 - bits, S2TG: TG[granule], S2PS: 6, S2DS: ds ? 1 : 0 },
      ...(start === -1 ? { S2SL0: 0, S2SL0_2: 1 } : { S2SL0: sl0 }),
      ...{ V: 1, Config: CONFIG.S2_TRANS },
      ...fields,
    })
    this.commands([0x0000_0000_0000_0004n, 31n])
    return root
  }
}
