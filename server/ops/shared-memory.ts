/**
 * Files of clients, mapped shared, as buffers: what another process writes there is read by the next table walk.
 *
 * Which file: the path is opened as a bare name (O_PATH), the kernel then says which file that is, and only if it lies
 * under an allowed folder is this very file opened for real. No link swapped in between leads elsewhere. A hard link
 * inside an allowed folder is the file it names: who may make links there is for the folder's owner to decide.
 *
 * A file that shrinks: pages behind its new end raise SIGBUS, which no JavaScript survives. Three things stand against
 * it. Only folders that the operator named are mapped from; the length is checked when the file is mapped; and the file
 * is watched: as soon as the event loop learns that it has shrunk, private zeroes replace what was lost, and they stay.
 * What remains is an access in the same turn of the loop as the truncation. A client that cannot promise to leave the
 * length alone should use a daemon of its own. A guest's stores never change the length.
 *
 * A mapping is never taken away while a buffer on it may be in use: `release` puts zeroes in its place at once, which
 * lets the file go, and the addresses are given back when the garbage collector has found the buffer unused.
 */

import { closeSync, constants, type FSWatcher, fstatSync, openSync, readlinkSync, realpathSync, watch } from 'node:fs'
import { isAbsolute, sep } from 'node:path'
import { Refusal } from '../core/driver.js'
import { bufferAt, type MappedAddress, mapShared, mapZeroesOver, SystemCallError, unmap } from './native.js'

/** Offsets and lengths are multiples of the smallest page, 4 KiB. */
const PAGE_BYTES = 4096

/** Opens a name without opening the file. [open(2) O_PATH] */
const O_PATH = 0o10000000

/** A range of a file. */
export interface FileRange {
  /** Absolute. */
  readonly path: string
  /** Bytes, a multiple of 4096. */
  readonly offset: number
  /** Bytes, a multiple of 4096; 0 is the rest of the file. */
  readonly lengthBytes: number
  readonly writable: boolean
}

/** A mapped range of a file. */
export interface SharedMapping {
  readonly buffer: ArrayBuffer
  readonly lengthBytes: number
  readonly writable: boolean
  /** Bytes from the start that are still the file's; fewer than `lengthBytes` once it has shrunk. */
  readonly intactBytes: number
  /** Compares with the file's length now, and covers what was lost. */
  check(): void
  /** Lets the file go. The buffer stays readable, as zeroes. */
  release(): void
}

/** Maps files under allowed folders. */
export class SharedMemory {
  /** The allowed folders, links resolved. */
  readonly roots: readonly string[]

  /** @param roots absolute paths of existing folders */
  constructor(roots: readonly string[]) {
    this.roots = roots.map((root) => realpathSync(root))
  }

  /**
   * Maps a range.
   *
   * @throws Refusal EACCES (not under an allowed folder, no permission), ENOENT (no such file), EINVAL (no regular
   * file, misaligned, or the range ends beyond the file), ENOMEM (the kernel has no room for the mapping)
   */
  map(range: FileRange): SharedMapping {
    checkShape(range)
    const fd = this.#open(range)
    try {
      const rest = fstatSync(fd).size - range.offset
      const length = range.lengthBytes === 0 ? Math.floor(rest / PAGE_BYTES) * PAGE_BYTES : range.lengthBytes
      if (length <= 0 || length > rest) {
        throw new Refusal('EINVAL', 'the range ends beyond the end of the file', {
          path: range.path,
          offset: range.offset,
          lengthBytes: range.lengthBytes,
          fileBytes: rest + range.offset,
        })
      }
      return new Mapping(fd, range, length)
    } catch (error) {
      closeSync(fd)
      if (error instanceof SystemCallError) {
        throw new Refusal('ENOMEM', `the file cannot be mapped: ${error.message}`, { path: range.path })
      }
      throw error
    }
  }

  #open(range: FileRange): number {
    const access = range.writable ? constants.O_RDWR : constants.O_RDONLY
    const name = tryOpen(range.path, range.path, O_PATH)
    try {
      const itself = `/proc/self/fd/${name}`
      const real = readlinkSync(itself)
      if (!this.roots.some((root) => isUnder(real, root))) throw this.#outside(range.path)
      if (!fstatSync(name).isFile()) throw new Refusal('EINVAL', 'this is not a regular file', { path: range.path })
      return tryOpen(itself, range.path, access | constants.O_NOCTTY)
    } finally {
      closeSync(name)
    }
  }

  #outside(path: string): Refusal {
    const reason =
      this.roots.length === 0
        ? 'this daemon maps no files: start it with --file-root FOLDER to allow a folder'
        : 'the file is not under a folder that this daemon maps files from'
    return new Refusal('EACCES', reason, { path, fileRoots: this.roots })
  }
}

class Mapping implements SharedMapping {
  readonly buffer: ArrayBuffer
  readonly lengthBytes: number
  readonly writable: boolean
  readonly #offset: number
  readonly #fd: number
  readonly #address: MappedAddress
  readonly #watcher: FSWatcher | undefined
  #intact: number
  #released = false

  constructor(fd: number, range: FileRange, length: number) {
    this.#address = mapShared(fd, range.offset, length, range.writable)
    this.buffer = bufferAt(this.#address, length)
    unmapWhenUnused.register(this.buffer, { address: this.#address, length })
    this.#fd = fd
    this.#offset = range.offset
    this.lengthBytes = length
    this.#intact = length
    this.writable = range.writable
    this.#watcher = tryWatch(`/proc/self/fd/${fd}`, () => this.check())
  }

  get intactBytes(): number {
    return this.#intact
  }

  check(): void {
    if (this.#released) return
    // The page in which the file ends is still there; the kernel fills it up with zeroes.
    const left = Math.ceil(Math.max(0, fstatSync(this.#fd).size - this.#offset) / PAGE_BYTES) * PAGE_BYTES
    if (left >= this.#intact) return
    mapZeroesOver(this.#address + BigInt(left), this.lengthBytes - left)
    this.#intact = left
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    this.#watcher?.close()
    mapZeroesOver(this.#address, this.lengthBytes)
    this.#intact = 0
    closeSync(this.#fd)
  }
}

const unmapWhenUnused = new FinalizationRegistry<{ readonly address: MappedAddress; readonly length: number }>(
  ({ address, length }) => unmap(address, length),
)

function checkShape({ path, offset, lengthBytes }: FileRange): void {
  if (!isAbsolute(path) || path.includes('\0')) {
    throw new Refusal('EINVAL', 'the path is not absolute', { path })
  }
  for (const [name, value] of Object.entries({ offset, lengthBytes })) {
    if (!Number.isSafeInteger(value) || value < 0 || value % PAGE_BYTES !== 0) {
      throw new Refusal('EINVAL', `${name} is not a multiple of ${PAGE_BYTES} bytes`, { [name]: value })
    }
  }
}

/** Opens `path`; a refusal speaks of `asked`. */
function tryOpen(path: string, asked: string, flags: number): number {
  try {
    return openSync(path, flags)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new Refusal('ENOENT', 'there is no such file', { path: asked })
    throw new Refusal('EACCES', `the daemon may not open this file (${code})`, { path: asked })
  }
}

/** Where the kernel has no watch left to give, `check` is all there is. */
function tryWatch(path: string, changed: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(path, { persistent: false }, changed)
    watcher.on('error', () => watcher.close())
    return watcher
  } catch {
    return undefined
  }
}

const isUnder = (path: string, root: string): boolean => path.startsWith(root === sep ? sep : root + sep)
