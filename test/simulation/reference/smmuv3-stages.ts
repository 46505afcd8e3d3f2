/** The two stages of the reference SMMUv3: which table, which fault, and what hardware writes back. */

import { field, inPlace, ones } from './memory.js'
import {
  type Controls,
  type Grant,
  type Hardware,
  hardwareOf,
  stage1Rights,
  stage2Rights,
} from './smmuv3-permissions.js'
import { type Job, type Rights, SMMU_EVENT, SmmuStop } from './smmuv3-types.js'
import { type Leaf, type Root, walk } from './smmuv3-walk.js'

/** A legal CD and its effective output size. */
export interface Context {
  readonly cd: readonly bigint[]
  readonly bits: number
}

/** A legal stage 2. */
export interface Stage2 extends Root {
  readonly hardware: Hardware
  readonly affd: boolean
  readonly ptw: boolean
  readonly record: boolean
  readonly stall: boolean
  readonly fwb: boolean
}

/** Where a stage leads. */
export interface Output {
  readonly address: bigint
  readonly leafLg2: number
  readonly spanLg2: number
}

/** What a translation request was granted by a stage, beside where it leads. */
export interface Granted extends Output {
  readonly grant: Grant
}

/** On whose behalf stage 2 is asked: for a CD, for a stage 1 descriptor to read or to write, or for the access itself. */
export type Purpose = 'CD' | 'TT read' | 'TT write' | 'IN'

const CLASS: Readonly<Record<Purpose, bigint>> = { CD: 0n, 'TT read': 1n, 'TT write': 1n, IN: 2n }
const AF = 1n << 10n

/** The codes of TG0 and of TG1 as log2 of the granule; 0 is reserved. [SMMU 5.4 Context Descriptor, TG0, TG1] */
export const GRANULE_TG: readonly (readonly number[])[] = [
  [12, 16, 14, 0],
  [0, 14, 12, 16],
]

type Faulting = (event: bigint) => SmmuStop

/** What stage 1 says of an address, before anything is written back. */
export interface Found {
  readonly leaf: Leaf
  readonly grant: Grant
  readonly needsAf: boolean
  readonly fault: Faulting
  readonly abort: (pa: bigint) => SmmuStop
}

/** Stage 1 for an access: VA to IPA, or to PA where there is no stage 2. */
export function stage1(
  job: Job,
  context: Context,
  under: Stage2 | undefined,
  then: (output: Output) => Output,
): Output {
  const found = findStage1(job, context, under)
  const { leaf, grant, needsAf, fault } = found
  const { write } = job.access
  if (!(job.fetch ? grant.execute : write ? grant.write : grant.read)) {
    // Whether a refused access sets AF is UNKNOWN. [SMMU 3.13.2 Access flag hardware update]
    if (needsAf) mayMark(job, under, leaf)
    throw fault(SMMU_EVENT.F_PERMISSION)
  }
  return finish(job, found, under, (needsAf ? AF : 0n) | (write ? grant.dirty : 0n), () => then(leaf))
}

/** What a translation request finds at stage 1. It faults like an access, but permissions only narrow what is granted. */
export function stage1Request(
  job: Job,
  context: Context,
  under: Stage2 | undefined,
): Granted & { readonly found: Found } {
  const found = findStage1(job, context, under)
  const grant = forRequest(job, found.grant)
  return { ...found.leaf, grant, found: { ...found, grant } }
}

/**
 * Marks what a translation request found at stage 1, and goes on to what is granted in the end. Flags are due where that
 * is anything, the dirty state where it is writes. [SMMU 13.7 PCIe permission attribute interpretation]
 */
export function markRequest(
  job: Job,
  found: Found,
  under: Stage2 | undefined,
  { any, write }: { readonly any: boolean; readonly write: boolean },
  rest: () => Rights,
): Rights {
  const { leaf, grant, needsAf } = found
  if (!any) {
    if (needsAf) mayMark(job, under, leaf)
    return { read: false, write: false, execute: false }
  }
  const dirty = job.access.write && write ? grant.dirty : 0n
  const from = job.updates.length
  return finish(job, found, under, (needsAf ? AF : 0n) | dirty, () => {
    const done = job.updates.length
    const grants = rest()
    if (!isSure(job, grants)) job.excuse(from, done)
    else if (!grants.write && dirty !== 0n) job.excuse(from, done, needsAf ? dirty : ones(64))
    return grants
  })
}

/** Marks the leaf, then goes on; what was marked is left open where the rest of the translation fails. */
function finish<T>(job: Job, { leaf, abort }: Found, under: Stage2 | undefined, bits: bigint, rest: () => T): T {
  const from = job.updates.length
  try {
    if (bits !== 0n) {
      // The write of the descriptor goes through stage 2, too. [SMMU 3.13.5 HTTU with two stages of translation]
      if (under !== undefined) stage2(job, under, leaf.named, 'TT write')
      if (!job.change(leaf.at, leaf.descriptor, bits)) throw abort(leaf.at)
      note(job, 'stage 1', bits)
    }
  } catch (stop) {
    if (!(stop instanceof SmmuStop)) throw stop
    // Where both the write and the output fault at stage 2, either may be reported. [Arm D8.5.2.1, R LXCKP]
    stop.alternative = stopOf(rest)
    job.excuse(from)
    throw stop
  }
  const done = job.updates.length
  try {
    return rest()
  } catch (stop) {
    // What stage 1 wrote is permitted, not required, where stage 2 refuses. [Arm D8.5.1.2, I CVNQR] [R DYCFD]
    job.excuse(from, done)
    throw stop
  }
}

function stopOf(rest: () => unknown): SmmuStop | undefined {
  try {
    rest()
    return undefined
  } catch (stop) {
    if (stop instanceof SmmuStop) return stop
    throw stop
  }
}

/** A leaf whose AF, and the dirty state of the page it stands in, may or may not be written. */
function mayMark(job: Job, under: Stage2 | undefined, leaf: Leaf): void {
  const from = job.updates.length
  if (under !== undefined && stopOf(() => stage2(job, under, leaf.named, 'TT write')) !== undefined) return
  job.excuse(from)
  job.mayChange(leaf.at, AF)
}

/** Walks stage 1 to its leaf; F_ACCESS is behind us, permissions are to be judged. [SMMU 3.4 Address sizes] */
function findStage1(job: Job, { cd, bits }: Context, under: Stage2 | undefined): Found {
  const { features } = job
  const { address } = job.access
  const word = cd[0]
  const isEl2 = job.world === 'EL2'
  // EL2 has one table alone. [SMMU 5.4.1 CD notes]
  const half = isEl2 ? 0 : field(address, 55)
  const at = half * 16
  const fault: Faulting = (event) => {
    const stalls = field(word, 44) === 1 && job.access.kind === 'ordinary'
    const record = [event | job.withSubstream, job.accessBits | (CLASS.IN << 40n), address, 0n]
    return ending(event, record, stalls, field(word, 45) === 1, field(word, 46) === 1)
  }
  const inputBits = 64 - field(word, 5 + at, at)
  // TBI leaves the top byte out of the range check. [SMMU 3.4.1 Input address size and Virtual Address size]
  const top = field(word, 38 + half) === 1 ? 56 : 64
  const above = (address & ones(top)) >> BigInt(inputBits)
  const isInRange = above === (half === 0 ? 0n : ones(top - inputBits))
  const isDisabled = !isEl2 && field(word, 14 + at) === 1
  const e0pd = features.e0pd && !isEl2 && field(cd[1 + half], 2) === 1
  if (isDisabled || !isInRange) throw fault(SMMU_EVENT.F_TRANSLATION)
  if (e0pd && !job.privileged) {
    job.met.add('E0PD')
    throw fault(SMMU_EVENT.F_TRANSLATION)
  }

  const granule = GRANULE_TG[half][field(word, 7 + at, 6 + at)]
  const abort = (pa: bigint): SmmuStop =>
    new SmmuStop(SMMU_EVENT.F_WALK_EABT, [
      SMMU_EVENT.F_WALK_EABT | job.withSubstream,
      job.accessBits | (CLASS['TT read'] << 40n),
      address,
      fetchAddress(pa),
    ])
  const ds = features.ds && granule !== 16 && field(cd[2], 58) === 1
  const level = 4 - Math.ceil((inputBits - granule) / (granule - 3))
  const root = { granule, level, inputBits, bits, table: inPlace(cd[1 + half], 51, 4), ds }
  const leaf = walk(
    job,
    root,
    address & ones(inputBits),
    (ipa) => (under === undefined ? ipa : stage2(job, under, ipa, 'TT read').address),
    {
      translation: () => fault(SMMU_EVENT.F_TRANSLATION),
      addressSize: () => fault(SMMU_EVENT.F_ADDR_SIZE),
      abort,
    },
  )
  const controls: Controls = {
    hardware: hardwareOf(field(word, 43), field(word, 42)),
    wxn: field(word, 36) === 1,
    pan: field(word, 40) === 1,
    epan: features.epan && field(cd[1], 59) === 1,
  }
  const needsAf = field(leaf.descriptor, 10) === 0 && controls.hardware.access
  // With HA = 1, AFFD is ignored. [SMMU 5.4 Context Descriptor, AFFD]
  if (field(leaf.descriptor, 10) === 0 && !needsAf && field(word, 35) === 0) throw fault(SMMU_EVENT.F_ACCESS)
  const hierarchical = !(features.had && field(cd[1 + half], 1) === 1)
  if (!isEl2 && field(leaf.descriptor, 11) === 0) job.met.add('global')
  const grant = stage1Rights(leaf.descriptor, hierarchical ? leaf.tables : 0n, controls, job)
  return { leaf, grant, needsAf, fault, abort }
}

/** Stage 2: IPA to PA, checked and marked for what it is asked for. */
export function stage2(job: Job, stage: Stage2, ipa: bigint, purpose: Purpose): Output {
  const { leaf, grant, needsAf, fault, abort } = findStage2(job, stage, ipa, purpose)
  const isWrite = purpose === 'TT write' || (purpose === 'IN' && job.access.write)
  const isFetch = purpose === 'IN' && job.fetch
  const isAllowed = isFetch ? grant.execute : isWrite ? grant.write : grant.read
  if (!isAllowed || (purpose !== 'IN' && stage.ptw && isDevice(leaf.descriptor, stage))) {
    if (needsAf) job.mayChange(leaf.at, AF)
    throw fault(SMMU_EVENT.F_PERMISSION)
  }
  const bits = (needsAf ? AF : 0n) | (isWrite ? grant.dirty : 0n)
  if (!job.change(leaf.at, leaf.descriptor, bits)) throw abort(leaf.at)
  note(job, purpose === 'IN' ? 'stage 2' : purpose, bits)
  return leaf
}

function note(job: Job, where: string, bits: bigint): void {
  if ((bits & AF) !== 0n) job.met.add(`AF set, ${where}`)
  if ((bits & ~AF) !== 0n) job.met.add(`made dirty, ${where}`)
}

/**
 * Stage 2 for a translation request. `asks` narrows what the descriptor grants to what the completion will grant.
 *
 * @param split the response holds the IPA, and what hardware marks here is left to it [SMMU 3.13.7.1]
 */
export function stage2Request(
  job: Job,
  stage: Stage2,
  ipa: bigint,
  asks: (rights: Rights) => Rights,
  split: boolean,
): Granted {
  const { leaf, needsAf, abort, ...found } = findStage2(job, stage, ipa, 'IN')
  const grant = forRequest(job, found.grant)
  const grants = asks(grant)
  const from = job.updates.length
  const isUsed = grants.read || grants.write || grants.execute
  const isOpen = split || !isSure(job, grants)
  const bits = (needsAf ? AF : 0n) | (job.access.write && grants.write ? grant.dirty : 0n)
  if (isUsed) {
    if (!job.change(leaf.at, leaf.descriptor, bits) && !isOpen) throw abort(leaf.at)
    if (isOpen) job.excuse(from)
  } else if (needsAf) job.mayChange(leaf.at, AF)
  return { ...leaf, grant }
}

/** Writes that are not asked for (NW = 1) need not be granted; where nothing else is, no flag is due. [SMMU 13.7] */
const isSure = (job: Job, { read, write, execute }: Rights): boolean => read || execute || (write && job.access.write)

/** A request that does not mean to write (NW = 1) makes nothing dirty, and so gets no writes to what is clean. */
const forRequest = (job: Job, grant: Grant): Grant => ({
  ...grant,
  write: grant.write && (job.access.write || grant.dirty === 0n),
})

interface FoundStage2 {
  readonly leaf: Leaf
  readonly grant: Grant
  readonly needsAf: boolean
  readonly fault: Faulting
  readonly abort: (pa: bigint) => SmmuStop
}

function findStage2(job: Job, stage: Stage2, ipa: bigint, purpose: Purpose): FoundStage2 {
  const word1 = job.accessBits | (1n << 39n) | (CLASS[purpose] << 40n)
  const { address } = job.access
  const fault: Faulting = (event) => {
    // TTRnW says how a stage 1 descriptor was reached, and holds for F_PERMISSION alone. [SMMU 7.3.16 F_PERMISSION]
    const ttRead = event === SMMU_EVENT.F_PERMISSION && purpose === 'TT read' ? 1n << 44n : 0n
    const record = [event | job.withSubstream, word1 | ttRead, address, inPlace(ipa, 55, 12)]
    return ending(event, record, stage.stall && !job.isRequest, stage.record, true)
  }
  const abort = (pa: bigint): SmmuStop =>
    new SmmuStop(SMMU_EVENT.F_WALK_EABT, [SMMU_EVENT.F_WALK_EABT | job.withSubstream, word1, address, fetchAddress(pa)])
  if (ipa >> BigInt(stage.inputBits) !== 0n) throw fault(SMMU_EVENT.F_TRANSLATION)
  const leaf = walk(job, stage, ipa, (pa) => pa, {
    translation: () => fault(SMMU_EVENT.F_TRANSLATION),
    addressSize: () => fault(SMMU_EVENT.F_ADDR_SIZE),
    abort,
  })
  const hasAf = field(leaf.descriptor, 10) === 1
  const needsAf = !hasAf && stage.hardware.access
  if (!hasAf && !needsAf && !stage.affd) throw fault(SMMU_EVENT.F_ACCESS)
  return { leaf, grant: stage2Rights(leaf.descriptor, stage.hardware, job), needsAf, fault, abort }
}

/** How one of the four translation faults ends. [SMMU 5.5 Fault configuration (A, R, S bits)] */
function ending(event: bigint, record: bigint[], stalls: boolean, records: boolean, aborts: boolean): SmmuStop {
  if (stalls) return new SmmuStop(event, [record[0], record[1] | (1n << 31n), record[2], record[3]], 'stall')
  return new SmmuStop(event, records ? record : undefined, aborts ? 'abort' : 'razWi')
}

const fetchAddress = (pa: bigint): bigint => inPlace(pa, 55, 3)

/** Whether a stage 2 leaf is of any Device type, without and with FWB. [Arm D8.6 Memory region attributes] */
function isDevice(descriptor: bigint, stage: Stage2): boolean {
  return stage.fwb ? field(descriptor, 4) === 0 : field(descriptor, 5, 4) === 0
}
