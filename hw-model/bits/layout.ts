/**
 * The bit-layout kernel: a record of a manual is declared once, in the manual's own numbers, and its readers, writers,
 * packing, dump and reserved-bit check all come from that declaration.
 *
 * A record lives in an `Int32Array` as little-endian 32-bit words. A field is `[hi:lo]`, inclusive, counted over the
 * whole record. Fields up to 32 bits wide read as a non-negative number. Wider ones read as an exact number up to 53
 * bits; beyond that use `lo` and `hi`, which are exact at any width up to 64.
 */

/** One field of a record. `get` and `set` take the record's words and the index of its first word. */
export interface Field {
  /** Highest bit, inclusive, counted over the whole record. */
  readonly high: number
  /** Lowest bit, inclusive. */
  readonly low: number
  /** Bits, 1..64. */
  readonly width: number
  /** Whether the value is a byte address whose low bits (below the field) are zero. */
  readonly isAddress: boolean
  /** The field's value; an address comes with its low zero bits in place. Exact up to 2^53. */
  get(words: Int32Array, at: number): number
  /** Stores a value; bits beyond the width are dropped. Exact up to 2^53. */
  set(words: Int32Array, at: number, value: number): void
  /** Low 32 bits of the value (an address is not shifted back here), as an unsigned number. */
  lo(words: Int32Array, at: number): number
  /** High 32 bits of the value, as an unsigned number; 0 for fields up to 32 bits. */
  hi(words: Int32Array, at: number): number
}

/** What a declaration says about a field before it has been bound to a layout. */
export interface FieldSpec {
  readonly high: number
  readonly low: number
  readonly isAddress: boolean
}

/** Fields by name, with the record they belong to. */
export type Layout<F extends Record<string, FieldSpec>> = { readonly [K in keyof F]: Field } & {
  readonly $: LayoutInfo
}

/** The record itself: its name, its size, its fields in declaration order. */
export interface LayoutInfo {
  readonly name: string
  /** Bits of the whole record, a multiple of 32. */
  readonly bits: number
  /** 32-bit words of the whole record. */
  readonly words: number
  /** Bytes of the whole record. */
  readonly bytes: number
  readonly fields: ReadonlyMap<string, Field>
}

/** A one-bit field. */
export const bit = (at: number): FieldSpec => ({ high: at, low: at, isAddress: false })

/** A field `[high:low]`, at most 64 bits wide, spanning at most two 32-bit words or starting at a 64-bit boundary. */
export const bits = (high: number, low: number): FieldSpec => ({ high, low, isAddress: false })

/** A byte address whose bits `[high % 64 : low % 64]` stand in `[high:low]`; the bits below read as zero. */
export const address = (high: number, low: number): FieldSpec => ({ high, low, isAddress: true })

/**
 * Declares a record.
 *
 * @param name the manual's name of the record
 * @param size its size in bits, a multiple of 32
 * @param specs its fields, spelled as the manual spells them; they may not overlap
 */
export function layout<const F extends Record<string, FieldSpec>>(name: string, size: number, specs: F): Layout<F> {
  const fields = new Map<string, Field>()
  for (const [key, spec] of Object.entries(specs)) {
    if (spec.low < 0 || spec.high < spec.low || spec.high >= size)
      throw new RangeError(`${name}.${key} is out of range`)
    for (const [other, taken] of fields) {
      if (spec.low <= taken.high && taken.low <= spec.high) throw new RangeError(`${name}.${key} overlaps ${other}`)
    }
    fields.set(key, bind(spec, `${name}.${key}`))
  }
  const info: LayoutInfo = { name, bits: size, words: size / 32, bytes: size / 8, fields }
  return Object.freeze({ ...Object.fromEntries(fields), $: info }) as Layout<F>
}

/** A new record with the given fields set and every other bit zero. */
export function pack<F extends Record<string, FieldSpec>>(
  record: Layout<F>,
  values: { readonly [K in keyof F]?: number },
): Int32Array {
  const words = new Int32Array(record.$.words)
  // Commands are packed by the thousand: a list of the entries, made first, doubles what this takes.
  for (const key in values) {
    const field = record.$.fields.get(key)
    if (field === undefined) throw new RangeError(`${record.$.name} has no field ${key}`)
    field.set(words, 0, values[key] as number)
  }
  return words
}

/** Decoded fields by name, as numbers; for people and for `Explain`, not for the translate path. */
export function dump<F extends Record<string, FieldSpec>>(
  record: Layout<F>,
  words: Int32Array,
  at = 0,
): Record<keyof F & string, number> {
  const out: Record<string, number> = {}
  for (const [key, field] of record.$.fields) out[key] = field.get(words, at)
  return out as Record<keyof F & string, number>
}

/** A mask over the whole record: one where a bit belongs to none of the named fields (default: to no field at all). */
export function maskOutside<F extends Record<string, FieldSpec>>(
  record: Layout<F>,
  names: readonly (keyof F & string)[] = [...record.$.fields.keys()],
): Int32Array {
  const mask = new Int32Array(record.$.words).fill(-1)
  for (const name of names) {
    const { low, high } = record.$.fields.get(name) as Field
    for (let b = low; b <= high; b++) mask[b >>> 5] &= ~(1 << (b & 31))
  }
  return mask
}

/** Whether any bit of `mask` is set in the record. */
export function anySet(words: Int32Array, at: number, mask: Int32Array): boolean {
  for (let i = 0; i < mask.length; i++) if ((words[at + i] & mask[i]) !== 0) return true
  return false
}

const TWO32 = 4294967296

function bind(spec: FieldSpec, name: string): Field {
  const { high, low, isAddress } = spec
  const width = high - low + 1
  const word = low >>> 5
  const shift = low & 31
  if (width > 64) throw new RangeError(`${name} is wider than 64 bits`)
  if (isAddress) return bindAddress(spec, width)
  if (shift + width <= 32) return bindNarrow(high, low, width, word, shift)
  if (shift + width <= 64) return bindWide(high, low, width, word, shift)
  throw new RangeError(`${name} spans three words`)
}

function bindNarrow(high: number, low: number, width: number, word: number, shift: number): Field {
  const mask = width === 32 ? -1 : (1 << width) - 1
  const clear = ~(mask << shift)
  const get = (words: Int32Array, at: number): number => ((words[at + word] >>> shift) & mask) >>> 0
  const set = (words: Int32Array, at: number, value: number): void => {
    words[at + word] = (words[at + word] & clear) | ((value & mask) << shift)
  }
  return { high, low, width, isAddress: false, get, set, lo: get, hi: () => 0 }
}

function bindWide(high: number, low: number, width: number, word: number, shift: number): Field {
  const topWidth = shift + width - 32
  const topMask = topWidth === 32 ? -1 : (1 << topWidth) - 1
  const raw = (words: Int32Array, at: number): number => words[at + word + 1] & topMask
  const lowMask = width >= 32 ? -1 : (1 << width) - 1
  const lo = (words: Int32Array, at: number): number => {
    const below = words[at + word] >>> shift
    return ((shift === 0 ? below : below | (raw(words, at) << (32 - shift))) & lowMask) >>> 0
  }
  const hi = (words: Int32Array, at: number): number => (width > 32 ? raw(words, at) >>> shift : 0)
  const get = (words: Int32Array, at: number): number => hi(words, at) * TWO32 + lo(words, at)
  const set = (words: Int32Array, at: number, value: number): void => {
    const valueLo = value >>> 0
    const valueHi = Math.floor(value / TWO32) >>> 0
    const keepLow = shift === 0 ? 0 : words[at + word] & ((1 << shift) - 1)
    words[at + word] = keepLow | (valueLo << shift)
    const top = shift === 0 ? valueHi : (valueLo >>> (32 - shift)) | (valueHi << shift)
    words[at + word + 1] = (words[at + word + 1] & ~topMask) | (top & topMask)
  }
  return { high, low, width, isAddress: false, get, set, lo, hi }
}

/** An address keeps its bit positions inside its own 64-bit word, so reading one is two masks and no shift. */
function bindAddress(spec: FieldSpec, width: number): Field {
  const { high, low } = spec
  if (high >>> 6 !== low >>> 6) throw new RangeError('an address stands in one 64-bit word')
  const word = (low >>> 6) * 2
  const lowMask = maskBetween(low & 63, high & 63, 0)
  const highMask = maskBetween(low & 63, high & 63, 32)
  const lo = (words: Int32Array, at: number): number => (words[at + word] & lowMask) >>> 0
  const hi = (words: Int32Array, at: number): number => (words[at + word + 1] & highMask) >>> 0
  const get = (words: Int32Array, at: number): number => hi(words, at) * TWO32 + lo(words, at)
  const set = (words: Int32Array, at: number, value: number): void => {
    words[at + word] = (words[at + word] & ~lowMask) | ((value >>> 0) & lowMask)
    words[at + word + 1] = (words[at + word + 1] & ~highMask) | (Math.floor(value / TWO32) & highMask)
  }
  return { high, low, width, isAddress: true, get, set, lo, hi }
}

/** Bits `[high:low]` of a 64-bit word, as they fall into the 32-bit word that starts at bit `from`. */
function maskBetween(low: number, high: number, from: number): number {
  let mask = 0
  for (let b = Math.max(low, from); b <= Math.min(high, from + 31); b++) mask |= 1 << (b - from)
  return mask
}
