/**
 * The work of the cache rows: translations that are resident, and look-ups of them. Made once and written to a file, so
 * that ours and every peer do exactly the same; `peers/work.h` reads it.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ACCESS } from '../hw-model/port.js'
import { XorShift32 } from './random.js'

/** In which order resident translations are looked up. */
export type Pattern = 'random' | 'zipf' | 'sequential'

/** What a piece of work is like. */
export interface WorkPlan {
  /** Address spaces: an ASID, a source-id, a PASID. Their addresses are the same. */
  readonly contexts: number
  /** Translations that are resident, of all contexts. */
  readonly entries: number
  /** Entries of the cache. */
  readonly capacity: number
  /** One 4 KiB page in each 2 MiB, and nothing else; else runs of them, and one 2 MiB leaf for 15. */
  readonly isSparse?: boolean
  /** No 2 MiB leaves. */
  readonly isSmall?: boolean
  readonly pattern?: Pattern
  readonly lookups?: number
}

/** Words of a translation: context, lo, hi, leafLg2, address lo and hi, rights, nothing. */
export const ENTRY = 8
/** Words of a look-up: context with the access above bit 24, lo, hi, translation. */
export const LOOKUP = 4

/** A piece of work, as words. */
export interface Work {
  readonly plan: WorkPlan
  readonly entries: Int32Array
  readonly lookups: Int32Array
  /** First translation of each context, and the end. */
  readonly first: Int32Array
  /** All translations in an order without order. */
  readonly order: Int32Array
}

const PAGE_LG2 = 12
const LARGE_LG2 = 21
/** Where every context has its pages, and its large leaves. */
const SMALL_BASE = 0x1_0000_0000
const LARGE_BASE = 0x80_0000_0000
const LARGE_SHARE = 16

/** Makes a piece of work. */
export function makeWork(plan: WorkPlan): Work {
  const random = new XorShift32(0x9e3779b9)
  const entries = new Int32Array(plan.entries * ENTRY)
  const first = new Int32Array(plan.contexts + 1)
  for (let context = 0, i = 0; context < plan.contexts; context++) {
    const end = Math.floor((plan.entries * (context + 1)) / plan.contexts)
    for (let n = 0; i < end; i++, n++) entries.set(entryOf(plan, context, n, random), i * ENTRY)
    first[context + 1] = i
  }
  return { plan, entries, lookups: lookupsOf(plan, entries, random), first, order: shuffled(plan.entries) }
}

/** Translation `n` of a context. */
function entryOf(plan: WorkPlan, context: number, n: number, random: XorShift32): number[] {
  const isLarge = !plan.isSparse && !plan.isSmall && n % LARGE_SHARE === LARGE_SHARE - 1
  const leafLg2 = isLarge ? LARGE_LG2 : PAGE_LG2
  const index =
    plan.isSparse || plan.isSmall ? n : isLarge ? Math.floor(n / LARGE_SHARE) : n - Math.floor(n / LARGE_SHARE)
  const strideLg2 = plan.isSparse ? LARGE_LG2 : leafLg2
  const iova = (isLarge ? LARGE_BASE : SMALL_BASE) + index * 2 ** strideLg2
  // Frames without order, below 2^43.
  const address = random.below(2 ** 43 / 2 ** leafLg2 < 2 ** 32 ? 2 ** 43 / 2 ** leafLg2 : 2 ** 31) * 2 ** leafLg2
  const rights = random.below(8) === 0 ? ACCESS.READ : ACCESS.READ | ACCESS.WRITE
  return [context, iova | 0, Math.floor(iova / 2 ** 32), leafLg2, address | 0, Math.floor(address / 2 ** 32), rights, 0]
}

/** Each looks up one byte of a translation, with an access that is granted in all but a few. */
function lookupsOf(plan: WorkPlan, entries: Int32Array, random: XorShift32): Int32Array {
  const count = plan.lookups ?? 0
  const lookups = new Int32Array(count * LOOKUP)
  const choose = chooser(plan, random)
  for (let i = 0; i < count; i++) {
    const entry = choose(i)
    const at = entry * ENTRY
    const offset = random.next() & (2 ** entries[at + 3] - 1)
    const access = random.below(4) === 0 ? ACCESS.WRITE : ACCESS.READ
    lookups[i * LOOKUP] = entries[at] | (access << 24)
    lookups[i * LOOKUP + 1] = entries[at + 1] | offset
    lookups[i * LOOKUP + 2] = entries[at + 2]
    lookups[i * LOOKUP + 3] = entry
  }
  return lookups
}

function chooser({ entries, pattern }: WorkPlan, random: XorShift32): (i: number) => number {
  if (pattern === 'sequential') return (i) => i % entries
  if (pattern !== 'zipf') return () => random.below(entries)
  // The nth most wanted is wanted 1/n as often, wherever it stands.
  const ranks = shuffled(entries)
  const sums = new Float64Array(entries)
  for (let i = 0, sum = 0; i < entries; i++) {
    sum += 1 / (i + 1)
    sums[i] = sum
  }
  return () => {
    const wanted = (random.next() / 2 ** 32) * sums[entries - 1]
    let low = 0
    let high = entries - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if (sums[middle] < wanted) low = middle + 1
      else high = middle
    }
    return ranks[low]
  }
}

/** 0 to `count` in an order without order. */
function shuffled(count: number): Int32Array {
  const random = new XorShift32(0x2545f491)
  const order = new Int32Array(count)
  for (let i = 0; i < count; i++) {
    const j = random.below(i + 1)
    order[i] = order[j]
    order[j] = i
  }
  return order
}

/** Runs something with files for peers, which go afterwards. */
export async function withFiles<T>(
  run: (write: (name: string, ...parts: Int32Array[]) => string) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'iommud-bench-'))
  try {
    return await run((name, ...parts) => {
      const path = join(folder, name)
      writeFileSync(
        path,
        Buffer.concat(parts.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength))),
      )
      return path
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** A piece of work as the peers read it. */
export const workParts = ({ plan, entries, lookups }: Work): Int32Array[] => [
  Int32Array.of(plan.contexts, plan.entries, lookups.length / LOOKUP, plan.capacity),
  entries,
  lookups,
]
