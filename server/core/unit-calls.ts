/** Calls about raw units. */

import type { Call } from './call.js'
import { checkCount } from './checks.js'
import { detailOf, forEachUntilRefused, type Progress, refusalOf } from './detail.js'
import { type BatchColumns, checkAccess, type Requester, translateBatch } from './dma-batch.js'
import { DMA_ACCESS } from './driver.js'
import { type Explanation, explainOne } from './explanation.js'
import { Refusal } from './refusal.js'
import { Unit } from './unit.js'
import type { Place } from './walk-step.js'
import type { Work } from './work.js'

/** The contract's UnitType. */
export const UNIT_TYPE = { SMMUV3: 1, VTD: 2 } as const

/** The contract's CachePolicy, as far as a raw unit takes it. */
const CACHE_POLICY_HARDWARE = 3

/** A register by its manual's name. */
export interface NamedRegister {
  readonly name: string
  readonly value: bigint
}

/** Registers as replies tell them. */
export const namedRegisters = (registers: ReadonlyMap<string, bigint>): readonly NamedRegister[] =>
  [...registers].map(([name, value]) => ({ name, value }))

/** Makes a unit in its reset state, with the context's regions on its bus. */
export function createUnit(
  call: Call,
  request: {
    readonly type: number
    readonly preset: string
    readonly overrides: readonly NamedRegister[]
    readonly cachePolicy: number
  },
): { unitId: number; registerBytes: number; idRegisters: readonly NamedRegister[] } {
  const { type, preset, cachePolicy } = request
  if (type !== UNIT_TYPE.SMMUV3 && type !== UNIT_TYPE.VTD) {
    throw new Refusal('EINVAL', `${type} is no type of unit: SMMUV3 is 1 and VTD 2`, { type })
  }
  if (cachePolicy !== 0 && cachePolicy !== CACHE_POLICY_HARDWARE) {
    throw new Refusal('EOPNOTSUPP', 'the caches of a raw unit follow the policy HARDWARE', {
      cache_policy: cachePolicy,
    })
  }
  const id = call.newId('units')
  const overrides = new Map(request.overrides.map(({ name, value }) => [name, value]))
  const raw = call.core.machine.createRawUnit({ type: type === UNIT_TYPE.VTD ? 'vtd' : 'smmuv3', preset, overrides })
  call.make(new Unit(id, call.context, raw))
  for (const { memory, spec } of call.context.regions.all) {
    if (spec.busAddress !== undefined) raw.placeRegion(memory, spec.busAddress)
  }
  return { unitId: id, registerBytes: raw.registerBytes, idRegisters: namedRegisters(raw.idRegisters) }
}

/** What a unit is. */
export function getUnit(
  call: Call,
  request: { readonly unitId: number },
): {
  type: 1 | 2
  preset: string
  registerBytes: number
  idRegisters: readonly NamedRegister[]
  cachePolicy: typeof CACHE_POLICY_HARDWARE
} {
  const { raw } = unitOf(call, request)
  return {
    type: raw.kind === 'vtd' ? UNIT_TYPE.VTD : UNIT_TYPE.SMMUV3,
    preset: raw.preset,
    registerBytes: raw.registerBytes,
    idRegisters: namedRegisters(raw.idRegisters),
    cachePolicy: CACHE_POLICY_HARDWARE,
  }
}

interface RegisterAccess {
  readonly offset: number
  readonly width: number
}

/** What ReadUnitRegisters answers. */
type RegisterValues = Progress & { readonly values: BigUint64Array }

/** Reads registers. */
export function readUnitRegisters(
  call: Call,
  request: { readonly unitId: number; readonly reads: readonly RegisterAccess[] },
): RegisterValues | Promise<RegisterValues> {
  const { reads } = request
  const values = new BigUint64Array(Math.min(reads.length, call.core.limits.call.batch_elements))
  return call.inSlices(
    (function* () {
      const progress = yield* withUnit(call, request, reads.length, ({ raw }) =>
        forEachUntilRefused(reads, (read, index) => {
          values[index] = raw.readRegister(checkedAccess(read, raw.registerBytes))
        }),
      )
      return { ...progress, values: values.subarray(0, progress.doneCount) }
    })(),
  )
}

/** Writes registers; queues are consumed before the next write. */
export function writeUnitRegisters(
  call: Call,
  request: { readonly unitId: number; readonly writes: readonly (RegisterAccess & { readonly value: bigint })[] },
): Progress | Promise<Progress> {
  const { writes } = request
  return call.inSlices(
    withUnit(call, request, writes.length, function* ({ raw }) {
      const progress = yield* forEachUntilRefused(writes, function* (write) {
        const access = checkedAccess(write, raw.registerBytes)
        if (write.width === 4 && write.value >> 32n !== 0n) {
          throw new Refusal('EINVAL', 'the value has more than the 32 bits of the register', { value: write.value })
        }
        raw.writeRegister(access, write.value)
        while (raw.hasWork) {
          yield
          raw.run()
        }
      })
      call.context.waiters.wakeAll()
      return progress
    }),
  )
}

/** What TranslateUnit takes. */
export interface TranslateUnitRequest {
  readonly unitId: number
  readonly sourceIds: Uint32Array
  readonly pasid?: number
  readonly access: number
  readonly iovas: BigUint64Array
  readonly accesses: Uint32Array
  readonly translated: boolean
}

/** What TranslateUnit answers. */
type UnitColumns = BatchColumns & { readonly addresses: BigUint64Array }

/** Translates many accesses and answers with physical addresses. */
export function translateUnit(call: Call, request: TranslateUnitRequest): UnitColumns | Promise<UnitColumns> {
  return call.inSlices(unitTranslation(call, request))
}

function* unitTranslation(call: Call, request: TranslateUnitRequest): Work<UnitColumns> {
  const { iovas } = request
  let unit: Unit | undefined
  let requester: Requester = NOBODY
  const refusal = refusalOf(() => {
    checkCount(call, iovas.length)
    unit = unitOf(call, request)
    requester = requesterOf(unit, request)
  })
  const batch = refusal === undefined ? request : { iovas: NO_ADDRESSES, accesses: NO_NUMBERS, access: 0 }
  const addresses = new BigUint64Array(batch.iovas.length)
  const halves = new Uint32Array(addresses.buffer)
  const { explained_faults: explained } = call.core.limits.call
  unit?.hold(call)
  try {
    const columns = yield* translateBatch(requester, { ...batch, explained }, (index, { address }) => {
      halves[2 * index] = address
      halves[2 * index + 1] = address / 2 ** 32
    })
    call.context.waiters.wakeAll()
    const reply = { ...columns, addresses: addresses.subarray(0, columns.doneCount) }
    return refusal === undefined ? reply : { ...reply, refusal: detailOf(refusal) }
  } finally {
    unit?.drop(call)
  }
}

/** Walks the tables for one access and shows each step. */
export function explainUnit(
  call: Call,
  request: {
    readonly unitId: number
    readonly sourceId: number
    readonly pasid?: number
    readonly iova: bigint
    readonly access: number
  },
): { explanation: Explanation } {
  const requester = requesterOf(unitOf(call, request), {
    ...request,
    ...ONE,
    sourceIds: Uint32Array.of(request.sourceId),
  })
  const access = request.access === 0 ? DMA_ACCESS.READ : request.access
  checkAccess(access)
  const locate = (physical: number): Place | undefined => onBus(call, physical)
  return { explanation: explainOne(requester, request.iova, access, { ownsBus: true, locate }) }
}

/** The contract's UnitInterrupt. */
export interface InterruptInfo {
  readonly source: string
  readonly msiAddress?: bigint
  readonly msiData: number
}

/** Takes interrupts, waiting for the first if asked to. */
export function pollUnitInterrupts(
  call: Call,
  request: { readonly unitId: number; readonly maxInterrupts: number; readonly waitMs: number },
): { interrupts: readonly InterruptInfo[] } | Promise<{ interrupts: readonly InterruptInfo[] }> {
  const unit = unitOf(call, request)
  const { batch_elements: elements, wait_ms: longest } = call.core.limits.call
  const most = request.maxInterrupts === 0 ? elements : Math.min(request.maxInterrupts, elements)
  if (unit.hasInterrupts || request.waitMs === 0) return { interrupts: interruptsOf(unit, most) }
  return waitForInterrupts(call, unit, most, Math.min(request.waitMs, longest))
}

/** Puts a unit into its reset state. */
export function resetUnit(call: Call, request: { readonly unitId: number }): { abortedCount: number } {
  const unit = unitOf(call, request)
  unit.raw.reset()
  unit.clearInterrupts()
  // Nothing stalls, so nothing is aborted.
  return { abortedCount: 0 }
}

const NO_ADDRESSES = new BigUint64Array(0)
const NO_NUMBERS = new Uint32Array(0)
const ONE = { iovas: new BigUint64Array(1), translated: false } as const
const NOBODY: Requester = {
  translate() {},
  explain: () => [],
  peek: () => false,
  missing: () => '',
  faultName: () => '',
}

/** The widest PASID: 20 bits on PCIe, and of a SubstreamID. */
const PASID_END = 2 ** 20

const unitOf = (call: Call, { unitId }: { readonly unitId: number }): Unit => call.look(Unit, unitId, 'unit_id')

/** The unit stays until the work is done. */
function* withUnit(
  call: Call,
  request: { readonly unitId: number },
  count: number,
  act: (unit: Unit) => Work<Progress>,
): Work<Progress> {
  let unit: Unit
  try {
    checkCount(call, count)
    unit = unitOf(call, request)
  } catch (error) {
    if (error instanceof Refusal) return { doneCount: 0, refusal: detailOf(error) }
    throw error
  }
  unit.hold(call)
  try {
    return yield* act(unit)
  } finally {
    unit.drop(call)
  }
}

function checkedAccess({ offset, width }: RegisterAccess, registerBytes: number): { offset: number; bytes: 4 | 8 } {
  if (width !== 4 && width !== 8) throw new Refusal('EINVAL', 'a register has a width of 4 or 8 bytes', { width })
  if (offset % width !== 0) throw new Refusal('EINVAL', `the offset is not a multiple of ${width}`, { offset, width })
  if (offset + width <= registerBytes) return { offset, bytes: width }
  throw new Refusal('EINVAL', `the register file has ${registerBytes} bytes`, { offset, register_bytes: registerBytes })
}

function requesterOf({ raw }: Unit, request: Omit<TranslateUnitRequest, 'unitId' | 'access' | 'accesses'>): Requester {
  const { sourceIds, iovas } = request
  if (request.translated)
    throw new Refusal(
      'EOPNOTSUPP',
      'no unit takes translated requests: IDR0.ATS and ECAP.DT are 0; leave translated out',
    )
  if (sourceIds.length !== 1 && sourceIds.length !== iovas.length) {
    const reason = `source_ids has ${sourceIds.length} elements: give one for all, or ${iovas.length}`
    throw new Refusal('EINVAL', reason, { source_ids: sourceIds.length, iovas: iovas.length })
  }
  const pasid = request.pasid ?? -1
  if (pasid >= PASID_END) throw new Refusal('EINVAL', 'a PASID has at most 20 bits', { pasid })
  const each = sourceIds.length === 1 ? 0 : 1
  return {
    translate: (index, lo, hi, access, out) => raw.translate(sourceIds[index * each], pasid, lo, hi, access, out),
    explain: (index, lo, hi, access, out) => raw.explain(sourceIds[index * each], pasid, lo, hi, access, out),
    peek: (index, lo, hi, access, out) => raw.peek(sourceIds[index * each], pasid, lo, hi, access, out),
    missing: (index, lo, hi, access) => raw.missing(sourceIds[index * each], pasid, lo, hi, access),
    faultName: (fault) => raw.faultName(fault),
  }
}

function onBus(call: Call, physical: number): Place | undefined {
  for (const { id, memory, spec } of call.context.regions.all) {
    const from = spec.busAddress
    if (from === undefined || physical < from || physical >= from + memory.lengthBytes) continue
    return { regionId: id, offset: BigInt(physical - from) }
  }
  return undefined
}

function interruptsOf(unit: Unit, most: number): readonly InterruptInfo[] {
  return unit.takeInterrupts(most).map(({ kind, source, address, data }) => ({
    source,
    msiAddress: kind === 'message' ? BigInt(address) : undefined,
    msiData: data,
  }))
}

/** Another call of the context may raise one; its end, and the context's, end the wait. */
async function waitForInterrupts(
  call: Call,
  unit: Unit,
  most: number,
  ms: number,
): Promise<{ interrupts: readonly InterruptInfo[] }> {
  const { clock } = call.core
  const until = clock.now() + ms
  unit.hold(call)
  try {
    while (!unit.hasInterrupts && !call.context.isEnding && clock.now() < until) {
      await call.context.waiters.wait(clock, until - clock.now())
    }
    return { interrupts: interruptsOf(unit, most) }
  } finally {
    unit.drop(call)
  }
}
