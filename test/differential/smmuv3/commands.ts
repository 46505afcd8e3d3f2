/** Commands as two 64-bit words, from their operands. [SMMU 4 Commands] */

import type { Command } from './command-queue.js'

/** How a TLBI names a range; absent without TG. [SMMU 4.4.1.1 Range-based] */
export interface Range {
  readonly num: number
  readonly scale: number
  /** 1, 2, 3 for 4, 16 and 64 KiB. */
  readonly tg: number
  readonly ttl: number
}

const low = (opcode: number, vmid = 0, asid = 0): bigint =>
  BigInt(opcode) | (BigInt(vmid) << 32n) | (BigInt(asid) << 48n)

const ranged = (word: bigint, address: bigint, leaf: boolean, range: Range | null): Command => {
  const high = ((address >> 12n) << 12n) | (leaf ? 1n : 0n)
  if (range === null) return [word, high]
  const { num, scale, tg, ttl } = range
  return [word | (BigInt(num) << 12n) | (BigInt(scale) << 20n), high | (BigInt(ttl) << 8n) | (BigInt(tg) << 10n)]
}

/** The commands that invalidate, and the hints. */
export const COMMANDS = {
  prefetchConfig: (sid: number): Command => [0x01n | (BigInt(sid) << 32n), 0n],
  prefetchAddress: (sid: number, address: bigint): Command => [0x02n | (BigInt(sid) << 32n), (address >> 12n) << 12n],
  cfgiSte: (sid: number, leaf: boolean): Command => [0x03n | (BigInt(sid) << 32n), leaf ? 1n : 0n],
  cfgiRange: (sid: number, range: number): Command => [0x04n | (BigInt(sid) << 32n), BigInt(range)],
  cfgiAll: (): Command => [0x04n, 31n],
  cfgiCd: (sid: number, leaf: boolean): Command => [0x05n | (BigInt(sid) << 32n), leaf ? 1n : 0n],
  cfgiCdAll: (sid: number): Command => [0x06n | (BigInt(sid) << 32n), 0n],
  nhAll: (vmid: number): Command => [low(0x10, vmid), 0n],
  nhAsid: (vmid: number, asid: number): Command => [low(0x11, vmid, asid), 0n],
  nhVa: (vmid: number, asid: number, va: bigint, leaf: boolean, range: Range | null = null): Command =>
    ranged(low(0x12, vmid, asid), va, leaf, range),
  nhVaa: (vmid: number, va: bigint, leaf: boolean, range: Range | null = null): Command =>
    ranged(low(0x13, vmid), va, leaf, range),
  s12VmAll: (vmid: number): Command => [low(0x28, vmid), 0n],
  s2Ipa: (vmid: number, ipa: bigint, leaf: boolean, range: Range | null = null): Command =>
    ranged(low(0x2a, vmid), ipa, leaf, range),
  nsnhAll: (): Command => [0x30n, 0n],
} as const

/** Opcodes that nobody has, or that this part must refuse and the reference refuses too. [SMMU 4.1.3 Command opcodes] */
export const REFUSED_BY_BOTH: readonly number[] = [0x00, 0x07, 0x08, 0x14, 0x2f, 0x47, 0x50, 0x60, 0x70, 0x80, 0xff]

/** What this part must refuse and the reference takes. */
export const TAKEN_BY_REFERENCE: readonly Command[] = [
  // SSec of a Secure stream.
  [0x401n, 0n],
  [0x402n, 0n],
  [0x18n, 0n],
  [0x1an, 0n],
  [0x20n, 0n],
  [0x21n, 0n],
  [0x22n, 0n],
  [0x23n, 0n],
  [0x40n | (8n << 32n), 52n],
  [0x41n | (8n << 32n), 2n << 12n],
  [0x44n | (8n << 32n), 1n],
  [0x45n | (8n << 32n), 0n],
  [0x46n | (3n << 12n), 0n],
  // A granule, and no NUM, SCALE or TTL.
  [0x12n, 1n << 10n],
  [0x13n, 3n << 10n],
  [0x2an, 2n << 10n],
]
