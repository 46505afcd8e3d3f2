/** Emulated physical memory and its three readers. */

import { describe, expect, it, vi } from 'vitest'
import { CHUNK_BYTES, FlatBacking, MEMORY, Memory, SparseBacking } from '../../hw-model/memory/index.js'

const GIB = 2 ** 30
const KIB64 = CHUNK_BYTES

function sparse(...places: readonly (readonly [base: number, bytes: number])[]): Memory {
  const memory = new Memory()
  for (const [base, bytes] of places) memory.place(base, new SparseBacking(bytes))
  return memory
}

describe('where no memory is', () => {
  const memory = sparse([KIB64, KIB64], [4 * GIB, 2 * KIB64])

  it('every reader and every store aborts', () => {
    const into = new Int32Array(16)
    for (const pa of [0, KIB64 - 8, 2 * KIB64, GIB, 4 * GIB - 8, 4 * GIB + 2 * KIB64, 2 ** 51, 2 ** 52 - 8]) {
      expect(memory.loadWord(pa)).toBe(MEMORY.ABORT)
      expect(memory.loadRecord(pa, into, 0, 2)).toBe(MEMORY.ABORT)
      expect(memory.store32(pa, 1)).toBe(MEMORY.ABORT)
      expect(memory.storeWord(pa, 1, 1)).toBe(MEMORY.ABORT)
      expect(memory.updateFlags(pa, 0, 1, 0)).toBe(MEMORY.ABORT)
      expect(memory.readBytes(pa, new Uint8Array(8))).toBe(0)
      expect(memory.writeBytes(pa, new Uint8Array(8))).toBe(0)
    }
  })

  it('a record that begins inside and ends outside aborts', () => {
    expect(memory.loadRecord(2 * KIB64 - 64, new Int32Array(16), 0, 16)).toBe(MEMORY.OK)
    expect(memory.loadRecord(2 * KIB64 - 56, new Int32Array(16), 0, 16)).toBe(MEMORY.ABORT)
    expect(memory.storeEntries(2 * KIB64 - 64, new Int32Array(16), 16)).toBe(MEMORY.OK)
    expect(memory.storeEntries(2 * KIB64 - 56, new Int32Array(16), 16)).toBe(MEMORY.ABORT)
  })

  it('bytes are counted up to the hole', () => {
    expect(memory.writeBytes(2 * KIB64 - 3, new Uint8Array(8))).toBe(3)
    expect(memory.readBytes(2 * KIB64 - 3, new Uint8Array(8))).toBe(3)
  })
})

describe('sparse memory', () => {
  it('reads as zero before it was written, and costs nothing until then', () => {
    const backing = new SparseBacking(2 ** 40)
    const memory = new Memory()
    memory.place(0, backing)
    memory.lo = 5
    expect(memory.loadWord(2 ** 39 + 8)).toBe(MEMORY.OK)
    expect([memory.lo, memory.hi]).toEqual([0, 0])
    expect(memory.readBytes(2 ** 38 - 4, new Uint8Array(8).fill(9))).toBe(8)
    expect(backing.residentBytes).toBe(0)
    expect(memory.storeWord(2 ** 39 + 8, 1, 2)).toBe(MEMORY.OK)
    expect(backing.residentBytes).toBe(CHUNK_BYTES)
  })

  it('shows a store to a reader that found it empty before', () => {
    const memory = sparse([0, GIB])
    expect(memory.loadWord(0x1000)).toBe(MEMORY.OK)
    memory.storeWord(0x1000, -1, 0x7fffffff)
    expect(memory.loadWord(0x1000)).toBe(MEMORY.OK)
    expect([memory.lo, memory.hi]).toEqual([-1, 0x7fffffff])
  })

  it('refuses a length that is no number of words', () => {
    expect(() => new SparseBacking(6)).toThrow(RangeError)
    expect(() => new FlatBacking(new ArrayBuffer(6), true)).toThrow(RangeError)
  })
})

describe('words and records', () => {
  it('keep their place across chunk and gigabyte borders', () => {
    const memory = sparse([0, 6 * GIB])
    const record = Int32Array.from({ length: 16 }, (_, i) => (i + 1) * -1234567)
    for (const pa of [0, KIB64 - 8, KIB64 - 32, GIB - 64, GIB - 24, 4 * GIB - 8, 5 * GIB]) {
      const into = new Int32Array(20)
      expect(memory.storeRecord(pa, Int32Array.from([7, 7, ...record]), 2, 16)).toBe(MEMORY.OK)
      expect(memory.loadRecord(pa, into, 3, 16)).toBe(MEMORY.OK)
      expect([...into]).toEqual([0, 0, 0, ...record, 0])
    }
  })

  it('are little-endian bytes', () => {
    const memory = sparse([0, KIB64])
    memory.storeWord(8, 0x04030201, 0x08070605)
    const bytes = new Uint8Array(8)
    memory.readBytes(8, bytes)
    expect([...bytes]).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  })

  it('survive a copy in and out over several chunks', () => {
    const memory = sparse([0, 4 * KIB64])
    const bytes = Uint8Array.from({ length: 2 * KIB64 + 77 }, (_, i) => i * 7)
    expect(memory.writeBytes(KIB64 - 5, bytes)).toBe(bytes.length)
    const back = new Uint8Array(bytes.length)
    expect(memory.readBytes(KIB64 - 5, back)).toBe(bytes.length)
    expect(Buffer.compare(back, bytes)).toBe(0)
  })
})

describe('a short last chunk', () => {
  for (const [kind, make] of [
    ['sparse, never written', (): SparseBacking => new SparseBacking(KIB64 + 96)],
    ['flat', (): FlatBacking => new FlatBacking(new ArrayBuffer(KIB64 + 96), true)],
  ] as const) {
    it(`ends where the memory ends (${kind})`, () => {
      const memory = new Memory()
      memory.place(KIB64, make())
      const end = 2 * KIB64 + 96
      expect(memory.readBytes(end - 8, new Uint8Array(32))).toBe(8)
      expect(memory.loadWord(end - 8)).toBe(MEMORY.OK)
      expect(memory.loadWord(end)).toBe(MEMORY.ABORT)
      expect(memory.writeBytes(end - 8, new Uint8Array(32))).toBe(8)
      expect(memory.readBytes(end - 8, new Uint8Array(32))).toBe(8)
      expect(memory.storeWord(end - 8, 1, 1)).toBe(MEMORY.OK)
      expect(memory.storeWord(end, 1, 1)).toBe(MEMORY.ABORT)
      expect(memory.loadWord(end)).toBe(MEMORY.ABORT)
    })
  }

  it('of half a word has no 64-bit word, written or not', () => {
    const memory = sparse([0, KIB64 + 4])
    expect(memory.loadWord(KIB64)).toBe(MEMORY.ABORT)
    expect(memory.store32(KIB64, 5)).toBe(MEMORY.OK)
    expect(memory.loadWord(KIB64)).toBe(MEMORY.ABORT)
    expect(memory.storeWord(KIB64, 1, 2)).toBe(MEMORY.ABORT)
  })
})

describe('updateFlags', () => {
  it('stores when the low word is the expected one', () => {
    const memory = sparse([0, KIB64])
    memory.storeWord(16, 0x80000001 | 0, 77)
    expect(memory.updateFlags(16, 0x80000001 | 0, 0x80000401 | 0, 77)).toBe(MEMORY.OK)
    memory.loadWord(16)
    expect([memory.lo, memory.hi]).toEqual([0x80000401 | 0, 77])
  })

  it('is LOST when somebody changed the word, and then stores nothing', () => {
    const memory = sparse([0, KIB64])
    memory.storeWord(16, 1, 77)
    expect(memory.updateFlags(16, 3, 0x403, 77)).toBe(MEMORY.LOST)
    memory.loadWord(16)
    expect([memory.lo, memory.hi]).toEqual([1, 77])
  })

  it('is LOST when the high half is another one, and then stores nothing', () => {
    const memory = sparse([0, KIB64])
    memory.storeWord(16, 1, 77)
    expect(memory.updateFlags(16, 1, 3, 78)).toBe(MEMORY.LOST)
    memory.loadWord(16)
    expect([memory.lo, memory.hi]).toEqual([1, 77])
  })

  it('puts the low half back when the high one changed in that very moment', () => {
    const memory = sparse([0, KIB64])
    memory.storeWord(16, 1, 77)
    const exchange = vi.spyOn(Atomics, 'compareExchange').mockImplementationOnce((words, at, expected, next) => {
      exchange.mockRestore()
      const halves = words as unknown as Int32Array
      const old = Atomics.compareExchange(halves, at, Number(expected), Number(next))
      halves[at + 1] = 78
      return old as never
    })
    expect(memory.updateFlags(16, 1, 3, 77)).toBe(MEMORY.LOST)
    memory.loadWord(16)
    expect([memory.lo, memory.hi]).toEqual([1, 78])
  })

  it('sets a flag in memory that was never written', () => {
    const memory = sparse([0, KIB64])
    expect(memory.updateFlags(16, 0, 1, 0)).toBe(MEMORY.OK)
    expect(memory.updateFlags(24, 1, 3, 0)).toBe(MEMORY.LOST)
  })
})

describe('memory that may not be written', () => {
  it('reads as it is and aborts every store', () => {
    const buffer = new ArrayBuffer(KIB64)
    new Int32Array(buffer).fill(0x1234)
    const memory = new Memory()
    memory.place(0, new FlatBacking(buffer, false))
    expect(memory.loadWord(8)).toBe(MEMORY.OK)
    expect([memory.lo, memory.hi]).toEqual([0x1234, 0x1234])
    expect(memory.store32(8, 1)).toBe(MEMORY.ABORT)
    expect(memory.updateFlags(8, 0x1234, 0x1235, 0x1234)).toBe(MEMORY.ABORT)
    expect(memory.writeBytes(8, new Uint8Array(8))).toBe(0)
    expect(new Int32Array(buffer)[2]).toBe(0x1234)
  })
})

describe('placements', () => {
  it('start at a multiple of 64 KiB and do not overlap, not even inside the last chunk', () => {
    const memory = sparse([KIB64, KIB64 + 8])
    expect(() => memory.place(4096, new SparseBacking(8))).toThrow(RangeError)
    for (const base of [0, KIB64, 2 * KIB64]) {
      expect(() => memory.place(base, new SparseBacking(2 * KIB64))).toThrow(RangeError)
    }
    memory.place(0, new SparseBacking(KIB64))
    memory.place(3 * KIB64, new SparseBacking(8))
    expect(memory.placements.map(({ base }) => base)).toEqual([0, KIB64, 3 * KIB64])
  })

  it('are found by any of their addresses', () => {
    const memory = sparse([KIB64, KIB64], [3 * KIB64, 16], [4 * GIB, GIB])
    const baseAt = (pa: number): number | undefined => memory.find(pa)?.base
    expect([0, KIB64, 2 * KIB64 - 1, 2 * KIB64].map(baseAt)).toEqual([undefined, KIB64, KIB64, undefined])
    expect([3 * KIB64 + 15, 3 * KIB64 + 16].map(baseAt)).toEqual([3 * KIB64, undefined])
    expect([5 * GIB - 1, 5 * GIB].map(baseAt)).toEqual([4 * GIB, undefined])
  })

  it('once removed abort, and another one may take the place', () => {
    const memory = sparse([0, KIB64])
    memory.storeWord(8, 1, 2)
    expect(memory.loadWord(8)).toBe(MEMORY.OK)
    memory.remove(0)
    expect(memory.loadWord(8)).toBe(MEMORY.ABORT)
    expect(() => memory.remove(0)).toThrow(RangeError)
    memory.place(0, new SparseBacking(2 * KIB64))
    expect(memory.loadWord(8)).toBe(MEMORY.OK)
    expect([memory.lo, memory.hi]).toEqual([0, 0])
  })

  it('made where a reader found nothing before are seen', () => {
    const memory = sparse([0, KIB64])
    expect(memory.loadWord(2 * KIB64)).toBe(MEMORY.ABORT)
    expect(memory.loadWord(7 * GIB)).toBe(MEMORY.ABORT)
    memory.place(2 * KIB64, new SparseBacking(KIB64))
    memory.place(7 * GIB, new SparseBacking(KIB64))
    expect(memory.loadWord(2 * KIB64)).toBe(MEMORY.OK)
    expect(memory.loadWord(7 * GIB)).toBe(MEMORY.OK)
  })
})
