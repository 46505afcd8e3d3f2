/** The ioctls of /dev/iommu as the kernel's self-test calls them: each answers an errno, and what it put out. */

import { type Part, sized, struct, u32, u64 } from './bytes.js'
import type { Answer, Memory, Process } from './process.js'

const CMD = (nr: number): number => 0x3b00 | nr

/** Flags of maps. */
export const MAP = { FIXED: 1, WRITEABLE: 2, READABLE: 4 } as const
const RW = MAP.WRITEABLE | MAP.READABLE

/** Flags of HWPT_ALLOC. */
export const HWPT = { NEST_PARENT: 1, DIRTY: 2, FAULT: 4, PASID: 8 } as const

/** An errno with the id that was made. */
export interface Made {
  readonly errno: number
  readonly id: number
  readonly reason: string
}

/** An errno with an IOVA. */
export interface Mapped {
  readonly errno: number
  readonly iova: bigint
  readonly reason: string
}

/** Where the caller keeps what a pointer of an ioctl names. */
const SCRATCH = 0x6000_0000_0000n

/** The caller's own memory behind a pointer, at an address where nothing else is. */
export const behind = (data: Uint8Array, writable = false): Memory => ({ address: SCRATCH, data, writable })

/** What is there afterwards: what was before, and over it what was written. */
export function writtenTo({ written }: Answer, before: Uint8Array): Uint8Array {
  const after = before.slice()
  for (const { address, data } of written) {
    const at = address - SCRATCH
    if (at >= 0n && at < BigInt(after.length)) after.set(data, Number(at))
  }
  return after
}

/** Whatever makes ioctls. */
export type Ioctls = Pick<Process, 'ioctl'>

/** Calls on one /dev/iommu. */
export class Iommufd<P extends Ioctls = Process> {
  readonly process: P
  readonly fd: number

  constructor(process: P, fd = 0) {
    this.process = process
    this.fd = fd
  }

  /** Any ioctl, whose struct begins with its own size. */
  call(nr: number, parts: readonly Part[], ...memory: readonly Memory[]): Promise<Answer> {
    return this.process.ioctl(this.fd, CMD(nr), sized(...parts), ...memory)
  }

  async destroy(id: number): Promise<number> {
    return (await this.call(0x80, [[4, id]])).errno
  }

  async ioasAlloc(flags = 0): Promise<Made> {
    const answer = await this.call(0x81, [
      [4, flags],
      [4, 0],
    ])
    return made(answer, 8)
  }

  /** IOMMU_IOAS_ALLOW_IOVAS. */
  async allowIovas(ioas: number, ranges: readonly (readonly [start: bigint, last: bigint])[]): Promise<number> {
    const array = struct(
      ...ranges.flatMap(([start, last]): Part[] => [
        [8, start],
        [8, last],
      ]),
    )
    const parts: Part[] = [
      [4, ioas],
      [4, ranges.length],
      [4, 0],
      [8, SCRATCH],
    ]
    return (await this.call(0x82, parts, behind(array))).errno
  }

  /** IOMMU_IOAS_COPY; an IOVA makes it fixed. */
  async copy(dst: number, src: number, srcIova: bigint, length: bigint, dstIova?: bigint, flags = RW): Promise<Mapped> {
    const answer = await this.call(0x83, [
      [4, flags | (dstIova === undefined ? 0 : MAP.FIXED)],
      [4, dst],
      [4, src],
      [8, length],
      [8, dstIova ?? 0n],
      [8, srcIova],
    ])
    return { errno: answer.errno, iova: u64(answer.arg, 24), reason: answer.reason }
  }

  /** IOMMU_IOAS_IOVA_RANGES with room for so many. */
  async iovaRanges(
    ioas: number,
    room: number,
  ): Promise<{ errno: number; total: number; alignment: bigint; ranges: [bigint, bigint][] }> {
    const array = new Uint8Array(16 * room)
    const parts: Part[] = [
      [4, ioas],
      [4, room],
      [4, 0],
      [8, room === 0 ? 0n : SCRATCH],
      [8, 0],
    ]
    const answer = await this.call(0x84, parts, ...(room === 0 ? [] : [behind(array, true)]))
    const total = u32(answer.arg, 8)
    const data = writtenTo(answer, array)
    const ranges = Array.from({ length: Math.min(total, room) }, (_, at): [bigint, bigint] => [
      u64(data, 16 * at),
      u64(data, 16 * at + 8),
    ])
    return { errno: answer.errno, total, alignment: u64(answer.arg, 24), ranges }
  }

  /** IOMMU_IOAS_MAP; an IOVA makes it fixed. */
  async map(ioas: number, va: bigint, length: bigint, iova?: bigint, flags = RW): Promise<Mapped> {
    const answer = await this.call(0x85, [
      [4, flags | (iova === undefined ? 0 : MAP.FIXED)],
      [4, ioas],
      [4, 0],
      [8, va],
      [8, length],
      [8, iova ?? 0n],
    ])
    return { errno: answer.errno, iova: u64(answer.arg, 32), reason: answer.reason }
  }

  /** IOMMU_IOAS_MAP_FILE; an IOVA makes it fixed. */
  async mapFile(ioas: number, fd: number, start: bigint, length: bigint, iova?: bigint, flags = RW): Promise<Mapped> {
    const answer = await this.call(0x8f, [
      [4, flags | (iova === undefined ? 0 : MAP.FIXED)],
      [4, ioas],
      [4, fd],
      [8, start],
      [8, length],
      [8, iova ?? 0n],
    ])
    return { errno: answer.errno, iova: u64(answer.arg, 32), reason: answer.reason }
  }

  /** IOMMU_IOAS_UNMAP. */
  async unmap(ioas: number, iova: bigint, length: bigint): Promise<{ errno: number; length: bigint }> {
    const answer = await this.call(0x86, [
      [4, ioas],
      [8, iova],
      [8, length],
    ])
    return { errno: answer.errno, length: u64(answer.arg, 16) }
  }

  /** IOMMU_OPTION: RLIMIT_MODE 0, HUGE_PAGES 1; a value sets. */
  async option(option: number, object: number, value?: bigint): Promise<{ errno: number; value: bigint }> {
    const answer = await this.call(0x87, [
      [4, option],
      [2, value === undefined ? 1 : 0],
      [2, 0],
      [4, object],
      [8, value ?? 0n],
    ])
    return { errno: answer.errno, value: u64(answer.arg, 16) }
  }

  /** IOMMU_VFIO_IOAS: GET 0, SET 1, CLEAR 2. */
  async vfioIoas(op: number, ioas = 0): Promise<Made> {
    const answer = await this.call(0x88, [
      [4, ioas],
      [2, op],
      [2, 0],
    ])
    return made(answer, 4)
  }

  /** IOMMU_HWPT_ALLOC. */
  async hwptAlloc(device: number, pt: number, flags = 0, how: HwptData = {}): Promise<Made> {
    const { type = 0, data, length, fault = 0 } = how
    const parts: Part[] = [
      [4, flags],
      [4, device],
      [4, pt],
      [4, 0],
      [4, 0],
      [4, type],
      [4, length ?? data?.length ?? 0],
      [8, data === undefined ? 0n : SCRATCH],
      [4, fault],
      [4, 0],
    ]
    return made(await this.call(0x89, parts, ...(data === undefined ? [] : [behind(data)])), 16)
  }

  /** IOMMU_HWPT_INVALIDATE. Answers how many were done. */
  async invalidate(
    id: number,
    type: number,
    entryLength: number,
    entries: readonly Uint8Array[],
    count = entries.length,
  ): Promise<{ errno: number; done: number }> {
    const array = new Uint8Array(entries.reduce((sum, entry) => sum + entry.length, 0))
    let at = 0
    for (const entry of entries) {
      array.set(entry, at)
      at += entry.length
    }
    const parts: Part[] = [
      [4, id],
      [8, entries.length === 0 ? 0n : SCRATCH],
      [4, type],
      [4, entryLength],
      [4, count],
      [4, 0],
    ]
    const answer = await this.call(0x8d, parts, ...(entries.length === 0 ? [] : [behind(array)]))
    return { errno: answer.errno, done: u32(answer.arg, 24) }
  }

  /** IOMMU_HWPT_SET_DIRTY_TRACKING. */
  async setDirtyTracking(hwpt: number, isOn: boolean): Promise<number> {
    const answer = await this.call(0x8b, [
      [4, isOn ? 1 : 0],
      [4, hwpt],
      [4, 0],
    ])
    return answer.errno
  }

  /** IOMMU_HWPT_GET_DIRTY_BITMAP, into a zeroed bitmap that begins `skew` bytes into the caller's memory. */
  async dirtyBitmap(
    hwpt: number,
    range: { iova: bigint; length: bigint; pageSize: bigint; flags?: number; skew?: number },
  ): Promise<{ errno: number; bitmap: Uint8Array }> {
    const { iova, length, pageSize, flags = 0, skew = 0 } = range
    const bytes = Number((length / pageSize + 7n) / 8n)
    const before = new Uint8Array(skew + bytes)
    const parts: Part[] = [
      [4, hwpt],
      [4, flags],
      [4, 0],
      [8, iova],
      [8, length],
      [8, pageSize],
      [8, SCRATCH + BigInt(skew)],
    ]
    const answer = await this.call(0x8c, parts, behind(before, true))
    return { errno: answer.errno, bitmap: writtenTo(answer, before).slice(skew) }
  }

  /** IOMMU_GET_HW_INFO into a buffer that is filled with ones before. */
  async hwInfo(
    device: number,
    how: { length?: number; type?: number } = {},
  ): Promise<{ errno: number; data: Uint8Array; trueLength: number; type: number; pasidLg2: number; caps: bigint }> {
    const { length = 0, type } = how
    const before = new Uint8Array(length).fill(0xff)
    const parts: Part[] = [
      [4, type === undefined ? 0 : 1],
      [4, device],
      [4, length],
      [8, length === 0 ? 0n : SCRATCH],
      [4, type ?? 0],
      [1, 0],
      [3, 0],
      [8, 0],
    ]
    const answer = await this.call(0x8a, parts, ...(length === 0 ? [] : [behind(before, true)]))
    const { errno, arg } = answer
    const pasidLg2 = arg[28]
    const data = writtenTo(answer, before)
    return { errno, data, trueLength: u32(arg, 12), type: u32(arg, 24), pasidLg2, caps: u64(arg, 32) }
  }

  /** IOMMU_FAULT_QUEUE_ALLOC: id and descriptor. */
  async faultQueue(flags = 0): Promise<Made & { fd: number }> {
    const answer = await this.call(0x8e, [
      [4, flags],
      [4, 0],
      [4, 0],
    ])
    return { ...made(answer, 8), fd: u32(answer.arg, 12) }
  }

  /** IOMMU_VIOMMU_ALLOC. */
  async viommuAlloc(
    device: number,
    hwpt: number,
    type: number,
    how: { flags?: number; data?: Uint8Array } = {},
  ): Promise<Made & { data: Uint8Array }> {
    const { flags = 0, data } = how
    const parts: Part[] = [
      [4, flags],
      [4, type],
      [4, device],
      [4, hwpt],
      [4, 0],
      [4, data?.length ?? 0],
      [4, 0],
      [8, data === undefined ? 0n : SCRATCH],
    ]
    const answer = await this.call(0x90, parts, ...(data === undefined ? [] : [behind(data, true)]))
    return { ...made(answer, 20), data: writtenTo(answer, data ?? new Uint8Array(0)) }
  }

  /** IOMMU_VDEVICE_ALLOC. */
  async vdeviceAlloc(viommu: number, device: number, virtId: bigint): Promise<Made> {
    const answer = await this.call(0x91, [
      [4, viommu],
      [4, device],
      [4, 0],
      [8, virtId],
    ])
    return made(answer, 12)
  }

  /** IOMMU_IOAS_CHANGE_PROCESS. */
  async changeProcess(): Promise<number> {
    return (await this.call(0x92, [[4, 0]])).errno
  }

  /** IOMMU_VEVENTQ_ALLOC: id and descriptor. */
  async veventqAlloc(viommu: number, type: number, depth = 2): Promise<Made & { fd: number }> {
    const answer = await this.call(0x93, [
      [4, 0],
      [4, viommu],
      [4, type],
      [4, depth],
      [4, 0],
      [4, 0],
      [4, 0],
    ])
    return { ...made(answer, 20), fd: u32(answer.arg, 24) }
  }

  /** IOMMU_HW_QUEUE_ALLOC. */
  async hwQueueAlloc(viommu: number, type: number, index: number, iova: bigint, length: bigint): Promise<Made> {
    const answer = await this.call(0x94, [
      [4, 0],
      [4, viommu],
      [4, type],
      [4, index],
      [4, 0],
      [8, iova],
      [8, length],
    ])
    return made(answer, 20)
  }
}

/** Data of a HWPT_ALLOC. */
export interface HwptData {
  readonly type?: number
  readonly data?: Uint8Array
  /** What is said of its length, if not the truth. */
  readonly length?: number
  readonly fault?: number
}

const made = ({ errno, arg, reason }: Answer, at: number): Made => ({ errno, id: u32(arg, at), reason })
