/** Operations on accesses, which stand for a driver in the kernel: each is an open file, and goes with it. */

import { Access, type Pin } from '../core/access.js'
import type { Call } from '../core/call.js'
import type { Completion } from '../core/driver.js'
import { Ioas } from '../core/ioas.js'
import { Refusal } from '../core/refusal.js'
import { hex, PAGE, U64_MAX } from '../core/u64.js'
import type { Work } from '../core/work.js'
import type { File } from './file.js'
import type { TestAnswer, TestRun } from './test-command.js'
import { physicalBehind } from './test-memory.js'
import { TEST_OP } from './test-structs.js'
import type { UserMemory } from './user-memory.js'

/** Flags of a new access. */
const NEEDS_PIN_PAGES = 1

/** Flags of pinning and copying. SLOW_PATH is another way of the kernel's to the same bytes. */
const FLAG = { WRITE: 1, SLOW_PATH: 4, SYZ: 0x1_0000 } as const

/** Bytes that one operation pins or copies. */
const MOST_BYTES = 16n * 2n ** 20n

/** The file of an access. */
export class AccessFile implements File {
  readonly name = '[iommufd_test_staccess]'
  readonly pins: boolean
  readonly access: Access
  /** What was pinned, by number. */
  readonly #items = new Map<number, Pin>()
  #next = 0

  constructor(call: Call, pins: boolean) {
    this.pins = pins
    const user = { id: call.newId(), kind: 'self-test of access' }
    const unmap = (start: bigint, last: bigint): void => this.#dropItems(start, last)
    this.access = new Access(user.id, call.context, { user, pins, unmap })
  }

  /** Keeps what was pinned; answers its number. */
  keep(pin: Pin): number {
    this.#items.set(this.#next, pin)
    return this.#next++
  }

  /** Lets it go. @throws Refusal ENOENT */
  drop(item: number): void {
    const pin = this.#items.get(item)
    if (pin === undefined) throw new Refusal('ENOENT', `the access has no pinned item ${item}`, { item })
    this.#items.delete(item)
    this.access.unpin(pin)
  }

  get ends(): Access {
    return this.access
  }

  close(): Completion {
    this.#dropItems(0n, U64_MAX)
    return this.access.release()
  }

  #dropItems(start: bigint, last: bigint): void {
    for (const [item, pin] of this.#items) if (pin.start <= last && start <= pin.last) this.drop(item)
  }
}

/** By number. */
export const ACCESS_OPS: Readonly<Record<number, TestRun>> = {
  [TEST_OP.CREATE_ACCESS](call, { id, create_access_flags: flags }) {
    refuseFlags(flags, NEEDS_PIN_PAGES)
    return call.inSlices(createAccess(call, id, flags === NEEDS_PIN_PAGES))
  },
  [TEST_OP.ACCESS_REPLACE_IOAS](call, { id, access_replace_ioas_ioas_id: ioasId }) {
    const { access } = fileOf(call, id)
    return call.inSlices(
      (function* (): Work<TestAnswer> {
        yield* call.change(access).move(call.take(Ioas, ioasId, 'ioas_id'))
        return {}
      })(),
    )
  },
  [TEST_OP.DESTROY_ACCESS_PAGES](call, { id, destroy_access_pages_access_pages_id: item }) {
    fileOf(call, id).drop(item)
    return {}
  },
  [TEST_OP.ACCESS_PAGES](call, values, user) {
    const { access_pages_length: length, access_pages_flags: flags } = values
    refuseLong(length)
    refuseFlags(flags, FLAG.WRITE | FLAG.SYZ)
    const file = fileOf(call, values.id)
    if (!file.pins) throw new Refusal('EOPNOTSUPP', 'the access was made without NEEDS_PIN_PAGES (1)')
    // Nobody moves or closes it between two pages.
    const iova = iovaOf(call.change(file.access), values.access_pages_iova, flags)
    const work = pinAndCompare(call, user, file, { iova, length, uptr: values.access_pages_uptr, flags })
    return call.inSlices(work)
  },
  [TEST_OP.ACCESS_RW](call, values, user) {
    const { access_rw_length: length, access_rw_flags: flags } = values
    refuseLong(length)
    refuseFlags(flags, FLAG.WRITE | FLAG.SLOW_PATH | FLAG.SYZ)
    const access = call.change(fileOf(call, values.id).access)
    const writes = (flags & FLAG.WRITE) !== 0
    const uptr = values.access_rw_uptr
    const bytes = writes ? user.read(uptr, Number(length)) : new Uint8Array(Number(length))
    const iova = iovaOf(access, values.access_rw_iova, flags)
    return call.inSlices(
      (function* (): Work<TestAnswer> {
        yield* access.copy(iova, bytes, writes)
        if (!writes) user.write(uptr, bytes)
        return {}
      })(),
    )
  },
}

function* createAccess(call: Call, ioasId: number, pins: boolean): Work<TestAnswer> {
  const file = new AccessFile(call, pins)
  const { access } = file
  const handle = call.context.files.open(call, () => file)
  yield* access.move(call.take(Ioas, ioasId, 'id'))
  call.make(access)
  return { set: { create_access_out_access_fd: handle } }
}

interface PinRequest {
  readonly iova: bigint
  readonly length: bigint
  /** Where the caller says the same pages are; 0: it does not. */
  readonly uptr: bigint
  readonly flags: number
}

function* pinAndCompare(
  call: Call,
  user: UserMemory,
  file: AccessFile,
  { iova, length, uptr, flags }: PinRequest,
): Work<TestAnswer> {
  const pin = yield* file.access.pin(iova, length, (flags & FLAG.WRITE) !== 0)
  try {
    if (uptr !== 0n) comparePages(call, user, pin, uptr - (iova % PAGE))
  } catch (error) {
    file.access.unpin(pin)
    throw error
  }
  return { set: { access_pages_out_access_pages_id: file.keep(pin) } }
}

/** @throws Refusal EFAULT, EBADE (other pages) */
function comparePages(call: Call, user: UserMemory, { segments }: Pin, uptr: bigint): void {
  let at = uptr
  for (const { region, offset, length } of segments) {
    for (let into = 0n; into < length; into += PAGE) {
      const wanted = physicalBehind(call, user, at & U64_MAX)
      if (wanted !== region.memory.address + offset + Number(into)) {
        throw new Refusal('EBADE', `the page at ${hex(at)} is not the one that was pinned`, { address: hex(at) })
      }
      at += PAGE
    }
  }
}

/** The IOVA; from a fuzzer, the number of a mapping and an offset in it. */
function iovaOf({ ioas }: Access, iova: bigint, flags: number): bigint {
  if ((flags & FLAG.SYZ) === 0) return iova
  let nth = iova & 0xffff_ffffn
  for (const { start } of ioas?.areas ?? []) if (nth-- === 0n) return (start + (iova >> 32n)) & U64_MAX
  return 0n
}

function refuseLong(length: bigint): void {
  if (length <= MOST_BYTES) return
  throw new Refusal('ENOMEM', `one operation has at most ${MOST_BYTES} bytes`, { length, most: MOST_BYTES })
}

function refuseFlags(flags: number, known: number): void {
  const unknown = (flags & ~known) >>> 0
  if (unknown !== 0) throw new Refusal('EOPNOTSUPP', `flag bits 0x${unknown.toString(16)} are not known`, { flags })
}

/** The file of an access. @throws Refusal EBADFD */
function fileOf(call: Call, handle: number): AccessFile {
  const file = call.context.files.find(handle)
  if (file instanceof AccessFile) return file
  throw new Refusal('EBADFD', `handle ${handle} is no access of the self-test`, { handle })
}
