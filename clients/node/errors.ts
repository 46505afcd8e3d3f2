/** What a call can fail with. */

import type { RefusalDetail } from '../../proto/generated/types.js'

/** A call that the daemon answered with "no": an errno with its reason and facts, and what was done before. */
export class IommudError<Partial = unknown> extends Error {
  override readonly name = 'IommudError'
  /** The Connect code: `failed_precondition`, `not_found` … */
  readonly code: string
  /** The errno's number, or 0 where the refusal is not an ioctl's (`unavailable`, a malformed body). */
  readonly errno: number
  /** The errno's name, such as `EBUSY`; empty where there is none. */
  readonly errnoName: string
  /** One sentence. */
  readonly reason: string
  /** Facts: which ids, which ranges, which limit. */
  readonly context: Readonly<Record<string, string>>
  /** The reply of a call that got part of the way. */
  readonly partial: Partial | undefined

  constructor(method: string, code: string, message: string, detail?: RefusalDetail, partial?: Partial) {
    const name = detail === undefined || detail.name === '' ? code : detail.name
    const facts = Object.entries(detail?.context ?? {}).map(([key, value]) => `${key} ${value}`)
    super(`${method}: ${name}: ${detail?.reason || message}${facts.length === 0 ? '' : ` (${facts.join(', ')})`}`)
    this.code = code
    this.errno = detail?.errno ?? 0
    this.errnoName = detail?.name ?? ''
    this.reason = detail?.reason || message
    this.context = detail?.context ?? {}
    this.partial = partial
  }
}
