/** What a command that failed prints, and the status it exits with. */

import { encodeJson } from '../../proto/codec.js'
import type { MessageName } from '../../proto/generated/types.js'
import { IommudError, TransportError } from '../node/index.js'
import { type Message, printable } from './format.js'
import type { Io } from './io.js'
import { renderReply } from './render.js'
import { UsageError } from './values.js'

/** Exit statuses, as `--help` lists them. */
export const EXIT = {
  /** Done. */
  DONE: 0,
  /** The daemon refused, or something did not verify. */
  REFUSED: 1,
  /** Bad usage; nothing was sent. */
  USAGE: 2,
  /** The daemon was not reached, or went away. */
  UNREACHABLE: 3,
} as const

/** An exit status. */
export type Exit = (typeof EXIT)[keyof typeof EXIT]

/** Prints why `verb` failed and answers the exit status. `reply` is the message a partial result would be. */
export function reportFailure(verb: string, error: unknown, json: boolean, io: Io, reply?: MessageName): Exit {
  if (error instanceof UsageError) {
    io.err(`${verb}: ${error.message}`)
    return EXIT.USAGE
  }
  if (error instanceof IommudError) {
    if (json) io.out(JSON.stringify({ error: refusalOf(error, reply) }))
    else showRefusal(verb, error, io, reply)
    return EXIT.REFUSED
  }
  const exit = error instanceof TransportError ? EXIT.UNREACHABLE : EXIT.REFUSED
  const reason = error instanceof Error ? error.message : String(error)
  const code = exit === EXIT.UNREACHABLE ? 'unavailable' : 'unknown'
  if (json) {
    io.out(JSON.stringify({ error: { code, errno: 0, name: '', reason, context: {}, partial: null } }))
  } else io.err(`${verb}: ${printable(reason)}`)
  return exit
}

function refusalOf(error: IommudError, reply: MessageName | undefined): Record<string, unknown> {
  const partial =
    error.partial === undefined || reply === undefined ? null : JSON.parse(encodeJson(reply, error.partial as never))
  return {
    code: error.code,
    errno: error.errno,
    name: error.errnoName,
    reason: error.reason,
    context: error.context,
    partial,
  }
}

function showRefusal(verb: string, error: IommudError, io: Io, reply: MessageName | undefined): void {
  if (error.partial !== undefined && reply !== undefined) {
    const { refusal: _, ...done } = error.partial as Message
    for (const line of renderReply(reply, done)) io.out(line)
  }
  const facts = Object.entries(error.context).map(([key, value]) => `${key} ${value === '' ? '-' : value}`)
  const name = error.errnoName || error.code
  io.err(printable(`${verb}: ${name}: ${error.reason}${facts.length === 0 ? '' : ` (${facts.join(', ')})`}`))
}
