/** The readers against a thread that stores to the same memory as fast as it can. */

import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { FlatBacking, MEMORY, Memory } from '../../hw-model/memory/index.js'

const LONG = process.env['IOMMUD_TEST_LONG'] === '1'
const READS = LONG ? 50_000_000 : 3_000_000
const FLAGS = LONG ? 3_000_000 : 300_000

/** Word of the buffer that tells the writer to stop, and the one that says that it runs. */
const STOP = 0
const RUNNING = 1
const WORD = 64
const SALT = 0x5bd1e995

const mixed = (lo: number): number => Math.imul(lo, SALT) | 0

interface Race {
  readonly words: Int32Array
  readonly memory: Memory
  finish(): Promise<unknown>
}

/** Starts a writer; `body` runs there with `words`, `longs`, `AT` and `mixed`, and what it returns is `finish()`. */
async function race(body: string): Promise<Race> {
  const buffer = new SharedArrayBuffer(65536)
  const words = new Int32Array(buffer)
  const source = `
    const { workerData, parentPort } = require('node:worker_threads')
    const words = new Int32Array(workerData), longs = new BigInt64Array(workerData)
    const AT = ${WORD}, mixed = (lo) => Math.imul(lo, ${SALT}) | 0
    const stopped = () => Atomics.load(words, ${STOP}) !== 0
    Atomics.store(words, ${RUNNING}, 1)
    Atomics.notify(words, ${RUNNING})
    parentPort.postMessage((() => { ${body} })())`
  const worker = new Worker(source, { eval: true, workerData: buffer })
  const result = new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  Atomics.wait(words, RUNNING, 0, 20_000)
  const memory = new Memory()
  memory.place(0, new FlatBacking(buffer, true))
  return {
    words,
    memory,
    finish: async () => {
      Atomics.store(words, STOP, 1)
      const value = await result
      await worker.terminate()
      return value
    },
  }
}

/** Values that must be seen before a race has shown anything. */
const ENOUGH = 100

/** On a busy machine the writer may hardly run while the reader does; then the reader goes on, so many times at most. */
const ROUNDS = 40

/** Reads one word many times; answers how many values were seen and how many of them were no whole value. */
function readAll({ memory }: Race): { seen: number; broken: number } {
  let seen = 0
  let broken = 0
  let last = 0
  for (let round = 0; round === 0 || (round < ROUNDS && seen <= ENOUGH); round++) {
    for (let i = 0; i < READS; i++) {
      if (memory.loadWord(WORD * 4) !== MEMORY.OK) continue
      if (memory.lo !== last) seen++
      last = memory.lo
      if (last !== 0 && memory.hi !== mixed(last)) broken++
    }
  }
  return { seen, broken }
}

describe('a reader beside a writing CPU', () => {
  it('sees each 8-byte store whole', async () => {
    const running = await race(`
      let n = 1
      while (!stopped()) for (let i = 0; i < 4096; i++) {
        n = (n + 2) | 1
        Atomics.store(longs, AT / 2, (BigInt(mixed(n | 0)) << 32n) | BigInt((n | 0) >>> 0))
      }
      return n`)
    const { seen, broken } = readAll(running)
    await running.finish()
    expect(broken).toBe(0)
    expect(seen).toBeGreaterThan(ENOUGH)
  })

  it('sees a word stored in two halves as invalid or whole: invalid, high, low', async () => {
    const running = await race(`
      let n = 1
      while (!stopped()) for (let i = 0; i < 4096; i++) {
        n = (n + 2) | 1
        Atomics.store(words, AT, 0)
        Atomics.store(words, AT + 1, mixed(n | 0))
        Atomics.store(words, AT, n | 0)
      }
      return n`)
    const { seen, broken } = readAll(running)
    await running.finish()
    expect(broken).toBe(0)
    expect(seen).toBeGreaterThan(ENOUGH)
  })

  it("sees the hardware's own stores whole where bit 0 says valid", async () => {
    const memory = new Memory()
    memory.place(0, new FlatBacking(new SharedArrayBuffer(65536), true))
    memory.storeWord(256, 0x1001, 7)
    expect(memory.loadWord(256)).toBe(MEMORY.OK)
    expect([memory.lo, memory.hi]).toEqual([0x1001, 7])
  })
})

describe('a flag update beside a writing CPU', () => {
  it("loses neither its own change nor the other's", async () => {
    const running = await race(`
      let mine = 0
      while (!stopped()) {
        const old = Atomics.load(words, AT)
        if (Atomics.compareExchange(words, AT, old, (old + 0x10000) | 0) === old) mine++
      }
      return mine`)
    const { memory } = running
    let done = 0
    let lost = 0
    while (done < FLAGS) {
      memory.loadWord(WORD * 4)
      const old = memory.lo
      const next = (old & ~0xffff) | ((old + 1) & 0xffff)
      const status = memory.updateFlags(WORD * 4, old, next, memory.hi)
      if (status === MEMORY.OK) done++
      else if (status === MEMORY.LOST) lost++
      else throw new Error('memory went away')
    }
    const theirs = (await running.finish()) as number
    const end = running.words[WORD]
    expect(end & 0xffff).toBe(done & 0xffff)
    expect((end >>> 16) & 0xffff).toBe(theirs & 0xffff)
    expect(theirs).toBeGreaterThan(0)
    expect(lost).toBeGreaterThan(0)
  })
})
