/**
 * The few system calls that Node does not offer, through koffi. Nothing is loaded before the first of them is used.
 * Numbers are Linux's, the same on x86-64 and arm64.
 */

import { createRequire } from 'node:module'

const PROT_READ = 1
const PROT_WRITE = 2
const MAP_SHARED = 1
const MAP_PRIVATE = 2
const MAP_FIXED = 0x10
const MAP_ANONYMOUS = 0x20
const MAP_NORESERVE = 0x4000
const LOCK_EX_NB = 2 | 4
const SOL_SOCKET = 1
const SO_PEERCRED = 17
const EWOULDBLOCK = 11

/** A mapping's address in this process, which only this file and its callers in `ops/` carry. */
export type MappedAddress = bigint

/** Who is at the other end of a Unix socket. [unix(7) SO_PEERCRED] */
export interface PeerCredentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

/** A system call said no. `errno` is Linux's number. */
export class SystemCallError extends Error {
  readonly errno: number

  constructor(call: string, errno: number) {
    super(`${call} failed with errno ${errno}`)
    this.errno = errno
  }
}

/**
 * Maps a file shared.
 *
 * @param offset bytes, a multiple of 4096
 */
export function mapShared(fd: number, offset: number, length: number, writable: boolean): MappedAddress {
  const prot = writable ? PROT_READ | PROT_WRITE : PROT_READ
  return map(0n, length, prot, MAP_SHARED, fd, offset)
}

/** Puts private zeroes where something else is mapped: what reads or writes there now reaches no file any more. */
export function mapZeroesOver(address: MappedAddress, length: number): void {
  map(address, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0)
}

/** Takes a mapping away. Never while a buffer of `bufferAt` is alive. */
export function unmap(address: MappedAddress, length: number): void {
  const { koffi, munmap } = libc()
  if (munmap(address, length) !== 0) throw new SystemCallError('munmap', koffi.errno())
}

/** The mapping as a buffer. One buffer for one mapping: the engine knows a buffer by its address. */
export function bufferAt(address: MappedAddress, length: number): ArrayBuffer {
  return libc().koffi.view(address, length)
}

/** Locks a whole open file for this process alone; false if another process has it. The kernel unlocks at exit. */
export function tryLock(fd: number): boolean {
  const { koffi, flock } = libc()
  if (flock(fd, LOCK_EX_NB) === 0) return true
  if (koffi.errno() === EWOULDBLOCK) return false
  throw new SystemCallError('flock', koffi.errno())
}

/** Who connected, by the kernel's word. Undefined where the descriptor is no Unix socket. */
export function peerCredentials(fd: number): PeerCredentials | undefined {
  const { getsockopt } = libc()
  const credentials = new Int32Array(3)
  const length = new Uint32Array([credentials.byteLength])
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, length) !== 0) return undefined
  const [pid, uid, gid] = credentials
  return { pid, uid: uid >>> 0, gid: gid >>> 0 }
}

function map(at: bigint, length: number, prot: number, flags: number, fd: number, offset: number): MappedAddress {
  const { koffi, mmap } = libc()
  const address = BigInt(mmap(at, length, prot, flags, fd, offset))
  if (address === -1n) throw new SystemCallError('mmap', koffi.errno())
  return address
}

/** The functions of the C library in use, and koffi itself. */
interface Libc {
  readonly koffi: typeof import('koffi')
  readonly mmap: (
    at: bigint,
    length: number,
    prot: number,
    flags: number,
    fd: number,
    offset: number,
  ) => number | bigint
  readonly munmap: (address: bigint, length: number) => number
  readonly flock: (fd: number, operation: number) => number
  readonly getsockopt: (fd: number, level: number, name: number, value: Int32Array, length: Uint32Array) => number
}

let loaded: Libc | undefined

function libc(): Libc {
  if (loaded !== undefined) return loaded
  const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi')
  const library = koffi.load(null)
  // Addresses travel as integers, so that no wrapper object stands between a mapping and its number.
  loaded = {
    koffi,
    mmap: library.func('intptr_t mmap(uintptr_t, size_t, int, int, int, int64_t)') as Libc['mmap'],
    munmap: library.func('int munmap(uintptr_t, size_t)') as Libc['munmap'],
    flock: library.func('int flock(int, int)') as Libc['flock'],
    getsockopt: library.func('int getsockopt(int, int, int, _Out_ int *, _Inout_ uint32_t *)') as Libc['getsockopt'],
  }
  return loaded
}
