/** A random VT-d guest: its devices, PASIDs and tables, mostly valid. */

import { IntelTables } from './intel-tables.js'
import { GuestSpace, type Ram } from './ram.js'
import type { VtdFeatures } from './reference/vtd.js'
import type { Rng } from './rng.js'

/** What one context entry or PASID entry leads to. */
export interface Attachment {
  readonly sid: number
  /** undefined in legacy mode. */
  readonly pasid: number | undefined
  readonly did: number
  /** Where its entry stands: context entry in legacy mode, else PASID table entry. */
  readonly at: bigint
  readonly first: IntelTables | undefined
  readonly second: IntelTables | undefined
}

/** One function with its context entry. */
export interface Device {
  readonly sid: number
  readonly context: bigint
  readonly directoryEntries: readonly bigint[]
  readonly attachments: readonly Attachment[]
}

/** The whole guest. */
export interface Guest {
  readonly rootTable: bigint
  readonly devices: readonly Device[]
}

const PWSNP = 1n << 23n

/** Where a guest's structures go. The unit marks page-table entries, so a bad table pointer must not reach `config`. */
export interface Places {
  /** Root, context and PASID tables. */
  readonly config: Ram
  /** Page tables. */
  readonly tables: Ram
}

/** Builds root and context tables and all below them. */
export function buildGuest(rng: Rng, places: Places, features: VtdFeatures, isScalable: boolean): Guest {
  const ram = places.config
  const rootTable = ram.allocate(4096n)
  const sids = [...new Set([0x08, rng.int(256), 0x100 + rng.int(256), 0x1ff])]
  let did = 1
  const devices = sids.map((sid) => {
    const rootAt = rootTable + BigInt(sid >>> 8) * 16n + (isScalable ? BigInt((sid >>> 7) & 1) * 8n : 0n)
    if (ram.read(rootAt) === 0n) ram.write(rootAt, ram.allocate(4096n) | 1n)
    const table = ram.read(rootAt) & ~0xfffn
    if (!isScalable) return buildLegacy(rng, places, features, sid, did++, table + BigInt(sid & 0xff) * 16n)
    const device = buildScalable(rng, places, features, sid, did, table + BigInt(sid & 0x7f) * 32n)
    did += device.attachments.length
    return device
  })
  return { rootTable, devices }
}

const widths = (features: VtdFeatures): number[] => [1, 2, 3].filter((aw) => ((features.sagaw >> aw) & 1) === 1)

function buildLegacy(
  rng: Rng,
  places: Places,
  features: VtdFeatures,
  sid: number,
  did: number,
  context: bigint,
): Device {
  const aw = rng.pick(widths(features))
  const isIdentity = features.pt && rng.chance(0.2)
  const second = isIdentity ? undefined : buildSecond(rng, places.tables, features, aw)
  places.config.write(context, (second?.root ?? 0n) | 1n | (rng.bit(0.15) << 1n) | (isIdentity ? 8n : 0n))
  places.config.write(context + 8n, BigInt(aw) | (BigInt(did) << 8n))
  const attachment = { sid, pasid: undefined, did, at: context, first: undefined, second }
  return { sid, context, directoryEntries: [], attachments: [attachment] }
}

function buildScalable(
  rng: Rng,
  places: Places,
  features: VtdFeatures,
  sid: number,
  did: number,
  context: bigint,
): Device {
  const pdts = rng.int(3)
  const count = 2 ** (pdts + 13)
  const directory = places.config.allocate(8n << BigInt(pdts + 7), 4096n)
  const ridPasid = rng.pick([0, 0, 1, rng.int(count)])
  const word0 = directory | 1n | (rng.bit(0.1) << 1n) | (rng.bit(0.85) << 3n) | (BigInt(pdts) << 9n)
  places.config.write(context, word0)
  places.config.write(context + 8n, BigInt(ridPasid))
  const pasids = [...new Set([ridPasid, rng.int(64), rng.int(count), count - 1])]
  const directoryEntries = new Set<bigint>()
  const attachments = pasids.map((pasid, i) => {
    const entry = directory + BigInt(pasid >>> 6) * 8n
    directoryEntries.add(entry)
    if (places.config.read(entry) === 0n)
      places.config.write(entry, places.config.allocate(4096n) | 1n | (rng.bit(0.1) << 1n))
    const at = (places.config.read(entry) & ~0xfffn) + BigInt(pasid & 63) * 64n
    return buildPasid(rng, places, features, { sid, pasid, did: did + i, at })
  })
  return { sid, context, directoryEntries: [...directoryEntries], attachments }
}

function buildPasid(
  rng: Rng,
  { config, tables: ram }: Places,
  features: VtdFeatures,
  place: { readonly sid: number; readonly pasid: number; readonly did: number; readonly at: bigint },
): Attachment {
  const type = rng.pick([1, 1, 2, 2, 3, 3, 3, 4])
  const aw = rng.pick(widths(features))
  const ssade = type === 2 || type === 3 ? rng.bit(0.4) : 0n
  const second = type === 2 || type === 3 ? buildSecond(rng, ram, features, aw) : undefined
  const hasFive = features.fs5lp && rng.chance(0.4)
  const eafe = rng.bit(0.3)
  let first: IntelTables | undefined
  if (type === 1 || type === 3) {
    const space =
      second === undefined
        ? ram
        : new GuestSpace(ram, 1n << 33n, 4096n, (gpa, pa) => {
            second.map(rng, gpa, pa, 1, rng.chance(0.03) ? 1n : 3n)
          })
    first = buildFirst(rng, space, hasFive ? 5 : 4, second, features)
  }
  const words = [
    (second?.root ?? 0n) | 1n | (rng.bit(0.1) << 1n) | (BigInt(aw) << 2n) | (BigInt(type) << 6n) | (ssade << 9n),
    BigInt(place.did) | PWSNP | (rng.bit(0.3) << 24n),
    (first?.root ?? 0n) |
      rng.bit(0.6) |
      (BigInt(first !== undefined && hasFive) << 2n) |
      (rng.bit() << 4n) |
      (eafe << 7n),
  ]
  for (const [i, word] of words.entries()) config.write(place.at + BigInt(i) * 8n, word)
  return { ...place, first, second }
}

function leafLevels(rng: Rng): number {
  return rng.pick([1, 1, 1, 2, 3])
}

function buildSecond(rng: Rng, ram: Ram, features: VtdFeatures, aw: number): IntelTables {
  const tables = new IntelTables(ram, aw + 2, (r) => (r.chance(0.95) ? 3n : r.pick([1n, 2n])) | (r.bit() << 8n))
  for (let i = 0; i < 10; i++) {
    const input = rng.chance(0.8) ? rng.bits(32) : rng.bits(30 + 9 * aw)
    const output = rng.chance(0.06) ? 0xfee0_0000n : rng.bits(rng.pick([32, 36, features.haw - 1]))
    const rights = rng.chance(0.75) ? 3n : rng.pick([1n, 2n])
    tables.map(
      rng,
      input,
      output,
      leafLevels(rng),
      rights | (rng.bit() << 8n) | (rng.bit(0.3) << 9n) | (rng.bit(0.2) << 11n),
    )
  }
  return tables
}

function buildFirst(
  rng: Rng,
  space: Ram | GuestSpace,
  levels: number,
  under: IntelTables | undefined,
  features: VtdFeatures,
): IntelTables {
  const tables = new IntelTables(space, levels, (r) => 1n | (r.bit(0.95) << 1n) | (r.bit(0.97) << 2n) | (r.bit() << 5n))
  const targets = under?.entries.filter(({ isLeaf }) => isLeaf) ?? []
  for (let i = 0; i < 8; i++) {
    const bits = levels === 5 ? 57 : 48
    const input = rng.chance(0.6) ? rng.bits(30) : rng.bits(bits)
    const target = targets.length > 0 && rng.chance(0.85) ? rng.pick(targets).input : undefined
    const output = target ?? (rng.chance(0.06) ? 0xfee0_0000n : rng.bits(rng.pick([32, 36, features.haw - 1])))
    const flags =
      (rng.bit(0.8) << 1n) | (rng.bit(0.9) << 2n) | (rng.bit() << 5n) | (rng.bit(0.3) << 6n) | (rng.bit(0.2) << 10n)
    tables.map(rng, input, output, leafLevels(rng), 1n | flags | (rng.bit(0.2) << 63n))
  }
  return tables
}
