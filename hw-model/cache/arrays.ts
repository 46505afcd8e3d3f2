/** The arrays of a translation cache, how large they are, and how they grow. */

import type { CacheGeometry } from './geometry.js'
import { BLOCK, GROUP_BITS, LINE_LG2, SIDE_LG2 } from './layout.js'

/** Bounds that tests make small. */
export interface CacheLimits {
  /** Epochs before lines are numbered anew. */
  readonly epochs: number
  /** Generations of one group before dead leaves are looked for. */
  readonly generations: number
}

/** All that the words have room for. */
export const WORD_LIMITS: CacheLimits = { epochs: 2 ** 31 - 2, generations: 2 ** 15 - 1 }

/** Up to so many entries a cache is one set of lines, any of which any page may have, and has no blocks. */
export const FEW = 16

/** Lines for each entry, so that those of a sparse map find room in their sets. */
const LINES_EACH = 2

/** Entries for each block: a map with four pages in each 256 KiB fills the cache, or one with four in each region. */
const ENTRIES_A_BLOCK = 4

/** Blocks that a cache begins with room for; large ones have all at once, of which the host gives what is touched. */
const FIRST_BLOCKS = 16
const LARGE_CACHE = 65536

const FIRST_TAGS = 64

/** Slots that the words of a line are. */
export const LINE_SLOTS = 1 << (LINE_LG2 - 2)

/** The first generation of a group; a stamp of 0 is none. */
export const GENERATION = 1 << GROUP_BITS

/** What a cache has, and no rule of how it is used. */
export class CacheArrays {
  hits = 0
  misses = 0
  evictions = 0
  fills = 0

  protected readonly lines: number
  protected readonly ways: number
  /** Bits of the offset of a line. */
  protected readonly placeMask: number
  protected readonly wayMask: number
  /** Words of a set, less one: the ways stand beside each other. */
  protected readonly inSet: number
  protected readonly blocks: number
  protected readonly capacity: number
  /** Lines, then blocks. */
  protected words: Int32Array
  /** SIDE of each line. */
  protected readonly side: Int32Array
  /** One more number of each slot. */
  protected extras: Float64Array
  /** TAG of each tag. */
  protected tags: Int32Array
  /** How many tags that is. */
  protected knownTags: number
  /** The present stamp of each group. */
  protected stamps: Int32Array
  /** Epochs before this one are over. */
  protected floor: number
  protected lastEpoch = 0
  /** Leaves whose tags live. */
  protected stored = 0
  /** Leaves in lines and in blocks, dead tags' too. */
  protected inLines = 0
  protected inBlocks = 0
  /** Lines at which forgotten groups' leaves can still be; 0 where there are none. */
  protected unlooked: number
  /** Leaves that commands dropped. */
  protected dropped = 0
  /** The offset of each block's line, and in its low bits which of the line's blocks it is, and 1; 0 for a free block. */
  protected readonly owners: Int32Array
  protected usedBlocks = 0
  protected readonly freed: Int32Array
  protected freedBlocks = 0
  protected readonly limits: CacheLimits

  /** @param shown whose arrays these are too, for a view */
  constructor(geometry: CacheGeometry, limits: CacheLimits, hasExtras: boolean, shown: CacheArrays | null) {
    const { entries, ways } = geometry
    if (entries !== 0 && (entries & (entries - 1) || ways & (ways - 1) || ways > entries || ways < 1)) {
      throw new RangeError('cache entries and ways are powers of two, and a set is not larger than the cache')
    }
    const isSmall = entries <= FEW
    this.limits = limits
    this.capacity = entries
    this.lines = isSmall ? entries : entries * LINES_EACH
    this.ways = isSmall ? entries : ways
    this.placeMask = entries === 0 ? 0 : (this.lines - 1) << LINE_LG2
    this.wayMask = this.ways - 1
    this.inSet = (this.ways << LINE_LG2) - 1
    this.blocks = isSmall ? 0 : entries / ENTRIES_A_BLOCK
    const hasAll = entries > LARGE_CACHE
    const slots = this.lines * LINE_SLOTS + (hasAll ? this.blocks * BLOCK : 0)
    this.words = shown?.words ?? new Int32Array(slots * 4)
    this.extras = shown?.extras ?? new Float64Array(hasExtras ? slots : 0)
    this.side = shown?.side ?? new Int32Array(this.lines << SIDE_LG2)
    this.owners = shown?.owners ?? new Int32Array(this.blocks)
    this.freed = shown?.freed ?? new Int32Array(this.blocks)
    this.tags = shown?.tags ?? new Int32Array(entries === 0 ? 0 : FIRST_TAGS * 4)
    this.knownTags = this.tags.length / 4
    this.stamps = shown?.stamps ?? new Int32Array(0)
    this.floor = shown?.floor ?? 1
    this.unlooked = shown?.unlooked ?? 0
  }

  /** Bytes of all arrays at this moment. */
  get bytes(): number {
    const all = [this.words, this.extras, this.side, this.owners, this.freed, this.tags, this.stamps]
    return all.reduce((sum, { byteLength }) => sum + byteLength, 0)
  }

  /** Whether anything can be found here. */
  get isOn(): boolean {
    return this.capacity !== 0
  }

  protected growTags(tag: number): void {
    this.tags = grown(this.tags, Math.max(FIRST_TAGS, sizeFor(tag)) * 4)
    this.knownTags = this.tags.length / 4
  }

  protected growGroups(group: number): void {
    const known = this.stamps.length
    this.stamps = grown(this.stamps, sizeFor(group))
    for (let i = known; i < this.stamps.length; i++) this.stamps[i] = GENERATION | i
  }

  /** Makes room for more blocks, four times as many as there were. */
  protected growBlocks(): void {
    const lines = this.lines * LINE_SLOTS
    const known = this.words.length / 4 - lines
    const slots = lines + Math.min(this.blocks * BLOCK, Math.max(FIRST_BLOCKS * BLOCK, known * 4))
    this.words = grown(this.words, slots * 4)
    if (this.extras.length === 0) return
    const extras = new Float64Array(slots)
    extras.set(this.extras)
    this.extras = extras
  }
}

function grown(array: Int32Array, length: number): Int32Array {
  const larger = new Int32Array(length)
  larger.set(array)
  return larger
}

/** A power of two above a number. */
const sizeFor = (number: number): number => 2 ** (32 - Math.clz32(number))
