/**
 * Users of an address space inside the daemon, where the kernel has its drivers: they read and write memory by IOVA, and
 * may pin it. There is no call that makes one; a hardware queue has one of its own. [uAPI IOMMU_HW_QUEUE_ALLOC]
 */

import type { Area } from './area.js'
import type { Context } from './context.js'
import type { Completion } from './driver.js'
import type { Ioas } from './ioas.js'
import { type Holder, IommuObject, OBJECT_TYPE } from './object.js'
import { pageOffset } from './pages.js'
import { type Pin as PinnedPart, partOf, type Segment } from './pin.js'
import { assert, Refusal } from './refusal.js'
import { hex, hexRange, min, PAGE, U64_MAX } from './u64.js'
import { finish, type Work } from './work.js'

/** What an access is used by, and how. */
export interface AccessSpec {
  /** Keeps it: only its end destroys the access. */
  readonly user: Holder
  /** It may pin, and so the address space is in whole pages. */
  readonly pins: boolean
  /**
   * Has the user unpin whatever intersects a range. Absent: nobody is asked, and what is pinned cannot be unmapped.
   */
  readonly unmap?: (start: bigint, last: bigint) => void
}

/** Memory that an access has pinned. */
export interface Pin {
  readonly start: bigint
  readonly last: bigint
  /** In order. */
  readonly segments: readonly Segment[]
}

/** An access. */
export class Access extends IommuObject {
  static override readonly label = 'an access'

  readonly type = OBJECT_TYPE.ACCESS
  readonly kind = 'access'
  readonly spec: AccessSpec
  readonly #context: Context
  #ioas: Ioas | undefined
  readonly #pins = new Map<Pin, { readonly areas: readonly Area[]; readonly parts: readonly PinnedPart[] }>()

  constructor(id: number, context: Context, spec: AccessSpec) {
    super(id)
    this.#context = context
    this.spec = spec
    this.hold(spec.user)
  }

  get holds(): readonly IommuObject[] {
    return this.#ioas === undefined ? [] : [this.#ioas]
  }

  override get facts(): Readonly<Record<string, string>> {
    return { user: `${this.spec.user.kind} ${this.spec.user.id}`, pins: String(this.#pins.size) }
  }

  /** What IOVAs, lengths and sources of its address space must be multiples of. */
  get alignment(): bigint {
    return this.spec.pins ? PAGE : 1n
  }

  /** What it works on. */
  get ioas(): Ioas | undefined {
    return this.#ioas
  }

  /**
   * Moves to another address space, or to none. What is pinned in the old one is asked back first.
   *
   * @throws Refusal EADDRINUSE, EBUSY; it stays where it was then
   */
  *move(to: Ioas | undefined): Work<void> {
    const from = this.#ioas
    if (from === to) return
    // Nothing more can be pinned until it is there.
    this.#ioas = undefined
    try {
      if (to !== undefined) yield* to.addAccess(this)
    } catch (error) {
      this.#ioas = from
      throw error
    }
    this.#leave(from)
    this.#ioas = to
  }

  /**
   * Pins the memory behind a range, which mappings must cover without a hole, in whole pages.
   *
   * @throws Refusal EINVAL, EOVERFLOW, ENOENT, EPERM, EFAULT, ENOMEM; nothing is pinned then
   */
  *pin(start: bigint, length: bigint, writes: boolean): Work<Pin> {
    const last = lastOf(start, length)
    const ioas = this.#attached()
    assert(this.spec.pins, 'an access that pins says so when it is made')
    this.#context.core.failPoint?.('pin')
    const parts: PinnedPart[] = []
    const areas: Area[] = []
    try {
      for (let at = start; at <= last; ) {
        const area = accessible(ioas, at, last, writes)
        const end = min(area.last, last)
        checkPage(area, at)
        parts.push(pinPart(area, at, end))
        areas.push(area)
        area.accesses++
        if (this.spec.unmap === undefined) area.locks++
        at = end + 1n
        yield
      }
    } catch (error) {
      this.#letGo(areas, parts)
      throw error
    }
    const pin = { start, last, segments: parts.flatMap(({ segments }) => segments) }
    this.#pins.set(pin, { areas, parts })
    return pin
  }

  /** Lets pinned memory go. */
  unpin(pin: Pin): void {
    const pinned = this.#pins.get(pin)
    assert(pinned !== undefined, 'what is unpinned was pinned, once')
    this.#pins.delete(pin)
    this.#letGo(pinned.areas, pinned.parts)
  }

  /**
   * Copies memory behind a range out or in; what comes before the first byte that cannot be is done.
   *
   * @throws Refusal EINVAL, EOVERFLOW, ENOENT, EPERM, EFAULT
   */
  *copy(start: bigint, bytes: Uint8Array, writes: boolean): Work<void> {
    const last = lastOf(start, BigInt(bytes.length))
    const ioas = this.#attached()
    for (let at = start; at <= last; ) {
      const area = accessible(ioas, at, last, writes)
      const end = min(area.last, last)
      copySegments(findPart(area, at, end), bytes.subarray(Number(at - start), Number(end - start) + 1), writes)
      at = end + 1n
      yield
    }
  }

  /** Its user is done with it: it is destroyed. One that its own call still makes is undone by that call. */
  release(): Completion {
    this.drop(this.spec.user)
    return this.#context.objects.find(this.id) === this ? this.#context.discard(this) : undefined
  }

  destroy(): Completion {
    return finish(this.move(undefined), this.#context.core.turn)
  }

  #attached(): Ioas {
    if (this.#ioas !== undefined) return this.#ioas
    throw new Refusal('ENOENT', `access ${this.id} has no address space`, { access: this.id })
  }

  #leave(from: Ioas | undefined): void {
    if (from === undefined) return
    if (this.spec.unmap === undefined) for (const pin of [...this.#pins.keys()]) this.unpin(pin)
    else this.spec.unmap(0n, U64_MAX)
    assert(this.#pins.size === 0, 'an access that leaves an address space has nothing pinned there')
    from.removeAccess(this)
  }

  #letGo(areas: readonly Area[], parts: readonly PinnedPart[]): void {
    for (const area of areas) {
      area.accesses--
      if (this.spec.unmap === undefined) area.locks--
    }
    for (const part of parts) part.release()
  }
}

/** Asks for everything in a range back, of whoever uses the address space. */
export function notifyUnmap(ioas: Ioas, start: bigint, last: bigint): void {
  for (const { spec } of [...ioas.accesses]) spec.unmap?.(start, last)
}

function lastOf(start: bigint, length: bigint): bigint {
  if (length === 0n) throw new Refusal('EINVAL', 'the length is 0')
  const last = start + length - 1n
  if (last <= U64_MAX) return last
  throw new Refusal('EOVERFLOW', 'the range ends beyond 2^64', { start: hex(start), length })
}

/** The area at an IOVA, for an access of that direction. @throws Refusal ENOENT, EINVAL, EPERM */
function accessible(ioas: Ioas, at: bigint, last: bigint, writes: boolean): Area {
  const area = ioas.areas.firstIn(at, at)
  if (area === undefined || area.busy !== undefined) {
    const what = area === undefined ? 'nothing is mapped' : `a mapping is being ${area.busy}`
    const reason = `${what} at ${hex(at)} of IOAS ${ioas.id}, and mappings must cover the whole range`
    throw new Refusal('ENOENT', reason, { ioas: ioas.id, hole: hex(at), last: hex(last) })
  }
  if (area.preventsAccess) {
    throw new Refusal('EINVAL', `the mapping ${hexRange(area)} is about to be unmapped`, { ioas: ioas.id })
  }
  if (writes ? area.protection.write : area.protection.read) {
    if (area.pages.source.kind !== 'dma-buf') return area
    throw new Refusal('EINVAL', `the mapping ${hexRange(area)} is of a DMA buffer, which devices alone reach`)
  }
  const wanted = writes ? 'WRITEABLE' : 'READABLE'
  throw new Refusal('EPERM', `the mapping ${hexRange(area)} was made without ${wanted}`, { ioas: ioas.id })
}

/**
 * Only whole pages of memory can be pinned. Every mapping is of whole pages where an access pins, so what is left to be
 * refused is a range that begins inside one. @throws Refusal EINVAL
 */
function checkPage(area: Area, at: bigint): void {
  if (pageOffset(area.pages, area.offset + (at - area.start)) === 0n) return
  throw new Refusal('EINVAL', `the memory at ${hex(at)} begins inside a page of 4096 bytes`, { iova: hex(at) })
}

/** Pins part of an area: what its domains have pinned, else what is there now. @throws Refusal EFAULT, EINVAL, ENOMEM */
function pinPart({ pin, pages, offset, start }: Area, from: bigint, to: bigint): PinnedPart {
  const length = to - from + 1n
  return pin?.again(from - start, length) ?? pages.pin(offset + (from - start), length)
}

/** The same without pinning it, for what is done at once. @throws Refusal EFAULT, EINVAL */
function findPart({ pin, pages, offset, start }: Area, from: bigint, to: bigint): readonly Segment[] {
  const length = to - from + 1n
  return pin === undefined ? pages.find(offset + (from - start), length) : partOf(pin.segments, from - start, length)
}

function copySegments(segments: readonly Segment[], bytes: Uint8Array, writes: boolean): void {
  let at = 0
  for (const { region, offset, length } of segments) {
    const part = bytes.subarray(at, at + Number(length))
    if (writes) region.memory.write(offset, part)
    else region.memory.read(offset, part)
    at += part.length
  }
}
