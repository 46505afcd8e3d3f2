/** Streams whose tables hardware flags: leaves spelled in the manual's bits, and where they stand. */

import { ACCESS } from '../../hw-model/port.js'
import { CONFIG, idRegisters } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, GUEST, stageTwoFields } from './bench.js'

export const SID = 3
export const VA = 0x7654321000n
export const PA = 0x90000000n
export const READ: number = ACCESS.READ
export const WRITE: number = ACCESS.WRITE
export const EXECUTE = ACCESS.READ | ACCESS.EXECUTE
export const BOTH = READ | WRITE
export const privileged = (access: number): number => access | ACCESS.PRIVILEGED

export const AF = 1n << 10n
export const DBM = 1n << 51n
/** Stage 1 pages: nG, inner shareable; UXN (54) and PXN (53) clear. AP[2:1] 01, 11, 00, 10 in bits 7:6. */
export const PAGE = 0xb03n
export const AP = { USER_RW: 0x40n, USER_RO: 0xc0n, RW: 0n, RO: 0x80n } as const
/** Stage 2 pages: write-back, inner shareable. S2AP 01, 10, 11. */
export const PAGE_2 = 0x33fn
export const S2AP = { R: 0x40n, W: 0x80n, RW: 0xc0n } as const

export const HA = { HA: 1 }
export const HD = { HA: 1, HD: 1 }

/** IDR0 of a unit with HTTU = `httu` (bits 7:6). */
export const offering = (httu: number): { preset: 'full'; id: { IDR0: number } } => ({
  preset: 'full',
  id: { IDR0: (idRegisters('full').IDR0 & ~0xc0) | (httu << 6) },
})

/** Stage 1 alone; `at` is where the leaf stands. */
export function stageOne(
  leaf: bigint,
  fields: object,
  httu = 2,
  stream: object = {},
): { bench: Bench; at: number; root: number } {
  const bench = new Bench(offering(httu))
  const [cd, root] = [bench.alloc(), bench.alloc()]
  bench.map(root, VA, PA | leaf)
  bench.cd(cd, { ...contextFields(7, root), ...fields })
  bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd, ...stream })
  return { bench, at: leafOf(bench, root, VA), root }
}

/** Stage 2 alone. */
export function stageTwo(leaf: bigint, fields: object): { bench: Bench; at: number } {
  const bench = new Bench(offering(2))
  const root = bench.alloc()
  bench.map(root, VA, PA | leaf)
  bench.ste(SID, { ...stageTwoFields(2, root), ...fields, V: 1, Config: CONFIG.S2_TRANS })
  return { bench, at: leafOf(bench, root, VA) }
}

/** Address of the level 3 entry for `va`. */
export function leafOf(bench: Bench, root: number, va: bigint): number {
  let table = root
  for (let level = 0; level < 3; level++) {
    table = Number(bench.peek(table + Number((va >> BigInt(39 - 9 * level)) & 511n) * 8) & 0xfffff000n)
  }
  return table + Number((va >> 12n) & 511n) * 8
}

/** What a DMA answers, and the low bits and DBM of the leaf afterwards. */
export const tried = (bench: Bench, at: number, access: number): [string, bigint] => {
  const answer = bench.dma(SID, VA, { access })
  return [answer, bench.peek(at) & (DBM | 0xfffn)]
}

/** A nested stream whose stage 2 pages are all writable-clean and not accessed. */
export function nested(leaf: bigint, context: object, page = PAGE_2 | DBM | S2AP.R) {
  const bench = new Bench(offering(2))
  const [s2, cd, s1] = [bench.alloc(), bench.alloc(), bench.alloc()]
  bench.map(s1, VA, (BigInt(GUEST) + PA) | leaf, 3, GUEST)
  const tables = [s1]
  for (let level = 0; level < 3; level++) {
    const index = Number((VA >> BigInt(39 - 9 * level)) & 511n)
    tables.push(Number(bench.peek(tables[level] + index * 8) & 0xffffff000n) - GUEST)
  }
  for (const pa of [cd, ...tables]) bench.map(s2, BigInt(GUEST + pa), BigInt(pa) | page)
  bench.map(s2, BigInt(GUEST) + PA, 0xa0000000n | page)
  bench.cd(cd, { ...contextFields(7, GUEST + s1), ...context })
  bench.ste(SID, {
    ...stageTwoFields(2, s2),
    ...{ S2HA: 1, S2HD: 1, V: 1, Config: CONFIG.NESTED, S1ContextPtr: GUEST + cd },
  })
  const stageTwoLeaf = (ipa: number | bigint): number => leafOf(bench, s2, BigInt(ipa))
  const at = {
    cd: stageTwoLeaf(GUEST + cd),
    tables: tables.map((table) => stageTwoLeaf(GUEST + table)),
    leaf: tables[3] + Number((VA >> 12n) & 511n) * 8,
    output: stageTwoLeaf(BigInt(GUEST) + PA),
  }
  return { bench, at, s2, leafTable: tables[3] }
}

/** Addresses and new low bits of every flag update, in order. */
export function watch(bench: Bench): [number, bigint][] {
  const { memory } = bench
  const update = memory.updateFlags.bind(memory)
  const seen: [number, bigint][] = []
  memory.updateFlags = (pa, expected, next, hi) => {
    seen.push([pa, BigInt(next & 0xfff)])
    return update(pa, expected, next, hi)
  }
  return seen
}
