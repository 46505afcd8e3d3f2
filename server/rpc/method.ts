/** What can answer a method: a handler with the types of its messages, or a "no". */

import type { MethodName, ReplyOf, RequestOf } from '../../proto/generated/methods.js'
import type { Init } from '../../proto/generated/types.js'
import type { Handler } from '../core/call.js'
import type { RefusalDetail } from '../core/detail.js'

/** A method that this daemon does not have. */
export class NotOffered {
  /** A sentence. */
  readonly reason: string

  constructor(reason: string) {
    this.reason = reason
  }
}

/** Handlers by method, each with the types of its messages. */
export type Handlers = { readonly [M in MethodName]: Handler<RequestOf<M>, Init<ReplyOf<M>>> }

/** A handler as the dispatcher sees it, which has decoded the right message for it. */
export type AnyHandler = Handler<object, { readonly refusal?: RefusalDetail }>

/** What answers each method. */
export type AnyMethodTable = Readonly<Record<MethodName, AnyHandler | NotOffered>>
