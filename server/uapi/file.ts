/**
 * What an open file can do: the calls of a file descriptor. A file that lacks one answers as the kernel's would.
 * Files never block.
 */

import type { Call } from '../core/call.js'
import type { RefusalDetail } from '../core/detail.js'
import type { MapRequest } from '../core/map-space.js'
import type { IommuObject } from '../core/object.js'
import type { OpenFile } from '../core/open-files.js'
import type { PagesSource } from '../core/pages.js'
import { Refusal } from '../core/refusal.js'
import type { Region } from '../core/region.js'
import type { UserMemory } from './user-memory.js'

/** Bits of poll(2). */
export const POLL = { IN: 1, OUT: 4, ERR: 8, HUP: 16, NVAL: 32, RDNORM: 64, WRNORM: 256 } as const

/** An ioctl that was asked for. */
export interface IoctlArgs {
  /** All 32 bits. */
  readonly cmd: number
  /** The struct, or the number in 8 bytes. What the kernel would write to it is written here. */
  readonly arg: Uint8Array
  /** Where pointers of the struct lead. */
  readonly user: UserMemory
}

/** How an ioctl ended that the file did not throw a Refusal for. */
export interface IoctlAnswer {
  /** The return value; 0 for most. */
  readonly result: number
  /** It failed, and yet wrote its answer. */
  readonly refusal?: RefusalDetail
}

/** What ioctl(2) answers; a promise where hardware or other work is waited for. */
export type MaybeLater<T> = T | Promise<T>

/** An open file. */
export interface File extends OpenFile {
  /** What closing it ends: while another call changes that, closing is EBUSY. */
  readonly ends?: IommuObject
  /** @throws Refusal ENOTTY for commands that it does not have. Absent: it has none */
  ioctl?(call: Call, args: IoctlArgs): MaybeLater<IoctlAnswer>
  /**
   * At most `count` bytes, as many as are there. Absent: EINVAL.
   *
   * @param most what a reply can carry, where `count` is more
   * @throws Refusal
   */
  read?(call: Call, count: number, most: number): MaybeLater<Uint8Array>
  /** How many bytes it took. Absent: EINVAL. @throws Refusal, where it took none */
  write?(call: Call, data: Uint8Array): MaybeLater<number>
  /** Bits of POLL that hold now. Absent: always ready. Who makes it ready wakes `Context.waiters`. */
  poll?(): number
  /** A mapping of it. Absent: ENODEV. @throws Refusal */
  map?(call: Call, request: MapRequest): Region
  /** Its memory, for IOMMU_IOAS_MAP_FILE. Absent: it has none, which shows when pages are pinned. @throws Refusal */
  pages?(call: Call, offset: bigint, length: bigint): PagesSource
}

/** The file of a handle other than 0. @throws Refusal EBADF */
export function fileAt(call: Call, handle: number): File {
  // Whatever a context has open was opened through this door.
  const file = call.context.files.find(handle) as File | undefined
  if (file !== undefined) return file
  throw new Refusal('EBADF', `handle ${handle} is not open; OpenHandle opens one`, { handle })
}

/** What IOMMU_IOAS_MAP_FILE maps of a handle. @throws Refusal EBADF */
export function sourceAt(call: Call, handle: number, offset: bigint, length: bigint): PagesSource {
  const file = handle === 0 ? undefined : fileAt(call, handle)
  return file?.pages?.(call, offset, length) ?? { kind: 'special', name: file?.name ?? IOMMU_PATH, offset }
}

/** The file of a context itself, its handle 0. */
export const IOMMU_PATH = '/dev/iommu'

/** What comes of a value that may come later. */
export const onceDone = <T, U>(value: MaybeLater<T>, next: (value: T) => U): MaybeLater<U> =>
  value instanceof Promise ? value.then(next) : next(value)
