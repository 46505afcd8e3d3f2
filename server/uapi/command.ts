/** One command of /dev/iommu: its struct, and what it does with the values. The dispatcher does what all have in common. */

import type { Call } from '../core/call.js'
import type { RefusalDetail } from '../core/detail.js'
import { Refusal } from '../core/refusal.js'
import type { MaybeLater } from './file.js'
import type { Fields, Struct, ValuesOf } from './struct.js'
import type { UserMemory } from './user-memory.js'

/** What a command did. */
export interface CommandAnswer<F extends Fields = Fields> {
  /** Members to write back, as far as the caller's struct reaches. */
  readonly set?: Partial<ValuesOf<F>>
  /** The return value, where it is not 0. */
  readonly result?: number
  /** It fails, and yet writes `set` back. Whatever it made stays; a Refusal that is thrown undoes all instead. */
  readonly refusal?: RefusalDetail
}

/** Does a command, in the kernel's order of checks. @throws Refusal */
export type Run<F extends Fields> = (call: Call, values: ValuesOf<F>, user: UserMemory) => MaybeLater<CommandAnswer<F>>

/** A command. */
export interface Command {
  /** All 32 bits. */
  readonly cmd: number
  readonly struct: Struct
  readonly run: Run<Fields>
}

/** `_IO(';', 0)`. */
export const IOMMUFD_TYPE = 0x3b00

/** Declares a command. */
export const command = <F extends Fields>(nr: number, struct: Struct<F>, run: Run<F>): Command => ({
  cmd: IOMMUFD_TYPE | nr,
  struct,
  // The dispatcher decodes by the same struct.
  run: run as unknown as Run<Fields>,
})

/** A member that must be zero. @throws Refusal EOPNOTSUPP */
export function refuseReserved(value: number): void {
  if (value !== 0) throw new Refusal('EOPNOTSUPP', '__reserved must be 0', { __reserved: value })
}
