/** A word that is stored to between the two loads that read it. */

import { describe, expect, it } from 'vitest'
import { type Backing, CHUNK_BYTES, MEMORY, Memory } from '../../hw-model/memory/index.js'

/** Memory whose loads are seen one by one, as another CPU's stores would meet them. */
function watched(onLoad: (words: Int32Array, index: number, load: number) => void): {
  memory: Memory
  words: Int32Array
} {
  const words = new Int32Array(CHUNK_BYTES / 4)
  let loads = 0
  const chunk = new Proxy(words, {
    get: (target, key): unknown => {
      const index = Number(key)
      if (Number.isInteger(index)) {
        const value = target[index]
        onLoad(target, index, loads++)
        return value
      }
      return Reflect.get(target, key, target)
    },
  })
  const backing: Backing = {
    lengthBytes: CHUNK_BYTES,
    writable: true,
    residentBytes: 0,
    chunk: () => chunk,
    chunkForWrite: () => words,
  }
  const memory = new Memory()
  memory.place(0, backing)
  return { memory, words }
}

function put(words: Int32Array, at: number, value: number): void {
  words[at] = value
  words[at + 1] = -value
}

describe('a 64-bit word', () => {
  it('is the new one, whole, when the store falls between its two loads', () => {
    for (const moment of [0, 1, 2]) {
      const { memory, words } = watched((target, _index, load) => {
        if (load === moment) put(target, 2, 222)
      })
      put(words, 2, 111)
      expect(memory.loadWord(8)).toBe(MEMORY.OK)
      expect(memory.hi).toBe(-memory.lo)
      expect([111, 222]).toContain(memory.lo)
    }
  })

  it('is TORN, and not half old and half new, when it changes under every attempt', () => {
    let value = 1
    const { memory } = watched((target) => put(target, 2, ++value))
    memory.lo = 5
    memory.hi = -5
    expect(memory.loadWord(8)).toBe(MEMORY.TORN)
    expect(memory.hi + memory.lo).toBe(0)
  })

  it('makes the record that holds it TORN', () => {
    let value = 1
    const { memory } = watched((target, index) => {
      if (index >= 6) put(target, 6, ++value)
    })
    expect(memory.loadRecord(0, new Int32Array(8), 0, 4)).toBe(MEMORY.OK)
    expect(memory.loadRecord(0, new Int32Array(8), 0, 8)).toBe(MEMORY.TORN)
  })
})
