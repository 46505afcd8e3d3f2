/**
 * The log: one JSON object a line. Lifecycle and refusals are at info, calls at debug, bugs of ours at error with their
 * stack. A context that is refused again and again gets a few lines in each window and then a count of what was held
 * back. Tokens never get here; should one be inside a text nevertheless, it is blotted out.
 */

import { type DestinationStream, destination, type Logger, pino } from 'pino'
import type { Clock } from '../core/ambient.js'
import type { CallObserver } from '../rpc/observer.js'
import { HeldBack } from './held-back.js'

/** Lines about one context or device in a window, and all together: a client in a loop costs one a second at most. */
const HOLD_BACK = { perWindow: 10, inAll: 100, kept: 100, windowMs: 10_000 } as const

/** Log lines kept while standard error takes none. */
const UNWRITTEN_BYTES = 2 ** 20

/** Names of fields that hold secrets, wherever they stand. */
const SECRET_FIELDS = ['token', 'authorization', 'contextToken', '*.token', '*.authorization', '*.contextToken']

/** Runs of this many characters of hexadecimal or base64url are taken for tokens: 128 random bits have 22 or more. */
const TOKEN_LIKE = /(?<![\w/.-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{22,}(?![\w/.-])/g

/** Levels that `--log-level` takes. */
export const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug', 'trace'] as const

/** One of LOG_LEVELS. */
export type LogLevel = (typeof LOG_LEVELS)[number]

/** The daemon's log. */
export interface Log extends CallObserver {
  debug(facts: object, message: string): void
  info(facts: object, message: string): void
  warn(facts: object, message: string): void
  error(facts: object, message: string): void
  /**
   * A warning that may come in floods, of which each `who` gets a few in each window and then a count.
   *
   * @param key tells one from another
   */
  flood(key: string, who: object, facts: object, message: string): void
  /** Writes the counts that are still held back. */
  flush(): void
}

/**
 * Opens the log.
 *
 * @param sink where lines go; standard error unless given
 */
export function openLog(level: LogLevel, clock: Clock, sink?: DestinationStream): Log {
  const logger = pino(
    { level, base: undefined, redact: { paths: SECRET_FIELDS, censor: '[redacted]' }, hooks: { streamWrite: redact } },
    sink ?? standardError(),
  )
  const refusals = heldBack(logger, clock, 'more refusals were held back')
  const floods = heldBack(logger, clock, 'more of the same was held back')
  return {
    debug: (facts, message) => logger.debug(facts, message),
    info: (facts, message) => logger.info(facts, message),
    warn: (facts, message) => logger.warn(facts, message),
    error: (facts, message) => logger.error(facts, message),
    flood: (key, who, facts, message) => {
      if (floods.allows(key, who)) logger.warn({ ...who, ...facts }, message)
    },
    flush: () => {
      refusals.flush()
      floods.flush()
    },
    started: () => {},
    finished: (record) => {
      const { incident, refusal, ...facts } = record
      if (incident !== undefined) {
        logger.error({ ...facts, incidentId: incident.id, err: incident.error }, 'call failed: a bug of the daemon')
      } else if (refusal !== undefined || record.code !== 'ok') {
        const { contextNumber, uid } = record
        const isOpen = contextNumber !== 0
        const key = isOpen ? `context ${contextNumber}` : `uid ${uid}`
        const told = { ...facts, errno: refusal?.name, reason: refusal?.reason, facts: refusal?.context }
        if (refusals.allows(key, isOpen ? { contextNumber, uid } : { uid })) logger.info(told, 'refused')
      }
      logger.debug(facts, 'call')
    },
  }
}

/** Standard error. Lines that a full disk or a reader that went away does not take are kept up to a point, then lost. */
function standardError(): DestinationStream {
  const stream = destination({ fd: 2, sync: true, maxLength: UNWRITTEN_BYTES })
  stream.on('error', () => {})
  return stream
}

/** Blots out whatever looks like a token in a finished line. */
export const redact = (line: string): string => line.replace(TOKEN_LIKE, '[redacted]')

/** By context, or by user for calls without one: a client cannot have more lines by making more connections. */
const heldBack = (logger: Logger, clock: Clock, message: string): HeldBack =>
  new HeldBack(clock, HOLD_BACK, (who, count) => {
    logger.info({ ...who, heldBack: count, windowMs: HOLD_BACK.windowMs }, message)
  })
