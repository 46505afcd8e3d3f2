/** The oracle of an emulated unit, as core sees it: commands are spelled out, and its device is named. */

import type { Invalidation, RemappingUnit, StaleReport } from '../../hw-model/port.js'
import type { DeviceDriver } from '../core/driver.js'
import type {
  Concerns,
  OracleNumbers,
  OracleSetting,
  OwnInvalidation,
  SentText,
  StaleFacts,
  UnitOracle,
} from '../core/machine.js'
import { spell } from './invalidation-text.js'

/** Reports that a unit keeps at most, some kilobytes each; core keeps fewer of each context. */
const REPORTS = 16_384

/** Nothing is compared. */
export const NO_ORACLE: OracleSetting = { mode: 'off', graceSyncs: 0 }

/** What a host driver knows of a report's device. */
export interface Terms {
  deviceOf(rid: number): DeviceDriver | undefined
  /** Commands as the owner of the tables would give them; undefined where the host has to. */
  ownTerms(rid: number, pasid: number, commands: readonly Invalidation[]): OwnInvalidation | undefined
}

/** Of a raw unit, whose owner sends the hardware's own commands. */
const NO_TERMS: Terms = { deviceOf: () => undefined, ownTerms: () => undefined }

/** Operands that say whose tables or which device a command is about, by architecture. */
const NAMES = ['VMID', 'DID', 'did', 'SID', 'sid'] as const

/** Of one unit. */
export class ModelOracle implements UnitOracle {
  onReport: ((report: StaleFacts) => void) | undefined
  readonly #unit: RemappingUnit
  readonly #madeAs: OracleSetting
  readonly #terms: Terms
  #setting: OracleSetting

  /** @param madeAs how it is set at first */
  constructor(unit: RemappingUnit, madeAs: OracleSetting, terms: Terms = NO_TERMS) {
    this.#unit = unit
    this.#madeAs = madeAs
    this.#terms = terms
    this.#setting = madeAs
    if (madeAs.mode !== 'off') this.set(madeAs)
  }

  get setting(): OracleSetting {
    return this.#setting
  }

  get counts(): OracleNumbers | undefined {
    return this.#unit.oracle?.counts
  }

  get watched(): number {
    return this.#unit.oracle?.watched ?? 0
  }

  get failedNumber(): number {
    return this.#unit.oracle?.failed?.number ?? 0
  }

  set(setting: OracleSetting | null): void {
    this.#setting = setting ?? this.#madeAs
    const { mode, graceSyncs } = this.#setting
    this.#unit.setOracle(mode === 'off' ? null : { fails: mode === 'fail', graceSyncs, reportLimit: REPORTS })
    const { oracle } = this.#unit
    if (oracle !== null) oracle.onReport = (report) => this.onReport?.(new Facts(report, this.#terms))
  }

  check(most: number): { readonly compared: number; readonly numbers: readonly number[] } {
    const { compared, stale } = this.#unit.oracle?.check(most) ?? NOTHING
    return { compared, numbers: stale.map(({ number }) => number) }
  }

  checkLast(from: number, most: number, concerns: Concerns): number {
    return this.#unit.oracle?.checkLast(from, most, concerns) ?? 0
  }

  faultName(fault: number): string {
    return this.#unit.faultName(fault)
  }
}

const NOTHING = { compared: 0, stale: [] } as const

/** A report in core's terms; what still changes is read when it is asked for. */
class Facts implements StaleFacts {
  readonly needed: string
  readonly usual: string
  readonly sent: readonly SentText[]
  readonly own: OwnInvalidation | undefined
  readonly device: DeviceDriver | undefined
  readonly #report: StaleReport

  constructor(report: StaleReport, terms: Terms) {
    const { rid, pasid, missing, usual, sent } = report
    this.#report = report
    this.needed = spell(missing)
    this.usual = usual === null ? '' : spell([usual])
    this.device = terms.deviceOf(rid)
    this.own = terms.ownTerms(rid, pasid, missing)
    this.sent = sent.map(({ command, at, why }) => ({
      command: spell([command]),
      at,
      why,
      isOfDevice: isOfDevice(command, missing, rid),
    }))
  }

  get number(): number {
    return this.#report.number
  }

  get reason(): StaleFacts['reason'] {
    return this.#report.reason
  }

  get cache(): string {
    return this.#report.cache
  }

  get sourceId(): number {
    return this.#report.rid
  }

  get pasid(): number {
    return this.#report.pasid
  }

  get lo(): number {
    return this.#report.lo
  }

  get hi(): number {
    return this.#report.hi
  }

  get access(): number {
    return this.#report.access
  }

  get cached(): StaleFacts['cached'] {
    return this.#report.cached
  }

  get fresh(): StaleFacts['fresh'] {
    return this.#report.fresh
  }

  get filledAt(): number {
    return this.#report.filledAt
  }

  get lastRightAt(): number {
    return this.#report.lastRightAt
  }

  get firstSeenAt(): number {
    return this.#report.firstSeenAt
  }

  get at(): number {
    return this.#report.at
  }

  get hits(): number {
    return this.#report.hits
  }

  get changed(): StaleFacts['changed'] {
    return this.#report.changed
  }
}

/** A command that names somebody names the device itself, or the tables that what is needed names too. */
function isOfDevice({ operands }: Invalidation, missing: readonly Invalidation[], rid: number): boolean {
  const named = NAMES.filter((name) => name in operands)
  if (named.length === 0) return false
  return named.every((name) => {
    const value = operands[name]
    return /sid/i.test(name) ? value === rid : missing.some((needed) => needed.operands[name] === value)
  })
}
