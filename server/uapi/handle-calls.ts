/** Calls on open files: ioctl(2), read(2), write(2), poll(2), mmap(2), close(2). */

import type { Call } from '../core/call.js'
import { checkBytes, checkCount } from '../core/checks.js'
import { detailOf, type Progress, type RefusalDetail } from '../core/detail.js'
import { Refusal, refusalOf } from '../core/refusal.js'
import { unknownCommand } from './dispatch.js'
import { type File, fileAt, type IoctlAnswer, type MaybeLater, onceDone, POLL } from './file.js'
import { IOMMU_FILE, openFile } from './iommu-file.js'
import { type MemoryRange, UserMemory } from './user-memory.js'

/** What Ioctl takes. */
export interface IoctlRequest {
  readonly handle: number
  readonly cmd: number
  readonly arg: Uint8Array
  readonly memory: readonly MemoryRange[]
}

/** What Ioctl answers. */
export interface IoctlReply {
  readonly errno: number
  readonly result: bigint
  readonly arg: Uint8Array
  readonly written: readonly MemoryRange[]
  readonly refusal?: RefusalDetail
}

/** An ioctl. What it is refused with is its answer; what it made is undone then, as in any call. */
export function ioctl(call: Call, request: IoctlRequest): MaybeLater<IoctlReply> {
  const { handle, cmd } = request
  const file = openFile(call, handle)
  const user = new UserMemory(call, request.memory)
  const arg = request.arg.slice()
  const reply = ({ result, refusal }: IoctlAnswer, after: Uint8Array): IoctlReply => ({
    errno: refusal?.errno ?? 0,
    result: refusal === undefined ? BigInt(result) : -1n,
    arg: after,
    written: user.written,
    refusal,
  })
  const refused = (error: unknown): IoctlReply => {
    if (error instanceof Refusal) return reply({ result: -1, refusal: detailOf(error) }, request.arg)
    throw error
  }
  const act = (inner: Call): MaybeLater<IoctlAnswer> => {
    if (file.ioctl === undefined) throw unknownCommand(cmd)
    return file.ioctl(inner, { cmd, arg, user })
  }
  try {
    const done = call.core.run(call.peer, call.context, act, undefined)
    if (done instanceof Promise) return done.then((answer) => reply(answer, arg)).catch(refused)
    return reply(done, arg)
  } catch (error) {
    return refused(error)
  }
}

/** Reads a file. */
export function readHandle(call: Call, request: { handle: number; count: number }): MaybeLater<{ data: Uint8Array }> {
  const file = openFile(call, request.handle)
  if (file.read === undefined) throw new Refusal('EINVAL', `${file.name} cannot be read`, { handle: request.handle })
  // What a message cannot carry stays in the file: read(2) may always answer less.
  const read = file.read(call, request.count, call.core.limits.call.batch_bytes)
  return onceDone(read, (data) => ({ data }))
}

/** Writes to a file. */
export function writeHandle(call: Call, request: { handle: number; data: Uint8Array }): MaybeLater<{ count: number }> {
  const file = openFile(call, request.handle)
  if (file.write === undefined) {
    throw new Refusal('EINVAL', `${file.name} cannot be written`, { handle: request.handle })
  }
  checkBytes(call, request.data.length)
  return onceDone(file.write(call, request.data), (count) => ({ count }))
}

/** What PollHandle takes. */
export interface PollRequest {
  readonly targets: readonly { readonly handle: number; readonly events: number }[]
  readonly waitMs: number
}

/** What PollHandle answers. */
type PollReply = Progress & { readonly revents: Uint32Array }

/** Waits for files. */
export function pollHandle(call: Call, request: PollRequest): MaybeLater<PollReply> {
  const { targets, waitMs } = request
  const tooMany = refusalOf(() => checkTargets(call, targets.length))
  if (tooMany !== undefined) return { revents: new Uint32Array(0), doneCount: 0, refusal: detailOf(tooMany) }
  const { context, core } = call
  const until = core.clock.now() + Math.min(waitMs, core.limits.call.wait_ms)
  return call.inSlices(
    (function* () {
      for (;;) {
        const revents = Uint32Array.from(targets, ({ handle, events }) => ready(call, handle, events))
        const left = until - core.clock.now()
        if (revents.some((bits) => bits !== 0) || left <= 0 || context.isEnding) {
          return { revents, doneCount: targets.length }
        }
        yield context.waiters.wait(core.clock, left)
      }
    })(),
  )
}

/** All of them are looked at again whenever one may have become ready, so nobody names more than can be open. */
function checkTargets(call: Call, count: number): void {
  checkCount(call, count)
  const most = call.context.quota.limit('handles') + 1
  if (count <= most) return
  const reason = `the limit handles of this context is ${most - 1}, and ${count} targets are given`
  throw new Refusal('E2BIG', reason, { limit: 'handles', value: most - 1, asked: count })
}

/** Maps a file, shared. */
export function mapHandle(
  call: Call,
  request: { handle: number; offset: bigint; length: bigint; protection: number },
): { regionId: number } {
  const { handle, offset, length, protection } = request
  const file = openFile(call, handle)
  if (file.map === undefined) throw new Refusal('ENODEV', `${file.name} cannot be mapped`, { handle })
  return { regionId: file.map(call, { offset, length, protection }).id }
}

/** Closes a handle. */
export function closeHandle(call: Call, { handle }: { handle: number }): Record<never, never> {
  if (handle === 0) throw new Refusal('EBADF', 'handle 0 is the context itself, which CloseContext closes', { handle })
  const { ends } = fileAt(call, handle)
  if (ends !== undefined) call.change(ends)
  call.after(call.context.files.close(handle))
  return {}
}

/** What files without a poll of their own always are. [uAPI poll(2)] */
const ALWAYS = POLL.IN | POLL.OUT | POLL.RDNORM | POLL.WRNORM

function ready(call: Call, handle: number, events: number): number {
  const file = handle === 0 ? IOMMU_FILE : (call.context.files.find(handle) as File | undefined)
  if (file === undefined) return POLL.NVAL
  // Errors are told to those who did not ask, too.
  return (file.poll?.() ?? ALWAYS) & (events | POLL.ERR | POLL.HUP)
}
