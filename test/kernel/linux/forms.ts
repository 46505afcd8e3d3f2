/** How the recording program filled each struct. */

import type { Rng } from '../../simulation/rng.js'
import { PAGE, Struct, TOP } from './bytes.js'
import {
  buffer,
  type Form,
  form,
  idOf,
  iovaOf,
  lengthOf,
  mapFlags,
  NOWHERE,
  pointer,
  rare,
  reservedOf,
  SCRATCH,
  vaOf,
} from './choices.js'
import { TEST_FORMS } from './test-forms.js'

const SPACES: readonly Form[] = [
  form('DESTROY', 0x80, 8, 8, (desk) => {
    const id = desk.rng.chance(0.3)
      ? idOf(desk, 'paging', 'nested', 'viommu', 'vdevice', 'veventq', 'fault', 'ioas')
      : idOf(desk, 'paging', 'nested', 'fault', 'veventq', 'hw-queue')
    const found = desk.linux.opened.things.get(id)
    // A kernel that destroys a device which had PASIDs attached breaks.
    if (found?.kind === 'selftest' && found.device.hadPasids) return undefined
    return { s: Struct.of(8).put32(4, id) }
  }),
  form('IOAS_ALLOC', 0x81, 12, 1, ({ rng }) => ({
    s: Struct.of(12).put32(
      4,
      rare(rng, 0, () => 3),
    ),
  })),
  form('IOAS_ALLOW_IOVAS', 0x82, 24, 2, (desk) => {
    const { rng } = desk
    const count = rng.pick([0, 1, 1, 1, 1, 2, 3, 4])
    const words: bigint[] = []
    for (let i = 0; i < count; i++) {
      const start = iovaOf(desk)
      words.push(start, rng.chance(0.05) ? start : BigInt.asUintN(64, start + lengthOf(desk) * 16n - 1n))
    }
    const s = Struct.of(24).put32(4, idOf(desk, 'ioas')).put32(8, count).put32(12, reservedOf(rng))
    return { s: s.put64(16, pointer(rng)), memory: buffer(64, ...words) }
  }),
  form('IOAS_COPY', 0x83, 40, 4, (desk) => {
    const s = Struct.of(40).put32(4, mapFlags(desk.rng)).put32(8, idOf(desk, 'ioas')).put32(12, idOf(desk, 'ioas'))
    return { s: s.put64(16, lengthOf(desk)).put64(24, iovaOf(desk)).put64(32, iovaOf(desk)) }
  }),
  form('IOAS_IOVA_RANGES', 0x84, 32, 4, (desk) => {
    const { rng } = desk
    const s = Struct.of(32)
      .put32(4, idOf(desk, 'ioas'))
      .put32(8, rng.pick([0, 1, 2, 8, 16]))
      .put32(12, reservedOf(rng))
    return { s: s.put64(16, pointer(rng)), memory: new Uint8Array(256).fill(0xee) }
  }),
  form('IOAS_MAP', 0x85, 40, 16, (desk) => {
    const { rng } = desk
    const s = Struct.of(40).put32(4, mapFlags(rng)).put32(8, idOf(desk, 'ioas')).put32(12, reservedOf(rng))
    return { s: s.put64(16, vaOf(rng)).put64(24, lengthOf(desk)).put64(32, iovaOf(desk)) }
  }),
  form('IOAS_UNMAP', 0x86, 24, 10, (desk) => {
    const s = Struct.of(24).put32(4, idOf(desk, 'ioas'))
    if (desk.rng.chance(0.06)) return { s: s.put64(8, 0n).put64(16, TOP) }
    return { s: s.put64(8, iovaOf(desk)).put64(16, lengthOf(desk)) }
  }),
  form('OPTION', 0x87, 24, 3, (desk) => {
    const { rng } = desk
    const which = rare(rng, rng.int(2), () => rng.int(5))
    const id = which === 0 ? rare(rng, 0, () => idOf(desk, 'ioas'), 0.1) : idOf(desk, 'ioas')
    const s = Struct.of(24)
      .put32(4, which)
      .put16(
        8,
        rare(rng, rng.int(2), () => rng.int(4)),
      )
      .put16(10, reservedOf(rng))
    return { s: s.put32(12, id).put64(16, rng.chance(0.1) ? rng.bits(64) : rng.bits(1)) }
  }),
  form('VFIO_IOAS', 0x88, 12, 2, (desk) => {
    const { rng } = desk
    const s = Struct.of(12).put32(4, rng.chance(0.6) ? 0 : idOf(desk, 'ioas'))
    return {
      s: s
        .put16(
          8,
          rare(rng, rng.int(3), () => rng.int(6)),
        )
        .put16(10, reservedOf(rng)),
    }
  }),
  form('IOAS_MAP_FILE', 0x8f, 40, 3, (desk) => {
    const { rng } = desk
    const fd = rare(rng, 110, () => rng.pick([0xffffffff, 0, 100, 101, 5000]), 0.06)
    const s = Struct.of(40).put32(4, mapFlags(rng)).put32(8, idOf(desk, 'ioas')).put32(12, fd)
    const start = rng.chance(0.06) ? rng.bits(64) : PAGE * BigInt(rng.int(0x240))
    return { s: s.put64(16, start).put64(24, lengthOf(desk)).put64(32, iovaOf(desk)) }
  }),
  form('IOAS_CHANGE_PROCESS', 0x92, 8, 1, ({ rng }) => ({ s: Struct.of(8).put32(4, reservedOf(rng)) })),
]

const DEPTHS = (rng: Rng): number => rare(rng, rng.between(1, 8), () => rng.pick([0, rng.u32() | 0x10_0000]), 0.2)

const DOMAINS: readonly Form[] = [
  form('HWPT_ALLOC', 0x89, 48, 11, (desk) => {
    const { rng, linux } = desk
    const isNested = rng.chance(0.5)
    const flags = rare(rng, rng.pick(isNested ? [0, 0, 0, 4, 8, 1] : [0, 0, 0, 1, 1, 2, 3, 4, 8, 8]), () => rng.int(64))
    const s = Struct.of(48).put32(4, flags).put32(8, idOf(desk, 'device'))
    s.put32(12, isNested ? idOf(desk, 'paging', 'viommu', 'viommu') : idOf(desk, 'ioas'))
    s.put32(20, reservedOf(rng)).put32(40, rng.chance(0.3) || (flags & 4) !== 0 ? idOf(desk, 'fault') : 0)
    const { nestedType } = linux.unit
    const usual = new Map([
      [1, 24],
      [2, 16],
      [0xdead, 8],
    ]).get(nestedType)!
    if (isNested)
      s.put32(
        24,
        rare(rng, nestedType, () => rng.int(6)),
      ).put32(
        28,
        rare(rng, usual, () => rng.int(40)),
      )
    else if (rng.chance(0.08)) s.put32(24, rng.int(6)).put32(28, rng.int(40))
    s.put64(32, isNested ? pointer(rng) : 0n)
    const data = nestedType === 2 ? steOf(rng) : [rng.chance(0.3) ? 0xbad_beefn : rng.bits(8), 0n, 0x30n]
    return { s, memory: buffer(64, ...data) }
  }),
  form('GET_HW_INFO', 0x8a, 40, 3, (desk) => {
    const { rng } = desk
    const s = Struct.of(40)
      .put32(
        4,
        rare(rng, 0, () => rng.int(4)),
      )
      .put32(8, idOf(desk, 'device'))
    s.put32(12, rng.pick([0, 8, 12, 24, 40, 48, 64, 100])).put64(16, pointer(rng))
    s.put32(
      24,
      rare(rng, 0, () => rng.pick([1, 2, 3, 0xfeedbeef]), 0.1),
    ).put32(
      28,
      rare(rng, 0, () => 0x100),
    )
    return { s, memory: new Uint8Array(100).fill(0xee) }
  }),
  form('HWPT_SET_DIRTY_TRACKING', 0x8b, 16, 2, (desk) => {
    const s = Struct.of(16).put32(
      4,
      rare(desk.rng, desk.rng.int(2), () => desk.rng.int(8)),
    )
    return { s: s.put32(8, idOf(desk, 'paging')).put32(12, reservedOf(desk.rng)) }
  }),
  form('HWPT_GET_DIRTY_BITMAP', 0x8c, 48, 2, (desk) => {
    const { rng } = desk
    const s = Struct.of(48)
      .put32(4, idOf(desk, 'paging'))
      .put32(
        8,
        rare(rng, rng.int(2), () => rng.int(8)),
      )
    s.put32(12, reservedOf(rng)).put64(16, iovaOf(desk)).put64(24, lengthOf(desk))
    s.put64(32, rng.chance(0.8) ? PAGE : rng.pick([0n, 0x800n, 0x20_0000n, 5000n, 0x3000n, rng.bits(64)]))
    return { s: s.put64(40, rng.chance(0.1) ? NOWHERE : SCRATCH), memory: new Uint8Array(64) }
  }),
  form('HWPT_INVALIDATE', 0x8d, 32, 8, (desk) => {
    const { rng, linux } = desk
    const { kind, invalidateType } = linux.unit
    const id = idOf(desk, 'nested', 'viommu', 'viommu')
    const ofViommu = linux.opened.things.get(id)?.kind === 'viommu'
    const usual = kind === 'mock' ? (ofViommu ? 12 : 8) : kind === 'vtd' ? 24 : 16
    const count = rng.int(4)
    const length = rare(rng, usual, () => rng.pick([0, 24, rng.int(32)]), 0.15)
    const s = Struct.of(32)
      .put32(4, id)
      .put64(8, pointer(rng))
      .put32(
        16,
        rare(rng, invalidateType, () => rng.int(4)),
      )
    const entries: bigint[] = []
    for (let i = 0; i < 3; i++) entries.push(...(kind === 'mock' ? mockEntry(rng, ofViommu) : commandOf(rng)))
    const memory = kind === 'mock' && ofViommu ? packed(entries) : buffer(96, ...entries)
    return { s: s.put32(20, length).put32(24, count).put32(28, reservedOf(rng)), memory }
  }),
  form('FAULT_QUEUE_ALLOC', 0x8e, 16, 1, ({ rng }) => ({
    s: Struct.of(16).put32(
      4,
      rare(rng, 0, () => rng.int(4)),
    ),
  })),
  form('VIOMMU_ALLOC', 0x90, 40, 4, (desk) => {
    const { rng, linux } = desk
    const type = rare(rng, linux.unit.viommuType ?? 1, () => rng.int(4), 0.1)
    const s = Struct.of(40)
      .put32(
        4,
        rare(rng, 0, () => 1),
      )
      .put32(8, type)
      .put32(12, idOf(desk, 'device'))
    s.put32(16, idOf(desk, 'paging'))
    if (linux.unit.kind === 'mock' && rng.chance(0.5)) s.put32(24, 24).put64(32, SCRATCH)
    return { s: s.put32(28, reservedOf(rng)), memory: buffer(24, rng.bits(16)) }
  }),
  form('VDEVICE_ALLOC', 0x91, 24, 4, (desk) => {
    const s = Struct.of(24).put32(4, idOf(desk, 'viommu')).put32(8, idOf(desk, 'device'))
    return { s: s.put64(16, desk.rng.chance(0.1) ? desk.rng.bits(64) : BigInt(desk.rng.int(6))) }
  }),
  form('VEVENTQ_ALLOC', 0x93, 32, 2, (desk) => {
    const { rng } = desk
    const s = Struct.of(32)
      .put32(
        4,
        rare(rng, 0, () => 1),
      )
      .put32(8, idOf(desk, 'viommu'))
      .put32(12, rng.int(4))
    return { s: s.put32(16, DEPTHS(rng)).put32(28, reservedOf(rng)) }
  }),
  form('HW_QUEUE_ALLOC', 0x94, 40, 1, (desk) => {
    const { rng, linux } = desk
    const type = linux.unit.kind === 'mock' ? rare(rng, 0xdeadbeef, () => rng.int(3), 0.1) : rng.int(3)
    const s = Struct.of(40)
      .put32(
        4,
        rare(rng, 0, () => 1),
      )
      .put32(8, idOf(desk, 'viommu'))
      .put32(12, type)
    const length = rare(rng, 4096, () => rng.int(4096), 0.3)
    return {
      s: s
        .put32(
          16,
          rare(rng, 0, () => rng.int(4)),
        )
        .put64(24, iovaOf(desk))
        .put64(32, BigInt(length)),
    }
  }),
]

/** Two words of a guest's stream-table entry, with a stray bit now and then. */
function steOf(rng: Rng): bigint[] {
  if (rng.chance(0.1)) return [0n, rng.bits(8)]
  const config = rng.chance(0.8) ? rng.pick([0n, 4n, 5n, 5n]) : rng.bits(3)
  let low = rng.bit(0.9) | (config << 1n) | (rng.bits(2) << 4n) | (rng.bits(20) << 6n)
  if (rng.chance(0.3)) low |= rng.bits(5) << 59n
  let high = rng.bits(8) | (rng.bit(0.4) << 27n)
  if (rng.chance(0.1)) high |= rng.bits(2) << 28n
  if (rng.chance(0.04)) high |= 1n << BigInt(rng.int(64))
  if (rng.chance(0.04)) low |= 1n << BigInt(rng.int(64))
  return [low, high]
}

/** An SMMUv3 command without bits at which hardware would stop its queue, or a VT-d entry's first words. */
function commandOf(rng: Rng): bigint[] {
  const opcode = rng.chance(0.9) ? rng.pick([0x10n, 0x11n, 0x12n, 0x13n, 0x30n, 0x05n, 0x06n, 0x40n]) : rng.bits(8)
  const isBySid = opcode === 5n || opcode === 6n || opcode === 0x40n
  if (isBySid) return [opcode | (rng.bits(3) << 32n), rng.bit()]
  return [opcode | (rng.bits(4) << 48n), opcode === 0x12n || opcode === 0x13n ? rng.bits(20) << 12n : 0n]
}

function mockEntry(rng: Rng, ofViommu: boolean): bigint[] {
  const flags = rng.chance(0.9) ? rng.bits(1) : rng.bits(3)
  if (!ofViommu) return [flags | (BigInt(rng.int(rng.chance(0.1) ? 8 : 4)) << 32n)]
  return [flags | (BigInt(rng.int(6)) << 32n), BigInt(rng.int(rng.chance(0.1) ? 8 : 4))]
}

/** Entries of 12 bytes, one after the other. */
function packed(words: readonly bigint[]): Uint8Array {
  const s = Struct.of(96)
  for (let i = 0; i < words.length; i += 2) s.put64(i * 6, words[i]).put32(i * 6 + 8, Number(words[i + 1]))
  return s.bytes
}

const fileOf = (rng: Rng): number => rng.pick([101, 102])

const vfio = (name: string, nr: number, bytes: number, weight: number, fill: Form['fill']): Form => ({
  ...form(name, nr, bytes, weight, fill),
  on: 'vfio',
})

const FILES: readonly Form[] = [
  vfio('VFIO_DEVICE_BIND_IOMMUFD', 0x76, 24, 5, ({ rng }) => {
    const iommu = rare(rng, 100, () => rng.pick([0xffffffff, 0, 101, 103, 103, 5000]), 0.1)
    const s = Struct.of(24)
      .put32(
        4,
        rare(rng, 0, () => rng.int(4)),
      )
      .put32(8, iommu)
    return { s, size: rare(rng, 16, () => rng.pick([8, 12, 24, 32])), fd: fileOf(rng) }
  }),
  vfio('VFIO_DEVICE_ATTACH_IOMMUFD_PT', 0x77, 16, 11, (desk) => {
    const { rng } = desk
    const flags = rare(rng, rng.int(6) === 0 ? 1 : 0, () => rng.int(6))
    const s = Struct.of(16)
      .put32(4, flags)
      .put32(8, idOf(desk, 'paging', 'paging', 'nested', 'ioas'))
    if (flags === 1)
      s.put32(
        12,
        rare(rng, rng.int(20), () => rng.u32()),
      )
    return { s, size: rare(rng, flags === 1 ? 16 : 12, () => rng.pick([0, 8, 11, 12, 16, 20]), 0.08), fd: fileOf(rng) }
  }),
  vfio('VFIO_DEVICE_DETACH_IOMMUFD_PT', 0x78, 12, 4, ({ rng }) => {
    const flags = rare(rng, rng.int(6) === 0 ? 1 : 0, () => rng.int(6))
    const s = Struct.of(12)
      .put32(4, flags)
      .put32(8, flags === 1 ? rng.int(20) : 0)
    return { s, size: rare(rng, flags === 1 ? 12 : 8, () => rng.pick([0, 7, 8, 12, 16]), 0.1), fd: fileOf(rng) }
  }),
]

/** All calls. */
export const FORMS: readonly Form[] = [...SPACES, ...DOMAINS, ...FILES, ...TEST_FORMS]
