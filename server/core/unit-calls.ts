/** Calls that make raw units, reset them and hear of their interrupts. */

import { type CachePolicy, cacheModeOf, policyOf } from './cache-policy.js'
import type { Call } from './call.js'
import { Refusal } from './refusal.js'
import { Unit } from './unit.js'

/** The contract's UnitType. */
export const UNIT_TYPE = { SMMUV3: 1, VTD: 2 } as const

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
    readonly cacheSeed: number
  },
): { unitId: number; registerBytes: number; idRegisters: readonly NamedRegister[] } {
  const { type, preset, cachePolicy, cacheSeed: seed } = request
  if (type !== UNIT_TYPE.SMMUV3 && type !== UNIT_TYPE.VTD) {
    throw new Refusal('EINVAL', `${type} is no type of unit: SMMUV3 is 1 and VTD 2`, { type })
  }
  const caches = cacheModeOf(cachePolicy, seed)
  const id = call.newId('units')
  const overrides = new Map(request.overrides.map(({ name, value }) => [name, value]))
  const spec = { type: type === UNIT_TYPE.VTD ? 'vtd' : 'smmuv3', preset, overrides, caches, seed } as const
  const make = (streams: Unit['streams']): Unit['raw'] => call.core.machine.createRawUnit(spec, streams)
  const { raw } = call.make(new Unit(id, call.context, make))
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
  cachePolicy: CachePolicy
} {
  const { raw } = unitOf(call, request)
  return {
    type: raw.kind === 'vtd' ? UNIT_TYPE.VTD : UNIT_TYPE.SMMUV3,
    preset: raw.preset,
    registerBytes: raw.registerBytes,
    idRegisters: namedRegisters(raw.idRegisters),
    cachePolicy: policyOf(raw.caches),
  }
}

/** The contract's UnitInterrupt. */
export interface InterruptInfo {
  readonly source: string
  readonly msiAddress?: bigint
  readonly msiData: number
}

/** What PollUnitInterrupts answers. */
interface Interrupts {
  readonly interrupts: readonly InterruptInfo[]
}

/** Takes interrupts, waiting for the first if asked to. */
export function pollUnitInterrupts(
  call: Call,
  request: { readonly unitId: number; readonly maxInterrupts: number; readonly waitMs: number },
): Interrupts | Promise<Interrupts> {
  const unit = unitOf(call, request)
  const { batch_elements: elements } = call.core.limits.call
  const most = request.maxInterrupts === 0 ? elements : Math.min(request.maxInterrupts, elements)
  const take = (): Interrupts => ({ interrupts: interruptsOf(unit, most) })
  return waitOn(call, unit, request.waitMs, () => unit.hasInterrupts, take)
}

/** Puts a unit into its reset state. */
export function resetUnit(call: Call, request: { readonly unitId: number }): { abortedCount: number } {
  return { abortedCount: unitOf(call, request).reset() }
}

/** The unit that a request names. @throws Refusal ENOENT */
export const unitOf = (call: Call, { unitId }: { readonly unitId: number }): Unit => call.look(Unit, unitId, 'unit_id')

/**
 * Takes what a unit has for its owner; waits for it if asked to. Another call of the context may bring it; its end, and
 * the context's, end the wait.
 */
export function waitOn<T>(
  call: Call,
  unit: Unit,
  waitMs: number,
  isReady: () => boolean,
  take: () => T,
): T | Promise<T> {
  if (waitMs === 0 || isReady()) return take()
  return waitForIt(call, unit, Math.min(waitMs, call.core.limits.call.wait_ms), isReady, take)
}

async function waitForIt<T>(call: Call, unit: Unit, ms: number, isReady: () => boolean, take: () => T): Promise<T> {
  const { clock } = call.core
  const until = clock.now() + ms
  unit.hold(call)
  try {
    while (!isReady() && !call.context.isEnding && clock.now() < until) {
      await call.context.waiters.wait(clock, until - clock.now())
    }
    return take()
  } finally {
    unit.drop(call)
  }
}

function interruptsOf(unit: Unit, most: number): readonly InterruptInfo[] {
  return unit.takeInterrupts(most).map(({ kind, source, address, data }) => ({
    source,
    msiAddress: kind === 'message' ? BigInt(address) : undefined,
    msiData: data,
  }))
}
