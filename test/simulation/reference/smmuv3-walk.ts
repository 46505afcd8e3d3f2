/** One descent through VMSAv8-64 tables, one descriptor at a time. [Arm D8.2 Translation process] */

import { alignDown, field, inPlace, ones } from './memory.js'
import type { Job, SmmuStop } from './smmuv3-types.js'

/** What a walk starts from. */
export interface Root {
  /** log2 of the granule. */
  readonly granule: number
  /** Level of the start table, -1 to 3. */
  readonly level: number
  readonly inputBits: number
  /** Effective output size in bits. */
  readonly bits: number
  readonly table: bigint
  /** The effective DS: descriptors of 4 KiB and 16 KiB granules hold 52-bit addresses. */
  readonly ds: boolean
}

/** What a walk complains with. */
export interface Complaints {
  translation(): SmmuStop
  addressSize(): SmmuStop
  abort(pa: bigint): SmmuStop
}

/** A leaf. */
export interface Leaf {
  readonly address: bigint
  readonly leafLg2: number
  /** log2 of what the Contiguous bit lets one cached entry cover. */
  readonly spanLg2: number
  /** Where the descriptor stands: as the tables name it, and really. */
  readonly named: bigint
  readonly at: bigint
  readonly descriptor: bigint
  /** Attributes gathered on the way from table descriptors, as they stand in bits 63:59. */
  readonly tables: bigint
}

/** Descends. `really` says where a descriptor stands, and may complain itself. */
export function walk(job: Job, root: Root, input: bigint, really: (address: bigint) => bigint, stop: Complaints): Leaf {
  const { granule, bits, inputBits } = root
  if (root.ds) job.met.add('DS')
  if (inputBits > 48) job.met.add('52-bit input')
  if (inputBits < 25) job.met.add('small table')
  const stride = granule - 3
  const shiftOf = (level: number): number => granule + stride * (3 - level)
  let base = startTable(root)
  let tables = 0n
  for (let level = root.level; ; level++) {
    const shift = shiftOf(level)
    // The start table is indexed by all that is left of the address, which is where concatenation goes.
    const index = input >> BigInt(shift)
    const within = level === root.level ? index : index & ones(stride)
    const named = base + within * 8n
    const at = really(named)
    const descriptor = job.memory.read64(at)
    if (descriptor === undefined) throw stop.abort(at)
    const kind = field(descriptor, 1, 0)
    const isLeaf = level === 3 ? kind === 3 : kind === 1 && mayBlock(job, root, level)
    const isTable = level < 3 && kind === 3
    if (!isLeaf && !isTable) throw stop.translation()
    const next = addressIn(job, root, descriptor, isTable ? granule : shift)
    // Each output is checked before the walk goes on, of tables as of leaves. [SMMU 7.3.22 Event queue record priorities]
    if (next >> BigInt(bits) !== 0n) throw stop.addressSize()
    if (isLeaf) {
      const address = next | (input & ones(shift))
      const spanLg2 = shift + contiguous(descriptor, granule, level)
      if (address >> 48n !== 0n) job.met.add('52-bit output')
      if (spanLg2 > shift) job.met.add('Contiguous')
      job.met.add(`${2 ** (granule - 10)} KiB granule`)
      return { address, leafLg2: shift, spanLg2, named, at, descriptor, tables }
    }
    tables |= inPlace(descriptor, 63, 59)
    base = next
  }
}

/** The start table, aligned to its size, and to 64 bytes where addresses have 52 bits. [SMMU 5.4 CD, TTB0] */
function startTable({ granule, level, inputBits, bits, table }: Root): bigint {
  const indexBits = inputBits - (granule + (granule - 3) * (3 - level))
  return alignDown(table, Math.max(indexBits + 3, bits === 52 ? 6 : 0))
}

/** Levels at which blocks are. [Arm D8.2.8, D8.2.9, D8.2.10, granule tables] */
function mayBlock(job: Job, { granule, ds }: Root, level: number): boolean {
  if (granule === 12) return level === 2 || level === 1 || (level === 0 && ds)
  if (granule === 14) return level === 2 || (level === 1 && ds)
  return level === 2 || (level === 1 && job.features.oasBits === 52)
}

/** The address that a descriptor holds. [Arm D8.3.1 VMSAv8-64 descriptor formats] */
function addressIn(job: Job, { granule, ds }: Root, descriptor: bigint, low: number): bigint {
  const address = inPlace(descriptor, 47, low)
  if (granule === 16) {
    return job.features.oasBits === 52 ? address | (BigInt(field(descriptor, 15, 12)) << 48n) : address
  }
  return ds ? address | inPlace(descriptor, 49, 48) | (BigInt(field(descriptor, 9, 8)) << 50n) : address
}

/** log2 of the entries that a Contiguous bit speaks of. [Arm D8.7.1 The Contiguous bit] */
function contiguous(descriptor: bigint, granule: number, level: number): number {
  if (field(descriptor, 52) === 0) return 0
  if (granule === 12) return level >= 1 ? 4 : 0
  if (level < 2) return 0
  return granule === 14 && level === 3 ? 7 : 5
}
