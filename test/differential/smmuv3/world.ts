/** A random world: stream table, streams, contexts and stages, mostly valid, and what may be accessed in them. */

import type { Rng } from '../../simulation/rng.js'
import type { Ram } from '../ram.js'
import { BIT, hasBlocks, LEAF_1, LEAF_2, levelLg2, OAS_BITS, startOf } from './geometry.js'
import { cdWords, l1stdWord, mostBits, type SecondFields, steWords } from './layout.js'
import { REQUESTERS } from './machine.js'
import { PLACE, RAM_BASE } from './ram.js'
import { Arena, Tables } from './tables.js'

/** Bits of an address for each code of IPS and S2PS that fits the part. */
const WIDTHS: readonly number[] = [32, 36, 40, 42, 44]
const GRANULES: readonly number[] = [12, 14, 16]

/** One thing that is mapped, or is not although a table stands ready for it. */
export interface Leaf {
  /** First input address. */
  readonly input: bigint
  readonly lg2: number
  readonly level: number
  /** Physical address of the entry. */
  readonly slot: number
  /** Bytes from the start that accesses go to. */
  readonly offsets: readonly bigint[]
}

/** A stage 2, shared by the streams of one VMID. */
export interface Second {
  readonly fields: SecondFields
  readonly tables: Tables
  /** Where guest memory with stage 1 tables starts in its IPA space. */
  readonly origin: number
  /** What streams without stage 1 access. */
  readonly leaves: Leaf[]
}

/** One half of a stage 1. */
export interface Half {
  readonly tables: Tables
  readonly isHigh: boolean
  readonly tbi: boolean
  readonly leaves: Leaf[]
}

/** A CD with what it leads to. */
export interface Context {
  readonly asid: number
  readonly vmid: number
  readonly second: Second | null
  readonly low: Half | null
  readonly high: Half | null
  /** Physical address of the CD, and what the STE says. */
  readonly at: number
  readonly pointer: number
}

/** What a requester's stream does. */
export interface Stream {
  readonly sid: number
  readonly device: number
  readonly kind: 'bypass' | 'abort' | 'invalid' | 'stage1' | 'stage2' | 'nested' | 'lost'
  /** Physical address of the STE, or -1 where it has none. */
  readonly ste: number
  readonly context: Context | null
  readonly second: Second | null
}

/** Everything that was built. */
export interface World {
  readonly isTwoLevel: boolean
  readonly log2Size: number
  readonly split: number
  readonly contexts: readonly Context[]
  readonly seconds: readonly Second[]
  readonly streams: readonly Stream[]
  /** Physical addresses of first-level words in use. */
  readonly firstLevel: readonly number[]
}

/** Builds a world into memory that is all zeroes. */
export class WorldBuilder {
  readonly #ram: Ram
  readonly #rng: Rng
  readonly #arenas = {
    first: new Arena(PLACE.STAGE_1, PLACE.STAGE_2),
    second: new Arena(PLACE.STAGE_2, PLACE.DATA),
    contexts: new Arena(PLACE.CONTEXTS, PLACE.CONTEXTS + 0x40000),
  }
  #ids = 0

  constructor(ram: Ram, rng: Rng) {
    this.#ram = ram
    this.#rng = rng
  }

  build(isTwoLevel: boolean): World {
    const rng = this.#rng
    this.#ids = rng.int(0xff00)
    const seconds = rng.chance(0.8) ? [this.#second(), this.#second()] : [this.#second()]
    const contexts = [this.#context(null), this.#context(seconds[0])]
    if (rng.chance(0.5)) contexts.push(this.#context(rng.chance(0.5) ? null : rng.pick(seconds)))
    for (const context of contexts) this.#mapTablesOf(context)
    const split = rng.pick([6, 6, 8, 10])
    const log2Size = isTwoLevel ? rng.pick([8, 8, 12, 16]) : rng.pick([8, 8, 7, 10, 12, 5, 4])
    const table = isTwoLevel ? this.#twoLevel(split) : { place: (sid: number) => PLACE.STREAMS + 64 * sid, words: [] }
    const streams = REQUESTERS.map(({ sid }, device) => {
      return this.#stream(sid, device, sid < 2 ** log2Size ? table.place(sid) : -1, contexts, seconds)
    })
    return { isTwoLevel, log2Size, split, contexts, seconds, streams, firstLevel: table.words }
  }

  /** Level 2 tables for our StreamIDs; rarely none, or one outside memory. */
  #twoLevel(split: number): { place: (sid: number) => number; words: number[] } {
    const rng = this.#rng
    const leaves = new Map<number, number>()
    const words: number[] = []
    const arena = new Arena(PLACE.STREAM_LEAVES, PLACE.CONTEXTS)
    for (const { sid } of REQUESTERS) {
      const index = sid >> split
      if (leaves.has(index)) continue
      // The largest index of ours is 16 in a leaf of 64, 80 in a larger one.
      const lg2 = rng.between(split === 6 ? 5 : 7, split)
      const isLost = rng.chance(0.03)
      const table = isLost ? PLACE.END + 0x100000 : arena.take(64 << lg2)
      const at = PLACE.STREAMS + 8 * index
      this.#ram.set(at, rng.chance(0.03) ? 0n : l1stdWord(table, lg2))
      words.push(at)
      leaves.set(index, this.#ram.get(at) === 0n || isLost ? -1 : table)
    }
    const place = (sid: number): number => {
      const table = leaves.get(sid >> split) as number
      return table < 0 ? -1 : table + 64 * (sid % 2 ** split)
    }
    return { place, words }
  }

  #stream(sid: number, device: number, ste: number, contexts: readonly Context[], seconds: readonly Second[]): Stream {
    const rng = this.#rng
    const roll = rng.int(100)
    const kind =
      ste < 0
        ? 'lost'
        : roll < 42
          ? 'stage1'
          : roll < 62
            ? 'stage2'
            : roll < 88
              ? 'nested'
              : roll < 93
                ? 'bypass'
                : roll < 97
                  ? 'abort'
                  : 'invalid'
    const own = contexts.filter(({ second }) => (second !== null) === (kind === 'nested'))
    const context = kind === 'stage1' || kind === 'nested' ? rng.pick(own) : null
    const second = kind === 'nested' ? (context as Context).second : kind === 'stage2' ? rng.pick(seconds) : null
    const config = { bypass: 4, abort: rng.int(4), invalid: 5, stage1: 5, stage2: 6, nested: 7, lost: 0 }[kind]
    const words = steWords(
      config,
      context?.pointer ?? 0,
      second?.fields.vmid ?? context?.vmid ?? 0,
      (second ?? seconds[0]).fields,
    )
    if (kind === 'invalid') words[0] &= ~1n
    if (ste >= 0) this.#ram.setAll(ste, words)
    return { sid, device, kind, ste, context, second }
  }

  /** A stage 2 with a pool of IPAs that streams access directly. */
  #second(): Second {
    const rng = this.#rng
    const granuleLg2 = rng.pick(GRANULES)
    const starts = granuleLg2 === 12 ? [0, 1, 1, 2] : [1, 2, 2]
    const start = rng.pick(starts)
    const most = Math.min(mostBits(granuleLg2, start), OAS_BITS)
    const least = Math.max(levelLg2(granuleLg2, start) + 1, 25)
    let inputBits = rng.between(least, most)
    // Concatenated roots are used within their first table only, mostly.
    if (most < OAS_BITS && most >= 27 && rng.chance(0.05)) inputBits = Math.min(most + rng.between(1, 4), OAS_BITS)
    const geometry = { granuleLg2, inputBits, start }
    const origin = (Math.floor(rng.int(2 ** Math.min(inputBits - 25, 20))) * 2 ** 25) % 2 ** Math.min(inputBits, most)
    const tables = new Tables(this.#ram, rng, this.#arenas.second, geometry, 2, null)
    const codes = [0, 1, 2, 3, 4].filter((code) => WIDTHS[code] >= inputBits)
    const fields: SecondFields = {
      vmid: ++this.#ids,
      geometry,
      ps: rng.chance(0.1) ? rng.between(4, 7) : rng.pick(codes),
      ignoresAf: rng.chance(0.2),
      records: rng.chance(0.95),
      protectsTables: rng.chance(0.3),
      table: tables.root,
    }
    const second: Second = { fields, tables, origin, leaves: [] }
    for (let i = 0; i < 8; i++) {
      const leaf = this.#secondLeaf(second, this.#ipa(second), true)
      if (leaf !== null) second.leaves.push(leaf)
    }
    return second
  }

  /** A random IPA outside the window of tables. */
  #ipa({ fields, origin }: Second): bigint {
    const { inputBits, granuleLg2, start } = fields.geometry
    const bits = Math.min(inputBits, mostBits(granuleLg2, start))
    for (;;) {
      const ipa = (this.#rng.bits(bits) >> 12n) << 12n
      if (bits === 25 ? ipa >= BigInt(origin + 0x1000000) : Number(ipa >> 25n) !== origin / 2 ** 25) return ipa
    }
  }

  #secondLeaf({ fields, tables }: Second, ipa: bigint, mayFail: boolean): Leaf | null {
    const rng = this.#rng
    const { granuleLg2, start } = fields.geometry
    const level = hasBlocks(granuleLg2, 2) && start <= 2 && rng.chance(0.3) ? this.#blockLevel(granuleLg2, start) : 3
    const lg2 = levelLg2(granuleLg2, level)
    const input = (ipa >> BigInt(lg2)) << BigInt(lg2)
    let entry = LEAF_2 | (level === 3 ? 3n : 1n)
    let output = BigInt(this.#dataBlock(lg2))
    if (mayFail || rng.chance(0.15)) {
      const roll = rng.int(100)
      if (roll < 8) entry &= ~BIT.S2_WRITE
      else if (roll < 12) entry &= ~BIT.AF
      else if (roll < 16) entry = 0n
      else if (roll < 19) output |= 1n << BigInt(rng.between(Math.max(44, lg2), 47))
      if (entry === 0n) output = 0n
    }
    const slot = tables.map(input, level, entry | output)
    return slot < 0 ? null : { input, lg2, level, slot, offsets: this.#offsets(lg2, Number(output)) }
  }

  #blockLevel(granuleLg2: number, start: number): number {
    return granuleLg2 === 12 && start <= 1 && this.#rng.chance(0.25) ? 1 : 2
  }

  /** An output whose alignment fits, with data behind it. */
  #dataBlock(lg2: number): number {
    if (lg2 > 25) return RAM_BASE
    const first = Math.ceil(PLACE.DATA / 2 ** lg2)
    return this.#rng.between(first, PLACE.END / 2 ** lg2 - 1) * 2 ** lg2
  }

  /** Two pages in a leaf; where it covers more than data, such as lie in data. */
  #offsets(lg2: number, output: number): bigint[] {
    const [low, high] = lg2 > 25 || output < PLACE.DATA ? [PLACE.DATA, PLACE.END] : [output, output + 2 ** lg2]
    const from = lg2 > 25 ? RAM_BASE : low
    const page = (): bigint => BigInt(Math.floor(this.#rng.between(low, high - 1) / 4096) * 4096 - from)
    return lg2 === 12 ? [0n] : [page(), page()]
  }

  #context(second: Second | null): Context {
    const rng = this.#rng
    const asid = ++this.#ids
    const vmid = second?.fields.vmid ?? ++this.#ids
    const needed = second?.fields.geometry.inputBits ?? 32
    const codes = [0, 1, 2, 3, 4].filter((code) => WIDTHS[code] >= needed)
    const ips = rng.chance(0.1) ? rng.between(4, 5) : rng.pick(codes)
    const at = this.#arenas.contexts.take(4096) + (second === null ? 64 * rng.int(64) : 0)
    const pointer = second === null ? at : at - RAM_BASE + second.origin
    const which = rng.int(10)
    const low = which < 8 ? this.#half(second, false, WIDTHS[Math.min(ips, 4)]) : null
    const high = which >= 6 ? this.#half(second, true, WIDTHS[Math.min(ips, 4)]) : null
    const say = (half: Half | null) =>
      half && { geometry: half.tables.geometry, table: half.tables.nameOf(half.tables.root), tbi: half.tbi }
    const words = cdWords(asid, ips, say(low), say(high), rng.chance(0.2), rng.chance(0.95))
    const roll = rng.int(400)
    if (roll === 0) words[0] &= ~(1n << 31n)
    this.#ram.setAll(at, words)
    return { asid, vmid, second, low, high, at, pointer: roll === 1 && second === null ? PLACE.END + 0x40000 : pointer }
  }

  #half(second: Second | null, isHigh: boolean, outputBits: number): Half {
    const rng = this.#rng
    const granuleLg2 = rng.pick(GRANULES)
    const inputBits = rng.between(25, 48)
    const start = startOf(granuleLg2, inputBits)
    const geometry = { granuleLg2, inputBits, start }
    const tables = new Tables(this.#ram, rng, this.#arenas.first, geometry, 1, second)
    const half: Half = { tables, isHigh, tbi: rng.chance(0.1), leaves: [] }
    for (let i = rng.between(6, 10); i > 0; i--) {
      const leaf = this.#firstLeaf(half, second, outputBits)
      if (leaf !== null) half.leaves.push(leaf)
    }
    return half
  }

  #firstLeaf({ tables, isHigh }: Half, second: Second | null, outputBits: number): Leaf | null {
    const rng = this.#rng
    const { granuleLg2, inputBits, start } = tables.geometry
    const level = start <= 2 && rng.chance(0.35) ? this.#blockLevel(granuleLg2, start) : 3
    const lg2 = levelLg2(granuleLg2, level)
    const cut = (rng.bits(inputBits) >> BigInt(lg2)) << BigInt(lg2)
    const input = isHigh ? BigInt.asUintN(64, cut | (-1n << BigInt(inputBits))) : cut
    let entry = LEAF_1 | (level === 3 ? 3n : 1n)
    let output = second === null ? BigInt(this.#dataBlock(lg2)) : (this.#ipa(second) >> BigInt(lg2)) << BigInt(lg2)
    const roll = rng.int(100)
    if (roll < 10) entry |= BIT.READ_ONLY
    else if (roll < 14) entry &= ~BIT.AF
    else if (roll < 18) return this.#missing(tables, cut, input, level, lg2)
    else if (roll < 21 && outputBits < 48) output |= 1n << BigInt(rng.between(Math.max(outputBits, lg2), 47))
    const slot = tables.map(cut, level, entry | output)
    if (slot < 0) return null
    const offsets = second === null ? this.#offsets(lg2, Number(output)) : this.#behind(second, output, lg2)
    return { input, lg2, level, slot, offsets }
  }

  /** Nothing, or a table outside memory, where a leaf might be. */
  #missing(tables: Tables, cut: bigint, input: bigint, level: number, lg2: number): Leaf | null {
    const isLost = this.#rng.chance(0.5) && level > tables.geometry.start
    const at = isLost ? this.#rng.between(tables.geometry.start, level - 1) : level
    const slot = tables.map(cut, at, isLost ? 0x50000000n | 3n : 0n)
    return slot < 0 ? null : { input, lg2, level: at, slot, offsets: [0n] }
  }

  /** Pages of a stage 1 leaf that stage 2 maps too. */
  #behind(second: Second, output: bigint, lg2: number): bigint[] {
    const rng = this.#rng
    const pages = lg2 === 12 ? [0n] : [0, 1].map(() => BigInt(rng.int(2 ** (lg2 - 12))) << 12n)
    for (const page of pages) {
      const ipa = output + page
      if (ipa >> BigInt(second.fields.geometry.inputBits) === 0n) this.#secondLeaf(second, ipa, false)
    }
    return pages
  }

  /** Stage 2 maps what stage 1 and its CD stand in: with blocks where they fit, page by page elsewhere. */
  #mapTablesOf({ second, low, high, at }: Context): void {
    if (second === null) return
    const { tables, origin } = second
    const { granuleLg2, start } = tables.geometry
    const level = start <= 2 && this.#rng.chance(0.4) && origin % 2 ** levelLg2(granuleLg2, 2) === 0 ? 2 : 3
    const lg2 = levelLg2(granuleLg2, level)
    const made = [{ at: at - (at % 4096), bytes: 4096 }, ...[low, high].flatMap((half) => half?.tables.made ?? [])]
    for (const { at: first, bytes } of made) {
      const from = Math.floor((first - RAM_BASE) / 2 ** lg2)
      const last = Math.floor((first - RAM_BASE + bytes - 1) / 2 ** lg2)
      for (let i = from; i <= last; i++) {
        const entry = BigInt(RAM_BASE + i * 2 ** lg2) | LEAF_2 | (level === 3 ? 3n : 1n)
        tables.map(BigInt(origin + i * 2 ** lg2), level, entry)
      }
    }
  }
}
