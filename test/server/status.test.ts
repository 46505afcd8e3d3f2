/** The table of errnos and codes, and what becomes of anything thrown. */

import { describe, expect, it } from 'vitest'
import { ERRNO, type ErrnoName } from '../../server/core/errno.js'
import { Refusal } from '../../server/core/refusal.js'
import { Unavailable } from '../../server/core/unavailable.js'
import { CODE_OF_ERRNO, CODES, errorOf, RpcError, refused } from '../../server/rpc/status.js'

/** As the contract's documentation groups them. */
const GROUPS: Readonly<Record<string, string>> = {
  invalid_argument: 'EINVAL E2BIG EFAULT EIO ESPIPE EBADF EBADFD EBADE',
  not_found: 'ENOENT ENODEV ENXIO',
  already_exists: 'EEXIST',
  failed_precondition: 'EBUSY EADDRINUSE EDEADLK',
  permission_denied: 'EPERM EACCES',
  resource_exhausted: 'ENOMEM ENOSPC EDQUOT',
  unimplemented: 'EOPNOTSUPP ENOTTY',
  out_of_range: 'ERANGE EOVERFLOW EMSGSIZE',
  deadline_exceeded: 'ETIMEDOUT',
}

describe('an errno', () => {
  it('has the code of its group, and every errno has one', () => {
    const groups = Object.entries(GROUPS).flatMap(([code, names]) => names.split(' ').map((name) => [name, code]))
    expect(CODE_OF_ERRNO).toEqual(Object.fromEntries(groups))
    expect(Object.keys(CODE_OF_ERRNO).sort()).toEqual(Object.keys(ERRNO).sort())
  })

  it('is never internal', () => {
    expect(Object.values(CODE_OF_ERRNO)).not.toContain('internal')
  })
})

describe('a code', () => {
  it('has the HTTP status that Connect gives it', () => {
    const statuses = Object.fromEntries(Object.entries(CODES).map(([code, { http }]) => [code, http]))
    expect(statuses).toEqual({
      canceled: 499,
      unknown: 500,
      invalid_argument: 400,
      deadline_exceeded: 504,
      not_found: 404,
      already_exists: 409,
      permission_denied: 403,
      resource_exhausted: 429,
      failed_precondition: 400,
      aborted: 409,
      out_of_range: 400,
      unimplemented: 501,
      internal: 500,
      unavailable: 503,
      data_loss: 500,
      unauthenticated: 401,
    })
  })

  it('has gRPC’s number, 1 to 16', () => {
    expect(Object.values(CODES).map(({ grpc }) => grpc)).toEqual(Array.from({ length: 16 }, (_, i) => i + 1))
  })
})

describe('what was thrown', () => {
  it('keeps errno, reason and facts when it is a refusal', () => {
    for (const name of Object.keys(ERRNO) as ErrnoName[]) {
      const error = errorOf(new Refusal(name, 'because', { ids: [1, 2], flag: true }), () => 'x')
      expect(error.code).toBe(CODE_OF_ERRNO[name])
      expect(error.message).toBe(`${name}: because`)
      expect(error.detail).toEqual({
        errno: ERRNO[name],
        name,
        reason: 'because',
        context: { ids: '1, 2', flag: 'true' },
      })
    }
  })

  it('is unavailable when it speaks of an earlier boot', () => {
    expect(errorOf(new Unavailable(), () => 'x')).toMatchObject({ code: 'unavailable', detail: undefined })
  })

  it('is internal when it is anything else, and tells nothing but where to look', () => {
    for (const thrown of [new Error('secret'), 'secret', undefined, { secret: 1 }]) {
      const error = errorOf(thrown, () => '0badcafe')
      expect(error).toMatchObject({ code: 'internal', incidentId: '0badcafe', detail: undefined })
      expect(error.message).toContain('0badcafe')
      expect(error.message).not.toContain('secret')
    }
  })

  it('stays what it is when it is an error already', () => {
    const error = refused('EACCES', 'no', {}, 'unauthenticated')
    expect(errorOf(error, () => 'x')).toBe(error)
    expect(error).toBeInstanceOf(RpcError)
    expect([error.code, error.detail?.name]).toEqual(['unauthenticated', 'EACCES'])
  })
})
