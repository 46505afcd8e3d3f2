/** A "no" to a caller: an errno says what kind, the reason is a sentence, the context is facts. */

import { ERRNO, type ErrnoName } from './errno.js'

/** A fact of a refusal's context. 64-bit values are bigint. */
export type Fact = string | number | bigint | boolean | readonly Fact[]

/** Thrown by core and drivers; becomes an error with a RefusalDetail, or the `refusal` field of a partial reply. */
export class Refusal extends Error {
  override readonly name: ErrnoName
  readonly errno: number
  readonly context: Readonly<Record<string, Fact>>

  /**
   * @param name the errno
   * @param reason a sentence, without a full stop, that says what is in the way and names the way out if there is one
   * @param context facts: which ids, which ranges, which limit
   */
  constructor(name: ErrnoName, reason: string, context: Readonly<Record<string, Fact>> = {}) {
    super(reason)
    this.name = name
    this.errno = ERRNO[name]
    this.context = context
  }
}

/** The refusal that an action ended with, or undefined; anything else it throws is a bug and goes on. */
export function refusalOf(action: () => void): Refusal | undefined {
  try {
    action()
    return undefined
  } catch (error) {
    if (error instanceof Refusal) return error
    throw error
  }
}

/** A bug of ours: fails the call as internal and keeps the stack. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`bug: ${message}`)
}
