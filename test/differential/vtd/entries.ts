/** Entries as 64-bit words, from the fields that a generator chooses. [VTD 9 Translation Structure Formats] */

/** Bits of entries of either stage. */
export const BIT = {
  /** First stage. [VTD 9.7] */
  P: 1n << 0n,
  RW: 1n << 1n,
  US: 1n << 2n,
  A: 1n << 5n,
  D: 1n << 6n,
  /** Both stages: a large leaf. */
  PS: 1n << 7n,
  /** Second stage. [VTD 9.8] */
  R: 1n << 0n,
  W: 1n << 1n,
  SNP: 1n << 11n,
  /** Fault processing disable, in every entry of the configuration. */
  FPD: 1n << 1n,
} as const

/** Leaves that let everybody read and write; what hardware may set is set. */
export const LEAF_1 = BIT.P | BIT.RW | BIT.US | BIT.A | BIT.D
export const LEAF_2 = BIT.R | BIT.W

/** The same for entries that lead to a table. */
export const TABLE_1 = BIT.P | BIT.RW | BIT.US | BIT.A
export const TABLE_2 = BIT.R | BIT.W

/** What hardware does not look at, for leaves and for other entries. [VTD 9.7 T34-T40, 9.8 T41-T47] */
export const IGNORED = {
  LEAF_1: (3n << 3n) | (0xfn << 8n) | (0xfffn << 52n),
  TABLE_1: (3n << 3n) | (1n << 6n) | (0xfn << 8n) | (0xfffn << 52n),
  LEAF_2: (0x1fn << 2n) | (7n << 8n) | (0x3ffn << 52n) | (1n << 63n),
  TABLE_2: (0x1fn << 2n) | (7n << 8n) | (0x3ffn << 52n) | (1n << 63n),
} as const

/** log2 of what an entry maps; level 0 holds leaves of 4 KiB. */
export const levelLg2 = (level: number): number => 12 + 9 * level

/** Address of the entry for an input. */
export const entryAt = (table: number, level: number, input: bigint): number =>
  table + 8 * Number((input >> BigInt(levelLg2(level))) & 511n)

const ADDRESS = (1n << 52n) - 1n

/** The address in an entry, with `lg2` low bits cut off. */
export const addressIn = (entry: bigint, lg2 = 12): number => Number(entry & ADDRESS & ~((1n << BigInt(lg2)) - 1n))

/** A legacy context entry. [VTD 9.3 Context Entry] */
export const contextWords = (table: number, aw: number, tt: number, did: number): readonly bigint[] => [
  1n | (BigInt(tt) << 2n) | BigInt(table),
  BigInt(aw) | (BigInt(did) << 8n),
]

/** A scalable-mode context entry for `2^(pdts + 7)` directory entries. [VTD 9.4 Scalable-Mode Context Entry] */
export const scalableContextWords = (directory: number, pdts: number): readonly bigint[] => [
  1n | (BigInt(pdts) << 9n) | BigInt(directory),
  0n,
  0n,
  0n,
]

/** PGTT of a PASID table entry. [VTD 9.6 Scalable-Mode PASID Table Entry] */
export const PGTT = { FIRST: 1, SECOND: 2, NESTED: 3, PASS: 4 } as const

/** A PASID table entry. [VTD 9.6 Scalable-Mode PASID Table Entry] */
export function pasidWords(pgtt: number, aw: number, did: number, table: number): readonly bigint[] {
  const second = pgtt === PGTT.SECOND ? BigInt(table) : 0n
  const first = pgtt === PGTT.FIRST ? BigInt(table) : 0n
  return [1n | (BigInt(aw) << 2n) | (BigInt(pgtt) << 6n) | second, BigInt(did), first, 0n, 0n, 0n, 0n, 0n]
}
