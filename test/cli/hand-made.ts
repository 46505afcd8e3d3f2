/** Recordings that are spelled by hand: what the kernel's documentation and other recordings say of units not recorded here. */

import { bytesOf, join, words } from '../uapi/door.js'

export { bytesOf, join, words }

/** One line of a recording. */
export type HandLine = Readonly<Record<string, unknown>>

const SCRATCH = 0x2000_0000

/** How a call ended. */
interface End {
  readonly errno?: number
  /** The struct afterwards. */
  readonly out?: Uint8Array
  /** Memory at the scratch page, before and after. */
  readonly before?: Uint8Array
  readonly after?: Uint8Array
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** A call that was recorded. */
export function call(name: string, fd: number, nr: number, input: Uint8Array, end: End = {}): HandLine {
  const { errno = 0, out, before, after } = end
  return {
    call: name,
    fd,
    nr: `0x${nr.toString(16)}`,
    in: hex(input),
    ret: errno === 0 ? 0 : -1,
    errno,
    ...(out === undefined ? {} : { out: hex(out) }),
    ...(before === undefined ? {} : { mem: `0x${SCRATCH.toString(16)}`, mem_in: hex(before) }),
    ...(after === undefined ? {} : { mem_out: hex(after) }),
  }
}

/** `open` and `close` of a VFIO file. */
export const file = (what: 'open' | 'close', fd: number): HandLine => ({ call: what, fd, ret: 0, errno: 0 })

/** A whole recording as text. */
export function recording(head: HandLine, lines: readonly HandLine[]): string {
  const rows = [
    { begin: true, seed: 0, count: lines.length, kernel: 'Linux version 7.2.13', ...head },
    ...lines.map((line, n) => ({ n, ...line })),
    { end: true, calls: lines.length },
  ]
  return `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`
}

/** What all of them begin with: IOAS 1, and the first device bound as 2. */
export const BOUND: readonly HandLine[] = [
  file('open', 101),
  file('open', 102),
  call('IOAS_ALLOC', 100, 0x3b81, words(12, 0, 0), { out: words(12, 0, 1) }),
  call('VFIO_DEVICE_BIND_IOMMUFD', 101, 0x3b76, words(16, 0, 100, 0, 0, 0), { out: words(16, 0, 100, 2, 0, 0) }),
]

/** GET_HW_INFO of device 2 behind a VT-d unit: type 1, no PASIDs, no ATS; erratum flag 1. */
export function vtdInfo(cap: bigint, ecap: bigint): HandLine {
  const input = join(words(40, 0, 2, 24), bytesOf([SCRATCH, 8]), words(0, 0), bytesOf([0, 8]))
  const out = join(words(40, 0, 2, 24), bytesOf([SCRATCH, 8]), words(1, 0), bytesOf([8, 8]))
  const after = join(words(1, 0), bytesOf([cap, 8], [ecap, 8]))
  return call('GET_HW_INFO', 100, 0x3b8a, input, { out, before: new Uint8Array(24).fill(0xee), after })
}

/** HWPT_ALLOC of device 2 on `ptId`. */
export function hwptAlloc(flags: number, ptId: number, end: { errno: number } | { id: number }): HandLine {
  const struct = (id: number): Uint8Array => words(48, flags, 2, ptId, id, 0, 0, 0, 0, 0, 0, 0)
  return 'errno' in end
    ? call('HWPT_ALLOC', 100, 0x3b89, struct(0), end)
    : call('HWPT_ALLOC', 100, 0x3b89, struct(0), { out: struct(end.id) })
}

/** ATTACH of the first device, to its RID or a PASID. */
export function attach(ptId: number, end: { errno: number } | { id: number }, pasid?: number): HandLine {
  const struct = (id: number): Uint8Array => (pasid === undefined ? words(12, 0, id, 0) : words(16, 1, id, pasid))
  const [name, nr] = ['VFIO_DEVICE_ATTACH_IOMMUFD_PT', 0x3b77] as const
  if ('errno' in end) return call(name, 101, nr, struct(ptId), end)
  return call(name, 101, nr, struct(ptId), end.id === ptId ? {} : { out: struct(end.id) })
}

/** IOAS_IOVA_RANGES of IOAS 1, with room for 4. */
export function iovaRanges(alignment: bigint, ...ranges: readonly (readonly [bigint, bigint])[]): HandLine {
  const struct = (count: number, aligned: bigint): Uint8Array =>
    join(words(32, 1, count, 0), bytesOf([SCRATCH, 8], [aligned, 8]))
  const before = new Uint8Array(64).fill(0xee)
  const after = before.slice()
  after.set(bytesOf(...ranges.flatMap(([first, last]) => [[first, 8] as const, [last, 8] as const])))
  const out = struct(ranges.length, alignment)
  return call('IOAS_IOVA_RANGES', 100, 0x3b84, struct(4, 0n), { out, before, after })
}

/** VIOMMU_ALLOC of type 1 (SMMUv3) for device 2 on a domain that is not there. */
export const viommuAlloc = (errno: number): HandLine =>
  call('VIOMMU_ALLOC', 100, 0x3b90, join(words(40, 0, 1, 2, 99, 0, 0, 0), bytesOf([0, 8])), { errno })
