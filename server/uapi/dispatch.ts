/** What all commands of /dev/iommu have in common: numbers, sizes, tails, writing back. The order is the kernel's. */

import type { Call } from '../core/call.js'
import { Refusal } from '../core/refusal.js'
import type { Command } from './command.js'
import { type IoctlAnswer, type IoctlArgs, type MaybeLater, onceDone } from './file.js'
import { decode, put, type Struct } from './struct.js'

/** Bytes of the member that every struct begins with: how long the caller says it is. */
const SIZE_BYTES = 4

/**
 * Does a command, or refuses its form.
 *
 * @param found the command of that number; undefined for a hole in the table
 * @throws Refusal EFAULT, ENOTTY, EINVAL, E2BIG, and the command's own
 */
export function dispatch(
  call: Call,
  found: Command | undefined,
  { cmd, arg, user }: IoctlArgs,
): MaybeLater<IoctlAnswer> {
  if (arg.length < SIZE_BYTES) throw new Refusal('EFAULT', 'the struct has no size: it is shorter than 4 bytes')
  const size = new DataView(arg.buffer, arg.byteOffset).getUint32(0, true)
  // Type, direction and size bits count too.
  if (found === undefined || found.cmd !== cmd) throw unknownCommand(cmd)
  const { struct, run } = found
  checkSize(struct, arg, size)
  const values = decode(struct, arg.subarray(0, size))
  return onceDone(run(call, values, user), ({ set = {}, result = 0, refusal }) => {
    put(struct, arg.subarray(0, size), set)
    return { result, refusal }
  })
}

/** A command that the file does not have. */
export const unknownCommand = (cmd: number): Refusal =>
  new Refusal('ENOTTY', `0x${cmd.toString(16)} is no ioctl of this file`, { cmd: `0x${cmd.toString(16)}` })

/** @throws Refusal EINVAL (too short), E2BIG (a tail that is not zero), EFAULT (bytes that are not there) */
function checkSize({ name, bytes, minBytes }: Struct, arg: Uint8Array, size: number): void {
  if (size < minBytes) {
    const reason = `struct ${name} has at least ${minBytes} bytes, and its size says ${size}`
    throw new Refusal('EINVAL', reason, { size, min_size: minBytes })
  }
  const extra = arg.subarray(bytes, size).findIndex((byte) => byte !== 0)
  if (extra >= 0) {
    const reason = `struct ${name} has ${bytes} bytes here, and byte ${bytes + extra} behind them is not zero`
    throw new Refusal('E2BIG', reason, { size, known_bytes: bytes })
  }
  if (arg.length >= size) return
  throw new Refusal('EFAULT', `the struct ends after ${arg.length} bytes, and its size says ${size}`, { size })
}
