/** A random SMMUv3 guest: its streams, context descriptors and tables, mostly valid. */

import { ArmTables, type Slot } from './arm-tables.js'
import { GuestSpace, type Ram, type Space } from './ram.js'
import type { Rng } from './rng.js'

/** One context of a stream. */
export interface GuestContext {
  readonly ssid: number
  readonly asid: number
  /** Address of its CD in the stream's space. */
  readonly at: bigint
  readonly halves: readonly (ArmTables | undefined)[]
}

/** One stream with all that hangs on it. */
export interface GuestStream {
  readonly sid: number
  readonly vmid: number
  readonly ste: bigint
  readonly space: Space
  readonly contexts: readonly GuestContext[]
  readonly stage2: ArmTables | undefined
  /** L1CDs. */
  readonly leaves: readonly bigint[]
  /** IPAs below this are data in stage 2. */
  readonly cdMax: number
}

const GRANULES = [12, 14, 16]
const TG0: Readonly<Record<number, bigint>> = { 12: 0n, 14: 2n, 16: 1n }
const TG1: Readonly<Record<number, bigint>> = { 12: 2n, 14: 1n, 16: 3n }

const startOf = (granule: number, inputBits: number): number => 4 - Math.ceil((inputBits - granule) / (granule - 3))

/** Builds one stream at its STE. */
export function buildStream(rng: Rng, ram: Ram, sid: number, vmid: number, ste: bigint): GuestStream {
  const config = rng.pick([5n, 5n, 6n, 7n, 7n, 7n, 4n])
  const hasStage1 = (config & 1n) !== 0n
  const second = (config & 2n) !== 0n ? buildStage2(rng, ram) : undefined
  let space: Space = ram
  if (second !== undefined) {
    const { tables } = second
    const { granule } = tables.shape
    space = new GuestSpace(
      ram,
      1n << BigInt(Math.min(tables.shape.inputBits - 1, 33)),
      1n << BigInt(granule),
      (ipa, pa) => {
        const xn = BigInt(rng.int(4)) << 53n
        tables.map(rng, ipa, pa, 3, xn | 0x7c0n | (0xfn << 2n))
      },
    )
  }
  const cdMax = hasStage1 ? rng.pick([0, 1, 3, 7, 12]) : 0
  const format = rng.pick([0n, 1n, 2n])
  const dss = rng.pick([0n, 1n, 2n, 2n, 3n])
  const cds = hasStage1
    ? buildContexts(rng, space, cdMax, format, second?.tables, sid)
    : { pointer: 0n, contexts: [], leaves: [] }
  const words = [
    1n | (config << 1n) | (format << 4n) | cds.pointer | (BigInt(cdMax) << 59n),
    dss |
      (0xdn << 2n) |
      (rng.bit(0.3) << 25n) |
      (1n << 44n) |
      (rng.pick([0n, 0n, 1n, 2n, 3n]) << 48n) |
      (rng.pick([0n, 0n, 1n, 2n, 3n]) << 50n),
    BigInt(vmid) | (second?.word2 ?? 0n),
    second?.tables.root ?? 0n,
  ]
  for (const [i, word] of words.entries()) ram.write(ste + BigInt(i) * 8n, word)
  return { sid, vmid, ste, space, contexts: cds.contexts, stage2: second?.tables, leaves: cds.leaves, cdMax }
}

function buildStage2(rng: Rng, ram: Ram): { tables: ArmTables; word2: bigint } {
  const granule = rng.pick([12, 12, ...GRANULES])
  // Every start level that the manual's table allows, concatenated start tables among them.
  const legal: { start: number; inputBits: number }[] = []
  for (let inputBits = 25; inputBits <= 48; inputBits++) {
    for (let start = granule === 12 ? 0 : 1; start <= (granule === 12 ? 2 : 3); start++) {
      const lower = granule + (granule - 3) * (3 - start)
      const isAtTop = granule === 12 && start === 0
      const extra = isAtTop ? 0 : 4
      if (lower < inputBits && inputBits <= lower + granule - 3 + extra && inputBits >= 34)
        legal.push({ start, inputBits })
    }
  }
  const { start, inputBits } = rng.pick(legal)
  const tables = new ArmTables(ram, { granule, inputBits, start }, () => 0n)
  const sl0 = BigInt(granule === 12 ? 2 - start : 3 - start)
  const tg = TG0[granule]
  const ps = rng.pick([5n, 5n, 5n, 4n, 3n, 6n])
  const word2 =
    (BigInt(64 - inputBits) << 32n) |
    (sl0 << 38n) |
    (0x35n << 40n) |
    (tg << 46n) |
    (ps << 48n) |
    (1n << 51n) |
    (rng.bit(0.1) << 53n) |
    (rng.bit() << 54n) |
    (rng.bit(0.85) << 58n)
  for (let i = 0; i < 10; i++) {
    const level = rng.pick(tables.leafLevels())
    const ipa = rng.chance(0.8) ? rng.bits(32) : rng.bits(inputBits)
    tables.map(rng, ipa & ((1n << BigInt(inputBits)) - 1n), rng.bits(rng.pick([36, 40, 47])), level, leaf2(rng))
  }
  return { tables, word2 }
}

/** Attributes of a stage 2 leaf: mostly readable, writable, accessed, normal memory. */
function leaf2(rng: Rng): bigint {
  const memory = rng.chance(0.9) ? 0xfn : rng.bits(4)
  const rights = rng.chance(0.7) ? 3n : rng.bits(2)
  return (memory << 2n) | (rights << 6n) | (3n << 8n) | (rng.bit(0.95) << 10n) | (rng.pick([0n, 0n, 1n, 2n, 3n]) << 53n)
}

/** Attributes of a stage 1 leaf, never global. */
function leaf1(rng: Rng): bigint {
  const ap = rng.pick([1n, 1n, 1n, 0n, 2n, 3n])
  return (ap << 6n) | (3n << 8n) | (rng.bit(0.95) << 10n) | (1n << 11n) | (rng.bit(0.3) << 53n) | (rng.bit(0.3) << 54n)
}

function buildContexts(
  rng: Rng,
  space: Space,
  cdMax: number,
  format: bigint,
  stage2: ArmTables | undefined,
  sid: number,
): { pointer: bigint; contexts: GuestContext[]; leaves: bigint[] } {
  const low = cdMax === 0 || format === 0n ? undefined : format === 1n ? 6 : 10
  const count = 2 ** cdMax
  const ssids = [...new Set([0, 1 % count, count - 1, rng.int(count), rng.int(count)])]
  const leaves: bigint[] = []
  const at = new Map<number, bigint>()
  let pointer: bigint
  if (low === undefined) {
    pointer = space.allocate(64n << BigInt(cdMax))
    for (const ssid of ssids) at.set(ssid, pointer + BigInt(ssid) * 64n)
  } else {
    const bytes = 8n << BigInt(Math.max(0, cdMax - low))
    pointer = space.allocate(bytes < 64n ? 64n : bytes)
    for (const ssid of ssids) {
      const entry = pointer + BigInt(ssid >>> low) * 8n
      if (space.read(entry) === 0n) {
        leaves.push(entry)
        space.write(entry, space.allocate(64n << BigInt(low)) | 1n)
      }
      at.set(ssid, (space.read(entry) & ~0xfffn) + BigInt(ssid & (2 ** low - 1)) * 64n)
    }
  }
  const contexts = ssids.map((ssid, i) =>
    buildContext(rng, space, stage2, ssid, sid * 64 + i + 1, at.get(ssid) as bigint),
  )
  return { pointer, contexts, leaves }
}

function buildContext(
  rng: Rng,
  space: Space,
  stage2: ArmTables | undefined,
  ssid: number,
  asid: number,
  at: bigint,
): GuestContext {
  const halves = [0, 1].map((half) =>
    rng.chance(half === 0 ? 0.1 : 0.5) ? undefined : buildHalf(rng, space, half, stage2),
  )
  const sizeOf = (half: number): bigint => {
    const shape = halves[half]?.shape
    if (shape === undefined) return (1n << 14n) | rng.bits(8)
    const tg = (half === 0 ? TG0 : TG1)[shape.granule]
    return BigInt(64 - shape.inputBits) | (tg << 6n) | (0x35n << 8n)
  }
  const word0 =
    sizeOf(0) |
    (sizeOf(1) << 16n) |
    (1n << 31n) |
    (rng.pick([5n, 5n, 5n, 6n, 4n, 2n]) << 32n) |
    (rng.bit(0.1) << 35n) |
    (rng.bit(0.1) << 36n) |
    (rng.bit(0.3) << 38n) |
    (rng.bit(0.3) << 39n) |
    (rng.bit(0.2) << 40n) |
    (1n << 41n) |
    (rng.bit(0.85) << 45n) |
    (rng.bit(0.85) << 46n) |
    (1n << 47n) |
    (BigInt(asid) << 48n)
  space.write(at, word0)
  halves.forEach((tables, half) => {
    space.write(at + 8n + BigInt(half) * 8n, (tables?.root ?? 0n) | (rng.bit(0.2) << 1n))
  })
  space.write(at + 24n, 0xf404ff44n)
  return { ssid, asid, at, halves }
}

function buildHalf(rng: Rng, space: Space, half: number, stage2: ArmTables | undefined): ArmTables {
  const granule = rng.pick([12, 12, ...GRANULES])
  const inputBits = rng.pick([48, 48, 47, 42, 39, 36, 32, 30, 25])
  const start = startOf(granule, inputBits)
  const shape = { granule, inputBits, start }
  const tables = new ArmTables(space, shape, (r) => (r.chance(0.85) ? 0n : BigInt(r.pick([1, 2, 4, 8])) << 59n))
  const targets = stage2?.slots.filter(({ isLeaf }) => isLeaf) ?? []
  for (let i = 0; i < 6; i++) {
    const level = rng.pick(tables.leafLevels())
    const input = rng.chance(0.5) ? rng.bits(Math.min(inputBits, 28)) : rng.bits(inputBits)
    const target = targets.length > 0 && rng.chance(0.8) ? rng.pick(targets) : undefined
    const output = target === undefined ? rng.bits(rng.pick([32, 36, 40, 47])) : target.input
    tables.map(rng, input, output, level, leaf1(rng))
  }
  void half
  return tables
}

/** Every descriptor of a stream, with what it belongs to. */
export function slotsOf(stream: GuestStream): { slot: Slot; context?: GuestContext; half?: number }[] {
  const second = stream.stage2?.slots.map((slot) => ({ slot })) ?? []
  const first = stream.contexts.flatMap((context) =>
    context.halves.flatMap((tables, half) => tables?.slots.map((slot) => ({ slot, context, half })) ?? []),
  )
  return [...first, ...second]
}
