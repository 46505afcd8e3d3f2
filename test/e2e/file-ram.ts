/** A machine's RAM in a file: the daemon maps it, and the test stores and loads words as the machine's CPUs would. */

import { closeSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** RAM at a physical address. */
export class FileRam {
  readonly base: bigint
  readonly bytes: bigint
  readonly folder = mkdtempSync(join(tmpdir(), 'iommud-ram-'))
  readonly path = join(this.folder, 'ram')
  readonly #fd: number
  readonly #word = Buffer.alloc(8)
  #free: bigint

  constructor(base: bigint, bytes: bigint) {
    this.base = base
    this.bytes = bytes
    this.#free = base
    this.#fd = openSync(this.path, 'w+')
    ftruncateSync(this.#fd, Number(bytes))
  }

  /** Memory that nobody else has, of zeroes, aligned to its size. */
  allocate(bytes: bigint): bigint {
    const at = (this.#free + bytes - 1n) & ~(bytes - 1n)
    this.#free = at + bytes
    if (this.#free > this.base + this.bytes) throw new Error('the RAM is too small for this test')
    return at
  }

  store(address: bigint, ...words: bigint[]): void {
    for (const [i, word] of words.entries()) {
      this.#word.writeBigUInt64LE(word)
      writeSync(this.#fd, this.#word, 0, 8, Number(address - this.base) + i * 8)
    }
  }

  load(address: bigint): bigint {
    readSync(this.#fd, this.#word, 0, 8, Number(address - this.base))
    return this.#word.readBigUInt64LE()
  }

  /** Removes the file. */
  remove(): void {
    closeSync(this.#fd)
    rmSync(this.folder, { recursive: true, force: true })
  }
}
