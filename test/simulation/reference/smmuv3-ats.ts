/** ATS in the reference SMMUv3: translation requests and translated transactions. [SMMU 3.9.1 ATS Interface] */

import { alignDown, field, ones } from './memory.js'
import { checkSte, chooseContext, fetchContext, fetchSte, override, type Stream, streamOf } from './smmuv3-config.js'
import { markRequest, type Output, stage1Request, stage2, stage2Request } from './smmuv3-stages.js'
import { type Job, type Rights, SMMU_EVENT, type SmmuEnd, type SmmuEvent, SmmuStop } from './smmuv3-types.js'

const TRANSLATION_FAULTS: readonly bigint[] = [
  SMMU_EVENT.F_TRANSLATION,
  SMMU_EVENT.F_ADDR_SIZE,
  SMMU_EVENT.F_ACCESS,
  SMMU_EVENT.F_PERMISSION,
]

const NOTHING: Rights = { read: false, write: false, execute: false }

/** EATS as it counts; without a Device Permission Table 0b11 is 0b00. [SMMU 5.2 Stream Table Entry, EATS] */
function effectiveEats(job: Job, ste: readonly bigint[], config: number): 0 | 1 | 2 {
  const eats = field(ste[1], 29, 28)
  if (!job.features.ats || config === 4 || eats === 0 || eats === 3) return 0
  if (eats === 2) return job.registers.atsCheck ? 2 : 0
  return 1
}

/** Answers a translation request; `permit` is told of an answer that the manual permits as well. */
export function answerRequest(job: Job, permit: (end: SmmuEnd) => void): SmmuEnd {
  try {
    return answer(job)
  } catch (stop) {
    if (!(stop instanceof SmmuStop)) throw stop
    if (stop.alternative !== undefined) permit(refuse(job, stop.alternative))
    return refuse(job, stop)
  }
}

/** The completion of a request that met what would end a transaction. [SMMU 3.9.1.2 Responses to ATS Translation Requests] */
function refuse(job: Job, stop: SmmuStop): SmmuEnd {
  const { id } = stop
  if (id !== undefined && TRANSLATION_FAULTS.includes(id)) return nothingGranted(job)
  // RnW is UNKNOWN in what a request records; InD goes with it.
  const unknown = id === SMMU_EVENT.F_WALK_EABT ? 3n << 34n : 0n
  const isRecorded = job.registers.recordAtsConfig && stop.record !== undefined
  return { end: 'completerAbort', event: isRecorded ? { words: stop.record ?? [], unknown } : undefined }
}

function answer(job: Job): SmmuEnd {
  const ste = fetchSte(job)
  const config = checkSte(job, ste)
  if (config === 0) return { end: 'unsupported', event: undefined }
  const eats = effectiveEats(job, ste, config)
  if (eats === 0) return { end: 'unsupported', event: badRequest(job) }
  const stream = streamOf(job, ste, config)
  const index = chooseContext(job, stream)
  const asks = asking(job, stream)
  override(job, stream)
  const isSplit = eats === 2
  if (index === undefined) return skipStage1(job, stream, asks, isSplit)
  const context = fetchContext(job, stream, index)
  const first = stage1Request(job, context, stream.under)
  const wanted = asks(first.grant)
  let output: Output = first
  const rights = markRequest(job, first.found, stream.under, summary(wanted), () => {
    if (stream.under === undefined) return wanted
    const second = stage2Request(job, stream.under, first.address, (r) => asks(both(first.grant, r)), isSplit)
    output = smaller(first, second, isSplit ? first.address : second.address)
    return asks(both(first.grant, second.grant))
  })
  const may = mayGrant(job, rights)
  const { leafLg2, spanLg2 } = output
  if (!summary(rights).any) return nothingGranted(job)
  return { end: 'granted', rights: without(rights, may), may, address: output.address, leafLg2, spanLg2 }
}

/** A request that skips stage 1: identity, or stage 2 alone. [SMMU 13.6.4 Full ATS skipping stage 1] */
function skipStage1(job: Job, { under }: Stream, asks: (rights: Rights) => Rights, isSplit: boolean): SmmuEnd {
  const { address } = job.access
  const { oasBits } = job.features
  if (address >> BigInt(oasBits) !== 0n) return nothingGranted(job)
  if (under === undefined) {
    const rights = { read: true, write: true, execute: false }
    return { end: 'granted', rights, may: NOTHING, address, leafLg2: 12, spanLg2: oasBits }
  }
  const second = stage2Request(job, under, address, asks, isSplit)
  const rights = asks(second.grant)
  if (!summary(rights).any) return nothingGranted(job)
  const may = mayGrant(job, rights)
  const { leafLg2, spanLg2 } = second
  return {
    end: 'granted',
    rights: without(rights, may),
    may,
    address: isSplit ? address : second.address,
    leafLg2,
    spanLg2,
  }
}

/** What the completion grants of what descriptors allow. [SMMU 13.7.1 Permission attributes granted] */
function asking(job: Job, { ste }: Stream): (rights: Rights) => Rights {
  const { fetch } = job.access
  const instcfg = job.features.overrides ? field(ste[1], 51, 50) : 0
  return ({ read, write, execute }) => {
    if (instcfg === 3) return { read: execute, write, execute: fetch && execute }
    if (instcfg === 2) return { read, write, execute: fetch && read }
    return { read, write, execute: fetch && read && execute }
  }
}

/** A request that does not mean to write may be granted writes to what is writable-dirty already. [SMMU 13.7] */
const mayGrant = (job: Job, rights: Rights): Rights => ({ ...NOTHING, write: rights.write && !job.access.write })

const without = (rights: Rights, may: Rights): Rights => ({ ...rights, write: rights.write && !may.write })

const both = (a: Rights, b: Rights): Rights => ({
  read: a.read && b.read,
  write: a.write && b.write,
  execute: a.execute && b.execute,
})

const summary = ({ read, write, execute }: Rights): { any: boolean; write: boolean } => ({
  any: read || write || execute,
  write,
})

const smaller = (a: Output, b: Output, address: bigint): Output => ({
  address,
  leafLg2: Math.min(a.leafLg2, b.leafLg2),
  spanLg2: Math.min(a.spanLg2, b.spanLg2),
})

/** Success without any right; its size is the smallest granule. */
function nothingGranted(job: Job): SmmuEnd {
  const stu = Math.min(...job.features.granules)
  return { end: 'granted', rights: NOTHING, may: NOTHING, address: 0n, leafLg2: stu, spanLg2: stu }
}

/** What was asked is not compared: the text of the manual does not place those bits. [SMMU 7.3.6 F_BAD_ATS_TREQ] */
const badRequest = (job: Job): SmmuEvent => ({
  words: [SMMU_EVENT.F_BAD_ATS_TREQ | job.withSubstream, 0n, alignDown(job.access.address, 12), 0n],
  unknown: ones(64),
})

/** Handles a transaction that is marked Translated. [SMMU 3.9.1.3 Handling of ATS Translated transactions] */
export function passTranslated(job: Job): Output {
  const { address, write } = job.access
  const { features, registers } = job
  const isTooLarge = address >> BigInt(features.oasBits) !== 0n
  if (registers.atsCheck) {
    const { ste, config } = silently(job, () => {
      const words = fetchSte(job)
      return { ste: words, config: checkSte(job, words) }
    })
    if (config === 0) throw new SmmuStop(undefined, undefined)
    const eats = effectiveEats(job, ste, config)
    if (eats === 0) {
      const record = [SMMU_EVENT.F_TRANSL_FORBIDDEN | job.stream, BigInt(!write) << 35n, address, 0n]
      throw new SmmuStop(SMMU_EVENT.F_TRANSL_FORBIDDEN, record)
    }
    if (eats === 2) {
      const stream = streamOf(job, ste, config)
      override(job, stream)
      if (isTooLarge) throw stopInput(job)
      if (stream.under !== undefined) return stage2(job, stream.under, address, 'IN')
    }
  }
  // [SMMU 3.9.1.1 Handling of addresses in ATS-related transactions]
  if (isTooLarge) throw new SmmuStop(undefined, undefined)
  return { address, leafLg2: 12, spanLg2: 64 }
}

/** Configuration errors are recorded where CR2.REC_CFG_ATS says so. */
function silently<T>(job: Job, rest: () => T): T {
  try {
    return rest()
  } catch (stop) {
    if (stop instanceof SmmuStop && !job.registers.recordAtsConfig) throw new SmmuStop(stop.id, undefined)
    throw stop
  }
}

/** A stage 1 fault of the input address where there is no CD: recorded and aborted. [SMMU 3.4 Address sizes] */
export const stopInput = (job: Job): SmmuStop =>
  new SmmuStop(SMMU_EVENT.F_ADDR_SIZE, [
    SMMU_EVENT.F_ADDR_SIZE | job.withSubstream,
    job.accessBits | (2n << 40n),
    job.access.address,
    0n,
  ])
