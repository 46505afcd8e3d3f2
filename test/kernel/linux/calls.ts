/** The ioctls of /dev/iommu: their forms, and what each does. */

import { No, no, PAGE, Struct, TOP } from './bytes.js'
import { allocHwpt, allocHwQueue, allocVdevice, allocVeventq, allocViommu, invalidate } from './domains.js'
import type { Device, Opened, TestDevice } from './objects.js'
import { collectDirty } from './selftest.js'
import { alignmentOf, copy, holesOf, isTaken, map, mapFile, setHuge, unmap } from './space.js'
import type { Unit } from './units.js'

/** What a call of /dev/iommu may reach. */
export interface Kernel {
  readonly opened: Opened
  readonly unit: Unit
  read(address: bigint, length: number): Uint8Array
  write(address: bigint, bytes: Uint8Array): void
  /** The self-test's device goes. */
  removeTestDevice(test: TestDevice): void
  /** An open file by its number. @throws No EBADF */
  file(fd: number): { readonly isMemfd: boolean }
}

/** Does a call; writes what comes out into the struct. `late`: fails, and yet what it wrote is seen. */
type Run = (kernel: Kernel, s: Struct) => { readonly late: No } | undefined

interface Call {
  readonly bytes: number
  readonly least: number
  readonly run: Run
}

const call = (bytes: number, run: Run, least = bytes): Call => ({ bytes, least, run })

export const CALLS: ReadonlyMap<number, Call> = new Map([
  [0x80, call(8, (kernel, s) => destroy(kernel, s.u32(4)))],
  [
    0x81,
    call(12, ({ opened }, s) => {
      no('EOPNOTSUPP', s.u32(4) !== 0)
      const id = opened.freeId()
      opened.add({ kind: 'ioas', id, areas: [], allowed: [], reserved: [], isHuge: true })
      s.put32(8, id)
    }),
  ],
  [0x82, call(24, allow)],
  [
    0x83,
    call(40, ({ opened }, s) => {
      const request = { flags: s.u32(4), length: s.u64(16), iova: s.u64(24) }
      s.put64(24, copy(opened, s.u32(8), s.u32(12), request, s.u64(32)))
    }),
  ],
  [0x84, call(32, ranges)],
  [
    0x85,
    call(40, ({ opened }, s) => {
      no('EOPNOTSUPP', s.u32(12) !== 0)
      const request = { flags: s.u32(4), length: s.u64(24), iova: s.u64(32) }
      s.put64(32, map(opened, s.u32(8), request, s.u64(16)))
    }),
  ],
  [
    0x86,
    call(24, ({ opened }, s) => {
      s.put64(16, unmap(opened, opened.get('ioas', s.u32(4)), s.u64(8), s.u64(16)))
    }),
  ],
  [0x87, call(24, option)],
  [
    0x88,
    call(12, ({ opened }, s) => {
      const op = s.u16(8)
      no('EOPNOTSUPP', s.u16(10) !== 0 || op > 2)
      if (op === 1) opened.vfioIoas = opened.get('ioas', s.u32(4))
      else if (op === 2) opened.vfioIoas = undefined
      else {
        no('ENODEV', opened.vfioIoas === undefined)
        s.put32(4, opened.vfioIoas!.id)
      }
    }),
  ],
  [
    0x89,
    call(
      48,
      ({ opened, unit, read }, s) => {
        s.put32(16, allocHwpt(opened, unit, s, read))
      },
      24,
    ),
  ],
  [0x8a, call(40, hwInfo, 32)],
  [
    0x8b,
    call(16, ({ opened }, s) => {
      no('EOPNOTSUPP', (s.u32(4) & ~1) !== 0)
      const hwpt = opened.get('paging', s.u32(8))
      no('EOPNOTSUPP', !hwpt.hasDirty)
      if (s.u32(4) === 1) hwpt.dirty.clear()
      hwpt.isTracking = s.u32(4) === 1
    }),
  ],
  [0x8c, call(48, dirtyBitmap)],
  [
    0x8d,
    call(32, ({ opened, unit, read }, s) => {
      const { done, refusal } = invalidate(opened, unit, s, read)
      s.put32(24, done)
      return refusal && { late: refusal }
    }),
  ],
  [
    0x8e,
    call(16, ({ opened }, s) => {
      no('EOPNOTSUPP', s.u32(4) !== 0)
      s.put32(8, opened.add({ kind: 'fault', id: opened.freeId() }).id).put32(12, CLOSED_FD)
    }),
  ],
  [
    0x8f,
    call(40, ({ opened, file }, s) => {
      const request = { flags: s.u32(4), length: s.u64(24), iova: s.u64(32) }
      s.put64(
        32,
        mapFile(opened, s.u32(8), request, s.u64(16), () => file(s.u32(12) | 0)),
      )
    }),
  ],
  [
    0x90,
    call(
      40,
      ({ opened, unit, read, write }, s) => {
        s.put32(20, allocViommu(opened, unit, s, { read, write }))
      },
      24,
    ),
  ],
  [0x91, call(24, ({ opened }, s) => void s.put32(12, allocVdevice(opened, s)))],
  [
    0x92,
    call(8, ({ opened }, s) => {
      no('EOPNOTSUPP', s.u32(4) !== 0)
      no(
        'EINVAL',
        opened.all('ioas').some(({ areas }) => areas.some(({ pages }) => pages.kind !== 'file')),
      )
    }),
  ],
  [
    0x93,
    call(
      32,
      ({ opened }, s) => {
        s.put32(20, allocVeventq(opened, s)).put32(24, CLOSED_FD)
      },
      28,
    ),
  ],
  [0x94, call(40, ({ opened, unit }, s) => void s.put32(20, allocHwQueue(opened, unit, s)))],
])

/** A descriptor that the recording program closed at once. */
const CLOSED_FD = 99

function destroy({ opened, removeTestDevice }: Kernel, id: number): undefined {
  const found = opened.things.get(id)
  if (found === undefined) throw new No('ENOENT')
  no('EBUSY', opened.isHeld(found))
  if (found.kind === 'selftest') removeTestDevice(found)
  else opened.remove(found)
  if (found.kind === 'hw-queue') for (const each of opened.all('access')) if (each.queue === found) opened.remove(each)
}

function allow({ opened, read }: Kernel, s: Struct): undefined {
  no('EOPNOTSUPP', s.u32(12) !== 0)
  const ioas = opened.get('ioas', s.u32(4))
  const spans: { start: bigint; last: bigint }[] = []
  for (let i = 0; i < s.u32(8); i++) {
    const entry = new Struct(read(s.u64(16) + BigInt(16 * i), 16))
    const span = { start: entry.u64(0), last: entry.u64(8) }
    no('EINVAL', span.start >= span.last)
    no('EINVAL', isTaken({ ...ioas, areas: [], allowed: spans }, span))
    spans.push(span)
  }
  no(
    'EADDRINUSE',
    spans.some((span) => isTaken({ ...ioas, areas: [], allowed: ioas.reserved }, span)),
  )
  ioas.allowed = spans
}

function ranges({ opened, write }: Kernel, s: Struct): { late: No } | undefined {
  no('EOPNOTSUPP', s.u32(12) !== 0)
  const ioas = opened.get('ioas', s.u32(4))
  const room = s.u32(8)
  const holes = holesOf(ioas.reserved, { start: 0n, last: TOP })
  for (const [i, { start, last }] of holes.slice(0, room).entries()) {
    write(s.u64(16) + BigInt(16 * i), Struct.of(16).put64(0, start).put64(8, last).bytes)
  }
  s.put32(8, holes.length).put64(24, alignmentOf(opened, ioas))
  return holes.length > room ? { late: new No('EMSGSIZE') } : undefined
}

function option({ opened }: Kernel, s: Struct): undefined {
  const [which, op, id, value] = [s.u32(4), s.u16(8), s.u32(12), s.u64(16)]
  no('EOPNOTSUPP', s.u16(10) !== 0 || which > 1)
  if (which === 0) {
    no('EOPNOTSUPP', id !== 0)
    if (op === 1) s.put64(16, opened.rlimitMode)
    else {
      no('EOPNOTSUPP', op !== 0)
      no('EBUSY', opened.things.size > 0 || opened.tombstones.size > 0)
      no('EINVAL', value > 1n)
      opened.rlimitMode = value
    }
    return
  }
  const ioas = opened.get('ioas', id)
  no('EOPNOTSUPP', op > 1)
  if (op === 1) s.put64(16, ioas.isHuge ? 1n : 0n)
  else setHuge(opened, ioas, value)
}

function hwInfo({ opened, unit, write, read }: Kernel, s: Struct): undefined {
  const [flags, length, address] = [s.u32(4), s.u32(12), s.u64(16)]
  no('EOPNOTSUPP', (flags & ~1) !== 0 || s.u8(29) !== 0 || s.u8(30) !== 0 || s.u8(31) !== 0)
  const device: Device = opened.get('device', s.u32(8))
  const type = flags === 1 ? s.u32(24) : 0
  no('EOPNOTSUPP', type !== 0 && type !== unit.infoType)
  const bytes = new Uint8Array(length)
  bytes.set(unit.info.subarray(0, length))
  if (length > 0) {
    read(address, length)
    write(address, bytes)
  }
  s.put32(12, unit.info.length).put32(24, unit.infoType)
  if (s.bytes.length > 28) s.bytes[28] = device.maxPasids > 1 ? Math.log2(device.maxPasids) : 0
  s.put64(32, BigInt(device.hasDirty ? unit.capabilities : unit.capabilities & ~1))
}

function dirtyBitmap(kernel: Kernel, s: Struct): undefined {
  const { opened } = kernel
  const [iova, length, page] = [s.u64(16), s.u64(24), s.u64(32)]
  no('EOPNOTSUPP', (s.u32(8) & ~1) !== 0 || s.u32(12) !== 0)
  const hwpt = opened.get('paging', s.u32(4))
  no('EOVERFLOW', length === 0n ? iova > 0n : iova + length - 1n > TOP)
  const alignment = alignmentOf(opened, hwpt.ioas)
  no('EINVAL', iova % alignment !== 0n || BigInt.asUintN(64, iova + length) % alignment !== 0n)
  no('EINVAL', page === 0n)
  no('EINVAL', ((iova | BigInt.asUintN(64, iova + length)) & (page - 1n)) !== 0n)
  no('EOPNOTSUPP', !hwpt.hasDirty)
  collectDirty(kernel, hwpt, s)
}

export const PAGE_BYTES = Number(PAGE)
