/** Memory of a machine: a file that QEMU maps too, so that tables are written without a request each. */

import { closeSync, fstatSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bufferAt, mapShared } from '../../server/ops/native.js'

/** A folder in memory with the two files that a machine shares with us: its RAM and its log. */
export class SharedFiles {
  readonly ramPath: string
  readonly logPath: string
  readonly ram: Uint8Array
  readonly #folder: string
  readonly #log: number
  #position = 0

  constructor(bytes: number) {
    this.#folder = mkdtempSync(join(shm(), 'iommud-qemu-'))
    this.ramPath = join(this.#folder, 'ram')
    this.logPath = join(this.#folder, 'log')
    const fd = openSync(this.ramPath, 'w+')
    ftruncateSync(fd, bytes)
    this.ram = new Uint8Array(bufferAt(mapShared(fd, 0, bytes, true), bytes))
    closeSync(fd)
    this.#log = openSync(this.logPath, 'w+')
  }

  /** What was logged since the last call. What was read is given back, and QEMU's own position stays. */
  newLog(): string {
    const end = fstatSync(this.#log).size
    const bytes = Buffer.allocUnsafe(Math.max(0, end - this.#position))
    let got = 0
    while (got < bytes.length) {
      const more = readSync(this.#log, bytes, got, bytes.length - got, this.#position + got)
      if (more === 0) break
      got += more
    }
    this.#position += got
    return bytes.toString('latin1', 0, got)
  }

  /** Forgets the log so far, to be called when nothing is being logged. */
  trimLog(): void {
    ftruncateSync(this.#log, 0)
    ftruncateSync(this.#log, this.#position)
  }

  /** Takes the names away; both sides keep their files until they close them. */
  unlink(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  close(): void {
    this.unlink()
    closeSync(this.#log)
  }
}

/** A file system in memory where there is one. */
function shm(): string {
  try {
    rmSync(mkdtempSync('/dev/shm/iommud-probe-'), { recursive: true })
    return '/dev/shm'
  } catch {
    return tmpdir()
  }
}
