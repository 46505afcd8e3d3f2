/**
 * A guest's RAM in a file that another process writes: the stand-in for a running guest. The daemon maps the file;
 * what the other process stores there is seen by the next walk, with no call in between.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** The other process: stores 64-bit words at file offsets, one per line of its input, and says when each is done. */
const WRITER = `
const fs = require('node:fs')
const fd = fs.openSync(process.argv[1], 'w+')
fs.ftruncateSync(fd, Number(process.argv[2]))
const word = Buffer.alloc(8)
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const [offset, value] = line.split(' ')
  word.writeBigUInt64LE(BigInt(value))
  fs.writeSync(fd, word, 0, 8, Number(offset))
  console.log('done')
})
console.log('done')
`

/** Guest-physical address of the first byte of RAM. */
export const RAM_BASE = 0x4000_0000n

/** Bytes of RAM, where a test does not ask for more. */
export const RAM_BYTES = 0x40_0000n

/** A guest's RAM, written by a process of its own. Addresses are guest-physical. */
export class GuestMemory {
  readonly folder = mkdtempSync(join(tmpdir(), 'iommud-guest-'))
  readonly path = join(this.folder, 'ram')
  readonly bytes: bigint
  readonly #writer: ChildProcess
  readonly #waiting: (() => void)[] = []

  private constructor(bytes: bigint) {
    this.bytes = bytes
    this.#writer = spawn(process.execPath, ['-e', WRITER, this.path, String(bytes)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    createInterface({ input: this.#writer.stdout as NodeJS.ReadableStream }).on('line', () => this.#waiting.shift()?.())
  }

  /** Starts the other process and makes the file. */
  static async start(bytes = RAM_BYTES): Promise<GuestMemory> {
    const guest = new GuestMemory(bytes)
    await new Promise<void>((done) => guest.#waiting.push(done))
    return guest
  }

  /** Has the other process store a word; answers when it has. */
  async store(address: bigint, value: bigint): Promise<void> {
    const stored = new Promise<void>((done) => this.#waiting.push(done))
    this.#writer.stdin?.write(`${address - RAM_BASE} ${value}\n`)
    await stored
  }

  /** Stores consecutive words. */
  async storeAll(address: bigint, values: readonly bigint[]): Promise<void> {
    for (const [i, value] of values.entries()) await this.store(address + BigInt(i * 8), value)
  }

  /** Stores many words anywhere, one after the other, without waiting for each. */
  async storeMany(words: Iterable<readonly [address: bigint, value: bigint]>): Promise<void> {
    await Promise.all(Array.from(words, ([address, value]) => this.store(address, value)))
  }

  /** Ends the other process and removes the file. */
  stop(): void {
    this.#writer.kill()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
