/** The two stages of the reference SMMUv3: VMSAv8-64 walks, permissions and their faults, one descriptor at a time. */

import { alignDown, field, inPlace, type ReferenceMemory } from './memory.js'
import { GRANULE_TG, type Request, SMMU_EVENT, type SmmuFeatures, SmmuStop } from './smmuv3.js'

/** A legal CD and its effective output size. */
export interface Context {
  readonly cd: readonly bigint[]
  readonly bits: number
}

/** A legal stage 2. */
export interface Stage2 {
  readonly granule: number
  readonly inputBits: number
  /** Level of the start table, 0 to 3 as the manual counts. */
  readonly level: number
  readonly table: bigint
  /** Effective output size. */
  readonly bits: number
  readonly affd: boolean
  readonly ptw: boolean
  readonly record: boolean
  readonly fwb: boolean
  readonly xnx: boolean
}

/** What is asked of a stage. */
interface Wanted {
  readonly write: boolean
  readonly fetch: boolean
}

/** How tables and CDs are read. */
export const DATA_READ: Wanted = { write: false, fetch: false }

/** On whose behalf stage 2 is asked: a CD, a stage 1 descriptor, or the access itself. */
type Purpose = { readonly kind: 'CD' | 'TT'; readonly access: Wanted } | { readonly kind: 'IN' }

const CLASS = { CD: 0n, TT: 1n, IN: 2n } as const

interface Leaf {
  readonly address: bigint
  readonly leafLg2: number
  readonly descriptor: bigint
  /** Table attributes gathered on the way: NSTable, APTable, XNTable, PXNTable, as they stand in bits 63:59. */
  readonly tables: bigint
}

/** How a walk complains. */
interface Complaints {
  translation(): SmmuStop
  addressSize(): SmmuStop
  abort(pa: bigint): SmmuStop
  access(): SmmuStop
}

/** Stage 1: VA to IPA, or to PA where there is no stage 2. [SMMU 3.4 Address sizes; ARM D8] */
export function stage1(
  memory: ReferenceMemory,
  features: SmmuFeatures,
  { cd, bits }: Context,
  under: Stage2 | undefined,
  request: Request,
): { address: bigint; leafLg2: number } {
  const { address } = request.access
  const word = cd[0]
  const half = field(address, 55)
  const at = half * 16
  const fault = (event: bigint): SmmuStop => {
    const record = [event | request.withSubstream, request.accessBits | (CLASS.IN << 40n), address, 0n]
    return new SmmuStop(field(word, 45) === 1 ? record : undefined, field(word, 46) === 0)
  }
  const inputBits = 64 - field(word, 5 + at, at)
  const top = field(word, 38 + half) === 1 ? 56 : 64
  const above = (address & ((1n << BigInt(top)) - 1n)) >> BigInt(inputBits)
  const expected = half === 0 ? 0n : (1n << BigInt(top - inputBits)) - 1n
  if (field(word, 14 + at) === 1 || above !== expected) throw fault(SMMU_EVENT.F_TRANSLATION)

  const granule = GRANULE_TG[half][field(word, 7 + at, 6 + at)]
  const level = 4 - Math.ceil((inputBits - granule) / (granule - 3))
  const leaf = walk(
    memory,
    { granule, level, inputBits, bits, table: inPlace(cd[1 + half], 51, 4) },
    address & ((1n << BigInt(inputBits)) - 1n),
    (ipa) =>
      under === undefined ? ipa : stage2(memory, under, request, ipa, { kind: 'TT', access: DATA_READ }).address,
    {
      translation: () => fault(SMMU_EVENT.F_TRANSLATION),
      addressSize: () => fault(SMMU_EVENT.F_ADDR_SIZE),
      access: () => fault(SMMU_EVENT.F_ACCESS),
      abort: (pa) =>
        new SmmuStop([
          SMMU_EVENT.F_WALK_EABT | request.withSubstream,
          request.accessBits | (CLASS.TT << 40n),
          address,
          pa,
        ]),
    },
    field(word, 35) === 1,
  )
  const hierarchical = !(features.had && field(cd[1 + half], 1) === 1)
  if (!allows1(leaf, hierarchical ? leaf.tables : 0n, word, request)) throw fault(SMMU_EVENT.F_PERMISSION)
  return { address: leaf.address, leafLg2: leaf.leafLg2 }
}

/** Stage 1 permissions of the EL1 world. [ARM D8.4] */
function allows1(leaf: Leaf, tables: bigint, cd: bigint, request: Request): boolean {
  const { write } = request.access
  const { descriptor } = leaf
  const userRead = field(descriptor, 6) === 1 && field(tables, 61) === 0
  const canWrite = field(descriptor, 7) === 0 && field(tables, 62) === 0
  const userWrite = userRead && canWrite
  const wxn = field(cd, 36) === 1
  if (request.fetch) {
    if (!request.privileged) return field(descriptor | (tables >> 6n), 54) === 0 && !(wxn && userWrite)
    return field(descriptor | (tables >> 6n), 53) === 0 && !userWrite && !(wxn && canWrite)
  }
  if (!request.privileged) return write ? userWrite : userRead
  // PAN: privileged data access to what a user can reach.
  if (field(cd, 40) === 1 && userRead) return false
  return write ? canWrite : true
}

/** Stage 2: IPA to PA. */
export function stage2(
  memory: ReferenceMemory,
  stage: Stage2,
  request: Request,
  ipa: bigint,
  purpose: Purpose,
): { address: bigint; leafLg2: number } {
  const wanted: Wanted = purpose.kind === 'IN' ? { write: request.access.write, fetch: request.fetch } : purpose.access
  const word1 = request.accessBits | (1n << 39n) | (CLASS[purpose.kind] << 40n)
  const { address } = request.access
  const fault = (event: bigint, extra = 0n): SmmuStop => {
    const record = [event | request.withSubstream, word1 | extra, address, inPlace(ipa, 55, 12)]
    return new SmmuStop(stage.record ? record : undefined)
  }
  if (ipa >> BigInt(stage.inputBits) !== 0n) throw fault(SMMU_EVENT.F_TRANSLATION)
  const leaf = walk(
    memory,
    stage,
    ipa,
    (pa) => pa,
    {
      translation: () => fault(SMMU_EVENT.F_TRANSLATION),
      addressSize: () => fault(SMMU_EVENT.F_ADDR_SIZE),
      access: () => fault(SMMU_EVENT.F_ACCESS),
      abort: (pa) => new SmmuStop([SMMU_EVENT.F_WALK_EABT | request.withSubstream, word1, address, pa]),
    },
    stage.affd,
  )
  const isTable = purpose.kind !== 'IN'
  const isRefused = !allows2(leaf.descriptor, stage, wanted, request) || (isTable && stage.ptw && isDevice(leaf, stage))
  // TTRnW says how the descriptor was reached, and holds for a stage 1 descriptor alone.
  if (isRefused) throw fault(SMMU_EVENT.F_PERMISSION, purpose.kind === 'TT' ? 1n << 44n : 0n)
  return { address: leaf.address, leafLg2: leaf.leafLg2 }
}

function allows2(descriptor: bigint, stage: Stage2, wanted: Wanted, request: Request): boolean {
  if (!wanted.fetch) return field(descriptor, wanted.write ? 7 : 6) === 1
  if (!stage.xnx) return field(descriptor, 54) === 0
  const xn = field(descriptor, 54, 53)
  return xn === 0 || (request.privileged ? xn === 3 : xn === 1)
}

function isDevice(leaf: Leaf, stage: Stage2): boolean {
  return stage.fwb ? field(leaf.descriptor, 4) === 0 : field(leaf.descriptor, 5, 4) === 0
}

/** What one walk starts from. */
interface Root {
  readonly granule: number
  readonly level: number
  readonly inputBits: number
  readonly bits: number
  readonly table: bigint
}

/** Descends the tables of one stage. `really` says where a descriptor's address is, and may complain itself. */
function walk(
  memory: ReferenceMemory,
  { granule, level: start, inputBits, bits, table }: Root,
  input: bigint,
  really: (address: bigint) => bigint,
  stop: Complaints,
  ignoresAccessFlag: boolean,
): Leaf {
  const stride = granule - 3
  const shiftOf = (level: number): number => granule + stride * (3 - level)
  const startBits = inputBits - shiftOf(start)
  let base = alignDown(table, startBits + 3)
  let tables = 0n
  for (let level = start; ; level++) {
    const shift = shiftOf(level)
    const index = level === start ? input >> BigInt(shift) : inPlace(input, shift + stride - 1, shift) >> BigInt(shift)
    const at = really(base + index * 8n)
    const descriptor = memory.read64(at)
    if (descriptor === undefined) throw stop.abort(at)
    const kind = field(descriptor, 1, 0)
    const isLeaf = level === 3 ? kind === 3 : kind === 1
    const isTable = level < 3 && kind === 3
    const mayBlock = granule === 12 ? level === 1 || level === 2 : level === 2
    if (!isLeaf && !isTable) throw stop.translation()
    if (isLeaf && level < 3 && !mayBlock) throw stop.translation()
    const low = isTable ? granule : shift
    const next = inPlace(descriptor, 47, low)
    if (next >> BigInt(bits) !== 0n) throw stop.addressSize()
    if (isLeaf) {
      if (field(descriptor, 10) === 0 && !ignoresAccessFlag) throw stop.access()
      return { address: next | (input & ((1n << BigInt(shift)) - 1n)), leafLg2: shift, descriptor, tables }
    }
    tables |= inPlace(descriptor, 63, 59)
    base = next
  }
}
