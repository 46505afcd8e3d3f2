/**
 * protobufjs' reader and writer with 64-bit values as bigint, and packed unsigned arrays in one piece.
 *
 * *Why:* protobufjs makes a Long of every 64-bit value, one object each. Its generated code reads through the reader it is
 * given, so a reader that answers bigint needs no other change. A packed array is little-endian on the wire already: it
 * is copied once as a typed array, pushed as one chunk, and `joinChunks` puts chunks and single elements together.
 */

import protobuf from 'protobufjs/light.js'

if (new Uint8Array(Uint32Array.of(1).buffer)[0] !== 1) throw new Error('iommud runs on little-endian machines only')

/** One 64-bit value as bigint and as two halves, low first. */
const whole = new BigUint64Array(1)
const halves = new Uint32Array(whole.buffer)

/** What protobufjs declares its 64-bit values to be, and what we give it instead. */
type Long64 = ReturnType<protobuf.Reader['uint64']>
type LongArray = (Long64 | number)[]

/** Reads 64-bit values as bigint and packed unsigned arrays as typed-array chunks. */
export class WireReader extends protobuf.Reader {
  #view: DataView

  constructor(bytes: Uint8Array) {
    // A Buffer's own slices would come out as Buffers; plain bytes give plain bytes.
    super(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength))
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  override fixed64(): Long64 {
    const value = this.#view.getBigUint64(this.#take(8), true)
    return value as unknown as Long64
  }

  override uint64(): Long64 {
    return this.#varint() as unknown as Long64
  }

  override sint64(): Long64 {
    const raw = this.#varint()
    return BigInt.asIntN(64, (raw >> 1n) ^ -(raw & 1n)) as unknown as Long64
  }

  override fixed64s(array: LongArray = []): LongArray {
    return pushChunk(array, new BigUint64Array(this.#copy(8)))
  }

  override fixed32s(array: number[] = []): number[] {
    return pushChunk(array, new Uint32Array(this.#copy(4)))
  }

  override uint32s(array: number[] = []): number[] {
    const chunk = new Uint32Array(this.#countVarints())
    const bytes = this.size()
    if (bytes === chunk.length) {
      const from = this.#take(bytes)
      chunk.set(this.buf.subarray(from, from + bytes))
    } else this.#wide(bytes, chunk)
    return pushChunk(array, chunk)
  }

  override uint64s(array: LongArray = []): LongArray {
    const chunk = new BigUint64Array(this.#countVarints())
    this.#packed(this.size(), chunk, () => this.#varint())
    return pushChunk(array, chunk)
  }

  /** Advances by `bytes` and says from where. */
  #take(bytes: number): number {
    const { pos } = this
    if (pos + bytes > this.len) throw new RangeError('the message ends inside a value')
    this.pos = pos + bytes
    return pos
  }

  /** A copy of a length-delimited field whose length must be a multiple of `width`. */
  #copy(width: number): ArrayBuffer {
    const bytes = this.size()
    if (bytes % width !== 0) throw new RangeError(`a packed array of ${bytes} bytes is no multiple of ${width}`)
    const from = this.#take(bytes)
    return this.buf.slice(from, from + bytes).buffer as ArrayBuffer
  }

  /** How many varints the length-delimited field at the cursor holds; the cursor stays. */
  #countVarints(): number {
    const { pos } = this
    const bytes = this.size()
    const from = this.#take(bytes)
    let count = 0
    for (let at = from; at < from + bytes; at++) count += 1 - (this.buf[at] >>> 7)
    this.pos = pos
    return count
  }

  /** Fills `chunk` with the varints in the next bytes, of which bits above 31 are dropped; the last byte ends one. */
  #wide(bytes: number, chunk: Uint32Array): void {
    const { buf } = this
    let at = this.#take(bytes)
    const end = at + bytes
    for (let i = 0; i < chunk.length; i++) {
      let value = 0
      for (let shift = 0; ; shift += 7) {
        if (shift === 70) throw new RangeError('a varint is longer than ten bytes')
        const byte = buf[at++]
        if (shift < 32) value |= (byte & 0x7f) << shift
        if (byte < 0x80) break
      }
      chunk[i] = value
    }
    if (at !== end) throw new RangeError('a packed array ends inside a value')
  }

  /** Fills `chunk` with the varints in the next `bytes` bytes, and not a byte beyond them. */
  #packed<T>(bytes: number, chunk: { length: number; [index: number]: T }, read: () => T): void {
    const end = this.pos + bytes
    const { len } = this
    this.len = end
    for (let i = 0; i < chunk.length; i++) chunk[i] = read()
    if (this.pos !== end) throw new RangeError('a packed array ends inside a value')
    this.len = len
  }

  /** A varint of up to ten bytes; bits above 63 are dropped. */
  #varint(): bigint {
    let [low, mid, high] = [0, 0, 0]
    for (let i = 0; i < 10; i++) {
      const byte = this.buf[this.#take(1)]
      const bits = byte & 0x7f
      if (i < 4) low |= bits << (7 * i)
      else if (i < 8) mid |= bits << (7 * (i - 4))
      else high |= bits << (7 * (i - 8))
      if (byte < 0x80) {
        if (i < 4) return BigInt(low)
        halves[0] = low | (mid << 28)
        halves[1] = (mid >>> 4) | (high << 24)
        return whole[0]
      }
    }
    throw new RangeError('a varint is longer than ten bytes')
  }
}

/** What the base class has and does not declare. */
interface Room {
  buf: Uint8Array
  pos: number
  _reserve(bytes: number): void
}

/** A writer that grew beyond this is not kept for the next message. */
const KEPT_BYTES = 1 << 18

/** Writes 64-bit values from bigint and packed arrays from typed arrays. */
export class WireWriter extends protobuf.Writer {
  /** An empty writer: one that was used before, as its room need not grow again, unless that has become very large. */
  static again(writer: WireWriter): WireWriter {
    const room = writer as unknown as Room
    if (room.buf.length > KEPT_BYTES) return new WireWriter()
    room.pos = 0
    return writer
  }

  /** Values below 128, as most arrays have only, are copied at once. */
  override uint32s(values: unknown): protobuf.Writer {
    const all = values as Uint32Array
    const { length } = all
    let bits = 0
    for (let i = 0; i < length; i++) bits |= all[i]
    if (bits >>> 7 !== 0) return super.uint32s(all as never)
    this.uint32(length)
    const room = this as unknown as Room
    room._reserve(length)
    room.buf.set(all, room.pos)
    room.pos += length
    return this
  }

  override fixed64(value: unknown): protobuf.Writer {
    return super.fixed64(split(value as bigint))
  }

  override uint64(value: unknown): protobuf.Writer {
    return super.uint64(split(value as bigint))
  }

  override sint64(value: unknown): protobuf.Writer {
    const signed = value as bigint
    return super.uint64(split((signed << 1n) ^ (signed >> 63n)))
  }

  override fixed64s(values: unknown): protobuf.Writer {
    const { buffer, byteOffset, byteLength } = values as BigUint64Array
    this.uint32(byteLength)
    return this.raw(new Uint8Array(buffer, byteOffset, byteLength))
  }

  override uint64s(values: unknown): protobuf.Writer {
    this.fork()
    for (const value of values as BigUint64Array) this.uint64(value)
    return this.ldelim()
  }
}

/** One array out of what the reader pushed: chunks, and elements that came singly. */
export function joinChunks<T extends BigUint64Array | Uint32Array>(
  parts: readonly (T | T[number])[],
  make: (length: number) => T,
): T {
  if (parts.length === 1 && typeof parts[0] === 'object') return parts[0]
  let length = 0
  for (const part of parts) length += typeof part === 'object' ? part.length : 1
  const joined = make(length)
  let at = 0
  for (const part of parts) {
    if (typeof part !== 'object') joined[at++] = part
    else {
      joined.set(part as never, at)
      at += part.length
    }
  }
  return joined
}

function pushChunk<T>(array: T[], chunk: unknown): T[] {
  const parts = array as unknown[]
  parts.push(chunk)
  return array
}

/** A 64-bit value as the halves that protobufjs writes. */
function split(value: bigint): { low: number; high: number; unsigned: boolean } & Long64 {
  whole[0] = value
  return { low: halves[0], high: halves[1], unsigned: true } as never
}
