/**
 * Errnos, each with the one meaning it has in every call. Numbers are Linux's on x86-64 and arm64.
 * `docs/errors.md` and the RPC status codes follow this table.
 */
export const ERRNO = {
  /** The caller's capability, or the device, does not allow this. */
  EPERM: 1,
  /** No object, mapping or range of that name; or the id names an object of another kind. */
  ENOENT: 2,
  /** The hardware would not take this: a command or table entry it has no meaning for. */
  EIO: 5,
  /** Nothing is there at this offset of the file. */
  ENXIO: 6,
  /** Trailing bytes that we do not know are not zero. */
  E2BIG: 7,
  /** The handle is not open. */
  EBADF: 9,
  /** Memory, or a table in it, cannot be had. */
  ENOMEM: 12,
  /** The token does not open this door. */
  EACCES: 13,
  /** An address of the caller's leads nowhere. */
  EFAULT: 14,
  /** In use; it can be had when its users are gone. */
  EBUSY: 16,
  /** Something of that name is there already. */
  EEXIST: 17,
  /** Nothing is set, or nothing of that kind is on this platform. */
  ENODEV: 19,
  /** A field has a value that this call does not take. */
  EINVAL: 22,
  /** A call that this object does not have. */
  ENOTTY: 25,
  /** No free range, slot or place is left. */
  ENOSPC: 28,
  /** The number of bytes is not a whole number of records. */
  ESPIPE: 29,
  /** The result does not fit its field. */
  ERANGE: 34,
  /** Users kept it busy until the limit of tries. */
  EDEADLK: 35,
  /** Another page than the one that was expected. */
  EBADE: 52,
  /** An address plus a length leaves 64 bits. */
  EOVERFLOW: 75,
  /** The handle is open and is not of the kind that is wanted. */
  EBADFD: 77,
  /** The reply is valid and did not fit; it says how much room it needs. */
  EMSGSIZE: 90,
  /** A known field with a value that is not offered here: a flag, a type, a feature. */
  EOPNOTSUPP: 95,
  /** Part of this range is reserved. */
  EADDRINUSE: 98,
  /** An answer did not come in time. */
  ETIMEDOUT: 110,
  /** A quota of the context or of the user is used up. */
  EDQUOT: 122,
} as const

/** Name of an errno. */
export type ErrnoName = keyof typeof ERRNO
