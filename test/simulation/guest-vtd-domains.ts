/** The domains of a random VT-d guest: trees of tables, alone or on top of each other, mostly valid. */

import { IntelTables } from './intel-tables.js'
import { GuestSpace, type Ram } from './ram.js'
import type { VtdFeatures } from './reference/vtd-features.js'
import type { Rng } from './rng.js'

/** A second stage. Who names the same one agrees on its width and on SSADE. [VTD 6.2.3.1] */
export interface SecondTree {
  readonly tables: IntelTables
  /** AW: 1 for 39 bits, 2 for 48, 3 for 57. */
  readonly aw: number
  ssade: boolean
}

/** A first stage, with what everybody agrees on who names it. */
export interface FirstTree {
  readonly tables: IntelTables
  readonly levels: number
  eafe: boolean
}

/** What devices and PASIDs are attached to. */
export interface Domain {
  did: number
  /** PGTT; in legacy mode only 2 and 4. */
  readonly type: number
  readonly first: FirstTree | undefined
  readonly second: SecondTree | undefined
  /** Bits that are wrong in every entry that names it, by word: all of them agree. [VTD 6.2.3.1] */
  readonly twist: bigint[]
  /** One DID for several first stages, told apart by their PASIDs. */
  readonly isShared: boolean
}

/** What domains are built from. */
export interface Ground {
  readonly rng: Rng
  readonly features: VtdFeatures
  /** Page tables. */
  readonly ram: Ram
  /** Where only 52 bits reach, if they do. */
  readonly far: Ram | undefined
  /** Where the unit can set no flags. */
  readonly sealed: Ram
  readonly isScalable: boolean
  readonly ssirwe: boolean
}

/** Flags are set beforehand where the unit cannot write tables. [VTD 3.10] */
const flag = ({ rng, features }: Ground, probability: number): bigint => rng.bit(features.smpwcs ? probability : 0.97)

/** Guest-physical home of first-stage tables behind a second stage; nothing else is mapped there. */
export const TABLES_GPA = 1n << 33n

/** Rights of a second-stage entry: bit 0 for reading, bit 1 for writing. [VTD 9.8, SSIRWE] */
export function secondRights({ rng, ssirwe }: Ground, rights: bigint): bigint {
  if (!ssirwe) return rights
  return (rights << 61n) | rng.bits(2)
}

/** An address to map to: never memory that holds tables, nor their guest-physical home. */
export function output(rng: Rng, width: number): bigint {
  if (rng.chance(0.05)) return 0xfee0_0000n | rng.bits(20)
  const address = rng.bits(rng.pick([32, 36, width - 1]))
  const isRam = address >> 30n === 1n
  return (isRam ? address | (1n << 31n) : address) & ~TABLES_GPA
}

/** Makes all domains; `fresh` hands out their identifiers. */
export function buildDomains(ground: Ground, fresh: () => number): Domain[] {
  const { rng, features, isScalable } = ground
  const trees = features.ssts || !isScalable ? [buildSecond(ground), buildSecond(ground)] : []
  const domains: Domain[] = []
  const add = (type: number, first: FirstTree | undefined, second: SecondTree | undefined, did = fresh()): void => {
    domains.push({ did, type, first, second, twist: [0n, 0n, 0n], isShared: false })
  }
  if (features.pt || trees.length === 0) add(4, undefined, undefined)
  for (const tree of trees) if (rng.chance(0.8) || domains.length === 0) add(2, undefined, tree)
  if (!isScalable) return domains
  if (features.fsts) addFirst(ground, domains, fresh)
  if (features.nest) {
    for (let i = rng.between(1, 3); i > 0; i--) {
      const second = rng.pick(trees)
      add(3, buildFirst(ground, second), second)
    }
  }
  return domains
}

/** First stages alone: each with an identifier of its own, or all with the same. */
function addFirst(ground: Ground, domains: Domain[], fresh: () => number): void {
  const { rng } = ground
  const isShared = rng.chance(0.35)
  const shared = isShared ? fresh() : 0
  for (let i = rng.between(1, 2); i > 0; i--) {
    const did = isShared ? shared : fresh()
    domains.push({
      did,
      type: 1,
      first: buildFirst(ground, undefined),
      second: undefined,
      twist: [0n, 0n, 0n],
      isShared,
    })
  }
}

const widths = (features: VtdFeatures): number[] => [1, 2, 3].filter((aw) => ((features.sagaw >> aw) & 1) === 1)

function homeOf({ rng, ram, far, sealed }: Ground): Ram {
  if (rng.chance(0.04)) return sealed
  return far !== undefined && rng.chance(0.3) ? far : ram
}

function leafLevel(rng: Rng): number {
  return rng.pick([1, 1, 1, 2, 2, 3])
}

/** A random leaf of a second stage. */
export function mapSecond(ground: Ground, tables: IntelTables, input: bigint, level = leafLevel(ground.rng)): void {
  const { rng, features } = ground
  const rights = secondRights(ground, rng.chance(0.75) ? 3n : rng.pick([1n, 2n]))
  const flags = (rng.bit() << 8n) | (rng.bit(0.3) << 9n) | (rng.bit(features.sc ? 0.2 : 0.02) << 11n)
  const isOffered = level === 1 || ((features.sslps >> (level - 2)) & 1) === 1 || rng.chance(0.05)
  tables.map(rng, input, output(rng, features.haw), isOffered ? level : 1, rights | flags)
}

function buildSecond(ground: Ground): SecondTree {
  const { rng, features } = ground
  const aw = rng.pick(widths(features))
  const bits = (r: Rng): bigint => secondRights(ground, r.chance(0.95) ? 3n : r.pick([1n, 2n])) | (r.bit() << 8n)
  const tables = new IntelTables(homeOf(ground), aw + 2, bits)
  for (let i = 0; i < 9; i++) {
    mapSecond(ground, tables, (rng.chance(0.8) ? rng.bits(32) : rng.bits(30 + 9 * aw)) & ~TABLES_GPA)
  }
  return { tables, aw, ssade: ground.isScalable && features.ssads && rng.chance(0.5) }
}

/** A random leaf of a first stage, mostly to somewhere that the second one maps. */
export function mapFirst(ground: Ground, tables: IntelTables, under: SecondTree | undefined, input: bigint): void {
  const { rng, features } = ground
  const level = leafLevel(rng)
  const targets = under?.tables.entries.filter(({ isLeaf, input: first }) => isLeaf && first >> 33n !== 1n) ?? []
  const target = targets.length > 0 && rng.chance(0.85) ? rng.pick(targets) : undefined
  const to = target === undefined ? output(rng, features.haw) : target.input + rng.bits(12 + 9 * (target.level - 1))
  const rights = 1n | (rng.bit(0.8) << 1n) | (rng.bit(0.9) << 2n)
  const flags = (flag(ground, 0.5) << 5n) | (flag(ground, 0.3) << 6n) | (rng.bit(0.2) << 10n) | (rng.bit(0.2) << 63n)
  const isOffered = level < 3 || features.fs1gp || rng.chance(0.05)
  tables.map(rng, input, to, isOffered ? level : 2, rights | flags)
}

/** A random input of a first stage, without its sign. */
export const firstInput = (rng: Rng, levels: number): bigint =>
  rng.chance(0.6) ? rng.bits(30) : rng.bits(levels === 5 ? 57 : 48)

function buildFirst(ground: Ground, under: SecondTree | undefined): FirstTree {
  const { rng, features } = ground
  const levels = features.fs5lp && rng.chance(0.5) ? 5 : 4
  const makeReal = (gpa: bigint, pa: bigint): void => {
    const rights = secondRights(ground, rng.chance(0.04) ? rng.pick([1n, 2n]) : 3n)
    under?.tables.map(rng, gpa, pa, 1, rights | (rng.bit() << 8n))
  }
  const space = under === undefined ? homeOf(ground) : new GuestSpace(ground.ram, nextHome(under), 4096n, makeReal)
  const bits = (r: Rng): bigint =>
    1n | (r.bit(0.95) << 1n) | (r.bit(0.97) << 2n) | (flag(ground, 0.5) << 5n) | (r.bit(0.2) << 10n)
  const tables = new IntelTables(space, levels, bits)
  for (let i = 0; i < 8; i++) mapFirst(ground, tables, under, firstInput(rng, levels))
  return { tables, levels, eafe: features.eafs && rng.chance(0.4) }
}

/** Each first stage on the same second one has its own part of the home. */
function nextHome(under: SecondTree): bigint {
  const used = under.tables.entries.filter(({ isLeaf, input }) => isLeaf && input >> 33n === 1n)
  const parts = used.map(({ input }) => input >> 28n)
  const last = parts.reduce((most, part) => (part > most ? part : most), (TABLES_GPA >> 28n) - 1n)
  return (last + 1n) << 28n
}
