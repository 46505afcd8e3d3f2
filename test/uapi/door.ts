/** A context behind the ioctl door: structs spelled by hand, in hex and numbers, never through the server's tables. */

import { HANDLE_HANDLERS } from '../../server/uapi/index.js'
import { World } from '../core/world.js'

type Name = keyof typeof HANDLE_HANDLERS
type RequestOf<N extends Name> = Parameters<(typeof HANDLE_HANDLERS)[N]>[1]
type ReplyOf<N extends Name> = Awaited<ReturnType<(typeof HANDLE_HANDLERS)[N]>>

/** Little-endian members: [value, bytes]. */
export type Member = readonly [value: number | bigint, bytes: 1 | 2 | 4 | 8]

/** Bytes of members one after the other. */
export function bytesOf(...members: readonly Member[]): Uint8Array {
  return Uint8Array.from(
    members.flatMap(([value, bytes]) => {
      const rest = BigInt.asUintN(64, BigInt(value))
      return Array.from({ length: bytes }, (_, i) => Number((rest >> BigInt(8 * i)) & 0xffn))
    }),
  )
}

/** 32-bit members. */
export const words = (...values: readonly number[]): Uint8Array => bytesOf(...values.map((value): Member => [value, 4]))

/** Bytes one after the other. */
export const join = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]))

/** A 32-bit member of a struct. */
export const word = (bytes: Uint8Array, at: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true)

/** A 64-bit member of a struct. */
export const long = (bytes: Uint8Array, at: number): bigint =>
  new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true)

/** Memory that comes with a call. */
export interface Memory {
  readonly address: bigint
  readonly data: Uint8Array
  readonly writable: boolean
}

/** Memory at an address, writable. */
export const memory = (address: bigint, data: Uint8Array, writable = true): Memory => ({ address, data, writable })

/** A world that is reached through the door. */
export class Door extends World {
  /** Calls a method of HandleService, and expects the answer at once. */
  handle<N extends Name>(name: N, request: RequestOf<N>, token = this.token): ReplyOf<N> {
    const reply = this.handleLater(name, request, token)
    if (reply instanceof Promise) throw new Error(`${name} did not answer at once`)
    return reply as ReplyOf<N>
  }

  /** Calls; the answer may come later. */
  handleLater<N extends Name>(name: N, request: RequestOf<N>, token = this.token): ReplyOf<N> | Promise<ReplyOf<N>> {
    return this.core.call(this.peer, HANDLE_HANDLERS[name] as never, { ...request, context: token } as never)
  }

  /** An ioctl of /dev/iommu, or of another handle. */
  ioctl(cmd: number, arg: Uint8Array, memory: readonly Memory[] = [], handle = 0): ReplyOf<'Ioctl'> {
    return this.handle('Ioctl', { handle, cmd, arg, memory })
  }

  /** The errno of an ioctl's answer by its name, or 'ok'. */
  errno(cmd: number, arg: Uint8Array, memory: readonly Memory[] = [], handle = 0): string {
    const { errno, refusal } = this.ioctl(cmd, arg, memory, handle)
    return errno === 0 ? 'ok' : (refusal?.name ?? `errno ${errno} without a reason`)
  }

  /** An ioctl that succeeds; answers its struct. */
  done(cmd: number, arg: Uint8Array, memory: readonly Memory[] = [], handle = 0): Uint8Array {
    const reply = this.ioctl(cmd, arg, memory, handle)
    if (reply.errno !== 0) throw new Error(`0x${cmd.toString(16)}: ${reply.refusal?.name}: ${reply.refusal?.reason}`)
    return reply.arg
  }

  /** IOMMU_IOAS_ALLOC. */
  newIoas(): number {
    return word(this.done(0x3b81, words(12, 0, 0)), 8)
  }
}
