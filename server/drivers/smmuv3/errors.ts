/**
 * What the unit says is wrong with itself, and what is done about it: the steps of Linux's handler of that interrupt, in
 * its order. Linux tries a failed fetch of commands for ever; here a unit that does not get on is switched off.
 * [SMMU 7.5 Global error recording] [SMMU 7.1 Command queue errors]
 */

import { pack } from '../../../hw-model/bits/layout.js'
import { CERROR, CMDQ_CONS, CR0, GBPA, GERROR, OFFSET } from '../../../hw-model/smmuv3/index.js'
import { type ErrnoName, Refusal } from '../../core/driver.js'
import { rawOf } from './event-facts.js'
import type { Host } from './host.js'
import type { CommandRing } from './queues.js'
import type { Reporter } from './records.js'
import type { Registers } from './registers.js'

/** Times that the unit may stop at one command before it is given up: a queue's memory that comes back is back by then. */
const TRIES = 8

type ErrorName = Exclude<keyof typeof GERROR, '$'>

/** What Linux prints of each error, in its order. */
const LOST: readonly (readonly [name: ErrorName, what: string])[] = [
  ['MSI_GERROR_ABT_ERR', 'the message of an error was not written'],
  ['MSI_PRIQ_ABT_ERR', 'the message of the PRI queue was not written'],
  ['MSI_EVENTQ_ABT_ERR', 'the message of the event queue was not written'],
  ['MSI_CMDQ_ABT_ERR', 'the message of a CMD_SYNC was not written'],
  ['PRIQ_ABT_ERR', 'the PRI queue was not written: page requests may have been lost'],
  ['EVENTQ_ABT_ERR', 'the event queue was not written: events may have been lost'],
]

/** Those that are acted on: the unit has no other. */
const HANDLED: readonly ErrorName[] = ['SFM_ERR', 'CMDQ_ERR', ...LOST.map(([name]) => name)]

const CAUSES: Readonly<Record<number, string>> = {
  [CERROR.NONE]: 'CERROR_NONE',
  [CERROR.ILL]: 'CERROR_ILL',
  [CERROR.ABT]: 'CERROR_ABT',
  [CERROR.ATC_INV_SYNC]: 'CERROR_ATC_INV_SYNC',
}

/** The unit's errors. */
export class GlobalErrors {
  readonly #registers: Registers
  readonly #commands: CommandRing
  readonly #report: Reporter
  readonly #counts: Record<string, number> = {}
  #failure: string | undefined
  /** Commands given before the last error of the command queue, where it stood, and how often in a row. */
  #stoppedAt = ''
  #stops = 0

  constructor(registers: Registers, commands: CommandRing, report: Reporter) {
    this.#registers = registers
    this.#commands = commands
    this.#report = report
  }

  /** Why the unit is switched off, if it is. */
  get failure(): string | undefined {
    return this.#failure
  }

  /** For metrics. */
  get counters(): Readonly<Record<string, number>> {
    return { ...this.#counts, failed: this.#failure === undefined ? 0 : 1 }
  }

  /** Does what each active error needs, and acknowledges them all. Answers whether there was one. */
  handle(): boolean {
    const gerror = this.#registers.read32(OFFSET.GERROR)
    const active = Int32Array.of(gerror ^ this.#registers.read32(OFFSET.GERRORN))
    const isActive = (name: ErrorName): boolean => GERROR[name].get(active, 0) === 1
    if (!HANDLED.some(isActive)) return false
    if (isActive('SFM_ERR')) {
      this.#count('SFM_ERR')
      this.#fail('SFM_ERR', 'the unit is in Service Failure Mode')
    }
    for (const [name, what] of LOST) if (isActive(name)) this.#tell(name, { what })
    if (isActive('CMDQ_ERR')) this.#skip()
    this.#registers.write32(OFFSET.GERRORN, gerror)
    return true
  }

  /** A command that is illegal becomes a SYNC; what else stopped the queue is tried again as it is. */
  #skip(): void {
    const cons = this.#registers.read32(OFFSET.CMDQ_CONS)
    const words = Int32Array.of(cons)
    const error = CMDQ_CONS.ERR.get(words, 0)
    const at = CMDQ_CONS.RD.get(words, 0)
    const cause = CAUSES[error] ?? `CERROR ${error}`
    const isKept = error === CERROR.NONE || error === CERROR.ABT || error === CERROR.ATC_INV_SYNC
    const command: Record<string, string> = isKept ? {} : { command: rawOf(this.#commands.read(at)) }
    this.#tell(cause, { cons: `0x${cons.toString(16)}`, ...command })
    const place = `${this.#commands.issued} ${at}`
    this.#stops = place === this.#stoppedAt ? this.#stops + 1 : 1
    this.#stoppedAt = place
    if (!isKept) this.#commands.replaceBySync(at)
    if (this.#stops > TRIES) this.#fail(cause, `the command queue stood still after ${TRIES} tries`)
  }

  /**
   * Linux clears CR0, after which DMA bypasses a unit that still works: so it is told to abort instead. Nobody waits for
   * its queues from now on. [SMMU 6.3.9.6 SMMUEN] [SMMU 6.3.14 SMMU_GBPA]
   */
  #fail(name: string, failure: string): void {
    if (this.#failure !== undefined) return
    this.#failure = failure
    this.#commands.close()
    this.#registers.write32(OFFSET.GBPA, pack(GBPA, { SHCFG: 1, ABORT: 1, Update: 1 })[0])
    this.#registers.write32(OFFSET.CR0, pack(CR0, {})[0])
    const what = `${failure}; no DMA passes and nothing is attached until the daemon is started again`
    this.#report({ name, isFailure: true, facts: { what } })
  }

  #tell(name: string, facts: Readonly<Record<string, string | number>>): void {
    this.#count(name)
    this.#report({ name, facts })
  }

  #count(name: string): void {
    this.#counts[name] = (this.#counts[name] ?? 0) + 1
  }
}

/** A unit that is switched off takes nothing up. @throws Refusal EIO */
export function refuseFailed({ driver, errors }: Host, errno: ErrnoName = 'EIO'): void {
  if (errors.failure === undefined) return
  const { name } = driver
  const reason = `unit ${name} is switched off: ${errors.failure}. Nothing passes it until the daemon is started again`
  throw new Refusal(errno, reason, { unit: name })
}
