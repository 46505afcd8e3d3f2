/** What is known of one gigabyte of addresses: its chunks, and a window where one backing is there as a whole. */

import { CHUNK_LG2, type Placement } from './backing.js'

/** Chunks by slot; null where nothing was written yet, undefined where nobody looked. */
export type Chunks = (Int32Array | null | undefined)[]

/** log2 of the bytes one directory covers: 1 GiB. */
export const DIRECTORY_LG2 = 30

/** Its bytes, */
export const DIRECTORY_BYTES = 2 ** DIRECTORY_LG2
/** and the chunks in it. */
export const CHUNKS_PER_DIRECTORY = 1 << (DIRECTORY_LG2 - CHUNK_LG2)

/**
 * Chunks and directories that are remembered: those of 8 GiB of touched memory in 64 separate gigabytes, at most about
 * 30 MB; and of 4,096 gigabytes that one backing shows as a whole, at most 1 MB. Beyond, all are forgotten and looked up
 * again, for a guest may touch a byte of every gigabyte.
 */
export const CHUNKS_KEPT = 1 << 17
/** Arrays of chunks that are remembered. */
export const ARRAYS_KEPT = 64
/** Directories that are remembered. */
export const DIRECTORIES_KEPT = 4096

/** Gigabytes whose directories are at hand, by their low bits. */
export const WAYS = 64

/** One gigabyte. */
export interface Directory {
  readonly chunks: Chunks
  /** Words of a backing that is there as a whole, and the byte of this gigabyte that they start at. */
  readonly window: Int32Array
  readonly start: number
}

/** A window that shows nothing, a chunk without words. */
export const NO_WORDS = new Int32Array(0)

/** The directory of every gigabyte without memory. */
export const NOWHERE: Directory = { chunks: Object.freeze([]) as unknown as Chunks, window: NO_WORDS, start: 0 }

/** An empty directory of the gigabyte at `from`, with a window to what a placement has there, if it offers one. */
export function directoryOver({ base, backing }: Placement, from: number): Directory {
  const start = Math.max(base, from) - from
  const window = backing.window?.(from + start - base, DIRECTORY_BYTES - start) ?? NO_WORDS
  // Where the window shows everything no chunk is ever looked for.
  if (window.length * 4 === DIRECTORY_BYTES) return { chunks: NOWHERE.chunks, window, start }
  return { chunks: new Array<Int32Array | null | undefined>(CHUNKS_PER_DIRECTORY), window, start }
}

/** Whether so many Int32s are the same in both. */
export function areAlike(one: Int32Array, at: number, other: Int32Array, from: number, count: number): boolean {
  for (let i = 0; i < count; i++) if (one[at + i] !== other[from + i]) return false
  return true
}
