/**
 * How a "no" travels: a refusal becomes a status code with a RefusalDetail, on every transport the same. Anything else
 * that was thrown is a bug of ours: `internal`, with a number by which the log can be searched and nothing more.
 */

import { detailOf, type RefusalDetail } from '../core/detail.js'
import type { ErrnoName } from '../core/errno.js'
import { type Fact, Refusal } from '../core/refusal.js'
import { Unavailable } from '../core/unavailable.js'

/** Status codes, with the number that gRPC gives each and the HTTP status that Connect does. */
export const CODES = {
  canceled: { grpc: 1, http: 499 },
  unknown: { grpc: 2, http: 500 },
  invalid_argument: { grpc: 3, http: 400 },
  deadline_exceeded: { grpc: 4, http: 504 },
  not_found: { grpc: 5, http: 404 },
  already_exists: { grpc: 6, http: 409 },
  permission_denied: { grpc: 7, http: 403 },
  resource_exhausted: { grpc: 8, http: 429 },
  failed_precondition: { grpc: 9, http: 400 },
  aborted: { grpc: 10, http: 409 },
  out_of_range: { grpc: 11, http: 400 },
  unimplemented: { grpc: 12, http: 501 },
  internal: { grpc: 13, http: 500 },
  unavailable: { grpc: 14, http: 503 },
  data_loss: { grpc: 15, http: 500 },
  unauthenticated: { grpc: 16, http: 401 },
} as const

/** A status code other than OK. */
export type Code = keyof typeof CODES

/** The code of each errno. `internal` is not among them: it means a bug of ours. */
export const CODE_OF_ERRNO: Readonly<Record<ErrnoName, Code>> = {
  EINVAL: 'invalid_argument',
  E2BIG: 'invalid_argument',
  EFAULT: 'invalid_argument',
  EIO: 'invalid_argument',
  ESPIPE: 'invalid_argument',
  EBADF: 'invalid_argument',
  EBADFD: 'invalid_argument',
  EBADE: 'invalid_argument',
  ENOENT: 'not_found',
  ENODEV: 'not_found',
  ENXIO: 'not_found',
  EEXIST: 'already_exists',
  EBUSY: 'failed_precondition',
  EADDRINUSE: 'failed_precondition',
  EDEADLK: 'failed_precondition',
  EPERM: 'permission_denied',
  EACCES: 'permission_denied',
  ENOMEM: 'resource_exhausted',
  ENOSPC: 'resource_exhausted',
  EDQUOT: 'resource_exhausted',
  EOPNOTSUPP: 'unimplemented',
  ENOTTY: 'unimplemented',
  ERANGE: 'out_of_range',
  EOVERFLOW: 'out_of_range',
  EMSGSIZE: 'out_of_range',
  ETIMEDOUT: 'deadline_exceeded',
}

/** An error as it leaves the daemon. */
export class RpcError extends Error {
  readonly code: Code
  readonly detail: RefusalDetail | undefined
  /** Names the log entry of a bug. */
  readonly incidentId: string | undefined

  constructor(code: Code, message: string, detail?: RefusalDetail, incidentId?: string) {
    super(message)
    this.code = code
    this.detail = detail
    this.incidentId = incidentId
  }
}

/**
 * An error made from an errno.
 *
 * @param code only where the errno's own code would mislead, such as `unauthenticated`
 */
export function refused(
  name: ErrnoName,
  reason: string,
  context: Readonly<Record<string, Fact>> = {},
  code: Code = CODE_OF_ERRNO[name],
): RpcError {
  return new RpcError(code, `${name}: ${reason}`, detailOf(new Refusal(name, reason, context)))
}

/**
 * What a caller is told of anything thrown.
 *
 * @param newIncidentId names the log entry that keeps the stack, for what is not a refusal
 */
export function errorOf(thrown: unknown, newIncidentId: () => string): RpcError {
  if (thrown instanceof RpcError) return thrown
  if (thrown instanceof Unavailable) return new RpcError('unavailable', thrown.message)
  if (thrown instanceof Refusal) {
    return new RpcError(CODE_OF_ERRNO[thrown.name], `${thrown.name}: ${thrown.message}`, detailOf(thrown))
  }
  const id = newIncidentId()
  return new RpcError('internal', `the daemon failed by a mistake of its own, and logged it as ${id}`, undefined, id)
}
