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

interface Window {
  readonly endsAt: number
  written: number
  held: number
}

/** Refusals by context, or by connection for calls without one. */
class RefusalLog {
  readonly #logger: Logger
  readonly #clock: Clock
  readonly #windows = new Map<string, Window>()

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger
    this.#clock = clock
  }

  write(record: CallRecord): void {
    const { refusal, incident: _, ...facts } = record
    const who = record.contextNumber === 0 ? `connection ${record.connection}` : `context ${record.contextNumber}`
    const window = this.#window(who)
    if (window.written === REFUSALS_PER_WINDOW) {
      window.held++
      return
    }
    window.written++
    this.#logger.info({ ...facts, errno: refusal?.name, reason: refusal?.reason, facts: refusal?.context }, 'refused')
  }

  flush(): void {
    for (const who of [...this.#windows.keys()]) this.#end(who)
  }

  #window(who: string): Window {
    let window = this.#windows.get(who)
    if (window === undefined || window.endsAt <= this.#clock.now()) {
      this.#end(who)
      window = { endsAt: this.#clock.now() + WINDOW_MS, written: 0, held: 0 }
      this.#windows.set(who, window)
      const opened = window
      this.#clock.after(WINDOW_MS, () => {
        if (this.#windows.get(who) === opened) this.#end(who)
      })
    }
    return window
  }

  #end(who: string): void {
    const window = this.#windows.get(who)
    this.#windows.delete(who)
    if (window !== undefined && window.held > 0) {
      this.#logger.info({ who, heldBack: window.held, windowMs: WINDOW_MS }, 'more refusals were held back')
    }
  }
}
