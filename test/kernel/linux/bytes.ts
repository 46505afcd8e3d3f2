/** Bytes of a caller's struct, read and written by offset. Shares nothing with the daemon. */

/** All ones. */
export const TOP = 0xffff_ffff_ffff_ffffn
export const PAGE = 4096n

export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  E2BIG: 7,
  EBADF: 9,
  ENOMEM: 12,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOTTY: 25,
  ENOSPC: 28,
  EOVERFLOW: 75,
  EBADFD: 77,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
} as const

export type Errno = keyof typeof ERRNO

/** A "no". */
export class No extends Error {
  readonly errno: Errno

  constructor(errno: Errno) {
    super(errno)
    this.errno = errno
  }
}

/** Refuses if it is so. */
export function no(errno: Errno, isSo: boolean): void {
  if (isSo) throw new No(errno)
}

/** A struct. What it is too short for reads as zero, and what is written there is lost. */
export class Struct {
  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  static of(length: number): Struct {
    return new Struct(new Uint8Array(length))
  }

  u8(at: number): number {
    return at < this.bytes.length ? this.bytes[at] : 0
  }

  u16(at: number): number {
    return this.u8(at) | (this.u8(at + 1) << 8)
  }

  u32(at: number): number {
    return this.u16(at) + this.u16(at + 2) * 0x10000
  }

  u64(at: number): bigint {
    return BigInt(this.u32(at)) | (BigInt(this.u32(at + 4)) << 32n)
  }

  put32(at: number, value: number): this {
    return this.#put(at, BigInt(value >>> 0), 4)
  }

  put16(at: number, value: number): this {
    return this.#put(at, BigInt(value), 2)
  }

  put64(at: number, value: bigint): this {
    return this.#put(at, value, 8)
  }

  #put(at: number, value: bigint, width: number): this {
    for (let i = 0; i < width && at + i < this.bytes.length; i++) {
      this.bytes[at + i] = Number((value >> BigInt(8 * i)) & 0xffn)
    }
    return this
  }
}

/** First and last byte. */
export interface Span {
  readonly start: bigint
  readonly last: bigint
}

export const meet = (a: Span, b: Span): boolean => a.start <= b.last && b.start <= a.last
