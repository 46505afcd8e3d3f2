/**
 * The log: one JSON object a line. Lifecycle and refusals are at info, calls at debug, bugs of ours at error with their
 * stack. A context that is refused again and again gets a few lines in each window and then a count of what was held
 * back. Tokens never get here; should one be inside a text nevertheless, it is blotted out.
 */

import { type DestinationStream, destination, type Logger, pino } from 'pino'
import type { Clock } from '../core/ambient.js'
import type { CallObserver, CallRecord } from '../rpc/observer.js'

/** Refusals of one context that are written in a window; the rest is counted. */
const REFUSALS_PER_WINDOW = 10

/** Refusals that all together write in a window, and contexts whose held-back refusals are counted apart. */
const REFUSALS_IN_ALL = 100
const REFUSED_KEPT = 100

/** Length of that window: long enough that a client in a loop costs one line a second at most. */
const WINDOW_MS = 10_000

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
  const refusals = new RefusalLog(logger, clock)
  return {
    debug: (facts, message) => logger.debug(facts, message),
    info: (facts, message) => logger.info(facts, message),
    warn: (facts, message) => logger.warn(facts, message),
    error: (facts, message) => logger.error(facts, message),
    flush: () => refusals.flush(),
    started: () => {},
    finished: (record) => {
      const { incident, refusal, ...facts } = record
      if (incident !== undefined) {
        logger.error({ ...facts, incidentId: incident.id, err: incident.error }, 'call failed: a bug of the daemon')
      } else if (refusal !== undefined || record.code !== 'ok') {
        refusals.write(record)
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

/** What one context, or one user's calls without a context, was refused in the window. */
interface Refused {
  readonly who: object
  written: number
  held: number
}

/**
 * Refusals by context, or by user for calls without one: a client cannot have more lines by making more connections.
 * All share one window, one timer and one bounded table, so that opening contexts in a loop gains nothing either.
 */
class RefusalLog {
  readonly #logger: Logger
  readonly #clock: Clock
  readonly #refused = new Map<string, Refused>()
  #endsAt = 0
  #written = 0
  /** Held back of those for whom the table had no place. */
  #others = 0

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger
    this.#clock = clock
  }

  write(record: CallRecord): void {
    const { refusal, incident: _, ...facts } = record
    const refused = this.#refusedOf(record)
    if (refused === undefined) {
      this.#others++
      return
    }
    if (refused.written === REFUSALS_PER_WINDOW || this.#written === REFUSALS_IN_ALL) {
      refused.held++
      return
    }
    refused.written++
    this.#written++
    this.#logger.info({ ...facts, errno: refusal?.name, reason: refusal?.reason, facts: refusal?.context }, 'refused')
  }

  flush(): void {
    for (const { who, held } of this.#refused.values()) this.#tell(who, held)
    this.#tell({ others: true }, this.#others)
    this.#refused.clear()
    this.#written = 0
    this.#others = 0
  }

  #refusedOf({ contextNumber, uid }: CallRecord): Refused | undefined {
    this.#turnWindow()
    const key = contextNumber === 0 ? `uid ${uid}` : `context ${contextNumber}`
    const known = this.#refused.get(key)
    if (known !== undefined || this.#refused.size === REFUSED_KEPT) return known
    const who = contextNumber === 0 ? { uid } : { contextNumber, uid }
    const refused = { who, written: 0, held: 0 }
    this.#refused.set(key, refused)
    return refused
  }

  /** A window begins with its first refusal; its counts are written when it is over. */
  #turnWindow(): void {
    if (this.#refused.size > 0 && this.#clock.now() < this.#endsAt) return
    this.flush()
    const endsAt = this.#clock.now() + WINDOW_MS
    this.#endsAt = endsAt
    this.#clock.after(WINDOW_MS, () => {
      if (this.#endsAt === endsAt) this.flush()
    })
  }

  #tell(who: object, heldBack: number): void {
    if (heldBack > 0) this.#logger.info({ ...who, heldBack, windowMs: WINDOW_MS }, 'more refusals were held back')
  }
}
