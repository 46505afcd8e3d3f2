/** Calls that read and write the registers of raw units. */

import type { Call } from './call.js'
import { checkCount } from './checks.js'
import { detailOf, forEachUntilRefused, type Progress } from './detail.js'
import { Refusal } from './refusal.js'
import type { Unit } from './unit.js'
import { unitOf } from './unit-calls.js'
import type { Work } from './work.js'

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
    withUnit(call, request, writes.length, function* (unit) {
      const { raw } = unit
      const progress = yield* forEachUntilRefused(writes, function* (write) {
        const access = checkedAccess(write, raw.registerBytes)
        if (write.width === 4 && write.value >> 32n !== 0n) {
          throw new Refusal('EINVAL', 'the value has more than the 32 bits of the register', { value: write.value })
        }
        raw.writeRegister(access, write.value)
        yield* unit.work()
      })
      call.context.waiters.wakeAll()
      return progress
    }),
  )
}

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
