/** A unit of a fake machine with a stream in front of it, and the calls that its stories are told with. */

import { DEFAULT_LIMITS, type Limits } from '../../server/core/index.js'
import { World } from './world.js'

export const READ = 1
export const WRITE = 2
export const OK = 1
export const FAULT = 2
export const ABORTED = 3
export const PENDING = 5
export const STREAM = 3

export const withPending = (pending: number): Limits => ({
  ...DEFAULT_LIMITS,
  context: { ...DEFAULT_LIMITS.context, pending_dma: pending },
})

/** A context with one unit, and the calls that a stream's story is told with. */
export function scene({ limits = DEFAULT_LIMITS, preset = '' } = {}) {
  const world = new World({ limits })
  const { unitId } = world.do('CreateUnit', { type: 1, preset })
  const stream = { unitId, sourceId: STREAM }
  const write = (offset: number, value: bigint | number) =>
    world.do('WriteUnitRegisters', { unitId, writes: [{ offset, width: 8, value: BigInt(value) }] })
  const translate = (...iovas: bigint[]) =>
    world.do('TranslateUnit', { unitId, sourceIds: Uint32Array.of(STREAM), iovas: BigUint64Array.from(iovas) })
  const ask = (...ids: bigint[]) => world.do('AwaitDma', { transactionIds: BigUint64Array.from(ids) })
  const used = (): number => Number(world.do('GetContext').quotas.find(({ name }) => name === 'pending_dma')?.used)
  return { world, unitId, stream, write, translate, ask, used, unit: world.machine.rawUnits[0] }
}

/** The response of a group as the fake unit is told to give it. */
export const response = (group: number, code: number, pasid = -1): bigint =>
  BigInt(STREAM) | (BigInt(group) << 16n) | (BigInt(code) << 32n) | (BigInt(pasid + 1) << 40n)
